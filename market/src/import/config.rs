//! Settings of the importer; every one may be left out.

use jiff::tz::TimeZone;

use crate::{MarketError, features::Interval, instrument::InstrumentConfig};

/// How to read a file of bars. The defaults detect everything that can be detected; the report says what was.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportConfig {
    /// `"csv"` or `"parquet"`; `"auto"` looks at the first bytes.
    pub format: FileFormat,
    /// Character between fields; absent: whichever of `,` `;` tab and `|` gives a table.
    pub delimiter: Option<char>,
    /// `.` or `,` in numbers; absent: detected.
    pub decimal: Option<char>,
    /// Which column is which; absent ones are found by name.
    pub columns: ColumnChoice,
    /// `unix_s`, `unix_ms`, `unix_us`, `unix_ns`, or a strptime pattern such as `%d.%m.%Y %H:%M`; absent: detected.
    pub time_format: Option<String>,
    /// Whether `03/04/2017` is the 3rd of April; absent: decided by the file's other dates.
    pub day_first: Option<bool>,
    /// IANA name of the zone of times that state none.
    pub time_zone: String,
    /// Whether a row's time is the bar's open or its close.
    pub label: Label,
    /// Length of a bar; absent: the most frequent step between rows.
    pub interval: Option<Interval>,
    /// What to do with a row that cannot be used.
    pub on_bad_row: BadRowPolicy,
    /// Largest share of rows that may be quarantined.
    pub max_bad_share: f64,
    /// What to do with rows out of order whose times are otherwise sound.
    pub on_unsorted: UnsortedPolicy,
    /// Terms of the instrument.
    pub instrument: InstrumentConfig,
}

impl Default for ImportConfig {
    fn default() -> Self {
        Self {
            format: FileFormat::Auto,
            delimiter: None,
            decimal: None,
            columns: ColumnChoice::default(),
            time_format: None,
            day_first: None,
            time_zone: "UTC".into(),
            label: Label::Open,
            interval: None,
            on_bad_row: BadRowPolicy::Stop,
            max_bad_share: 0.01,
            on_unsorted: UnsortedPolicy::Sort,
            instrument: InstrumentConfig::default(),
        }
    }
}

impl ImportConfig {
    /// Refuses settings that cannot work.
    ///
    /// # Errors
    /// [`MarketError::Setting`] with the key, its value, and what was expected.
    pub fn validate(&self) -> Result<(), MarketError> {
        let refuse = |key, value: String, expected: &str| Err(MarketError::Setting { key, value, expected: expected.into() });
        if let Some(delimiter) =
            self.delimiter.filter(|c| !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '"' | '\n' | '\r' | '.'))
        {
            return refuse("import.delimiter", delimiter.into(), "one ASCII character that no number holds, such as \",\" or \";\"");
        }
        if let Some(decimal) = self.decimal.filter(|c| !matches!(c, '.' | ',')) {
            return refuse("import.decimal", decimal.into(), "\".\" or \",\"");
        }
        if self.decimal == Some(',') && self.delimiter == Some(',') {
            return refuse("import.decimal", ",".into(), "another character than import.delimiter");
        }
        if !(0.0..=1.0).contains(&self.max_bad_share) {
            return refuse("import.max_bad_share", self.max_bad_share.to_string(), "a share from 0 to 1");
        }
        if let Some(number) = self.columns.all().into_iter().find(|choice| matches!(choice, Some(ColumnRef::Number(0)))) {
            return refuse("import.columns", format!("{number:?}"), "column numbers that count from 1");
        }
        if self.columns.date.is_some() != self.columns.clock.is_some() {
            return refuse("import.columns", "only one of date and clock".into(), "both, or time alone for a single column");
        }
        self.zone()?;
        self.instrument.validate()
    }

    pub(super) fn zone(&self) -> Result<TimeZone, MarketError> {
        if self.time_zone.eq_ignore_ascii_case("utc") {
            return Ok(TimeZone::UTC);
        }
        TimeZone::get(&self.time_zone).map_err(|_| MarketError::Setting {
            key: "import.time_zone",
            value: self.time_zone.clone(),
            expected: "an IANA time zone, such as UTC or America/New_York".into(),
        })
    }
}

/// Kind of file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// By its first bytes.
    #[default]
    Auto,
    /// Text, one row a line.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// Which column holds what.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColumnChoice {
    /// Date and time in one column.
    pub time: Option<ColumnRef>,
    /// Date, where the time of day has its own column.
    pub date: Option<ColumnRef>,
    /// Time of day, where the date has its own column.
    pub clock: Option<ColumnRef>,
    /// Opening price.
    pub open: Option<ColumnRef>,
    /// Highest price.
    pub high: Option<ColumnRef>,
    /// Lowest price.
    pub low: Option<ColumnRef>,
    /// Closing price.
    pub close: Option<ColumnRef>,
    /// Volume in units of the base asset.
    pub volume: Option<ColumnRef>,
    /// Name of the instrument.
    pub symbol: Option<ColumnRef>,
}

impl ColumnChoice {
    fn all(&self) -> [Option<&ColumnRef>; 9] {
        let Self { time, date, clock, open, high, low, close, volume, symbol } = self;
        [time, date, clock, open, high, low, close, volume, symbol].map(Option::as_ref)
    }
}

/// A column by name or by number.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum ColumnRef {
    /// Counted from 1.
    Number(usize),
    /// As in the header; case, spaces and punctuation do not count.
    Name(String),
}

/// What a row's time is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// The bar's first instant.
    #[default]
    Open,
    /// The instant at which the bar is complete.
    Close,
}

/// What to do with a row that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BadRowPolicy {
    /// The import fails and names the row.
    #[default]
    Stop,
    /// The row is left out, and the report names it.
    Quarantine,
}

/// What to do with a row whose time is sound but out of order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnsortedPolicy {
    /// Put it where its time says; the report names it. Loses nothing.
    #[default]
    Sort,
    /// Treat it as a bad row.
    Bad,
}
