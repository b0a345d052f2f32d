//! What a table holds, for people: every column's spread, and which rows of each segment are ready and why the others are not.

use std::{fmt, ops::Range};

use super::{FeatureTable, TableSpan};
use crate::features::{LVN_FEATURES, REGIME_FEATURES, Readiness, STRUCTURE_FEATURES, TACTICAL_FEATURES};

/// Below this standard deviation a column "hardly moves": all columns are meant to be of order one.
const STILL_DEVIATION: f64 = 0.02;
/// Above this share at one of its bounds a column that should be continuous says almost nothing.
const SATURATED_SHARE: f64 = 0.95;
/// Distance from a bound that counts as being at it.
const BOUND_MARGIN: f64 = 1e-3;

/// Names of the columns in the order of the matrices.
pub const STRUCTURE_NAMES: [&str; STRUCTURE_FEATURES] =
    ["mlmi_value", "mlmi_signal", "nwrqk_value", "nwrqk_slope", "lvn_distance", "lvn_strength", "hour_sin", "hour_cos"];
/// Tactical names.
pub const TACTICAL_NAMES: [&str; TACTICAL_FEATURES] =
    ["fvg_bullish", "fvg_bearish", "fvg_nearest_level", "fvg_age", "fvg_mitigated", "momentum_5", "volume_ratio"];
/// Regime names.
pub const REGIME_NAMES: [&str; REGIME_FEATURES] =
    ["trend", "volatility", "liquidity", "smoothness", "volume_trend", "cleanliness", "asymmetry", "stability"];
/// LVN context names.
pub const LVN_NAMES: [&str; LVN_FEATURES] = ["strength", "distance", "reach", "above", "confidence"];

/// Spread of one column over its defined rows.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ColumnReport {
    /// `structure.mlmi_value` and the like.
    pub name: String,
    /// Defined rows.
    pub count: usize,
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub deviation: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Share of rows within 0.001 of -1 or +1.
    pub share_at_bounds: f64,
    /// Set when the column hardly moves or hardly leaves its bounds.
    pub warning: Option<&'static str>,
}

/// How many rows got each verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reasons {
    counts: [usize; Readiness::ALL.len()],
}

/// Ready rows of one segment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SegmentRows {
    /// Its number.
    pub segment: u32,
    /// Its base rows.
    pub rows: Range<usize>,
    /// Ready rows among them.
    pub ready: usize,
}

/// The data report of a table; `Display` prints it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct TableReport {
    /// Base rows.
    pub len: usize,
    /// Structure rows.
    pub structure_len: usize,
    /// Whether volumes mean anything.
    pub has_volume: bool,
    /// Verdicts on all rows.
    pub reasons: Reasons,
    /// Ready rows by segment.
    pub segments: Vec<SegmentRows>,
    /// Every column.
    pub columns: Vec<ColumnReport>,
}

impl Reasons {
    pub(super) fn count(codes: &[u8]) -> Self {
        let mut counts = [0; Readiness::ALL.len()];
        for code in codes {
            counts[*code as usize] += 1;
        }
        Self { counts }
    }

    /// Rows with this verdict.
    pub fn of(&self, readiness: Readiness) -> usize {
        self.counts[readiness as usize]
    }

    /// Ready rows.
    pub fn ready(&self) -> usize {
        self.of(Readiness::Ready)
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Readiness::ALL.into_iter().filter(|verdict| self.of(*verdict) > 0).peekable();
        if parts.peek().is_none() {
            return f.write_str("no rows");
        }
        let mut separator = "";
        for verdict in parts {
            write!(f, "{separator}{} {}", self.of(verdict), verdict.reason())?;
            separator = ", ";
        }
        Ok(())
    }
}

