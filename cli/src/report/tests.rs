//! The page from a minimal folder and from a full one; errors that name their file.

use super::*;
use crate::run_folder::RunFolder;
use std::fs;

const MINUTE_NS: i64 = 60_000_000_000;

fn manifest() -> Manifest {
    Manifest {
        format: FORMAT,
        config_name: "quickstart".into(),
        seed: 7,
        git_hash: Some("0123456789abcdef-dirty".into()),
        version: "0.1.0".into(),
        machine: Machine::default(),
        started: "2026-01-01T00:00:00Z".into(),
    }
}

fn path(number: u32, num_bars: i64) -> PathEquity {
    let ts: Vec<i64> = (1..=num_bars).map(|i| i * 5 * MINUTE_NS).collect();
    let wave = |i: i64| 100_000_000_000 + 10_000_000 * i + (i * 7_919 % 1_000) * 1_000_000;
    let position = (0..num_bars).map(|i| i / 9 % 3 - 1).collect();
    let exposure = (0..num_bars).map(|i| (i / 9 % 3 - 1) as f64).collect();
    PathEquity::new(number, 100_000_000_000, ts, position, exposure, (0..num_bars).map(wave).collect()).unwrap()
}

fn minimal() -> (tempfile::TempDir, RunFolder) {
    let root = tempfile::tempdir().unwrap();
    let run = RunFolder::create(root.path(), "seed = 7\n", &manifest()).unwrap();
    run.write_equity(&EquityTable { paths: vec![path(0, 3)] }).unwrap();
    run.write_trades(&[]).unwrap();
    run.write_stats(&StatsFile { format: FORMAT, ..StatsFile::default() }).unwrap();
    (root, run)
}

fn full(num_paths: u32, synthetic: bool) -> (tempfile::TempDir, RunFolder) {
    let (root, run) = minimal();
    let mut paths: Vec<PathEquity> = (0..num_paths).map(|number| path(number, 20_000)).collect();
    for path in &mut paths {
        for strategy in Strategy::ALL.into_iter().skip(1) {
            let factor = 1000 + strategy as i64;
            let curve = path.curve(Strategy::Agent).unwrap().iter().map(|equity| equity / 1000 * factor).collect();
            path.add(strategy, curve).unwrap();
        }
    }
    run.write_equity(&EquityTable { paths }).unwrap();
    let trade = |i: i64| TradeRow {
        path: 0,
        long: i % 2 == 0,
        lots: 3,
        entry_ts: i * MINUTE_NS,
        exit_ts: (i + 1) * MINUTE_NS,
        entry_price: 10.0,
        exit_price: 10.5,
        bars_held: 1,
        cost_micros: 5,
        pnl_micros: (i % 11 - 5) * 1_000_000,
        exit: "segment_end".into(),
    };
    run.write_trades(&(0..100).map(trade).collect::<Vec<_>>()).unwrap();
    let bars: Vec<CandleBar> =
        (0..900).map(|i| CandleBar { ts_open: i * 5 * MINUTE_NS, open: 10.0, high: 11.0, low: 9.0, close: 9.5 + (i % 2) as f64 }).collect();
    let fill = |i: i64| FillMark {
        ts_open: i * 5 * MINUTE_NS,
        buy: i % 2 == 0,
        price: 10.0,
        lots: 1,
        position_after: (i + 1) % 2,
        kind: "stop".into(),
    };
    let stop = StopLine { from_ts: 0, to_ts: 700 * 5 * MINUTE_NS, price: 9.2 };
    run.write_candles(&CandlesFile::around_fills(0, &bars, &(1..800).map(fill).collect::<Vec<_>>(), &[stop])).unwrap();
    let performance = Performance {
        sharpe: Some(1.0),
        num_trades: Some(100),
        max_drawdown: Some(0.1),
        fees_paid: Some(3.0),
        ..Performance::of_return(0.5)
    };
    let baseline = |strategy| Baseline { strategy, performance, detail: "long < 0 & \"short\" > 0".into() };
    let stats = StatsFile {
        format: FORMAT,
        setup: Setup {
            market: "<b>ES</b>".into(),
            interval_ns: 5 * MINUTE_NS,
            synthetic,
            annualised: !synthetic,
            test: SpanStated { num_bars: 20_000, num_paths, ..SpanStated::default() },
            ..Setup::default()
        },
        agent: performance,
        agent_gated: Some(performance),
        baselines: Strategy::ALL.into_iter().skip(2).map(baseline).collect(),
        random: Some(RandomRuns { num_runs: 1000, agent_percentile: 0.9, ..RandomRuns::default() }),
        share_of_optimum: Some(ShareOfOptimum {
            share: IntervalStated { estimate: 0.9, low: 0.8, high: 1.0 },
            num_seeds: 2,
            paths: vec![PathShare { seed: 0, path: 0, agent: 0.5, optimum: 0.6 }],
        }),
        cost_sweep: (0..5)
            .map(|i| CostPoint { cost_bp: f64::from(i), total_return: [(Strategy::Agent, 0.1 - 0.04 * f64::from(i))].into() })
            .collect(),
        refusals: vec![RefusalCount { by: "risk".into(), reason: "leverage".into(), count: 3 }],
        num_decisions: 10,
        confidence: Some(Counts { edges: vec![0.0, 0.5, 1.0], counts: vec![1, 2] }),
        memory: Some(MemoryStated { budget_bytes: 1 << 31, peak_used_bytes: 1 << 30, warning: 0.8, critical: 0.9 }),
        notes: vec!["a note".into()],
    };
    run.write_stats(&stats).unwrap();
    let mut metrics = run.metrics(0).unwrap();
    for step in 1..200_u64 {
        let values = [("losses/entropy", 1.0 / step as f64), ("losses/value_loss", f64::NAN), ("custom/one", 2.0)]
            .map(|(name, value)| (name.to_string(), value));
        let time = [("elapsed_s", step as f64), ("memory/used_bytes", 1e9)].map(|(name, value)| (name.to_string(), value));
        metrics.write(&MetricsRecord { step, values: values.into(), time: time.into() }).unwrap();
    }
    (root, run)
}

