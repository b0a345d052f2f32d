//! A time as people write it in, an instant out: civil dates in every usual order, Unix times, offsets, time zones with daylight saving.
//!
//! What two readings are possible for is never guessed: [`ShapeFinder`] looks at as many rows as it takes to decide.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    fmt::strtime::BrokenDownTime,
    tz::{AmbiguousOffset, TimeZone},
};

/// Nanoseconds in one second.
const SECOND_NS: i64 = 1_000_000_000;
/// Bars from 1800 ...
const MIN_TS: i64 = -5_364_662_400 * SECOND_NS;
/// ... to 2200 (64 bits of nanoseconds end in 2262).
const MAX_TS: i64 = 7_258_118_400 * SECOND_NS;
/// Rows that may be unreadable before the first one that shows how times are written.
pub(super) const MAX_UNREADABLE: usize = 1000;

/// How the times of a file are written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// Year, month and day in some order, and mostly a time of day.
    Civil(DateOrder),
    /// Since 1970-01-01 00:00 UTC, in units of so many nanoseconds.
    Unix(i64),
    /// A strptime pattern of the settings.
    Pattern(String),
}

/// Order of a numeric date that does not begin with its year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DateOrder {
    /// The date begins with its year, or names its month.
    Year,
    /// Day before month.
    Day,
    /// Month before day.
    Month,
}

impl Shape {
    /// From the setting `import.time_format`.
    pub fn stated(format: &str) -> Self {
        match format {
            "unix_s" => Self::Unix(SECOND_NS),
            "unix_ms" => Self::Unix(1_000_000),
            "unix_us" => Self::Unix(1000),
            "unix_ns" => Self::Unix(1),
            pattern => Self::Pattern(pattern.into()),
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        match self {
            Self::Civil(DateOrder::Year) => "year, month, day".into(),
            Self::Civil(DateOrder::Day) => "day before month".into(),
            Self::Civil(DateOrder::Month) => "month before day".into(),
            Self::Unix(SECOND_NS) => "Unix seconds".into(),
            Self::Unix(1_000_000) => "Unix milliseconds".into(),
            Self::Unix(1000) => "Unix microseconds".into(),
            Self::Unix(_) => "Unix nanoseconds".into(),
            Self::Pattern(pattern) => format!("pattern {pattern}"),
        }
    }
}

/// An instant, and how much later it may be as well: clocks that go back show an hour twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Nanoseconds UTC; the earlier of two readings.
    pub ts: i64,
    /// Distance to the later reading; 0 where there is but one.
    pub fold_ns: i64,
}

/// Reads times of one shape.
#[derive(Clone, Debug)]
pub(super) struct TimeReader {
    pub shape: Shape,
    pub time_zone: TimeZone,
}

impl TimeReader {
    /// The instant that `text` states, or what was expected instead.
    pub fn read(&self, text: &str) -> Result<Moment, String> {
        let text = text.trim();
        let expected = || format!("a time written as {}", self.shape.describe());
        match &self.shape {
            Shape::Unix(unit) => in_range(unix(text, *unit).ok_or_else(expected)?, 0),
            Shape::Civil(order) => {
                let (civil, offset) = civil(text, *order).ok_or_else(expected)?;
                match offset {
                    Some(secs) => in_range(utc_ns(civil) - i128::from(secs) * i128::from(SECOND_NS), 0),
                    None => self.local(civil),
                }
            }
            Shape::Pattern(pattern) => {
                let parts = BrokenDownTime::parse(pattern, text).map_err(|error| format!("{} ({error})", expected()))?;
                if let Ok(timestamp) = parts.to_timestamp() {
                    return in_range(timestamp.as_nanosecond(), 0);
                }
                let civil = parts.to_datetime().or_else(|_| parts.to_date().map(|date| date.to_datetime(Time::midnight())));
                self.local(civil.map_err(|error| format!("{} ({error})", expected()))?)
            }
        }
    }

    /// The instant of a local time in nanoseconds since 1970-01-01 00:00 local time.
    pub fn read_civil_ns(&self, ns: i64) -> Result<Moment, String> {
        let civil = Timestamp::from_nanosecond(ns.into()).map_err(|error| error.to_string())?;
        self.local(TimeZone::UTC.to_datetime(civil))
    }

