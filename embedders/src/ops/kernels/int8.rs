//! Products with rounded weights, in integers. In: rows of f32, which are rounded on the fly with one scale a row, and a matrix rounded once with one scale
//! a column. Out: f32, added to what is there.
//!
//! Sums are exact, so an element has the same bits at every instruction set and among any number of rows. What this is not: a way to learn; gradients
//! belong to the f32 weights.

use std::cell::Cell;

use bytemuck::Pod;

use super::{
    gemm::{Matrix, gemm},
    simd::{Level, level},
};

/// Largest magnitude of a rounded number; symmetric, so that 0 stays 0.
const LEVELS: f32 = 127.0;
/// Columns of a panel.
const PANEL: usize = 16;
/// Inner terms that lie together, the unit of the widest instruction.
const QUAD: usize = 4;
/// Inner terms up to which no sum leaves 32 bits, with activations moved to 0..=255.
const INNER_MAX: usize = 1 << 16;
/// What makes signed activations unsigned, where the instruction wants them so.
const OFFSET: i16 = 128;
/// Rows that share what is loaded of a panel: as many as the registers hold sums for.
#[cfg(target_arch = "x86_64")]
const ROWS_AVX2: usize = 4;
#[cfg(any(test, target_arch = "x86_64"))]
const ROWS_VNNI: usize = 8;
const ROWS_PORTABLE: usize = 1;

/// Four inner terms of each column of a panel.
type Group = [i8; PANEL * QUAD];

thread_local! {
    /// Rounded rows of the product at work.
    static ROOM: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// A matrix `[inner, columns]`, each column rounded with a scale of its own; columns by panels, filled up with zeros.
#[derive(Clone, Debug, PartialEq)]
pub struct Int8Matrix {
    /// `[panels, inner / 4]`.
    groups: Vec<Group>,
    /// `[panels]`.
    scales: Vec<[f32; PANEL]>,
    /// `[panels]`: what the sums begin with where activations are moved by [`OFFSET`].
    offsets: Vec<[i32; PANEL]>,
    inner: usize,
    columns: usize,
}

impl Int8Matrix {
    /// Rounds a row-major matrix.
    ///
    /// # Panics
    /// Without columns, or with more than 65,536 rows.
    pub fn of(weights: &[f32], columns: usize) -> Self {
        let inner = weights.len() / columns;
        assert!(inner <= INNER_MAX && inner * columns == weights.len(), "Invariant: [{inner}, {columns}] holds {} weights", weights.len());
        let (num_panels, num_groups) = (columns.div_ceil(PANEL), inner.div_ceil(QUAD));
        let mut groups = vec![[0; PANEL * QUAD]; num_panels * num_groups];
        let (mut scales, mut offsets) = (vec![[0.0; PANEL]; num_panels], vec![[0; PANEL]; num_panels]);
        for column in 0..columns {
            let (panel, at) = (column / PANEL, column % PANEL);
            let own = || weights[column..].iter().step_by(columns);
            let scale = own().fold(0.0_f32, |most, weight| most.max(weight.abs())) / LEVELS;
            scales[panel][at] = scale;
            for (k, weight) in own().enumerate().filter(|_| scale > 0.0) {
                let rounded = (weight / scale).round() as i8;
                groups[panel * num_groups + k / QUAD][at * QUAD + k % QUAD] = rounded;
                offsets[panel][at] -= i32::from(OFFSET) * i32::from(rounded);
            }
        }
        Self { groups, scales, offsets, inner, columns }
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        (size_of_val(&self.groups[..]) + size_of_val(&self.scales[..]) + size_of_val(&self.offsets[..])) as u64
    }

    fn num_groups(&self) -> usize {
        self.inner.div_ceil(QUAD)
    }
}

/// The right factor of a layer, row-major or rounded.
#[derive(Clone, Copy, Debug)]
pub enum Weight<'a> {
    /// As it was learned.
    F32(&'a [f32]),
    /// Rounded.
    Int8(&'a Int8Matrix),
}

impl<'a> From<&'a [f32]> for Weight<'a> {
    fn from(weights: &'a [f32]) -> Self {
        Self::F32(weights)
    }
}

impl Weight<'_> {
    /// `y [rows, columns] = x [rows, inner] W`, added to `y` where `add`; rows of `x` begin `x_stride` apart.
    pub fn multiply(self, y: &mut [f32], add: bool, x: &[f32], x_stride: usize, [rows, inner, columns]: [usize; 3]) {
        match self {
            Self::F32(weights) => {
                gemm(y, [rows, columns], columns, add, Matrix::new(x, x_stride), Matrix::new(weights, columns), inner);
            }
            Self::Int8(weights) => {
                assert_eq!([inner, columns], [weights.inner, weights.columns], "Invariant: a product has the shape of its factors");
                if !add {
                    y.fill(0.0);
                }
                product(Way::best(), y, x, x_stride, rows, weights);
            }
        }
    }
}

