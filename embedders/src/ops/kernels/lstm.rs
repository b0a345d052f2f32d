//! One direction of an LSTM over a block of samples.
//!
//! Time is the outermost dimension: the rows of a step lie together and each step is one product. The gates of a row lie side by side
//! in PyTorch's order, `i f g o`, each `hidden` wide. Outputs of both directions share rows of `2 hidden`, forward half first, or lie apart: [`Rows`].

use super::gemm::{Matrix, gemm};
use super::int8::Weight;
use super::math::{sigmoid, tanh};
use super::product::{Factor, Panels};
use super::simd::simd_fn;
use super::{add_column_sums, fill_rows};

/// The four lengths of the operation.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// Samples.
    pub batch: usize,
    /// Steps.
    pub time: usize,
    /// Width of the input.
    pub width_in: usize,
    /// Units of one direction.
    pub hidden: usize,
}

/// Which way a layer walks through the window.
#[derive(Clone, Copy)]
pub enum Direction {
    /// From the first step on.
    Forward,
    /// From the last step on.
    Backward,
}

impl Direction {
    /// Both, forward first.
    pub const BOTH: [Self; 2] = [Self::Forward, Self::Backward];

    /// The time that step number `step` looks at.
    fn at(self, step: usize, time: usize) -> usize {
        match self {
            Self::Forward => step,
            Self::Backward => time - 1 - step,
        }
    }
}

/// Weights of one direction: `w_ih [in, 4 h]`, `w_hh [h, 4 h]`, `bias [4 h]`; backwards those that learn, forwards rounded ones, too.
#[derive(Clone, Copy)]
pub struct Weights<'a, W = &'a [f32]> {
    /// From the input.
    pub w_ih: W,
    /// From the output before.
    pub w_hh: W,
    /// One bias.
    pub bias: &'a [f32],
}

/// Gradients of [`Weights`]; added to.
pub struct WeightsMut<'a> {
    /// From the input.
    pub w_ih: &'a mut [f32],
    /// From the output before.
    pub w_hh: &'a mut [f32],
    /// One bias.
    pub bias: &'a mut [f32],
}

/// Where a direction's outputs lie in rows.
#[derive(Clone, Copy)]
pub struct Rows {
    /// Values from a row to the next.
    pub stride: usize,
    /// Where the outputs begin in a row.
    pub column: usize,
}

impl Rows {
    /// The direction's half of rows that both share.
    pub fn shared(way: Direction, hidden: usize) -> Self {
        Self { stride: 2 * hidden, column: way as usize * hidden }
    }

    /// Rows of its own.
    pub fn own(hidden: usize) -> Self {
        Self { stride: hidden, column: 0 }
    }
}

/// `x [time, batch, in]` through one direction: `gates [time, batch, 4 h]` after their sigmoid or tanh, cell states `c [time, batch, h]`, and outputs into
/// `rows` of `y [time, batch, stride]`. `panels` is scratch.
#[allow(clippy::too_many_arguments)]
pub fn forward<'a, W: Into<Weight<'a>>>(
    sizes: Sizes,
    way: Direction,
    x: &[f32],
    weights: Weights<'a, W>,
    gates: &mut [f32],
    c: &mut [f32],
    y: &mut [f32],
    rows: Rows,
    panels: &mut Panels,
) {
    let Sizes { batch, time, width_in, hidden } = sizes;
    let (w_ih, w_hh) = (weights.w_ih.into(), weights.w_hh.into());
    let (width, Rows { stride, column }) = (4 * hidden, rows);
    fill_rows(gates, weights.bias);
    w_ih.multiply(gates, true, x, width_in, [time * batch, width_in, width]);
    // A single row reads the factor once a step, as it would for laying it out.
    let panels = match w_hh {
        Weight::F32(w_hh) if batch > 1 => {
            panels.lay_out(Factor::new(w_hh, width), hidden, width);
            Some(panels)
        }
        _ => None,
    };
    for step in 0..time {
        let t = way.at(step, time);
        let gates_t = block_mut(gates, t, batch * width);
        if step == 0 {
            cell(gates_t, &[], block_mut(c, t, batch * hidden), &mut block_mut(y, t, batch * stride)[column..], stride, hidden);
            continue;
        }
        let tm1 = way.at(step - 1, time);
        let h_tm1 = &block(y, tm1, batch * stride)[column..];
        match &panels {
            Some(panels) => panels.add_product(gates_t, width, h_tm1, stride, batch),
            None => w_hh.multiply(gates_t, true, h_tm1, stride, [batch, hidden, width]),
        }
        let (c_tm1, c_t) = two_blocks(c, tm1, t, batch * hidden);
        cell(gates_t, c_tm1, c_t, &mut block_mut(y, t, batch * stride)[column..], stride, hidden);
    }
}

