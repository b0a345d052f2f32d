//! One transition as a row of 32-bit words, everything of it side by side: a sample is one or two cache lines. It knows no segment.
//!
//! `mark, reward, [market row], observation.., action..`; the mark holds the flags (bits 0 and 1), the number of the terminal observation within the
//! segment (bits 2 to 11) and the feature table (bits 16 to 31).

use crate::{BuffersError, TransitionBlock};

/// Transitions of one segment.
pub const SEGMENT_LEN: usize = 1024;

pub(super) const MARK: usize = 0;
pub(super) const REWARD: usize = 1;
const MARKET_ROW: usize = 2;
const FLAG_BITS: u32 = 3;
const END_SHIFT: u32 = 2;
const TABLE_SHIFT: u32 = 16;

const _: () = assert!((SEGMENT_LEN as u32 - 1) << END_SHIFT < 1 << TABLE_SHIFT);

/// Where what lies in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowLayout {
    pub(super) observation_width: usize,
    pub(super) action_width: usize,
    pub(super) has_market: bool,
    /// First word of the observation.
    pub(super) observation_at: usize,
    /// First word of the action.
    pub(super) action_at: usize,
    /// Words of one row.
    pub(super) words: usize,
}

impl RowLayout {
    pub(super) fn new(observation_width: usize, action_width: usize, has_market: bool) -> Self {
        let observation_at = if has_market { MARKET_ROW + 1 } else { MARKET_ROW };
        let action_at = observation_at + observation_width;
        Self { observation_width, action_width, has_market, observation_at, action_at, words: action_at + action_width }
    }

    /// Bytes of a run of rows.
    pub(super) fn bytes(&self, rows: usize) -> u64 {
        (rows * self.words * 4) as u64
    }

    pub(super) fn observation<'a>(&self, row: &'a [u32]) -> &'a [f32] {
        bytemuck::cast_slice(&row[self.observation_at..self.action_at])
    }

    pub(super) fn action<'a>(&self, row: &'a [u32]) -> &'a [f32] {
        bytemuck::cast_slice(&row[self.action_at..self.words])
    }

    /// Writes transitions `from ..` of the block, as many as there are rows; `ends` counts the terminal observations of the segment.
    pub(super) fn write_rows(&self, rows: &mut [u32], block: &TransitionBlock, from: usize, ends: &mut u32) {
        let observations = &block.observation[from * self.observation_width..];
        let actions = &block.action[from * self.action_width..];
        for (i, row) in rows.chunks_exact_mut(self.words).enumerate() {
            let index = from + i;
            let flags = u32::from(block.flags[index]);
            let mut mark = flags;
            if flags != 0 {
                mark |= *ends << END_SHIFT;
                *ends += 1;
            }
            if self.has_market {
                mark |= u32::from(block.table[index]) << TABLE_SHIFT;
                row[MARKET_ROW] = block.row[index];
            }
            row[MARK] = mark;
            row[REWARD] = block.reward[index].to_bits();
            let observation = &observations[i * self.observation_width..][..self.observation_width];
            row[self.observation_at..self.action_at].copy_from_slice(bytemuck::cast_slice(observation));
            row[self.action_at..].copy_from_slice(bytemuck::cast_slice(&actions[i * self.action_width..][..self.action_width]));
        }
    }

    /// Writes what was observed and nothing else.
    pub(super) fn write_observation(&self, row: &mut [u32], table: Option<(u16, u32)>, observation: &[f32]) {
        row.fill(0);
        if let Some((table, market_row)) = table {
            row[MARK] = u32::from(table) << TABLE_SHIFT;
            row[MARKET_ROW] = market_row;
        }
        row[self.observation_at..self.action_at].copy_from_slice(bytemuck::cast_slice(observation));
    }

    /// Whether both rows observed the same, to the bit.
    pub(super) fn same_observation(&self, a: &[u32], b: &[u32]) -> bool {
        a[MARK] >> TABLE_SHIFT == b[MARK] >> TABLE_SHIFT && a[MARKET_ROW..self.action_at] == b[MARKET_ROW..self.action_at]
    }

    /// Checks that a block is what the layout was made for.
    pub(super) fn check(&self, block: &TransitionBlock, num_envs: u32) -> Result<(), BuffersError> {
        let expect = |field, found: u64, expected: u64| {
            if found == expected { Ok(()) } else { Err(BuffersError::BlockShape { field, found, expected }) }
        };
        expect("num_envs", block.num_envs.into(), num_envs.into())?;
        expect("observation_width", block.observation_width.into(), self.observation_width as u64)?;
        expect("action_width", block.action_width.into(), self.action_width as u64)?;
        expect("market", block.has_market().into(), self.has_market.into())?;
        expect("values (replay takes off-policy blocks)", block.is_on_policy().into(), 0)
    }
}

pub(super) fn flags_of(mark: u32) -> u8 {
    (mark & FLAG_BITS) as u8
}

pub(super) fn end_of(mark: u32) -> usize {
    (mark as usize & ((1 << TABLE_SHIFT) - 1)) >> END_SHIFT
}

pub(super) fn table_of(mark: u32) -> u16 {
    (mark >> TABLE_SHIFT) as u16
}

pub(super) fn market_row_of(row: &[u32]) -> u32 {
    row[MARKET_ROW]
}

/// Copies a short run without a call: eights or fours, the last of which may overlap the one before.
#[inline(always)]
pub(super) fn copy(to: &mut [f32], from: &[f32]) {
    assert_eq!(to.len(), from.len(), "Invariant: a row's part is copied whole");
    match to.len() {
        0..4 => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
        4..8 => copy_by::<4>(to, from),
        8..=64 => copy_by::<8>(to, from),
        _ => to.copy_from_slice(from),
    }
}

#[inline(always)]
fn copy_by<const N: usize>(to: &mut [f32], from: &[f32]) {
    let mut at = 0;
    while at + N <= to.len() {
        to[at..at + N].copy_from_slice(&from[at..at + N]);
        at += N;
    }
    let last = to.len() - N;
    to[last..].copy_from_slice(&from[last..]);
}

/// Asks for the cache lines of a run of numbers; where the processor has no such wish, nothing.
#[inline(always)]
pub(super) fn prefetch<T: bytemuck::Pod>(words: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..words.len()).step_by(64 / size_of::<T>()) {
        // SAFETY: a prefetch reads nothing that the program sees, and SSE is part of the architecture.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>((&raw const words[at]).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = words;
}
