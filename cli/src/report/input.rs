//! What a report is made of: the files of a run folder in, one checked [`ReportInput`] out. The types here are the definition of those
//! files; who fills them passes numbers only. Nothing is computed that the trainer already knows, and nothing is drawn.
//!
//! | file | type | needed |
//! |---|---|---|
//! | `manifest.json` | [`Manifest`] | yes |
//! | `config.toml` | text, shown as it is | yes |
//! | `stats.json` | [`StatsFile`] | yes |
//! | `equity.csv` | [`EquityTable`] | yes |
//! | `trades.csv` | rows of [`TradeRow`] | yes |
//! | `candles.json` | [`CandlesFile`] | no: no candles are drawn |
//! | `metrics.jsonl` | lines of [`MetricsRecord`] | no: no training curves are drawn |

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    results::StatsFile,
    tables::{EquityTable, TradeRow},
    window::CandlesFile,
};

/// Version of the files of a run folder; another one is refused.
pub const FORMAT: u32 = 1;
/// Largest file of a run folder that a report reads.
pub const MAX_FILE_BYTES: u64 = 2 << 30;

/// Everything a report shows.
#[derive(Clone, Debug)]
pub struct ReportInput {
    /// Name of the run folder.
    pub run_name: String,
    /// Who made the run, from what.
    pub manifest: Manifest,
    /// The resolved configuration, as text.
    pub config: String,
    /// The results.
    pub stats: StatsFile,
    /// Equity curves.
    pub equity: EquityTable,
    /// Round trips.
    pub trades: Vec<TradeRow>,
    /// Bars with fills.
    pub candles: CandlesFile,
    /// What was recorded while training, in order.
    pub metrics: Vec<MetricsRecord>,
}

impl ReportInput {
    /// Reads a run folder.
    ///
    /// # Errors
    /// The first file that is missing, damaged or of another version, by its path.
    pub fn load(folder: &Path) -> Result<Self> {
        ensure!(folder.is_dir(), "{} is not a folder; expected a run folder such as runs/quickstart-s1-001", folder.display());
        let run_name = folder.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
        let manifest: Manifest = read_json(&folder.join("manifest.json"))?;
        check_format(manifest.format, folder, "manifest.json")?;
        let config = read_text(&folder.join("config.toml"))?;
        let stats: StatsFile = read_json(&folder.join("stats.json"))?;
        check_format(stats.format, folder, "stats.json")?;
        let equity = parse(folder, "equity.csv", EquityTable::from_csv)?;
        let trades = parse(folder, "trades.csv", TradeRow::from_csv)?;
        let candles_path = folder.join("candles.json");
        let candles = if candles_path.exists() { read_json(&candles_path)? } else { CandlesFile::default() };
        let metrics =
            if folder.join("metrics.jsonl").exists() { parse(folder, "metrics.jsonl", MetricsRecord::from_lines)? } else { Vec::new() };
        Ok(Self { run_name, manifest, config, stats, equity, trades, candles, metrics })
    }
}

/// `manifest.json`: who made the run, from what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Stem of the configuration file.
    pub config_name: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Commit of the sources, `-dirty` appended when they were changed; absent when unknown.
    pub git_hash: Option<String>,
    /// Version of the binary.
    pub version: String,
    /// Where it ran.
    pub machine: Machine,
    /// Start, RFC 3339 in UTC.
    pub started: String,
}

/// Where a run ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system and architecture.
    pub platform: String,
    /// Model of the processor.
    pub cpu: String,
    /// Threads that can run at once.
    pub num_cpus: usize,
    /// Memory of the machine, 0 when unknown.
    pub memory_bytes: u64,
    /// Device the tensors live on.
    pub device: String,
}

/// One line of `metrics.jsonl`.
///
/// What depends on the machine (seconds, speed, bytes of memory) goes into `time`; the rest of the line is the same, byte for byte, in
/// every run of the same seed. Names are TensorBoard's: `charts/episodic_return`, `losses/entropy`; in `time`: `elapsed_s`,
/// `charts/SPS`, `memory/used_bytes`. A value that is not finite is written as `null` and read as NaN.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsRecord {
    /// Steps of all lanes together so far.
    pub step: u64,
    /// What the seed decides.
    #[serde(default, deserialize_with = "null_is_nan")]
    pub values: BTreeMap<String, f64>,
    /// What the machine decides.
    #[serde(default, deserialize_with = "null_is_nan")]
    pub time: BTreeMap<String, f64>,
}

impl MetricsRecord {
    /// A value by its name, wherever it stands.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.get(name).or_else(|| self.time.get(name)).copied().filter(|value| value.is_finite())
    }

    /// All lines of a file. A last line without its line feed was cut off while it was written and is left out.
    ///
    /// # Errors
    /// The first line that is not a record.
    pub fn from_lines(text: &str) -> Result<Vec<Self>> {
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines().enumerate().filter(|(_, line)| !line.is_empty());
        lines.map(|(index, line)| serde_json::from_str(line).with_context(|| format!("line {} is not a record", index + 1))).collect()
    }
}

fn null_is_nan<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let map = BTreeMap::<String, Option<f64>>::deserialize(deserializer)?;
    Ok(map.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
}

fn check_format(found: u32, folder: &Path, name: &str) -> Result<()> {
    ensure!(found == FORMAT, "{} has format {found}, this binary reads {FORMAT}", folder.join(name).display());
    Ok(())
}

fn parse<T>(folder: &Path, name: &str, read: fn(&str) -> Result<T>) -> Result<T> {
    let path = folder.join(name);
    let text = read_text(&path)?;
    read(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// The text of a file of a run folder.
///
/// # Errors
/// The path with the cause; a file above [`MAX_FILE_BYTES`].
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = match fs::metadata(path) {
        Ok(found) => found.len(),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => bail!("{} is missing", path.display()),
        Err(cause) => return Err(cause).with_context(|| format!("cannot read {}", path.display())),
    };
    ensure!(bytes <= MAX_FILE_BYTES, "{} has {bytes} bytes, at most {MAX_FILE_BYTES} are read", path.display());
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_str(&read_text(path)?).with_context(|| format!("{} is damaged", path.display()))
}
