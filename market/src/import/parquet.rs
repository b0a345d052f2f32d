//! Parquet files: flat columns of numbers, times and texts, read in batches without Arrow.

use std::{fs::File, path::Path, path::PathBuf};

use parquet::{
    basic::{ConvertedType, LogicalType, TimeUnit, Type as PhysicalType},
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::DataType,
    errors::ParquetError,
    file::{reader::FileReader, serialized_reader::SerializedFileReader},
    schema::types::ColumnDescriptor,
};

use super::{
    io, number,
    rows::{Cell, RowSource},
};
use crate::MarketError;

/// Rows that are read at a time.
const BATCH_ROWS: usize = 8192;
/// Nanoseconds in one day.
const DAY_NS: i64 = 86_400_000_000_000;

/// Rows of a Parquet file.
pub(super) struct ParquetRows {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    names: Vec<String>,
    /// Columns that are read.
    needed: Vec<usize>,
    /// Readers of the needed columns in the current row group.
    readers: Vec<ColumnReader>,
    next_group: usize,
    /// The current batch, by column of the file; empty for columns that are not needed.
    batch: Vec<Values>,
    batch_len: usize,
    /// Position in the batch of the next row.
    next: usize,
    num_rows: u64,
}

/// A batch of one column.
#[derive(Clone, Debug)]
enum Values {
    Unread,
    Texts(Vec<Option<String>>),
    Numbers(Vec<Option<f64>>),
    Integers(Vec<Option<i64>>),
    Instants(Vec<Option<i64>>),
    Civils(Vec<Option<i64>>),
}

impl ParquetRows {
    /// Opens the file before its first row; of its columns only `needed` are read.
    pub fn open(path: &Path, needed: &[usize]) -> Result<Self, MarketError> {
        let file = File::open(path).map_err(|source| io(path, source))?;
        let reader = SerializedFileReader::new(file).map_err(|source| MarketError::Parquet { path: path.into(), source })?;
        let columns = reader.metadata().file_metadata().schema_descr_ptr();
        // A nested column keeps its place but has no name that could be taken for a price.
        let names =
            columns.columns().iter().map(|column| if column.max_rep_level() == 0 { column.path().string() } else { "nested".into() });
        let (names, num_columns): (Vec<_>, _) = (names.collect(), columns.num_columns());
        let mut needed = needed.to_vec();
        needed.retain(|&column| column < num_columns && columns.column(column).max_rep_level() == 0);
        needed.sort_unstable();
        needed.dedup();
        let batch = vec![Values::Unread; num_columns];
        Ok(Self { path: path.into(), reader, names, needed, readers: Vec::new(), next_group: 0, batch, batch_len: 0, next: 0, num_rows: 0 })
    }

    /// Reads the next batch; an empty one is the end.
    fn fill(&mut self) -> Result<(), ParquetError> {
        (self.batch_len, self.next) = (0, 0);
        loop {
            let descriptors = self.reader.metadata().file_metadata().schema_descr_ptr();
            let mut lens = Vec::with_capacity(self.needed.len());
            for (reader, &column) in self.readers.iter_mut().zip(&self.needed) {
                let (values, len) = read_batch(reader, &descriptors.column(column))?;
                self.batch[column] = values;
                lens.push(len);
            }
            self.batch_len = lens.first().copied().unwrap_or(0);
            if lens.iter().any(|&len| len != self.batch_len) {
                return Err(ParquetError::General(format!("columns of different lengths: {lens:?}")));
            }
            if self.batch_len > 0 || self.next_group == self.reader.num_row_groups() {
                return Ok(());
            }
            let group = self.reader.get_row_group(self.next_group)?;
            self.next_group += 1;
            self.readers = self.needed.iter().map(|&column| group.get_column_reader(column)).collect::<Result<_, _>>()?;
        }
    }
}

impl RowSource for ParquetRows {
    fn describe(&self) -> String {
        format!("Parquet, {} row groups", self.reader.num_row_groups())
    }

    fn unit(&self) -> &'static str {
        "row"
    }

    fn names(&self) -> &[String] {
        &self.names
    }

    fn decimal(&self) -> char {
        '.'
    }

    fn next_row(&mut self) -> Result<Option<u64>, MarketError> {
        if self.next >= self.batch_len {
            self.fill().map_err(|source| MarketError::Parquet { path: self.path.clone(), source })?;
            if self.batch_len == 0 {
                return Ok(None);
            }
        }
        self.next += 1;
        self.num_rows += 1;
        Ok(Some(self.num_rows))
    }

    fn cell(&self, column: usize) -> Cell<'_> {
        let row = self.next.saturating_sub(1);
        match self.batch.get(column) {
            Some(Values::Texts(values)) => values.get(row).and_then(Option::as_deref).map_or(Cell::Missing, Cell::Text),
            Some(Values::Numbers(values)) => values.get(row).copied().flatten().map_or(Cell::Missing, Cell::Number),
            Some(Values::Integers(values)) => values.get(row).copied().flatten().map_or(Cell::Missing, Cell::Integer),
            Some(Values::Instants(values)) => values.get(row).copied().flatten().map_or(Cell::Missing, Cell::Instant),
            Some(Values::Civils(values)) => values.get(row).copied().flatten().map_or(Cell::Missing, Cell::Civil),
            Some(Values::Unread) | None => Cell::Missing,
        }
    }
}

