//! Top-k sparsification with error feedback: of a gradient only the largest entries are sent, the rest is remembered and added to the next one. A gradient and the
//! memory in; what is sent out, as indices and values or as bytes. When that pays is [`ExchangeCost`]'s question.
//!
//! # Source
//! Stich et al. 2018, arXiv:1809.07599, algorithm 1; entries are moved, never scaled.

use crate::TrainerError;

/// Bits of a magnitude that one pass over the values decides.
const DIGIT_BITS: [u32; 3] = [11, 10, 10];

/// Entries that are sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sparse {
    /// Ascending.
    pub indices: Vec<u32>,
    /// One an index.
    pub values: Vec<f32>,
}

/// Entries that are sent of `len`: at least one.
pub fn num_sent(len: usize, share: f64) -> usize {
    ((len as f64 * share).ceil() as usize).clamp(1, len.max(1))
}

/// Takes the `k` entries of largest magnitude of `gradient + error`, the first of equal ones; the others stay in `error`. What is not finite counts as largest, so
/// that whoever receives it notices.
///
/// # Panics
/// When the two differ in length.
pub fn sparsify(gradient: &[f32], error: &mut [f32], k: usize) -> Sparse {
    assert_eq!(gradient.len(), error.len(), "Invariant: one remembered value a parameter");
    error.iter_mut().zip(gradient).for_each(|(e, g)| *e += g);
    let k = k.min(error.len());
    let (least, mut equal) = least_sent(error, k);
    let mut sparse = Sparse { indices: Vec::with_capacity(k), values: Vec::with_capacity(k) };
    for (index, value) in error.iter_mut().enumerate() {
        let magnitude = magnitude(*value);
        let is_sent = magnitude > least || magnitude == least && equal > 0;
        if is_sent {
            equal -= usize::from(magnitude == least);
            sparse.indices.push(index as u32);
            sparse.values.push(std::mem::take(value));
        }
    }
    sparse
}

/// Bits that order values by magnitude.
fn magnitude(value: f32) -> u32 {
    value.to_bits() & !(1 << 31)
}

/// The smallest magnitude among the `k` largest, and how many of those are equal to it: found digit by digit, from the highest.
fn least_sent(values: &[f32], k: usize) -> (u32, usize) {
    let (mut prefix, mut shift, mut wanted) = (0, 31, k);
    for bits in DIGIT_BITS {
        shift -= bits;
        let mut counts = vec![0_usize; 1 << bits];
        for value in values {
            let magnitude = magnitude(*value) >> shift;
            if magnitude >> bits == prefix {
                counts[(magnitude & ((1 << bits) - 1)) as usize] += 1;
            }
        }
        let mut digit = (1 << bits) - 1;
        while digit > 0 && counts[digit] < wanted {
            wanted -= counts[digit];
            digit -= 1;
        }
        prefix = prefix << bits | digit as u32;
    }
    (prefix, wanted)
}

impl Sparse {
    /// Adds the entries to a whole gradient.
    ///
    /// # Panics
    /// When an index lies beyond it.
    pub fn add_to(&self, gradient: &mut [f32]) {
        self.indices.iter().zip(&self.values).for_each(|(index, value)| gradient[*index as usize] += value);
    }

    /// As bytes: of each entry the distance from the one before in seven bits a byte, lowest first, the eighth saying that more follow; then all values, little-endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.indices.len() * 6);
        let mut next = 0;
        for index in &self.indices {
            let mut distance = index - next;
            next = index + 1;
            while distance >= 128 {
                bytes.push(distance as u8 | 128);
                distance >>= 7;
            }
            bytes.push(distance as u8);
        }
        bytes.extend(self.values.iter().flat_map(|value| value.to_le_bytes()));
        bytes
    }

    /// Reads `k` entries of a gradient of `len` parameters.
    ///
    /// # Errors
    /// [`TrainerError::SparseGradient`] for bytes that are no such entries.
    pub fn decode(bytes: &[u8], k: usize, len: usize) -> Result<Self, TrainerError> {
        let refuse = |problem: String| TrainerError::SparseGradient { problem };
        let split = bytes.len().checked_sub(4 * k).ok_or_else(|| refuse(format!("{} bytes cannot hold {k} entries", bytes.len())))?;
        let (distances, values) = bytes.split_at(split);
        let (mut indices, mut next, mut distance, mut shift) = (Vec::with_capacity(k), 0_u64, 0_u64, 0);
        for byte in distances {
            if shift > 28 {
                return Err(refuse("a distance was longer than five bytes".into()));
            }
            distance |= u64::from(byte & 127) << shift;
            shift += 7;
            if byte & 128 == 0 {
                let index = next + distance;
                if index >= len as u64 {
                    return Err(refuse(format!("index {index} lies beyond {len} parameters")));
                }
                indices.push(index as u32);
                (next, distance, shift) = (index + 1, 0, 0);
            }
        }
        if indices.len() != k || shift > 0 {
            return Err(refuse(format!("{} indices were found, expected {k}", indices.len())));
        }
        let values = values.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok(Self { indices, values })
    }
}

/// What an exchange of gradients between workers takes; each has a link of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExchangeCost {
    /// Workers.
    pub workers: u32,
    /// Bytes of a whole gradient.
    pub dense_bytes: f64,
    /// Bytes of one worker's entries.
    pub sparse_bytes: f64,
    /// Bytes of a whole gradient that a worker sparsifies, encodes and decodes a second.
    pub compressed_per_second: f64,
    /// Seconds of a message that are there whatever its size.
    pub latency: f64,
}

impl ExchangeCost {
    /// Seconds of a whole exchange at so many bytes a second: a ring, in which every worker first adds up a part and then hands it on.
    ///
    /// # Source
    /// Patarasuk and Yuan 2009, J. Parallel Distrib. Comput. 69(2): `2 (n - 1)` messages of `1/n` of the bytes.
    pub fn dense_seconds(&self, bytes_per_second: f64) -> f64 {
        let others = self.others();
        2.0 * others * self.latency + 2.0 * others / f64::from(self.workers) * self.dense_bytes / bytes_per_second
    }

    /// Seconds of a sparse one: the entries are made, then go once around the ring, since sums of entries would be ever more entries.
    pub fn sparse_seconds(&self, bytes_per_second: f64) -> f64 {
        let others = self.others();
        self.dense_bytes / self.compressed_per_second + others * (self.latency + self.sparse_bytes / bytes_per_second)
    }

    /// Links at least as fast are better off without; infinite where sparse always pays, 0 where it never does.
    pub fn largest_bytes_per_second(&self) -> f64 {
        let others = self.others();
        let spared = others * (2.0 / f64::from(self.workers) * self.dense_bytes - self.sparse_bytes);
        let spent = self.dense_bytes / self.compressed_per_second - others * self.latency;
        match (spared > 0.0, spent > 0.0) {
            (true, true) => spared / spent,
            (true, false) => f64::INFINITY,
            // What a slow link loses in bytes, a fast one may win in messages; not what anyone would turn this on for.
            (false, _) => 0.0,
        }
    }

    fn others(&self) -> f64 {
        f64::from(self.workers.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests;