/// An instruction that multiplies small integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Four products of eight bits to a sum of 32, of AVX-512 VNNI.
    #[cfg(target_arch = "x86_64")]
    Vnni,
    /// Two products of 16 bits to a sum of 32, of AVX2. That of eight bits would cut its sums off at 16.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compiler makes of it.
    Portable,
}

impl Way {
    fn best() -> Self {
        match level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 if std::is_x86_feature_detected!("avx512vnni") => Self::Vnni,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 | Level::Avx2 => Self::Avx2,
            _ => Self::Portable,
        }
    }
}

/// `y += x W`, in a way that this processor knows.
fn product(way: Way, y: &mut [f32], x: &[f32], x_stride: usize, rows: usize, weights: &Int8Matrix) {
    let product = Product { y, x, x_stride, weights };
    match way {
        // SAFETY: both ways come from `Way::best`, or from a test that asks for the same features.
        #[cfg(target_arch = "x86_64")]
        Way::Vnni => unsafe { product.by_vnni(rows) },
        #[cfg(target_arch = "x86_64")]
        Way::Avx2 => unsafe { product.by_avx2(rows) },
        _ => product.by_tiles::<ROWS_PORTABLE, _>(rows, |quad| quad, |x, groups, _| sums(x, groups), |x, groups, _| sums(x, groups)),
    }
}

struct Product<'a> {
    y: &'a mut [f32],
    x: &'a [f32],
    x_stride: usize,
    weights: &'a Int8Matrix,
}

impl Product<'_> {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    fn by_vnni(self, rows: usize) {
        self.by_tiles::<ROWS_VNNI, _>(rows, unsigned, |x, w, o| sums_vnni(x, w, o), |x, w, o| sums_vnni(x, w, o));
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn by_avx2(self, rows: usize) {
        self.by_tiles::<ROWS_AVX2, _>(rows, |quad| quad, |x, w, _| sums_avx2(x, w), |x, w, _| sums_avx2(x, w));
    }

    /// `R` rows at a time, then what is left one at a time: rounded, then multiplied with one panel after the other.
    #[inline(always)]
    fn by_tiles<const R: usize, Q: Pod>(
        mut self,
        rows: usize,
        quad: impl Fn([i16; QUAD]) -> Q + Copy,
        many: impl Fn(&[[Q; R]], &[Group], &[i32; PANEL]) -> [[i32; PANEL]; R],
        one: impl Fn(&[[Q; 1]], &[Group], &[i32; PANEL]) -> [[i32; PANEL]; 1],
    ) {
        let num_groups = self.weights.num_groups();
        let mut room = ROOM.take();
        room.resize(room.len().max(R * num_groups), 0);
        let quads = &mut bytemuck::cast_slice_mut(&mut room)[..R * num_groups];
        let full = rows / R * R;
        (0..full).step_by(R).for_each(|row| self.tile(row, quads.as_chunks_mut().0, quad, &many));
        (full..rows).for_each(|row| self.tile(row, quads[..num_groups].as_chunks_mut().0, quad, &one));
        ROOM.set(room);
    }

    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "loops of fixed length over arrays are what the compiler turns into registers")]
    fn tile<const R: usize, Q: Copy>(
        &mut self,
        row: usize,
        quads: &mut [[Q; R]],
        quad: impl Fn([i16; QUAD]) -> Q + Copy,
        sums: impl Fn(&[[Q; R]], &[Group], &[i32; PANEL]) -> [[i32; PANEL]; R],
    ) {
        let Int8Matrix { groups, scales, offsets, inner, columns } = self.weights;
        let mut of_rows = [0.0; R];
        for r in 0..R {
            of_rows[r] = round(&self.x[(row + r) * self.x_stride..][..*inner], |k, steps| quads[k][r] = quad(steps));
        }
        let groups = groups.chunks_exact(quads.len());
        for (panel, ((groups, scales), offsets)) in groups.zip(scales).zip(offsets).enumerate() {
            let sums = sums(quads, groups, offsets);
            for r in 0..R {
                let y = &mut self.y[(row + r) * columns..][..*columns][panel * PANEL..];
                let width = y.len().min(PANEL);
                // By a copy: the compiler then knows that nothing overlaps.
                let mut sum = [0.0; PANEL];
                if let Some(y) = y.first_chunk::<PANEL>() {
                    sum = *y;
                } else {
                    sum[..width].copy_from_slice(y);
                }
                for c in 0..PANEL {
                    sum[c] = (sums[r][c] as f32 * of_rows[r]).mul_add(scales[c], sum[c]);
                }
                if let Some(y) = y.first_chunk_mut::<PANEL>() {
                    *y = sum;
                } else {
                    y.copy_from_slice(&sum[..width]);
                }
            }
        }
    }
}

