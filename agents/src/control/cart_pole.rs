//! CartPole-v1: a pole on a cart that is pushed left or right; 1 a step until it falls. State: x, its velocity, angle, its velocity.
//!
//! # Source
//! Barto, Sutton, Anderson (1983), equations corrected by Florian (2007); explicit Euler.

use rand_chacha::ChaCha8Rng;

use super::dynamics::{Dynamics, Outcome, uniform};

const GRAVITY: f64 = 9.8;
const MASS_POLE: f64 = 0.1;
const MASS: f64 = 0.1 + 1.0;
const HALF_LENGTH: f64 = 0.5;
const POLE_MOMENT: f64 = MASS_POLE * HALF_LENGTH;
const FORCE: f64 = 10.0;
const DT: f64 = 0.02;
const X_LIMIT: f64 = 2.4;
/// 12 degrees.
const THETA_LIMIT: f64 = 12.0 * 2.0 * std::f64::consts::PI / 360.0;

/// Observes the whole state.
pub(super) struct CartPole;

/// Observes x and the angle only.
pub(super) struct WithoutVelocities;

impl Dynamics<4> for CartPole {
    fn start(rng: &mut ChaCha8Rng) -> [f64; 4] {
        std::array::from_fn(|_| uniform(rng, -0.05, 0.05))
    }

    #[inline]
    fn step([x, x_dot, theta, theta_dot]: [f64; 4], action: &[f32], _: u32) -> Outcome<4> {
        let force = if action[0] == 1.0 { FORCE } else { -FORCE };
        let (sin, cos) = theta.sin_cos();
        let push = (force + POLE_MOMENT * (theta_dot * theta_dot) * sin) / MASS;
        let theta_acc = (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4.0 / 3.0 - MASS_POLE * (cos * cos) / MASS));
        let x_acc = push - POLE_MOMENT * theta_acc * cos / MASS;
        let x = x + DT * x_dot;
        let theta = theta + DT * theta_dot;
        let terminated = x.abs() > X_LIMIT || theta.abs() > THETA_LIMIT;
        Outcome { state: [x, x_dot + DT * x_acc, theta, theta_dot + DT * theta_acc], reward: 1.0, terminated }
    }

    #[inline]
    fn observe(state: &[f64; 4], out: &mut [f32]) {
        out.copy_from_slice(&state.map(|value| value as f32));
    }
}

impl Dynamics<4> for WithoutVelocities {
    fn start(rng: &mut ChaCha8Rng) -> [f64; 4] {
        CartPole::start(rng)
    }

    #[inline]
    fn step(state: [f64; 4], action: &[f32], steps_left: u32) -> Outcome<4> {
        CartPole::step(state, action, steps_left)
    }

    #[inline]
    fn observe([x, _, theta, _]: &[f64; 4], out: &mut [f32]) {
        out.copy_from_slice(&[*x as f32, *theta as f32]);
    }
}
