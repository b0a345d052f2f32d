//! One block into one run of bytes and back, bit for bit: columns, rearranged where that helps, LZ4, a header with lengths and checksums.
//!
//! Damaged bytes are an error that names the part, never a panic. It knows no file and no segment number.
//!
//! Layout, little-endian: `magic[4] format:u16 observation_width:u16 policy_version:u64 num_steps:u32 num_envs:u32 num_bootstrap:u32 num_terminal:u32
//! action_width:u16 state_width:u16 parts:u32 reward_scale:f32`, then for each of the nineteen columns `arrangement:u8 packing:u8 zero:u16
//! checksum:u32 packed_len:u64`, then `header checksum:u32`, then the columns' bytes. Columns that a block leaves empty have no bytes.

mod arrange;
mod header;

use half::f16;

pub use self::header::HEADER_LEN;

use self::arrange::{pack, unpack};
use self::header::{COLUMN_HEADER_LEN, FIXED_HEADER_LEN, NUM_COLUMNS, Sizes, read_sizes};
use crate::block::{Follow, Terminal};
use crate::{BuffersError, TransitionBlock};

const _: () = assert!(cfg!(target_endian = "little"), "columns are copied as they lie in memory");

/// How observation vectors are stored; all other columns are always exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ObservationEncoding {
    /// As they are.
    #[default]
    F32,
    /// Rounded to half precision.
    F16,
}

/// The block as bytes.
pub fn encode(block: &TransitionBlock, observation: ObservationEncoding) -> Vec<u8> {
    let sizes = Sizes::of(block, observation);
    let TransitionBlock { after, terminal, .. } = block;
    let observations = [&block.observation, &after.observation, &terminal.observation];
    let halves: [Vec<f16>; 3] = match observation {
        ObservationEncoding::F32 => Default::default(),
        ObservationEncoding::F16 => observations.map(|column| column.iter().map(|&value| f16::from_f32(value)).collect()),
    };
    let observation_bytes = |at: usize| match observation {
        ObservationEncoding::F32 => bytemuck::cast_slice(observations[at]),
        ObservationEncoding::F16 => bytemuck::cast_slice(&halves[at]),
    };
    let (bootstrap_index, bootstrap_value): (Vec<u32>, Vec<f32>) = block.bootstrap.iter().copied().unzip();
    let columns: [&[u8]; NUM_COLUMNS] = [
        bytemuck::cast_slice(&block.table),
        bytemuck::cast_slice(&block.row),
        observation_bytes(0),
        bytemuck::cast_slice(&block.action),
        bytemuck::cast_slice(&block.log_prob),
        bytemuck::cast_slice(&block.value),
        bytemuck::cast_slice(&block.reward),
        &block.flags,
        bytemuck::cast_slice(&bootstrap_index),
        bytemuck::cast_slice(&bootstrap_value),
        bytemuck::cast_slice(&block.last_value),
        bytemuck::cast_slice(&after.table),
        bytemuck::cast_slice(&after.row),
        observation_bytes(1),
        bytemuck::cast_slice(&terminal.index),
        bytemuck::cast_slice(&terminal.table),
        bytemuck::cast_slice(&terminal.row),
        observation_bytes(2),
        bytemuck::cast_slice(&block.state),
    ];
    let mut header = Vec::with_capacity(HEADER_LEN);
    sizes.write(&mut header);
    let mut payload = Vec::new();
    for (shape, raw) in sizes.shapes().iter().zip(columns) {
        let (arrangement, is_lz4, packed) = pack(shape, raw);
        header.extend([arrangement as u8, u8::from(is_lz4), 0, 0]);
        header.extend(crc32c::crc32c(&packed).to_le_bytes());
        header.extend((packed.len() as u64).to_le_bytes());
        payload.extend_from_slice(&packed);
    }
    header.extend(crc32c::crc32c(&header).to_le_bytes());
    header.extend_from_slice(&payload);
    header
}

