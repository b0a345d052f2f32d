//! The LVN embedder on flat parameters.

use grandmodel_market::features::LVN_FEATURES;

use super::{
    Keep, Plain,
    layers::{Linear, Norm, NormTape, OutputGradient, Places, Readout, ReadoutTape, bytes},
};
use crate::{
    kind::EmbedderKind,
    lvn::LVN_HIDDEN,
    ops::kernels::{gelu, multiply, room},
};

/// One hidden layer with norm, readout.
#[derive(Clone, Debug)]
pub struct Lvn {
    hidden: Linear,
    norm: Norm,
    readout: Readout,
    num_parameters: usize,
}

/// What a forward pass keeps.
#[derive(Clone, Debug, Default)]
pub struct LvnTape {
    input: Vec<f32>,
    projected: Vec<f32>,
    norm: NormTape,
    /// Of GELU at the normalised layer.
    slope: Vec<f32>,
    readout: ReadoutTape,
    d_hidden: Vec<f32>,
}

impl Lvn {
    /// The same in every preset.
    #[allow(clippy::new_without_default, reason = "the other three take widths")]
    pub fn new() -> Self {
        let mut places = Places::default();
        let hidden = Linear::new(&mut places, LVN_FEATURES, LVN_HIDDEN, true);
        let norm = Norm::new(&mut places, LVN_HIDDEN);
        let readout = Readout::new(&mut places, LVN_HIDDEN, EmbedderKind::Lvn.dim());
        Self { hidden, norm, readout, num_parameters: places.len }
    }
}

impl Plain for Lvn {
    type Tape = LvnTape;
    const KIND: EmbedderKind = EmbedderKind::Lvn;

    fn num_parameters(&self) -> usize {
        self.num_parameters
    }

    fn forward(&self, parameters: &[f32], inputs: &[f32], _: Keep, tape: &mut LvnTape) {
        let batch = inputs.len() / LVN_FEATURES;
        let LvnTape { input, projected, norm, slope, readout, .. } = tape;
        room(input, inputs.len()).copy_from_slice(inputs);
        let projected = room(projected, batch * LVN_HIDDEN);
        self.hidden.forward(parameters, inputs, projected);
        let slope = room(slope, batch * LVN_HIDDEN);
        self.norm.forward(parameters, projected, norm, slope);
        let features = self.readout.features(readout, batch);
        gelu::forward_and_slope(slope, features);
        self.readout.forward(parameters, readout, batch);
    }

    fn outputs<'a>(&self, tape: &'a LvnTape) -> &'a ReadoutTape {
        &tape.readout
    }

    fn bytes(&self, tape: &LvnTape) -> u64 {
        bytes([&tape.input, &tape.projected, &tape.slope, &tape.d_hidden]) + tape.norm.bytes() + tape.readout.bytes()
    }

    fn backward(&self, parameters: &[f32], tape: &mut LvnTape, outputs: &OutputGradient<'_>, gradient: &mut [f32]) {
        let batch = outputs.mean.len() / Self::KIND.dim();
        let LvnTape { input, norm, slope, readout, d_hidden, .. } = tape;
        let d_hidden = room(d_hidden, batch * LVN_HIDDEN);
        self.readout.backward(parameters, readout, outputs, d_hidden, gradient);
        multiply(d_hidden, &slope[..batch * LVN_HIDDEN]);
        self.norm.backward(parameters, norm, d_hidden, gradient);
        self.hidden.backward(&input[..batch * LVN_FEATURES], d_hidden, gradient);
    }
}
