//! One column's bytes, rearranged so that LZ4 finds more in them, and back. It knows no block and no header.

use super::{array, damaged};
use crate::BuffersError;

/// So much of a column is tried in each arrangement before one is chosen for all of it.
const TRIAL_BYTES: usize = 64 << 10;

/// How a column's bytes lie before LZ4 sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrangement {
    /// As in memory.
    Plain = 0,
    /// All first bytes of the elements, then all second bytes, ...
    Shuffled = 1,
    /// Shuffled differences (of the words' bits) from the same lane's step before.
    StepDelta = 2,
}

const ARRANGEMENTS: [Arrangement; 3] = [Arrangement::Plain, Arrangement::Shuffled, Arrangement::StepDelta];

/// What a column is made of.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// Bytes of one number.
    pub(super) word: usize,
    /// Numbers of one element: the account vector is shuffled as a whole, so that each of its fields becomes a run.
    pub(super) group: usize,
    /// Elements from one step of a lane to the next.
    pub(super) lag: usize,
    /// Elements in the column.
    pub(super) len: usize,
}

impl Shape {
    /// Length of the column, unpacked.
    pub(super) fn bytes(&self) -> usize {
        self.word * self.group * self.len
    }
}

/// The smallest of the arrangements, by trial on the column's beginning; raw where LZ4 does not shrink it.
pub(super) fn pack(shape: &Shape, raw: &[u8]) -> (Arrangement, bool, Vec<u8>) {
    if raw.is_empty() {
        return (Arrangement::Plain, false, Vec::new());
    }
    let element = shape.word * shape.group;
    // Enough steps that differences show.
    let trial_len = TRIAL_BYTES.max(4 * shape.lag * element).min(raw.len());
    let trial_len = trial_len / element * element;
    let size_of_trial = |arrangement: &Arrangement| lz4_flex::block::compress(&arrange(shape, *arrangement, &raw[..trial_len])).len();
    let arrangement = ARRANGEMENTS.into_iter().min_by_key(size_of_trial).expect("Invariant: there are arrangements");
    let packed = lz4_flex::block::compress(&arrange(shape, arrangement, raw));
    if packed.len() < raw.len() { (arrangement, true, packed) } else { (Arrangement::Plain, false, raw.to_vec()) }
}

/// The column that [`pack`] was given; damage is an error.
pub(super) fn unpack(shape: &Shape, arrangement: u8, is_lz4: u8, packed: &[u8]) -> Result<Vec<u8>, BuffersError> {
    let wrong_len = |found: usize| damaged(shape.name, format!("{found} bytes"), format!("{} bytes", shape.bytes()));
    let arranged = match is_lz4 {
        0 if packed.len() == shape.bytes() => packed.to_vec(),
        0 => return Err(wrong_len(packed.len())),
        1 => {
            let mut arranged = vec![0; shape.bytes()];
            let found = lz4_flex::block::decompress_into(packed, &mut arranged)
                .map_err(|error| damaged(shape.name, error, format!("{} bytes of LZ4", shape.bytes())))?;
            if found != shape.bytes() {
                return Err(wrong_len(found));
            }
            arranged
        }
        other => return Err(damaged(shape.name, format!("packing {other}"), "0 or 1")),
    };
    match ARRANGEMENTS.get(usize::from(arrangement)) {
        Some(&arrangement) => Ok(restore(shape, arrangement, arranged)),
        None => Err(damaged(shape.name, format!("arrangement {arrangement}"), "0, 1 or 2")),
    }
}

pub(super) fn arrange(shape: &Shape, arrangement: Arrangement, raw: &[u8]) -> Vec<u8> {
    let element = shape.word * shape.group;
    match arrangement {
        Arrangement::Plain => raw.to_vec(),
        Arrangement::Shuffled => shuffle(raw, element),
        Arrangement::StepDelta => {
            let mut differences = raw.to_vec();
            let lag = shape.lag * element;
            for at in (lag..raw.len()).step_by(shape.word) {
                let difference = word(raw, at, shape.word).wrapping_sub(word(raw, at - lag, shape.word));
                differences[at..at + shape.word].copy_from_slice(&difference.to_le_bytes()[..shape.word]);
            }
            shuffle(&differences, element)
        }
    }
}

fn restore(shape: &Shape, arrangement: Arrangement, arranged: Vec<u8>) -> Vec<u8> {
    if arranged.is_empty() {
        return arranged;
    }
    let element = shape.word * shape.group;
    match arrangement {
        Arrangement::Plain => arranged,
        Arrangement::Shuffled => unshuffle(&arranged, element),
        Arrangement::StepDelta => {
            let mut raw = unshuffle(&arranged, element);
            let lag = shape.lag * element;
            for at in (lag..raw.len()).step_by(shape.word) {
                let sum = word(&raw, at, shape.word).wrapping_add(word(&raw, at - lag, shape.word));
                raw[at..at + shape.word].copy_from_slice(&sum.to_le_bytes()[..shape.word]);
            }
            raw
        }
    }
}

/// The little-endian number of 1, 2 or 4 bytes at `at`.
fn word(bytes: &[u8], at: usize, len: usize) -> u32 {
    match len {
        1 => bytes[at].into(),
        2 => u16::from_le_bytes(array(&bytes[at..])).into(),
        _ => u32::from_le_bytes(array(&bytes[at..])),
    }
}

pub(super) fn shuffle(bytes: &[u8], element: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in 0..element {
        out.extend(bytes.iter().skip(byte).step_by(element));
    }
    out
}

pub(super) fn unshuffle(bytes: &[u8], element: usize) -> Vec<u8> {
    let mut out = vec![0; bytes.len()];
    for (byte, run) in bytes.chunks_exact(bytes.len() / element).enumerate() {
        for (slot, &value) in out.iter_mut().skip(byte).step_by(element).zip(run) {
            *slot = value;
        }
    }
    out
}
