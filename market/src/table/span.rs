//! A part of a table: which rows may be trained on, validated on or tested on.

use std::{ops::Range, sync::Arc};

use super::FeatureTable;
use crate::{MarketError, features::TACTICAL_WINDOW};

/// A span of base rows of one table: a training, validation or test part, or a synthetic path.
#[derive(Clone, Debug)]
pub struct TableSpan {
    /// The table.
    pub table: Arc<FeatureTable>,
    /// Its rows.
    pub rows: Range<usize>,
}

/// The three parts of a table, in the order of time, with an embargo of one tactical window between them.
#[derive(Clone, Debug)]
pub struct Split {
    /// Where parameters are fitted.
    pub train: TableSpan,
    /// Where models and thresholds are chosen.
    pub validation: TableSpan,
    /// Read once, for the report.
    pub test: TableSpan,
}

impl TableSpan {
    /// All rows of a table.
    pub fn whole(table: Arc<FeatureTable>) -> Self {
        let rows = 0..table.len();
        Self { table, rows }
    }

    /// Rows in the span, ready or not.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Ready rows, in order.
    pub fn ready_rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.clone().filter(|row| self.table.is_ready(*row))
    }

    /// How many rows are ready.
    pub fn num_ready(&self) -> usize {
        self.ready_rows().count()
    }

    /// Maximal runs of rows of one segment, cut to the span.
    pub fn segments(&self) -> Vec<Range<usize>> {
        let segment = self.table.segment();
        let mut runs: Vec<Range<usize>> = Vec::new();
        for row in self.rows.clone() {
            match runs.last_mut() {
                Some(run) if segment[run.start] == segment[row] => run.end = row + 1,
                _ => runs.push(row..row + 1),
            }
        }
        runs
    }

    /// End of the segment that `row` lies in, cut to the span: no episode, position or label goes past it.
    pub fn segment_end(&self, row: usize) -> usize {
        let rest = &self.table.segment()[row..self.rows.end];
        row + rest.partition_point(|segment| *segment == rest[0])
    }

    /// The span without its first rows.
    pub fn skip(&self, rows: usize) -> Self {
        Self { table: self.table.clone(), rows: (self.rows.start + rows).min(self.rows.end)..self.rows.end }
    }

    /// Refuses a span that nothing can be learned from.
    ///
    /// # Errors
    /// [`MarketError::NoReadyRows`] when no row is ready, with the reasons counted.
    pub fn require_ready(&self) -> Result<(), MarketError> {
        if self.ready_rows().next().is_some() {
            return Ok(());
        }
        Err(MarketError::NoReadyRows { rows: self.len(), reasons: self.table.reasons(self.rows.clone()).to_string() })
    }
}

impl FeatureTable {
    /// Cuts the rows from the first ready one on by share of ready rows, with an embargo of one tactical window (60 rows) between parts.
    ///
    /// The warm-up before the first ready row belongs to no part: it would only shift the shares.
    ///
    /// # Errors
    /// [`MarketError::Setting`] when the shares leave no test part; [`MarketError::NoReadyRows`] when a part has no ready row.
    pub fn split(self: &Arc<Self>, train_share: f64, validation_share: f64) -> Result<Split, MarketError> {
        let test_share = 1.0 - train_share - validation_share;
        if !(train_share > 0.0 && validation_share > 0.0 && test_share > 1e-9) {
            return Err(MarketError::Setting {
                key: "split",
                value: format!("{train_share} + {validation_share}"),
                expected: "two shares above 0 whose sum is below 1; the rest is the test part".into(),
            });
        }
        let ready: Vec<usize> = TableSpan::whole(self.clone()).ready_rows().collect();
        let cut = |share: f64| ready.get((ready.len() as f64 * share).round() as usize).copied().unwrap_or(self.len());
        let (first, validation, test) =
            (ready.first().copied().unwrap_or(self.len()), cut(train_share), cut(train_share + validation_share));
        let span = |start: usize, end: usize| TableSpan { table: self.clone(), rows: start.min(end)..end };
        let split = Split {
            train: span(first, validation.saturating_sub(TACTICAL_WINDOW)),
            validation: span(validation, test.saturating_sub(TACTICAL_WINDOW)),
            test: span(test, self.len()),
        };
        for part in [&split.train, &split.validation, &split.test] {
            part.require_ready()?;
        }
        Ok(split)
    }
}