/// The block that [`encode`] was given.
///
/// # Errors
/// [`BuffersError::Damaged`] names the part, what was found and what was expected.
pub fn decode(bytes: &[u8]) -> Result<TransitionBlock, BuffersError> {
    let (header, mut payload) =
        bytes.split_at_checked(HEADER_LEN).ok_or_else(|| damaged("header", bytes.len(), format!("{HEADER_LEN} bytes")))?;
    let sizes = read_sizes(header)?;
    let mut columns = header[FIXED_HEADER_LEN..].chunks_exact(COLUMN_HEADER_LEN);
    let mut unpacked: [Vec<u8>; NUM_COLUMNS] = Default::default();
    for (shape, raw) in sizes.shapes().iter().zip(&mut unpacked) {
        let column = columns.next().expect("Invariant: the header's length counts its columns");
        let packed_len = u64::from_le_bytes(array(&column[8..])) as usize;
        let (packed, rest) = payload
            .split_at_checked(packed_len)
            .ok_or_else(|| damaged(shape.name, format!("{} bytes", payload.len()), format!("{packed_len} bytes")))?;
        payload = rest;
        let (stated, found) = (u32::from_le_bytes(array(&column[4..])), crc32c::crc32c(packed));
        if stated != found {
            return Err(damaged(shape.name, format!("checksum {found:08x}"), format!("{stated:08x}")));
        }
        *raw = unpack(shape, column[0], column[1], packed)?;
    }
    if !payload.is_empty() {
        return Err(damaged("segment", format!("{} bytes after the last column", payload.len()), "none"));
    }
    Ok(assemble(sizes, unpacked))
}

/// The block of those sizes from its columns' bytes, whose lengths the sizes gave.
fn assemble(sizes: Sizes, columns: [Vec<u8>; NUM_COLUMNS]) -> TransitionBlock {
    let [table, row, observation, action, log_prob, value, reward, flags, columns @ ..] = columns;
    let [bootstrap_index, bootstrap_value, last_value, columns @ ..] = columns;
    let [after_table, after_row, after_observation, columns @ ..] = columns;
    let [terminal_index, terminal_table, terminal_row, terminal_observation, state] = columns;
    let vectors = |bytes: &[u8]| match sizes.observation {
        ObservationEncoding::F32 => numbers(bytes),
        ObservationEncoding::F16 => numbers::<f16>(bytes).into_iter().map(f16::to_f32).collect(),
    };
    TransitionBlock {
        policy_version: sizes.policy_version,
        num_steps: sizes.num_steps,
        num_envs: sizes.num_envs,
        observation_width: sizes.observation_width,
        action_width: sizes.action_width,
        state_width: sizes.state_width,
        table: numbers(&table),
        row: numbers(&row),
        observation: vectors(&observation),
        action: numbers(&action),
        log_prob: numbers(&log_prob),
        value: numbers(&value),
        reward: numbers(&reward),
        flags,
        bootstrap: numbers(&bootstrap_index).into_iter().zip(numbers(&bootstrap_value)).collect(),
        last_value: numbers(&last_value),
        after: Follow { table: numbers(&after_table), row: numbers(&after_row), observation: vectors(&after_observation) },
        terminal: Terminal {
            index: numbers(&terminal_index),
            table: numbers(&terminal_table),
            row: numbers(&terminal_row),
            observation: vectors(&terminal_observation),
        },
        state: numbers(&state),
        reward_scale: sizes.reward_scale,
    }
}

/// A copy with the observations rounded to half precision, which [`ObservationEncoding::F16`] then keeps exactly.
///
/// # Errors
/// A value beyond half precision's range.
pub fn with_observation_f16(block: &TransitionBlock) -> Result<TransitionBlock, BuffersError> {
    let mut rounded = block.clone();
    let columns = [
        ("observation", &mut rounded.observation),
        ("after.observation", &mut rounded.after.observation),
        ("terminal.observation", &mut rounded.terminal.observation),
    ];
    for (column, values) in columns {
        for (index, value) in values.iter_mut().enumerate() {
            let half = f16::from_f32(*value);
            if !half.is_finite() {
                let expected = "within 65504 of zero, as buffer.observation_f16 is on";
                return Err(BuffersError::Value { column, index, value: f64::from(*value), expected });
            }
            *value = half.to_f32();
        }
    }
    Ok(rounded)
}

fn numbers<T: bytemuck::Pod>(bytes: &[u8]) -> Vec<T> {
    let mut values = vec![T::zeroed(); bytes.len() / size_of::<T>()];
    bytemuck::cast_slice_mut::<T, u8>(&mut values).copy_from_slice(bytes);
    values
}

/// The first bytes as an array; callers have checked that they are there.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("Invariant: the header's length was checked")
}

fn damaged(part: &'static str, found: impl ToString, expected: impl ToString) -> BuffersError {
    BuffersError::Damaged { part, found: found.to_string(), expected: expected.to_string() }
}

#[cfg(test)]
mod tests;
