//! Layers on flat parameters: each knows where its own lie. Forward passes write into room that the caller keeps; backward passes add to the gradient.

use std::ops::Range;

use crate::{
    embedding::AUX_WIDTH,
    ops::{
        LAYER_NORM_EPS,
        kernels::{
            add_column_sums, fill_rows,
            gemm::{Matrix, gemm},
            int8::{Int8Matrix, Weight},
            layer_norm, room,
        },
    },
};

/// Values from which a matrix is rounded for acting. Measured on AVX2, whose integer products are at most twice as fast as its f32 ones: below, rounding
/// the rows costs more than that saves. The same on every processor, so that an agent acts the same.
const INT8_VALUES_MIN: usize = 128 * 128;

/// As [`room`], all 0.
pub fn zeros(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    let room = room(buffer, len);
    room.fill(0.0);
    room
}

/// Bytes of buffers.
pub fn bytes<'a>(buffers: impl IntoIterator<Item = &'a Vec<f32>>) -> u64 {
    buffers.into_iter().map(|buffer| (buffer.capacity() * size_of::<f32>()) as u64).sum()
}

/// Hands out places in a flat vector, in module order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places {
    /// Values handed out.
    pub len: usize,
}

impl Places {
    /// The next `len` values.
    pub fn take(&mut self, len: usize) -> Range<usize> {
        let start = self.len;
        self.len += len;
        start..self.len
    }
}

/// Where a matrix of a layer lies.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the flat vector.
    Flat(Range<usize>),
    /// In the layer itself, rounded.
    Int8(Int8Matrix),
}

impl Place {
    /// The matrix, for a forward pass.
    pub fn of<'a>(&'a self, parameters: &'a [f32]) -> Weight<'a> {
        match self {
            Self::Flat(range) => Weight::F32(&parameters[range.clone()]),
            Self::Int8(matrix) => Weight::Int8(matrix),
        }
    }

    /// Its place in the flat vector, for a backward pass.
    ///
    /// # Panics
    /// Where it was rounded.
    pub fn flat(&self) -> Range<usize> {
        match self {
            Self::Flat(range) => range.clone(),
            Self::Int8(_) => panic!("Invariant: what was rounded does not learn"),
        }
    }

    /// Bytes beside the flat vector.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Flat(_) => 0,
            Self::Int8(matrix) => matrix.bytes(),
        }
    }
}

/// Rounds a module's large matrices into its layers, and moves the rest of its parameters together; a module hands them over in module order.
#[derive(Debug)]
pub struct Rounding<'a> {
    parameters: &'a [f32],
    /// What stays f32: read instead of the parameters from now on.
    pub kept: Vec<f32>,
    /// Bytes of what was rounded.
    pub bytes: u64,
}

impl<'a> Rounding<'a> {
    /// Of a module's parameters.
    pub fn new(parameters: &'a [f32]) -> Self {
        Self { parameters, kept: Vec::new(), bytes: 0 }
    }

    /// The next parameter stays as it is.
    pub fn keep(&mut self, range: &mut Range<usize>) {
        let start = self.kept.len();
        self.kept.extend_from_slice(&self.parameters[range.clone()]);
        *range = start..self.kept.len();
    }

    /// The next parameter, a matrix of so many columns, is rounded where that makes it faster.
    pub fn matrix(&mut self, place: &mut Place, columns: usize) {
        match place {
            Place::Flat(range) if range.len() < INT8_VALUES_MIN => self.keep(range),
            Place::Flat(range) => *place = Place::Int8(Int8Matrix::of(&self.parameters[range.clone()], columns)),
            Place::Int8(_) => {}
        }
        self.bytes += place.bytes();
    }
}

/// `x W + b`, or `x W`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[in, out]`.
    weight: Place,
    bias: Option<Range<usize>>,
    /// Width of the input.
    pub d_in: usize,
    /// Width of the output.
    pub d_out: usize,
}

impl Linear {
    /// The next layer of a module.
    pub fn new(places: &mut Places, d_in: usize, d_out: usize, bias: bool) -> Self {
        let weight = Place::Flat(places.take(d_in * d_out));
        Self { weight, bias: bias.then(|| places.take(d_out)), d_in, d_out }
    }

    /// `x [rows, in]` to `y [rows, out]`.
    pub fn forward(&self, parameters: &[f32], x: &[f32], y: &mut [f32]) {
        let rows = x.len() / self.d_in;
        if let Some(bias) = &self.bias {
            fill_rows(y, &parameters[bias.clone()]);
        }
        self.weight.of(parameters).multiply(y, self.bias.is_some(), x, self.d_in, [rows, self.d_in, self.d_out]);
    }

    /// Its part of [`Rounding`].
    pub fn round(&mut self, to: &mut Rounding<'_>) {
        to.matrix(&mut self.weight, self.d_out);
        self.bias.iter_mut().for_each(|bias| to.keep(bias));
    }

    /// Adds the gradient of the weights.
    pub fn backward(&self, x: &[f32], dy: &[f32], gradient: &mut [f32]) {
        let rows = x.len() / self.d_in;
        let (x, dy_rows) = (Matrix::transposed(x, self.d_in), Matrix::new(dy, self.d_out));
        gemm(&mut gradient[self.weight.flat()], [self.d_in, self.d_out], self.d_out, true, x, dy_rows, rows);
        if let Some(bias) = &self.bias {
            add_column_sums(dy, &mut gradient[bias.clone()]);
        }
    }

    /// The gradient of the input: written to `dx`, or added where `add`.
    pub fn backward_input(&self, parameters: &[f32], dy: &[f32], dx: &mut [f32], add: bool) {
        let rows = dy.len() / self.d_out;
        let weight = Matrix::transposed(&parameters[self.weight.flat()], self.d_out);
        gemm(dx, [rows, self.d_in], self.d_in, add, Matrix::new(dy, self.d_out), weight, self.d_out);
    }
}

