//! The tactical embedder on flat parameters. Inside, time is the outermost dimension, so that a step of the LSTM is one product.

use std::ops::Range;

use grandmodel_market::features::{TACTICAL_FEATURES, TACTICAL_WINDOW};

use super::{
    Keep, Plain,
    layers::{Linear, Norm, NormTape, OutputGradient, Place, Places, Readout, ReadoutTape, Rounding, bytes, zeros},
};
use crate::{
    config::TacticalWidths,
    kind::EmbedderKind,
    ops::kernels::{
        add,
        int8::Weight,
        lstm::{self, Direction, Rows, Sizes, Trace, Weights, WeightsMut},
        pooling,
        product::Panels,
        room, swap_leading,
    },
    tactical::TACTICAL_SCALES,
};

/// Up to this many windows at once somebody waits for each of them, and a second thread would have nothing to do: the two directions go side by side.
const APART_WINDOWS: usize = 2;
/// Units from which a direction is worth waking a thread for.
const APART_HIDDEN: usize = 64;

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

/// Both directions of one layer, one after the other in every array.
#[derive(Clone, Debug)]
struct BiLstm {
    w_ih: [Place; 2],
    w_hh: [Place; 2],
    bias: Range<usize>,
    width_in: usize,
    hidden: usize,
}

/// What a forward pass keeps.
#[derive(Clone, Debug, Default)]
pub struct TacticalTape {
    input: Vec<f32>,
    norm: NormTape,
    keep: Keep,
    /// Of one segment.
    layers: Vec<LayerTape>,
    /// Inputs of the segments but the last.
    boundaries: Vec<Vec<f32>>,
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
    /// Outputs of each direction alone, where the two were computed at the same time.
    halves: [Vec<f32>; 2],
}

#[derive(Clone, Debug, Default)]
struct Scratch {
    projected: Vec<f32>,
    d_c: Vec<f32>,
    d_x: Vec<f32>,
    d_y: Vec<f32>,
    d_pooled: Vec<f32>,
    last: Vec<f32>,
    /// One a direction.
    panels: [Panels; 2],
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

    /// The layers from `first` on, whose input lies in `tapes[0].x`; the output with its residual, `[time, batch, 2 h]`, is written to `to`.
    fn run(
        &self,
        parameters: &[f32],
        batch: usize,
        segment: &[BiLstm],
        first: usize,
        tapes: &mut [LayerTape],
        panels: &mut [Panels; 2],
        to: &mut [f32],
    ) {
        for (index, layer) in segment.iter().enumerate() {
            if index > 0 {
                room(&mut tapes[index].x, to.len()).copy_from_slice(to);
            }
            layer.forward(parameters, batch, &mut tapes[index], panels, to);
            if first + index > 0 {
                add(to, &tapes[index].x[..to.len()]);
            }
        }
    }
}

impl Plain for Tactical {
    type Tape = TacticalTape;
    const KIND: EmbedderKind = EmbedderKind::Tactical;

    fn num_parameters(&self) -> usize {
        self.num_parameters
    }

    fn round(&mut self, parameters: &[f32]) -> (Vec<f32>, u64) {
        let mut to = Rounding::new(parameters);
        self.input.round(&mut to);
        self.norm.round(&mut to);
        for BiLstm { w_ih, w_hh, bias, hidden, .. } in &mut self.layers {
            w_ih.iter_mut().chain(w_hh).for_each(|place| to.matrix(place, 4 * *hidden));
            to.keep(bias);
        }
        to.keep(&mut self.queries);
        self.readout.round(&mut to);
        (to.kept, to.bytes)
    }

