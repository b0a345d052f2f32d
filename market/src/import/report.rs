//! What the importer understood, in plain words: for a user to compare with what the file is.

use std::fmt;

use jiff::Timestamp;

use crate::{features::Interval, resample::GapStats};

/// Rows named in a report, at most.
pub(super) const MAX_NAMED_ROWS: usize = 100;
/// Rows and segments printed, at most.
const MAX_PRINTED: usize = 10;

/// What was understood of a file.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ImportReport {
    /// Name of the file.
    pub file: String,
    /// Kind of file and its layout: delimiter, line of the header.
    pub format: String,
    /// What rows are counted in: `line` or `row`.
    pub unit: &'static str,
    /// Rows below the header.
    pub num_rows: usize,
    /// Bars made of them.
    pub num_bars: usize,
    /// Rows of other symbols.
    pub num_other_symbols: usize,
    /// Whether the newest row comes first.
    pub newest_first: bool,
    /// Open of the first bar and close of the last, nanoseconds UTC.
    pub span: (i64, i64),
    /// Length of a bar.
    pub interval_ns: i64,
    /// Share of the steps between bars that are one interval.
    pub interval_share: f64,
    /// Whether the interval was stated rather than found.
    pub interval_stated: bool,
    /// What a row's time is: `open` or `close`.
    pub label: &'static str,
    /// Zone of times that state none.
    pub time_zone: String,
    /// How times are written, with the first one as an example.
    pub time_format: String,
    /// Missing bars.
    pub gaps: GapStats,
    /// When the longest gap began, nanoseconds UTC.
    pub longest_gap_after: i64,
    /// Gaps that hold trading hours of the instrument's session; none around the clock.
    pub gaps_in_session: Option<usize>,
    /// Bars that open outside the instrument's session; none around the clock.
    pub bars_out_of_session: Option<usize>,
    /// Sessions of which there is at least one bar; none around the clock.
    pub num_sessions: Option<usize>,
    /// A gap longer than this begins a segment.
    pub max_gap_ns: i64,
    /// Stretches without a longer gap.
    pub segments: Vec<SegmentSpan>,
    /// What was taken from which column.
    pub columns: Vec<(&'static str, String)>,
    /// Columns that were not used, and why.
    pub ignored: Vec<(String, &'static str)>,
    /// Name of the instrument.
    pub symbol: String,
    /// Smallest price step and how it was found.
    pub tick: (f64, String),
    /// Smallest quantity step and how it was found.
    pub lot: (f64, String),
    /// Account currency that one unit gains when the price rises by 1.
    pub multiplier: f64,
    /// Trading hours.
    pub session: String,
    /// Rows put elsewhere because they were out of order.
    pub num_sorted: usize,
    /// Their numbers, the first [`MAX_NAMED_ROWS`].
    pub sorted: Vec<u64>,
    /// Rows left out.
    pub num_quarantined: usize,
    /// The first of them.
    pub quarantined: Vec<NumberedRow>,
    /// Whatever else a user should know.
    pub notes: Vec<String>,
}

/// Bars without a long gap between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SegmentSpan {
    /// Open of the first, nanoseconds UTC.
    pub ts_open: i64,
    /// Close of the last, nanoseconds UTC.
    pub ts_close: i64,
    /// How many.
    pub num_bars: usize,
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BadRow {
    /// Name of the field.
    pub field: String,
    /// What it holds.
    pub value: String,
    /// What could be used.
    pub expected: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was {}, expected {}", self.field, self.value, self.expected)
    }
}

/// A row that was left out.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct NumberedRow {
    /// Its number, counted from 1.
    pub number: u64,
    /// What is wrong with it.
    pub row: BadRow,
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.newest_first { "newest row first" } else { "oldest row first" };
        writeln!(f, "{}: {}, {order}", self.file, self.format)?;
        self.write_rows(f)?;
        let how = if self.interval_stated { "stated; " } else { "" };
        writeln!(f, "span       {} to {} UTC (open of the first bar to close of the last)", time(self.span.0), time(self.span.1))?;
        writeln!(f, "interval   {} ({how}{:.2} % of steps)", length(self.interval_ns), 100.0 * self.interval_share)?;
        writeln!(f, "label      a row's time is its bar's {}; times without an offset are {}", self.label, self.time_zone)?;
        writeln!(f, "times      {}", self.time_format)?;
        self.write_gaps(f)?;
        let columns: Vec<String> = self.columns.iter().map(|(what, name)| format!("{what} = {name}")).collect();
        writeln!(f, "columns    {}", columns.join(", "))?;
        for (name, why) in &self.ignored {
            writeln!(f, "ignored    {name}: {why}")?;
        }
        writeln!(f, "instrument {}, multiplier {}, trades {}", self.symbol, self.multiplier, self.session)?;
        writeln!(f, "tick       {} ({})", self.tick.0, self.tick.1)?;
        write!(f, "lot        {} ({})", self.lot.0, self.lot.1)?;
        for note in &self.notes {
            write!(f, "\nnote       {note}")?;
        }
        Ok(())
    }
}

