//! Factors copied together: what a tile reads next lies next.

use super::{Factor, NARROW, PANEL, TILE};
use crate::ops::kernels::{room, simd::simd_fn};

/// Side of the squares that are transposed at once.
const SQUARE: usize = 8;

/// The columns of a row-major matrix, each in one piece.
pub fn pack_columns(values: &[f32], stride: usize, [inner, columns]: [usize; 2], packed: &mut Vec<f32>) {
    packed.clear();
    for column in 0..columns {
        packed.extend(values[column..].iter().step_by(stride).take(inner));
    }
}

/// The first `whole` columns as panels `[panels, inner, PANEL]`.
pub fn pack_panels(b: Factor<'_>, inner: usize, whole: usize, panels: &mut [f32]) {
    for (panel, column) in panels.chunks_exact_mut(inner * PANEL).zip((0..whole).step_by(PANEL)) {
        let from = &b.values[column * if b.transposed { b.stride } else { 1 }..];
        if b.transposed { pack_transposed(panel, from, b.stride, inner) } else { pack_straight(panel, from, b.stride) }
    }
}

simd_fn! {
    /// One panel of rows that lie `stride` apart.
    pub fn pack_straight(panel: &mut [f32], from: &[f32], stride: usize) {
        let (panel, _) = panel.as_chunks_mut::<PANEL>();
        for (to, from) in panel.iter_mut().zip(from.chunks(stride)) {
            let Some(from) = from.first_chunk::<PANEL>() else { break };
            *to = *from;
        }
    }
}

simd_fn! {
    /// One panel of columns that lie `stride` apart, in squares that the registers hold.
    pub fn pack_transposed(panel: &mut [f32], from: &[f32], stride: usize, inner: usize) {
        let (panel, _) = panel.as_chunks_mut::<PANEL>();
        for half in 0..PANEL / SQUARE {
            for first in (0..inner / SQUARE * SQUARE).step_by(SQUARE) {
                let mut square = [[0.0_f32; SQUARE]; SQUARE];
                for c in 0..SQUARE {
                    square[c].copy_from_slice(&from[(half * SQUARE + c) * stride + first..][..SQUARE]);
                }
                for k in 0..SQUARE {
                    let to = &mut panel[first + k][half * SQUARE..][..SQUARE];
                    for c in 0..SQUARE {
                        to[c] = square[c][k];
                    }
                }
            }
        }
        for k in inner / SQUARE * SQUARE..inner {
            for c in 0..PANEL {
                panel[k][c] = from[c * stride + k];
            }
        }
    }
}

/// `width` columns and zeros behind as one panel `[inner, NARROW]`.
pub fn pack_narrow(b: Factor<'_>, [column, width]: [usize; 2], panel: &mut [f32]) {
    let (panel, _) = panel.as_chunks_mut::<NARROW>();
    panel.fill([0.0; NARROW]);
    for c in 0..width {
        if b.transposed {
            panel.iter_mut().zip(&b.values[(column + c) * b.stride..]).for_each(|(to, from)| to[c] = *from);
        } else {
            panel.iter_mut().zip(b.values[column + c..].iter().step_by(b.stride)).for_each(|(to, from)| to[c] = *from);
        }
    }
}

/// Rows side by side, [`TILE`] at a time: `[tiles, inner, TILE]`, zeros behind.
pub fn pack_tiles(a: Factor<'_>, [rows, inner]: [usize; 2], tiles: &mut Vec<f32>) {
    let (tiles, _) = room(tiles, rows.div_ceil(TILE) * inner * TILE).as_chunks_mut::<TILE>();
    let rest = rows / TILE * inner;
    tiles[rest..].fill([0.0; TILE]);
    if a.transposed {
        for (tile, first) in tiles.chunks_exact_mut(inner).zip((0..rows).step_by(TILE)) {
            for (to, from) in tile.iter_mut().zip(a.values[first..].chunks(a.stride)) {
                match from.first_chunk::<TILE>() {
                    Some(from) if first + TILE <= rows => *to = *from,
                    _ => to[..rows - first].copy_from_slice(&from[..rows - first]),
                }
            }
        }
    } else {
        for (tile, from) in tiles.chunks_exact_mut(inner).zip(a.values.chunks(TILE * a.stride)) {
            for (r, from) in from.chunks(a.stride).take(rows).enumerate() {
                tile.iter_mut().zip(&from[..inner]).for_each(|(to, from)| to[r] = *from);
            }
        }
    }
}
