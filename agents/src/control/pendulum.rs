//! Pendulum-v1: swing up and hold with bounded torque; the price of a step is angle^2 + 0.1 velocity^2 + 0.001 torque^2 before it. It has
//! no end of its own. State: angle (0 is upright, counted through turns), its velocity.

use std::f64::consts::PI;

use rand_chacha::ChaCha8Rng;

use super::dynamics::{Dynamics, Outcome, uniform};

const GRAVITY: f64 = 10.0;
const DT: f64 = 0.05;
const MAX_SPEED: f64 = 8.0;

pub(super) struct Pendulum;

impl Dynamics<2> for Pendulum {
    fn start(rng: &mut ChaCha8Rng) -> [f64; 2] {
        [uniform(rng, -PI, PI), uniform(rng, -1.0, 1.0)]
    }

    /// Terms of the torque alone are in f32, as Gymnasium computes them.
    #[inline]
    fn step([theta, velocity]: [f64; 2], action: &[f32], _: u32) -> Outcome<2> {
        let torque = action[0];
        let angle = (theta + PI).rem_euclid(2.0 * PI) - PI;
        let cost = angle * angle + 0.1 * (velocity * velocity) + f64::from(0.001 * (torque * torque));
        let acceleration = 3.0 * GRAVITY / 2.0 * theta.sin() + f64::from(3.0 * torque);
        let velocity = (velocity + acceleration * DT).clamp(-MAX_SPEED, MAX_SPEED);
        Outcome { state: [theta + velocity * DT, velocity], reward: -cost, terminated: false }
    }

    #[inline]
    fn observe([theta, velocity]: &[f64; 2], out: &mut [f32]) {
        let (sin, cos) = theta.sin_cos();
        out.copy_from_slice(&[cos as f32, sin as f32, *velocity as f32]);
    }
}
