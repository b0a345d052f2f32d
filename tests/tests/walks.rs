//! From a file of bars to a report, through every actor; and the promises about bytes: same seed, same run, whatever the threads, also
//! when it was interrupted.

use std::{collections::BTreeMap, fs, path::Path};

use grandmodel_cli::report::{EquityTable, StatsFile, TradeRow};

use crate::{
    process::grandmodel,
    runs::{
        ANOTHER_SEED, NUM_UPDATES, ONE_THREAD, STEPS_PER_UPDATE, SmallRun, TWO_THREADS, checkpoint_in, copy_folder, entries, fresh,
        only_run,
    },
};

/// Files of a checkpoint that hold what was learned.
const LEARNED: [&str; 5] = ["model.safetensors", "learner.safetensors", "best.safetensors", "replay.bin", "state.json"];

pub fn learned(checkpoint: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    let read = |name| fs::read(checkpoint.join(name)).unwrap_or_else(|e| panic!("{}/{name}: {e}", checkpoint.display()));
    LEARNED.into_iter().filter(|name| checkpoint.join(name).exists()).map(|name| (name, read(name))).collect()
}

fn assert_same_text(name: &str, one: &SmallRun, two: &SmallRun) {
    let (one_text, two_text) = (one.text(name), two.text(name));
    let differs = one_text.lines().zip(two_text.lines()).position(|(a, b)| a != b);
    assert!(one_text == two_text, "{name} differs from line {differs:?} on: {} {}", one.folder.display(), two.folder.display());
}

pub fn assert_same_learned(one: &Path, two: &Path) {
    for (name, bytes) in learned(one) {
        assert!(learned(two).get(name) == Some(&bytes), "{name} differs: {} {}", one.display(), two.display());
    }
}

#[test]
fn bars_become_an_agent_and_a_report() {
    let run: &SmallRun = &TWO_THREADS;
    let names: Vec<String> = entries(&run.folder).iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    for wanted in ["checkpoints", "config.toml", "equity.csv", "manifest.json", "metrics.jsonl", "report.html", "stats.json", "trades.csv"]
    {
        assert!(names.iter().any(|name| name == wanted), "{wanted} is missing among {names:?}");
    }
    assert!(names.iter().any(|name| name.starts_with("events.out.tfevents.")), "{names:?}");
    assert!(names.iter().all(|name| !name.starts_with('.') && !name.ends_with(".tmp")), "{names:?}");
    assert!(run.stdout.contains("report.html"), "{}", run.stdout);

    let metrics = run.metrics();
    assert_eq!(
        (1..=NUM_UPDATES).map(|update| update * STEPS_PER_UPDATE).collect::<Vec<_>>(),
        metrics.iter().map(|record| record.step).collect::<Vec<_>>()
    );
    for record in &metrics {
        for name in ["losses/policy_loss", "losses/value_loss", "losses/entropy", "losses/approx_kl"] {
            assert!(record.get(name).is_some(), "{name} at step {}", record.step);
        }
    }

    let page = run.text("report.html");
    for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!page.contains(outside), "the report asks the network: {outside}");
    }
}

#[test]
fn the_equity_follows_from_the_trades_and_the_costs_are_in_it() {
    let run: &SmallRun = &TWO_THREADS;
    let equity = EquityTable::from_csv(&run.text("equity.csv")).unwrap();
    let trades = TradeRow::from_csv(&run.text("trades.csv")).unwrap();
    let stats: StatsFile = serde_json::from_str(&run.text("stats.json")).unwrap();
    assert_eq!(1, equity.paths.len());
    let path = &equity.paths[0];
    let last = *path.curves[0].1.last().unwrap();
    let profits: i64 = trades.iter().map(|trade| trade.pnl_micros).sum();
    // exact, in micro-units: the pass ends flat
    assert_eq!(last - path.initial_micros, profits);
    assert_eq!(Some(trades.len() as u64), stats.agent.num_trades);
    assert!(trades.iter().all(|trade| trade.cost_micros > 0), "a trade without costs at 2 bp");
    let total_return = last as f64 / path.initial_micros as f64 - 1.0;
    assert!((total_return - stats.agent.total_return).abs() < 1e-12, "{total_return} {}", stats.agent.total_return);
}

#[test]
fn one_thread_and_two_give_the_same_bytes() {
    let (one, two): (&SmallRun, &SmallRun) = (&ONE_THREAD, &TWO_THREADS);
    assert_eq!(one.metrics(), two.metrics());
    for update in 1..=NUM_UPDATES {
        assert_same_learned(&one.checkpoint(update), &two.checkpoint(update));
    }
    assert_same_text("equity.csv", one, two);
    assert_same_text("trades.csv", one, two);
}

#[test]
fn another_seed_gives_another_run() {
    // "same seed, same bytes" also holds where seeds are ignored
    let (one, other): (&SmallRun, &SmallRun) = (&TWO_THREADS, &ANOTHER_SEED);
    assert_ne!(one.metrics(), other.metrics());
    assert!(learned(&one.checkpoint(1))["model.safetensors"] != learned(&other.checkpoint(1))["model.safetensors"], "the same weights");
}

