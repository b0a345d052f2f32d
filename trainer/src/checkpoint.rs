//! Checkpoints: a folder that appears whole or not at all. Arrays and a small state in; the same bits out, or the name of what is damaged.
//!
//! `model.safetensors` holds the weights by name, `learner.safetensors` what else the learner changes (moments, targets), `replay.bin` stored experience (each
//! in shards where it is large), `state.json` counters, random-number states, lanes and scaling, `config.toml` the resolved configuration, `manifest.json` a BLAKE3 hash of every other
//! file. Everything is written to a temporary folder, flushed to the disk and renamed; older checkpoints go only after the new one was read back.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::TrainerError;

mod disk;
mod shards;

pub use disk::{Disk, RealDisk};
pub use shards::SHARD_BYTES;
use shards::{Array, Named, arrays_of, arrays_to_files, blob_to_files, files_of};

/// Bumped when the files change their meaning.
pub const FORMAT_VERSION: u32 = 3;
const MODEL: &str = "model";
const BEST: &str = "best";
const LEARNER: &str = "learner";
const REPLAY: &str = "replay";
const TENSORS: &str = "safetensors";
const BLOB: &str = "bin";
const STATE: &str = "state.json";
const CONFIG: &str = "config.toml";
const MANIFEST: &str = "manifest.json";
const PREFIX: &str = "step-";

/// Name and shape of one parameter, in module order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterShape {
    /// Dotted path.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// Everything a checkpoint holds; `S` is the small state.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint<S> {
    /// Names and shapes of `parameters`, in order.
    pub shapes: Vec<ParameterShape>,
    /// Weights.
    pub parameters: Vec<f32>,
    /// Weights that did best on the validation part so far.
    pub best: Option<Vec<f32>>,
    /// What else the learner changes, by name.
    pub arrays: BTreeMap<String, Vec<f32>>,
    /// Stored experience, where it is saved.
    pub replay: Option<Vec<u8>>,
    /// Counters, random-number states, lanes.
    pub state: S,
    /// The resolved configuration as TOML.
    pub config: String,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format_version: u32,
    step: u64,
    shapes: Vec<ParameterShape>,
    blake3: BTreeMap<String, String>,
}

/// Writes `<folder>/step-<n>`; returns its path.
///
/// # Errors
/// [`TrainerError::Io`] with the file; what was there before is untouched.
pub fn write<S: Serialize>(folder: &Path, step: u64, checkpoint: &Checkpoint<S>) -> Result<PathBuf, TrainerError> {
    write_on(&RealDisk, folder, step, checkpoint, SHARD_BYTES)
}

/// As [`write`], on a given disk and with shards of given size.
///
/// # Errors
/// As [`write`].
pub fn write_on<S: Serialize>(
    disk: &dyn Disk,
    folder: &Path,
    step: u64,
    checkpoint: &Checkpoint<S>,
    shard_bytes: usize,
) -> Result<PathBuf, TrainerError> {
    let Checkpoint { shapes, parameters, best, arrays, replay, state, config } = checkpoint;
    let mut files = arrays_to_files(MODEL, &named(shapes, parameters), shard_bytes);
    let lens: Vec<[usize; 1]> = arrays.values().map(|values| [values.len()]).collect();
    let others: Vec<Array<'_>> = arrays.iter().zip(&lens).map(|((name, values), shape)| Array { name, shape, values }).collect();
    files.extend(arrays_to_files(LEARNER, &others, shard_bytes));
    if let Some(best) = best {
        files.extend(arrays_to_files(BEST, &named(shapes, best), shard_bytes));
    }
    if let Some(replay) = replay {
        files.extend(blob_to_files(REPLAY, replay, shard_bytes));
    }
    files.push((STATE.into(), serde_json::to_vec_pretty(state).expect("Invariant: the state is plain numbers")));
    files.push((CONFIG.into(), config.clone().into_bytes()));
    let blake3 = files.iter().map(|(name, bytes)| (name.clone(), blake3::hash(bytes).to_hex().to_string())).collect();
    let manifest = Manifest { format_version: FORMAT_VERSION, step, shapes: shapes.clone(), blake3 };
    files.push((MANIFEST.into(), serde_json::to_vec_pretty(&manifest).expect("Invariant: the manifest is plain")));
    disk::place(disk, folder, &format!("{PREFIX}{step:012}"), &files)
}

/// A flat array as the arrays of its parts.
fn named<'a>(shapes: &'a [ParameterShape], values: &'a [f32]) -> Vec<Array<'a>> {
    let mut rest = values;
    let part = |shape: &'a ParameterShape| {
        let (own, others) = rest.split_at(shape.shape.iter().product());
        rest = others;
        Array { name: &shape.name, shape: &shape.shape, values: own }
    };
    shapes.iter().map(part).collect()
}

/// One checkpoint folder and what it says of itself.
struct Opened<'a> {
    path: &'a Path,
    manifest: Manifest,
}