    fn forward(&self, parameters: &[f32], inputs: &[f32], keep: Keep, tape: &mut TacticalTape) {
        let batch = inputs.len() / Self::KIND.input_len();
        let rows = batch * TACTICAL_WINDOW;
        let len = rows * 2 * self.hidden;
        let TacticalTape { input, norm, keep: kept, layers, boundaries, shares, readout, scratch } = tape;
        *kept = keep;
        let segment_len = keep.segment_len(self.layers.len());
        layers.resize_with(segment_len, LayerTape::default);
        boundaries.resize_with(if keep == Keep::Outputs { 0 } else { self.layers.len().div_ceil(segment_len) - 1 }, Vec::new);
        let input = room(input, inputs.len());
        swap_leading(inputs, [batch, TACTICAL_WINDOW, TACTICAL_FEATURES], input);
        let projected = room(&mut scratch.projected, rows * self.input.d_out);
        self.input.forward(parameters, input, projected);
        self.norm.forward(parameters, projected, norm, room(&mut layers[0].x, rows * self.input.d_out));
        let last = room(&mut scratch.last, len);
        for (index, segment) in self.layers.chunks(segment_len).enumerate() {
            let width = rows * segment[0].width_in;
            if index > 0 {
                room(&mut layers[0].x, width).copy_from_slice(last);
            }
            if let Some(boundary) = boundaries.get_mut(index) {
                room(boundary, width).copy_from_slice(&layers[0].x[..width]);
            }
            self.run(parameters, batch, segment, index * segment_len, layers, &mut scratch.panels, last);
        }
        let shares = room(shares, batch * TACTICAL_SCALES.iter().sum::<usize>());
        let features = self.readout.features(readout, batch);
        pooling::forward(self.pooling(batch), &TACTICAL_SCALES, last, &parameters[self.queries.clone()], shares, features);
        self.readout.forward(parameters, readout, batch);
    }