fn text_of(run: &RunFolder) -> String {
    fs::read_to_string(render(run.path()).unwrap()).unwrap()
}

/// Nothing unresolved, nothing that is not a number, nothing from elsewhere, every element closed.
fn check(page: &str) {
    let drawn = page.split("<script>").next().unwrap();
    for wrong in ["NaN", "inf\"", "{}", "undefined", "http://", "https://", "src=", "@import", "url("] {
        assert!(!drawn.replace("\"application/json\">{}", "").contains(wrong), "{wrong} at {:?}", drawn.find(wrong));
    }
    for name in ["div", "section", "figure", "svg", "table", "tr", "td", "th", "p", "text", "g", "script", "h2", "span", "ul", "dl"] {
        let open = page.matches(&format!("<{name}>")).count() + page.matches(&format!("<{name} ")).count();
        assert_eq!(open, page.matches(&format!("</{name}>")).count(), "<{name}>");
    }
}

#[test]
fn a_minimal_folder_gives_a_page() {
    let (_root, run) = minimal();
    let page = text_of(&run);
    check(&page);
    assert!(page.contains("quickstart-s7-001") && page.contains("0123456789ab, with uncommitted changes") && page.contains("seed = 7"));
    assert!(page.contains("<h2>Equity</h2>") && !page.contains("<h2>Training</h2>") && !page.contains("<h2>Bars with fills</h2>"));
}

#[test]
fn full_folders_give_every_section_and_stay_small() {
    for (num_paths, synthetic, months) in [(1, false, true), (4, true, false)] {
        let (_root, run) = full(num_paths, synthetic);
        let page = text_of(&run);
        check(&page);
        for title in [
            "Equity",
            "Under water",
            "Share of the known optimum",
            "Distribution of returns",
            "Cost sweep",
            "Bars with fills",
            "Trades",
            "Refusals",
            "Confidence",
            "Training",
            "Memory",
        ] {
            assert!(page.contains(&format!("<h2>{title}</h2>")), "{title}");
        }
        assert_eq!(page.contains("<h2>Monthly returns</h2>"), months);
        assert!(page.contains("breaks even at about 2.5"), "0.1 - 0.04 x = 0");
        assert!(page.contains("&lt;b&gt;ES&lt;/b&gt;") && !page.contains("<b>ES"), "texts of the files are escaped");
        assert!(page.contains("199 records were not finite") || !page.contains("Value loss"), "a curve without values is left out");
        assert!(page.len() < 3 << 20, "{} bytes", page.len());
        assert_eq!(page, text_of(&run), "the same files give the same page");
    }
}

