//! The regime embedder on flat parameters.

use std::ops::Range;

use grandmodel_market::features::REGIME_FEATURES;

use super::{
    Keep, Plain,
    layers::{Linear, Norm, NormTape, OutputGradient, Places, Readout, ReadoutTape, bytes},
};
use crate::{
    kind::EmbedderKind,
    ops::kernels::{
        add,
        attention::{softmax, softmax_backward},
        gelu,
        gemm::{Matrix, gemm},
        multiply, room, swap_leading,
    },
    regime::{LENGTH_EPS, NUM_PROTOTYPES, PROTOTYPE_TEMPERATURE, PROTOTYPE_WIDTH},
};

/// Two layers, soft prototypes, readout.
#[derive(Clone, Debug)]
pub struct Regime {
    hidden: Linear,
    features: Linear,
    norm: Norm,
    prototypes: Range<usize>,
    readout: Readout,
    num_parameters: usize,
}

/// What a forward pass keeps.
#[derive(Clone, Debug, Default)]
pub struct RegimeTape {
    input: Vec<f32>,
    widened: Vec<f32>,
    norm: NormTape,
    features: Vec<f32>,
    /// Features and prototypes as directions, each with its length.
    unit: Directions,
    unit_prototypes: Directions,
    shares: Vec<f32>,
    readout: ReadoutTape,
    scratch: [Vec<f32>; 5],
}

#[derive(Clone, Debug, Default)]
struct Directions {
    unit: Vec<f32>,
    length: Vec<f32>,
}

impl Directions {
    fn of(&mut self, rows: &[f32]) {
        let unit = room(&mut self.unit, rows.len());
        unit.copy_from_slice(rows);
        let lengths = room(&mut self.length, rows.len() / PROTOTYPE_WIDTH);
        for (row, length) in unit.chunks_exact_mut(PROTOTYPE_WIDTH).zip(lengths) {
            *length = (row.iter().map(|x| x * x).sum::<f32>() + LENGTH_EPS).sqrt();
            row.iter_mut().for_each(|x| *x /= *length);
        }
    }

    /// `d`, the gradient of the directions, becomes that of the rows.
    fn backward(&self, d: &mut [f32]) {
        for ((d, unit), length) in d.chunks_exact_mut(PROTOTYPE_WIDTH).zip(self.unit.chunks_exact(PROTOTYPE_WIDTH)).zip(&self.length) {
            let along: f32 = d.iter().zip(unit).map(|(d, u)| d * u).sum();
            d.iter_mut().zip(unit).for_each(|(d, u)| *d = (*d - u * along) / length);
        }
    }
}

const W: usize = PROTOTYPE_WIDTH;
const K: usize = NUM_PROTOTYPES;

impl Regime {
    /// With so many hidden units.
    pub fn new(num_hidden: usize) -> Self {
        let mut places = Places::default();
        let hidden = Linear::new(&mut places, REGIME_FEATURES, num_hidden, true);
        let features = Linear::new(&mut places, num_hidden, W, true);
        let norm = Norm::new(&mut places, W);
        let prototypes = places.take(K * W);
        let readout = Readout::new(&mut places, 2 * W, EmbedderKind::Regime.dim());
        Self { hidden, features, norm, prototypes, readout, num_parameters: places.len }
    }
}

impl Plain for Regime {
    type Tape = RegimeTape;
    const KIND: EmbedderKind = EmbedderKind::Regime;

    fn num_parameters(&self) -> usize {
        self.num_parameters
    }