/// The next values of a column and how many rows they cover.
fn read_batch(reader: &mut ColumnReader, column: &ColumnDescriptor) -> Result<(Values, usize), ParquetError> {
    let max_def = column.max_def_level();
    Ok(match reader {
        ColumnReader::Int32ColumnReader(reader) => whole(take(reader, max_def)?, column, i64::from),
        ColumnReader::Int64ColumnReader(reader) => whole(take(reader, max_def)?, column, |value| value),
        ColumnReader::Int96ColumnReader(reader) => {
            let (values, len) = take(reader, max_def)?;
            // Spark and Impala write UTC into this old type.
            (Values::Instants(values.into_iter().map(|value| value.map(|value| value.to_nanos())).collect()), len)
        }
        ColumnReader::FloatColumnReader(reader) => {
            let (values, len) = take(reader, max_def)?;
            (Values::Numbers(values.into_iter().map(|value| value.map(number::of_f32)).collect()), len)
        }
        ColumnReader::DoubleColumnReader(reader) => {
            let (values, len) = take(reader, max_def)?;
            (Values::Numbers(values), len)
        }
        ColumnReader::ByteArrayColumnReader(reader) => {
            let (values, len) = take(reader, max_def)?;
            (bytes(values.into_iter().map(|value| value.map(|value| value.data().to_vec())), column), len)
        }
        ColumnReader::FixedLenByteArrayColumnReader(reader) => {
            let (values, len) = take(reader, max_def)?;
            (bytes(values.into_iter().map(|value| value.map(|value| value.data().to_vec())), column), len)
        }
        ColumnReader::BoolColumnReader(reader) => {
            let (values, len) = take(reader, max_def)?;
            (Values::Texts(values.into_iter().map(|value| value.map(|value| value.to_string())).collect()), len)
        }
    })
}

/// Values of one column and how many rows they cover.
type Taken<T> = (Vec<Option<T>>, usize);

/// Reads rows of one column; a value whose definition level is below the highest is null.
fn take<D: DataType>(reader: &mut ColumnReaderImpl<D>, max_def: i16) -> Result<Taken<D::T>, ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let levels_wanted = (max_def > 0).then_some(&mut levels);
    let (num_rows, ..) = reader.read_records(BATCH_ROWS, levels_wanted, None, &mut values)?;
    if max_def == 0 {
        return Ok((values.into_iter().map(Some).collect(), num_rows));
    }
    let mut values = values.into_iter();
    Ok((levels.into_iter().map(|level| if level == max_def { values.next() } else { None }).collect(), num_rows))
}

/// Whole numbers by what the schema says they count.
fn whole<T>((values, len): Taken<T>, column: &ColumnDescriptor, wide: impl Fn(T) -> i64) -> (Values, usize) {
    let scaled = |values: Vec<Option<T>>, factor: i64| {
        values.into_iter().map(|value| value.and_then(|value| wide(value).checked_mul(factor))).collect()
    };
    let unit_ns = |unit: &TimeUnit| match unit {
        TimeUnit::MILLIS => 1_000_000,
        TimeUnit::MICROS => 1000,
        TimeUnit::NANOS => 1,
    };
    let values = match (column.logical_type_ref(), column.converted_type()) {
        (Some(LogicalType::Timestamp(time)), _) if time.is_adjusted_to_u_t_c => Values::Instants(scaled(values, unit_ns(&time.unit))),
        (Some(LogicalType::Timestamp(time)), _) => Values::Civils(scaled(values, unit_ns(&time.unit))),
        (_, ConvertedType::TIMESTAMP_MILLIS) => Values::Instants(scaled(values, 1_000_000)),
        (_, ConvertedType::TIMESTAMP_MICROS) => Values::Instants(scaled(values, 1000)),
        (Some(LogicalType::Date), _) | (_, ConvertedType::DATE) => Values::Civils(scaled(values, DAY_NS)),
        (Some(LogicalType::Time(time)), _) => clocks(scaled(values, unit_ns(&time.unit))),
        (_, ConvertedType::TIME_MILLIS) => clocks(scaled(values, 1_000_000)),
        (_, ConvertedType::TIME_MICROS) => clocks(scaled(values, 1000)),
        (Some(LogicalType::Decimal(_)), _) | (_, ConvertedType::DECIMAL) => Values::Numbers(
            scaled(values, 1).into_iter().map(|value: Option<i64>| value.map(|value| decimal(value.into(), column.type_scale()))).collect(),
        ),
        _ => Values::Integers(scaled(values, 1)),
    };
    (values, len)
}

/// Times of day as text, to be joined with a date.
fn clocks(values: Vec<Option<i64>>) -> Values {
    let text = |ns: i64| {
        let secs = ns / 1_000_000_000;
        format!("{:02}:{:02}:{:02}.{:09}", secs / 3600, secs / 60 % 60, secs % 60, ns % 1_000_000_000)
    };
    Values::Texts(values.into_iter().map(|value| value.map(text)).collect())
}

/// The float nearest to a scaled whole number.
fn decimal(value: i128, scale: i32) -> f64 {
    format!("{value}e{}", -scale).parse().unwrap_or(f64::NAN)
}

/// Texts, or decimal numbers of many digits.
fn bytes(values: impl Iterator<Item = Option<Vec<u8>>>, column: &ColumnDescriptor) -> Values {
    let is_decimal =
        matches!(column.logical_type_ref(), Some(LogicalType::Decimal(_))) || column.converted_type() == ConvertedType::DECIMAL;
    if !is_decimal {
        let is_text = column.physical_type() == PhysicalType::BYTE_ARRAY;
        return Values::Texts(
            values.map(|value| value.filter(|_| is_text).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())).collect(),
        );
    }
    // Two's complement, the highest byte first.
    let signed = |bytes: &[u8]| {
        let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
        (bytes.len() <= 16).then(|| bytes.iter().fold(sign, |value: i128, byte| value << 8 | i128::from(*byte)))
    };
    Values::Numbers(values.map(|value| value.and_then(|bytes| signed(&bytes)).map(|value| decimal(value, column.type_scale()))).collect())
}
