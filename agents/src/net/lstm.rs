//! An LSTM over a rollout: lanes side by side, time outside, the state of a lane forgotten where an episode begins.
//!
//! `i f g o = [s s tanh s](ahead + x W_x + h W_h + b)`, `c' = f c + i g`, `h' = o tanh(c')`, gates side by side in PyTorch's order. Parameters:
//! `W_x [in, 4 hidden]`, `W_h [hidden, 4 hidden]`, `b [4 hidden]`.
//!
//! # Source
//! Hochreiter and Schmidhuber 1997; Gers et al. 2000 for the forget gate.

use grandmodel_embedders::{
    ops::kernels::{
        math,
        product::{Factor, Panels},
    },
    simd_fn,
};

use super::{
    kernels::{WeightRoom, add_product, add_weight_gradient, column_sums_into, repeat},
    mlp::{Columns, ColumnsMut, add_columns},
};

/// Widths of the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LstmShape {
    /// Width of `x`; may be 0 where there is a part ahead.
    pub input: usize,
    /// Width of `h` and of `c`.
    pub hidden: usize,
}

/// What a forward pass leaves for the backward pass; kept by the caller and reused.
#[derive(Clone, Debug, Default)]
pub struct LstmTape {
    /// `[T, N, 4 hidden]` after sigmoid or tanh.
    gates: Vec<f32>,
    /// `[T, N, hidden]` cell states after each step.
    cells: Vec<f32>,
    /// `[T, N, hidden]` outputs.
    outputs: Vec<f32>,
    /// `[T, N, hidden]` outputs before each step, zero where an episode begins.
    outputs_tm1: Vec<f32>,
    /// `[T, N, hidden]` cell states before each step.
    cells_tm1: Vec<f32>,
    d_gates: Vec<f32>,
    /// `W_h`, on the way back its transpose.
    panels: Panels,
    room: WeightRoom,
}

impl LstmTape {
    /// `[T, N, hidden]` outputs of the last forward pass.
    pub fn output(&self) -> &[f32] {
        &self.outputs
    }
}

impl LstmShape {
    /// Width of the four gates, which is that of the part ahead.
    pub fn gates(&self) -> usize {
        4 * self.hidden
    }

    /// Values that a lane carries from step to step: `h`, then `c`.
    pub fn state_width(&self) -> usize {
        2 * self.hidden
    }

    /// Number of parameters.
    pub fn num_parameters(&self) -> usize {
        (self.input + self.hidden + 1) * self.gates()
    }

    /// Each parameter array with its name below `prefix` and its shape, in order.
    pub fn arrays(&self, prefix: &str) -> Vec<(String, Vec<usize>)> {
        vec![
            (format!("{prefix}.weight_ih"), vec![self.input, self.gates()]),
            (format!("{prefix}.weight_hh"), vec![self.hidden, self.gates()]),
            (format!("{prefix}.bias"), vec![self.gates()]),
        ]
    }

