//! The slow obvious buffer that the store is compared with: every transition with its observation and its next observation in full, in one list.
//! Only compiled for tests.

use super::ReplayBatch;
use crate::{TransitionBlock, flags};

/// What was observed at one step of one lane.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub table: u16,
    pub row: u32,
    pub observation: Vec<f32>,
}

#[derive(Clone, Debug)]
pub struct Transition {
    pub seen: Seen,
    pub action: Vec<f32>,
    pub reward: f32,
    pub flags: u8,
    pub next: Seen,
    /// The lane went on elsewhere, although the episode had not ended.
    pub cut: bool,
}

/// All transitions ever pushed; the number of one is its index.
#[derive(Default)]
pub struct Oracle {
    pub all: Vec<Transition>,
    pub num_envs: usize,
}

/// One sample, in full.
#[derive(Debug, PartialEq)]
pub struct Sample {
    pub seen: Seen,
    pub action: Vec<f32>,
    pub reward: f32,
    pub discount: f32,
    pub next: Seen,
}

fn seen(table: &[u16], row: &[u32], observation: &[f32], index: usize, width: usize) -> Seen {
    Seen {
        table: table.get(index).copied().unwrap_or(0),
        row: row.get(index).copied().unwrap_or(0),
        observation: observation[index * width..(index + 1) * width].to_vec(),
    }
}

impl Oracle {
    pub fn push(&mut self, block: &TransitionBlock) {
        let (lanes, width, action_width) = (block.num_envs as usize, usize::from(block.observation_width), usize::from(block.action_width));
        self.num_envs = lanes;
        let at = |index| seen(&block.table, &block.row, &block.observation, index, width);
        for lane in 0..lanes {
            if let Some(last) = self.all.len().checked_sub(lanes - lane) {
                let last = &mut self.all[last];
                last.cut = last.flags == 0 && last.next != at(lane);
            }
        }
        for index in 0..block.num_transitions() {
            let next = if let Some(end) = block.terminal.index.iter().position(|ended| *ended as usize == index) {
                seen(&block.terminal.table, &block.terminal.row, &block.terminal.observation, end, width)
            } else if index + lanes < block.num_transitions() {
                at(index + lanes)
            } else {
                seen(&block.after.table, &block.after.row, &block.after.observation, index % lanes, width)
            };
            self.all.push(Transition {
                seen: at(index),
                action: block.action[index * action_width..(index + 1) * action_width].to_vec(),
                reward: block.reward[index],
                flags: block.flags[index],
                next,
                cut: false,
            });
        }
    }

    /// The sample that starts at a transition; `is_stored` tells which later ones still are.
    pub fn sample(&self, number: usize, n_step: usize, gamma: f64, is_stored: impl Fn(usize) -> bool) -> Sample {
        let first = &self.all[number];
        let (mut reward, mut power, mut at) = (f64::from(first.reward), gamma, number);
        for _ in 1..n_step {
            let next = at + self.num_envs;
            if self.all[at].flags != 0 || self.all[at].cut || next >= self.all.len() || !is_stored(next) {
                break;
            }
            at = next;
            reward += power * f64::from(self.all[at].reward);
            power *= gamma;
        }
        let last = &self.all[at];
        Sample {
            seen: first.seen.clone(),
            action: first.action.clone(),
            reward: reward as f32,
            discount: if last.flags & flags::TERMINATED != 0 { 0.0 } else { power as f32 },
            next: last.next.clone(),
        }
    }
}

/// Sample `i` of a batch, in the oracle's form.
pub fn sample_of(batch: &ReplayBatch, i: usize) -> Sample {
    let (width, action_width) = (batch.observation_width, batch.action_width);
    Sample {
        seen: seen(&batch.table, &batch.row, &batch.observation, i, width),
        action: batch.action[i * action_width..(i + 1) * action_width].to_vec(),
        reward: batch.reward[i],
        discount: batch.discount[i],
        next: seen(&batch.next_table, &batch.next_row, &batch.next_observation, i, width),
    }
}

/// The number of the transition that sample `i` starts at.
pub fn number_of(batch: &ReplayBatch, i: usize) -> usize {
    batch.stamp[i] as usize * super::SEGMENT_LEN + batch.slot[i] as usize % super::SEGMENT_LEN
}
