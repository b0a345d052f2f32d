//! Bit for bit there and back; damage of every kind is an error that names its part.

use super::arrange::{Arrangement, arrange, shuffle, unshuffle};
use super::*;
use crate::samples::{self, same_bits};
use proptest::prelude::*;

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
    let bytes = encode(&block, AccountEncoding::F32);
    assert!(same_bits(&decode(&bytes).unwrap(), &block));
    assert!((bytes.len() as u64) < block.bytes() * 3 / 4, "{} of {}", bytes.len(), block.bytes());
}

#[test]
fn rows_that_run_on_cost_next_to_nothing() {
    let mut block = samples::block(9, 128, 64, 0, 3);
    let with_rows = encode(&block, AccountEncoding::F32).len();
    block.row.fill(0);
    // 8192 rows of 4 bytes: all but the 64 starts vanish in the differences.
    assert!(with_rows - encode(&block, AccountEncoding::F32).len() < 700);
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
    let rounded = with_account_f16(&block).unwrap();
    assert!(!same_bits(&rounded, &block));
    assert!(same_bits(&decode(&encode(&rounded, AccountEncoding::F16)).unwrap(), &rounded));
    // 11 bits of significand: 2^-11 relative, or 2^-25 where half precision is subnormal.
    for (half, full) in rounded.account.iter().zip(&block.account) {
        assert!((half - full).abs() <= (full.abs() / 2048.0).max(1.0 / 33_554_432.0));
    }
    let mut large = block;
    large.account[10] = 70_000.0;
    let refused = with_account_f16(&large).unwrap_err().to_string();
    assert_eq!(refused, "block column account at index 10 is 70000, must be within 65504 of zero, as buffer.account_f16 is on");
}

#[test]
fn every_cut_and_every_flipped_byte_is_seen() {
    let bytes = encode(&samples::block(1, 6, 3, 6, 11), AccountEncoding::F32);
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
    let bytes = encode(&block, AccountEncoding::F32);
    let at = |change: usize| {
        let mut changed = bytes.clone();
        changed[change] ^= 1;
        changed
    };
    assert_eq!(part(&at(0)), "header");
    assert_eq!(part(&at(20)), "header");
    assert_eq!(part(&at(HEADER_LEN)), "table");
    assert_eq!(part(&at(bytes.len() - 1)), "last_value");
    let mut other_format = bytes.clone();
    other_format[4] = 9;
    seal(&mut other_format);
    let message = decode(&other_format).unwrap_err().to_string();
    assert_eq!(message, "damaged header: found format 9, expected format 1");
}

#[test]
fn absurd_sizes_under_a_true_checksum_allocate_nothing() {
    let bytes = encode(&samples::block(1, 4, 2, 6, 1), AccountEncoding::F32);
    for at in [16, 20, 24] {
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

/// Any bits at all in the floats: the codec keeps what it is given, the door is elsewhere.
fn any_block() -> impl Strategy<Value = TransitionBlock> {
    let sizes = (1_u32..20, 1_u32..9, 0_u16..8, 0_u64..1 << 40, any::<bool>());
    sizes.prop_flat_map(|(num_steps, num_envs, account_width, version, calm)| {
        let len = (num_steps * num_envs) as usize;
        // Calm columns compress, wild ones do not: both paths are taken.
        let float = if calm { (0_u32..3).boxed() } else { any::<u32>().boxed() }.prop_map(f32::from_bits).boxed();
        let column = |len: usize| prop::collection::vec(float.clone(), len);
        (
            prop::collection::vec(any::<u16>(), len),
            prop::collection::vec(any::<u32>(), len),
            column(len * usize::from(account_width)),
            (column(len), column(len), column(len), column(len)),
            prop::collection::vec(any::<u8>(), len),
            prop::collection::vec((any::<u32>(), float.clone()), 0..=len),
            column(num_envs as usize),
        )
            .prop_map(move |(table, row, account, (action, log_prob, value, reward), flags, bootstrap, last_value)| {
                TransitionBlock {
                    policy_version: PolicyVersion(version),
                    num_steps,
                    num_envs,
                    account_width,
                    table,
                    row,
                    account,
                    action,
                    log_prob,
                    value,
                    reward,
                    flags,
                    bootstrap,
                    last_value,
                }
            })
    })
}

proptest! {
    #[test]
    fn what_went_in_comes_out(block in any_block()) {
        prop_assert!(same_bits(&decode(&encode(&block, AccountEncoding::F32)).unwrap(), &block));
    }

    /// Behind true checksums LZ4 itself sees the damage, or the result is some other block; never a panic.
    #[test]
    fn damage_under_true_checksums_does_not_panic(seed in 0_u64..50, at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = encode(&samples::block(1, 32, 4, 6, seed), AccountEncoding::F32);
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
