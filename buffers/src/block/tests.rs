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
    // table 2 + row 4 + account 6 x 4 + action 4 + log_prob 4 + value 4 + reward 4 + flags 1 = 47.
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
    assert_eq!(refused(|block| block.account_width = 2000), "block account_width was 2000, must be between 0 and 1024");
    assert_eq!(refused(|block| block.row.truncate(7)), "block column row has 7 values, must have 8 (num_steps * num_envs)");
    let account = refused(|block| block.account.truncate(47));
    assert_eq!(account, "block column account has 47 values, must have 48 (num_steps * num_envs * account_width)");
    assert_eq!(refused(|block| block.last_value.push(0.0)), "block column last_value has 3 values, must have 2 (num_envs)");
    assert_eq!(refused(|block| block.reward.clear()), "block column reward has 0 values, must have 8 (num_steps * num_envs)");
}

#[test]
fn what_is_not_finite_is_named_with_its_place() {
    assert_eq!(refused(|block| block.reward[3] = f32::NAN), "block column reward at index 3 is NaN, must be finite");
    assert_eq!(refused(|block| block.account[47] = f32::INFINITY), "block column account at index 47 is inf, must be finite");
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
