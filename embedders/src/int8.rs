//! Weights as int8 with one scale an output channel: a quarter of the bytes for storage and transport. In: a flat vector in module order and where each
//! parameter lies. Out: the same, rounded. It computes nothing with them: who acts takes them back to f32 first, so that what is measured is the rounding.

use crate::parameters::ParameterSlot;

/// Largest magnitude of a rounded weight; symmetric, so that 0 stays 0.
const LEVELS: f32 = 127.0;

/// A flat vector of parameters with its matrices rounded; vectors (biases, gains, queries) stay as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Int8Weights {
    values: Vec<i8>,
    scales: Vec<f32>,
    kept: Vec<f32>,
    matrices: Vec<Matrix>,
    len: usize,
}

/// One matrix `[.., out]` in the flat vector.
#[derive(Clone, Debug, PartialEq)]
struct Matrix {
    start: usize,
    len: usize,
    out: usize,
}

impl Int8Weights {
    /// Rounds every parameter of two and more dimensions, each output channel (the last dimension) with a scale of its own.
    ///
    /// # Panics
    /// Where the slots do not lie in `flat` in order.
    pub fn of(flat: &[f32], slots: &[ParameterSlot]) -> Self {
        let mut rounded = Self { values: Vec::new(), scales: Vec::new(), kept: Vec::new(), matrices: Vec::new(), len: flat.len() };
        let mut end = 0;
        for slot in slots {
            assert!(slot.range.start == end && slot.range.end <= flat.len(), "Invariant: slots cover the vector in order");
            end = slot.range.end;
            let own = &flat[slot.range.clone()];
            let out = match slot.shape[..] {
                [] | [_] => {
                    rounded.kept.extend_from_slice(own);
                    continue;
                }
                [.., out] => out,
            };
            let mut scales = vec![0.0_f32; out];
            own.chunks_exact(out).for_each(|row| scales.iter_mut().zip(row).for_each(|(scale, w)| *scale = scale.max(w.abs() / LEVELS)));
            let round = |(w, scale): (&f32, &f32)| if *scale > 0.0 { (w / scale).round() as i8 } else { 0 };
            own.chunks_exact(out).for_each(|row| rounded.values.extend(row.iter().zip(&scales).map(round)));
            rounded.scales.extend(scales);
            rounded.matrices.push(Matrix { start: slot.range.start, len: own.len(), out });
        }
        rounded.kept.extend_from_slice(&flat[end..]);
        rounded
    }

    /// The flat vector with rounded matrices.
    pub fn to_flat(&self) -> Vec<f32> {
        let mut flat = Vec::with_capacity(self.len);
        let (mut values, mut scales, mut kept) = (&self.values[..], &self.scales[..], &self.kept[..]);
        for Matrix { start, len, out } in &self.matrices {
            let (between, after) = kept.split_at(start - flat.len());
            flat.extend_from_slice(between);
            let (own, others) = values.split_at(*len);
            let (of_channels, rest) = scales.split_at(*out);
            for row in own.chunks_exact(*out) {
                flat.extend(row.iter().zip(of_channels).map(|(value, scale)| f32::from(*value) * scale));
            }
            (values, scales, kept) = (others, rest, after);
        }
        flat.extend_from_slice(kept);
        flat
    }

    /// Bytes of all of it.
    pub fn bytes(&self) -> u64 {
        (self.values.len() + (self.scales.len() + self.kept.len()) * size_of::<f32>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(range: std::ops::Range<usize>, shape: &[usize]) -> ParameterSlot {
        ParameterSlot { name: String::new(), owner: String::new(), shape: shape.to_vec(), range }
    }

    #[test]
    fn matrices_are_rounded_by_channel_and_vectors_stay() {
        // Channels (1, -2) and (0.5, 127): scales 2 / 127 and 1.
        let flat = [9.0, 1.0, 0.5, -2.0, 127.0, 0.25, 7.0];
        let slots = [slot(0..1, &[1]), slot(1..5, &[2, 2]), slot(5..6, &[1])];
        let rounded = Int8Weights::of(&flat, &slots);
        // 1 / (2 / 127) = 63.5 -> 64, 0.5 -> 1 (half away from zero).
        assert_eq!(rounded.values, [64, 1, -127, 127]);
        let back = rounded.to_flat();
        assert_eq!(back, [9.0, 64.0 * 2.0 / 127.0, 1.0, -127.0 * 2.0 / 127.0, 127.0, 0.25, 7.0]);
        // Rounded once more it stays, and no weight moves by more than half a step.
        assert_eq!(Int8Weights::of(&back, &slots).to_flat(), back);
        assert!(flat.iter().zip(&back).all(|(a, b)| (a - b).abs() <= 0.5));
        assert_eq!(rounded.bytes(), 4 + (2 + 3) * 4);
    }

    #[test]
    fn a_channel_of_zeros_stays_zero() {
        let rounded = Int8Weights::of(&[0.0, 1.0, 0.0, -1.0], &[slot(0..4, &[2, 2])]);
        assert_eq!(rounded.to_flat(), [0.0, 1.0, 0.0, -1.0]);
    }
}
