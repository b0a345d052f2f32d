//! Every bad input ends in an error that names the file, line or key, what was found and what was expected; with an exit code of 1, without a
//! panic, and without a half-written run folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{
    process::{Finished, grandmodel},
    runs::{BARS, NUM_UPDATES, TWO_THREADS, checkpoint_in, copy_folder, entries, fresh},
};

/// Rows of a small file of bars that is sound.
const SOUND: [&str; 4] = [
    "timestamp,open,high,low,close,volume",
    "2024-01-01 00:00:00,100.0,101.0,99.0,100.5,10",
    "2024-01-01 00:05:00,100.5,102.0,100.0,101.0,12",
    "2024-01-01 00:10:00,101.0,101.5,100.5,101.0,9",
];

/// A failure that says everything in `expected` and left nothing in `runs`.
fn assert_refused(what: &str, finished: &Finished, expected: &[&str], runs: &Path) {
    assert_eq!(Some(1), finished.code, "{what}: {}\n{}", finished.stdout, finished.stderr);
    assert!(!finished.stderr.contains("panicked"), "{what}: {}", finished.stderr);
    let error = finished.stderr.split_once("error: ").unwrap_or_else(|| panic!("{what}: no error is printed: {}", finished.stderr)).1;
    for part in expected {
        assert!(error.contains(part), "{what}: `{part}` is not in: {error}");
    }
    assert_eq!(Vec::<PathBuf>::new(), entries(runs), "{what} left a run folder");
}

fn train(config: &Path, settings: &[&str]) -> Finished {
    let mut arguments = vec!["train", config.to_str().expect("UTF-8")];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    grandmodel(&arguments)
}

/// A file of bars in a folder of its own.
fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("written");
    (folder, path)
}

/// [`SOUND`] with one line exchanged.
fn with_line(number: usize, line: &str) -> Vec<u8> {
    let mut lines = SOUND;
    lines[number - 1] = line;
    lines.join("\n").into_bytes()
}

#[test]
fn files_of_bars() {
    let cases: [(&str, Vec<u8>, &[&str]); 8] = [
        ("empty.csv", Vec::new(), &["empty.csv", "expected"]),
        ("binary.csv", (0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect(), &["binary.csv", "expected"]),
        (
            "no-close.csv",
            b"timestamp,open,high,low,volume\n2024-01-01 00:00:00,1,2,0.5,3\n2024-01-01 00:05:00,1,2,0.5,3\n".to_vec(),
            &["no-close.csv", "close", "volume"],
        ),
        ("nan.csv", with_line(3, "2024-01-01 00:05:00,100.5,NaN,100.0,101.0,12"), &["nan.csv", "line 3", "high"]),
        ("crossed.csv", with_line(3, "2024-01-01 00:05:00,100.5,99.0,100.0,101.0,12"), &["crossed.csv", "line 3", "99"]),
        ("negative.csv", with_line(4, "2024-01-01 00:10:00,101.0,101.5,-100.5,101.0,9"), &["negative.csv", "line 4", "-100.5"]),
        ("twice.csv", with_line(4, "2024-01-01 00:05:00,101.0,101.5,100.5,101.0,9"), &["twice.csv", "line 4"]),
        ("words.csv", with_line(4, "2024-01-01 00:10:00,101.0,dear,100.5,101.0,9"), &["words.csv", "line 4", "high", "dear"]),
    ];
    for (name, bytes, expected) in cases {
        let (_folder, path) = file(name, &bytes);
        let (run_folder, config) = fresh(1, 1);
        let refused = train(&config, &[&format!("data.path={}", path.display())]);
        assert_refused(name, &refused, expected, &run_folder.path().join("runs"));
        let inspected = grandmodel(&["data", "inspect", path.to_str().expect("UTF-8")]);
        assert_refused(name, &inspected, expected, &run_folder.path().join("runs"));
    }
}

#[test]
fn too_few_bars_say_how_many_are_needed() {
    let (_folder, path) = file("few.csv", SOUND.join("\n").as_bytes());
    let (run_folder, config) = fresh(1, 1);
    assert_refused("few", &train(&config, &[&format!("data.path={}", path.display())]), &["ready"], &run_folder.path().join("runs"));
}

#[test]
fn settings() {
    let (folder, config) = fresh(1, 1);
    let cases: [(&str, &[&str]); 10] = [
        ("ppo.gama=0.9", &["gama"]),
        ("ppo.gamma=fast", &["gamma", "fast"]),
        ("ppo.num_envs=0", &["ppo.num_envs", "0", "at least 1"]),
        ("ppo.num_minibatches=0", &["ppo.num_minibatches", "0", "at least 1"]),
        ("ppo.grad_block=7", &["ppo.grad_block", "7", "64"]),
        ("costs.commission_bp=-1.0", &["costs.commission_bp", "-1"]),
        ("env.initial_cash=nan", &["env.initial_cash", "NaN"]),
        ("data.path=nowhere.csv", &["nowhere.csv"]),
        ("name=../up", &["name", "../up"]),
        ("memory.budget=1 MiB", &["MiB"]),
    ];
    for (setting, expected) in cases {
        assert_refused(setting, &train(&config, &[setting]), expected, &folder.path().join("runs"));
    }
}

#[test]
fn configuration_files() {
    let (folder, config) = fresh(1, 1);
    let text = fs::read_to_string(&config).expect("read");
    let runs = folder.path().join("runs");
    for (what, changed, expected) in [
        ("no costs", text.replace("[costs]\ncommission_bp = 2.0\n", ""), &["cost", "commission_bp = "][..]),
        ("unknown key", text.replace("[env]", "[env]\nlevrage = 2"), &["small.toml", "levrage"]),
        ("unknown section", format!("{text}\n[pppo]\ngamma = 0.9\n"), &["small.toml", "pppo"]),
        ("wrong type", text.replace("seed = 1", "seed = \"one\""), &["small.toml", "seed", "one"]),
        ("no toml", text.replace('=', ":"), &["small.toml", "line 2"]),
    ] {
        fs::write(&config, changed).expect("written");
        assert_refused(what, &train(&config, &[]), expected, &runs);
    }
    let absent = folder.path().join("absent.toml");
    assert_refused("no file", &train(&absent, &[]), &["absent.toml"], &runs);
}

#[test]
fn places_that_cannot_be_written() {
    let (folder, config) = fresh(1, 1);
    let blocked = folder.path().join("blocked");
    fs::write(&blocked, "a file, not a folder").expect("written");
    let setting = format!("runs={}", blocked.display());
    assert_refused("runs is a file", &train(&config, &[&setting]), &["blocked"], &folder.path().join("runs"));
    assert_eq!("a file, not a folder", fs::read_to_string(&blocked).expect("read"));
}

#[test]
fn a_device_that_is_not_there() {
    let (folder, config) = fresh(1, 1);
    let finished = train(&config, &["model.device=cuda"]);
    if finished.code == Some(0) {
        println!("skipped: this machine has a CUDA device");
        return;
    }
    assert_refused("cuda", &finished, &["cuda"], &folder.path().join("runs"));
}

#[test]
fn checkpoints() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let resume = |run: &Path| grandmodel(&["train", "--resume", run.to_str().expect("UTF-8")]);
    let nothing = folder.path().join("nothing");
    assert_refused("no run folder", &resume(&nothing), &["nothing"], &nothing);

    let empty = folder.path().join("empty");
    copy_folder(&TWO_THREADS.folder, &empty);
    fs::remove_dir_all(empty.join("checkpoints")).expect("removed");
    let refused = resume(&empty);
    assert_refused("no checkpoint", &refused, &["checkpoints", "manifest.json"], &nothing);

    for name in ["model.safetensors", "learner.safetensors", "state.json", "manifest.json"] {
        let damaged = folder.path().join(format!("damaged-{name}"));
        copy_folder(&TWO_THREADS.folder, &damaged);
        let path = checkpoint_in(&damaged, NUM_UPDATES).join(name);
        let mut bytes = fs::read(&path).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xFF;
        fs::write(&path, bytes).expect("written");
        assert_refused(name, &resume(&damaged), &[name], &nothing);
    }
}

