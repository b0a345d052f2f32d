//! Bit for bit there and back; damage of every kind is an error that names its part.

use super::arrange::{Arrangement, Shape, arrange, shuffle, unshuffle};
use super::*;
use crate::samples::{self, same_bits};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn part(bytes: &[u8]) -> &'static str {
    match decode(bytes) {
        Err(BuffersError::Damaged { part, .. }) => part,
        other => panic!("{other:?}"),
    }
}

/// States the checksums anew, so that what is behind them is tested.
fn seal(bytes: &mut [u8]) {
    let checksum = crc32c::crc32c(&bytes[..HEADER_LEN - 4]);
    bytes[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn a_rollout_shrinks_and_comes_back() {
    let block = samples::block(9, 128, 64, 6, 3);
    let bytes = encode(&block, ObservationEncoding::F32);
    assert!(same_bits(&decode(&bytes).unwrap(), &block));
    assert!((bytes.len() as u64) < block.bytes() * 3 / 4, "{} of {}", bytes.len(), block.bytes());
}

#[test]
fn rows_that_run_on_cost_next_to_nothing() {
    let mut block = samples::block(9, 128, 64, 0, 3);
    let with_rows = encode(&block, ObservationEncoding::F32).len();
    block.row.fill(0);
    // 8192 rows of 4 bytes: all but the 64 starts vanish in the differences.
    assert!(with_rows - encode(&block, ObservationEncoding::F32).len() < 700);
}

#[test]
fn shuffle_gathers_bytes_by_their_place() {
    assert_eq!(shuffle(&[1, 2, 3, 4, 5, 6], 2), [1, 3, 5, 2, 4, 6]);
    assert_eq!(unshuffle(&[1, 3, 5, 2, 4, 6], 2), [1, 2, 3, 4, 5, 6]);
    // Two lanes of u16, differences lane by lane: 1, 10 | 2 - 1, 12 - 10 -> low bytes, then high bytes.
    let shape = Shape { name: "x", word: 2, group: 1, lag: 2, len: 4 };
    let raw = [1, 0, 10, 0, 2, 0, 12, 0];
    assert_eq!(arrange(&shape, Arrangement::StepDelta, &raw), [1, 10, 1, 2, 0, 0, 0, 0]);
}

#[test]
fn half_precision_is_exact_once_rounded_and_refuses_what_it_cannot_hold() {
    let block = samples::block(2, 16, 4, 6, 5);
    let rounded = with_observation_f16(&block).unwrap();
    assert!(!same_bits(&rounded, &block));
    assert!(same_bits(&decode(&encode(&rounded, ObservationEncoding::F16)).unwrap(), &rounded));
    // 11 bits of significand: 2^-11 relative, or 2^-25 where half precision is subnormal.
    for (half, full) in rounded.observation.iter().zip(&block.observation) {
        assert!((half - full).abs() <= (full.abs() / 2048.0).max(1.0 / 33_554_432.0));
    }
    let mut large = block;
    large.observation[10] = 70_000.0;
    let refused = with_observation_f16(&large).unwrap_err().to_string();
    assert_eq!(refused, "block column observation at index 10 is 70000, must be within 65504 of zero, as buffer.observation_f16 is on");
}

#[test]
fn every_cut_and_every_flipped_byte_is_seen() {
    let bytes = encode(&samples::block(1, 6, 3, 6, 11), ObservationEncoding::F32);
    for len in 0..bytes.len() {
        part(&bytes[..len]);
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        part(&flipped);
    }
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(part(&longer), "segment");
}

#[test]
fn the_damaged_part_is_named() {
    let block = samples::block(1, 64, 8, 6, 11);
    let bytes = encode(&block, ObservationEncoding::F32);
    let at = |change: usize| {
        let mut changed = bytes.clone();
        changed[change] ^= 1;
        changed
    };
    assert_eq!(part(&at(0)), "header");
    assert_eq!(part(&at(20)), "header");
    assert_eq!(part(&at(HEADER_LEN)), "table");
    assert_eq!(part(&at(bytes.len() - 1)), "last_value");
    let off_policy = encode(&samples::off_policy(1, 64, 8, 6, 11), ObservationEncoding::F32);
    assert_eq!(part(&[&off_policy[..off_policy.len() - 1], &[!off_policy[off_policy.len() - 1]]].concat()), "state");
    let mut other_format = bytes.clone();
    other_format[4] = 9;
    seal(&mut other_format);
    let message = decode(&other_format).unwrap_err().to_string();
    assert_eq!(message, "damaged header: found format 9, expected format 2");
}

#[test]
fn absurd_sizes_under_a_true_checksum_allocate_nothing() {
    let bytes = encode(&samples::block(1, 4, 2, 6, 1), ObservationEncoding::F32);
    for at in [16, 20, 24, 28, 32] {
        let mut absurd = bytes.clone();
        absurd[at..at + 4].fill(0xff);
        seal(&mut absurd);
        assert_eq!(part(&absurd), "header");
    }
    // Another size than the columns have, within the limits: the first column does not fill it.
    let mut larger = bytes.clone();
    larger[16] = 5;
    seal(&mut larger);
    assert_eq!(part(&larger), "table");
    // A column length that runs past the end.
    let mut long = bytes;
    long[FIXED_HEADER_LEN + 8..FIXED_HEADER_LEN + 16].fill(0xff);
    seal(&mut long);
    assert_eq!(part(&long), "table");
}

#[test]
fn off_policy_blocks_come_back_with_and_without_a_market() {
    for block in [
        samples::off_policy(9, 64, 8, 6, 3),
        samples::off_policy(9, 64, 8, 0, 3),
        samples::without_market(samples::off_policy(9, 64, 8, 6, 3)),
    ] {
        block.validate().unwrap();
        let bytes = encode(&block, ObservationEncoding::F32);
        assert!(same_bits(&decode(&bytes).unwrap(), &block));
        let rounded = with_observation_f16(&block).unwrap();
        assert!(same_bits(&decode(&encode(&rounded, ObservationEncoding::F16)).unwrap(), &rounded));
        assert_eq!(same_bits(&rounded, &block), block.observation_width == 0);
    }
}

/// Any bits at all in the columns: the codec keeps what it is given, the door is elsewhere.
fn any_block() -> impl Strategy<Value = TransitionBlock> {
    let shape = (1_u32..20, 1_u32..9, 0_u16..8, 1_u16..4, 0_u64..1 << 40, any::<u64>(), any::<bool>(), any::<bool>(), any::<bool>());
    shape.prop_map(|(num_steps, num_envs, observation_width, action_width, version, seed, calm, market, is_on_policy)| {
        let base = if is_on_policy { samples::block } else { samples::off_policy };
        let mut block = base(version, num_steps, num_envs, observation_width, seed);
        if !market {
            block = samples::without_market(block);
        }
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        block.action_width = action_width;
        block.action = vec![0.0; block.num_transitions() * usize::from(action_width)];
        let TransitionBlock { observation, action, log_prob, value, reward, last_value, state, after, terminal, .. } = &mut block;
        for column in [observation, action, log_prob, value, reward, last_value, state, &mut after.observation, &mut terminal.observation] {
            // Calm columns compress, wild ones do not: both paths are taken.
            column.fill_with(|| f32::from_bits(if calm { draw.random_range(0..3) } else { draw.random() }));
        }
        for column in [&mut block.row, &mut block.after.row, &mut block.terminal.index, &mut block.terminal.row] {
            column.fill_with(|| draw.random());
        }
        block.flags.fill_with(|| draw.random());
        block.reward_scale = f32::from_bits(draw.random());
        block
    })
}

proptest! {
    #[test]
    fn what_went_in_comes_out(block in any_block()) {
        prop_assert!(same_bits(&decode(&encode(&block, ObservationEncoding::F32)).unwrap(), &block));
    }

    /// Behind true checksums LZ4 itself sees the damage, or the result is some other block; never a panic.
    #[test]
    fn damage_under_true_checksums_does_not_panic(seed in 0_u64..50, at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = encode(&samples::block(1, 32, 4, 6, seed), ObservationEncoding::F32);
        let at = at.index(bytes.len());
        bytes[at] = value;
        let mut start = HEADER_LEN;
        for column in 0..NUM_COLUMNS {
            let entry = FIXED_HEADER_LEN + column * COLUMN_HEADER_LEN;
            let len = u64::from_le_bytes(array(&bytes[entry + 8..])) as usize;
            let Some(packed) = start.checked_add(len).and_then(|end| bytes.get(start..end)) else { break };
            let checksum = crc32c::crc32c(packed);
            bytes[entry + 4..entry + 8].copy_from_slice(&checksum.to_le_bytes());
            start += len;
        }
        seal(&mut bytes);
        let _ = decode(&bytes);
    }

    #[test]
    fn any_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(decode(&bytes).is_err());
    }
}
