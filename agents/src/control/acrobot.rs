//! Acrobot-v1: two links hang from a joint, torque at the elbow; -1 a step until the tip is one link above the joint. State: both angles (0
//! hangs down, the second relative to the first), their velocities.
//!
//! # Source
//! Sutton (1996) with the equations of Sutton and Barto's book; Runge-Kutta of fourth order, one step of 0.2 s.

use std::f64::consts::PI;

use rand_chacha::ChaCha8Rng;

use super::dynamics::{Dynamics, Outcome, uniform};

const GRAVITY: f64 = 9.8;
const DT: f64 = 0.2;
const LENGTH: f64 = 1.0;
const MASS: f64 = 1.0;
/// Distance of a link's centre of mass from its joint.
const CENTRE: f64 = 0.5;
const INERTIA: f64 = 1.0;
const MAX_VELOCITY: [f64; 2] = [4.0 * PI, 9.0 * PI];

pub(super) struct Acrobot;

impl Dynamics<4> for Acrobot {
    /// In f32, as Gymnasium draws it.
    fn start(rng: &mut ChaCha8Rng) -> [f64; 4] {
        std::array::from_fn(|_| f64::from(uniform(rng, -0.1, 0.1) as f32))
    }

    #[inline]
    fn step(state: [f64; 4], action: &[f32], _: u32) -> Outcome<4> {
        let [theta1, theta2, velocity1, velocity2] = runge_kutta(state, f64::from(action[0]) - 1.0);
        let state = [
            wrap(theta1),
            wrap(theta2),
            velocity1.clamp(-MAX_VELOCITY[0], MAX_VELOCITY[0]),
            velocity2.clamp(-MAX_VELOCITY[1], MAX_VELOCITY[1]),
        ];
        let terminated = -state[0].cos() - (state[1] + state[0]).cos() > 1.0;
        Outcome { state, reward: if terminated { 0.0 } else { -1.0 }, terminated }
    }

    #[inline]
    fn observe([theta1, theta2, velocity1, velocity2]: &[f64; 4], out: &mut [f32]) {
        let seen = [theta1.cos(), theta1.sin(), theta2.cos(), theta2.sin(), *velocity1, *velocity2];
        out.copy_from_slice(&seen.map(|value| value as f32));
    }
}

fn runge_kutta(state: [f64; 4], torque: f64) -> [f64; 4] {
    let ahead = |by: f64, slope: &[f64; 4]| std::array::from_fn(|i| state[i] + by * slope[i]);
    let k1 = derivative(state, torque);
    let k2 = derivative(ahead(DT / 2.0, &k1), torque);
    let k3 = derivative(ahead(DT / 2.0, &k2), torque);
    let k4 = derivative(ahead(DT, &k3), torque);
    std::array::from_fn(|i| state[i] + DT / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]))
}

fn derivative([theta1, theta2, velocity1, velocity2]: [f64; 4], torque: f64) -> [f64; 4] {
    let (sin2, cos2) = theta2.sin_cos();
    let d1 = MASS * CENTRE * CENTRE + MASS * (LENGTH * LENGTH + CENTRE * CENTRE + 2.0 * LENGTH * CENTRE * cos2) + INERTIA + INERTIA;
    let d2 = MASS * (CENTRE * CENTRE + LENGTH * CENTRE * cos2) + INERTIA;
    let phi2 = MASS * CENTRE * GRAVITY * (theta1 + theta2 - PI / 2.0).cos();
    let phi1 = -MASS * LENGTH * CENTRE * (velocity2 * velocity2) * sin2 - 2.0 * MASS * LENGTH * CENTRE * velocity2 * velocity1 * sin2
        + (MASS * CENTRE + MASS * LENGTH) * GRAVITY * (theta1 - PI / 2.0).cos()
        + phi2;
    let acceleration2 = (torque + d2 / d1 * phi1 - MASS * LENGTH * CENTRE * (velocity1 * velocity1) * sin2 - phi2)
        / (MASS * CENTRE * CENTRE + INERTIA - d2 * d2 / d1);
    let acceleration1 = -(d2 * acceleration2 + phi1) / d1;
    [velocity1, velocity2, acceleration1, acceleration2]
}

/// An angle in [-pi, pi].
fn wrap(angle: f64) -> f64 {
    if angle.abs() <= PI { angle } else { (angle + PI).rem_euclid(2.0 * PI) - PI }
}
