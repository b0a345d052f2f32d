//! 500 rows of each matrix for one committed sample, so that no change of a formula goes unnoticed.
//!
//! Regenerate after an intended change (and raise `FEATURE_VERSION`): `GRANDMODEL_BLESS=1 cargo test -p grandmodel-market golden`.

use std::{fmt::Write, fs, path::PathBuf};

use super::{MINUTE_NS, instrument, sample};
use crate::{Bar, FeatureTable, features::FeatureConfig, import::BarSeries};

const ROWS: usize = 500;
/// The platform's logarithm may differ in its last bit.
const TOLERANCE: f32 = 1e-6;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn blessing() -> bool {
    std::env::var_os("GRANDMODEL_BLESS").is_some()
}

/// The committed sample: minutes since 1970, then prices in ticks of 0.25 and the volume.
fn committed_sample() -> BarSeries {
    if blessing() && !path("sample-5m.csv").exists() {
        let mut text = String::from("minute,open,high,low,close,volume\n");
        for bar in sample(2_026, 4_600).bars {
            let ticks = |price: f64| price * 4.0;
            let (open, high, low, close) = (ticks(bar.open), ticks(bar.high), ticks(bar.low), ticks(bar.close));
            writeln!(text, "{},{open},{high},{low},{close},{}", bar.ts_open / MINUTE_NS, bar.volume).unwrap();
        }
        fs::create_dir_all(path("")).unwrap();
        fs::write(path("sample-5m.csv"), text).unwrap();
    }
    let text = fs::read_to_string(path("sample-5m.csv")).unwrap();
    let bars = text.lines().skip(1).map(|line| {
        let [minute, open, high, low, close, volume] = line.split(',').map(|field| field.parse::<f64>().unwrap()).collect::<Vec<_>>()[..]
        else {
            panic!("six fields in {line:?}")
        };
        let ts_open = minute as i64 * MINUTE_NS;
        let at = |ticks: f64| ticks / 4.0;
        Bar::new_checked(ts_open, ts_open + 5 * MINUTE_NS, at(open), at(high), at(low), at(close), volume).unwrap()
    });
    BarSeries { instrument: instrument(0.25), interval_ns: 5 * MINUTE_NS, bars: bars.collect(), has_volume: true }
}

fn compare(name: &str, width: usize, values: &[f32]) {
    let rows = &values[values.len() - ROWS * width..];
    if blessing() {
        let mut text = String::new();
        for row in rows.chunks(width) {
            let fields: Vec<String> = row.iter().map(|value| format!("{value}")).collect();
            writeln!(text, "{}", fields.join(",")).unwrap();
        }
        fs::write(path(name), text).unwrap();
    }
    let text = fs::read_to_string(path(name)).unwrap();
    let expected: Vec<f32> = text.lines().flat_map(|line| line.split(',')).map(|field| field.parse().unwrap()).collect();
    assert_eq!(expected.len(), ROWS * width);
    for (index, (found, expected)) in rows.iter().zip(&expected).enumerate() {
        let same = (found - expected).abs() <= TOLERANCE || (found.is_nan() && expected.is_nan());
        assert!(same, "{name} line {} column {}: {found}, expected {expected}", index / width + 1, index % width);
    }
}

#[test]
fn golden_rows_have_not_moved() {
    let table = FeatureTable::build(&committed_sample(), &FeatureConfig::default()).unwrap();
    compare("golden-structure.csv", 8, table.structure());
    compare("golden-tactical.csv", 7, table.tactical());
    compare("golden-regime.csv", 8, table.regime());
    compare("golden-lvn.csv", 5, table.lvn());
}