#[test]
fn a_resumed_run_ends_with_the_same_bytes() {
    let whole: &SmallRun = &TWO_THREADS;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("resumed");
    copy_folder(&whole.folder, &copy);
    // as if it had ended after the first update, with results of the second already written
    for update in 2..=NUM_UPDATES {
        fs::remove_dir_all(checkpoint_in(&copy, update)).unwrap();
    }
    for name in ["equity.csv", "trades.csv", "stats.json", "report.html"] {
        fs::remove_file(copy.join(name)).unwrap();
    }
    grandmodel(&["train", "--resume", copy.to_str().unwrap()]).expect_success("train --resume");
    let resumed = SmallRun { folder: copy, stdout: String::new() };
    assert_eq!(whole.metrics(), resumed.metrics());
    for update in 2..=NUM_UPDATES {
        assert_same_learned(&whole.checkpoint(update), &resumed.checkpoint(update));
    }
    assert_same_text("equity.csv", whole, &resumed);
    assert_same_text("trades.csv", whole, &resumed);
}

#[test]
fn gradient_workers_that_keep_most_to_themselves_repeat_and_resume_on_any_number_of_threads() {
    let run = |threads: u32| {
        let (folder, config) = fresh(1, threads);
        let sparse = ["--set", "train.sparsify=0.01", "--set", "train.gradient_workers=2"];
        let arguments: Vec<&str> = ["train", config.to_str().unwrap()].into_iter().chain(sparse).collect();
        grandmodel(&arguments).expect_success("train with train.sparsify");
        (SmallRun { folder: only_run(&folder.path().join("runs")), stdout: String::new() }, folder)
    };
    let ((one, _one), (two, _two)) = (run(1), run(2));
    assert_same_learned(&one.checkpoint(NUM_UPDATES), &two.checkpoint(NUM_UPDATES));
    let whole: &SmallRun = &TWO_THREADS;
    assert_ne!(learned(&one.checkpoint(1))["model.safetensors"], learned(&whole.checkpoint(1))["model.safetensors"], "everything was sent");
    (2..=NUM_UPDATES).for_each(|update| fs::remove_dir_all(checkpoint_in(&two.folder, update)).unwrap());
    grandmodel(&["train", "--resume", two.folder.to_str().unwrap(), "--set", "train.threads=1"]).expect_success("train --resume");
    (2..=NUM_UPDATES).for_each(|update| assert_same_learned(&one.checkpoint(update), &two.checkpoint(update)));
}

#[test]
fn a_backtest_bar_by_bar_equals_one_in_large_blocks() {
    let trained: &SmallRun = &TWO_THREADS;
    let folder = tempfile::tempdir().unwrap();
    let backtest = |block_len: &str| {
        let copy = folder.path().join(block_len);
        copy_folder(&trained.folder, &copy);
        grandmodel(&["backtest", copy.to_str().unwrap(), "--block-len", block_len]).expect_success("backtest");
        SmallRun { folder: only_run(&copy.join("backtests")), stdout: String::new() }
    };
    let (live, ahead) = (backtest("1"), backtest("4096"));
    assert_same_text("equity.csv", &live, &ahead);
    assert_same_text("trades.csv", &live, &ahead);
    // the training run tests with consensus and gate as well, so its table has one column more
    assert_same_text("trades.csv", trained, &ahead);
    let agent = |run: &SmallRun| EquityTable::from_csv(&run.text("equity.csv")).unwrap().paths[0].curves[0].1.clone();
    assert!(agent(trained) == agent(&ahead), "the agent's equity differs from that of the training run");
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_a_checkpoint_and_the_run_goes_on() {
    use crate::process::grandmodel_interrupted;

    let (folder, config) = fresh(1, 2);
    let endless = ["train", config.to_str().unwrap(), "--set", "ppo.total_timesteps=100000000", "--set", "train.checkpoint_every=0"];
    // the first line of progress is written after the first update
    let stopped = grandmodel_interrupted(&endless, " steps ");
    assert_eq!(Some(130), stopped.code, "{}\n{}", stopped.stdout, stopped.stderr);
    let run = only_run(&folder.path().join("runs"));
    let name = run.to_str().unwrap();
    assert!(stopped.stdout.contains(&format!("grandmodel train --resume {name}")), "{}", stopped.stdout);
    let updates = fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines().count() as u64;
    assert!(checkpoint_in(&run, updates).join("manifest.json").is_file(), "no checkpoint of update {updates}");

    let one_more = format!("ppo.total_timesteps={}", (updates + 1) * STEPS_PER_UPDATE);
    grandmodel(&["train", "--resume", name, "--set", &one_more]).expect_success("train --resume after Ctrl-C");
    assert!(run.join("report.html").is_file());
}