/// What [`backward`] reads of the forward pass.
pub struct Trace<'a> {
    /// `[time, batch, in]`.
    pub x: &'a [f32],
    /// `[time, batch, h]`.
    pub c: &'a [f32],
    /// `[time, batch, 2 h]`.
    pub y: &'a [f32],
}

/// One direction backwards. `dy [time, batch, 2 h]` is the gradient of the outputs and is overwritten in the direction's half; `gates`, as [`forward`] left
/// them, become their gradients; the gradient of `x` is added to `dx`, those of the weights to `gradients`. `dc` and `panels` are scratch.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    sizes: Sizes,
    way: Direction,
    trace: &Trace<'_>,
    weights: Weights<'_>,
    dy: &mut [f32],
    gates: &mut [f32],
    dc: &mut [f32],
    gradients: WeightsMut<'_>,
    dx: Option<&mut [f32]>,
    panels: &mut Panels,
) {
    let Sizes { batch, time, width_in, hidden } = sizes;
    let (width, column) = (4 * hidden, way as usize * hidden);
    dc.fill(0.0);
    panels.lay_out(Factor::transposed(weights.w_hh, width), width, hidden);
    for step in (0..time).rev() {
        let t = way.at(step, time);
        let dh_t = &mut block_mut(dy, t, batch * 2 * hidden)[column..];
        if step + 1 < time {
            let dgates_tp1 = block(gates, way.at(step + 1, time), batch * width);
            panels.add_product(dh_t, 2 * hidden, dgates_tp1, width, batch);
        }
        let c_tm1 = if step == 0 { &[][..] } else { block(trace.c, way.at(step - 1, time), batch * hidden) };
        cell_backward(block_mut(gates, t, batch * width), c_tm1, block(trace.c, t, batch * hidden), dh_t, dc, hidden);
    }
    let dgates = &*gates;
    gemm(gradients.w_ih, [width_in, width], width, true, Matrix::transposed(trace.x, width_in), Matrix::new(dgates, width), time * batch);
    // Pairs of neighbouring steps: the h of one and the gates of the next, so both slices lack one end.
    let rows = (time - 1) * batch;
    let (h, dgates_next) = match way {
        Direction::Forward => (&trace.y[column..], &dgates[batch * width..]),
        Direction::Backward => (&trace.y[(batch * 2 * hidden + column).min(trace.y.len())..], &dgates[..rows * width]),
    };
    gemm(gradients.w_hh, [hidden, width], width, true, Matrix::transposed(h, 2 * hidden), Matrix::new(dgates_next, width), rows);
    add_column_sums(dgates, gradients.bias);
    if let Some(dx) = dx {
        gemm(dx, [time * batch, width_in], width_in, true, Matrix::new(dgates, width), Matrix::transposed(weights.w_ih, width), width);
    }
}

