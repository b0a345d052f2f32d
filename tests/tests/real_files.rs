//! Real bars, where they lie beside the checkout in `../shared/data`, and the configurations that are shipped.

use std::{fs, path::PathBuf};

use grandmodel_cli::{config::RunConfig, report::StatsFile};
use grandmodel_market::{
    FeatureTable,
    features::FeatureConfig,
    import::{ImportConfig, import},
};

use crate::{
    process::grandmodel,
    repository::root,
    runs::{entries, only_run},
};

const HOUR_NS: i64 = 3_600_000_000_000;

/// A file of real bars; says so where it is not there.
fn real(name: &str) -> Option<PathBuf> {
    let path = root().join("../shared/data").join(name);
    if !path.exists() {
        println!("skipped: ../shared/data/{name} is not there");
        return None;
    }
    Some(path)
}

#[test]
fn shipped_configurations_are_read() {
    let (folders, mut found): (Vec<PathBuf>, Vec<PathBuf>) = entries(&root().join("configs")).into_iter().partition(|path| path.is_dir());
    found.extend(folders.iter().flat_map(|folder| entries(folder)));
    assert!(found.len() >= 20, "{found:?}");
    for path in found {
        let with_file = fs::read_to_string(&path).expect("read").contains("# path = ");
        let settings = if with_file { vec!["data.path=bars.csv".to_owned()] } else { vec![] };
        let config = RunConfig::load(&path, &settings).unwrap_or_else(|e| panic!("{e:#}"));
        assert_eq!(path.file_stem().expect("a name").to_string_lossy(), config.name);
    }
}

#[test]
fn four_files_as_they_are() {
    // rows as `wc -l` counts them, less comment and header lines
    for (name, rows, interval_ns) in [
        ("es-201312-1m.csv", 16_673, HOUR_NS / 60),
        ("coinbase-btcusd-1h.csv", 20_111, HOUR_NS),
        ("forex-eurusd-1h-ask.csv", 6_225, HOUR_NS),
        ("stocks-googl.csv", 2_335, 24 * HOUR_NS),
    ] {
        let Some(path) = real(name) else { continue };
        let (series, report) = import(&path, &ImportConfig::default()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((rows, interval_ns), (series.bars.len(), series.interval_ns), "{report}");
        assert!(series.bars.windows(2).all(|pair| pair[0].ts_close <= pair[1].ts_open), "{name}");
    }
}

#[test]
fn futures_of_the_sample_give_the_rows_that_the_specification_counts() {
    let Some(path) = real("es-201312-1m.csv") else { return };
    let (series, _) = import(&path, &ImportConfig::default()).unwrap();
    let config: FeatureConfig = toml::from_str("base = \"5m\"\nstructure = \"30m\"").unwrap();
    let table = FeatureTable::build(&series, &config).unwrap();
    let num_ready = (0..table.len()).filter(|row| table.is_ready(*row)).count();
    assert!((3_400..3_500).contains(&table.len()), "{} base rows", table.len());
    assert!((1_900..2_150).contains(&num_ready), "{num_ready} ready rows");
}

#[test]
fn shipped_configurations_train_on_real_bars() {
    for (config, file) in [("es-5m", "es-201312-1m.csv"), ("btc-1h", "coinbase-btcusd-1h.csv")] {
        let Some(path) = real(file) else { continue };
        let runs = tempfile::tempdir().unwrap();
        let settings = [
            format!("data.path={}", path.display()),
            format!("runs={}", runs.path().display()),
            "ppo.total_timesteps=256".into(),
            "ppo.num_envs=8".into(),
            "ppo.num_minibatches=4".into(),
            "ppo.update_epochs=1".into(),
            "decision.consensus_passes=0".into(),
        ];
        let config_path = root().join(format!("configs/{config}.toml"));
        let mut arguments = vec!["train", config_path.to_str().unwrap()];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        grandmodel(&arguments).expect_success(config);
        let run = only_run(runs.path());
        let stats: StatsFile = serde_json::from_str(&fs::read_to_string(run.join("stats.json")).unwrap()).unwrap();
        // one untrained update: no claim about profit, only that what is traded is paid for
        if stats.agent.num_trades.is_some_and(|trades| trades > 0) {
            assert!(stats.agent.fees_paid.is_some_and(|fees| fees > 0.0), "{:?}", stats.agent);
        }
        assert!(run.join("report.html").is_file());
    }
}
