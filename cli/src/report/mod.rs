//! The report of a run: the files of a run folder in, one self-contained page out. It trains nothing and it recomputes nothing that the
//! trainer already stated.

mod input;
mod results;
mod strategy;
mod tables;
mod window;

pub use input::{FORMAT, Machine, Manifest, MetricsRecord, ReportInput, read_text};
pub use results::{
    Baseline, CostPoint, Counts, IntervalStated, MemoryStated, PathShare, Performance, RandomRuns, RefusalCount, Setup, ShareOfOptimum,
    SpanStated, StatsFile,
};
pub use strategy::Strategy;
pub use tables::{EquityTable, PathEquity, TradeRow, parse_decimal, push_decimal};
pub use window::{CandleBar, CandleWindow, CandlesFile, FillMark, MAX_BARS, MAX_WINDOWS, StopLine};

/// Draws `report.html` from the files of a run folder alone and returns its path.
///
/// # Errors
/// The first file that is missing or damaged, by its path.
pub fn render(run_folder: &std::path::Path) -> anyhow::Result<std::path::PathBuf> {
    let input = ReportInput::load(run_folder)?;
    let path = run_folder.join("report.html");
    crate::run_folder::write_whole(&path, |out| Ok(writeln!(out, "<!doctype html><title>{}</title>", input.run_name)?))?;
    Ok(path)
}