/// Activations of `u8` times weights of `i8` is what the instruction takes.
#[cfg(any(test, target_arch = "x86_64"))]
#[inline(always)]
fn unsigned(quad: [i16; QUAD]) -> [u8; QUAD] {
    quad.map(|x| x.wrapping_add(OFFSET) as u8)
}

/// A row in steps of its largest magnitude / 127, which is returned; NaN and infinity make the scale NaN or infinite, and so the result NaN.
#[inline(always)]
fn round(x: &[f32], mut write: impl FnMut(usize, [i16; QUAD])) -> f32 {
    // 1.5 * 2^23: adding it leaves the rounded integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // Magnitudes are ordered as their bits are, and NaN is above all.
    let mut most = 0;
    for x in x {
        most = most.max(x.to_bits() & (u32::MAX >> 1));
    }
    let most = f32::from_bits(most);
    let inverse = if most > 0.0 { LEVELS / most } else { 0.0 };
    let step = |x: f32| x.mul_add(inverse, ROUND).to_bits() as i16;
    let (whole, rest) = x.as_chunks::<QUAD>();
    for (k, x) in whole.iter().enumerate() {
        write(k, [step(x[0]), step(x[1]), step(x[2]), step(x[3])]);
    }
    if !rest.is_empty() {
        let mut steps = [0; QUAD];
        rest.iter().zip(&mut steps).for_each(|(x, to)| *to = step(*x));
        write(whole.len(), steps);
    }
    most / LEVELS
}

/// Rows times one panel. Sums wrap where a NaN left anything in its row: nobody sees them.
#[inline(always)]
fn sums<const R: usize>(quads: &[[[i16; QUAD]; R]], groups: &[Group]) -> [[i32; PANEL]; R] {
    let mut sums = [[0_i32; PANEL]; R];
    for (quads, group) in quads.iter().zip(groups) {
        for (x, sums) in quads.iter().zip(&mut sums) {
            for (sum, w) in sums.iter_mut().zip(group.as_chunks::<QUAD>().0) {
                for k in 0..QUAD {
                    *sum = sum.wrapping_add(i32::from(x[k]) * i32::from(w[k]));
                }
            }
        }
    }
    sums
}

