//! Axes: bounds in, round tick positions with their texts out. Numbers, calendar time and logarithms; it draws nothing.

use jiff::{Timestamp, civil, tz::TimeZone};

/// Most ticks of an axis.
pub const MAX_TICKS: usize = 40;

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    /// A fraction, written in per cent.
    Percent,
    /// A number with what follows it: ` bp`, ` GiB`, or nothing.
    Suffix(&'static str),
    /// A factor: `2.5x`.
    Multiple,
    /// A large count: `1.5 M`.
    Steps,
}

impl Unit {
    /// The number with as many decimals as tell neighbours `step` apart.
    pub fn write(self, value: f64, step: f64) -> String {
        let (scaled, step, suffix) = match self {
            // no line ends between a number and its sign
            Self::Percent => (value * 100.0, step * 100.0, "\u{a0}%"),
            Self::Steps if step >= 1e6 || value.abs() >= 1e6 => (value / 1e6, step / 1e6, "\u{a0}M"),
            Self::Steps if value.abs() >= 1e4 => (value / 1e3, step / 1e3, "\u{a0}k"),
            Self::Steps => (value, step, ""),
            Self::Suffix(suffix) => (value, step, suffix),
            Self::Multiple => (value, step, "×"),
        };
        format!("{}{suffix}", plain(scaled, step))
    }
}

/// A number with decimals for a step, thousands apart, a real minus sign; powers of ten where digits would not fit.
pub fn plain(value: f64, step: f64) -> String {
    if !value.is_finite() {
        return "n/a".into();
    }
    if value != 0.0 && (value.abs() >= 1e9 || value.abs() < 1e-4 && step.abs() < 1e-5) {
        return format!("{value:.1e}").replace('-', "−");
    }
    let decimals = if step > 0.0 { (-(step + step * 1e-9).log10()).ceil().clamp(0.0, 6.0) as usize } else { 2 };
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let is_zero = text.bytes().all(|byte| byte == b'0' || byte == b'.');
    let mut out = String::from(if value < 0.0 && !is_zero { "−" } else { "" });
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(rest) = rest {
        out.push('.');
        out.push_str(rest);
    }
    out
}

/// A number with three digits that matter.
pub fn significant(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if (1e-4..1e9).contains(&size) => plain(value, 10_f64.powf(size.log10().floor() - 2.0).min(1.0)),
        _ => plain(value, 0.0),
    }
}

/// A step of 1, 2 or 5 times a power of ten that cuts a range into at most `max_ticks` pieces.
pub fn nice_step(low: f64, high: f64, max_ticks: usize) -> f64 {
    let rough = (high - low) / max_ticks.max(1) as f64;
    if !(rough.is_finite() && rough > 0.0) {
        return 1.0;
    }
    let power = 10_f64.powf(rough.log10().floor());
    // the tolerance keeps 0.2 from becoming 0.5 by a rounding of the division
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// Multiples of a nice step within `[low, high]`, and the step.
pub fn linear_ticks(low: f64, high: f64, max_ticks: usize) -> (Vec<f64>, f64) {
    let step = nice_step(low, high, max_ticks);
    let first = (low / step - 1e-9).ceil();
    let ticks = (0..MAX_TICKS).map(|i| (first + i as f64) * step).take_while(|tick| *tick <= high + step * 1e-9).collect();
    (ticks, step)
}

/// Round numbers within `[low, high]`: as many of 1, 1.2, 1.5, 2 ... times powers of ten as fit, at least the powers of ten. Both bounds
/// above 0.
pub fn log_ticks(low: f64, high: f64, max_ticks: usize) -> Vec<f64> {
    let (from, to) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let within = |factors: &[f64]| -> Vec<f64> {
        let all = (from..=to).take(MAX_TICKS).flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)));
        all.filter(|tick| *tick >= low * (1.0 - 1e-9) && *tick <= high * (1.0 + 1e-9)).collect()
    };
    let choices: [&[f64]; 4] =
        [&[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0], &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0], &[1.0, 2.0, 5.0], &[1.0]];
    choices.into_iter().map(within).find(|ticks| ticks.len() <= max_ticks).unwrap_or_else(|| within(&[1.0]))
}

/// Place of the last digit of a tick of [`log_ticks`], which has at most two that matter: 0.1 for 2.5, 1 for 30.
pub fn last_digit(tick: f64) -> f64 {
    let power = 10_f64.powf((tick.abs() * (1.0 + 1e-9)).log10().floor());
    let mantissa = tick / power;
    if (mantissa - mantissa.round()).abs() < 1e-6 { power } else { power / 10.0 }
}