    fn forward(&self, parameters: &[f32], inputs: &[f32], _: Keep, tape: &mut RegimeTape) {
        let batch = inputs.len() / REGIME_FEATURES;
        let RegimeTape { input, widened, norm, features, unit, unit_prototypes, shares, readout, scratch: [wide, projected, columns, ..] } =
            tape;
        room(input, inputs.len()).copy_from_slice(inputs);
        let widened = room(widened, batch * self.hidden.d_out);
        self.hidden.forward(parameters, inputs, widened);
        let wide = room(wide, widened.len());
        wide.copy_from_slice(widened);
        gelu::forward(wide);
        let projected = room(projected, batch * W);
        self.features.forward(parameters, wide, projected);
        let features = room(features, batch * W);
        self.norm.forward(parameters, projected, norm, features);
        unit.of(features);
        let prototypes = &parameters[self.prototypes.clone()];
        unit_prototypes.of(prototypes);
        // As they stand in columns: a factor that is only read as transposed has other bits among few rows than among many.
        let columns = room(columns, W * K);
        swap_leading(&unit_prototypes.unit, [K, W, 1], columns);
        let shares = room(shares, batch * K);
        gemm(shares, [batch, K], K, false, Matrix::new(&unit.unit, W), Matrix::new(columns, K), W);
        softmax(shares, K, 1.0 / PROTOTYPE_TEMPERATURE);
        gemm(projected, [batch, W], W, false, Matrix::new(shares, K), Matrix::new(prototypes, W), K);
        let joined = self.readout.features(readout, batch);
        for ((to, of), nearest) in joined.chunks_exact_mut(2 * W).zip(features.chunks_exact(W)).zip(projected.chunks_exact(W)) {
            to[..W].copy_from_slice(of);
            to[W..].copy_from_slice(nearest);
        }
        self.readout.forward(parameters, readout, batch);
    }

    fn outputs<'a>(&self, tape: &'a RegimeTape) -> &'a ReadoutTape {
        &tape.readout
    }

    fn bytes(&self, tape: &RegimeTape) -> u64 {
        bytes([&tape.input, &tape.widened, &tape.features, &tape.shares].into_iter().chain(&tape.scratch))
            + [&tape.unit, &tape.unit_prototypes].map(|of| bytes([&of.unit, &of.length])).iter().sum::<u64>()
            + tape.norm.bytes()
            + tape.readout.bytes()
    }

    fn backward(&self, parameters: &[f32], tape: &mut RegimeTape, outputs: &OutputGradient<'_>, gradient: &mut [f32]) {
        let batch = outputs.mean.len() / Self::KIND.dim();
        let RegimeTape {
            input,
            widened,
            norm,
            unit,
            unit_prototypes,
            shares,
            readout,
            scratch: [wide, d_features, d_joined, d_scores, d_unit],
            ..
        } = tape;
        let d_joined = room(d_joined, batch * 2 * W);
        self.readout.backward(parameters, readout, outputs, d_joined, gradient);
        let d_features = room(d_features, batch * W);
        d_features.chunks_exact_mut(W).zip(d_joined.chunks_exact(2 * W)).for_each(|(to, from)| to.copy_from_slice(&from[..W]));
        let d_nearest = Matrix::new(&d_joined[W..], 2 * W);
        let prototypes = &parameters[self.prototypes.clone()];
        let shares = &shares[..batch * K];
        gemm(&mut gradient[self.prototypes.clone()], [K, W], W, true, Matrix::transposed(shares, K), d_nearest, batch);
        let d_scores = room(d_scores, batch * K);
        gemm(d_scores, [batch, K], K, false, d_nearest, Matrix::transposed(prototypes, W), W);
        softmax_backward(shares, d_scores, K, 1.0 / PROTOTYPE_TEMPERATURE);
        let d_unit = room(d_unit, (batch * W).max(K * W));
        let of_features = &mut d_unit[..batch * W];
        gemm(of_features, [batch, W], W, false, Matrix::new(d_scores, K), Matrix::new(&unit_prototypes.unit, W), K);
        unit.backward(of_features);
        add(d_features, of_features);
        let of_prototypes = &mut d_unit[..K * W];
        gemm(of_prototypes, [K, W], W, false, Matrix::transposed(d_scores, K), Matrix::new(&unit.unit, W), batch);
        unit_prototypes.backward(of_prototypes);
        add(&mut gradient[self.prototypes.clone()], of_prototypes);

        self.norm.backward(parameters, norm, d_features, gradient);
        let widened = &mut widened[..batch * self.hidden.d_out];
        let wide = room(wide, widened.len());
        gelu::forward_and_slope(widened, wide);
        self.features.backward(wide, d_features, gradient);
        // From here on the same room holds gradients.
        self.features.backward_input(parameters, d_features, wide, false);
        multiply(wide, widened);
        self.hidden.backward(&input[..batch * REGIME_FEATURES], wide, gradient);
    }
}
