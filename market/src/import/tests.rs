//! Small files in, what the importer makes of them out: each way in which a file may be laid out or broken.

mod broken;
mod layouts;
mod parquet;
mod samples;

use std::{io::Write, path::Path};

use super::{BarSeries, ImportConfig, ImportReport, import};
use crate::MarketError;

/// Writes `bytes` into a temporary file and imports it.
fn import_bytes(bytes: &[u8], config: &ImportConfig) -> Result<(BarSeries, ImportReport), MarketError> {
    let mut file = tempfile::Builder::new().prefix("bars").suffix(".csv").tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.flush().unwrap();
    import(file.path(), config)
}

fn import_text(text: &str, config: &str) -> Result<(BarSeries, ImportReport), MarketError> {
    import_bytes(text.as_bytes(), &serde_json::from_str(config).unwrap())
}

fn ok(text: &str, config: &str) -> (BarSeries, ImportReport) {
    import_text(text, config).unwrap_or_else(|error| panic!("{error}"))
}

/// The message with which an import fails.
fn refused(text: &str, config: &str) -> String {
    import_text(text, config).map(|(series, _)| series.bars.len()).unwrap_err().to_string()
}

/// `message` holds every one of `parts`.
#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in:\n{message}");
    }
}

fn sample(name: &str) -> Option<std::path::PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    if !path.exists() {
        println!("skipped: {name} is not in ../shared/data");
    }
    path.exists().then_some(path)
}

/// Nanoseconds of a time in UTC.
fn ts(text: &str) -> i64 {
    i64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_nanosecond()).unwrap()
}
