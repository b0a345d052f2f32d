//! Parquet files that are written here and read back.

use std::{fs::File, sync::Arc};

use ::parquet::{
    data_type::{ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

use super::*;

const HOUR_MS: i64 = 3_600_000;
/// 2017-01-31 22:00 UTC.
const FIRST_MS: i64 = 1_485_900_000_000;

/// Writes a column of the next row group's; a macro because its type is the writer's.
macro_rules! column {
    ($group:expr, $type:ty, $values:expr, $levels:expr) => {{
        let mut column = $group.next_column().unwrap().unwrap();
        column.typed::<$type>().write_batch($values, $levels, None).unwrap();
        column.close().unwrap();
    }};
}

fn writer(path: &Path, schema: &str) -> SerializedFileWriter<File> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(WriterProperties::default())).unwrap()
}

#[test]
fn a_file_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bars.parquet");
    let schema =
        "message bars { required int64 timestamp (TIMESTAMP(MILLIS,true)); required double open; required double high; required double low;
                  required float close; optional int64 volume; required binary symbol (UTF8); required int32 spare; }";
    let mut file = writer(&path, schema);
    // Two row groups, more rows than one batch holds.
    const NUM_ROWS: usize = 10_000;
    for group in 0..2 {
        let rows = group * NUM_ROWS..(group + 1) * NUM_ROWS;
        let close = |row: usize| 100.25 + (row % 40) as f64 * 0.25;
        let mut columns = file.next_row_group().unwrap();
        column!(columns, Int64Type, &rows.clone().map(|row| FIRST_MS + row as i64 * HOUR_MS).collect::<Vec<_>>(), None);
        column!(columns, DoubleType, &rows.clone().map(close).collect::<Vec<_>>(), None);
        column!(columns, DoubleType, &rows.clone().map(|row| close(row) + 0.5).collect::<Vec<_>>(), None);
        column!(columns, DoubleType, &rows.clone().map(|row| close(row) - 0.25).collect::<Vec<_>>(), None);
        column!(columns, FloatType, &rows.clone().map(|row| close(row) as f32).collect::<Vec<_>>(), None);
        column!(columns, Int64Type, &rows.clone().map(|row| row as i64).collect::<Vec<_>>(), Some(&[1; NUM_ROWS]));
        column!(columns, ByteArrayType, &vec![ByteArray::from("ESZ3"); NUM_ROWS], None);
        column!(columns, Int32Type, &vec![0; NUM_ROWS], None);
        columns.close().unwrap();
    }
    file.close().unwrap();

    let (series, report) = import(&path, &ImportConfig::default()).unwrap();
    assert_eq!((series.bars.len(), series.interval_ns, series.instrument.tick_size), (2 * NUM_ROWS, HOUR_MS * 1_000_000, 0.25));
    assert_eq!((series.instrument.symbol.as_str(), series.has_volume, series.instrument.lot_size), ("ESZ3", true, 1.0));
    let bar = series.bars[12_345];
    // 12,345 mod 40 = 25; 100.25 + 25 x 0.25 = 106.50.
    assert_eq!(
        bar,
        crate::Bar::new_checked(
            (FIRST_MS + 12_345 * HOUR_MS) * 1_000_000,
            (FIRST_MS + 12_346 * HOUR_MS) * 1_000_000,
            106.5,
            107.0,
            106.25,
            106.5,
            12_345.0
        )
        .unwrap()
    );
    says(&report.to_string(), &["Parquet, 2 row groups", "20000 bars", "spare: not needed", "stored as times"]);
}

#[test]
fn local_times_text_and_nulls() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bars.parquet");
    let schema = "message bars { required int64 time (TIMESTAMP(MICROS,false)); required binary open (UTF8); required float high; required float low;
                  optional double close; }";
    let mut file = writer(&path, schema);
    let mut columns = file.next_row_group().unwrap();
    column!(columns, Int64Type, &[FIRST_MS * 1000, (FIRST_MS + HOUR_MS) * 1000, (FIRST_MS + 2 * HOUR_MS) * 1000], None);
    column!(columns, ByteArrayType, &["10.15", "10.15", "10.2"].map(ByteArray::from), None);
    column!(columns, FloatType, &[10.3, 10.3, 10.3], None);
    column!(columns, FloatType, &[10.1, 10.1, 10.1], None);
    column!(columns, DoubleType, &[10.2, 10.25], Some(&[1, 0, 1]));
    columns.close().unwrap();
    file.close().unwrap();

    says(&import(&path, &ImportConfig::default()).map(|_| ()).unwrap_err().to_string(), &["row 2: close was missing"]);
    let config = r#"{"on_bad_row": "quarantine", "max_bad_share": 0.5, "time_zone": "America/New_York"}"#;
    let (series, _) = import(&path, &serde_json::from_str(config).unwrap()).unwrap();
    // 22:00 in New York in January is 03:00 UTC; a 32-bit 10.3 is the price 10.3.
    assert_eq!((series.bars[0].ts_open, series.bars[0].high, series.instrument.tick_size), (ts("2017-02-01T03:00:00Z"), 10.3, 0.01));
}

#[test]
fn a_damaged_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bars.parquet");
    std::fs::write(&path, [b"PAR1".as_slice(), &[0xff; 100], b"PAR1"].concat()).unwrap();
    says(&import(&path, &ImportConfig::default()).map(|_| ()).unwrap_err().to_string(), &["bars.parquet"]);
    let stated: ImportConfig = serde_json::from_str(r#"{"format": "parquet"}"#).unwrap();
    says(&import_bytes(b"time,open\n", &stated).map(|_| ()).unwrap_err().to_string(), &["PAR1"]);
}

/// A small sound file.
fn sound() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bars.parquet");
    let mut file = writer(
        &path,
        "message bars { required int64 time; required double open; required double high; required double low; required double close; }",
    );
    let mut columns = file.next_row_group().unwrap();
    column!(columns, Int64Type, &[1_485_900_000, 1_485_903_600, 1_485_907_200], None);
    for _ in 0..4 {
        column!(columns, DoubleType, &[10.25, 10.5, 10.75], None);
    }
    columns.close().unwrap();
    file.close().unwrap();
    std::fs::read(&path).unwrap()
}

#[test]
fn unix_times_in_whole_numbers_are_read() {
    let (series, report) = import_bytes(&sound(), &ImportConfig::default()).unwrap();
    assert_eq!((series.bars.len(), series.bars[0].ts_open), (3, ts("2017-01-31T22:00:00Z")));
    says(&report.to_string(), &["read as Unix seconds"]);
}

proptest::proptest! {
    #[test]
    fn no_damage_makes_it_panic(changes in proptest::collection::vec((0_usize..10_000, proptest::num::u8::ANY), 1..4), cut in 0_usize..10_000) {
        let mut bytes = sound();
        let len = bytes.len();
        for (at, byte) in changes {
            bytes[4 + at % (len - 4)] ^= byte;
        }
        let _ = import_bytes(&bytes, &ImportConfig::default());
        bytes.truncate(4 + cut % (len - 4));
        let _ = import_bytes(&bytes, &ImportConfig::default());
    }
}
