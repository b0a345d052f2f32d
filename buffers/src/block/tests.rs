//! What enters, what does not, and what a transition weighs.

use super::*;
use crate::samples;

fn refused(change: impl FnOnce(&mut TransitionBlock)) -> String {
    let mut block = samples::block(1, 4, 2, 6, 7);
    (block.flags, block.bootstrap) = (vec![0, 0, 1, 0, 0, 2, 0, 0], vec![(5, 0.5)]);
    block.validate().unwrap();
    change(&mut block);
    block.validate().unwrap_err().to_string()
}

#[test]
fn a_transition_is_at_most_64_bytes_all_in() {
    // table 2 + row 4 + observation 6 x 4 + action 4 + log_prob 4 + value 4 + reward 4 + flags 1 = 47.
    let mut block = samples::block(1, 128, 64, 6, 1);
    block.bootstrap = Vec::new();
    let fixed = size_of::<TransitionBlock>() as u64 + 64 * 4; // and last_value
    assert_eq!(block.bytes(), 47 * 128 * 64 + fixed);
    // The worst case: every step truncated, with 8 bytes of bootstrap each: 55 and the fixed part.
    block.flags.fill(flags::TRUNCATED);
    block.bootstrap = (0..128 * 64).map(|index| (index, 1.0)).collect();
    block.validate().unwrap();
    assert_eq!(block.bytes(), 55 * 128 * 64 + fixed);
    assert!(block.bytes() <= 64 * 128 * 64);
}

#[test]
fn slack_in_a_column_is_counted() {
    let mut block = samples::block(1, 4, 2, 6, 1);
    let before = block.bytes();
    block.row.reserve_exact(100);
    assert_eq!(block.bytes(), before + (block.row.capacity() as u64 - 8) * 4);
}

#[test]
fn sizes_and_lengths_are_named() {
    assert_eq!(refused(|block| block.num_steps = 0), "block num_steps was 0, must be between 1 and 16777216");
    assert_eq!(refused(|block| block.num_envs = 1 << 23), "block num_steps * num_envs was 33554432, must be between 1 and 16777216");
    assert_eq!(refused(|block| block.observation_width = 20_000), "block observation_width was 20000, must be between 0 and 16384");
    assert_eq!(
        refused(|block| block.row.truncate(7)),
        "block column row has 7 values, must have 8 (num_steps * num_envs, or none in both table and row)"
    );
    let observation = refused(|block| block.observation.truncate(47));
    assert_eq!(observation, "block column observation has 47 values, must have 48 (num_steps * num_envs * observation_width)");
    assert_eq!(
        refused(|block| block.last_value.push(0.0)),
        "block column last_value has 3 values, must have 2 (num_envs, or none where value is empty)"
    );
    assert_eq!(refused(|block| block.reward.clear()), "block column reward has 0 values, must have 8 (num_steps * num_envs)");
}

#[test]
fn what_is_not_finite_is_named_with_its_place() {
    assert_eq!(refused(|block| block.reward[3] = f32::NAN), "block column reward at index 3 is NaN, must be finite");
    assert_eq!(refused(|block| block.observation[47] = f32::INFINITY), "block column observation at index 47 is inf, must be finite");
    assert_eq!(refused(|block| block.log_prob[0] = f32::NEG_INFINITY), "block column log_prob at index 0 is -inf, must be finite");
    assert_eq!(refused(|block| block.last_value[1] = f32::NAN), "block column last_value at index 1 is NaN, must be finite");
    assert_eq!(refused(|block| block.bootstrap[0].1 = f32::NAN), "block column bootstrap at index 0 is NaN, must be a finite value");
}

#[test]
fn every_truncated_step_has_its_value_and_no_other_has() {
    let missing = refused(|block| block.bootstrap.clear());
    assert_eq!(
        missing,
        "block column flags at index 5 is 2, must be a step with its entry in bootstrap, in ascending order, as it is truncated"
    );
    for surplus in [vec![(0, 0.1), (5, 0.5)], vec![(5, 0.5), (2, 0.1)], vec![(5, 0.5), (5, 0.5)], vec![(5, 0.5), (900, 0.1)]] {
        assert!(refused(|block| block.bootstrap = surplus).contains("must be the"), "an entry without a truncated step");
    }
    assert!(refused(|block| block.flags[0] = 4).starts_with("block column flags at index 0 is 4, must be 0"));
    // Terminated and truncated at once: the value may be there and is not needed.
    for bootstrap in [vec![], vec![(5, 0.5)]] {
        let mut both = samples::block(1, 4, 2, 6, 7);
        (both.flags, both.bootstrap) = (vec![0, 0, 0, 0, 0, 3, 0, 0], bootstrap);
        both.validate().unwrap();
    }
}

fn refused_off_policy(change: impl FnOnce(&mut TransitionBlock)) -> String {
    let mut block = samples::off_policy(1, 128, 4, 6, 9);
    assert!(block.terminal.index.len() > 1);
    block.validate().unwrap();
    change(&mut block);
    block.validate().unwrap_err().to_string()
}

#[test]
fn off_policy_blocks_say_what_every_lane_and_every_end_led_to() {
    let missing = refused_off_policy(|block| block.after = Follow::default());
    assert_eq!(missing, "block column after.table has 0 values, must have 4 (num_envs off-policy on a market, else none)");
    let unvalued = refused_off_policy(|block| block.value = vec![0.0; 512]);
    assert_eq!(unvalued, "block column log_prob has 0 values, must have 512 (num_steps * num_envs, or none in both log_prob and value)");
    let bootstrap = refused_off_policy(|block| block.bootstrap = vec![(0, 1.0)]);
    assert_eq!(bootstrap, "block column bootstrap has 1 values, must have 0 (none where value is empty)");
    let both = refused(|block| block.terminal.index = vec![5]);
    assert_eq!(both, "block column terminal.index has 1 values, must have 0 (one an ended step off-policy, else none)");
    let observation = refused_off_policy(|block| block.terminal.observation.push(0.0));
    assert!(observation.starts_with("block column terminal.observation has "), "{observation}");
    let nan = refused_off_policy(|block| block.terminal.observation[1] = f32::NAN);
    assert_eq!(nan, "block column terminal.observation at index 1 is NaN, must be finite");
    let changes: [fn(&mut Vec<u32>); 3] = [|index| index[0] = 9999, |index| index.swap(0, 1), |index| index[1] = index[0]];
    for change in changes {
        assert!(refused_off_policy(|block| change(&mut block.terminal.index)).contains("must be "));
    }
    let unlisted = refused_off_policy(|block| {
        block.flags.fill(1);
    });
    assert!(unlisted.ends_with("must be a step with its entry in terminal, in ascending order, as its episode ended"), "{unlisted}");
    let surplus = refused_off_policy(|block| block.flags.fill(0));
    assert!(surplus.ends_with("must be the ascending index of an ended step"), "{surplus}");
}

#[test]
fn without_a_market_the_observation_is_all_there_is() {
    let block = samples::without_market(samples::off_policy(1, 8, 2, 4, 7));
    block.validate().unwrap();
    assert!(!block.has_market() && !block.is_on_policy());
    let nothing = samples::without_market(samples::off_policy(1, 8, 2, 0, 7)).validate().unwrap_err();
    assert_eq!(nothing.to_string(), "block observation_width was 0, must be between 1 and 16384");
    let scale = refused(|block| block.reward_scale = 0.0);
    assert_eq!(scale, "block column reward_scale at index 0 is 0, must be finite and above 0");
}