/// Moments beyond (the years 1684 and 2255) get no ticks.
const MAX_TS: i64 = 9_000_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Round moments (UTC) within `[low, high]` nanoseconds, with texts: hours, days, months or years.
pub fn time_ticks(low: i64, high: i64, max_ticks: usize) -> Vec<(i64, String)> {
    // so far from today that the next tick might not exist
    if low < -MAX_TS || high > MAX_TS {
        return Vec::new();
    }
    let span = high.saturating_sub(low).max(1);
    let fits = |step: i64| span / step < max_ticks.max(1) as i64;
    let fixed = [
        SECOND,
        15 * SECOND,
        MINUTE,
        5 * MINUTE,
        15 * MINUTE,
        30 * MINUTE,
        HOUR,
        3 * HOUR,
        6 * HOUR,
        12 * HOUR,
        DAY,
        2 * DAY,
        7 * DAY,
        14 * DAY,
    ];
    if let Some(step) = fixed.into_iter().find(|step| fits(*step)) {
        // weeks begin on Mondays; 1970-01-05 was one
        let anchor = if step >= 7 * DAY { 4 * DAY } else { 0 };
        let first = anchor + (low - anchor).div_euclid(step) * step;
        let ticks = (0..2 * MAX_TICKS as i64).map(|i| first + i * step).filter(|tick| (low..=high).contains(tick));
        return with_years(ticks.collect(), step);
    }
    let months = [1, 2, 3, 6, 12, 24, 60, 120, 240].into_iter().find(|months| fits(months * 30 * DAY)).unwrap_or(600);
    let Some(start) = date_of(low) else { return Vec::new() };
    let first = i64::from(start.year()) * 12 + i64::from(start.month()) - 1;
    let first = first.div_euclid(months) * months;
    let moments = (0..2 * MAX_TICKS as i64).filter_map(|i| month_start(first + i * months)).filter(|tick| (low..=high).contains(tick));
    with_years(moments.collect(), months * 30 * DAY)
}

fn with_years(ticks: Vec<i64>, step: i64) -> Vec<(i64, String)> {
    let mut year_said = None;
    let mut say = |tick: i64| {
        let date = date_of(tick)?;
        let (year, month, day) = (date.year(), MONTHS[date.month() as usize - 1], date.day());
        let text = if step >= 360 * DAY {
            year.to_string()
        } else if step >= 28 * DAY {
            if year_said.replace(year) == Some(year) { month.into() } else { format!("{month} {year}") }
        } else if step >= DAY || tick % DAY == 0 {
            if year_said.replace(year) == Some(year) { format!("{day} {month}") } else { format!("{day} {month} {year}") }
        } else if step >= MINUTE {
            format!("{:02}:{:02}", tick.rem_euclid(DAY) / HOUR, tick.rem_euclid(HOUR) / MINUTE)
        } else {
            let of_day = tick.rem_euclid(DAY);
            format!("{:02}:{:02}:{:02}", of_day / HOUR, of_day % HOUR / MINUTE, of_day % MINUTE / SECOND)
        };
        Some((tick, text))
    };
    ticks.into_iter().filter_map(&mut say).collect()
}

/// The day (UTC) of nanoseconds since 1970.
pub fn date_of(ts: i64) -> Option<civil::Date> {
    Some(Timestamp::from_nanosecond(i128::from(ts)).ok()?.to_zoned(TimeZone::UTC).date())
}

fn month_start(months_since_0: i64) -> Option<i64> {
    let date = civil::Date::new(i16::try_from(months_since_0.div_euclid(12)).ok()?, months_since_0.rem_euclid(12) as i8 + 1, 1).ok()?;
    i64::try_from(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_nanosecond()).ok()
}

/// `2013-12-05`, or `2013-12-05 14:30` when it is not midnight.
pub fn moment(ts: i64) -> String {
    let Some(date) = date_of(ts) else { return ts.to_string() };
    match ts.rem_euclid(DAY) {
        0 => date.to_string(),
        of_day => format!("{date} {:02}:{:02}", of_day / HOUR, of_day % HOUR / MINUTE),
    }
}