impl FeatureTable {
    /// Ready rows of each segment.
    pub fn segment_rows(&self) -> Vec<SegmentRows> {
        let segment = self.segment();
        let mut found: Vec<SegmentRows> = Vec::new();
        for (row, segment) in segment.iter().enumerate() {
            if found.last().is_none_or(|last| last.segment != *segment) {
                found.push(SegmentRows { segment: *segment, rows: row..row, ready: 0 });
            }
            if let Some(last) = found.last_mut() {
                last.rows.end = row + 1;
                last.ready += usize::from(self.is_ready(row));
            }
        }
        found
    }

    /// Spread of every column and ready rows of every segment.
    pub fn report(&self) -> TableReport {
        let mut columns = Vec::new();
        let mut describe = |matrix: &str, names: &[&str], values: &[f32], needs_volume: &[usize]| {
            for (index, name) in names.iter().enumerate() {
                let column = values.iter().skip(index).step_by(names.len()).map(|value| f64::from(*value));
                let silent = !self.has_volume() && needs_volume.contains(&index);
                columns.push(ColumnReport::of(format!("{matrix}.{name}"), column, silent));
            }
        };
        describe("structure", &STRUCTURE_NAMES, self.structure(), &[4, 5]);
        describe("tactical", &TACTICAL_NAMES, self.tactical(), &[6]);
        describe("regime", &REGIME_NAMES, self.regime(), &[2, 4]);
        describe("lvn", &LVN_NAMES, self.lvn(), &[0, 1, 2, 3, 4]);
        TableReport {
            len: self.len(),
            structure_len: self.structure_len(),
            has_volume: self.has_volume(),
            reasons: self.reasons(0..self.len()),
            segments: self.segment_rows(),
            columns,
        }
    }
}

impl ColumnReport {
    fn of(name: String, values: impl Iterator<Item = f64> + Clone, silent: bool) -> Self {
        let defined = values.filter(|value| value.is_finite());
        let count = defined.clone().count();
        let over = |sum: f64| if count == 0 { 0.0 } else { sum / count as f64 };
        let mean = over(defined.clone().sum());
        let deviation = over(defined.clone().map(|value| (value - mean).powi(2)).sum()).sqrt();
        let share_at_bounds = over(defined.clone().filter(|value| value.abs() >= 1.0 - BOUND_MARGIN).count() as f64);
        let (min, max) = defined.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| (min.min(value), max.max(value)));
        let warning = if count == 0 {
            Some("never defined")
        } else if silent {
            None
        } else if deviation < STILL_DEVIATION {
            Some("hardly moves")
        } else if share_at_bounds > SATURATED_SHARE && deviation < 0.5 {
            Some("hardly leaves its bounds")
        } else {
            None
        };
        let (min, max) = if count == 0 { (0.0, 0.0) } else { (min, max) };
        Self { name, count, mean, deviation, min, max, share_at_bounds, warning }
    }
}

impl fmt::Display for TableReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} base rows, {} structure rows: {}", self.len, self.structure_len, self.reasons)?;
        if !self.has_volume {
            writeln!(f, "no volume in these bars: the columns made of volume are 0 throughout")?;
        }
        for segment in &self.segments {
            let (rows, ready) = (&segment.rows, segment.ready);
            writeln!(f, "segment {:<4} rows {:>8}..{:<8} ready {ready}", segment.segment, rows.start, rows.end)?;
        }
        writeln!(f, "{:<28} {:>8} {:>8} {:>9} {:>8} {:>8} {:>9}", "column", "rows", "mean", "deviation", "min", "max", "at bounds")?;
        for column in &self.columns {
            write!(
                f,
                "{:<28} {:>8} {:>8.4} {:>9.4} {:>8.4} {:>8.4} {:>8.1}%",
                column.name,
                column.count,
                column.mean,
                column.deviation,
                column.min,
                column.max,
                100.0 * column.share_at_bounds
            )?;
            writeln!(f, "{}", column.warning.map(|warning| format!("  {warning}")).unwrap_or_default())?;
        }
        Ok(())
    }
}

impl fmt::Display for TableSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows {}..{}: {}", self.rows.start, self.rows.end, self.table.reasons(self.rows.clone()))
    }
}
