//! Tests of the table: what is stored comes back, what is damaged is refused, and spans keep to their segments.

use std::{fs, path::PathBuf, sync::Arc};

use super::{FeatureTable, RecentRows, TableSpan, layout::Column};
use crate::{
    MarketError,
    features::{FeatureConfig, FeatureStream, Interval, Readiness, tests::sample},
};

fn config() -> FeatureConfig {
    FeatureConfig { mmd_test: 8, mmd_reference: 16, ..FeatureConfig::default() }
}

fn stored(folder: &tempfile::TempDir) -> (PathBuf, FeatureTable) {
    let series = sample(1, 2_000);
    let (table, from_cache) = FeatureTable::open_or_build(folder.path(), &series, &config()).unwrap();
    assert!(!from_cache);
    let files: Vec<PathBuf> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "no temporary file stays: {files:?}");
    (files[0].clone(), table)
}

#[test]
fn a_table_comes_back_from_the_cache_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let series = sample(1, 2_000);
    let built = FeatureTable::build(&series, &config()).unwrap();
    let (_, _) = stored(&folder);
    let (mapped, from_cache) = FeatureTable::open_or_build(folder.path(), &series, &config()).unwrap();
    assert!(from_cache);
    assert_eq!(mapped.content_hash(), built.content_hash());
    assert_eq!(mapped.bytes.as_slice(), built.bytes.as_slice());
    assert_eq!((mapped.instrument(), mapped.config()), (&series.instrument, &config()));
    assert_eq!((0..mapped.len()).map(|row| mapped.bar(row)).collect::<Vec<_>>(), series.bars);
}

#[test]
fn the_hash_follows_bars_settings_and_context() {
    let series = sample(1, 300);
    let hash = |series: &_, config: &_| FeatureTable::build(series, config).unwrap().content_hash().to_owned();
    let base = hash(&series, &config());
    assert_eq!(base, hash(&series, &config()));
    assert_ne!(base, hash(&series, &FeatureConfig { mmd_stride: 2, ..config() }));
    let mut other = series.clone();
    other.bars[299].volume += 1.0;
    assert_ne!(base, hash(&other, &config()));
    let mut other = series.clone();
    other.instrument.tick_size = 0.125;
    assert_ne!(base, hash(&other, &config()));
    let table = FeatureTable::build(&series, &config()).unwrap().with_context(2, vec![0.5; 600]);
    assert_ne!(base, table.content_hash());
    assert_eq!((table.context_width(), table.context(299)), (2, &[0.5, 0.5][..]));
}

#[test]
fn context_that_does_not_fit_is_refused() {
    let table = |width, values| FeatureTable::build(&sample(1, 100), &config()).unwrap().try_with_context(width, values);
    assert!(matches!(table(1, vec![0.0; 99]), Err(MarketError::Context { values: 99, rows: 100, width: 1 })));
    assert!(table(1, vec![f32::NAN; 100]).is_err());
    assert!(table(0, vec![]).is_ok());
}

