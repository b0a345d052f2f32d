//! One direction of an LSTM over a block of samples.
//!
//! Inside, time is the outermost dimension: the rows of a step lie together and each step is one product. The gates of a row lie
//! side by side in PyTorch's order, `i f g o`, each `hidden` wide.

use super::gemm::{Matrix, gemm};
use super::math::{sigmoid, tanh};
use super::simd::simd_fn;
use super::{column_sums, repeat};

/// Samples that [`infer`] walks at a time: their gates and states then stay in the cache.
const INFER_ROWS: usize = 64;

/// The four lengths of the operation.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub batch: usize,
    pub time: usize,
    pub width_in: usize,
    pub hidden: usize,
}

/// Which way a layer walks through the window.
#[derive(Clone, Copy)]
pub enum Direction {
    Forward,
    Backward,
}

impl Direction {
    pub const BOTH: [Self; 2] = [Self::Forward, Self::Backward];

    /// The time that step number `step` looks at.
    fn at(self, step: usize, time: usize) -> usize {
        match self {
            Self::Forward => step,
            Self::Backward => time - 1 - step,
        }
    }
}

/// What a forward pass leaves for the backward pass; `[time, batch, ..]`.
pub struct Trace {
    /// After their sigmoid or tanh, `4 hidden` wide.
    gates: Vec<f32>,
    /// Cell states.
    c: Vec<f32>,
    /// Outputs.
    pub h: Vec<f32>,
}

/// Gradients of one direction's weights.
pub struct WeightGradients {
    pub w_ih: Vec<f32>,
    pub w_hh: Vec<f32>,
    pub bias: Vec<f32>,
}

/// `x [time, batch, in]` through one direction.
pub fn forward(sizes: Sizes, way: Direction, x: &[f32], w_ih: &[f32], w_hh: &[f32], bias: &[f32]) -> Trace {
    let Sizes { batch, time, width_in, hidden } = sizes;
    let (rows, width) = (time * batch, 4 * hidden);
    let mut gates = repeat(bias, rows);
    gemm(&mut gates, [rows, width], width, true, Matrix::new(x, width_in), Matrix::new(w_ih, width), width_in);
    let mut c = vec![0.0; rows * hidden];
    let mut h = vec![0.0; rows * hidden];
    let zeros = vec![0.0; batch * hidden];
    for step in 0..time {
        let t = way.at(step, time);
        let gates_t = block_mut(&mut gates, t, batch * width);
        if step == 0 {
            let (c_t, h_t) = (block_mut(&mut c, t, batch * hidden), block_mut(&mut h, t, batch * hidden));
            cell(gates_t, &zeros, c_t, h_t, hidden);
            continue;
        }
        let tm1 = way.at(step - 1, time);
        let h_tm1 = block(&h, tm1, batch * hidden);
        gemm(gates_t, [batch, width], width, true, Matrix::new(h_tm1, hidden), Matrix::new(w_hh, width), hidden);
        let (c_tm1, c_t) = two_blocks(&mut c, tm1, t, batch * hidden);
        cell(gates_t, c_tm1, c_t, block_mut(&mut h, t, batch * hidden), hidden);
    }
    Trace { gates, c, h }
}

/// From `dh [time, batch, hidden]`, the gradient of the outputs, to the gradient of the gates before their sigmoid or tanh.
pub fn backward_gates(sizes: Sizes, way: Direction, trace: &Trace, w_hh: &[f32], mut dh: Vec<f32>) -> Vec<f32> {
    let Sizes { batch, time, hidden, .. } = sizes;
    let width = 4 * hidden;
    let mut dgates = vec![0.0; time * batch * width];
    let mut dc = vec![0.0; batch * hidden];
    let zeros = vec![0.0; batch * hidden];
    for step in (0..time).rev() {
        let t = way.at(step, time);
        let dh_t = block_mut(&mut dh, t, batch * hidden);
        if step + 1 < time {
            let dgates_tp1 = block(&dgates, way.at(step + 1, time), batch * width);
            gemm(dh_t, [batch, hidden], hidden, true, Matrix::new(dgates_tp1, width), Matrix::transposed(w_hh, width), width);
        }
        let c_tm1 = if step == 0 { &zeros[..] } else { block(&trace.c, way.at(step - 1, time), batch * hidden) };
        let (gates_t, c_t) = (block(&trace.gates, t, batch * width), block(&trace.c, t, batch * hidden));
        cell_backward(gates_t, c_tm1, c_t, dh_t, &mut dc, block_mut(&mut dgates, t, batch * width), hidden);
    }
    dgates
}