    fn local(&self, civil: DateTime) -> Result<Moment, String> {
        let utc = utc_ns(civil);
        if self.time_zone == TimeZone::UTC {
            return in_range(utc, 0);
        }
        let ns = |secs: i32| i128::from(secs) * i128::from(SECOND_NS);
        match self.time_zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => in_range(utc - ns(offset.seconds()), 0),
            AmbiguousOffset::Fold { before, after } => {
                in_range(utc - ns(before.seconds()), i64::from(before.seconds() - after.seconds()) * SECOND_NS)
            }
            // A day that begins an hour late still begins.
            AmbiguousOffset::Gap { before, .. } if civil.time() == Time::midnight() => in_range(utc - ns(before.seconds()), 0),
            AmbiguousOffset::Gap { .. } => {
                let name = self.time_zone.iana_name().unwrap_or("the time zone");
                Err(format!("a local time that exists in {name} (import.time_zone): clocks went forward over it"))
            }
        }
    }
}

/// Nanoseconds since 1970-01-01 00:00 of a civil time taken as UTC.
fn utc_ns(civil: DateTime) -> i128 {
    TimeZone::UTC.to_timestamp(civil).map_or(i128::MAX / 2, Timestamp::as_nanosecond)
}

fn in_range(ns: i128, fold_ns: i64) -> Result<Moment, String> {
    i64::try_from(ns)
        .ok()
        .filter(|ts| (MIN_TS..MAX_TS).contains(ts))
        .map(|ts| Moment { ts, fold_ns })
        .ok_or_else(|| "a time from 1800 to 2200".into())
}

/// Nanoseconds of a Unix time; fractions are kept to the nanosecond.
fn unix(text: &str, unit: i64) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = whole.strip_prefix('-').unwrap_or(whole);
    if unsigned.is_empty() || !digits(unsigned) || !digits(fraction) {
        // Spreadsheets write 1.5698e9.
        let value = text.parse::<f64>().ok().filter(|value| value.is_finite() && value.abs() < 1e20)?;
        return Some((value * unit as f64) as i128);
    }
    let part = match fraction {
        "" => 0,
        _ => (format!("0.{fraction}").parse::<f64>().ok()? * unit as f64).round() as i128,
    };
    let magnitude = unsigned.parse::<i128>().ok()? * i128::from(unit) + part;
    Some(if unsigned.len() < whole.len() { -magnitude } else { magnitude })
}

/// A civil time and the offset in seconds that it states.
fn civil(text: &str, order: DateOrder) -> Option<(DateTime, Option<i32>)> {
    let (date, rest) = date(text, order)?;
    let rest = rest.trim_start_matches([' ', 'T', 't', '_', ',', '\u{a0}']);
    if rest.is_empty() {
        return Some((date.to_datetime(Time::midnight()), None));
    }
    let (hour, minute, second, nanosecond, rest) = clock(rest)?;
    let offset = offset(rest.trim())?;
    if (hour, minute, second, nanosecond) == (24, 0, 0, 0) {
        return Some((date.tomorrow().ok()?.to_datetime(Time::midnight()), offset));
    }
    Some((date.to_datetime(Time::new(hour, minute, second, nanosecond).ok()?), offset))
}

/// A date and what follows it.
fn date(text: &str, order: DateOrder) -> Option<(Date, &str)> {
    let run = leading_digits(text);
    if matches!(run.len(), 8 | 12 | 14) {
        let date = Date::new(run[..4].parse().ok()?, run[4..6].parse().ok()?, run[6..8].parse().ok()?).ok()?;
        return Some((date, &text[8..]));
    }
    let (first, rest) = token(text)?;
    let (second, rest) = token(rest.trim_start_matches(['-', '/', '.', ' ', ',']))?;
    let (third, rest) = token(rest.trim_start_matches(['-', '/', '.', ' ', ',']))?;
    let (year, month, day) = match (month_of(first), month_of(second)) {
        (Some(month), _) => (third, month, second),
        (_, Some(month)) if first.len() == 4 => (first, month, third),
        (_, Some(month)) => (third, month, first),
        _ if first.len() == 4 => (first, second.parse().ok()?, third),
        _ => match order {
            DateOrder::Day => (third, second.parse().ok()?, first),
            DateOrder::Month => (third, first.parse().ok()?, second),
            DateOrder::Year => return None,
        },
    };
    let year = match (year.len(), year.parse::<i16>().ok()?) {
        (4, year) => year,
        (2, year) => year + if year < 70 { 2000 } else { 1900 },
        _ => return None,
    };
    Some((Date::new(year, month, day.parse().ok()?).ok()?, rest))
}

