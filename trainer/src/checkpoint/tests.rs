//! What is written is read, whatever fails on the way.

use std::{cell::Cell, io};

use super::*;

fn sample() -> Checkpoint<Vec<f64>> {
    Checkpoint {
        shapes: vec![ParameterShape { name: "b".into(), shape: vec![2] }, ParameterShape { name: "a.weight".into(), shape: vec![1, 3] }],
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
    retain(folder.path(), 1, u64::MAX).unwrap();
    assert_eq!(1, list(folder.path()).unwrap().len());
}

#[test]
fn every_damaged_byte_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), 1, &sample()).unwrap();
    for name in ["model.safetensors", "learner.safetensors", "replay.bin", STATE, CONFIG, "best.safetensors"] {
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

/// Fails at its `fails_at`-th step, by whatever name; a write that fails leaves half of its bytes.
struct Failing {
    fails_at: usize,
    steps: Cell<usize>,
}

impl Failing {
    fn step(&self) -> io::Result<()> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() == self.fails_at { Err(io::Error::other("no space left")) } else { Ok(()) }
    }
}

impl Disk for Failing {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match self.step() {
            Ok(()) => RealDisk.write(path, bytes),
            Err(error) => RealDisk.write(path, &bytes[..bytes.len() / 2]).and(Err(error)),
        }
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.step().and_then(|()| RealDisk.sync(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step().and_then(|()| RealDisk.rename(from, to))
    }
}

#[test]
fn whatever_step_fails_the_old_state_or_the_new_one_is_there() {
    let older = sample();
    let newer = Checkpoint { state: vec![7.0], ..sample() };
    for same_step in [false, true] {
        let mut fails_at = 0;
        let steps = loop {
            fails_at += 1;
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), 1, &older).unwrap();
            let disk = Failing { fails_at, steps: Cell::new(0) };
            let written = write_on(&disk, folder.path(), if same_step { 1 } else { 2 }, &newer, 40);
            let newest = read::<Vec<f64>>(&latest(folder.path()).unwrap()).unwrap();
            // Only the last step, the folder's own entry, may fail with the new state in place.
            assert!(newest == older || newest == newer, "step {fails_at}");
            assert!(written.is_err() || newest == newer, "step {fails_at}");
            let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "step {fails_at}: {left:?}");
            if written.is_ok() {
                break disk.steps.get();
            }
        };
        // Seven files written and flushed, their folder, one or two renames, the folder above.
        assert!(steps >= 17, "{steps}");
    }
}

#[test]
fn large_arrays_and_blobs_are_cut_and_put_together() {
    let folder = tempfile::tempdir().unwrap();
    // Twelve bytes a shard: "b" (8 bytes) and "a.weight" (12) do not share one.
    let path = write_on(&RealDisk, folder.path(), 1, &Checkpoint { replay: Some((0..30).collect()), ..sample() }, 12).unwrap();
    for name in ["model-00001-of-00002.safetensors", "model.safetensors.index.json", "replay-00003-of-00003.bin"] {
        assert!(path.join(name).is_file(), "{name}");
    }
    let index: serde_json::Value = serde_json::from_slice(&fs::read(path.join("model.safetensors.index.json")).unwrap()).unwrap();
    assert_eq!(index["weight_map"]["a.weight"], "model-00002-of-00002.safetensors");
    assert_eq!(index["metadata"]["total_size"], 20);
    let found = read::<Vec<f64>>(&path).unwrap();
    assert_eq!((found.parameters, found.replay), (sample().parameters, Some((0..30).collect())));
}

#[test]
fn what_is_kept_is_bounded_by_number_and_by_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let steps = |keep, bytes| {
        (1..=4).for_each(|step| drop(write(folder.path(), step, &sample()).unwrap()));
        retain(folder.path(), keep, bytes).unwrap();
        list(folder.path()).unwrap().len()
    };
    let one = {
        let path = write(folder.path(), 4, &sample()).unwrap();
        folder_bytes(&path).unwrap()
    };
    assert_eq!(3, steps(3, u64::MAX));
    assert_eq!(2, steps(3, 2 * one + one / 2));
    // Larger than all that may be kept: the newest stays.
    assert_eq!(1, steps(3, 1));
    assert!(latest(folder.path()).unwrap().ends_with("step-000000000004"));
}