/// From the gradient of the gates to that of the weights.
pub fn backward_weights(sizes: Sizes, way: Direction, x: &[f32], trace: &Trace, dgates: &[f32]) -> WeightGradients {
    let Sizes { batch, time, width_in, hidden } = sizes;
    let width = 4 * hidden;
    let mut w_ih = vec![0.0; width_in * width];
    gemm(&mut w_ih, [width_in, width], width, false, Matrix::transposed(x, width_in), Matrix::new(dgates, width), time * batch);
    // Pairs of neighbouring steps: the h of one and the gates of the next, so both slices lack one end.
    let rows = time.saturating_sub(1) * batch;
    let (h, dgates_next) = match way {
        Direction::Forward => (&trace.h[..rows * hidden], &dgates[dgates.len() - rows * width..]),
        Direction::Backward => (&trace.h[trace.h.len() - rows * hidden..], &dgates[..rows * width]),
    };
    let mut w_hh = vec![0.0; hidden * width];
    gemm(&mut w_hh, [hidden, width], width, false, Matrix::transposed(h, hidden), Matrix::new(dgates_next, width), rows);
    WeightGradients { w_ih, w_hh, bias: column_sums(dgates, width) }
}

/// Adds one direction's gradient of `x [time, batch, in]`.
pub fn add_backward_input(sizes: Sizes, dgates: &[f32], w_ih: &[f32], dx: &mut [f32]) {
    let Sizes { batch, time, width_in, hidden } = sizes;
    let width = 4 * hidden;
    gemm(dx, [time * batch, width_in], width_in, true, Matrix::new(dgates, width), Matrix::transposed(w_ih, width), width);
}

/// Writes one direction's outputs `[time, batch, hidden]` into its half of `y [batch, time, 2 hidden]`.
pub fn put_half(sizes: Sizes, way: Direction, h: &[f32], y: &mut [f32]) {
    let Sizes { batch, time, hidden, .. } = sizes;
    for (index, row) in h.chunks_exact(hidden).enumerate() {
        let (t, sample) = (index / batch, index % batch);
        y[((sample * time + t) * 2 + way as usize) * hidden..][..hidden].copy_from_slice(row);
    }
}

/// One direction's half of `dy [batch, time, 2 hidden]`, as `[time, batch, hidden]`.
pub fn take_half(sizes: Sizes, way: Direction, dy: &[f32]) -> Vec<f32> {
    let Sizes { batch, time, hidden, .. } = sizes;
    let mut half = Vec::with_capacity(time * batch * hidden);
    for t in 0..time {
        for sample in 0..batch {
            half.extend_from_slice(&dy[((sample * time + t) * 2 + way as usize) * hidden..][..hidden]);
        }
    }
    half
}

