//! What can be wrong with bars, files, features and orders, each with the place, the value and what was expected.

/// Error of the `market` crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MarketError {
    /// A bar breaks the rules of [`crate::Bar::new_checked`].
    #[error("{field} was {value}, expected {expected}")]
    Bar {
        /// Which field.
        field: &'static str,
        /// What was found.
        value: f64,
        /// What would be accepted.
        expected: &'static str,
    },
    /// A setting that cannot work.
    #[error("setting {key} was {value}, expected {expected}")]
    Setting {
        /// Dotted name of the setting.
        key: &'static str,
        /// What was found.
        value: String,
        /// What would be accepted, and why.
        expected: String,
    },
    // -- import --
    /// A file that is not what it should be.
    #[error("{path}: {found}, expected {expected}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What it is.
        found: String,
        /// What could be read.
        expected: String,
    },
    /// No column could be taken for something that is needed.
    #[error(
        "{path}: no column for {column}; the columns are {found}. Name it in the settings, for example import.columns = {{ {column} = \"...\" }} \
         (a column's name, or its number counted from 1)"
    )]
    MissingColumn {
        /// The file.
        path: std::path::PathBuf,
        /// What is missing.
        column: &'static str,
        /// The names found.
        found: String,
    },
    /// A table without names.
    #[error(
        "{path}: no line of the first {lines_searched} names columns like time, open, high, low, close (first line: {first_line:?}). \
         Say which column is which by number, for example import.columns = {{ time = 1, open = 2, high = 3, low = 4, close = 5, volume = 6 }}"
    )]
    NoHeader {
        /// The file.
        path: std::path::PathBuf,
        /// How far it was looked for.
        lines_searched: usize,
        /// Start of the file.
        first_line: String,
    },
    /// A row that cannot be used.
    #[error("{path}, {unit} {number}: {row} (import.on_bad_row = \"quarantine\" sets such rows aside and counts them)")]
    Row {
        /// The file.
        path: std::path::PathBuf,
        /// `line` or `row`.
        unit: &'static str,
        /// Which one, counted from 1.
        number: u64,
        /// Field, value and what was expected.
        row: Box<crate::import::BadRow>,
    },
    /// More rows had to be set aside than the settings allow.
    #[error(
        "{path}: {num_bad} of {num_rows} rows cannot be used, import.max_bad_share allows {max_share}; the first is {unit} {number}: {first}"
    )]
    TooManyBadRows {
        /// The file.
        path: std::path::PathBuf,
        /// Rows set aside.
        num_bad: usize,
        /// Rows read.
        num_rows: usize,
        /// Largest share allowed.
        max_share: f64,
        /// `line` or `row`.
        unit: &'static str,
        /// Where the first is.
        number: u64,
        /// The first of them.
        first: Box<crate::import::BadRow>,
    },
    /// Too little to tell anything.
    #[error("{path}: {num_rows} usable rows, expected at least {needed}{why}")]
    TooFewRows {
        /// The file.
        path: std::path::PathBuf,
        /// Usable rows.
        num_rows: usize,
        /// Rows needed.
        needed: usize,
        /// What they are needed for.
        why: &'static str,
    },
    /// Too much to hold.
    #[error("{path}: more than {max_rows} rows; split the file")]
    TooManyRows {
        /// The file.
        path: std::path::PathBuf,
        /// Most rows read.
        max_rows: usize,
    },
    /// Prices that are no multiple of the stated tick.
    #[error(
        "{path}: {num_off} of {num_prices} prices are no multiple of instrument.tick = {tick}; the first is {field} = {value} on {unit} {number}. \
         instrument.tick = \"auto\" finds the grid of the file, instrument.off_grid = \"round\" rounds to the nearest tick"
    )]
    OffGrid {
        /// The file.
        path: std::path::PathBuf,
        /// `line` or `row`.
        unit: &'static str,
        /// Where the first is.
        number: u64,
        /// Its field.
        field: &'static str,
        /// Its price.
        value: f64,
        /// The stated tick.
        tick: f64,
        /// Prices off the grid.
        num_off: usize,
        /// Prices in all.
        num_prices: usize,
    },
    /// Dates that can be read in two ways.
    #[error("{path}: {example:?} may be day/month or month/day, and no date in the file decides it; set import.day_first = true or false")]
    AmbiguousDates {
        /// The file.
        path: std::path::PathBuf,
        /// One of the dates.
        example: String,
    },
    /// A file of several instruments.
    #[error("{path}: holds {num_symbols} symbols ({symbols}); choose one with instrument.symbol")]
    ManySymbols {
        /// The file.
        path: std::path::PathBuf,
        /// How many were seen.
        num_symbols: usize,
        /// The first of them.
        symbols: String,
    },
    /// The Parquet reader gave up.
    #[error("{path}: {source}")]
    Parquet {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: parquet::errors::ParquetError,
    },
    // -- features and table --
    /// A bar that does not come after the one before it.
    #[error("bar at {ts_open} ns came after a bar that closes at {previous_close} ns, expected bars in the order of time without overlap")]
    BarOrder {
        /// Its opening time.
        ts_open: i64,
        /// Close of the bar before.
        previous_close: i64,
    },
    /// A bar whose length is not the base interval's.
    #[error("bar at {ts_open} ns covers {length_ns} ns, expected at most the base interval of {interval_ns} ns")]
    BarLength {
        /// Its opening time.
        ts_open: i64,
        /// What it covers.
        length_ns: i64,
        /// Base interval.
        interval_ns: i64,
    },
    /// More rows than a row number can name.
    #[error("a feature table of {rows} base rows was asked for, at most {limit} fit")]
    TableRows {
        /// Rows asked for.
        rows: usize,
        /// Most rows.
        limit: usize,
    },
    /// The settings of a table could not be written down.
    #[error("settings of a feature table could not be stored: {reason}")]
    TableMeta {
        /// What the encoder said.
        reason: String,
    },
    /// Context columns that do not fit the table.
    #[error("context has {values} values, expected {rows} rows x {width} finite numbers")]
    Context {
        /// Values given.
        values: usize,
        /// Base rows of the table.
        rows: usize,
        /// Width given.
        width: usize,
    },
    /// A cache file that cannot be trusted.
    #[error("{path}: {what} was {found}, expected {expected}; delete the file and the table is built again")]
    TableFile {
        /// The file.
        path: std::path::PathBuf,
        /// Which part of it.
        what: &'static str,
        /// What was found.
        found: String,
        /// What would be accepted.
        expected: String,
    },
    /// Nothing to learn from.
    #[error("none of {rows} base rows is ready: {reasons}; give more history, or choose shorter frames")]
    NoReadyRows {
        /// Rows looked at.
        rows: usize,
        /// Why they are not ready, counted.
        reasons: String,
    },
    // -- synth, optimum, stats --
    /// A synthetic path left the range in which ticks are exact.
    #[error("synthetic price was {price} at bar {bar_index}, expected {low} to {high}: use fewer bars or a smaller drift and sigma")]
    SynthPrice {
        /// Bar in which it happened.
        bar_index: usize,
        /// The price.
        price: f64,
        /// Lowest price allowed.
        low: f64,
        /// Highest price allowed.
        high: f64,
    },
    /// A finished run that cannot be judged.
    #[error("statistics: {what}")]
    Track {
        /// What was found and what was expected.
        what: String,
    },
    // -- venue --
    /// The run states no costs at all.
    #[error("no cost model is stated; add to the run's configuration:\n{}", crate::venue::cost::COSTS_LINE)]
    NoCosts,
    /// An order that no venue could accept.
    #[error("order {id}: {field} was {value}, expected {expected}")]
    Order {
        /// The agent's number of the order.
        id: u64,
        /// Which field.
        field: &'static str,
        /// What was found.
        value: i64,
        /// What would be accepted.
        expected: &'static str,
    },
    /// A sum of money that does not fit 64 bits.
    #[error("{what} would be {micros} micro-units, expected at most {} in size", i64::MAX)]
    Money {
        /// Which sum.
        what: &'static str,
        /// What it would be.
        micros: i128,
    },
    /// The operating system refused a file operation.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
