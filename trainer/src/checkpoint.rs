//! Checkpoints: a folder that appears whole or not at all. Arrays and a small state in; the same bits out, or the name of what is damaged.
//!
//! `model.safetensors` holds the weights by name, `learner.safetensors` what else the learner changes (moments, targets), `replay.bin` stored experience,
//! `state.json` counters, random-number states, lanes and scaling, `config.toml` the resolved configuration, `manifest.json` a BLAKE3 hash of every other
//! file. Everything is written to a temporary folder, flushed to the disk and renamed; older checkpoints go only after the new one was read back.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use bytemuck::cast_slice;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::TrainerError;

/// Bumped when the files change their meaning.
pub const FORMAT_VERSION: u32 = 2;
const MODEL: &str = "model.safetensors";
const BEST: &str = "best.safetensors";
const LEARNER: &str = "learner.safetensors";
const REPLAY: &str = "replay.bin";
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
    let path = folder.join(format!("{PREFIX}{step:012}"));
    let temporary = folder.join(format!(".{PREFIX}{step:012}.tmp"));
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| TrainerError::Io { path, source }
    };
    if temporary.exists() {
        fs::remove_dir_all(&temporary).map_err(io(&temporary))?;
    }
    fs::create_dir_all(&temporary).map_err(io(&temporary))?;
    let mut files: Vec<(&str, Vec<u8>)> = vec![
        (MODEL, tensors(&checkpoint.shapes, &checkpoint.parameters)),
        (LEARNER, named(&checkpoint.arrays)),
        (STATE, serde_json::to_vec_pretty(&checkpoint.state).expect("Invariant: the state is plain numbers")),
        (CONFIG, checkpoint.config.clone().into_bytes()),
    ];
    if let Some(best) = &checkpoint.best {
        files.push((BEST, tensors(&checkpoint.shapes, best)));
    }
    if let Some(replay) = &checkpoint.replay {
        files.push((REPLAY, replay.clone()));
    }
    let blake3 = files.iter().map(|(name, bytes)| ((*name).to_owned(), blake3::hash(bytes).to_hex().to_string())).collect();
    let manifest = Manifest { format_version: FORMAT_VERSION, step, shapes: checkpoint.shapes.clone(), blake3 };
    files.push((MANIFEST, serde_json::to_vec_pretty(&manifest).expect("Invariant: the manifest is plain")));
    if let Err(error) = fill(&temporary, &files) {
        // A disk that is full has no room for a half checkpoint either.
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    // Between removing and renaming the older folder of the same step is gone; the last n - 1 still stand.
    if path.exists() {
        fs::remove_dir_all(&path).map_err(io(&path))?;
    }
    fs::rename(&temporary, &path).map_err(io(&path))?;
    sync_folder(folder)?;
    Ok(path)
}

fn fill(folder: &Path, files: &[(&str, Vec<u8>)]) -> Result<(), TrainerError> {
    for (name, bytes) in files {
        let path = folder.join(name);
        let written = fs::File::create(&path).and_then(|mut out| out.write_all(bytes).and_then(|()| out.sync_all()));
        written.map_err(|source| TrainerError::Io { path, source })?;
    }
    sync_folder(folder)
}

