//! Rows in, checked rows out: each by itself, the next not yet known.

use std::path::Path;

use super::{
    BadRow, BarSeries, ImportReport, MAX_ROWS, NumberedRow,
    columns::{Columns, MAX_VOLUMES, PRICE_NAMES},
    config::{BadRowPolicy, ImportConfig},
    dates::{self, Moment, NoShape, Shape, ShapeFinder, TimeReader},
    number,
    rows::{Cell, RowSource},
    series,
};
use crate::{Bar, MarketError};

/// Bad rows that are kept for the report.
const MAX_KEPT_BAD_ROWS: usize = 10_000;
/// Unreadable volumes that are kept to be named.
const MAX_KEPT_VOLUMES: usize = 100;
/// Most symbols in one file.
const MAX_SYMBOLS: usize = 10_000;
/// Prices that can be put on a grid.
const PRICE_RANGE: std::ops::RangeInclusive<f64> = 1e-9..=1e12;

/// One row, checked by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The time of the row.
    pub moment: Moment,
    /// Its number in the file, counted from 1.
    pub number: u64,
    /// Open, high, low, close.
    pub prices: [f64; 4],
    /// By position in [`Columns::volumes`]; NaN where there is none.
    pub volumes: [f64; MAX_VOLUMES],
    /// Index into [`Intake::symbols`].
    pub symbol: u32,
}

/// Everything read from a file.
pub(super) struct Intake<'a> {
    pub path: &'a Path,
    pub config: &'a ImportConfig,
    pub format: String,
    pub unit: &'static str,
    pub names: Vec<String>,
    pub columns: Columns,
    /// How times are written, with an example.
    pub time_format: String,
    pub rows: Vec<Row>,
    pub num_rows: usize,
    pub symbols: Vec<String>,
    pub bad: Quarantine<'a>,
    /// Row number, slot and text of volumes that are no numbers.
    pub bad_volumes: Vec<(u64, usize, String)>,
}

/// Reads a file through a source that can be opened several times; it is told which columns are needed.
///
/// # Errors
/// As [`super::import`].
pub(super) fn read_rows<S: RowSource>(
    path: &Path,
    config: &ImportConfig,
    open: impl Fn(&[usize]) -> Result<S, MarketError>,
) -> Result<(BarSeries, ImportReport), MarketError> {
    let names = open(&[])?.names().to_vec();
    let mut columns = Columns::find(&names, &config.columns);
    if let Some(column) = columns.missing() {
        let found = if names.is_empty() { "without names".into() } else { names.join(", ") };
        return Err(MarketError::MissingColumn { path: path.into(), column, found });
    }
    let (shape, example) = {
        let source = open(&columns.needed())?;
        find_shape(path, config, &mut columns, &names, source)?
    };
    let mut source = open(&columns.needed())?;
    let unit = source.unit();
    let time_format = match (&shape, example) {
        (Some(shape), Some(example)) => format!("{example:?} read as {}", shape.describe()),
        _ => "stored as times".into(),
    };
    let reader = TimeReader { shape: shape.unwrap_or(Shape::Unix(1)), time_zone: config.zone()? };
    let bad = Quarantine { path, unit, policy: config.on_bad_row, rows: Vec::new(), num_rows: 0 };
    let format = source.describe();
    let mut intake = Intake {
        path,
        config,
        format,
        unit,
        names,
        columns,
        time_format,
        rows: Vec::new(),
        num_rows: 0,
        symbols: Vec::new(),
        bad,
        bad_volumes: Vec::new(),
    };
    let mut text = String::new();
    while let Some(number) = source.next_row()? {
        intake.num_rows += 1;
        if intake.num_rows > MAX_ROWS {
            return Err(MarketError::TooManyRows { path: path.into(), max_rows: MAX_ROWS });
        }
        match intake.read_row(&source, number, &reader, &mut text) {
            Ok(row) => intake.rows.push(row),
            Err(row) => intake.bad.put(number, row)?,
        }
    }
    series::finish(intake)
}