impl<'a> Opened<'a> {
    fn at(path: &'a Path) -> Result<Self, TrainerError> {
        let manifest_path = path.join(MANIFEST);
        if !manifest_path.is_file() {
            return Err(TrainerError::NoCheckpoint { path: path.to_path_buf() });
        }
        let bytes = fs::read(&manifest_path).map_err(|source| TrainerError::Io { path: manifest_path.clone(), source })?;
        let damaged = |problem: String| TrainerError::DamagedCheckpoint { path: manifest_path.clone(), problem };
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| damaged(format!("not a manifest: {e}")))?;
        if manifest.format_version != FORMAT_VERSION {
            return Err(damaged(format!("format_version was {}, this build reads {FORMAT_VERSION}", manifest.format_version)));
        }
        Ok(Self { path, manifest })
    }

    fn damaged(&self, name: &str, problem: String) -> TrainerError {
        TrainerError::DamagedCheckpoint { path: self.path.join(name), problem }
    }

    /// A file's bytes, which are those that were written.
    fn file(&self, name: &str) -> Result<Vec<u8>, TrainerError> {
        let expected = self.manifest.blake3.get(name).ok_or_else(|| self.damaged(MANIFEST, format!("it names no {name}")))?;
        let bytes = fs::read(self.path.join(name)).map_err(|source| TrainerError::Io { path: self.path.join(name), source })?;
        let found = blake3::hash(&bytes).to_hex().to_string();
        if &found != expected {
            return Err(self.damaged(name, format!("hash was {found}, the manifest expects {expected}: the file is damaged")));
        }
        Ok(bytes)
    }

    fn shards(&self, stem: &str, extension: &str) -> Vec<String> {
        files_of(stem, extension, self.manifest.blake3.keys().map(String::as_str))
    }

    fn arrays(&self, stem: &str) -> Result<Named, TrainerError> {
        let mut all = BTreeMap::new();
        for name in self.shards(stem, TENSORS) {
            all.extend(arrays_of(&self.file(&name)?).map_err(|problem| self.damaged(&name, problem))?);
        }
        Ok(all)
    }

    /// The parts of a flat array, one after the other.
    fn flat(&self, stem: &str) -> Result<Option<Vec<f32>>, TrainerError> {
        if self.shards(stem, TENSORS).is_empty() {
            return Ok(None);
        }
        let mut arrays = self.arrays(stem)?;
        let mut values = Vec::new();
        for ParameterShape { name, shape } in &self.manifest.shapes {
            let file = format!("{stem}.{TENSORS}");
            let (found, own) = arrays.remove(name).ok_or_else(|| self.damaged(&file, format!("it has no {name}")))?;
            if &found != shape {
                return Err(self.damaged(&file, format!("{name} was {found:?}, expected {shape:?}")));
            }
            values.extend(own);
        }
        Ok(Some(values))
    }

    fn blob(&self, stem: &str) -> Result<Option<Vec<u8>>, TrainerError> {
        let shards = self.shards(stem, BLOB);
        let pieces = shards.iter().map(|name| self.file(name)).collect::<Result<Vec<_>, _>>()?;
        Ok((!shards.is_empty()).then(|| pieces.concat()))
    }
}

/// Reads and verifies one checkpoint folder.
///
/// # Errors
/// [`TrainerError::NoCheckpoint`], or [`TrainerError::DamagedCheckpoint`] with the file, what was found and what was expected.
pub fn read<S: for<'a> Deserialize<'a>>(path: &Path) -> Result<Checkpoint<S>, TrainerError> {
    let opened = Opened::at(path)?;
    Ok(Checkpoint {
        parameters: opened.flat(MODEL)?.ok_or_else(|| opened.damaged(MANIFEST, format!("it names no {MODEL}.{TENSORS}")))?,
        best: opened.flat(BEST)?,
        arrays: opened.arrays(LEARNER)?.into_iter().map(|(name, (_, values))| (name, values)).collect(),
        replay: opened.blob(REPLAY)?,
        state: serde_json::from_slice(&opened.file(STATE)?).map_err(|e| opened.damaged(STATE, e.to_string()))?,
        config: String::from_utf8(opened.file(CONFIG)?).map_err(|e| opened.damaged(CONFIG, e.to_string()))?,
        shapes: opened.manifest.shapes,
    })
}

/// The newest checkpoint under `folder`, by step.
///
/// # Errors
/// [`TrainerError::NoCheckpoint`] when there is none.
pub fn latest(folder: &Path) -> Result<PathBuf, TrainerError> {
    list(folder)?.pop().ok_or_else(|| TrainerError::NoCheckpoint { path: folder.to_path_buf() })
}

/// Removes old checkpoints: all but the newest `keep`, and of these, from the oldest on, what is beyond `keep_bytes` together. The newest always stays. Call
/// it after the newest was verified.
///
/// # Errors
/// [`TrainerError::Io`] with the folder that could not go.
pub fn retain(folder: &Path, keep: usize, keep_bytes: u64) -> Result<(), TrainerError> {
    let mut bytes = 0;
    for (age, path) in list(folder)?.into_iter().rev().enumerate() {
        bytes += folder_bytes(&path)?;
        if age > 0 && (age >= keep || bytes > keep_bytes) {
            fs::remove_dir_all(&path).map_err(|source| TrainerError::Io { path: path.clone(), source })?;
        }
    }
    Ok(())
}

fn folder_bytes(path: &Path) -> Result<u64, TrainerError> {
    let io = |source| TrainerError::Io { path: path.to_path_buf(), source };
    fs::read_dir(path).map_err(io)?.map(|entry| Ok(entry.map_err(io)?.metadata().map_err(io)?.len())).sum()
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, TrainerError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(TrainerError::Io { path: folder.to_path_buf(), source }),
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(PREFIX)) && path.join(MANIFEST).is_file())
        .collect();
    found.sort();
    Ok(found)
}

/// Reads every file of a checkpoint back and compares its hash, without decoding it.
///
/// # Errors
/// As [`read`].
pub fn verify(path: &Path) -> Result<(), TrainerError> {
    let opened = Opened::at(path)?;
    opened.manifest.blake3.keys().try_for_each(|name| opened.file(name).map(drop))
}

#[cfg(test)]
mod tests;