    /// Runs `T = x.len() / (lanes * input)` steps of `lanes` lanes; `states` goes in as the state before and comes out as the state after.
    ///
    /// # Shapes
    /// `x [T, lanes, input]`, `ahead` columns `[T * lanes, 4 hidden]`, `starts [T, lanes]` true where the step begins an episode, rows of `states`
    /// hold `h` and then `c` at their offset.
    pub fn forward(
        &self,
        parameters: &[f32],
        x: &[f32],
        ahead: Option<Columns<'_>>,
        starts: &[bool],
        lanes: usize,
        states: &mut ColumnsMut<'_>,
        tape: &mut LstmTape,
    ) {
        let Self { input, hidden } = *self;
        let (gates, num_steps) = (self.gates(), starts.len() / lanes);
        assert_eq!(x.len(), starts.len() * input, "Invariant: the input is [T, lanes, {input}]");
        let (w_x, rest) = parameters.split_at(input * gates);
        let (w_h, bias) = rest.split_at(hidden * gates);
        repeat(bias, starts.len(), &mut tape.gates);
        add_columns(&mut tape.gates, gates, ahead);
        if input > 0 {
            add_product(&mut tape.gates, x, w_x, [starts.len(), input, gates], &mut tape.room.room);
        }
        for values in [&mut tape.cells, &mut tape.outputs, &mut tape.outputs_tm1, &mut tape.cells_tm1] {
            values.resize(starts.len() * hidden, 0.0);
        }
        // Acting, a step at a time, would lay it out for a single product.
        let rollout = num_steps > 1;
        if rollout {
            tape.panels.lay_out(Factor::new(w_h, gates), hidden, gates);
        }
        for t in 0..num_steps {
            let rows = t * lanes * hidden..(t + 1) * lanes * hidden;
            let (h_tm1, c_tm1) = (&mut tape.outputs_tm1[rows.clone()], &mut tape.cells_tm1[rows.clone()]);
            for lane in 0..lanes {
                let state = &states.values[lane * states.stride + states.offset..][..2 * hidden];
                let (h, c) = (&mut h_tm1[lane * hidden..][..hidden], &mut c_tm1[lane * hidden..][..hidden]);
                if starts[t * lanes + lane] {
                    h.fill(0.0);
                    c.fill(0.0);
                } else {
                    h.copy_from_slice(&state[..hidden]);
                    c.copy_from_slice(&state[hidden..]);
                }
            }
            let step_gates = &mut tape.gates[t * lanes * gates..(t + 1) * lanes * gates];
            if rollout {
                tape.panels.add_product(step_gates, gates, h_tm1, hidden, lanes);
            } else {
                add_product(step_gates, h_tm1, w_h, [lanes, hidden, gates], &mut tape.room.room);
            }
            cell_forward(step_gates, c_tm1, &mut tape.cells[rows.clone()], &mut tape.outputs[rows.clone()], hidden);
            for lane in 0..lanes {
                let state = &mut states.values[lane * states.stride + states.offset..][..2 * hidden];
                state[..hidden].copy_from_slice(&tape.outputs[rows.start + lane * hidden..][..hidden]);
                state[hidden..].copy_from_slice(&tape.cells[rows.start + lane * hidden..][..hidden]);
            }
        }
    }

    /// Adds the gradient of `sum(d_output * output)` to `gradient`, through all steps back to where each episode begins or the rollout does; `d_output` is
    /// overwritten.
    ///
    /// # Shapes
    /// As in [`LstmShape::forward`]; `d_output [T, lanes, hidden]`.
    #[allow(clippy::too_many_arguments, reason = "one pass, each argument an array of its own")]
    pub fn backward(
        &self,
        parameters: &[f32],
        x: &[f32],
        starts: &[bool],
        lanes: usize,
        tape: &mut LstmTape,
        d_output: &mut [f32],
        gradient: &mut [f32],
        d_ahead: Option<ColumnsMut<'_>>,
    ) {
        let Self { input, hidden } = *self;
        let (gates, num_steps) = (self.gates(), starts.len() / lanes);
        let w_h = &parameters[input * gates..(input + hidden) * gates];
        let LstmTape { gates: acts, cells, outputs_tm1, cells_tm1, d_gates, panels, room, .. } = tape;
        panels.lay_out(Factor::transposed(w_h, gates), gates, hidden);
        d_gates.resize(starts.len() * gates, 0.0);
        let mut d_cells = vec![0.0; lanes * hidden];
        let mut d_h = vec![0.0; lanes * hidden];
        for t in (0..num_steps).rev() {
            let rows = t * lanes * hidden..(t + 1) * lanes * hidden;
            let wide = t * lanes * gates..(t + 1) * lanes * gates;
            let d_here = &mut d_output[rows.clone()];
            d_here.iter_mut().zip(&d_h).for_each(|(d, later)| *d += later);
            let d_step = &mut d_gates[wide.clone()];
            cell_backward(d_step, &mut d_cells, d_here, &acts[wide], &cells[rows.clone()], &cells_tm1[rows], hidden);
            d_h.fill(0.0);
            panels.add_product(&mut d_h, hidden, d_step, gates, lanes);
            for lane in (0..lanes).filter(|lane| starts[t * lanes + lane]) {
                d_h[lane * hidden..(lane + 1) * hidden].fill(0.0);
                d_cells[lane * hidden..(lane + 1) * hidden].fill(0.0);
            }
        }
        let (d_wx, rest) = gradient.split_at_mut(input * gates);
        let (d_wh, d_bias) = rest.split_at_mut(hidden * gates);
        if input > 0 {
            add_weight_gradient(d_wx, x, d_gates, [starts.len(), input, gates], room);
        }
        add_weight_gradient(d_wh, outputs_tm1, d_gates, [starts.len(), hidden, gates], room);
        column_sums_into(d_bias, d_gates);
        if let Some(ahead) = d_ahead {
            for (row, d) in ahead.values.chunks_exact_mut(ahead.stride).zip(d_gates.chunks_exact(gates)) {
                row[ahead.offset..ahead.offset + gates].copy_from_slice(d);
            }
        }
    }
}

