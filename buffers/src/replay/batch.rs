//! One batch of n-step samples as columns; reused, so that sampling allocates nothing once it has been that large.

use super::rows::RowLayout;

/// Columns of `B = batch` samples. A sample starts at step t and looks `k <= n_step` steps ahead: less where the episode ends or no newer step is stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplayBatch {
    /// B.
    pub batch: usize,
    /// Values of one observation vector, w.
    pub observation_width: usize,
    /// Values of one action, a.
    pub action_width: usize,
    /// `[B]` feature table observed; empty without a market.
    pub table: Vec<u16>,
    /// `[B]` its row; empty without a market.
    pub row: Vec<u32>,
    /// `[B, w]`.
    pub observation: Vec<f32>,
    /// `[B, a]`.
    pub action: Vec<f32>,
    /// `[B]` `sum_{i < k} gamma^i r_{t+i}`, unscaled.
    pub reward: Vec<f32>,
    /// `[B]` `gamma^k`; 0 where the k-th step terminated.
    pub discount: Vec<f32>,
    /// `[B]` feature table observed k steps later; of the true terminal observation where the episode ended.
    pub next_table: Vec<u16>,
    /// `[B]` its row.
    pub next_row: Vec<u32>,
    /// `[B, w]` the vector observed with them.
    pub next_observation: Vec<f32>,
    /// `[B]` importance weights, divided by the largest of the buffer; 1 when uniform.
    pub weight: Vec<f32>,
    /// `[B]` where each sample's first step is stored.
    pub slot: Vec<u32>,
    /// `[B]` which segment was there; an update of a slot that holds another by then is ignored.
    pub stamp: Vec<u64>,
    /// What rewards are multiplied by before they are learned from; that of the newest block.
    pub reward_scale: f32,
}

impl ReplayBatch {
    pub(super) fn resize(&mut self, batch: usize, layout: &RowLayout) {
        (self.batch, self.observation_width, self.action_width) = (batch, layout.observation_width, layout.action_width);
        let on_market = if layout.has_market { batch } else { 0 };
        for column in [&mut self.table, &mut self.next_table] {
            column.resize(on_market, 0);
        }
        for column in [&mut self.row, &mut self.next_row] {
            column.resize(on_market, 0);
        }
        for column in [&mut self.observation, &mut self.next_observation] {
            column.resize(batch * layout.observation_width, 0.0);
        }
        self.action.resize(batch * layout.action_width, 0.0);
        for column in [&mut self.reward, &mut self.discount, &mut self.weight] {
            column.resize(batch, 0.0);
        }
        self.slot.resize(batch, 0);
        self.stamp.resize(batch, 0);
    }
}
