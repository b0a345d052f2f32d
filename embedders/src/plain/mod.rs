//! The four modules once more, for a CPU: the same functions on one flat vector of parameters in module order, each with a backward pass written by hand.
//!
//! In: parameters, inputs and a tape. Out: embeddings on the tape; backwards the gradient, added to a flat vector in the same order. The Burn modules beside
//! this folder define what is computed and run on every other device; tests hold the two against each other and both against PyTorch. On a network this
//! small a tensor framework costs more than the arithmetic: here nothing is allocated once a tape is warm, and no operation is dispatched.
//!
//! What it is not: parallel, but for the two directions of an LSTM over a window or two. A caller with several threads gives each a block of samples and a
//! tape of its own.

pub mod layers;
mod lvn;
mod regime;
mod structure;
mod tactical;
#[cfg(test)]
mod tests;

pub use layers::OutputGradient;
pub use lvn::{Lvn, LvnTape};
pub use regime::{Regime, RegimeTape};
pub use structure::{Structure, StructureTape};
pub use tactical::{Tactical, TacticalTape};

use std::sync::Mutex;

use burn::tensor::backend::Backend;

use crate::{EmbedderModule, EmbedderStack, kind::EmbedderKind};
use layers::ReadoutTape;

/// What a forward pass keeps for the backward pass; what it does not keep is computed once more, to the same bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Keep {
    /// All that the backward pass reads.
    #[default]
    Everything,
    /// All but what is cheap to have again beside its size: attention weights, what they mix, one of two normalisations.
    Selected,
    /// The inputs of segments of so many layers.
    Segments(usize),
    /// Nothing: no backward pass follows.
    Outputs,
}

impl Keep {
    /// Layers of one segment, of `num_layers`.
    fn segment_len(self, num_layers: usize) -> usize {
        match self {
            Self::Everything | Self::Selected => num_layers,
            Self::Segments(len) => len.clamp(1, num_layers),
            Self::Outputs => 1,
        }
    }
}

/// One embedder on flat parameters.
pub trait Plain: Send + Sync + 'static {
    /// What a forward pass keeps for the backward pass; warm after the first use.
    type Tape: Default + Send;
    /// Which embedder it is.
    const KIND: EmbedderKind;

    /// Values that [`Self::forward`] reads, in module order.
    fn num_parameters(&self) -> usize;

    /// Makes it a network that only acts: its large matrices rounded to int8 inside its layers, the rest of `parameters` left in what is returned, which
    /// [`Self::forward`] is given from then on. Also the bytes of the rounded matrices.
    ///
    /// By itself it rounds nothing: the networks of some ten thousand values gain nothing.
    fn round(&mut self, parameters: &[f32]) -> (Vec<f32>, u64) {
        (parameters.to_vec(), 0)
    }

    /// `inputs [batch, input_len]` as [`EmbedderKind::copy_input`] lays them out; the outputs are [`Self::outputs`].
    fn forward(&self, parameters: &[f32], inputs: &[f32], keep: Keep, tape: &mut Self::Tape);

    /// `mean [batch, dim]` and `aux [batch, 4]` of the last forward pass.
    fn outputs<'a>(&self, tape: &'a Self::Tape) -> &'a ReadoutTape;

    /// Bytes that a tape holds.
    fn bytes(&self, tape: &Self::Tape) -> u64;

    /// Adds the gradient of the parameters, of the batch of the last forward pass; once, for what was kept is overwritten on the way.
    ///
    /// # Panics
    /// After a forward pass with [`Keep::Outputs`].
    fn backward(&self, parameters: &[f32], tape: &mut Self::Tape, outputs: &OutputGradient<'_>, gradient: &mut [f32]);
}

/// Tapes, or other warm room, that threads borrow in turn: as many as were ever used at once.
#[derive(Debug)]
pub struct Pool<T>(Mutex<Vec<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T: Default> Pool<T> {
    /// One that nobody else holds.
    pub fn take(&self) -> T {
        self.0.lock().map_or_else(|_| None, |mut free| free.pop()).unwrap_or_default()
    }

    /// Gives one back. After a panic of another thread it is dropped.
    pub fn give_back(&self, one: T) {
        if let Ok(mut free) = self.0.lock() {
            free.push(one);
        }
    }

    /// Sum over those that nobody holds.
    pub fn weigh(&self, bytes: impl Fn(&T) -> u64) -> u64 {
        self.0.lock().map_or(0, |free| free.iter().map(bytes).sum())
    }

    /// Drops those that nobody holds.
    pub fn clear(&self) {
        if let Ok(mut free) = self.0.lock() {
            *free = Vec::new();
        }
    }

    /// Borrows one for a while.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let mut one = self.take();
        let result = work(&mut one);
        self.give_back(one);
        result
    }
}

