//! The tactical embedder on flat parameters. Inside, time is the outermost dimension, so that a step of the LSTM is one product.

use std::ops::Range;

use grandmodel_market::features::{TACTICAL_FEATURES, TACTICAL_WINDOW};

use super::{
    Plain,
    layers::{Linear, Norm, NormTape, OutputGradient, Places, Readout, ReadoutTape, room, zeros},
};
use crate::{
    config::TacticalWidths,
    kind::EmbedderKind,
    ops::kernels::{
        add,
        lstm::{self, Direction, Sizes, Trace, Weights, WeightsMut},
        pooling, swap_leading,
    },
    tactical::TACTICAL_SCALES,
};

/// Linear layer and norm, bidirectional LSTM layers with residuals from the second on, multi-scale attention pooling, readout.
#[derive(Clone, Debug)]
pub struct Tactical {
    input: Linear,
    norm: Norm,
    layers: Vec<BiLstm>,
    queries: Range<usize>,
    readout: Readout,
    hidden: usize,
    num_parameters: usize,
}

/// Both directions of one layer, each half of every array.
#[derive(Clone, Debug)]
struct BiLstm {
    w_ih: Range<usize>,
    w_hh: Range<usize>,
    bias: Range<usize>,
    width_in: usize,
    hidden: usize,
}

/// What a forward pass keeps.
#[derive(Clone, Debug, Default)]
pub struct TacticalTape {
    input: Vec<f32>,
    norm: NormTape,
    layers: Vec<LayerTape>,
    shares: Vec<f32>,
    readout: ReadoutTape,
    scratch: Scratch,
}

#[derive(Clone, Debug, Default)]
struct LayerTape {
    x: Vec<f32>,
    /// One a direction.
    gates: [Vec<f32>; 2],
    c: [Vec<f32>; 2],
    y: Vec<f32>,
}

#[derive(Clone, Debug, Default)]
struct Scratch {
    projected: Vec<f32>,
    d_gates: Vec<f32>,
    d_c: Vec<f32>,
    d_x: Vec<f32>,
    d_y: Vec<f32>,
    d_pooled: Vec<f32>,
    last: Vec<f32>,
}

impl Tactical {
    /// Of given widths.
    pub fn new(widths: TacticalWidths) -> Self {
        let TacticalWidths { d_input, hidden, num_layers } = widths;
        let mut places = Places::default();
        let input = Linear::new(&mut places, TACTICAL_FEATURES, d_input, true);
        let norm = Norm::new(&mut places, d_input);
        let width_in = |layer| if layer == 0 { d_input } else { 2 * hidden };
        let layers = (0..num_layers).map(|layer| BiLstm::new(&mut places, width_in(layer), hidden)).collect();
        let queries = places.take(2 * hidden * TACTICAL_SCALES.len());
        let readout = Readout::new(&mut places, TACTICAL_SCALES.len() * 2 * hidden, EmbedderKind::Tactical.dim());
        Self { input, norm, layers, queries, readout, hidden, num_parameters: places.len }
    }

    fn pooling(&self, batch: usize) -> pooling::Sizes {
        pooling::Sizes::time_major(batch, TACTICAL_WINDOW, 2 * self.hidden)
    }

    /// Output of layer `index` with its residual, `[time, batch, 2 h]`, written to `to`.
    fn output(&self, layers: &[LayerTape], index: usize, len: usize, to: &mut [f32]) {
        to.copy_from_slice(&layers[index].y[..len]);
        if index > 0 {
            add(to, &layers[index].x[..len]);
        }
    }
}

impl Plain for Tactical {
    type Tape = TacticalTape;
    const KIND: EmbedderKind = EmbedderKind::Tactical;

    fn num_parameters(&self) -> usize {
        self.num_parameters
    }

    fn forward(&self, parameters: &[f32], inputs: &[f32], tape: &mut TacticalTape) {
        let batch = inputs.len() / Self::KIND.input_len();
        let rows = batch * TACTICAL_WINDOW;
        let len = rows * 2 * self.hidden;
        let TacticalTape { input, norm, layers, shares, readout, scratch } = tape;
        layers.resize_with(self.layers.len(), LayerTape::default);
        let input = room(input, inputs.len());
        swap_leading(inputs, [batch, TACTICAL_WINDOW, TACTICAL_FEATURES], input);
        let projected = room(&mut scratch.projected, rows * self.input.d_out);
        self.input.forward(parameters, input, projected);
        self.norm.forward(parameters, projected, norm, room(&mut layers[0].x, rows * self.input.d_out));
        for (index, layer) in self.layers.iter().enumerate() {
            layer.forward(parameters, batch, &mut layers[index]);
            if index + 1 < self.layers.len() {
                let mut next = std::mem::take(&mut layers[index + 1].x);
                self.output(layers, index, len, room(&mut next, len));
                layers[index + 1].x = next;
            }
        }
        let last = room(&mut scratch.last, len);
        self.output(layers, self.layers.len() - 1, len, last);
        let shares = room(shares, batch * TACTICAL_SCALES.iter().sum::<usize>());
        let features = self.readout.features(readout, batch);
        pooling::forward(self.pooling(batch), &TACTICAL_SCALES, last, &parameters[self.queries.clone()], shares, features);
        self.readout.forward(parameters, readout, batch);
    }