/// A run of digits, or a run of letters.
fn token(text: &str) -> Option<(&str, &str)> {
    let digits = leading_digits(text).len();
    let len = if digits > 0 { digits } else { text.bytes().take_while(u8::is_ascii_alphabetic).count() };
    (1..=9).contains(&len).then(|| text.split_at(len))
}

fn leading_digits(text: &str) -> &str {
    &text[..text.bytes().take_while(u8::is_ascii_digit).count()]
}

fn month_of(text: &str) -> Option<i8> {
    const MONTHS: [&str; 12] =
        ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
    let text = text.to_ascii_lowercase();
    let month = MONTHS.iter().position(|month| text.len() >= 3 && month.starts_with(&text))?;
    Some(month as i8 + 1)
}

/// Hour, minute, second, nanosecond and what follows: `09`, `0930`, `093000`, `9:30:15.250`, `09-AM`, `9:30 pm`.
fn clock(text: &str) -> Option<(i8, i8, i8, i32, &str)> {
    let run = leading_digits(text);
    let mut rest = &text[run.len()..];
    let pair = |from: usize| run.get(from..from + 2).map_or(Some(0), |digits| digits.parse::<i8>().ok());
    let (mut hour, mut minute, mut second) = match run.len() {
        1 | 2 => (run.parse().ok()?, 0, 0),
        4 | 6 => (pair(0)?, pair(2)?, pair(4)?),
        _ => return None,
    };
    let mut nanosecond = 0;
    if run.len() <= 2
        && let Some(after) = rest.strip_prefix(':')
    {
        (minute, rest) = two_digits(after)?;
        if let Some(after) = rest.strip_prefix(':') {
            (second, rest) = two_digits(after)?;
        }
    }
    if let Some(after) = rest.strip_prefix(['.', ',']) {
        let fraction = leading_digits(after);
        let kept = &fraction[..fraction.len().min(9)];
        nanosecond = kept.parse::<i32>().ok()? * 10_i32.pow(9 - kept.len() as u32);
        rest = &after[fraction.len()..];
    }
    let marked = rest.trim_start_matches([' ', '-']);
    let half = marked.get(..2).map(str::to_ascii_uppercase);
    if let Some(half @ ("AM" | "PM")) = half.as_deref() {
        if !(1..=12).contains(&hour) {
            return None;
        }
        hour = hour % 12 + if half == "PM" { 12 } else { 0 };
        rest = &marked[2..];
    }
    Some((hour, minute, second, nanosecond, rest))
}

fn two_digits(text: &str) -> Option<(i8, &str)> {
    let run = leading_digits(text);
    (run.len() == 2).then(|| run.parse().ok().map(|value| (value, &text[2..]))).flatten()
}

/// Offset from UTC in seconds: none for no text, absent for text that is no offset.
#[expect(clippy::option_option, reason = "unreadable, not stated, and stated are three things")]
fn offset(text: &str) -> Option<Option<i32>> {
    // RFC 9557 names the zone after the offset: [America/New_York].
    let text = text.split_once('[').map_or(text, |(before, _)| before).trim_end();
    if text.is_empty() {
        return Some(None);
    }
    let text = ["UTC", "GMT", "Z", "z"].iter().find_map(|name| text.strip_prefix(name)).map_or(text, str::trim_start);
    if text.is_empty() {
        return Some(Some(0));
    }
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits: String = digits.split(':').collect();
    if !matches!(digits.len(), 2 | 4 | 6) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let pair = |from: usize| digits.get(from..from + 2).map_or(0, |digits| digits.parse::<i32>().unwrap_or(0));
    let secs = pair(0) * 3600 + pair(2) * 60 + pair(4);
    (secs <= 18 * 3600).then_some(Some(sign * secs))
}

/// Whether `text` states a time of day beside its date.
pub(super) fn has_clock(text: &str) -> bool {
    let rest = |order| date(text.trim(), order).map(|(_, rest)| rest.trim().len());
    rest(DateOrder::Day).or_else(|| rest(DateOrder::Month)).is_some_and(|len| len > 0)
}