/// As [`sums`], half a panel at a time. A register holds four columns of two sums each until the end.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,fma")]
#[allow(clippy::needless_range_loop, reason = "as above")]
fn sums_avx2<const R: usize>(quads: &[[[i16; QUAD]; R]], groups: &[Group]) -> [[i32; PANEL]; R] {
    use std::arch::x86_64::*;
    const HALF: usize = PANEL / 2;
    let mut whole = [[0; PANEL]; R];
    for half in [0, 1] {
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for (quads, group) in quads.iter().zip(groups) {
            let (parts, _) = group.as_chunks::<PANEL>();
            let w = [0, 1].map(|part| _mm256_cvtepi8_epi16(bytemuck::cast(parts[2 * half + part])));
            for r in 0..R {
                let x = _mm256_set1_epi64x(bytemuck::cast(quads[r]));
                for part in 0..2 {
                    sums[r][part] = _mm256_add_epi32(sums[r][part], _mm256_madd_epi16(w[part], x));
                }
            }
        }
        for r in 0..R {
            // Neighbours are added within halves of a register, so the middle quarters have changed places.
            let joined = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(sums[r][0], sums[r][1]));
            whole[r][half * HALF..][..HALF].copy_from_slice(&bytemuck::cast::<_, [i32; HALF]>(joined));
        }
    }
    whole
}

