//! What the two kinds of file have in common: named columns, and rows that are visited one after the other.

use crate::MarketError;

/// One field of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    /// Nothing there.
    Missing,
    /// As written.
    Text(&'a str),
    /// A number that the file stores as one.
    Number(f64),
    /// A whole number that the file stores as one.
    Integer(i64),
    /// Nanoseconds UTC.
    Instant(i64),
    /// Nanoseconds since 1970-01-01 00:00 local time.
    Civil(i64),
}

impl std::fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Text(text) if text.trim().is_empty() => f.write_str("empty"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Instant(ns) | Self::Civil(ns) => write!(f, "{ns} ns"),
        }
    }
}

/// A table, read once from its first row to its last.
pub(super) trait RowSource {
    /// `"CSV"` or `"Parquet"`, with what was found of its layout.
    fn describe(&self) -> String;
    /// What rows are counted in: `line` or `row`.
    fn unit(&self) -> &'static str;
    /// Names of the columns; empty where the file has none.
    fn names(&self) -> &[String];
    /// Decimal mark of its numbers.
    fn decimal(&self) -> char;
    /// Goes to the next row and returns its number, counted from 1.
    fn next_row(&mut self) -> Result<Option<u64>, MarketError>;
    /// A field of the current row.
    fn cell(&self, column: usize) -> Cell<'_>;
}