/// Reads and verifies one checkpoint folder.
///
/// # Errors
/// [`TrainerError::NoCheckpoint`], or [`TrainerError::DamagedCheckpoint`] with the file, what was found and what was expected.
pub fn read<S: for<'a> Deserialize<'a>>(path: &Path) -> Result<Checkpoint<S>, TrainerError> {
    let manifest_path = path.join(MANIFEST);
    if !manifest_path.is_file() {
        return Err(TrainerError::NoCheckpoint { path: path.to_path_buf() });
    }
    let damaged = |name: &str, problem: String| TrainerError::DamagedCheckpoint { path: path.join(name), problem };
    let bytes = fs::read(&manifest_path).map_err(|source| TrainerError::Io { path: manifest_path.clone(), source })?;
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| damaged(MANIFEST, format!("not a manifest: {e}")))?;
    if manifest.format_version != FORMAT_VERSION {
        return Err(damaged(MANIFEST, format!("format_version was {}, this build reads {FORMAT_VERSION}", manifest.format_version)));
    }
    let file = |name: &'static str| -> Result<Vec<u8>, TrainerError> {
        let expected = manifest.blake3.get(name).ok_or_else(|| damaged(MANIFEST, format!("it names no {name}")))?;
        let bytes = fs::read(path.join(name)).map_err(|source| TrainerError::Io { path: path.join(name), source })?;
        let found = blake3::hash(&bytes).to_hex().to_string();
        if &found != expected {
            return Err(damaged(name, format!("hash was {found}, the manifest expects {expected}: the file is damaged")));
        }
        Ok(bytes)
    };
    let values = |name: &'static str| -> Result<Vec<f32>, TrainerError> {
        flat(&manifest.shapes, &file(name)?).map_err(|problem| damaged(name, problem))
    };
    let optional = |name: &str| manifest.blake3.contains_key(name);
    Ok(Checkpoint {
        parameters: values(MODEL)?,
        best: if optional(BEST) { Some(values(BEST)?) } else { None },
        arrays: read_named(&file(LEARNER)?).map_err(|problem| damaged(LEARNER, problem))?,
        replay: if optional(REPLAY) { Some(file(REPLAY)?) } else { None },
        state: serde_json::from_slice(&file(STATE)?).map_err(|e| damaged(STATE, e.to_string()))?,
        config: String::from_utf8(file(CONFIG)?).map_err(|e| damaged(CONFIG, e.to_string()))?,
        shapes: manifest.shapes,
    })
}

/// The newest checkpoint under `folder`, by step.
///
/// # Errors
/// [`TrainerError::NoCheckpoint`] when there is none.
pub fn latest(folder: &Path) -> Result<PathBuf, TrainerError> {
    list(folder)?.pop().ok_or_else(|| TrainerError::NoCheckpoint { path: folder.to_path_buf() })
}

/// Removes all but the newest `keep` checkpoints. Call it after the newest was written.
///
/// # Errors
/// [`TrainerError::Io`] with the folder that could not go.
pub fn retain(folder: &Path, keep: usize) -> Result<(), TrainerError> {
    let all = list(folder)?;
    for old in &all[..all.len().saturating_sub(keep)] {
        fs::remove_dir_all(old).map_err(|source| TrainerError::Io { path: old.clone(), source })?;
    }
    Ok(())
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

fn sync_folder(path: &Path) -> Result<(), TrainerError> {
    fs::File::open(path).and_then(|f| f.sync_all()).map_err(|source| TrainerError::Io { path: path.to_path_buf(), source })
}

/// Reads every file of a checkpoint back and compares its hash, without decoding it.
///
/// # Errors
/// As [`read`].
pub fn verify(path: &Path) -> Result<(), TrainerError> {
    let damaged = |name: &str, problem: String| TrainerError::DamagedCheckpoint { path: path.join(name), problem };
    let open = |name: &str| fs::read(path.join(name)).map_err(|source| TrainerError::Io { path: path.join(name), source });
    let manifest: Manifest = serde_json::from_slice(&open(MANIFEST)?).map_err(|e| damaged(MANIFEST, format!("not a manifest: {e}")))?;
    for (name, expected) in &manifest.blake3 {
        let found = blake3::hash(&open(name)?).to_hex().to_string();
        if &found != expected {
            return Err(damaged(name, format!("hash was {found}, the manifest expects {expected}: the file is damaged")));
        }
    }
    Ok(())
}

/// A flat array under the names and shapes of its parts as one safetensors file.
fn tensors(shapes: &[ParameterShape], values: &[f32]) -> Vec<u8> {
    let mut rest = values;
    let views = shapes.iter().map(|shape| {
        let (own, others) = rest.split_at(shape.shape.iter().product());
        rest = others;
        (shape.name.as_str(), view(own, shape.shape.clone()))
    });
    safetensors::serialize(views.collect::<Vec<_>>(), None).expect("Invariant: names and views are valid")
}

fn named(arrays: &BTreeMap<String, Vec<f32>>) -> Vec<u8> {
    let views = arrays.iter().map(|(name, values)| (name.as_str(), view(values, vec![values.len()])));
    safetensors::serialize(views.collect::<Vec<_>>(), None).expect("Invariant: names and views are valid")
}

fn view(values: &[f32], shape: Vec<usize>) -> TensorView<'_> {
    TensorView::new(Dtype::F32, shape, cast_slice(values)).expect("Invariant: shape and bytes agree")
}