/// How the times are written, from as many rows as it takes, and the first of them.
fn find_shape<S: RowSource>(
    path: &Path,
    config: &ImportConfig,
    columns: &mut Columns,
    names: &[String],
    mut source: S,
) -> Result<(Option<Shape>, Option<String>), MarketError> {
    let stated = config.time_format.as_deref().map(Shape::stated);
    let mut finder = ShapeFinder::default();
    let (mut text, mut example) = (String::new(), None);
    while let Some(number) = source.next_row()? {
        if example.is_none()
            && let (Some(clock), Some(time), None) = (columns.clock, columns.time, &config.columns.clock)
            && matches!(source.cell(time), Cell::Text(date) if dates::has_clock(date))
        {
            columns.clock = None;
            columns.ignored.push((names[clock].trim().to_owned(), "the date column holds the time of day as well"));
        }
        if matches!(time_cell(&source, columns, &mut text), Cell::Instant(_) | Cell::Civil(_)) {
            return Ok((None, None));
        }
        let first = example.get_or_insert_with(|| text.clone());
        if stated.is_some() {
            return Ok((stated, Some(first.clone())));
        }
        if let Some(shape) = finder.push(number, &text, config.day_first) {
            return Ok((Some(shape), example));
        }
        if finder.gives_up() {
            break;
        }
    }
    match finder.why() {
        NoShape::Ambiguous(example) => Err(MarketError::AmbiguousDates { path: path.into(), example }),
        NoShape::Unreadable(number, text) => Err(MarketError::Row {
            path: path.into(),
            unit: source.unit(),
            number,
            row: Box::new(BadRow {
                field: field_name(names, columns.time),
                value: format!("{text:?}"),
                expected: "a date and time, or a Unix time (import.time_format states a pattern)".into(),
            }),
        }),
        NoShape::Empty => Err(MarketError::TooFewRows { path: path.into(), num_rows: 0, needed: 1, why: "" }),
    }
}

/// The time of the current row; as text it is put together in `text`.
fn time_cell<'a>(source: &'a impl RowSource, columns: &Columns, text: &'a mut String) -> Cell<'a> {
    text.clear();
    let time = columns.time.map_or(Cell::Missing, |time| source.cell(time));
    match (time, columns.clock.map(|clock| source.cell(clock))) {
        (Cell::Instant(_), _) | (Cell::Civil(_), None) => return time,
        (Cell::Civil(ns), Some(_)) => {
            let day = jiff::Timestamp::from_nanosecond(ns.into()).unwrap_or_default().to_string();
            text.push_str(&day[..day.find('T').unwrap_or(day.len())]);
        }
        (Cell::Text(date), _) => text.push_str(date.trim()),
        (Cell::Integer(value), _) => *text = value.to_string(),
        (Cell::Number(value), _) => *text = value.to_string(),
        (Cell::Missing, _) => {}
    }
    if let Some(clock) = columns.clock {
        text.push(' ');
        match source.cell(clock) {
            // Spreadsheets drop the zero of 0930 and 093000.
            Cell::Text(clock) if matches!(clock.trim().len(), 3 | 5) && clock.trim().bytes().all(|byte| byte.is_ascii_digit()) => {
                text.push('0');
                text.push_str(clock.trim());
            }
            Cell::Text(clock) => text.push_str(clock.trim()),
            Cell::Integer(clock) => text.push_str(&if clock < 2400 { format!("{clock:04}") } else { format!("{clock:06}") }),
            Cell::Missing | Cell::Number(_) | Cell::Instant(_) | Cell::Civil(_) => {}
        }
    }
    Cell::Text(text)
}

