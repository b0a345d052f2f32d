//! The folder of one run: results in, files out. It appears whole, with its configuration in it, or not at all; every file but the two
//! that grow (`metrics.jsonl` and the event file) is replaced in one step. It decides nothing about what the files say, and it reads no clock.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use crate::report::{CandlesFile, EquityTable, Manifest, MetricsRecord, StatsFile, TradeRow, read_text};

/// Most runs of one configuration and seed in one folder of runs.
pub const MAX_RUNS: u32 = 99_999;
/// Longest name of a configuration in the name of a folder.
pub const MAX_NAME_CHARS: usize = 64;

/// A run folder on disk.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Creates `root/<config_name>-s<seed>-<counter>` with `config.toml` and `manifest.json` in it. Until both are on disk nothing with
    /// that name exists; after an error nothing is left behind.
    ///
    /// # Errors
    /// The path that could not be written, with the cause.
    pub fn create(root: &Path, config: &str, manifest: &Manifest) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
        let stem = format!("{}-s{}", file_safe(&manifest.config_name), manifest.seed);
        let hidden = root.join(format!(".{stem}-{}.partial", std::process::id()));
        let outcome = Self::fill(&hidden, config, manifest).and_then(|()| Self::claim(root, &stem, &hidden));
        if outcome.is_err() {
            let _ = fs::remove_dir_all(&hidden);
        }
        outcome
    }

    fn fill(hidden: &Path, config: &str, manifest: &Manifest) -> Result<()> {
        // what a killed process of the same number left
        let _ = fs::remove_dir_all(hidden);
        fs::create_dir(hidden).with_context(|| format!("cannot create {}", hidden.display()))?;
        write_whole(&hidden.join("config.toml"), |out| Ok(out.write_all(config.as_bytes())?))?;
        write_whole(&hidden.join("manifest.json"), |out| write_json(out, manifest))
    }

    fn claim(root: &Path, stem: &str, hidden: &Path) -> Result<Self> {
        for counter in 1..=MAX_RUNS {
            let path = root.join(format!("{stem}-{counter:03}"));
            if path.exists() {
                continue;
            }
            match fs::rename(hidden, &path) {
                Ok(()) => return Ok(Self { path }),
                // another process took the number between the question and the answer
                Err(_) if path.exists() => {}
                Err(cause) => return Err(cause).with_context(|| format!("cannot create {}", path.display())),
            }
        }
        bail!("{} already holds {MAX_RUNS} runs named {stem}", root.display())
    }

    /// Opens a folder that [`RunFolder::create`] made, for a run that resumes.
    ///
    /// # Errors
    /// What is not a run folder.
    pub fn open(path: &Path) -> Result<Self> {
        ensure!(path.is_dir(), "{} is not a folder", path.display());
        ensure!(path.join("manifest.json").is_file(), "{} is not a run folder: manifest.json is missing", path.display());
        Ok(Self { path: path.to_path_buf() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// Folder of the checkpoints; it exists once the first one was written.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Removes the folder of a run that failed before its first result, so that nothing half-written is left. A folder that holds
    /// metrics or checkpoints stays.
    ///
    /// # Errors
    /// The path that could not be removed.
    pub fn discard_if_unused(self) -> Result<bool> {
        let used = |name: &str| fs::metadata(self.path.join(name)).is_ok_and(|found| found.is_dir() || found.len() > 0);
        if ["metrics.jsonl", "checkpoints", "stats.json", "equity.csv"].into_iter().any(used) {
            return Ok(false);
        }
        fs::remove_dir_all(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))?;
        Ok(true)
    }

    /// Opens `metrics.jsonl` for a run that has taken `step` steps: lines of later steps, which a resumed run will write again, are
    /// dropped, and so is a line that was cut off.
    ///
    /// # Errors
    /// The path with the cause; a line that is not a record.
    pub fn metrics(&self, step: u64) -> Result<MetricsWriter> {
        let path = self.path.join("metrics.jsonl");
        if step > 0 && path.exists() {
            let text = read_text(&path)?;
            let records = MetricsRecord::from_lines(&text).with_context(|| format!("{} is damaged", path.display()))?;
            let kept: usize =
                text.split_inclusive('\n').zip(&records).take_while(|(_, record)| record.step <= step).map(|(line, _)| line.len()).sum();
            write_whole(&path, |out| Ok(out.write_all(&text.as_bytes()[..kept])?))?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(step > 0)
            .truncate(step == 0)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        Ok(MetricsWriter { file, path, line: Vec::new() })
    }

    /// Writes `equity.csv`.
    ///
    /// # Errors
    /// The path with the cause; curves that do not fit each other.
    pub fn write_equity(&self, table: &EquityTable) -> Result<()> {
        write_whole(&self.path.join("equity.csv"), |out| table.to_csv(out))
    }

    /// Writes `trades.csv`.
    ///
    /// # Errors
    /// The path with the cause.
    pub fn write_trades(&self, rows: &[TradeRow]) -> Result<()> {
        write_whole(&self.path.join("trades.csv"), |out| TradeRow::to_csv(rows, out))
    }

    /// Writes `candles.json`.
    ///
    /// # Errors
    /// The path with the cause.
    pub fn write_candles(&self, candles: &CandlesFile) -> Result<()> {
        // one number a line would be ten times as long
        write_whole(&self.path.join("candles.json"), |out| Ok(serde_json::to_writer(&mut *out, candles)?))
    }

    /// Writes `stats.json`.
    ///
    /// # Errors
    /// The path with the cause; a required figure that is not finite.
    pub fn write_stats(&self, stats: &StatsFile) -> Result<()> {
        let path = self.path.join("stats.json");
        let text = serde_json::to_string(stats)?;
        // JSON has no NaN: serde writes null, which does not read back where a number is required
        serde_json::from_str::<StatsFile>(&text).with_context(|| format!("{}: a figure is not a finite number", path.display()))?;
        write_whole(&path, |out| write_json(out, stats))
    }
}

/// Appends lines to `metrics.jsonl`; each is handed to the operating system whole.
#[derive(Debug)]
pub struct MetricsWriter {
    file: File,
    path: PathBuf,
    line: Vec<u8>,
}

impl MetricsWriter {
    /// Appends one line: `{"step":..,"values":{..},"time":{..}}`, names in alphabetical order.
    ///
    /// # Errors
    /// The path with the cause, such as a full disk.
    pub fn write(&mut self, record: &MetricsRecord) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record)?;
        self.line.push(b'\n');
        self.file.write_all(&self.line).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Replaces a file in one step: all of it, or the file that was there before. The error names the file.
///
/// # Errors
/// The path with the cause.
pub fn write_whole(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let partial = path.with_file_name(format!(".{name}.partial"));
    let attempt = || -> Result<()> {
        let mut out = BufWriter::new(File::create(&partial)?);
        fill(&mut out)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        // on disk before it gets its name, or a crash could leave an empty file under it
        file.sync_all()?;
        Ok(fs::rename(&partial, path)?)
    };
    attempt().with_context(|| format!("cannot write {}", path.display())).inspect_err(|_| {
        let _ = fs::remove_file(&partial);
    })
}

fn write_json<T: serde::Serialize>(out: &mut dyn Write, value: &T) -> Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    Ok(writeln!(out)?)
}

/// A name that is a file name everywhere: letters, digits, `-`, `_` and `.`, not hidden, not too long.
fn file_safe(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.trim_start_matches('.').chars().map(safe).take(MAX_NAME_CHARS).collect();
    if name.is_empty() { "run".into() } else { name }
}

#[cfg(test)]
mod tests;