    fn outputs<'a>(&self, tape: &'a TacticalTape) -> &'a ReadoutTape {
        &tape.readout
    }

    fn bytes(&self, tape: &TacticalTape) -> u64 {
        let TacticalTape { input, norm, layers, boundaries, shares, readout, scratch, .. } = tape;
        let Scratch { projected, d_c, d_x, d_y, d_pooled, last, panels } = scratch;
        let of_layers: u64 =
            layers.iter().map(|layer| bytes([&layer.x].into_iter().chain(&layer.gates).chain(&layer.c).chain(&layer.halves))).sum();
        bytes([input, shares, projected, d_c, d_x, d_y, d_pooled, last].into_iter().chain(boundaries))
            + of_layers
            + panels.iter().map(Panels::bytes).sum::<u64>()
            + norm.bytes()
            + readout.bytes()
    }

    fn backward(&self, parameters: &[f32], tape: &mut TacticalTape, outputs: &OutputGradient<'_>, gradient: &mut [f32]) {
        let batch = outputs.mean.len() / Self::KIND.dim();
        let rows = batch * TACTICAL_WINDOW;
        let len = rows * 2 * self.hidden;
        let TacticalTape { input, norm, keep, layers, boundaries, shares, readout, scratch } = tape;
        assert!(*keep != Keep::Outputs, "Invariant: a backward pass follows a forward pass that kept what it needs");
        let Scratch { d_c, d_x, d_y, d_pooled, last, panels, .. } = scratch;
        let d_pooled = room(d_pooled, batch * TACTICAL_SCALES.len() * 2 * self.hidden);
        self.readout.backward(parameters, readout, outputs, d_pooled, gradient);
        let d = zeros(d_y, len);
        let (sizes, queries) = (self.pooling(batch), &parameters[self.queries.clone()]);
        pooling::backward(sizes, &TACTICAL_SCALES, &last[..len], queries, shares, d_pooled, d, &mut gradient[self.queries.clone()]);
        let segment_len = keep.segment_len(self.layers.len());
        for (at, segment) in self.layers.chunks(segment_len).enumerate().rev() {
            let first = at * segment_len;
            // The pooling is behind us: its input is room now, for outputs that are computed again.
            if let Some(boundary) = boundaries.get(at) {
                let width = rows * segment[0].width_in;
                room(&mut layers[0].x, width).copy_from_slice(&boundary[..width]);
                self.run(parameters, batch, segment, first, layers, panels, &mut last[..len]);
            }
            for (index, (layer, tape)) in segment.iter().zip(&mut *layers).enumerate().rev() {
                let d_x = zeros(d_x, rows * layer.width_in);
                if first + index > 0 {
                    d_x.copy_from_slice(d); // the residual's share
                }
                layer.backward(parameters, batch, tape, d, d_c, &mut last[..len], &mut panels[0], gradient, d_x);
                if first + index > 0 {
                    d.copy_from_slice(d_x);
                }
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
            w_ih: [0, 1].map(|_| Place::Flat(places.take(width_in * width))),
            w_hh: [0, 1].map(|_| Place::Flat(places.take(hidden * width))),
            bias: places.take(2 * width),
            width_in,
            hidden,
        }
    }

    fn sizes(&self, batch: usize) -> Sizes {
        Sizes { batch, time: TACTICAL_WINDOW, width_in: self.width_in, hidden: self.hidden }
    }

    fn bias<'a>(&self, parameters: &'a [f32], way: Direction) -> &'a [f32] {
        let width = 4 * self.hidden;
        &parameters[self.bias.start + way as usize * width..][..width]
    }

    /// Those of a forward pass.
    fn acting<'a>(&'a self, parameters: &'a [f32], way: Direction) -> Weights<'a, Weight<'a>> {
        let of = |places: &'a [Place; 2]| places[way as usize].of(parameters);
        Weights { w_ih: of(&self.w_ih), w_hh: of(&self.w_hh), bias: self.bias(parameters, way) }
    }

    /// Those of a backward pass.
    fn learning<'a>(&self, parameters: &'a [f32], way: Direction) -> Weights<'a> {
        let of = |places: &[Place; 2]| &parameters[places[way as usize].flat()];
        Weights { w_ih: of(&self.w_ih), w_hh: of(&self.w_hh), bias: self.bias(parameters, way) }
    }

    /// The outputs of both directions to `y [time, batch, 2 h]`.
    fn forward(&self, parameters: &[f32], batch: usize, tape: &mut LayerTape, [panels, panels_back]: &mut [Panels; 2], y: &mut [f32]) {
        let (sizes, rows, hidden) = (self.sizes(batch), batch * TACTICAL_WINDOW, self.hidden);
        let LayerTape { x, gates: [gates, gates_back], c: [c, c_back], halves: [half, half_back] } = tape;
        let x = &x[..rows * self.width_in];
        let run = |way, gates, c, y: &mut [f32], rows_of_y, panels: &mut Panels| {
            let (gates, c) = (room(gates, rows * 4 * hidden), room(c, rows * hidden));
            lstm::forward(sizes, way, x, self.acting(parameters, way), gates, c, y, rows_of_y, panels);
        };
        let (there, back) = (Direction::Forward, Direction::Backward);
        if batch > APART_WINDOWS || hidden < APART_HIDDEN {
            run(there, gates, c, y, Rows::shared(there, hidden), panels);
            run(back, gates_back, c_back, y, Rows::shared(back, hidden), panels_back);
            return;
        }
        let (half, half_back) = (room(half, rows * hidden), room(half_back, rows * hidden));
        rayon::join(
            || run(there, gates, c, half, Rows::own(hidden), panels),
            || run(back, gates_back, c_back, half_back, Rows::own(hidden), panels_back),
        );
        for ((y, half), half_back) in y.chunks_exact_mut(2 * hidden).zip(half.chunks_exact(hidden)).zip(half_back.chunks_exact(hidden)) {
            let (first, second) = y.split_at_mut(hidden);
            first.copy_from_slice(half);
            second.copy_from_slice(half_back);
        }
    }

    /// `dy` is overwritten; the gradient of the input is added to `dx`. `d_c`, `y [time, batch, 2 h]` and `panels` are scratch.
    #[allow(clippy::too_many_arguments)]
    fn backward(
        &self,
        parameters: &[f32],
        batch: usize,
        tape: &mut LayerTape,
        dy: &mut [f32],
        d_c: &mut Vec<f32>,
        y: &mut [f32],
        panels: &mut Panels,
        gradient: &mut [f32],
        dx: &mut [f32],
    ) {
        let (sizes, rows) = (self.sizes(batch), batch * TACTICAL_WINDOW);
        let d_c = room(d_c, batch * self.hidden);
        let LayerTape { x, gates, c, .. } = tape;
        for way in Direction::BOTH {
            let (gates, c) = (&mut gates[way as usize][..rows * 4 * self.hidden], &c[way as usize][..rows * self.hidden]);
            lstm::outputs(way, gates, c, y, self.hidden);
            let trace = Trace { x: &x[..rows * self.width_in], c, y };
            let own = &mut gradient[self.w_ih[0].flat().start..self.bias.end];
            let (w_ih, rest) = own.split_at_mut(2 * self.w_ih[0].flat().len());
            let (w_hh, bias) = rest.split_at_mut(2 * self.w_hh[0].flat().len());
            let gradients = WeightsMut { w_ih: half_mut(w_ih, way), w_hh: half_mut(w_hh, way), bias: half_mut(bias, way) };
            lstm::backward(sizes, way, &trace, self.learning(parameters, way), dy, gates, d_c, gradients, Some(&mut *dx), panels);
        }
    }
}

fn half_mut(both: &mut [f32], way: Direction) -> &mut [f32] {
    let len = both.len() / 2;
    &mut both[way as usize * len..][..len]
}
