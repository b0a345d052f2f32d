//! Spans of tables in; runs of ready rows and the random starts of training episodes out. A run lies in one span and one segment,
//! so nothing that happens inside it straddles a gap.

use crate::{AgentsError, config::EnvConfig};
use grandmodel_market::{TableSpan, features::Readiness};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use std::ops::Range;

/// Consecutive ready rows of one segment of one span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Index of the span.
    pub table: u16,
    /// Its rows.
    pub rows: Range<u32>,
}

/// One episode as scheduled, before any action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Episode {
    /// Index of the span.
    pub table: u16,
    /// Row of the first observation.
    pub row: u32,
    /// Row of the last, terminal observation.
    pub last_row: u32,
    /// Side of the start position: -1, 0 or 1.
    pub side: i8,
}

/// Draws episodes: uniform over all ready rows with enough bars left.
#[derive(Clone, Debug)]
pub struct Schedule {
    runs: Vec<Run>,
    /// Starts in all runs up to and including each.
    starts_up_to: Vec<u64>,
    episode_len: u32,
    rng: ChaCha8Rng,
}

/// Random words set aside per episode; two draws use four.
const WORDS_PER_EPISODE: u128 = 16;

impl Schedule {
    /// A schedule over spans.
    ///
    /// # Errors
    /// [`AgentsError::NoEpisode`] when no row has `min_bars_left` ready bars after it.
    pub fn new(spans: &[TableSpan], env: &EnvConfig, seed: u64) -> Result<Self, AgentsError> {
        let all = ready_runs(spans)?;
        let num_ready = all.iter().map(|run| run.rows.len()).sum();
        let bars_left = env.min_bars_left;
        let runs: Vec<Run> = all.into_iter().filter(|run| run.rows.len() as u64 > u64::from(bars_left)).collect();
        if runs.is_empty() {
            return Err(AgentsError::NoEpisode { num_spans: spans.len(), num_ready, bars_left });
        }
        let mut total = 0;
        let starts_up_to = runs
            .iter()
            .map(|run| {
                total += run.rows.len() as u64 - u64::from(bars_left);
                total
            })
            .collect();
        Ok(Self { runs, starts_up_to, episode_len: env.episode_len, rng: ChaCha8Rng::seed_from_u64(seed) })
    }

    /// Episode number `episode` of a lane; a pure function of seed, lane and number.
    pub fn draw(&self, lane: usize, episode: u64) -> Episode {
        let mut rng = self.rng.clone();
        rng.set_stream(lane as u64);
        rng.set_word_pos(u128::from(episode) * WORDS_PER_EPISODE);
        let num_starts = self.starts_up_to.last().copied().unwrap_or(1);
        let start = below(rng.next_u64(), num_starts);
        let side = below(rng.next_u64(), 3) as i8 - 1;
        let index = self.starts_up_to.partition_point(|up_to| *up_to <= start);
        let before = if index == 0 { 0 } else { self.starts_up_to[index - 1] };
        let run = &self.runs[index];
        let row = run.rows.start + (start - before) as u32;
        let last_row = (run.rows.end - 1).min(row.saturating_add(self.episode_len));
        Episode { table: run.table, row, last_row, side }
    }

    /// Starts to draw from.
    pub fn num_starts(&self) -> u64 {
        self.starts_up_to.last().copied().unwrap_or(0)
    }
}

/// Runs of ready rows, in order.
///
/// # Errors
/// [`AgentsError::Shape`] for more spans or rows than indices can name, [`AgentsError::Row`] for a span beyond its table.
pub fn ready_runs(spans: &[TableSpan]) -> Result<Vec<Run>, AgentsError> {
    if spans.is_empty() || spans.len() > usize::from(u16::MAX) {
        return Err(AgentsError::Shape { what: "number of spans (at least 1)", found: spans.len(), expected: usize::from(u16::MAX) });
    }
    let mut runs = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        let len = span.table.len();
        if span.rows.end > len || len >= u32::MAX as usize {
            return Err(AgentsError::Row { row: span.rows.end, len, expected: "a span that ends inside its table" });
        }
        let (segment, codes) = (span.table.segment(), span.table.readiness_codes());
        let mut open: Option<Range<u32>> = None;
        for row in span.rows.clone() {
            if codes[row] != Readiness::Ready as u8 {
                runs.extend(open.take().map(|rows| Run { table: index as u16, rows }));
                continue;
            }
            open = match open.take() {
                Some(rows) if segment[row] == segment[row - 1] => Some(rows.start..row as u32 + 1),
                before => {
                    runs.extend(before.map(|rows| Run { table: index as u16, rows }));
                    Some(row as u32..row as u32 + 1)
                }
            };
        }
        runs.extend(open.map(|rows| Run { table: index as u16, rows }));
    }
    Ok(runs)
}

/// A number below `n` from 64 random bits; the bias is below 2^-32 for any count of rows.
fn below(bits: u64, n: u64) -> u64 {
    ((u128::from(bits) * u128::from(n)) >> 64) as u64
}
