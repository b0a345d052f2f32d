//! The four sample files beside the repository, where they are: unedited and with default settings.

use super::*;

const MINUTE_NS: i64 = 60_000_000_000;

fn sample_import(name: &str, config: &str) -> Option<(BarSeries, ImportReport)> {
    let path = sample(name)?;
    let (series, report) = import(&path, &serde_json::from_str(config).unwrap()).unwrap_or_else(|error| panic!("{error}"));
    println!("{report}\n");
    Some((series, report))
}

#[test]
fn es_minutes() {
    let session = r#"{"time_zone": "America/New_York", "open": "18:00", "close": "17:00", "days": ["sun", "mon", "tue", "wed", "thu"]}"#;
    let config = format!(r#"{{"instrument": {{"symbol": "ESZ3", "multiplier": 50, "session": {session}}}}}"#);
    let Some((series, report)) = sample_import("es-201312-1m.csv", &config) else { return };
    assert_eq!((series.bars.len(), series.interval_ns, series.instrument.tick_size), (16_673, MINUTE_NS, 0.25));
    assert_eq!(series.instrument.micros_per_tick_lot().unwrap(), 12_500_000);
    assert_eq!(report.span, (ts("2013-10-06T22:00:00Z"), ts("2013-12-20T14:30:00Z")));
    // Of the gaps between the stretches of October to December, four are longer than three days.
    assert_eq!(report.segments.len(), 5);
    assert_eq!((report.gaps.longest_ns, report.longest_gap_after), (18 * 1440 * MINUTE_NS, ts("2013-10-31T00:00:00Z")));
    // 16,672 steps, 16,193 of them one minute; 21:00-21:15 UTC (17:00-17:15 New York) lies outside the stated hours.
    assert_eq!(report.gaps.num_gaps, 16_672 - 16_193);
    // Thirteen UTC days and the evening before the first: 18 sessions, whole or in part, the last 15 minutes of some of them after hours.
    assert_eq!((report.num_sessions, report.bars_out_of_session), (Some(18), Some(178)));
}

#[test]
fn bitcoin_hours() {
    let Some((series, report)) = sample_import("coinbase-btcusd-1h.csv", "{}") else { return };
    assert_eq!((series.bars.len(), series.interval_ns, series.instrument.tick_size), (20_111, 60 * MINUTE_NS, 0.01));
    assert_eq!(report.span, (ts("2017-07-01T11:00:00Z"), ts("2019-10-17T10:00:00Z")));
    assert!(report.newest_first);
    assert_eq!((series.instrument.symbol.as_str(), report.gaps.num_gaps), ("BTCUSD", 0));
    // Lines 16,899 to 16,910 are shuffled: seven rows descend into five others.
    assert_eq!(report.num_sorted, 5);
    assert_eq!((series.bars[0].open, series.bars[0].volume), (2505.56, 114.6));
    says(&report.to_string(), &["header on line 2", "volume is volume_btc, the base asset's"]);
}

#[test]
fn euro_hours() {
    let Some((series, report)) = sample_import("forex-eurusd-1h-ask.csv", "{}") else { return };
    assert_eq!((series.bars.len(), series.interval_ns, series.instrument.tick_size), (6_225, 60 * MINUTE_NS, 0.00001));
    assert_eq!(report.span, (ts("2017-01-01T22:00:00Z"), ts("2017-12-29T22:00:00Z")));
    // 48 weekends of 176,400 s, two of 180,000 s, one of 172,800 s and one step of 54,000 s.
    assert_eq!((report.gaps.num_gaps, report.segments.len()), (52, 1));
    says(&report.to_string(), &["day before month"]);
}

#[test]
fn googl_days() {
    let Some((series, report)) = sample_import("stocks-googl.csv", "{}") else { return };
    assert_eq!((series.bars.len(), series.interval_ns, series.instrument.tick_size), (2_335, 1440 * MINUTE_NS, 0.000001));
    assert_eq!(report.span, (ts("2009-05-22T00:00:00Z"), ts("2018-08-30T00:00:00Z")));
    assert_eq!(series.instrument.lot_size, 1.0);
    says(&report.to_string(), &["Adj Close: adjusted prices are not used"]);
    // A tick of one cent is stated: nearly every close is off it.
    let path = sample("stocks-googl.csv").unwrap();
    let cents = |off_grid: &str| {
        import(&path, &serde_json::from_str(&format!(r#"{{"instrument": {{"tick": 0.01, "off_grid": "{off_grid}"}}}}"#)).unwrap())
    };
    says(&cents("error").unwrap_err().to_string(), &["open = 198.528534 on line 2", "instrument.tick"]);
    assert_eq!(cents("round").unwrap().0.bars[0].open, 198.53);
}
