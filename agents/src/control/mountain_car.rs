//! MountainCar-v0: a car too weak for the hill must swing; -1 a step until it is out. State: position, velocity.
//!
//! # Source
//! Moore (1990), constants of Sutton and Barto's book.

use rand_chacha::ChaCha8Rng;

use super::dynamics::{Dynamics, Outcome, uniform};

const MIN_POSITION: f64 = -1.2;
const MAX_POSITION: f64 = 0.6;
const MAX_SPEED: f64 = 0.07;
const GOAL: f64 = 0.5;
const FORCE: f64 = 0.001;
const GRAVITY: f64 = 0.0025;

pub(super) struct MountainCar;

impl Dynamics<2> for MountainCar {
    fn start(rng: &mut ChaCha8Rng) -> [f64; 2] {
        [uniform(rng, -0.6, -0.4), 0.0]
    }

    #[inline]
    fn step([position, velocity]: [f64; 2], action: &[f32], _: u32) -> Outcome<2> {
        let change = (f64::from(action[0]) - 1.0) * FORCE - (3.0 * position).cos() * GRAVITY;
        let mut velocity = (velocity + change).clamp(-MAX_SPEED, MAX_SPEED);
        let position = (position + velocity).clamp(MIN_POSITION, MAX_POSITION);
        if position == MIN_POSITION && velocity < 0.0 {
            velocity = 0.0;
        }
        Outcome { state: [position, velocity], reward: -1.0, terminated: position >= GOAL && velocity >= 0.0 }
    }

    #[inline]
    fn observe([position, velocity]: &[f64; 2], out: &mut [f32]) {
        out.copy_from_slice(&[*position as f32, *velocity as f32]);
    }
}
