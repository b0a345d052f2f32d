//! Text tables: finds delimiter, header and encoding in the first lines, then reads the rest line by line.
//!
//! Lines are split here rather than by a CSV reader because every complaint must name the line that an editor shows. A quoted field may
//! hold the delimiter, not a line break: tables of bars have none.

use std::{
    fs::File,
    io::{BufRead, BufReader, Cursor, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    columns::{self, Columns},
    config::{ColumnRef, ImportConfig},
    io, number,
    rows::{Cell, RowSource},
};
use crate::MarketError;

/// Lines among which the header is looked for.
const MAX_HEADER_LINES: usize = 64;
/// Longest line, in bytes.
const MAX_LINE_BYTES: u64 = 1 << 16;
/// Delimiters that are tried, in this order.
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];
/// Fewest of time, open, high, low, close that make a line a header.
const MIN_FOUND: usize = 3;

/// How a file is laid out.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    delimiter: char,
    decimal: char,
    /// Names of the columns; empty where they are only numbered.
    names: Vec<String>,
    /// Number of the header line, counted from 1.
    header_line: Option<u64>,
    /// Lines before the first row.
    num_skipped: u64,
}

impl Layout {
    /// Finds the layout.
    ///
    /// # Errors
    /// When no line can be a header and the settings do not number the columns.
    pub fn find(path: &Path, config: &ImportConfig) -> Result<Self, MarketError> {
        let mut lines = Lines::open(path)?;
        let mut start = Vec::new();
        while start.len() < MAX_HEADER_LINES && lines.next()?.is_some() {
            start.push(lines.text().to_owned());
        }
        if start.iter().all(|line| line.trim().is_empty()) {
            return Err(MarketError::File {
                path: path.into(),
                found: "holds only empty lines".into(),
                expected: "a table of bars".into(),
            });
        }
        let delimiters = config.delimiter.map_or(DELIMITERS.to_vec(), |delimiter| vec![delimiter]);
        let found = |(line, delimiter): &(usize, char)| Columns::find(&split(&start[*line], *delimiter), &config.columns).num_found();
        let candidates = delimiters.iter().flat_map(|&delimiter| (0..start.len()).map(move |line| (line, delimiter)));
        // The first of the best: later lines and delimiters have to be better.
        let best = candidates.rev_max_by_key(found);
        let numbered = {
            let choice = &config.columns;
            [&choice.open, &choice.high, &choice.low, &choice.close].iter().all(|column| matches!(column, Some(ColumnRef::Number(_))))
        };
        let is_header = |(line, delimiter): &(usize, char)| {
            split(&start[*line], *delimiter).iter().filter(|field| is_number(field)).count() < MIN_FOUND
        };
        match best.filter(|best| !numbered && found(best) >= MIN_FOUND && is_header(best)) {
            Some((line, delimiter)) => Ok(Self::with_header(&start, line, delimiter, config)),
            None if numbered => Ok(Self::without_header(&start, &delimiters, config)),
            None => Err(MarketError::NoHeader {
                path: path.into(),
                lines_searched: start.len(),
                first_line: start
                    .iter()
                    .find(|line| !line.trim().is_empty())
                    .map(|line| line.chars().take(120).collect())
                    .unwrap_or_default(),
            }),
        }
    }

    fn with_header(start: &[String], line: usize, delimiter: char, config: &ImportConfig) -> Self {
        let mut names = split(&start[line], delimiter);
        let mut num_skipped = line + 1;
        // Some tables name the index on a line of its own, below the other names.
        if Columns::find(&names, &config.columns).missing() == Some("time") {
            for (below, text) in start.iter().enumerate().skip(line + 1).take(2) {
                let fields = split(text, delimiter);
                if let Some(index) = fields.iter().position(|field| columns::is_time_name(field))
                    && index < names.len()
                {
                    names[index] = fields[index].clone();
                    num_skipped = below + 1;
                }
            }
        }
        let layout = Self { delimiter, decimal: '.', names, header_line: Some(line as u64 + 1), num_skipped: num_skipped as u64 };
        layout.with_decimal(start, config)
    }

    fn without_header(start: &[String], delimiters: &[char], config: &ImportConfig) -> Self {
        let num_fields = |line: &String, delimiter: char| split(line, delimiter).len();
        let delimiter = delimiters
            .iter()
            .copied()
            .rev()
            .max_by_key(|&delimiter| start.iter().map(|line| num_fields(line, delimiter)).sum::<usize>())
            .unwrap_or(',');
        // Whatever comes before the first line of numbers is a header or a comment.
        let first =
            start.iter().position(|line| split(line, delimiter).iter().filter(|field| looks_numeric(field)).count() >= 4).unwrap_or(0);
        Self { delimiter, decimal: '.', names: Vec::new(), header_line: None, num_skipped: first as u64 }.with_decimal(start, config)
    }

    fn with_decimal(mut self, start: &[String], config: &ImportConfig) -> Self {
        let prices = Columns::find(&self.names, &config.columns).prices;
        let rows = start.iter().skip(self.num_skipped as usize).map(|line| split(line, self.delimiter));
        let fields: Vec<String> =
            rows.flat_map(|row| prices.iter().flatten().filter_map(|&price| row.get(price).cloned()).collect::<Vec<_>>()).collect();
        let detected = || if self.delimiter == ',' { '.' } else { number::decimal_mark(fields.iter().map(String::as_str)) };
        self.decimal = config.decimal.unwrap_or_else(detected);
        self
    }
}