/// Both directions without a trace: `x [batch, time, in]` into `y [batch, time, 2 hidden]`; `weights` are `w_ih w_hh bias`.
pub fn infer(sizes: Sizes, x: &[f32], weights: [[&[f32]; 3]; 2], y: &mut [f32]) {
    let Sizes { time, width_in, hidden, .. } = sizes;
    let width = 4 * hidden;
    for (x, y) in x.chunks(INFER_ROWS * time * width_in).zip(y.chunks_mut(INFER_ROWS * time * 2 * hidden)) {
        let rows = x.len() / (time * width_in);
        for (way, [w_ih, w_hh, bias]) in Direction::BOTH.into_iter().zip(weights) {
            let mut gates = vec![0.0; rows * width];
            let [mut c_tm1, mut c, mut h] = [(); 3].map(|()| vec![0.0; rows * hidden]);
            for step in 0..time {
                let t = way.at(step, time);
                gates.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(bias));
                let x_t = Matrix::new(&x[t * width_in..], time * width_in);
                gemm(&mut gates, [rows, width], width, true, x_t, Matrix::new(w_ih, width), width_in);
                if step > 0 {
                    gemm(&mut gates, [rows, width], width, true, Matrix::new(&h, hidden), Matrix::new(w_hh, width), hidden);
                }
                std::mem::swap(&mut c_tm1, &mut c);
                cell(&mut gates, &c_tm1, &mut c, &mut h, hidden);
                for (sample, row) in h.chunks_exact(hidden).enumerate() {
                    y[((sample * time + t) * 2 + way as usize) * hidden..][..hidden].copy_from_slice(row);
                }
            }
        }
    }
}

simd_fn! {
    /// One step of every row: `gates` go through their sigmoid or tanh in place; `c` and `h` are written.
    pub fn cell(gates: &mut [f32], c_tm1: &[f32], c: &mut [f32], h: &mut [f32], hidden: usize) {
        for (row, gates) in gates.chunks_exact_mut(4 * hidden).enumerate() {
            let (i, rest) = gates.split_at_mut(hidden);
            let (f, rest) = rest.split_at_mut(hidden);
            let (g, o) = rest.split_at_mut(hidden);
            let o = &mut o[..hidden];
            let c_tm1 = &c_tm1[row * hidden..][..hidden];
            let c = &mut c[row * hidden..][..hidden];
            let h = &mut h[row * hidden..][..hidden];
            for j in 0..hidden {
                i[j] = sigmoid(i[j]);
                f[j] = sigmoid(f[j]);
                g[j] = tanh(g[j]);
                o[j] = sigmoid(o[j]);
                c[j] = f[j].mul_add(c_tm1[j], i[j] * g[j]);
                h[j] = o[j] * tanh(c[j]);
            }
        }
    }
}

simd_fn! {
    /// One step of every row, backwards: `dgates` is written; `dc` is the gradient of `c` by later steps and becomes that of `c_tm1`.
    pub fn cell_backward(gates: &[f32], c_tm1: &[f32], c: &[f32], dh: &[f32], dc: &mut [f32], dgates: &mut [f32], hidden: usize) {
        for (row, (gates, dgates)) in gates.chunks_exact(4 * hidden).zip(dgates.chunks_exact_mut(4 * hidden)).enumerate() {
            let (i, f, g, o) = (&gates[..hidden], &gates[hidden..][..hidden], &gates[2 * hidden..][..hidden], &gates[3 * hidden..][..hidden]);
            let (di, rest) = dgates.split_at_mut(hidden);
            let (df, rest) = rest.split_at_mut(hidden);
            let (dg, d_o) = rest.split_at_mut(hidden);
            let d_o = &mut d_o[..hidden];
            let (c_tm1, c) = (&c_tm1[row * hidden..][..hidden], &c[row * hidden..][..hidden]);
            let dh = &dh[row * hidden..][..hidden];
            let dc = &mut dc[row * hidden..][..hidden];
            for j in 0..hidden {
                let tanh_c = tanh(c[j]);
                let dc_j = dc[j] + dh[j] * o[j] * (1.0 - tanh_c * tanh_c);
                di[j] = dc_j * g[j] * i[j] * (1.0 - i[j]);
                df[j] = dc_j * c_tm1[j] * f[j] * (1.0 - f[j]);
                dg[j] = dc_j * i[j] * (1.0 - g[j] * g[j]);
                d_o[j] = dh[j] * tanh_c * o[j] * (1.0 - o[j]);
                dc[j] = dc_j * f[j];
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