/// Layer normalisation with a gain and a shift.
#[derive(Clone, Debug)]
pub struct Norm {
    gain: Range<usize>,
    shift: Range<usize>,
    d: usize,
}

/// What a normalisation keeps.
#[derive(Clone, Debug, Default)]
pub struct NormTape {
    normal: Vec<f32>,
    scale: Vec<f32>,
}

impl NormTape {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        bytes([&self.normal, &self.scale])
    }
}

impl Norm {
    /// The next layer of a module.
    pub fn new(places: &mut Places, d: usize) -> Self {
        Self { gain: places.take(d), shift: places.take(d), d }
    }

    /// Its part of [`Rounding`].
    pub fn round(&mut self, to: &mut Rounding<'_>) {
        to.keep(&mut self.gain);
        to.keep(&mut self.shift);
    }

    /// `x [rows, d]` to `y`.
    pub fn forward(&self, parameters: &[f32], x: &[f32], tape: &mut NormTape, y: &mut [f32]) {
        self.normalise(x, tape);
        self.output(parameters, tape, y);
    }

    /// The first half of [`Self::forward`]: what a backward pass needs.
    pub fn normalise(&self, x: &[f32], tape: &mut NormTape) {
        let NormTape { normal, scale } = tape;
        layer_norm::normalise(x, room(normal, x.len()), self.d, LAYER_NORM_EPS, room(scale, x.len() / self.d));
    }

    /// The second half: `y`, from the tape.
    pub fn output(&self, parameters: &[f32], tape: &NormTape, y: &mut [f32]) {
        layer_norm::stretch(&tape.normal[..y.len()], &parameters[self.gain.clone()], &parameters[self.shift.clone()], y);
    }

    /// `dy` becomes `dx`.
    pub fn backward(&self, parameters: &[f32], tape: &NormTape, dy: &mut [f32], gradient: &mut [f32]) {
        let (gain, shift) = gradient.split_at_mut(self.shift.start);
        let (gain, shift) = (&mut gain[self.gain.clone()], &mut shift[..self.d]);
        layer_norm::backward(&tape.normal, &tape.scale, &parameters[self.gain.clone()], dy, gain, shift);
    }
}

/// The mean head and the auxiliary heads: [`crate::embedding::Readout`].
#[derive(Clone, Debug)]
pub struct Readout {
    proj: Linear,
    norm: Norm,
    aux: Linear,
}

/// What a readout keeps, and its outputs.
#[derive(Clone, Debug, Default)]
pub struct ReadoutTape {
    features: Vec<f32>,
    hidden: Vec<f32>,
    norm: NormTape,
    /// `[batch, dim]` embeddings.
    pub mean: Vec<f32>,
    /// `[batch, 4]` auxiliary heads.
    pub aux: Vec<f32>,
    d_mean: Vec<f32>,
}

impl ReadoutTape {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        bytes([&self.features, &self.hidden, &self.mean, &self.aux, &self.d_mean]) + self.norm.bytes()
    }
}

impl Readout {
    /// The next layer of a module.
    pub fn new(places: &mut Places, width: usize, dim: usize) -> Self {
        Self { proj: Linear::new(places, width, dim, true), norm: Norm::new(places, dim), aux: Linear::new(places, dim, AUX_WIDTH, true) }
    }

    /// Its part of [`Rounding`].
    pub fn round(&mut self, to: &mut Rounding<'_>) {
        self.proj.round(to);
        self.norm.round(to);
        self.aux.round(to);
    }

    /// Room for `[batch, width]` features, to be filled before [`Self::forward`].
    pub fn features<'a>(&self, tape: &'a mut ReadoutTape, batch: usize) -> &'a mut [f32] {
        tape.features.resize(batch * self.proj.d_in, 0.0);
        &mut tape.features
    }

    /// From the features on the tape to embeddings and auxiliary heads.
    pub fn forward(&self, parameters: &[f32], tape: &mut ReadoutTape, batch: usize) {
        let ReadoutTape { features, hidden, norm, mean, aux, .. } = tape;
        let hidden = room(hidden, batch * self.proj.d_out);
        self.proj.forward(parameters, features, hidden);
        mean.resize(batch * self.proj.d_out, 0.0);
        self.norm.forward(parameters, hidden, norm, mean);
        aux.resize(batch * AUX_WIDTH, 0.0);
        self.aux.forward(parameters, mean, aux);
    }

    /// From the gradients of both outputs to that of the features, which is written to `d_features`.
    pub fn backward(
        &self,
        parameters: &[f32],
        tape: &mut ReadoutTape,
        outputs: &OutputGradient<'_>,
        d_features: &mut [f32],
        gradient: &mut [f32],
    ) {
        let ReadoutTape { features, norm, mean, d_mean, .. } = tape;
        let d_mean = room(d_mean, outputs.mean.len());
        d_mean.copy_from_slice(outputs.mean);
        if let Some(d_aux) = outputs.aux {
            self.aux.backward(mean, d_aux, gradient);
            self.aux.backward_input(parameters, d_aux, d_mean, true);
        }
        self.norm.backward(parameters, norm, d_mean, gradient);
        self.proj.backward(features, d_mean, gradient);
        self.proj.backward_input(parameters, d_mean, d_features, false);
    }
}

/// Gradients of an embedder's outputs.
#[derive(Clone, Copy, Debug)]
pub struct OutputGradient<'a> {
    /// `[batch, dim]`.
    pub mean: &'a [f32],
    /// `[batch, 4]`; absent where the auxiliary heads are not taught.
    pub aux: Option<&'a [f32]>,
}