#[test]
fn a_feature_table_of_another_version() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = folder.path().join("cache");
    let import = || grandmodel(&["data", "import", BARS.to_str().expect("UTF-8"), "--cache", cache.to_str().expect("UTF-8")]);
    import().expect_success("data import");
    let table = entries(&cache).pop().expect("a table");
    let sound = fs::read(&table).expect("read");
    // Bytes 8 to 11 hold the version of the layout; the last byte belongs to a column.
    for (what, at, expected) in [("version", 8, "version"), ("damaged", sound.len() - 1, "hash")] {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x40;
        fs::write(&table, bytes).expect("written");
        let name = table.file_name().expect("a name").to_string_lossy().into_owned();
        assert_refused(what, &import(), &[&name, expected, "expected"], &folder.path().join("runs"));
    }
    fs::write(&table, sound).expect("written");
    import().expect_success("data import of the mended table");
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full() {
    use crate::process::grandmodel_on_a_full_disk;

    let (folder, config) = fresh(1, 1);
    let runs = folder.path().join("runs");
    let arguments = ["train", config.to_str().expect("UTF-8")];
    // The resolved configuration does not fit: nothing may be left.
    assert_refused("full at once", &grandmodel_on_a_full_disk(&arguments, 1), &["config.toml"], &runs);

    // A checkpoint does not fit: metrics of the update stay, and the error says where; no half checkpoint may count as one.
    let finished = grandmodel_on_a_full_disk(&arguments, 64);
    assert_eq!(Some(1), finished.code, "{}\n{}", finished.stdout, finished.stderr);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    assert!(finished.stderr.contains("checkpoints") && finished.stderr.contains("safetensors"), "{}", finished.stderr);
    for run in entries(&runs) {
        let whole =
            |path: &&PathBuf| path.join("manifest.json").is_file() && !path.file_name().expect("a name").to_string_lossy().starts_with('.');
        assert_eq!(0, entries(&run.join("checkpoints")).iter().filter(whole).count());
    }
}