    fn outputs<'a>(&self, tape: &'a TacticalTape) -> &'a ReadoutTape {
        &tape.readout
    }

    fn backward(&self, parameters: &[f32], tape: &mut TacticalTape, outputs: &OutputGradient<'_>, gradient: &mut [f32]) {
        let batch = outputs.mean.len() / Self::KIND.dim();
        let rows = batch * TACTICAL_WINDOW;
        let len = rows * 2 * self.hidden;
        let TacticalTape { input, norm, layers, shares, readout, scratch } = tape;
        let Scratch { d_gates, d_c, d_x, d_y, d_pooled, last, .. } = scratch;
        let d_pooled = room(d_pooled, batch * TACTICAL_SCALES.len() * 2 * self.hidden);
        self.readout.backward(parameters, readout, outputs, d_pooled, gradient);
        let d = zeros(d_y, len);
        let (sizes, queries) = (self.pooling(batch), &parameters[self.queries.clone()]);
        pooling::backward(sizes, &TACTICAL_SCALES, &last[..len], queries, shares, d_pooled, d, &mut gradient[self.queries.clone()]);
        for (index, (layer, tape)) in self.layers.iter().zip(layers).enumerate().rev() {
            let d_x = zeros(d_x, rows * layer.width_in);
            if index > 0 {
                d_x.copy_from_slice(d); // the residual's share
            }
            layer.backward(parameters, batch, tape, d, [&mut *d_gates, &mut *d_c], gradient, d_x);
            if index > 0 {
                d.copy_from_slice(d_x);
            }
        }
        let d_x = &mut d_x[..rows * self.input.d_out];
        self.norm.backward(parameters, norm, d_x, gradient);
        self.input.backward(&input[..batch * Self::KIND.input_len()], d_x, gradient);
    }
}

impl BiLstm {
    fn new(places: &mut Places, width_in: usize, hidden: usize) -> Self {
        let width = 4 * hidden;
        Self {
            w_ih: places.take(2 * width_in * width),
            w_hh: places.take(2 * hidden * width),
            bias: places.take(2 * width),
            width_in,
            hidden,
        }
    }

    fn sizes(&self, batch: usize) -> Sizes {
        Sizes { batch, time: TACTICAL_WINDOW, width_in: self.width_in, hidden: self.hidden }
    }

    fn weights<'a>(&self, parameters: &'a [f32], way: Direction) -> Weights<'a> {
        let half = |range: &Range<usize>| {
            let len = range.len() / 2;
            &parameters[range.start + way as usize * len..][..len]
        };
        Weights { w_ih: half(&self.w_ih), w_hh: half(&self.w_hh), bias: half(&self.bias) }
    }

    fn forward(&self, parameters: &[f32], batch: usize, tape: &mut LayerTape) {
        let (sizes, rows) = (self.sizes(batch), batch * TACTICAL_WINDOW);
        let x = &tape.x[..rows * self.width_in];
        let y = room(&mut tape.y, rows * 2 * self.hidden);
        for way in Direction::BOTH {
            let gates = room(&mut tape.gates[way as usize], rows * 4 * self.hidden);
            let c = room(&mut tape.c[way as usize], rows * self.hidden);
            lstm::forward(sizes, way, x, self.weights(parameters, way), gates, c, y);
        }
    }

    /// `dy` is overwritten; the gradient of the input is added to `dx`.
    #[allow(clippy::too_many_arguments)]
    fn backward(
        &self,
        parameters: &[f32],
        batch: usize,
        tape: &LayerTape,
        dy: &mut [f32],
        [d_gates, d_c]: [&mut Vec<f32>; 2],
        gradient: &mut [f32],
        dx: &mut [f32],
    ) {
        let (sizes, rows) = (self.sizes(batch), batch * TACTICAL_WINDOW);
        let d_gates = room(d_gates, rows * 4 * self.hidden);
        let d_c = room(d_c, batch * self.hidden);
        for way in Direction::BOTH {
            let trace = Trace {
                x: &tape.x[..rows * self.width_in],
                gates: &tape.gates[way as usize][..rows * 4 * self.hidden],
                c: &tape.c[way as usize][..rows * self.hidden],
                y: &tape.y[..rows * 2 * self.hidden],
            };
            let own = &mut gradient[self.w_ih.start..self.bias.end];
            let (w_ih, rest) = own.split_at_mut(self.w_ih.len());
            let (w_hh, bias) = rest.split_at_mut(self.w_hh.len());
            let gradients = WeightsMut { w_ih: half_mut(w_ih, way), w_hh: half_mut(w_hh, way), bias: half_mut(bias, way) };
            lstm::backward(sizes, way, &trace, self.weights(parameters, way), dy, d_gates, d_c, gradients, Some(&mut *dx));
        }
    }
}

fn half_mut(both: &mut [f32], way: Direction) -> &mut [f32] {
    let len = both.len() / 2;
    &mut both[way as usize * len..][..len]
}