/// Finds out how times are written, from as few rows as possible.
#[derive(Debug, Default)]
pub(super) struct ShapeFinder {
    ambiguous: Option<String>,
    unreadable: Option<(u64, String)>,
    num_unreadable: usize,
}

/// Why no shape was found.
#[derive(Debug, PartialEq)]
pub(super) enum NoShape {
    /// Every date may be read in two ways.
    Ambiguous(String),
    /// Line and text of the first time, which cannot be read.
    Unreadable(u64, String),
    /// There are no rows.
    Empty,
}

impl ShapeFinder {
    /// Takes the time of the next row; returns the shape once it is decided.
    pub fn push(&mut self, line: u64, text: &str, day_first: Option<bool>) -> Option<Shape> {
        let text = text.trim();
        if let Some(unit) = unix_unit(text) {
            return Some(Shape::Unix(unit));
        }
        if civil(text, DateOrder::Year).is_some() {
            return Some(Shape::Civil(DateOrder::Year));
        }
        match (civil(text, DateOrder::Day).is_some(), civil(text, DateOrder::Month).is_some()) {
            (true, true) => match day_first {
                Some(day_first) => return Some(Shape::Civil(if day_first { DateOrder::Day } else { DateOrder::Month })),
                // Nobody writes month.day.year.
                None if text.matches('.').count() >= 2 && text.find('.') < text.find([':', ' ']).or(Some(usize::MAX)) => {
                    return Some(Shape::Civil(DateOrder::Day));
                }
                None => {
                    self.ambiguous.get_or_insert_with(|| text.into());
                }
            },
            (true, false) => return Some(Shape::Civil(DateOrder::Day)),
            (false, true) => return Some(Shape::Civil(DateOrder::Month)),
            (false, false) => {
                self.num_unreadable += 1;
                self.unreadable.get_or_insert_with(|| (line, text.into()));
            }
        }
        None
    }

    /// Whether to look no further.
    pub fn gives_up(&self) -> bool {
        self.ambiguous.is_none() && self.num_unreadable >= MAX_UNREADABLE
    }

    /// Why nothing was found.
    pub fn why(self) -> NoShape {
        match (self.ambiguous, self.unreadable) {
            (Some(text), _) => NoShape::Ambiguous(text),
            (None, Some((line, text))) => NoShape::Unreadable(line, text),
            (None, None) => NoShape::Empty,
        }
    }
}

