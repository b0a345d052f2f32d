//! A multilayer perceptron with an optional part of its first layer computed ahead.
//!
//! `x_1 = f(ahead + x W_1 + b_1)`, `x_i = f(x_{i-1} W_i + b_i)`, output linear. On the market `ahead` is `W_e h` of the embeddings, computed for all rows
//! of a rollout in one batch; elsewhere it is absent.

use super::kernels::{
    WeightRoom, add_product, add_weight_gradient, column_sums_into, input_gradient, relu_backward, relu_in_place, repeat, tanh_backward,
    tanh_in_place,
};

/// Between layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Hyperbolic tangent.
    #[default]
    Tanh,
    /// `max(0, x)`.
    Relu,
}

impl Activation {
    pub(crate) fn apply(self, values: &mut [f32]) {
        match self {
            Self::Tanh => tanh_in_place(values),
            Self::Relu => relu_in_place(values),
        }
    }

    pub(crate) fn backward(self, d: &mut [f32], y: &[f32]) {
        match self {
            Self::Tanh => tanh_backward(d, y),
            Self::Relu => relu_backward(d, y),
        }
    }
}

/// Widths of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MlpShape {
    /// Width of `x`; may be 0 where there is a part ahead.
    pub input: usize,
    /// Hidden layers; may be none.
    pub hidden: Vec<usize>,
    /// Width of the output.
    pub output: usize,
    /// Between layers.
    pub activation: Activation,
}

/// Some columns of a row-major matrix of `stride` columns, beginning at `offset`.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// The matrix.
    pub values: &'a [f32],
    /// Its columns.
    pub stride: usize,
    /// The first of ours.
    pub offset: usize,
}

/// As [`Columns`], to be written.
#[derive(Debug)]
pub struct ColumnsMut<'a> {
    /// The matrix.
    pub values: &'a mut [f32],
    /// Its columns.
    pub stride: usize,
    /// The first of ours.
    pub offset: usize,
}

/// What a forward pass leaves for the backward pass; kept by the caller and reused.
#[derive(Clone, Debug, Default)]
pub struct MlpTape {
    /// Layer outputs after activation; the last is the output.
    layers: Vec<Vec<f32>>,
    d: Vec<f32>,
    d_next: Vec<f32>,
    room: WeightRoom,
}

impl MlpTape {
    /// `[batch, output]` of the last forward pass.
    pub fn output(&self) -> &[f32] {
        self.layers.last().map_or(&[], Vec::as_slice)
    }

    /// `[batch, width]` of the last hidden layer; the input is no layer.
    pub fn last_hidden(&self) -> &[f32] {
        let len = self.layers.len();
        if len < 2 { &[] } else { &self.layers[len - 2] }
    }
}

impl MlpTape {
    /// Forgets all rows of the last forward pass but these, ascending: a backward pass then is about them alone.
    pub fn keep_rows(&mut self, batch: usize, rows: &[u32]) {
        for layer in &mut self.layers {
            let width = layer.len() / batch.max(1);
            for (to, from) in rows.iter().enumerate() {
                let from = *from as usize * width;
                layer.copy_within(from..from + width, to * width);
            }
            layer.truncate(rows.len() * width);
        }
    }
}

impl MlpShape {
    /// Layers with their widths `(in, out)`.
    fn layers(&self) -> impl Iterator<Item = (usize, usize)> {
        let ins = std::iter::once(self.input).chain(self.hidden.iter().copied());
        let outs = self.hidden.iter().copied().chain(std::iter::once(self.output));
        ins.zip(outs)
    }

    fn layer(&self, i: usize) -> (usize, usize) {
        let inputs = if i == 0 { self.input } else { self.hidden[i - 1] };
        (inputs, self.hidden.get(i).copied().unwrap_or(self.output))
    }

    /// Number of parameters.
    pub fn num_parameters(&self) -> usize {
        self.layers().map(|(inputs, outputs)| inputs * outputs + outputs).sum()
    }

    /// Width of the part ahead: that of the first layer.
    pub fn first_width(&self) -> usize {
        self.hidden.first().copied().unwrap_or(self.output)
    }

    /// Each parameter array with its name below `prefix` and its shape, in order.
    pub fn arrays(&self, prefix: &str) -> Vec<(String, Vec<usize>)> {
        self.layers()
            .enumerate()
            .flat_map(|(i, (inputs, outputs))| {
                [(format!("{prefix}.{i}.weight"), vec![inputs, outputs]), (format!("{prefix}.{i}.bias"), vec![outputs])]
            })
            .collect()
    }