impl ImportReport {
    fn write_rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows       {} read, {} bars", self.num_rows, self.num_bars)?;
        if self.num_other_symbols > 0 {
            write!(f, ", {} of other symbols", self.num_other_symbols)?;
        }
        writeln!(f, ", {} quarantined", self.num_quarantined)?;
        for NumberedRow { number, row } in self.quarantined.iter().take(MAX_PRINTED) {
            writeln!(f, "           {} {number}: {row}", self.unit)?;
        }
        if self.num_quarantined > MAX_PRINTED {
            writeln!(f, "           and {} more", self.num_quarantined - MAX_PRINTED)?;
        }
        if self.num_sorted > 0 {
            let lines: Vec<String> = self.sorted.iter().take(MAX_PRINTED).map(u64::to_string).collect();
            let more = if self.num_sorted > MAX_PRINTED { ", ..." } else { "" };
            writeln!(
                f,
                "sorted     {} rows were out of order and put where their times say: {} {}{more}",
                self.num_sorted,
                self.unit,
                lines.join(", ")
            )?;
        }
        Ok(())
    }

    fn write_gaps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gaps       {} ({} bars missing)", self.gaps.num_gaps, self.gaps.num_missing)?;
        if self.gaps.num_gaps > 0 {
            write!(f, ", longest {} after {}", length(self.gaps.longest_ns), time(self.longest_gap_after))?;
        }
        if let Some(num) = self.gaps_in_session {
            write!(f, "; {num} of them within trading hours")?;
        }
        writeln!(f)?;
        if self.gaps.num_irregular > 0 {
            writeln!(f, "           {} steps are no whole multiple of the interval", self.gaps.num_irregular)?;
        }
        if let (Some(num_sessions), Some(num_bars)) = (self.num_sessions, self.bars_out_of_session) {
            writeln!(f, "sessions   {num_sessions} with bars; {num_bars} bars outside trading hours")?;
        }
        writeln!(f, "segments   {} (a gap above {} begins one)", self.segments.len(), length(self.max_gap_ns))?;
        if self.segments.len() > 1 {
            for segment in self.segments.iter().take(MAX_PRINTED) {
                writeln!(f, "           {} to {}, {} bars", time(segment.ts_open), time(segment.ts_close), segment.num_bars)?;
            }
        }
        if self.segments.len() > MAX_PRINTED {
            writeln!(f, "           and {} more", self.segments.len() - MAX_PRINTED)?;
        }
        Ok(())
    }
}

/// `2013-10-06 22:00`, with seconds and fractions only where there are any.
pub(super) fn time(ts: i64) -> String {
    let text = Timestamp::from_nanosecond(ts.into()).unwrap_or_default().to_string();
    let text = text.trim_end_matches('Z').replace('T', " ");
    text.strip_suffix(":00").filter(|text| text.len() == "2013-10-06 22:00".len()).unwrap_or(&text).to_owned()
}

/// `5m`, `1d 2h 46m`.
pub(super) fn length(ns: i64) -> String {
    let secs = ns / 1_000_000_000;
    if ns % 1_000_000_000 != 0 || secs < 1 {
        return format!("{} s", ns as f64 / 1e9);
    }
    if let Ok(interval) = Interval::from_secs(secs)
        && interval.to_string().len() <= 3
    {
        return interval.to_string();
    }
    [(86_400, "d", i64::MAX), (3600, "h", 24), (60, "m", 60), (1, "s", 60)]
        .into_iter()
        .map(|(unit, name, most)| (secs / unit % most, name))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count}{name}"))
        .collect::<Vec<_>>()
        .join(" ")
}
