//! The folder under errors: nothing half-written, every message names its file.

use super::*;
use crate::report::{FORMAT, Machine, PathEquity, Strategy};

fn manifest() -> Manifest {
    Manifest {
        format: FORMAT,
        config_name: "quick/start".into(),
        seed: 7,
        git_hash: None,
        version: "0.1.0".into(),
        machine: Machine::default(),
        started: "2026-01-01T00:00:00Z".into(),
    }
}

fn record(step: u64) -> MetricsRecord {
    let values = [("losses/entropy".to_string(), 1.0 / step as f64), ("charts/episodic_return".to_string(), 0.25)].into();
    MetricsRecord { step, values, time: [("charts/SPS".to_string(), 1000.0)].into() }
}

fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn runs_are_numbered_and_appear_whole() {
    let root = tempfile::tempdir().unwrap();
    let first = RunFolder::create(root.path(), "a = 1\n", &manifest()).unwrap();
    let second = RunFolder::create(root.path(), "a = 1\n", &manifest()).unwrap();
    assert_eq!((first.name().as_str(), second.name().as_str()), ("quick_start-s7-001", "quick_start-s7-002"));
    assert_eq!(names(root.path()), ["quick_start-s7-001", "quick_start-s7-002"], "no hidden folder is left");
    assert_eq!(names(first.path()), ["config.toml", "manifest.json"]);
    assert_eq!(fs::read_to_string(first.path().join("config.toml")).unwrap(), "a = 1\n");
}

#[test]
fn a_root_that_cannot_be_written_is_named() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("runs");
    fs::write(&file, "not a folder").unwrap();
    let error = format!("{:#}", RunFolder::create(&file, "", &manifest()).unwrap_err());
    assert!(error.contains("runs"), "{error}");
    assert_eq!(names(root.path()), ["runs"], "nothing is left behind");
}

#[test]
fn an_unused_folder_goes_and_a_used_one_stays() {
    let root = tempfile::tempdir().unwrap();
    let unused = RunFolder::create(root.path(), "", &manifest()).unwrap();
    let used = RunFolder::create(root.path(), "", &manifest()).unwrap();
    used.metrics(0).unwrap().write(&record(1)).unwrap();
    let path = used.path().to_path_buf();
    assert!(unused.discard_if_unused().unwrap());
    assert!(!used.discard_if_unused().unwrap());
    assert_eq!(names(root.path()), [path.file_name().unwrap().to_str().unwrap()]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_with_path_and_cause() {
    let root = tempfile::tempdir().unwrap();
    let run = RunFolder::create(root.path(), "", &manifest()).unwrap();
    std::os::unix::fs::symlink("/dev/full", run.path().join("metrics.jsonl")).unwrap();
    let error = format!("{:#}", run.metrics(0).unwrap().write(&record(1)).unwrap_err());
    assert!(error.contains("metrics.jsonl") && error.contains("No space left"), "{error}");

    // the partial file of an atomic write
    fs::write(run.path().join("trades.csv"), "before").unwrap();
    std::os::unix::fs::symlink("/dev/full", run.path().join(".trades.csv.partial")).unwrap();
    let error = format!("{:#}", run.write_trades(&[]).unwrap_err());
    assert!(error.contains("trades.csv") && error.contains("No space left"), "{error}");
    assert_eq!(fs::read_to_string(run.path().join("trades.csv")).unwrap(), "before", "the old file is whole");
    assert!(!run.path().join(".trades.csv.partial").exists());
}

#[test]
fn metrics_resume_where_the_checkpoint_was() {
    let root = tempfile::tempdir().unwrap();
    let run = RunFolder::create(root.path(), "", &manifest()).unwrap();
    let path = run.path().join("metrics.jsonl");
    let write = |from: u64, steps: &[u64]| {
        let mut metrics = run.metrics(from).unwrap();
        steps.iter().for_each(|&step| metrics.write(&record(step)).unwrap());
    };
    write(0, &[10, 20, 30]);
    let whole = fs::read_to_string(&path).unwrap();
    assert!(
        whole.starts_with(r#"{"step":10,"values":{"charts/episodic_return":0.25,"losses/entropy":0.1},"time":{"charts/SPS":1000.0}}"#),
        "{whole}"
    );
    fs::write(&path, format!("{whole}{{\"step\":40,\"val")).unwrap(); // killed in the middle of a line
    write(20, &[30]);
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    fs::write(&path, "no\n").unwrap();
    let error = format!("{:#}", run.metrics(20).unwrap_err());
    assert!(error.contains("metrics.jsonl") && error.contains("line 1"), "{error}");
}

#[test]
fn values_that_are_not_finite_survive_as_null() {
    let root = tempfile::tempdir().unwrap();
    let run = RunFolder::create(root.path(), "", &manifest()).unwrap();
    let diverged = MetricsRecord { step: 1, values: [("losses/value_loss".to_string(), f64::NAN)].into(), ..MetricsRecord::default() };
    run.metrics(0).unwrap().write(&diverged).unwrap();
    let text = fs::read_to_string(run.path().join("metrics.jsonl")).unwrap();
    assert!(text.contains("null"), "{text}");
    assert!(MetricsRecord::from_lines(&text).unwrap()[0].values["losses/value_loss"].is_nan());

    let mut stats = StatsFile { format: FORMAT, ..StatsFile::default() };
    stats.agent.total_return = f64::NAN;
    let error = format!("{:#}", run.write_stats(&stats).unwrap_err());
    assert!(error.contains("stats.json") && error.contains("not a finite number"), "{error}");
}

#[test]
fn tables_come_back_as_they_went() {
    let root = tempfile::tempdir().unwrap();
    let run = RunFolder::create(root.path(), "", &manifest()).unwrap();
    let mut path =
        PathEquity::new(3, 100_000_000_000, vec![1, 2], vec![0, -5], vec![0.0, -0.5], vec![99_999_999_999, 100_000_500_000]).unwrap();
    path.add(Strategy::Flat, vec![100_000_000_000]).unwrap();
    assert!(path.add(Strategy::Flat, vec![1]).is_err(), "twice");
    let table = EquityTable { paths: vec![path] };
    run.write_equity(&table).unwrap();
    let text = fs::read_to_string(run.path().join("equity.csv")).unwrap();
    let expected =
        "path,ts,position_lots,exposure,agent,flat\n3,,0,0,100000,100000\n3,1,0,0,99999.999999,100000\n3,2,-5,-0.5,100000.5,100000\n";
    assert_eq!(text, expected);
    assert_eq!(EquityTable::from_csv(&text).unwrap(), table);
    for (damage, says) in
        [("100000.5,", "100000.5x,"), ("3,2,", "3,1,"), (",flat\n", ",flut\n"), ("3,,0", "4,,0")].map(|(a, b)| (text.replacen(a, b, 1), b))
    {
        assert!(EquityTable::from_csv(&damage).is_err(), "{says}");
    }
    let trade = TradeRow {
        path: 3,
        long: false,
        lots: 5,
        entry_ts: 1,
        exit_ts: 2,
        entry_price: 1000.01,
        exit_price: 999.5,
        bars_held: 1,
        cost_micros: 120_000,
        pnl_micros: -42,
        exit: "stop".into(),
    };
    run.write_trades(std::slice::from_ref(&trade)).unwrap();
    assert_eq!(TradeRow::from_csv(&fs::read_to_string(run.path().join("trades.csv")).unwrap()).unwrap(), [trade]);
}