    /// Outputs of a batch, in `tape.output()`.
    ///
    /// # Shapes
    /// `x [batch, input]`, `ahead` columns `[batch, first_width]`.
    pub fn forward(&self, parameters: &[f32], x: &[f32], ahead: Option<Columns<'_>>, batch: usize, tape: &mut MlpTape) {
        self.masked_forward(parameters, x, ahead, batch, &[], tape);
    }

    /// As [`MlpShape::forward`], each hidden layer's units multiplied by its mask `[width]`: one pass of MC dropout. No masks: none.
    pub fn masked_forward(
        &self,
        parameters: &[f32],
        x: &[f32],
        ahead: Option<Columns<'_>>,
        batch: usize,
        masks: &[Vec<f32>],
        tape: &mut MlpTape,
    ) {
        assert_eq!(parameters.len(), self.num_parameters(), "Invariant: parameters fit the shape");
        assert_eq!(x.len(), batch * self.input, "Invariant: the input is [batch, {}]", self.input);
        let num_layers = self.hidden.len() + 1;
        tape.layers.resize_with(num_layers, Vec::new);
        let mut at = 0;
        for (i, (inputs, outputs)) in self.layers().enumerate() {
            let (weight, rest) = parameters[at..].split_at(inputs * outputs);
            let bias = &rest[..outputs];
            at += inputs * outputs + outputs;
            let (before, here) = tape.layers.split_at_mut(i);
            let y = &mut here[0];
            repeat(bias, batch, y);
            let mut from = x;
            if i == 0 {
                add_columns(y, outputs, ahead);
            } else {
                from = &before[i - 1];
            }
            if inputs > 0 {
                add_product(y, from, weight, [batch, inputs, outputs], &mut tape.room.room);
            }
            if i + 1 < num_layers {
                self.activation.apply(y);
                if let Some(mask) = masks.get(i) {
                    y.chunks_exact_mut(outputs).for_each(|row| row.iter_mut().zip(mask).for_each(|(y, m)| *y *= m));
                }
            }
        }
    }

    /// Adds the gradient of `sum(d_output * output)` to `gradient`; writes that of the input and of the part ahead where asked for.
    ///
    /// # Shapes
    /// `d_output [batch, output]`, `gradient` as the parameters, `d_input [batch, input]`.
    #[allow(clippy::too_many_arguments, reason = "one pass, each argument an array of its own")]
    pub fn backward(
        &self,
        parameters: &[f32],
        x: &[f32],
        batch: usize,
        tape: &mut MlpTape,
        d_output: &[f32],
        gradient: Option<&mut [f32]>,
        d_input: Option<&mut [f32]>,
        d_ahead: Option<ColumnsMut<'_>>,
    ) {
        assert_eq!(d_output.len(), batch * self.output, "Invariant: the gradient of the output is [batch, {}]", self.output);
        let mut gradient = gradient;
        let mut end = parameters.len();
        let MlpTape { layers, d, d_next, room } = tape;
        d.clear();
        d.extend_from_slice(d_output);
        let mut d_input = d_input;
        for i in (0..=self.hidden.len()).rev() {
            let (inputs, outputs) = self.layer(i);
            let start = end - inputs * outputs - outputs;
            let weight = &parameters[start..start + inputs * outputs];
            let from = if i == 0 { x } else { &layers[i - 1] };
            if let Some(gradient) = gradient.as_deref_mut() {
                let (dw, db) = gradient[start..end].split_at_mut(inputs * outputs);
                if inputs > 0 {
                    add_weight_gradient(dw, from, d, [batch, inputs, outputs], room);
                }
                column_sums_into(db, d);
            }
            if i > 0 {
                d_next.resize(batch * inputs, 0.0);
                input_gradient(d_next, d, weight, [batch, inputs, outputs], &mut room.room);
                self.activation.backward(d_next, from);
                std::mem::swap(d, d_next);
            } else if let Some(d_input) = d_input.take() {
                input_gradient(d_input, d, weight, [batch, inputs, outputs], &mut room.room);
            }
            end = start;
        }
        if let Some(ahead) = d_ahead {
            let width = self.first_width();
            for (row, d) in ahead.values.chunks_exact_mut(ahead.stride).zip(d.chunks_exact(width)) {
                row[ahead.offset..ahead.offset + width].copy_from_slice(d);
            }
        }
    }
}

/// `y [rows, width] +=` columns.
pub(super) fn add_columns(y: &mut [f32], width: usize, columns: Option<Columns<'_>>) {
    let Some(Columns { values, stride, offset }) = columns else { return };
    for (y, row) in y.chunks_exact_mut(width).zip(values.chunks_exact(stride)) {
        y.iter_mut().zip(&row[offset..offset + width]).for_each(|(y, a)| *y += a);
    }
}
