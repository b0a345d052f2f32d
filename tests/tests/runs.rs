//! Small runs that several walks look at: made once a test process, in the target folder, from bars of a synthetic market in a CSV file.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use grandmodel_cli::report::MetricsRecord;
use tempfile::TempDir;

use crate::process::grandmodel;

/// Bars of the file: the first ready row needs 1,494 of them, so about 1,500 can be learned from and tested on.
pub const NUM_BARS: usize = 3_000;
/// Updates of a run.
pub const NUM_UPDATES: u64 = 3;
/// Steps of all lanes of one update.
pub const STEPS_PER_UPDATE: u64 = 256;

/// A run that finished.
pub struct SmallRun {
    /// Its run folder.
    pub folder: PathBuf,
    /// What it printed.
    pub stdout: String,
}

impl SmallRun {
    /// A file of the run folder.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let path = self.folder.join(name);
        fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// A file of the run folder as text.
    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).expect("UTF-8")
    }

    /// Folder of a checkpoint.
    pub fn checkpoint(&self, update: u64) -> PathBuf {
        checkpoint_in(&self.folder, update)
    }

    /// Lines of `metrics.jsonl` without what the clock decides.
    pub fn metrics(&self) -> Vec<MetricsRecord> {
        let records = MetricsRecord::from_lines(&self.text("metrics.jsonl")).expect("records");
        records.into_iter().map(|record| MetricsRecord { time: Default::default(), ..record }).collect()
    }
}

/// Emptied at the start and not at the end: what a failed test looked at can be looked at.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("small-runs");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for runs");
    folder
});

/// Bars of the regime market as a CSV file.
pub static BARS: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = FOLDER.join("bars.csv");
    let bars = NUM_BARS.to_string();
    grandmodel(&["data", "synth", "regime", path.to_str().expect("UTF-8"), "--bars", &bars, "--seed", "3"]).expect_success("data synth");
    path
});

/// Seed 1 on one thread, on two, on two once more, and seed 2.
pub static ONE_THREAD: LazyLock<SmallRun> = LazyLock::new(|| train("one", 1, 1));
pub static TWO_THREADS: LazyLock<SmallRun> = LazyLock::new(|| train("two", 1, 2));
pub static ANOTHER_SEED: LazyLock<SmallRun> = LazyLock::new(|| train("seed", 2, 2));

/// The configuration of a small run.
pub fn config(runs: &Path, seed: u64, threads: u32) -> String {
    format!(
        r#"
name = "small"
seed = {seed}
runs = "{runs}"
[data]
path = "{bars}"
[costs]
commission_bp = 2.0
[env]
initial_cash = 100000.0
episode_len = 64
[decision]
consensus_passes = 4
[model]
preset = "tiny"
device = "cpu"
[ppo]
total_timesteps = {steps}
num_envs = 8
num_steps = 32
update_epochs = 2
num_minibatches = 4
grad_block = 16
[train]
eval_every = 512
checkpoint_every = 256
log_every = 256
keep_checkpoints = 8
threads = {threads}
"#,
        runs = runs.display(),
        bars = BARS.display(),
        steps = NUM_UPDATES * STEPS_PER_UPDATE,
    )
}

/// A temporary folder with a configuration in it.
pub fn fresh(seed: u64, threads: u32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("small.toml");
    fs::write(&path, config(&folder.path().join("runs"), seed, threads)).expect("written");
    (folder, path)
}

fn train(name: &str, seed: u64, threads: u32) -> SmallRun {
    let folder = FOLDER.join(name);
    fs::create_dir_all(&folder).expect("created");
    let config_path = folder.join("small.toml");
    fs::write(&config_path, config(&folder.join("runs"), seed, threads)).expect("written");
    let stdout = grandmodel(&["train", config_path.to_str().expect("UTF-8")]).expect_success("train");
    SmallRun { folder: only_run(&folder.join("runs")), stdout }
}

/// Folder of the checkpoint after so many updates.
pub fn checkpoint_in(run: &Path, update: u64) -> PathBuf {
    run.join(format!("checkpoints/step-{:012}", update * STEPS_PER_UPDATE))
}

/// The single run of a folder of runs.
pub fn only_run(runs: &Path) -> PathBuf {
    let found = entries(runs);
    assert_eq!(1, found.len(), "{found:?}");
    found[0].clone()
}

/// What lies in a folder, sorted; nothing where there is none.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// Copies a folder with everything in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("created");
    for path in entries(from) {
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copied");
        }
    }
}