/// `5 min`, `1 h`, `1 d`.
pub fn duration(ns: i64) -> String {
    match ns {
        ns if ns >= DAY && ns % DAY == 0 => format!("{} d", ns / DAY),
        ns if ns >= HOUR && ns % HOUR == 0 => format!("{} h", ns / HOUR),
        ns if ns >= MINUTE && ns % MINUTE == 0 => format!("{} min", ns / MINUTE),
        ns => format!("{} s", plain(ns as f64 / 1e9, 1.0)),
    }
}

/// `412 MiB`, `1.50 GiB`.
pub fn bytes(bytes: u64) -> String {
    let gib = bytes as f64 / (1_u64 << 30) as f64;
    if gib >= 1.0 { format!("{gib:.2} GiB") } else { format!("{:.0} MiB", gib * 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_one_two_five() {
        // 0.97 / 5 = 0.194 -> 0.2; 7 / 5 = 1.4 -> 2; 2100 / 6 = 350 -> 500
        assert_eq!(linear_ticks(0.0, 0.97, 5), (vec![0.0, 0.2, 0.4, 0.6000000000000001, 0.8], 0.2));
        assert_eq!(linear_ticks(-3.0, 4.0, 5).0, [-2.0, 0.0, 2.0, 4.0]);
        assert_eq!(linear_ticks(0.0, 2100.0, 6).0, [0.0, 500.0, 1000.0, 1500.0, 2000.0]);
        assert_eq!(linear_ticks(1.0, 1.0, 5).1, 1.0, "no range");
        assert_eq!(linear_ticks(f64::NAN, 1.0, 5).1, 1.0);
    }

    #[test]
    fn logarithms_have_the_same_steps() {
        assert_eq!(log_ticks(0.8, 12.0, 8), [1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0]);
        assert_eq!(log_ticks(0.8, 12.0, 5), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!([0.15, 0.2, 1.0, 2.5, 30.0].map(|tick| plain(tick, last_digit(tick))), ["0.15", "0.2", "1", "2.5", "30"]);
        assert_eq!(log_ticks(1.0, 1e6, 8), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]);
    }

    #[test]
    fn numbers_show_what_their_step_needs() {
        assert_eq!(Unit::Percent.write(0.053, 0.005), "5.3\u{a0}%");
        assert_eq!(Unit::Percent.write(-0.2, 0.1), "−20\u{a0}%");
        assert_eq!(Unit::Suffix(" bp").write(2.5, 0.5), "2.5 bp");
        assert_eq!(Unit::Multiple.write(2.0, 1.0), "2×");
        assert_eq!(plain(1234567.0, 1.0), "1,234,567");
        assert_eq!(plain(-0.0001, 0.01), "0.00", "no minus zero");
        assert_eq!(plain(3e-7, 1e-7), "3.0e−7");
        assert_eq!(Unit::Steps.write(200_000.0, 100_000.0), "200\u{a0}k");
        assert_eq!([3314.2, 0.067_04, -0.000_01, 0.0, 12.345].map(significant), ["3,314", "0.0670", "−1.0e−5", "0", "12.3"]);
        assert_eq!(plain(f64::NAN, 1.0), "n/a");
    }

    #[test]
    fn time_has_calendar_steps() {
        let at = |text: &str| i64::try_from(text.parse::<Timestamp>().unwrap().as_nanosecond()).unwrap();
        let texts = |from: &str, to: &str| time_ticks(at(from), at(to), 6).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(texts("2013-11-20T00:00:00Z", "2014-03-10T00:00:00Z"), ["Dec 2013", "Jan 2014", "Feb", "Mar"]);
        assert_eq!(texts("2013-12-05T21:00:00Z", "2013-12-06T05:00:00Z"), ["21:00", "6 Dec 2013", "03:00"]);
        // 5, 12 and 19 January 2026 are Mondays
        assert_eq!(texts("2026-01-01T00:00:00Z", "2026-01-25T00:00:00Z"), ["5 Jan 2026", "12 Jan", "19 Jan"]);
        assert_eq!(texts("2010-05-01T00:00:00Z", "2014-03-10T00:00:00Z"), ["2011", "2012", "2013", "2014"]);
        for (low, high) in [(i64::MIN, i64::MAX), (i64::MIN, i64::MIN + 5), (i64::MAX - 5, i64::MAX), (5, 5), (9, 3)] {
            assert!(time_ticks(low, high, 6).len() <= MAX_TICKS, "bounds beyond use do not panic");
        }
    }
}
