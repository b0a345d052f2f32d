//! MountainCarContinuous-v0: the car's force is chosen, 0.1 force^2 is paid a step, and 100 is earned at the goal. State: position,
//! velocity.
//!
//! Gymnasium keeps this task's state in f32, and so is it computed here. Differs from it in the first step of an episode, which Gymnasium
//! computes from an f64 position: here the start is rounded to f32 (3e-8).

use rand_chacha::ChaCha8Rng;

use super::dynamics::{Dynamics, Outcome, uniform};

const MIN_POSITION: f32 = -1.2;
const MAX_POSITION: f32 = 0.6;
const MAX_SPEED: f32 = 0.07;
const GOAL: f32 = 0.45;
const POWER: f32 = 0.0015;
const GRAVITY: f64 = 0.0025;

pub(super) struct MountainCarContinuous;

impl Dynamics<2> for MountainCarContinuous {
    fn start(rng: &mut ChaCha8Rng) -> [f64; 2] {
        [f64::from(uniform(rng, -0.6, -0.4) as f32), 0.0]
    }

    #[inline]
    fn step(state: [f64; 2], action: &[f32], _: u32) -> Outcome<2> {
        let [position, velocity] = state.map(|value| value as f32);
        let slope = GRAVITY * f64::from(3.0 * position).cos();
        let mut velocity = (velocity + (action[0] * POWER - slope as f32)).clamp(-MAX_SPEED, MAX_SPEED);
        let position = (position + velocity).clamp(MIN_POSITION, MAX_POSITION);
        if position == MIN_POSITION && velocity < 0.0 {
            velocity = 0.0;
        }
        let terminated = position >= GOAL && velocity >= 0.0;
        let force = f64::from(action[0]);
        let reward = if terminated { 100.0 } else { 0.0 } - force * force * 0.1;
        Outcome { state: [position, velocity].map(f64::from), reward, terminated }
    }

    #[inline]
    fn observe([position, velocity]: &[f64; 2], out: &mut [f32]) {
        out.copy_from_slice(&[*position as f32, *velocity as f32]);
    }
}
