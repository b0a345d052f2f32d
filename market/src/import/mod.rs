//! A file of bars in (CSV or Parquet), a checked [`BarSeries`] and an [`ImportReport`] of what was understood out.
//!
//! The way of a row: [`csv`] or [`parquet`] find fields, [`columns`] says which field is what, [`dates`] and [`number`] read them,
//! [`intake`] checks each row by itself, [`order`] sorts them, [`series`] makes bars on a [`grid`] of them. Nothing is forward-filled, nothing is guessed
//! without being reported, and no row disappears without being counted.

mod columns;
mod config;
mod csv;
mod dates;
mod grid;
mod intake;
mod number;
mod order;
mod parquet;
mod report;
mod rows;
mod series;
#[cfg(test)]
mod tests;
mod volume;

use std::{fs::File, io::Read, path::Path};

pub use config::{BadRowPolicy, ColumnChoice, ColumnRef, FileFormat, ImportConfig, Label, UnsortedPolicy};
pub use report::{BadRow, ImportReport, NumberedRow, SegmentSpan};

use crate::MarketError;

/// Bars of one instrument, checked and in order.
#[derive(Clone, Debug, PartialEq)]
pub struct BarSeries {
    /// What is traded.
    pub instrument: crate::Instrument,
    /// Length of a bar.
    pub interval_ns: i64,
    /// The bars, oldest first.
    pub bars: Vec<crate::Bar>,
    /// Whether the volumes mean anything.
    pub has_volume: bool,
}

/// Most rows that are read: 4 GB while they are put in order.
pub const MAX_ROWS: usize = 50_000_000;

/// Reads a file of bars.
///
/// # Errors
/// Whatever is wrong with the file or the settings: by name, line, value and what was expected.
pub fn import(path: &Path, config: &ImportConfig) -> Result<(BarSeries, ImportReport), MarketError> {
    config.validate()?;
    match kind_of(path, config.format)? {
        FileFormat::Parquet => unpanicked(path, || intake::read_rows(path, config, |columns| parquet::ParquetRows::open(path, columns))),
        FileFormat::Csv | FileFormat::Auto => {
            let layout = csv::Layout::find(path, config)?;
            intake::read_rows(path, config, |_| csv::CsvRows::open(path, &layout))
        }
    }
}

/// Turns a panic into an error: the Parquet reader panics over some damaged pages ("Decoder for dict should have been set").
fn unpanicked<T>(path: &Path, read: impl FnOnce() -> Result<T, MarketError>) -> Result<T, MarketError> {
    // Nothing outlives the panic but the path.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
        Err(MarketError::File {
            path: path.into(),
            found: format!("is damaged ({})", text.unwrap_or_else(|| "no reason given".into())),
            expected: "a sound Parquet file".into(),
        })
    })
}

/// Kind of a file by its first bytes; whatever cannot be read is refused here.
fn kind_of(path: &Path, stated: FileFormat) -> Result<FileFormat, MarketError> {
    let refuse = |found: &str, expected: &str| MarketError::File { path: path.into(), found: found.into(), expected: expected.into() };
    if std::fs::metadata(path).map_err(|source| io(path, source))?.is_dir() {
        return Err(refuse("is a directory", "a file of bars"));
    }
    let mut start = Vec::new();
    File::open(path).and_then(|file| file.take(4096).read_to_end(&mut start)).map_err(|source| io(path, source))?;
    if start.is_empty() {
        return Err(refuse("is empty", "a table of bars"));
    }
    let packed = [
        (&b"\x1f\x8b"[..], "gzip"),
        (b"PK\x03\x04", "zip (or a spreadsheet)"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ", "xz"),
    ];
    if let Some((_, name)) = packed.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(refuse(&format!("is packed with {name}"), "plain text or Parquet: unpack it first"));
    }
    let is_parquet = start.starts_with(b"PAR1");
    match stated {
        FileFormat::Parquet if !is_parquet => Err(refuse("does not begin with PAR1", "a Parquet file (import.format)")),
        FileFormat::Csv if is_parquet => Err(refuse("is a Parquet file", "text (import.format)")),
        _ if is_parquet => Ok(FileFormat::Parquet),
        _ if csv::utf16(&start).is_none() && start.contains(&0) => {
            Err(refuse("holds bytes that are no text", "a text table (CSV) or a Parquet file"))
        }
        _ => Ok(FileFormat::Csv),
    }
}

fn io(path: &Path, source: std::io::Error) -> MarketError {
    MarketError::Io { path: path.into(), source }
}