/// Unit of a Unix time by its magnitude: 1e11 s would be the year 5138, 1e11 ms is 1973. Compact dates like 20170101 are no Unix time.
fn unix_unit(text: &str) -> Option<i64> {
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite())?;
    if leading_digits(text).len() == text.len() && matches!(text.len(), 8 | 12 | 14) && civil(text, DateOrder::Year).is_some() {
        return None;
    }
    Some(match value.abs() {
        ..1e11 => SECOND_NS,
        ..1e14 => 1_000_000,
        ..1e17 => 1000,
        _ => 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_in(zone: &str, text: &str) -> Result<Moment, String> {
        let shape = ShapeFinder::default().push(1, text, None).ok_or("no shape")?;
        TimeReader { shape, time_zone: TimeZone::get(zone).unwrap() }.read(text)
    }

    fn utc(text: &str) -> String {
        Timestamp::from_nanosecond(read_in("UTC", text).unwrap().ts.into()).unwrap().to_string()
    }

    #[test]
    fn the_ways_people_write_times() {
        for (text, expected) in [
            ("2013-10-06 22:00:00", "2013-10-06T22:00:00Z"),
            ("2013-10-06T22:00:00Z", "2013-10-06T22:00:00Z"),
            ("2013-10-06T22:00:00.250+02:00", "2013-10-06T20:00:00.25Z"),
            ("2013-10-06 22:00:00-0400", "2013-10-07T02:00:00Z"),
            ("2013-10-06 22:00:00+00:00[UTC]", "2013-10-06T22:00:00Z"),
            ("2013-10-06 22:00 UTC", "2013-10-06T22:00:00Z"),
            ("2013/10/06 22:00", "2013-10-06T22:00:00Z"),
            ("2013.10.06 22:00", "2013-10-06T22:00:00Z"),
            ("2019-10-17 09-AM", "2019-10-17T09:00:00Z"),
            ("2019-10-17 12-AM", "2019-10-17T00:00:00Z"),
            ("2019-10-17 12-PM", "2019-10-17T12:00:00Z"),
            ("2019-10-17 1:05 pm", "2019-10-17T13:05:00Z"),
            ("01.02.2017 22:00:00.000", "2017-02-01T22:00:00Z"),
            ("01.01.2017 22:00:00.000 GMT+0100", "2017-01-01T21:00:00Z"),
            ("31/12/2017 23:59", "2017-12-31T23:59:00Z"),
            ("12/31/2017", "2017-12-31T00:00:00Z"),
            ("12/31/17", "2017-12-31T00:00:00Z"),
            ("Oct 17, 2019", "2019-10-17T00:00:00Z"),
            ("17-Oct-2019 09:30", "2019-10-17T09:30:00Z"),
            ("2009-05-22", "2009-05-22T00:00:00Z"),
            ("20170103", "2017-01-03T00:00:00Z"),
            ("20170103 170500", "2017-01-03T17:05:00Z"),
            ("20170103170500", "2017-01-03T17:05:00Z"),
            ("2017-01-03 24:00", "2017-01-04T00:00:00Z"),
            ("1569888000", "2019-10-01T00:00:00Z"),
            ("1569888000.5", "2019-10-01T00:00:00.5Z"),
            ("1569888000000", "2019-10-01T00:00:00Z"),
            ("1569888000000000", "2019-10-01T00:00:00Z"),
            ("1569888000000000001", "2019-10-01T00:00:00.000000001Z"),
        ] {
            assert_eq!(utc(text), expected, "{text}");
        }
    }

    #[test]
    fn nonsense_is_no_time() {
        for text in [
            "",
            "yesterday",
            "2013-13-40",
            "2013-10-06 25:00",
            "2013-10-06 22:00:00 Mars",
            "13-PM",
            "2013-10-06 13-PM",
            "é",
            "1e300",
            "2013-10-0é",
        ] {
            assert!(read_in("UTC", text).is_err(), "{text:?}");
        }
        assert!(read_in("UTC", "9999-01-01").unwrap_err().contains("1800 to 2200"));
    }

    #[test]
    fn two_readings_are_not_guessed() {
        let mut finder = ShapeFinder::default();
        assert_eq!(finder.push(1, "03/04/2017", None), None);
        assert_eq!(finder.push(2, "03/05/2017", None), None);
        assert_eq!(finder.push(3, "03/13/2017", None), Some(Shape::Civil(DateOrder::Month)));
        assert_eq!(finder.push(3, "13/03/2017", None), Some(Shape::Civil(DateOrder::Day)));
        assert_eq!(finder.push(3, "03/04/2017", Some(true)), Some(Shape::Civil(DateOrder::Day)));
        assert_eq!(finder.why(), NoShape::Ambiguous("03/04/2017".into()));
    }

    #[test]
    fn local_times_follow_daylight_saving() {
        let hour = 3600 * SECOND_NS;
        // 2013-11-03: 01:30 occurs as EDT (05:30 UTC) and an hour later as EST.
        assert_eq!(read_in("America/New_York", "2013-11-03 01:30").unwrap(), Moment { ts: 1_383_456_600 * SECOND_NS, fold_ns: hour });
        assert_eq!(read_in("America/New_York", "2013-11-03 12:00").unwrap(), Moment { ts: 1_383_498_000 * SECOND_NS, fold_ns: 0 });
        assert!(read_in("America/New_York", "2013-03-10 02:30").unwrap_err().contains("clocks went forward"));
        // A stated offset wins over the zone.
        assert_eq!(read_in("America/New_York", "2013-11-03T01:30:00Z").unwrap().fold_ns, 0);
    }

    #[test]
    fn a_stated_pattern_is_followed() {
        let reader = TimeReader { shape: Shape::stated("%Y|%d|%m %H:%M"), time_zone: TimeZone::UTC };
        // 2017-01-02 22:00 UTC.
        assert_eq!(reader.read("2017|02|01 22:00").unwrap().ts, 1_483_394_400 * SECOND_NS);
        assert!(reader.read("2017-02-01 22:00").unwrap_err().contains("%Y|%d|%m %H:%M"));
        let reader = TimeReader { shape: Shape::stated("unix_ms"), time_zone: TimeZone::UTC };
        assert_eq!(reader.read("5000").unwrap().ts, 5 * SECOND_NS);
    }
}
