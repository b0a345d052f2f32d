//! Tasks with a known answer; what each tells is said at its name in [`super::Task`]. The first number of a state is what is observed.

use rand_chacha::{ChaCha8Rng, rand_core::Rng};

use super::dynamics::{Dynamics, Outcome};

pub(super) struct ConstantReward;
pub(super) struct RewardByObservation;
pub(super) struct RewardByAction<const CONTINUOUS: bool>;
pub(super) struct ActionByObservation<const CONTINUOUS: bool>;
pub(super) struct DelayedReward;
pub(super) struct TimeLimit;
/// State: what is observed, and the cue with its sign times the number of the step, counted from 1.
pub(super) struct Recall;
pub(super) struct NanReward;

/// Steps of [`Recall`].
const RECALL_STEPS: f64 = 3.0;

fn draw_sign(rng: &mut ChaCha8Rng) -> f64 {
    if rng.next_u64() >> 63 == 0 { -1.0 } else { 1.0 }
}

/// 1 or -1 for the right or wrong one of two actions, or the negative squared distance to `0.5 side`.
fn score(continuous: bool, action: f32, side: f64) -> f64 {
    let action = f64::from(action);
    if continuous {
        -(action - 0.5 * side) * (action - 0.5 * side)
    } else if (action == 1.0) == (side > 0.0) {
        1.0
    } else {
        -1.0
    }
}

fn see(value: f64, out: &mut [f32]) {
    out[0] = value as f32;
}

impl Dynamics<1> for ConstantReward {
    fn start(_: &mut ChaCha8Rng) -> [f64; 1] {
        [0.0]
    }

    fn step(state: [f64; 1], _: &[f32], _: u32) -> Outcome<1> {
        Outcome { state, reward: 1.0, terminated: true }
    }

    fn observe(state: &[f64; 1], out: &mut [f32]) {
        see(state[0], out);
    }
}

impl Dynamics<1> for RewardByObservation {
    fn start(rng: &mut ChaCha8Rng) -> [f64; 1] {
        [draw_sign(rng)]
    }

    fn step(state: [f64; 1], _: &[f32], _: u32) -> Outcome<1> {
        Outcome { state, reward: state[0], terminated: true }
    }

    fn observe(state: &[f64; 1], out: &mut [f32]) {
        see(state[0], out);
    }
}

impl<const CONTINUOUS: bool> Dynamics<1> for RewardByAction<CONTINUOUS> {
    fn start(_: &mut ChaCha8Rng) -> [f64; 1] {
        [0.0]
    }

    fn step(state: [f64; 1], action: &[f32], _: u32) -> Outcome<1> {
        Outcome { state, reward: score(CONTINUOUS, action[0], 1.0), terminated: true }
    }

    fn observe(state: &[f64; 1], out: &mut [f32]) {
        see(state[0], out);
    }
}

impl<const CONTINUOUS: bool> Dynamics<1> for ActionByObservation<CONTINUOUS> {
    fn start(rng: &mut ChaCha8Rng) -> [f64; 1] {
        [draw_sign(rng)]
    }

    fn step(state: [f64; 1], action: &[f32], _: u32) -> Outcome<1> {
        Outcome { state, reward: score(CONTINUOUS, action[0], state[0]), terminated: true }
    }

    fn observe(state: &[f64; 1], out: &mut [f32]) {
        see(state[0], out);
    }
}

impl Dynamics<1> for DelayedReward {
    fn start(_: &mut ChaCha8Rng) -> [f64; 1] {
        [0.0]
    }

    fn step([number]: [f64; 1], _: &[f32], _: u32) -> Outcome<1> {
        let last = number == 1.0;
        Outcome { state: [number + 1.0], reward: if last { 1.0 } else { 0.0 }, terminated: last }
    }

    fn observe(state: &[f64; 1], out: &mut [f32]) {
        see(state[0], out);
    }
}

impl Dynamics<1> for TimeLimit {
    fn start(_: &mut ChaCha8Rng) -> [f64; 1] {
        [0.0]
    }

    fn step(state: [f64; 1], _: &[f32], _: u32) -> Outcome<1> {
        Outcome { state, reward: 1.0, terminated: false }
    }

    fn observe(state: &[f64; 1], out: &mut [f32]) {
        see(state[0], out);
    }
}

impl Dynamics<2> for Recall {
    fn start(rng: &mut ChaCha8Rng) -> [f64; 2] {
        let cue = draw_sign(rng);
        [cue, cue]
    }

    fn step([_, counted]: [f64; 2], action: &[f32], _: u32) -> Outcome<2> {
        let cue = counted.signum();
        let last = counted.abs() == RECALL_STEPS;
        Outcome { state: [0.0, counted + cue], reward: if last { score(false, action[0], cue) } else { 0.0 }, terminated: last }
    }

    fn observe(state: &[f64; 2], out: &mut [f32]) {
        see(state[0], out);
    }
}

impl Dynamics<1> for NanReward {
    fn start(_: &mut ChaCha8Rng) -> [f64; 1] {
        [0.0]
    }

    fn step(state: [f64; 1], _: &[f32], steps_left: u32) -> Outcome<1> {
        Outcome { state, reward: if steps_left == 0 { f64::NAN } else { 0.0 }, terminated: false }
    }

    fn observe(state: &[f64; 1], out: &mut [f32]) {
        see(state[0], out);
    }
}