fn flat(shapes: &[ParameterShape], bytes: &[u8]) -> Result<Vec<f32>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut values = Vec::new();
    for ParameterShape { name, shape } in shapes {
        let tensor = file.tensor(name).map_err(|e| format!("{name}: {e}"))?;
        if tensor.shape() != shape {
            return Err(format!("{name} was {:?}, expected {shape:?}", tensor.shape()));
        }
        values.extend(floats(name, &tensor)?);
    }
    Ok(values)
}

fn read_named(bytes: &[u8]) -> Result<BTreeMap<String, Vec<f32>>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    file.iter().map(|(name, tensor)| Ok((name.to_owned(), floats(name, &tensor)?))).collect()
}

fn floats(name: &str, tensor: &TensorView<'_>) -> Result<Vec<f32>, String> {
    if tensor.dtype() != Dtype::F32 {
        return Err(format!("{name} was {:?}, expected F32", tensor.dtype()));
    }
    Ok(tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint<Vec<f64>> {
        Checkpoint {
            shapes: vec![
                ParameterShape { name: "b".into(), shape: vec![2] },
                ParameterShape { name: "a.weight".into(), shape: vec![1, 3] },
            ],
            parameters: vec![1.0, -0.0, f32::MIN_POSITIVE, 3.5, -4.25],
            best: Some(vec![0.0; 5]),
            arrays: BTreeMap::from([("adam.exp_avg".into(), vec![0.1; 5]), ("target".into(), vec![])]),
            replay: Some(vec![1, 2, 3]),
            state: vec![0.1, 1.0 / 3.0],
            config: "seed = 1\n".into(),
        }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), 3, &sample()).unwrap();
        assert_eq!(sample(), read(&path).unwrap());
        write(folder.path(), 12, &sample()).unwrap();
        assert!(latest(folder.path()).unwrap().ends_with("step-000000000012"));
        retain(folder.path(), 1).unwrap();
        assert_eq!(1, list(folder.path()).unwrap().len());
    }

    #[test]
    fn every_damaged_byte_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), 1, &sample()).unwrap();
        for name in [MODEL, LEARNER, REPLAY, STATE, CONFIG, BEST] {
            let file = path.join(name);
            let good = fs::read(&file).unwrap();
            for at in (0..good.len()).step_by(1 + good.len() / 16) {
                let mut bad = good.clone();
                bad[at] ^= 1;
                fs::write(&file, &bad).unwrap();
                let error = read::<Vec<f64>>(&path).unwrap_err().to_string();
                assert!(error.contains(name), "{error}");
                assert_eq!(error, verify(&path).unwrap_err().to_string());
            }
            fs::write(&file, &good).unwrap();
        }
        fs::write(path.join(MANIFEST), b"{").unwrap();
        assert!(read::<Vec<f64>>(&path).unwrap_err().to_string().contains(MANIFEST));
        assert!(matches!(read::<Vec<f64>>(folder.path()), Err(TrainerError::NoCheckpoint { .. })));
    }

    #[test]
    fn an_unwritable_folder_is_named_and_leaves_the_old_state() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("not-a-folder");
        fs::write(&file, b"x").unwrap();
        assert!(write(&file, 1, &sample()).unwrap_err().to_string().contains("not-a-folder"));
    }
}
