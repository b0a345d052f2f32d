//! Products of small matrices, as they fill a policy and the steps of a recurrence: a tile of the result stays in registers while both factors pass by, and
//! what does not lie together is copied together first. Large ones are the business of [`gemm`].
//!
//! An element is one chain of fused multiply-adds over the inner dimension in its order. So its bits depend neither on the instruction set nor on how many
//! rows are computed at once.
//!
//! [`gemm`]: super::gemm

use super::simd::simd_fn;
use packing::{pack_columns, pack_narrow, pack_panels, pack_tiles};

mod packing;

/// Rows of a tile, and columns of a panel: eight registers of eight numbers hold the sums, enough to hide the latency of a multiply-add.
const TILE: usize = 4;
const PANEL: usize = 16;
/// Rows of a taller tile: twelve registers of sums.
const HIGH: usize = 6;
/// Columns up to which the columns of a row-major matrix are read where they stand; farther apart they fall on the same few sets of the first cache.
const NEAR: usize = 128;
/// Columns of a panel for what is left over, and rows of the tile that goes with it.
const NARROW: usize = 8;
const TALL: usize = 8;
/// Numbers of the right factor that stay in the first cache beside a few rows of the left.
const CACHED: usize = 5 * 1024;
/// Rows from which the right factor is copied together: below, it is read too few times.
const PACKED_ROWS: usize = 16;
/// Columns up to which rows of the right factor lie close enough to be read where they stand.
const UNPACKED: usize = 64;
/// Inner terms up to which row pointers cost more than copying the left factor together.
const SHORT: usize = 12;

/// A read-only matrix.
#[derive(Clone, Copy, Debug)]
pub struct Factor<'a> {
    values: &'a [f32],
    stride: usize,
    transposed: bool,
}

impl<'a> Factor<'a> {
    /// A row-major matrix of `stride` columns.
    pub fn new(values: &'a [f32], stride: usize) -> Self {
        Self { values, stride, transposed: false }
    }

    /// The transpose of a row-major matrix of `stride` columns.
    pub fn transposed(values: &'a [f32], stride: usize) -> Self {
        Self { values, stride, transposed: true }
    }
}

/// Copies of the factors, kept by the caller and reused.
#[derive(Clone, Debug, Default)]
pub struct Room {
    lines: Vec<f32>,
    tiles: Vec<f32>,
    panels: Vec<f32>,
}

/// `y [rows, columns] = a [rows, inner] b [inner, columns]`, added to `y` where `add`.
pub fn product(y: &mut [f32], [rows, inner, columns]: [usize; 3], add: bool, a: Factor<'_>, b: Factor<'_>, room: &mut Room) {
    assert_eq!(y.len(), rows * columns, "Invariant: the product is [{rows}, {columns}]");
    if y.is_empty() || inner == 0 {
        if !add {
            y.fill(0.0);
        }
        return;
    }
    let Room { tiles, panels, .. } = room;
    let mut a = a;
    let mut lines = Vec::new();
    if a.transposed && rows < PACKED_ROWS && !b.transposed {
        std::mem::swap(&mut lines, &mut room.lines);
        pack_columns(a.values, a.stride, [inner, rows], &mut lines);
        a = Factor::new(&lines, inner);
    }
    let upright = a.transposed && a.stride <= NEAR && columns.is_multiple_of(PANEL);
    let tiled = !upright && (a.transposed || inner <= SHORT);
    if tiled {
        pack_tiles(a, [rows, inner], tiles);
    }
    let whole = columns / PANEL * PANEL;
    if a.transposed || tiled || b.transposed || rows >= PACKED_ROWS && columns > UNPACKED {
        pack_panels(b, inner, whole, super::room(panels, inner * whole));
        let (size, panels) = ([rows, inner, columns], &panels[..inner * whole]);
        if upright {
            columns_by_panels(y, size, add, a.values, a.stride, panels);
        } else if tiled {
            tiles_by_panels(y, size, add, tiles, panels)
        } else {
            rows_by_panels(y, size, add, a.values, a.stride, panels)
        }
    } else {
        rows_by_matrix(y, [rows, inner, columns], add, a.values, a.stride, b.values, b.stride);
    }
    for at in narrow_panels(columns) {
        pack_narrow(b, at, super::room(panels, inner * NARROW));
        let (size, panel) = ([rows, inner, columns], &panels[..inner * NARROW]);
        if tiled { tiles_by_narrow(y, size, at, add, tiles, panel) } else { rows_by_narrow(y, size, at, add, a.values, a.stride, panel) }
    }
    if !lines.is_empty() {
        room.lines = lines;
    }
}