simd_fn! {
    /// One step of every row: `gates` go through their sigmoid or tanh in place; `c` and `h` are written, rows of `h` being `stride` apart.
    /// `c_tm1` is empty on the first step.
    pub fn cell(gates: &mut [f32], c_tm1: &[f32], c: &mut [f32], h: &mut [f32], stride: usize, hidden: usize) {
        for (row, gates) in gates.chunks_exact_mut(4 * hidden).enumerate() {
            let (i, rest) = gates.split_at_mut(hidden);
            let (f, rest) = rest.split_at_mut(hidden);
            let (g, o) = rest.split_at_mut(hidden);
            let o = &mut o[..hidden];
            let c = &mut c[row * hidden..][..hidden];
            let h = &mut h[row * stride..][..hidden];
            // In passes, as in `super::math::normal_cdfs`.
            i.iter_mut().for_each(|i| *i = sigmoid(*i));
            f.iter_mut().for_each(|f| *f = sigmoid(*f));
            g.iter_mut().for_each(|g| *g = tanh(*g));
            o.iter_mut().for_each(|o| *o = sigmoid(*o));
            for j in 0..hidden {
                c[j] = i[j] * g[j];
            }
            if let Some(c_tm1) = c_tm1.get(row * hidden..(row + 1) * hidden) {
                for j in 0..hidden {
                    c[j] = f[j].mul_add(c_tm1[j], c[j]);
                }
            }
            for j in 0..hidden {
                h[j] = o[j] * tanh(c[j]);
            }
        }
    }
}

simd_fn! {
    /// The outputs once more, `o tanh(c)`, to the bits of [`cell`], into the direction's half of `y [time, batch, 2 h]`.
    pub fn outputs(way: Direction, gates: &[f32], c: &[f32], y: &mut [f32], hidden: usize) {
        let column = way as usize * hidden;
        for ((gates, c), y) in gates.chunks_exact(4 * hidden).zip(c.chunks_exact(hidden)).zip(y.chunks_exact_mut(2 * hidden)) {
            for ((y, o), c) in y[column..].iter_mut().zip(&gates[3 * hidden..]).zip(c) {
                *y = o * tanh(*c);
            }
        }
    }
}

simd_fn! {
    /// One step of every row, backwards: `gates` become their gradients; `dc` is the gradient of `c` by later steps and becomes that of `c_tm1`, which is
    /// empty on the first step; rows of `dh` are `2 hidden` apart.
    pub fn cell_backward(gates: &mut [f32], c_tm1: &[f32], c: &[f32], dh: &[f32], dc: &mut [f32], hidden: usize) {
        for (row, gates) in gates.chunks_exact_mut(4 * hidden).enumerate() {
            let (i, rest) = gates.split_at_mut(hidden);
            let (f, rest) = rest.split_at_mut(hidden);
            let (g, o) = rest.split_at_mut(hidden);
            let o = &mut o[..hidden];
            let c = &c[row * hidden..][..hidden];
            let dh = &dh[row * 2 * hidden..][..hidden];
            let dc = &mut dc[row * hidden..][..hidden];
            for j in 0..hidden {
                let (i_j, f_j, g_j, o_j) = (i[j], f[j], g[j], o[j]);
                let tanh_c = tanh(c[j]);
                let dc_j = dc[j] + dh[j] * o_j * (1.0 - tanh_c * tanh_c);
                i[j] = dc_j * g_j * i_j * (1.0 - i_j);
                f[j] = dc_j * f_j * (1.0 - f_j);
                g[j] = dc_j * i_j * (1.0 - g_j * g_j);
                o[j] = dh[j] * tanh_c * o_j * (1.0 - o_j);
                dc[j] = dc_j * f_j;
            }
            match c_tm1.get(row * hidden..(row + 1) * hidden) {
                Some(c_tm1) => f.iter_mut().zip(c_tm1).for_each(|(df, c_tm1)| *df *= c_tm1),
                None => f.fill(0.0),
            }
        }
    }
}

fn block(values: &[f32], index: usize, len: usize) -> &[f32] {
    &values[index * len..][..len]
}

fn block_mut(values: &mut [f32], index: usize, len: usize) -> &mut [f32] {
    &mut values[index * len..][..len]
}

/// Two different blocks of one buffer: the first to read, the second to write.
fn two_blocks(values: &mut [f32], read: usize, write: usize, len: usize) -> (&[f32], &mut [f32]) {
    let (low, high) = values.split_at_mut(read.max(write) * len);
    if read < write { (block(low, read, len), &mut high[..len]) } else { (&high[..len], block_mut(low, write, len)) }
}