simd_fn! {
    /// Gates before activation in, activated gates, cells and outputs out. One loop a result: with several in one loop the compiler would have to prove
    /// that none overlaps another, and gives up vectorising.
    pub fn cell_forward(gates: &mut [f32], c_tm1: &[f32], cells: &mut [f32], outputs: &mut [f32], hidden: usize) {
        let rows = gates.chunks_exact_mut(4 * hidden).zip(c_tm1.chunks_exact(hidden));
        for ((gates, c_tm1), (cells, outputs)) in rows.zip(cells.chunks_exact_mut(hidden).zip(outputs.chunks_exact_mut(hidden))) {
            let (input_forget, rest) = gates.split_at_mut(2 * hidden);
            let (cell, output) = rest.split_at_mut(hidden);
            input_forget.iter_mut().for_each(|x| *x = math::sigmoid(*x));
            cell.iter_mut().for_each(|x| *x = math::tanh(*x));
            output.iter_mut().for_each(|x| *x = math::sigmoid(*x));
            let (input, forget) = input_forget.split_at(hidden);
            let new = forget.iter().zip(c_tm1).zip(input.iter().zip(&*cell)).map(|((f, c), (i, g))| f * c + i * g);
            cells.iter_mut().zip(new).for_each(|(cell, new)| *cell = new);
            outputs.iter_mut().zip(&*cells).zip(&*output).for_each(|((h, c), o)| *h = o * math::tanh(*c));
        }
    }
}

simd_fn! {
    /// Gradients of the gates before activation; `d_cells` goes in as that of later steps and comes out as that of the cells before this step.
    pub fn cell_backward(d_gates: &mut [f32], d_cells: &mut [f32], d_h: &[f32], acts: &[f32], cells: &[f32], c_tm1: &[f32], hidden: usize) {
        let rows = d_gates.chunks_exact_mut(4 * hidden).zip(d_cells.chunks_exact_mut(hidden)).zip(acts.chunks_exact(4 * hidden));
        let states = d_h.chunks_exact(hidden).zip(cells.chunks_exact(hidden)).zip(c_tm1.chunks_exact(hidden));
        for (((d_gates, d_cells), acts), ((d_h, cells), c_tm1)) in rows.zip(states) {
            let (d_i, rest) = d_gates.split_at_mut(hidden);
            let (d_f, rest) = rest.split_at_mut(hidden);
            let (d_g, d_o) = rest.split_at_mut(hidden);
            let [input, forget, cell, output] = std::array::from_fn(|gate| &acts[gate * hidden..][..hidden]);
            let tanh_c = d_o;
            tanh_c.iter_mut().zip(cells).for_each(|(t, c)| *t = math::tanh(*c));
            for (((d_c, d_h), o), t) in d_cells.iter_mut().zip(d_h).zip(output).zip(&*tanh_c) {
                *d_c += d_h * o * (1.0 - t * t);
            }
            let d_o = tanh_c;
            d_o.iter_mut().zip(d_h).zip(output).for_each(|((t, d_h), o)| *t = d_h * *t * o * (1.0 - o));
            d_i.iter_mut().zip(&*d_cells).zip(input.iter().zip(cell)).for_each(|((d, d_c), (i, g))| *d = d_c * g * i * (1.0 - i));
            d_f.iter_mut().zip(&*d_cells).zip(forget.iter().zip(c_tm1)).for_each(|((d, d_c), (f, c))| *d = d_c * c * f * (1.0 - f));
            d_g.iter_mut().zip(&*d_cells).zip(input.iter().zip(cell)).for_each(|((d, d_c), (i, g))| *d = d_c * i * (1.0 - g * g));
            d_cells.iter_mut().zip(forget).for_each(|(d_c, f)| *d_c *= f);
        }
    }
}