/// First column and width of each panel that is left beside those of [`PANEL`] columns.
fn narrow_panels(columns: usize) -> impl ExactSizeIterator<Item = [usize; 2]> {
    (columns / PANEL * PANEL..columns).step_by(NARROW).map(move |column| [column, NARROW.min(columns - column)])
}

/// A right factor that is laid out once for many products, as the steps of a recurrence have it.
#[derive(Clone, Debug, Default)]
pub struct Panels {
    /// Those of [`PANEL`] columns, then those of [`NARROW`].
    values: Vec<f32>,
    inner: usize,
    columns: usize,
}

impl Panels {
    /// Lays out `b [inner, columns]` in place of the factor before.
    pub fn lay_out(&mut self, b: Factor<'_>, inner: usize, columns: usize) {
        (self.inner, self.columns) = (inner, columns);
        let whole = columns / PANEL * PANEL;
        self.values.resize(inner * (whole + narrow_panels(columns).len() * NARROW), 0.0);
        let (panels, rest) = self.values.split_at_mut(inner * whole);
        pack_panels(b, inner, whole, panels);
        for (panel, at) in rest.chunks_exact_mut(inner * NARROW).zip(narrow_panels(columns)) {
            pack_narrow(b, at, panel);
        }
    }

    /// `y [rows, columns] += x [rows, inner] b`; rows of `y` begin `y_stride` apart, those of `x` `x_stride`.
    pub fn add_product(&self, y: &mut [f32], y_stride: usize, x: &[f32], x_stride: usize, rows: usize) {
        let Self { ref values, inner, columns } = *self;
        let (panels, rest) = values.split_at(inner * (columns / PANEL * PANEL));
        let size = [rows, inner, y_stride];
        rows_by_panels(y, size, true, x, x_stride, panels);
        for (panel, at) in rest.chunks_exact(inner * NARROW).zip(narrow_panels(columns)) {
            rows_by_narrow(y, size, at, true, x, x_stride, panel);
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        (self.values.capacity() * size_of::<f32>()) as u64
    }
}

simd_fn! {
    /// All full panels; rows of `y` begin `size[2]` apart. The loops in the order in which less is read from the second cache.
    pub fn rows_by_panels(y: &mut [f32], size: [usize; 3], add: bool, a: &[f32], stride: usize, panels: &[f32]) {
        let [rows, inner, columns] = size;
        let full = rows / TILE * TILE;
        let len = inner * PANEL;
        if panels.len() <= CACHED {
            for row in (0..full).step_by(TILE) {
                for (panel, b) in panels.chunks_exact(len).enumerate() {
                    by_rows::<TILE, PANEL, true>(y, [row, columns], [panel * PANEL, PANEL], add, a, stride, b);
                }
            }
        } else {
            for (panel, b) in panels.chunks_exact(len).enumerate() {
                for row in (0..full).step_by(TILE) {
                    by_rows::<TILE, PANEL, true>(y, [row, columns], [panel * PANEL, PANEL], add, a, stride, b);
                }
            }
        }
        for row in full..rows {
            for (panel, b) in panels.chunks_exact(len).enumerate() {
                by_rows::<1, PANEL, true>(y, [row, columns], [panel * PANEL, PANEL], add, a, stride, b);
            }
        }
    }
}

simd_fn! {
    /// As [`rows_by_panels`] with the left factor by tiles.
    pub fn tiles_by_panels(y: &mut [f32], size: [usize; 3], add: bool, tiles: &[f32], panels: &[f32]) {
        let [rows, inner, columns] = size;
        let full = rows / TILE * TILE;
        for (panel, b) in panels.chunks_exact(inner * PANEL).enumerate() {
            for (a, row) in tiles.chunks_exact(inner * TILE).zip((0..full).step_by(TILE)) {
                by_tiles::<PANEL, true>(y, [row, columns, TILE], [panel * PANEL, PANEL], add, a, b);
            }
            if full < rows {
                let a = &tiles[full * inner..];
                by_tiles::<PANEL, false>(y, [full, columns, rows - full], [panel * PANEL, PANEL], add, a, b);
            }
        }
    }
}

simd_fn! {
    /// As [`rows_by_panels`] with a left factor that stands transposed: in taller tiles, as finding its next column costs more than finding its next number.
    pub fn columns_by_panels(y: &mut [f32], size: [usize; 3], add: bool, a: &[f32], stride: usize, panels: &[f32]) {
        let [rows, inner, columns] = size;
        let high = rows / HIGH * HIGH;
        let full = high + (rows - high) / TILE * TILE;
        for (panel, b) in panels.chunks_exact(inner * PANEL).enumerate() {
            for row in (0..high).step_by(HIGH) {
                by_columns::<HIGH, PANEL>(y, [row, columns], panel * PANEL, add, a, stride, b);
            }
            for row in (high..full).step_by(TILE) {
                by_columns::<TILE, PANEL>(y, [row, columns], panel * PANEL, add, a, stride, b);
            }
            for row in full..rows {
                by_columns::<1, PANEL>(y, [row, columns], panel * PANEL, add, a, stride, b);
            }
        }
    }
}

simd_fn! {
    /// All full panels of a right factor as it stands.
    pub fn rows_by_matrix(y: &mut [f32], size: [usize; 3], add: bool, a: &[f32], stride: usize, b: &[f32], b_stride: usize) {
        let [rows, inner, columns] = size;
        let full = rows / TILE * TILE;
        for row in (0..full).step_by(TILE) {
            for column in (0..columns / PANEL * PANEL).step_by(PANEL) {
                by_matrix::<TILE, PANEL>(y, [row, columns, inner], column, add, a, stride, &b[column..], b_stride);
            }
        }
        let wide = columns / (4 * PANEL) * (4 * PANEL);
        for row in full..rows {
            for column in (0..wide).step_by(4 * PANEL) {
                by_matrix::<1, { 4 * PANEL }>(y, [row, columns, inner], column, add, a, stride, &b[column..], b_stride);
            }
            for column in (wide..columns / PANEL * PANEL).step_by(PANEL) {
                by_matrix::<1, PANEL>(y, [row, columns, inner], column, add, a, stride, &b[column..], b_stride);
            }
        }
    }
}

simd_fn! {
    /// One narrow panel, `width` columns of it filled. Of the last tile the rows that are missing are the last one again.
    pub fn rows_by_narrow(y: &mut [f32], size: [usize; 3], at: [usize; 2], add: bool, a: &[f32], stride: usize, b: &[f32]) {
        let [rows, inner, columns] = size;
        let [column, width] = at;
        let (b, _) = b.as_chunks::<NARROW>();
        let b = &b[..inner];
        for row in (0..rows).step_by(TALL) {
            let mut lines = [&a[..0]; TALL];
            for r in 0..TALL {
                lines[r] = &a[(row + r).min(rows - 1) * stride..][..inner];
            }
            let mut sums = [[0.0_f32; NARROW]; TALL];
            for k in 0..inner {
                let b = &b[k];
                for r in 0..TALL {
                    let a = lines[r][k];
                    for c in 0..NARROW {
                        sums[r][c] = a.mul_add(b[c], sums[r][c]);
                    }
                }
            }
            store::<TALL, NARROW, false>(y, row * columns + column, columns, [rows - row, width], add, &sums);
        }
    }
}

simd_fn! {
    /// As [`rows_by_narrow`] with the left factor by tiles.
    pub fn tiles_by_narrow(y: &mut [f32], size: [usize; 3], at: [usize; 2], add: bool, tiles: &[f32], b: &[f32]) {
        let [rows, inner, columns] = size;
        for (a, row) in tiles.chunks_exact(inner * TILE).zip((0..rows).step_by(TILE)) {
            by_tiles::<NARROW, false>(y, [row, columns, TILE.min(rows - row)], at, add, a, b);
        }
    }
}

/// `R` rows of `a` times one panel `[inner, C]`.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "loops of fixed length over arrays are what the compiler turns into registers")]
fn by_rows<const R: usize, const C: usize, const FULL: bool>(
    y: &mut [f32],
    [row, columns]: [usize; 2],
    [column, width]: [usize; 2],
    add: bool,
    a: &[f32],
    stride: usize,
    b: &[f32],
) {
    let (b, _) = b.as_chunks::<C>();
    let inner = b.len();
    let mut rows = [&a[..0]; R];
    for r in 0..R {
        rows[r] = &a[(row + r) * stride..][..inner];
    }
    let mut sums = [[0.0_f32; C]; R];
    for k in 0..inner {
        let b = &b[k];
        for r in 0..R {
            let a = rows[r][k];
            for c in 0..C {
                sums[r][c] = a.mul_add(b[c], sums[r][c]);
            }
        }
    }
    store::<R, C, FULL>(y, row * columns + column, columns, [R, width], add, &sums);
}

/// As [`by_rows`] where `a` stands transposed.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "as above")]
fn by_columns<const R: usize, const C: usize>(
    y: &mut [f32],
    [row, columns]: [usize; 2],
    column: usize,
    add: bool,
    a: &[f32],
    stride: usize,
    b: &[f32],
) {
    let (b, _) = b.as_chunks::<C>();
    let mut lines = a[row..].chunks(stride);
    let mut sums = [[0.0_f32; C]; R];
    for k in 0..b.len() {
        let Some(line) = lines.next() else { break };
        let Some(a) = line.first_chunk::<R>() else { break };
        let b = &b[k];
        for r in 0..R {
            for c in 0..C {
                sums[r][c] = a[r].mul_add(b[c], sums[r][c]);
            }
        }
    }
    store::<R, C, true>(y, row * columns + column, columns, [R, C], add, &sums);
}

/// As [`by_rows`] where the rows of `b` lie `b_stride` apart.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "as above")]
fn by_matrix<const R: usize, const C: usize>(
    y: &mut [f32],
    [row, columns, inner]: [usize; 3],
    column: usize,
    add: bool,
    a: &[f32],
    stride: usize,
    b: &[f32],
    b_stride: usize,
) {
    let mut rows = [&a[..0]; R];
    for r in 0..R {
        rows[r] = &a[(row + r) * stride..][..inner];
    }
    let mut sums = [[0.0_f32; C]; R];
    let mut panel = b.chunks(b_stride);
    for k in 0..inner {
        let Some(b) = panel.next() else { break };
        let Some(b) = b.first_chunk::<C>() else { break };
        for r in 0..R {
            let a = rows[r][k];
            for c in 0..C {
                sums[r][c] = a.mul_add(b[c], sums[r][c]);
            }
        }
    }
    store::<R, C, true>(y, row * columns + column, columns, [R, C], add, &sums);
}

/// One tile `[inner, TILE]` of a left factor times one panel `[inner, C]`; of the rows `valid` are kept.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "as above")]
fn by_tiles<const C: usize, const FULL: bool>(
    y: &mut [f32],
    [row, columns, valid]: [usize; 3],
    [column, width]: [usize; 2],
    add: bool,
    a: &[f32],
    b: &[f32],
) {
    let (a, _) = a.as_chunks::<TILE>();
    let (b, _) = b.as_chunks::<C>();
    let mut sums = [[0.0_f32; C]; TILE];
    for k in 0..a.len().min(b.len()) {
        let (a, b) = (&a[k], &b[k]);
        for r in 0..TILE {
            for c in 0..C {
                sums[r][c] = a[r].mul_add(b[c], sums[r][c]);
            }
        }
    }
    store::<TILE, C, FULL>(y, row * columns + column, columns, [valid, width], add, &sums);
}

/// Writes a tile, or of one that is not full the part that exists. Indices of `sums` are fixed: a variable one would move it to memory.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "as above")]
fn store<const R: usize, const C: usize, const FULL: bool>(
    y: &mut [f32],
    at: usize,
    columns: usize,
    [valid, width]: [usize; 2],
    add: bool,
    sums: &[[f32; C]; R],
) {
    for r in 0..R {
        if FULL {
            let y = &mut y[at + r * columns..][..C];
            if add {
                for c in 0..C {
                    y[c] += sums[r][c];
                }
            } else {
                y.copy_from_slice(&sums[r]);
            }
        } else if r < valid {
            let y = &mut y[at + r * columns..][..width];
            for c in 0..C {
                if c < width {
                    y[c] = if add { y[c] + sums[r][c] } else { sums[r][c] };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_factor_laid_out_an_element_is_one_chain_too() {
        let value = |i: usize| (i * 7919 % 2003) as f32 / 1001.0 - 1.0;
        let mut panels = Panels::default();
        for (rows, inner, columns) in
            [(1, 3, 1), (2, 24, 96), (3, 24, 24), (5, 64, 256), (16, 128, 512), (17, 512, 128), (64, 64, 256), (9, 8, 47)]
        {
            let (x_stride, y_stride) = (inner + 3, columns + 5);
            let x: Vec<f32> = (0..rows * x_stride).map(value).collect();
            let b: Vec<f32> = (0..inner * columns).map(|i| value(i + 5)).collect();
            let start: Vec<f32> = (0..rows * y_stride).map(|i| value(i + 11)).collect();
            for (factor, [of_row, of_column]) in [(Factor::new(&b, columns), [columns, 1]), (Factor::transposed(&b, inner), [1, inner])] {
                let (mut found, mut expected) = (start.clone(), start.clone());
                panels.lay_out(factor, inner, columns);
                panels.add_product(&mut found, y_stride, &x, x_stride, rows);
                for row in 0..rows {
                    for column in 0..columns {
                        let chain = |sum, k| f32::mul_add(x[row * x_stride + k], b[k * of_row + column * of_column], sum);
                        expected[row * y_stride + column] += (0..inner).fold(0.0, chain);
                    }
                }
                assert_eq!(found, expected, "{rows} x {inner} x {columns}");
            }
        }
    }
}
