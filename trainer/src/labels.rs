//! Labels of the embedders' auxiliary heads: the return and the range of the next bar of each embedder's own frame, in ATR of that
//! frame. A label that would look past its part of the data, past a segment or onto a missing ATR is absent (NaN), and so is its loss.

use grandmodel_market::{Bar, TableSpan};

/// `[return, range]` in ATR; NaN where absent.
pub type Label = [f32; 2];
const ABSENT: Label = [f32::NAN; 2];
/// Labels are cut here: one bar of 10 ATR must not own the gradient.
const BOUND: f32 = 10.0;

/// Labels of one span, by row of its table.
#[derive(Clone, Debug)]
pub struct SpanLabels {
    /// First base row of the span.
    pub start: usize,
    /// Next base bar, from `start` on.
    pub base: Vec<Label>,
    /// Next structure bar, by structure row of the whole table.
    pub structure: Vec<Label>,
}

impl SpanLabels {
    /// All labels that close inside the span.
    pub fn of(span: &TableSpan) -> Self {
        let table = &span.table;
        let segment = table.segment();
        let base = span.rows.clone().map(|row| {
            let next = row + 1;
            if next >= span.rows.end || segment[next] != segment[row] {
                return ABSENT;
            }
            label(table.close()[row], &table.bar(next), table.atr()[row])
        });
        let end = span.rows.end.checked_sub(1).map_or(i64::MIN, |last| table.ts_close()[last]);
        let structure = (0..table.structure_len()).map(|row| {
            let next = row + 1;
            let inside = next < table.structure_len() && table.structure_ts_close()[next] <= end;
            if !inside || table.structure_segment()[next] != table.structure_segment()[row] {
                return ABSENT;
            }
            label(table.structure_bar(row).close, &table.structure_bar(next), table.structure_atr()[row])
        });
        Self { start: span.rows.start, base: base.collect(), structure: structure.collect() }
    }
}

fn label(close: f64, next: &Bar, atr: f64) -> Label {
    if !(atr.is_finite() && atr > 0.0) {
        return ABSENT;
    }
    [(next.close - close) / atr, (next.high - next.low) / atr].map(|x| (x as f32).clamp(-BOUND, BOUND))
}
