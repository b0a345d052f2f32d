//! Files that cannot be read, rows that cannot be used: each is named, none panics.

use proptest::prelude::*;

use super::*;

const HEADER: &str = "time,open,high,low,close,volume\n";

/// Three sound rows around one that is not, on line 4.
fn with_row(row: &str) -> String {
    format!("{HEADER}60,10,11,9,10,5\n120,10,11,9,10,5\n{row}\n240,10,11,9,10,5\n")
}

#[test]
fn bad_rows_are_named_by_line_field_and_value() {
    for (row, parts) in [
        ("180,NaN,11,9,10,5", ["line 4: open was \"NaN\"", "finite"]),
        ("180,10,inf,9,10,5", ["high was \"inf\"", "finite"]),
        ("180,10,11,,10,5", ["low was empty", "finite"]),
        ("180,10,11,9", ["close was missing", "finite"]),
        ("180,10,8,9,10,5", ["high was 8", "at least open and close"]),
        ("180,10,11,10.5,10,5", ["low was 10.5", "at most open and close"]),
        ("180,10,11,-9,10,5", ["low was -9", "above 0"]),
        ("180,1e-300,11,1e-300,10,5", ["open was 0.", "a price from 1e-9"]),
        ("180,10,11,9,10,-5", ["volume was \"-5\"", "0 or more"]),
        ("180,10,11,9,10,many", ["volume was \"many\"", "0 or more"]),
        ("soon,10,11,9,10,5", ["time was \"soon\"", "Unix seconds"]),
        ("99999999999999,10,11,9,10,5", ["time was", "1800 to 2200"]),
        ("120,10,11,9,10,5", ["time was 1970-01-01 00:02", "line 3 has it, with the same prices"]),
        ("120,10,11,9,10.5,5", ["time was 1970-01-01 00:02", "with other prices"]),
        ("the end", ["line 4: time was \"the end\"", "Unix seconds"]),
    ] {
        says(&refused(&with_row(row), "{}"), &parts);
        let (series, report) = ok(&with_row(row), r#"{"on_bad_row": "quarantine", "max_bad_share": 0.5}"#);
        assert_eq!((series.bars.len(), report.num_quarantined, report.quarantined[0].number), (3, 1, 4), "{row}");
        says(&report.to_string(), &["1 quarantined", "line 4: "]);
    }
}

#[test]
fn too_many_bad_rows_are_refused() {
    let message = refused(&with_row("180,10,8,9,10,5"), r#"{"on_bad_row": "quarantine"}"#);
    says(&message, &["1 of 4 rows cannot be used", "allows 0.01", "line 4: high was 8"]);
}

#[test]
fn files_that_are_no_tables_are_refused() {
    for (bytes, parts) in [
        (&b""[..], ["is empty", "table of bars"]),
        (b"\n\n  \n", ["only empty lines", "table of bars"]),
        (b"\x00\x01\x02\x03", ["no text", "CSV"]),
        (b"\x1f\x8b\x08\x00", ["packed with gzip", "unpack"]),
        (b"PK\x03\x04....", ["packed with zip", "unpack"]),
        (b"PAR1 and nothing else", ["bars", "Parquet"]),
        (b"hello\nworld\n", ["no line of the first 2", "hello"]),
        (b"1499040000000,1,2,1,2,5\n1499043600000,1,2,1,2,5\n", ["import.columns = { time = 1, open = 2", "1499040000000"]),
        (b"time,open,high,low,volume\n1,1,1,1,1\n", ["no column for close", "time, open, high, low, volume"]),
        (b"open,high,low,close\n1,1,1,1\n", ["no column for time", "import.columns"]),
        (b"time,open,high,low,close\n", ["0 usable rows", "at least 1"]),
        (b"time,open,high,low,close\n1,1,1,1,1\n", ["1 usable rows, expected at least 2", "import.interval"]),
        (b"time,open,high,low,close\n01/02/2017,1,1,1,1\n01/03/2017,1,1,1,1\n", ["01/02/2017", "import.day_first"]),
        (b"time,open,high,low,close\nsoon,1,1,1,1\nlater,1,1,1,1\n", ["line 2: time was \"soon\"", "import.time_format"]),
    ] {
        let message = import_bytes(bytes, &ImportConfig::default()).map(|(series, _)| series.bars.len()).unwrap_err().to_string();
        says(&message, &parts);
    }
    assert_eq!(ok("time,open,high,low,close\n1,1,1,1,1\n", r#"{"interval": "1m"}"#).0.bars.len(), 1);
    let long = format!("{HEADER}{}", "9".repeat(1 << 17));
    says(&refused(&long, "{}"), &["line 2 is longer than 65536 bytes"]);
}

#[test]
fn paths_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path| import(path, &ImportConfig::default()).map(|_| ()).unwrap_err().to_string();
    says(&refused(folder.path()), &["is a directory"]);
    says(&refused(&folder.path().join("nothing.csv")), &["nothing.csv"]);
}

#[test]
fn line_numbers_are_those_of_an_editor() {
    let text = "a comment\n\n\ntime,open,high,low,close\n\n60,1,1,1,1\n\n\n120,1,1,1,bad\n";
    says(&refused(text, "{}"), &["line 9: close was \"bad\""]);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = import_bytes(&bytes, &ImportConfig::default());
    }

    #[test]
    fn no_fields_make_it_panic(rows in prop::collection::vec(prop::collection::vec("[0-9a-z.,:;/+\" é-]{0,14}", 0..8), 0..8)) {
        let text = rows.iter().map(|row| row.join(",")).collect::<Vec<_>>().join("\n");
        let _ = import_text(&format!("{HEADER}{text}"), r#"{"on_bad_row": "quarantine", "max_bad_share": 1}"#);
        let _ = import_text(&text, r#"{"columns": {"time": 1, "open": 2, "high": 3, "low": 4, "close": 5}, "time_zone": "Europe/Berlin"}"#);
    }
}