/// `max_by_key` that keeps the first of equals.
trait FirstMax: Iterator + Sized {
    fn rev_max_by_key<K: Ord>(self, key: impl Fn(&Self::Item) -> K) -> Option<Self::Item> {
        self.fold(None, |best, item| match &best {
            Some(other) if key(other) >= key(&item) => best,
            _ => Some(item),
        })
    }
}

impl<I: Iterator> FirstMax for I {}

fn is_number(field: &str) -> bool {
    field.trim().parse::<f64>().is_ok_and(f64::is_finite)
}

fn looks_numeric(field: &str) -> bool {
    number::parse(field, '.').or_else(|| number::parse(field, ',')).is_some_and(f64::is_finite)
}

fn split(line: &str, delimiter: char) -> Vec<String> {
    let mut ranges = Vec::new();
    split_into(line, delimiter, &mut ranges);
    ranges.into_iter().map(|range| line[range].trim().to_owned()).collect()
}

/// Ranges of the fields of a line, without the quotes around them.
fn split_into(line: &str, delimiter: char, fields: &mut Vec<Range<usize>>) {
    fields.clear();
    let mut start = 0;
    let mut quoted = false;
    let mut push = |from: usize, to: usize| {
        let field = &line[from..to];
        let inner = field.trim();
        if inner.len() >= 2 && inner.starts_with('"') && inner.ends_with('"') {
            let left = from + field.len() - field.trim_start().len() + 1;
            fields.push(left..left + inner.len() - 2);
        } else {
            fields.push(from..to);
        }
    };
    for (at, c) in line.char_indices() {
        if c == '"' {
            quoted = !quoted;
        } else if c == delimiter && !quoted {
            push(start, at);
            start = at + c.len_utf8();
        }
    }
    push(start, line.len());
}

/// Rows of a text table.
pub(super) struct CsvRows {
    layout: Layout,
    lines: Lines,
    fields: Vec<Range<usize>>,
}

impl CsvRows {
    /// Opens the file before its first row.
    pub fn open(path: &Path, layout: &Layout) -> Result<Self, MarketError> {
        let mut lines = Lines::open(path)?;
        while lines.number < layout.num_skipped && lines.next()?.is_some() {}
        Ok(Self { layout: layout.clone(), lines, fields: Vec::new() })
    }
}

impl RowSource for CsvRows {
    fn describe(&self) -> String {
        let delimiter = match self.layout.delimiter {
            ',' => "comma".into(),
            ';' => "semicolon".into(),
            '\t' => "tab".into(),
            other => format!("{other:?}"),
        };
        let header = self.layout.header_line.map_or("no header".into(), |line| format!("header on line {line}"));
        let decimal = if self.layout.decimal == ',' { ", decimal comma" } else { "" };
        format!("CSV, {delimiter} between fields{decimal}, {header}")
    }

    fn unit(&self) -> &'static str {
        "line"
    }

    fn names(&self) -> &[String] {
        &self.layout.names
    }

    fn decimal(&self) -> char {
        self.layout.decimal
    }

    fn next_row(&mut self) -> Result<Option<u64>, MarketError> {
        while self.lines.next()?.is_some() {
            let text = self.lines.text();
            if !text.trim().is_empty() {
                split_into(text, self.layout.delimiter, &mut self.fields);
                return Ok(Some(self.lines.number));
            }
        }
        Ok(None)
    }

    fn cell(&self, column: usize) -> Cell<'_> {
        self.fields.get(column).map_or(Cell::Missing, |range| Cell::Text(&self.lines.text()[range.clone()]))
    }
}

/// Byte order of a text in UTF-16, by its mark.
pub(super) fn utf16(start: &[u8]) -> Option<fn([u8; 2]) -> u16> {
    match start {
        [0xff, 0xfe, ..] => Some(u16::from_le_bytes),
        [0xfe, 0xff, ..] => Some(u16::from_be_bytes),
        _ => None,
    }
}

/// Lines of a text file, one at a time.
struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    bytes: Vec<u8>,
    /// The current line; bytes that are no UTF-8 are replaced.
    text: String,
    /// Its number, counted from 1.
    number: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, MarketError> {
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(|source| io(path, source))?);
        let order = utf16(reader.fill_buf().map_err(|source| io(path, source))?);
        let reader: Box<dyn BufRead> = match order {
            None => Box::new(reader),
            Some(of_bytes) => {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).map_err(|source| io(path, source))?;
                let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|&pair| of_bytes(pair)).collect();
                Box::new(Cursor::new(String::from_utf16_lossy(&units).into_bytes()))
            }
        };
        Ok(Self { path: path.into(), reader, bytes: Vec::new(), text: String::new(), number: 0 })
    }

    fn text(&self) -> &str {
        &self.text
    }

    fn next(&mut self) -> Result<Option<()>, MarketError> {
        self.bytes.clear();
        let read = self.reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut self.bytes).map_err(|source| io(&self.path, source))?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if read as u64 == MAX_LINE_BYTES && self.bytes.last() != Some(&b'\n') {
            return Err(MarketError::File {
                path: self.path.clone(),
                found: format!("line {} is longer than {MAX_LINE_BYTES} bytes", self.number),
                expected: "a text table of bars".into(),
            });
        }
        let line = String::from_utf8_lossy(&self.bytes);
        self.text.clear();
        self.text.push_str(line.trim_end_matches(['\n', '\r']).trim_start_matches('\u{feff}'));
        Ok(Some(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_be_quoted() {
        assert_eq!(split(r#""Oct 17, 2019","1,234.5",7"#, ','), ["Oct 17, 2019", "1,234.5", "7"]);
        assert_eq!(split("a;;b;", ';'), ["a", "", "b", ""]);
        assert_eq!(split(r#"é,"unclosed"#, ','), ["é", "\"unclosed"]);
    }
}
