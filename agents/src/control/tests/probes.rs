//! Each probe gives what it promises, whatever is done and when the right thing is done.

use super::*;
use crate::episode::EpisodeStats;

/// Observations, rewards and the end of lane 0 over one episode under `act`.
fn episode(id: Task, seed: u64, mut act: impl FnMut(usize, f32) -> f32) -> (Vec<f32>, Vec<f32>, EpisodeStats) {
    let mut env = env(id, 1, seed);
    let (mut observations, mut rewards) = (Vec::new(), Vec::new());
    loop {
        let seen = env.observation()[0];
        observations.push(seen);
        let step = env.step(&[act(rewards.len(), seen)]).expect("step");
        rewards.push(step.rewards[0]);
        if let [stats] = step.finished[..] {
            return (observations, rewards, stats);
        }
    }
}

/// Seeds whose first episode shows -1 and 1.
fn seeds_of_both_signs(id: Task) -> [u64; 2] {
    [-1.0, 1.0].map(|sign| (0..64).find(|seed| env(id, 1, *seed).observation()[0] == sign).expect("a start of either sign"))
}

#[test]
fn rewards_that_no_action_changes() {
    for act in [0.0, 1.0] {
        for id in [Task::ProbeConstantReward, Task::ProbeConstantRewardContinuous] {
            let (observations, rewards, stats) = episode(id, 0, |_, _| act);
            assert_eq!((observations, rewards, stats.terminated), (vec![0.0], vec![1.0], true));
        }
        for id in [Task::ProbeDelayedReward, Task::ProbeDelayedRewardContinuous] {
            let (observations, rewards, stats) = episode(id, 0, |_, _| act);
            assert_eq!((observations, rewards, stats.terminated), (vec![0.0, 1.0], vec![0.0, 1.0], true));
        }
        let (observations, rewards, stats) = episode(Task::ProbeTimeLimit, 0, |_, _| act);
        assert_eq!((observations, rewards, stats.terminated), (vec![0.0; 4], vec![1.0; 4], false));
        for (seed, sign) in seeds_of_both_signs(Task::ProbeRewardByObservation).into_iter().zip([-1.0, 1.0]) {
            let (observations, rewards, stats) = episode(Task::ProbeRewardByObservation, seed, |_, _| act);
            assert_eq!((observations, rewards, stats.terminated), (vec![sign], vec![sign], true));
        }
    }
}

#[test]
fn rewards_by_action() {
    let reward = |id, seed, action| episode(id, seed, |_, _| action).1[0];
    assert_eq!([0.0, 1.0].map(|action| reward(Task::ProbeRewardByAction, 0, action)), [-1.0, 1.0]);
    // -(a - 0.5)^2
    assert_eq!([-0.5, 0.5, 1.0].map(|action| reward(Task::ProbeRewardByActionContinuous, 0, action)), [-1.0, 0.0, -0.25]);
    let seeds = seeds_of_both_signs(Task::ProbeActionByObservation);
    assert_eq!(seeds.map(|seed| reward(Task::ProbeActionByObservation, seed, 0.0)), [1.0, -1.0]);
    assert_eq!(seeds.map(|seed| reward(Task::ProbeActionByObservation, seed, 1.0)), [-1.0, 1.0]);
    assert_eq!(seeds.map(|seed| reward(Task::ProbeActionByObservationContinuous, seed, 0.5)), [-1.0, 0.0]);
}

#[test]
fn recall_needs_what_was_seen_first() {
    for (seed, sign) in seeds_of_both_signs(Task::ProbeRecall).into_iter().zip([-1.0, 1.0]) {
        for action in [0.0, 1.0] {
            let (observations, rewards, stats) = episode(Task::ProbeRecall, seed, |step, _| if step == 2 { action } else { 1.0 - action });
            let right = (action == 1.0) == (sign > 0.0);
            assert_eq!(observations, [sign, 0.0, 0.0]);
            assert_eq!(rewards, [0.0, 0.0, if right { 1.0 } else { -1.0 }]);
            assert!(stats.terminated);
        }
    }
}

#[test]
fn a_sign_is_drawn_for_every_episode() {
    let mut env = env(Task::ProbeRewardByObservation, 1, 9);
    let num_positive = (0..1000).filter(|_| env.step(&[0.0]).expect("step").rewards[0] > 0.0).count();
    // 500 of 1000 fair signs, standard deviation 15.8.
    assert!((420..=580).contains(&num_positive), "{num_positive}");
}
