//! Files that are laid out in some way that occurs, and are read.

use super::*;
use crate::import::FileFormat;

const HOUR_NS: i64 = 3_600_000_000_000;

/// Whatever the layout, these are the bars.
fn assert_two_bars(text: &str, config: &str) -> ImportReport {
    let (series, report) = ok(text, config);
    let bars: Vec<_> = series.bars.iter().map(|bar| (bar.ts_open, bar.ts_close, bar.open, bar.high, bar.low, bar.close)).collect();
    let first = ts("2017-01-31T22:00:00Z");
    let expected = [(first, first + HOUR_NS, 10.5, 12.0, 10.0, 11.25), (first + HOUR_NS, first + 2 * HOUR_NS, 11.25, 11.5, 9.75, 10.0)];
    assert_eq!(bars, expected, "{text}\n{report}");
    report
}

#[test]
fn every_layout_gives_the_same_bars() {
    for (text, config) in [
        ("time,open,high,low,close\n2017-01-31 22:00,10.5,12,10,11.25\n2017-01-31 23:00,11.25,11.5,9.75,10\n", "{}"),
        // A comment, capitals, the newest row first, CRLF, no last line break.
        (
            "made by hand, https://example.org\r\nTime,Low,High,Close,Open\r\n2017-01-31 23:00,9.75,11.5,10,11.25\r\n2017-01-31 22:00,10,12,11.25,10.5",
            "{}",
        ),
        // MetaTrader: tabs, two columns of time, names in angle brackets.
        (
            "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\n2017.01.31\t22:00:00\t10.5\t12\t10\t11.25\n2017.01.31\t23:00:00\t11.25\t11.5\t9.75\t10\n",
            "{}",
        ),
        // A decimal comma, day first, blank lines.
        (
            "Datum;Open;High;Low;Close\n\n31.01.2017 22:00;10,5;12,0;10,0;11,25\n\n31.01.2017 23:00;11,25;11,5;9,75;10,0\n",
            r#"{"columns": {"time": "datum"}}"#,
        ),
        // Quotes, a named month, thousands and currency signs.
        (
            "\"Date\"|\"Open\"|\"High\"|\"Low\"|\"Close\"\n\"Jan 31, 2017 10:00 PM\"|$10.50|\"12\"|10|11.25\n\"Jan 31, 2017 11:00 PM\"|11.25|11.5|9.75|10\n",
            "{}",
        ),
        // No header: columns by number.
        (
            "1485900000,10.5,12,10,11.25\n1485903600,11.25,11.5,9.75,10\n",
            r#"{"columns": {"time": 1, "open": 2, "high": 3, "low": 4, "close": 5}}"#,
        ),
        // Date and time as numbers without the leading zero, American local time.
        ("date,time,o,h,l,c\n20170131,1700,10.5,12,10,11.25\n20170131,1800,11.25,11.5,9.75,10\n", r#"{"time_zone": "America/New_York"}"#),
        // The label is the close.
        ("ts,open,high,low,close\n1485903600000,10.5,12,10,11.25\n1485907200000,11.25,11.5,9.75,10\n", r#"{"label": "close"}"#),
        // The index is named on a line of its own.
        (
            "Price,Close,High,Low,Open\nTicker,X,X,X,X\nDatetime,,,,\n2017-01-31T22:00:00+00:00,11.25,12,10,10.5\n2017-01-31T23:00:00+00:00,10,11.5,9.75,11.25\n",
            "{}",
        ),
        // An index without a name.
        (",open,high,low,close\n2017-01-31 22:00:00,10.5,12,10,11.25\n2017-01-31 23:00:00,11.25,11.5,9.75,10\n", "{}"),
        // A date column that holds the time as well, beside another time.
        ("date,time,open,high,low,close\n2017-01-31 22:00,x,10.5,12,10,11.25\n2017-01-31 23:00,x,11.25,11.5,9.75,10\n", "{}"),
        // A pattern of the user's own.
        (
            "time,open,high,low,close\n22h00 31/2017/01,10.5,12,10,11.25\n23h00 31/2017/01,11.25,11.5,9.75,10\n",
            r#"{"time_format": "%Hh%M %d/%Y/%m"}"#,
        ),
    ] {
        assert_two_bars(text, config);
    }
}

#[test]
fn utf16_and_byte_order_marks_are_read() {
    let text = "time,open,high,low,close\n2017-01-31 22:00,10.5,12,10,11.25\n2017-01-31 23:00,11.25,11.5,9.75,10\n";
    assert_two_bars(&format!("\u{feff}{text}"), "{}");
    let bytes: Vec<u8> = [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    assert_eq!(import_bytes(&bytes, &ImportConfig::default()).unwrap().0.bars.len(), 2);
}

#[test]
fn the_report_says_what_was_understood() {
    let report = assert_two_bars(
        "# from X\nTime;Open;High;Low;Close;Adj Close;Spread\n2017-01-31 23:00;11.25;11.5;9.75;10;9;1\n2017-01-31 22:00;10.5;12;10;11.25;9;1\n",
        "{}",
    );
    says(
        &report.to_string(),
        &[
            "semicolon between fields, header on line 2, newest row first",
            "2 read, 2 bars, 0 quarantined",
            "2017-01-31 22:00 to 2017-02-01 00:00 UTC",
            "interval   1h (100.00 % of steps)",
            "bar's open",
            "UTC",
            "open = Open",
            "Adj Close: adjusted prices are not used",
            "Spread: not needed",
            "tick       0.01",
            "no volume column",
        ],
    );
}

#[test]
fn local_times_cross_daylight_saving_in_both_orders() {
    // 2013-11-03 in New York: 01:00 occurs at 05:00 UTC and again at 06:00 UTC.
    let rows = ["2013-11-03 00:00", "2013-11-03 01:00", "2013-11-03 01:00", "2013-11-03 02:00"].map(|time| format!("{time},1,1,1,1\n"));
    let config = r#"{"time_zone": "America/New_York"}"#;
    let oldest_first = ok(&format!("time,open,high,low,close\n{}", rows.concat()), config).0;
    let opens: Vec<i64> = oldest_first.bars.iter().map(|bar| bar.ts_open).collect();
    assert_eq!(opens, ["04", "05", "06", "07"].map(|hour| ts(&format!("2013-11-03T{hour}:00:00Z"))));
    let reversed: String = rows.iter().rev().map(String::as_str).collect();
    assert_eq!(ok(&format!("time,open,high,low,close\n{reversed}"), config).0.bars, oldest_first.bars);
}

#[test]
fn of_two_volumes_the_base_assets_is_taken() {
    let text = "date,symbol,open,high,low,close,Volume,Volume B\n2019-10-17 09-AM,BTCUSD,100,101,99,100,5000,50\n2019-10-17 08-AM,BTCUSD,100,101,99,100,7000,70.5\n";
    let (series, report) = ok(text, "{}");
    assert_eq!(series.bars.iter().map(|bar| bar.volume).collect::<Vec<_>>(), [70.5, 50.0]);
    assert_eq!((series.instrument.symbol.as_str(), series.has_volume), ("BTCUSD", true));
    says(&report.to_string(), &["volume is Volume B, the base asset's", "Volume: another volume"]);
    assert_eq!(ok(text, r#"{"columns": {"volume": "Volume"}}"#).0.bars[0].volume, 7000.0);
}

#[test]
fn a_file_without_volume_says_so_once() {
    for text in [
        "time,open,high,low,close\n1,1,1,1,1\n2,1,1,1,1\n",
        "time,open,high,low,close,volume\n1,1,1,1,1,0\n2,1,1,1,1,0\n",
        "time,open,high,low,close,volume\n1,1,1,1,1,\n2,1,1,1,1,\n",
    ] {
        let (series, report) = ok(text, "{}");
        assert!(!series.has_volume && series.bars.iter().all(|bar| bar.volume == 0.0));
        assert_eq!(report.notes.iter().filter(|note| note.contains("volume features will be 0")).count(), 1, "{report}");
    }
    // MetaTrader writes 0 for the volume of currencies, and counts price changes.
    let (series, report) = ok("time,open,high,low,close,tickvol,vol\n1,1,1,1,1,7,0\n2,1,1,1,1,8,0\n", "{}");
    assert_eq!((series.has_volume, series.bars[1].volume), (true, 8.0));
    says(&report.to_string(), &["volume is tickvol, a count of trades"]);
}

#[test]
fn rows_out_of_order_are_sorted_and_named() {
    let text = "time,open,high,low,close\n3600,1,1,1,1\n14400,4,4,4,4\n7200,2,2,2,2\n10800,3,3,3,3\n18000,5,5,5,5\n";
    let (series, report) = ok(text, "{}");
    assert_eq!(series.bars.iter().map(|bar| bar.open).collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!((report.num_sorted, report.sorted.clone()), (1, vec![3]));
    says(&report.to_string(), &["1 rows were out of order", "line 3"]);
    says(&refused(text, r#"{"on_unsorted": "bad"}"#), &["line 3", "time was 1970-01-01 04:00", "expected a time after"]);
}

#[test]
fn a_symbol_is_chosen_among_several() {
    let text = "time,ticker,open,high,low,close\n1,A,1,1,1,1\n1,B,7,7,7,7\n2,A,2,2,2,2\n2,B,8,8,8,8\n";
    says(&refused(text, "{}"), &["2 symbols (A, B)", "instrument.symbol"]);
    let (series, report) = ok(text, r#"{"instrument": {"symbol": "b"}}"#);
    assert_eq!((series.bars[0].open, series.bars.len(), report.num_other_symbols), (7.0, 2, 2));
}

#[test]
fn tick_and_lot_are_found_or_followed() {
    let rows: String = (0..40).map(|i| format!("{},{p},{p},{p},{p},{i}\n", i * 60, p = 1676.75 + 0.25 * f64::from(i))).collect();
    let text = format!("time,open,high,low,close,volume\n{rows}");
    let (series, report) = ok(&text, r#"{"instrument": {"multiplier": 50}}"#);
    assert_eq!((series.instrument.tick_size, series.instrument.lot_size), (0.25, 1.0));
    says(&report.to_string(), &["tick       0.25 (auto: every price", "interval   1m"]);
    says(&refused(&text, r#"{"instrument": {"tick": 0.5}}"#), &["80 of 160 prices", "0.5", "open = 1676.75 on line 2", "off_grid"]);
    let (rounded, report) = ok(&text, r#"{"instrument": {"tick": 0.5, "off_grid": "round"}}"#);
    assert_eq!((rounded.bars[0].open, rounded.bars[1].open), (1677.0, 1677.0));
    says(&report.to_string(), &["80 of 160 prices were off the grid", "2.500e-1"]);
    // Prices that went through 32-bit floats.
    let rows: String = (0..40).map(|i| format!("{},{p},{p},{p},{p}\n", i * 60, p = f64::from(198.53_f32 + i as f32 / 7.0))).collect();
    let (series, report) = ok(&format!("time,open,high,low,close\n{rows}"), "{}");
    assert_eq!((series.instrument.tick_size, series.bars[0].open), (0.0001, 198.53));
    says(&report.to_string(), &["noise of binary fractions"]);
}

#[test]
fn bars_never_overlap() {
    // A step shorter than the interval shortens the bar.
    let text = "time,open,high,low,close\n0,1,1,1,1\n60,1,1,1,1\n90,1,1,1,1\n150,1,1,1,1\n210,1,1,1,1\n";
    for (config, spans) in [
        (r#"{"label": "open"}"#, [(0, 60), (60, 90), (90, 150), (150, 210), (210, 270)]),
        (r#"{"label": "close"}"#, [(-60, 0), (0, 60), (60, 90), (90, 150), (150, 210)]),
    ] {
        let bars = ok(text, config).0.bars;
        assert_eq!(bars.iter().map(|bar| (bar.ts_open / 1_000_000_000, bar.ts_close / 1_000_000_000)).collect::<Vec<_>>(), spans);
    }
    assert_eq!(ok(text, r#"{"interval": "30s"}"#).0.interval_ns, 30_000_000_000);
}

#[test]
fn settings_are_checked_and_survive_writing() {
    for bad in [
        r#"{"delimiter": "5"}"#,
        r#"{"decimal": "x"}"#,
        r#"{"max_bad_share": 2}"#,
        r#"{"time_zone": "Mars"}"#,
        r#"{"columns": {"date": 1}}"#,
        r#"{"columns": {"open": 0}}"#,
    ] {
        says(&refused("time,open,high,low,close\n1,1,1,1,1\n2,1,1,1,1\n", bad), &["setting import."]);
    }
    assert!(serde_json::from_str::<ImportConfig>(r#"{"delimeter": ","}"#).is_err());
    let config: ImportConfig =
        serde_json::from_str(r#"{"format": "csv", "interval": "5m", "columns": {"time": 1, "open": "O"}, "on_bad_row": "quarantine"}"#)
            .unwrap();
    assert_eq!(config.format, FileFormat::Csv);
    assert_eq!(serde_json::from_str::<ImportConfig>(&serde_json::to_string(&config).unwrap()).unwrap(), config);
}