#[test]
fn a_missing_or_damaged_file_is_named() {
    for (name, damage) in [
        ("manifest.json", "{"),
        ("manifest.json", r#"{"format": 2}"#),
        ("stats.json", "[]"),
        ("equity.csv", ""),
        ("equity.csv", "path,ts,position_lots,exposure,agent\n0,,0,0,100\n0,5,0,0,NaN\n"),
        ("equity.csv", "path,ts,position_lots,exposure,agent\n0,5,0,0,100\n"),
        ("equity.csv", "path,ts,position_lots,exposure,agent\n0,,0,0,0\n"),
        ("trades.csv", "a,b\n"),
        ("metrics.jsonl", "{\"step\":-1}\n"),
        ("candles.json", "{\"windows\": 1}"),
    ] {
        let (_root, run) = minimal();
        fs::write(run.path().join(name), damage).unwrap();
        let error = format!("{:#}", render(run.path()).unwrap_err());
        assert!(error.contains(name), "{error}");
        assert!(!run.path().join("report.html").exists());
    }
    for name in ["manifest.json", "config.toml", "stats.json", "equity.csv", "trades.csv"] {
        let (_root, run) = minimal();
        fs::remove_file(run.path().join(name)).unwrap();
        let error = format!("{:#}", render(run.path()).unwrap_err());
        assert!(error.contains(name) && error.contains("missing"), "{error}");
    }
    let error = format!("{:#}", render(Path::new("no-such-run")).unwrap_err());
    assert!(error.contains("no-such-run"), "{error}");
}

#[test]
fn another_version_of_the_files_is_refused() {
    let (_root, run) = minimal();
    run.write_stats(&StatsFile { format: FORMAT + 1, ..StatsFile::default() }).unwrap();
    let error = format!("{:#}", render(run.path()).unwrap_err());
    assert!(error.contains("stats.json") && error.contains("format 2") && error.contains("reads 1"), "{error}");
}

#[test]
fn paths_become_one_record() {
    let one = |total_return, drawdown, trades| Performance {
        max_drawdown: Some(drawdown),
        num_trades: Some(trades),
        sharpe: Some(1.0),
        ..Performance::of_return(total_return)
    };
    let both = Performance::over_paths(&[one(0.1, 0.2, 3), one(0.3, 0.1, 4)]);
    assert!((both.total_return - 0.2).abs() < 1e-12, "mean of 0.1 and 0.3");
    assert_eq!((both.max_drawdown, both.num_trades, both.sharpe), (Some(0.2), Some(7), None));
    assert_eq!(Performance::over_paths(&[one(0.1, 0.2, 3)]).sharpe, Some(1.0), "one path stays as it is");
    assert_eq!(Performance::over_paths(&[]), Performance::default());
}

#[test]
fn windows_end_after_fills_and_do_not_overlap() {
    let bars: Vec<CandleBar> = (0..2_000).map(|i| CandleBar { ts_open: i, open: 1.0, high: 1.0, low: 1.0, close: 1.0 }).collect();
    let fill = |ts_open| FillMark { ts_open, buy: true, price: 1.0, lots: 1, position_after: 1, kind: "open".into() };
    let found = CandlesFile::around_fills(0, &bars, &[fill(5), fill(1_000)], &[]);
    let spans: Vec<(i64, i64)> =
        found.windows.iter().map(|window| (window.bars[0].ts_open, window.bars[window.bars.len() - 1].ts_open)).collect();
    // 1000 + 12 bars after it; the other ends 12 bars after bar 5
    assert_eq!(spans, [(0, 17), (713, 1_012)]);
    assert_eq!(CandlesFile::around_fills(0, &bars, &[], &[]).windows[0].bars.len(), MAX_BARS, "no fills: the last bars");
    assert!(CandlesFile::around_fills(0, &[], &[], &[]).windows.is_empty());
}
