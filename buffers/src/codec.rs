//! One block into one run of bytes and back, bit for bit: columns, rearranged where that helps, LZ4, a header with lengths and checksums.
//!
//! Damaged bytes are an error that names the part, never a panic. It knows no file and no segment number.
//!
//! Layout, little-endian: `magic[4] format:u16 account_width:u16 policy_version:u64 num_steps:u32 num_envs:u32 num_bootstrap:u32 account:u32`, then for
//! each of the eleven columns `arrangement:u8 packing:u8 zero:u16 checksum:u32 packed_len:u64`, then `header checksum:u32`, then the columns' bytes.

mod arrange;

use half::f16;

use self::arrange::{Shape, pack, unpack};
use crate::block::{ACCOUNT_VALUES_MAX, TRANSITIONS_MAX};
use crate::{BuffersError, PolicyVersion, TransitionBlock};

const _: () = assert!(cfg!(target_endian = "little"), "columns are copied as they lie in memory");

const MAGIC: [u8; 4] = *b"GMTB";
const FORMAT: u16 = 1;
const NUM_COLUMNS: usize = 11;
const COLUMN_HEADER_LEN: usize = 16;
const FIXED_HEADER_LEN: usize = 32;
/// Bytes before the columns.
pub const HEADER_LEN: usize = FIXED_HEADER_LEN + NUM_COLUMNS * COLUMN_HEADER_LEN + 4;

/// How the account vector is stored; all other columns are always exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccountEncoding {
    /// As it is.
    #[default]
    F32,
    /// Rounded to half precision.
    F16,
}

/// Sizes that a header states; all lengths follow from them.
struct Sizes {
    policy_version: PolicyVersion,
    num_steps: u32,
    num_envs: u32,
    account_width: u16,
    num_bootstrap: u32,
    account: AccountEncoding,
}

impl Sizes {
    fn of(block: &TransitionBlock, account: AccountEncoding) -> Self {
        let TransitionBlock { policy_version, num_steps, num_envs, account_width, .. } = *block;
        Self { policy_version, num_steps, num_envs, account_width, num_bootstrap: block.bootstrap.len() as u32, account }
    }

    fn shapes(&self) -> [Shape; NUM_COLUMNS] {
        let lanes = self.num_envs as usize;
        let len = self.num_steps as usize * lanes;
        let num_bootstrap = self.num_bootstrap as usize;
        let step = |name, word, group| Shape { name, word, group, lag: lanes, len };
        let account_word = if self.account == AccountEncoding::F16 { 2 } else { 4 };
        [
            step("table", 2, 1),
            step("row", 4, 1),
            step("account", account_word, usize::from(self.account_width)),
            step("action", 4, 1),
            step("log_prob", 4, 1),
            step("value", 4, 1),
            step("reward", 4, 1),
            step("flags", 1, 1),
            Shape { name: "bootstrap index", word: 4, group: 1, lag: 1, len: num_bootstrap },
            Shape { name: "bootstrap value", word: 4, group: 1, lag: 1, len: num_bootstrap },
            Shape { name: "last_value", word: 4, group: 1, lag: 1, len: lanes },
        ]
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(MAGIC);
        out.extend(FORMAT.to_le_bytes());
        out.extend(self.account_width.to_le_bytes());
        out.extend(self.policy_version.0.to_le_bytes());
        for number in [self.num_steps, self.num_envs, self.num_bootstrap, u32::from(self.account == AccountEncoding::F16)] {
            out.extend(number.to_le_bytes());
        }
    }
}