impl Intake<'_> {
    fn read_row(&mut self, source: &impl RowSource, line: u64, reader: &TimeReader, text: &mut String) -> Result<Row, BadRow> {
        let cell = time_cell(source, &self.columns, text);
        let moment = match cell {
            Cell::Instant(ns) => Ok(Moment { ts: ns, fold_ns: 0 }),
            Cell::Civil(ns) => reader.read_civil_ns(ns),
            Cell::Text(text) => reader.read(text),
            Cell::Missing | Cell::Number(_) | Cell::Integer(_) => Err("a time".into()),
        };
        let moment = moment.map_err(|expected| BadRow { field: self.field(self.columns.time), value: cell.to_string(), expected })?;
        let mut prices = [0.0; 4];
        for (price, column) in prices.iter_mut().zip(self.columns.prices) {
            let cell = column.map_or(Cell::Missing, |column| source.cell(column));
            *price = number(cell, source.decimal()).filter(|price| price.is_finite()).ok_or_else(|| BadRow {
                field: self.field(column),
                value: cell.to_string(),
                expected: "a finite number".into(),
            })?;
        }
        let [open, high, low, close] = prices;
        Bar::new_checked(0, 1, open, high, low, close, 0.0).map_err(|error| self.bar_error(&error))?;
        if let Some(price) = prices.into_iter().position(|price| !PRICE_RANGE.contains(&price)) {
            let expected = format!("a price from {:e} to {:e}", PRICE_RANGE.start(), PRICE_RANGE.end());
            return Err(BadRow { field: PRICE_NAMES[price].into(), value: prices[price].to_string(), expected });
        }
        let mut volumes = [f64::NAN; MAX_VOLUMES];
        for slot in 0..self.columns.volumes.len() {
            let cell = source.cell(self.columns.volumes[slot].index);
            match number(cell, source.decimal()).filter(|volume| volume.is_finite() && *volume >= 0.0) {
                Some(volume) => volumes[slot] = volume,
                None if self.bad_volumes.len() < MAX_KEPT_VOLUMES => self.bad_volumes.push((line, slot, cell.to_string())),
                None => {}
            }
        }
        Ok(Row { moment, number: line, prices, volumes, symbol: self.read_symbol(source)? })
    }

    fn read_symbol(&mut self, source: &impl RowSource) -> Result<u32, BadRow> {
        let Some(column) = self.columns.symbol else { return Ok(0) };
        let number;
        let symbol = match source.cell(column) {
            Cell::Text(text) => text.trim(),
            Cell::Integer(value) => {
                number = value.to_string();
                &number
            }
            _ => "",
        };
        // Most files hold one symbol, and neighbours are mostly alike.
        if let Some(index) = self.rows.last().map(|row| row.symbol).filter(|&index| self.symbols[index as usize] == symbol) {
            return Ok(index);
        }
        if let Some(index) = self.symbols.iter().position(|other| other == symbol) {
            return Ok(index as u32);
        }
        if self.symbols.len() >= MAX_SYMBOLS {
            let expected = format!("at most {MAX_SYMBOLS} different symbols (import.columns.symbol)");
            return Err(BadRow { field: self.field(Some(column)), value: format!("{symbol:?}"), expected });
        }
        self.symbols.push(symbol.into());
        Ok(self.symbols.len() as u32 - 1)
    }

    /// A bar's error as that of the row's field.
    pub fn bar_error(&self, error: &MarketError) -> BadRow {
        match error {
            MarketError::Bar { field, value, expected } => {
                BadRow { field: (*field).into(), value: value.to_string(), expected: (*expected).into() }
            }
            other => BadRow { field: "bar".into(), value: other.to_string(), expected: "a bar".into() },
        }
    }

    /// Name of a column.
    pub fn field(&self, column: Option<usize>) -> String {
        field_name(&self.names, column)
    }
}

fn field_name(names: &[String], column: Option<usize>) -> String {
    match column {
        Some(index) => names
            .get(index)
            .map(|name| name.trim())
            .filter(|name| !name.is_empty())
            .map_or_else(|| format!("column {}", index + 1), str::to_owned),
        None => "time".into(),
    }
}

fn number(cell: Cell<'_>, decimal: char) -> Option<f64> {
    match cell {
        Cell::Text(text) => number::parse(text, decimal),
        Cell::Number(value) => Some(value),
        Cell::Integer(value) => Some(value as f64),
        Cell::Missing | Cell::Instant(_) | Cell::Civil(_) => None,
    }
}

/// Rows that were set aside.
pub(super) struct Quarantine<'a> {
    path: &'a Path,
    unit: &'static str,
    policy: BadRowPolicy,
    /// The first [`MAX_KEPT_BAD_ROWS`], in the order found.
    pub rows: Vec<NumberedRow>,
    /// All of them.
    pub num_rows: usize,
}

impl Quarantine<'_> {
    /// Sets a row aside, or stops the import with it.
    ///
    /// # Errors
    /// [`MarketError::Row`] when the settings say to stop.
    pub fn put(&mut self, number: u64, row: BadRow) -> Result<(), MarketError> {
        if self.policy == BadRowPolicy::Stop {
            return Err(MarketError::Row { path: self.path.into(), unit: self.unit, number, row: Box::new(row) });
        }
        self.num_rows += 1;
        if self.rows.len() < MAX_KEPT_BAD_ROWS {
            self.rows.push(NumberedRow { number, row });
        }
        Ok(())
    }
}