/// The four embedders, in the order of [`EmbedderKind::ALL`] in one flat vector.
#[derive(Clone, Debug)]
pub struct PlainStack {
    /// 64 wide.
    pub structure: Structure,
    /// 48 wide.
    pub tactical: Tactical,
    /// 16 wide.
    pub regime: Regime,
    /// 8 wide.
    pub lvn: Lvn,
}

/// One tape each.
#[derive(Clone, Debug, Default)]
pub struct StackTape {
    structure: StructureTape,
    tactical: TacticalTape,
    regime: RegimeTape,
    lvn: LvnTape,
}

/// Inputs of the four, for the same samples.
#[derive(Clone, Copy, Debug)]
pub struct StackInputs<'a> {
    /// `[batch, 48 * 8]`.
    pub structure: &'a [f32],
    /// `[batch, 60 * 7]`.
    pub tactical: &'a [f32],
    /// `[batch, 8]`.
    pub regime: &'a [f32],
    /// `[batch, 5]`.
    pub lvn: &'a [f32],
}

impl PlainStack {
    /// The same networks as Burn's.
    pub fn of<B: Backend>(stack: &EmbedderStack<B>) -> Self {
        Self { structure: stack.structure.plain(), tactical: stack.tactical.plain(), regime: stack.regime.plain(), lvn: stack.lvn.plain() }
    }

    /// Where each embedder's parameters begin, and where the last one's end.
    pub fn bounds(&self) -> [usize; 5] {
        let lens =
            [self.structure.num_parameters(), self.tactical.num_parameters(), self.regime.num_parameters(), self.lvn.num_parameters()];
        let mut bounds = [0; 5];
        (0..4).for_each(|i| bounds[i + 1] = bounds[i] + lens[i]);
        bounds
    }

    /// Values of all four.
    pub fn num_parameters(&self) -> usize {
        self.bounds()[4]
    }

    /// All four.
    pub fn forward(&self, parameters: &[f32], inputs: &StackInputs<'_>, keep: Keep, tape: &mut StackTape) {
        let [a, b, c, d, e] = self.bounds();
        self.structure.forward(&parameters[a..b], inputs.structure, keep, &mut tape.structure);
        self.tactical.forward(&parameters[b..c], inputs.tactical, keep, &mut tape.tactical);
        self.regime.forward(&parameters[c..d], inputs.regime, keep, &mut tape.regime);
        self.lvn.forward(&parameters[d..e], inputs.lvn, keep, &mut tape.lvn);
    }

    /// Outputs of the four.
    pub fn outputs<'a>(&self, tape: &'a StackTape) -> [&'a ReadoutTape; 4] {
        [
            self.structure.outputs(&tape.structure),
            self.tactical.outputs(&tape.tactical),
            self.regime.outputs(&tape.regime),
            self.lvn.outputs(&tape.lvn),
        ]
    }

    /// Bytes that a tape holds.
    pub fn bytes(&self, tape: &StackTape) -> u64 {
        self.structure.bytes(&tape.structure)
            + self.tactical.bytes(&tape.tactical)
            + self.regime.bytes(&tape.regime)
            + self.lvn.bytes(&tape.lvn)
    }

    /// Adds the gradient of all four.
    pub fn backward(&self, parameters: &[f32], tape: &mut StackTape, outputs: &[OutputGradient<'_>; 4], gradient: &mut [f32]) {
        let [a, b, c, d, e] = self.bounds();
        self.structure.backward(&parameters[a..b], &mut tape.structure, &outputs[0], &mut gradient[a..b]);
        self.tactical.backward(&parameters[b..c], &mut tape.tactical, &outputs[1], &mut gradient[b..c]);
        self.regime.backward(&parameters[c..d], &mut tape.regime, &outputs[2], &mut gradient[c..d]);
        self.lvn.backward(&parameters[d..e], &mut tape.lvn, &outputs[3], &mut gradient[d..e]);
    }
}