/// The block as bytes.
pub fn encode(block: &TransitionBlock, account: AccountEncoding) -> Vec<u8> {
    let sizes = Sizes::of(block, account);
    let halves: Vec<f16> = match account {
        AccountEncoding::F32 => Vec::new(),
        AccountEncoding::F16 => block.account.iter().map(|&value| f16::from_f32(value)).collect(),
    };
    let (bootstrap_index, bootstrap_value): (Vec<u32>, Vec<f32>) = block.bootstrap.iter().copied().unzip();
    let columns: [&[u8]; NUM_COLUMNS] = [
        bytemuck::cast_slice(&block.table),
        bytemuck::cast_slice(&block.row),
        if account == AccountEncoding::F16 { bytemuck::cast_slice(&halves) } else { bytemuck::cast_slice(&block.account) },
        bytemuck::cast_slice(&block.action),
        bytemuck::cast_slice(&block.log_prob),
        bytemuck::cast_slice(&block.value),
        bytemuck::cast_slice(&block.reward),
        &block.flags,
        bytemuck::cast_slice(&bootstrap_index),
        bytemuck::cast_slice(&bootstrap_value),
        bytemuck::cast_slice(&block.last_value),
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
    let [table, row, account, action, log_prob, value, reward, flags, bootstrap_index, bootstrap_value, last_value] = unpacked;
    let account = match sizes.account {
        AccountEncoding::F32 => numbers(&account),
        AccountEncoding::F16 => numbers::<f16>(&account).into_iter().map(f16::to_f32).collect(),
    };
    let Sizes { policy_version, num_steps, num_envs, account_width, .. } = sizes;
    Ok(TransitionBlock {
        policy_version,
        num_steps,
        num_envs,
        account_width,
        table: numbers(&table),
        row: numbers(&row),
        account,
        action: numbers(&action),
        log_prob: numbers(&log_prob),
        value: numbers(&value),
        reward: numbers(&reward),
        flags,
        bootstrap: numbers(&bootstrap_index).into_iter().zip(numbers(&bootstrap_value)).collect(),
        last_value: numbers(&last_value),
    })
}

/// A copy with the account rounded to half precision, which [`AccountEncoding::F16`] then keeps exactly.
///
/// # Errors
/// A value beyond half precision's range.
pub fn with_account_f16(block: &TransitionBlock) -> Result<TransitionBlock, BuffersError> {
    let mut rounded = block.clone();
    for (index, value) in rounded.account.iter_mut().enumerate() {
        let half = f16::from_f32(*value);
        if !half.is_finite() {
            let expected = "within 65504 of zero, as buffer.account_f16 is on";
            return Err(BuffersError::Value { column: "account", index, value: f64::from(*value), expected });
        }
        *value = half.to_f32();
    }
    Ok(rounded)
}

fn read_sizes(header: &[u8]) -> Result<Sizes, BuffersError> {
    if header[..4] != MAGIC {
        return Err(damaged("header", format!("{:02x?}", &header[..4]), format!("{MAGIC:02x?}")));
    }
    let (body, checksum) = header.split_at(HEADER_LEN - 4);
    let (stated, found) = (u32::from_le_bytes(array(checksum)), crc32c::crc32c(body));
    if stated != found {
        return Err(damaged("header", format!("checksum {found:08x}"), format!("{stated:08x}")));
    }
    let format = u16::from_le_bytes(array(&header[4..]));
    if format != FORMAT {
        return Err(damaged("header", format!("format {format}"), format!("format {FORMAT}")));
    }
    let number = |at: usize| u32::from_le_bytes(array(&header[at..]));
    let sizes = Sizes {
        account_width: u16::from_le_bytes(array(&header[6..])),
        policy_version: PolicyVersion(u64::from_le_bytes(array(&header[8..]))),
        num_steps: number(16),
        num_envs: number(20),
        num_bootstrap: number(24),
        account: if number(28) == 0 { AccountEncoding::F32 } else { AccountEncoding::F16 },
    };
    // Before anything is allocated for them.
    let transitions = u64::from(sizes.num_steps) * u64::from(sizes.num_envs);
    let account_values = transitions.saturating_mul(sizes.account_width.into());
    if transitions > TRANSITIONS_MAX || u64::from(sizes.num_bootstrap) > transitions || account_values > ACCOUNT_VALUES_MAX {
        let found = format!("{transitions} transitions, {} bootstrap values, {account_values} account values", sizes.num_bootstrap);
        return Err(damaged("header", found, format!("at most {TRANSITIONS_MAX}, as many, {ACCOUNT_VALUES_MAX}")));
    }
    Ok(sizes)
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
