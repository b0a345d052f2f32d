//! Values of a rollout's observations where acting does not need them: computed in pieces, beside the steps that follow where there is a thread for it. Pieces
//! are cut the same whatever the number of threads.

use rayon::Scope;

use super::{MarketRollout, ahead_of};
use crate::{
    head::{Head, HeadShape},
    heads::ActorCritic,
    net::{Columns, MlpTape},
};

/// Observations of a piece: enough to be worth the waking of a thread.
const PIECE_ROWS: usize = 256;

/// Some observations and their values.
#[derive(Default)]
pub(super) struct ValuePiece {
    rows: usize,
    /// `[rows, observation_width]`.
    observation: Vec<f32>,
    /// `[rows, ahead_width]`, empty where there is none.
    ahead: Vec<f32>,
    tape: MlpTape,
}

impl ValuePiece {
    /// `[rows]`.
    pub fn values(&self) -> &[f32] {
        self.tape.output()
    }

    fn compute(&mut self, shape: &ActorCritic, parameters: &[f32]) {
        let ahead = (!self.ahead.is_empty()).then_some(Columns { values: &self.ahead, stride: shape.ahead_width(), offset: 0 });
        shape.forward_value(parameters, &self.observation, ahead, self.rows, &mut self.tape);
    }
}

/// The values of one rollout on their way.
pub(super) struct Values<'a> {
    shape: &'a ActorCritic,
    parameters: &'a [f32],
    free: std::slice::IterMut<'a, ValuePiece>,
    /// Observations that pieces hold by now, of how many.
    taken: usize,
    len: usize,
}

impl<'a> Values<'a> {
    /// Those of `len` observations, `num_envs` a step; none of a head whose values come with its actions.
    pub fn apart(head: &'a Head, num_envs: usize, len: usize, pieces: &'a mut Vec<ValuePiece>) -> Option<Self> {
        let shape = match &head.shape {
            HeadShape::ActorCritic(shape) if shape.apart().is_some() => shape,
            _ => {
                pieces.clear();
                return None;
            }
        };
        pieces.resize_with(len.div_ceil(PIECE_ROWS.next_multiple_of(num_envs)), ValuePiece::default);
        Some(Self { shape, parameters: &head.parameters, free: pieces.iter_mut(), taken: 0, len })
    }

    /// Says which observations stand there by now; a piece that is full is computed.
    pub fn advance(&mut self, scope: &Scope<'a>, observation: &[f32], seen: usize, market: Option<MarketRollout<'_>>) {
        let rows = self.taken..seen;
        if rows.len() < PIECE_ROWS && seen < self.len {
            return;
        }
        let piece = self.free.next().expect("Invariant: there are pieces for all observations");
        let width = self.shape.observation_width();
        piece.rows = rows.len();
        piece.observation.clear();
        piece.ahead.clear();
        piece.observation.extend_from_slice(&observation[rows.start * width..rows.end * width]);
        market.and_then(|market| ahead_of(&market, rows, 0, &mut piece.ahead));
        self.taken = seen;
        let (shape, parameters) = (self.shape, self.parameters);
        // The last one has no steps beside it.
        if seen == self.len || rayon::current_num_threads() < 2 {
            piece.compute(shape, parameters);
        } else {
            scope.spawn(move |_| piece.compute(shape, parameters));
        }
    }
}