/// As [`sums`], of activations moved by [`OFFSET`]: the sums begin with what takes it back.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
#[allow(clippy::needless_range_loop, reason = "as above")]
fn sums_vnni<const R: usize>(quads: &[[[u8; QUAD]; R]], groups: &[Group], offsets: &[i32; PANEL]) -> [[i32; PANEL]; R] {
    use std::arch::x86_64::*;
    // SAFETY: 64 bytes are read of an array of 64 bytes, here and below; such loads need no alignment.
    let mut sums = [unsafe { _mm512_loadu_si512(offsets.as_ptr().cast()) }; R];
    for (quads, group) in quads.iter().zip(groups) {
        // SAFETY: as above.
        let w = unsafe { _mm512_loadu_si512(group.as_ptr().cast()) };
        for r in 0..R {
            sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_set1_epi32(bytemuck::cast(quads[r])), w);
        }
    }
    let mut whole = [[0; PANEL]; R];
    for r in 0..R {
        // SAFETY: as above, written.
        unsafe { _mm512_storeu_si512(whole[r].as_mut_ptr().cast(), sums[r]) };
    }
    whole
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// All ways that this processor knows.
    fn ways() -> Vec<Way> {
        let mut ways = vec![Way::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            ways.extend(std::is_x86_feature_detected!("avx2").then_some(Way::Avx2).filter(|_| std::is_x86_feature_detected!("fma")));
            ways.extend((Way::best() == Way::Vnni).then_some(Way::Vnni));
        }
        ways
    }

    /// What [`Way::Vnni`] computes, step by step, for processors without it.
    fn sums_unsigned<const R: usize>(quads: &[[[u8; QUAD]; R]], groups: &[Group], offsets: &[i32; PANEL]) -> [[i32; PANEL]; R] {
        let mut sums = [*offsets; R];
        for (quads, group) in quads.iter().zip(groups) {
            for (x, sums) in quads.iter().zip(&mut sums) {
                for (sum, w) in sums.iter_mut().zip(group.chunks_exact(QUAD)) {
                    *sum += x.iter().zip(w).map(|(x, w)| i32::from(*x) * i32::from(*w)).sum::<i32>();
                }
            }
        }
        sums
    }

    /// `y += x W` as the definition says, with sums in i64.
    fn naive(y: &mut [f32], x: &[f32], stride: usize, rows: usize, weights: &[f32], columns: usize) {
        let inner = weights.len() / columns;
        let most = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0_f32, |most, v| most.max(v.abs()));
        for row in 0..rows {
            let x = &x[row * stride..][..inner];
            let of_row = most(&mut x.iter().copied());
            let step = |x: f32| if of_row > 0.0 { (f64::from(x) * f64::from(LEVELS / of_row)).round_ties_even() as i64 } else { 0 };
            for column in 0..columns {
                let own = || weights[column..].iter().step_by(columns).copied();
                let scale = most(&mut own()) / LEVELS;
                let sum: i64 = x.iter().zip(own()).map(|(x, w)| if scale > 0.0 { step(*x) * (w / scale).round() as i64 } else { 0 }).sum();
                let y = &mut y[row * columns + column];
                *y = (sum as f32 * (of_row / LEVELS)).mul_add(scale, *y);
            }
        }
    }

    #[test]
    fn every_way_is_the_definition() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for (rows, inner, columns) in
            [(1, 1, 1), (1, 64, 256), (2, 3, 15), (3, 4, 16), (4, 5, 17), (7, 130, 33), (25, 24, 72), (9, 513, 48)]
        {
            let stride = inner + rows % 3;
            for extreme in [false, true] {
                // Extremes: every product is 127^2 or every one its negative, so that a sum that is cut off anywhere shows.
                let mut draw = |len: usize, sign: f32| -> Vec<f32> {
                    (0..len).map(|_| if extreme { sign } else { rng.random_range(-2.0_f32..2.0) }).collect()
                };
                let sign = if rows % 2 == 0 { 1.0 } else { -1.0 };
                let (x, weights, before) = (draw(rows * stride, sign), draw(inner * columns, 1.0), draw(rows * columns, sign));
                let mut expected = before.clone();
                naive(&mut expected, &x, stride, rows, &weights, columns);
                let rounded = Int8Matrix::of(&weights, columns);
                for way in ways() {
                    let mut found = before.clone();
                    product(way, &mut found, &x, stride, rows, &rounded);
                    assert_eq!(found, expected, "{way:?}: {rows} x {inner} x {columns}, extreme {extreme}");
                }
                let mut found = before;
                let product = Product { y: &mut found, x: &x, x_stride: stride, weights: &rounded };
                product.by_tiles::<ROWS_VNNI, _>(rows, unsigned, sums_unsigned, sums_unsigned);
                assert_eq!(found, expected, "unsigned: {rows} x {inner} x {columns}, extreme {extreme}");
            }
        }
    }

    #[test]
    fn weights_by_hand() {
        // Columns (1, -2) and (0.5, 127): scales 2 / 127 and 1. 1 / (2 / 127) = 63.5 -> 64, 0.5 -> 1 (half away from zero).
        let rounded = Int8Matrix::of(&[1.0, 0.5, -2.0, 127.0], 2);
        assert_eq!(rounded.groups[0][..8], [64, -127, 0, 0, 1, 127, 0, 0]);
        assert_eq!(rounded.scales[0][..3], [2.0 / 127.0, 1.0, 0.0]);
        assert_eq!(rounded.offsets[0][..3], [-128 * (64 - 127), -128 * 128, 0]);
        // One panel: 64 values, 16 scales and 16 offsets.
        assert_eq!(rounded.bytes(), 64 + 16 * 4 + 16 * 4);
        // Rows (127, 0) and (1, 1) * 127 / 127: 127 * 64 * 2 / 127 = 128 / 127 * 127, 127 * 1; then (64 - 127) * 2 and 128 * 127.
        for way in ways() {
            let mut y = [0.0; 4];
            product(way, &mut y, &[127.0, 0.0, 127.0, 127.0], 2, 2, &rounded);
            assert_eq!(y, [128.0, 127.0, -126.0, 128.0 * 127.0], "{way:?}");
        }
    }

    #[test]
    fn zeros_stay_and_what_is_not_finite_is_not_hidden() {
        let rounded = Int8Matrix::of(&[0.0, 1.0, 0.0, -1.0], 2);
        for way in ways() {
            let of = |x: [f32; 2]| {
                let mut y = [0.0; 2];
                product(way, &mut y, &x, 2, 1, &rounded);
                y
            };
            assert_eq!((of([0.0, 0.0]), of([1e-45, 0.0])[0]), ([0.0, 0.0], 0.0), "{way:?}");
            for bad in [f32::NAN, f32::INFINITY, f32::from_bits(0x7fff_ffff)] {
                assert!(of([bad, 1.0])[1].is_nan(), "{way:?} {bad}");
            }
        }
    }
}