#[test]
fn every_damage_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (path, table) = stored(&folder);
    let whole = fs::read(&path).unwrap();
    let refusal = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = FeatureTable::open_or_build(folder.path(), &sample(1, 2_000), &config()).unwrap_err();
        assert!(matches!(error, MarketError::TableFile { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(".gmtable") && text.contains("expected") && text.contains("delete the file"), "{text}");
        text
    };
    let damaged = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    assert!(refusal(&damaged(0)).contains("magic"));
    assert!(refusal(&damaged(8)).contains("layout version was 18, expected 2"));
    assert!(refusal(&damaged(12)).contains("feature version"));
    assert!(refusal(&damaged(17)).contains("size"));
    assert!(refusal(&damaged(45)).contains("content key"));
    for at in [130, whole.len() / 2, table.layout.range(Column::Regime).end - 1] {
        assert!(refusal(&damaged(at)).contains("payload hash"));
    }
    assert!(refusal(&whole[..whole.len() - 64]).contains("size"));
    assert!(refusal(&whole[..100]).contains("at least a header"));
    assert!(refusal(&[]).contains("0 bytes"));
    let mut huge = whole.clone();
    huge[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(refusal(&huge).contains("size"));
    fs::write(&path, &whole).unwrap();
    assert!(FeatureTable::open_or_build(folder.path(), &sample(1, 2_000), &config()).unwrap().1);
}

#[test]
fn windows_are_the_rows_they_name() {
    let table = FeatureTable::build(&sample(1, 2_000), &config()).unwrap();
    let row = (0..table.len()).find(|row| table.is_ready(*row)).unwrap();
    let (mut tactical, mut structure) = (vec![0.0; 60 * 7], vec![0.0; 48 * 8]);
    table.copy_tactical_window(row, &mut tactical);
    let s = table.structure_row()[row] as usize;
    table.copy_structure_window(s, &mut structure);
    assert_eq!(tactical[59 * 7..], table.tactical()[row * 7..row * 7 + 7]);
    assert_eq!(tactical[..7], table.tactical()[(row - 59) * 7..(row - 58) * 7]);
    assert_eq!(structure[47 * 8..], table.structure()[s * 8..s * 8 + 8]);
    assert!(tactical.iter().chain(&structure).all(|value| value.is_finite()));
}

#[test]
fn ticks_are_the_prices() {
    let table = FeatureTable::build(&sample(1, 100), &config()).unwrap();
    for row in 0..100 {
        let bar = table.bar(row);
        let ticks = [table.open_ticks()[row], table.high_ticks()[row], table.low_ticks()[row], table.close_ticks()[row]];
        assert_eq!(ticks.map(|ticks| ticks as f64 * 0.25), [bar.open, bar.high, bar.low, bar.close]);
    }
}

#[test]
fn spans_keep_to_segments_and_splits_leave_an_embargo() {
    let table = Arc::new(FeatureTable::build(&sample(1, 3_000), &config()).unwrap());
    let whole = TableSpan::whole(table.clone());
    assert_eq!(whole.segments(), [0..2_000, 2_000..3_000]);
    assert_eq!((whole.segment_end(0), whole.segment_end(1_999), whole.segment_end(2_000)), (2_000, 2_000, 3_000));
    assert_eq!(whole.skip(1_990).segments(), [1_990..2_000, 2_000..3_000]);
    let segments = table.segment_rows();
    assert_eq!(segments.iter().map(|segment| segment.ready).sum::<usize>(), whole.num_ready());
    let split = table.split(0.6, 0.2).unwrap();
    assert_eq!(split.train.rows.start, whole.ready_rows().next().unwrap());
    assert_eq!(split.test.rows.end, 3_000);
    assert_eq!(split.validation.rows.start - split.train.rows.end, 60);
    assert_eq!(split.test.rows.start - split.validation.rows.end, 60);
    let share = split.test.num_ready() as f64 / whole.num_ready() as f64;
    assert!((share - 0.2).abs() < 0.01, "{share}");
    assert!(table.split(0.8, 0.2).is_err() && table.split(f64::NAN, 0.2).is_err());
}

#[test]
fn nothing_ready_is_an_error_that_says_why() {
    let table = Arc::new(FeatureTable::build(&sample(1, 400), &FeatureConfig::default()).unwrap());
    assert_eq!(table.readiness(10), Readiness::TacticalWindow);
    let error = TableSpan::whole(table.clone()).require_ready().unwrap_err();
    assert!(error.to_string().contains("none of 400 base rows is ready"), "{error}");
    assert!(error.to_string().contains("structure"), "{error}");
    assert!(table.split(0.6, 0.2).is_err());
    let empty = FeatureTable::build(&crate::import::BarSeries { bars: vec![], ..sample(1, 1) }, &config()).unwrap();
    assert!(empty.is_empty() && TableSpan::whole(Arc::new(empty)).require_ready().is_err());
}

#[test]
fn the_report_names_columns_that_hardly_move() {
    let day: Interval = "1d".parse().unwrap();
    let table = FeatureTable::build(&sample(1, 3_600), &config()).unwrap();
    let report = table.report();
    assert_eq!(report.columns.len(), 8 + 7 + 8 + 5);
    let warned: Vec<&str> = report.columns.iter().filter(|column| column.warning.is_some()).map(|column| column.name.as_str()).collect();
    assert!(warned.is_empty(), "{warned:?}\n{report}");
    let daily = FeatureTable::build(&sample(1, 3_600), &FeatureConfig { structure: Some(day), ..config() }).unwrap();
    let hour = daily.report().columns.into_iter().find(|column| column.name == "structure.hour_cos").unwrap();
    assert_eq!((hour.warning, hour.mean), (Some("hardly moves"), 1.0));
}

#[test]
fn a_live_table_shows_the_windows_of_the_whole_one() {
    let series = sample(14, 2_400);
    let whole = FeatureTable::build(&series, &config()).unwrap();
    let mut stream = FeatureStream::new(&series.instrument, series.interval_ns, true, &config()).unwrap();
    let mut recent = RecentRows::new(&stream);
    let mut compared = 0;
    for (row, bar) in series.bars.iter().enumerate() {
        recent.push(&stream.push(bar).unwrap());
        if !whole.is_ready(row) || row % 37 != 0 {
            continue;
        }
        let live = recent.table().unwrap();
        let (last, s) = (live.len() - 1, live.structure_row()[59] as usize);
        assert!(live.is_ready(last) && !live.is_ready(last - 1));
        assert_eq!((live.bar(last), s, live.structure_len()), (*bar, 47, 48));
        let windows = |table: &FeatureTable, row: usize| {
            let (mut tactical, mut structure) = (vec![0.0; 60 * 7], vec![0.0; 48 * 8]);
            table.copy_tactical_window(row, &mut tactical);
            let s = table.structure_row()[row] as usize;
            table.copy_structure_window(s, &mut structure);
            [tactical, structure, table.regime_row(s).to_vec(), table.lvn_row(row).to_vec()]
        };
        assert_eq!(windows(&live, last), windows(&whole, row));
        compared += 1;
    }
    assert!(compared > 5, "{compared}");
}
