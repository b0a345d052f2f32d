//! Tables for the report: returns by month, counts by bin.

use crate::MarketError;

/// Return of one calendar month (UTC).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct MonthReturn {
    /// Year.
    pub year: i16,
    /// Month, 1 to 12.
    pub month: i8,
    /// Return from the last equity of the month before.
    pub total_return: f64,
}

/// Returns of the calendar months that have a bar; a bar belongs to the month it closes in (midnight closes the old month).
///
/// # Errors
/// [`MarketError::Track`] when the lengths differ or a time lies outside the calendar.
pub fn monthly_returns(ts_close: &[i64], equity: &[f64], initial: f64) -> Result<Vec<MonthReturn>, MarketError> {
    if ts_close.len() != equity.len() {
        return Err(MarketError::Track {
            what: format!("{} times and {} equities, expected one of each a bar", ts_close.len(), equity.len()),
        });
    }
    let mut months: Vec<(i16, i8, f64)> = Vec::new();
    for (&ts, &value) in ts_close.iter().zip(equity) {
        let (year, month) = month_of(ts.saturating_sub(1))?;
        match months.last_mut() {
            Some(last) if (last.0, last.1) == (year, month) => last.2 = value,
            _ => months.push((year, month, value)),
        }
    }
    let mut previous = initial;
    Ok(months
        .into_iter()
        .map(|(year, month, value)| {
            let total_return = if previous > 0.0 { value / previous - 1.0 } else { 0.0 };
            previous = value;
            MonthReturn { year, month, total_return }
        })
        .collect())
}

fn month_of(ts: i64) -> Result<(i16, i8), MarketError> {
    let moment = jiff::Timestamp::from_nanosecond(i128::from(ts))
        .map_err(|_| MarketError::Track { what: format!("time {ts} lies outside the calendar") })?;
    let date = moment.to_zoned(jiff::tz::TimeZone::UTC).date();
    Ok((date.year(), date.month()))
}

/// Counts of values in bins of equal width.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Histogram {
    /// `counts.len() + 1` bounds, rising.
    pub edges: Vec<f64>,
    /// Values in `[edges[i], edges[i + 1])`; the last bin holds its upper bound too.
    pub counts: Vec<usize>,
}

/// Most bins of a histogram.
pub const MAX_BINS: usize = 10_000;

/// Histogram over the range of the values; those that are not finite are left out. `None` when nothing is left or `num_bins` is 0 or
/// above [`MAX_BINS`].
pub fn histogram(values: &[f64], num_bins: usize) -> Option<Histogram> {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (mut low, mut high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high || num_bins == 0 || num_bins > MAX_BINS {
        return None;
    }
    if low == high {
        // one value: a bin of some width around it
        let half = low.abs().max(1.0) * 0.5;
        (low, high) = (low - half, high + half);
    }
    let width = (high - low) / num_bins as f64;
    let mut counts = vec![0; num_bins];
    for value in finite() {
        counts[(((value - low) / width) as usize).min(num_bins - 1)] += 1;
    }
    Some(Histogram { edges: (0..=num_bins).map(|i| low + width * i as f64).collect(), counts })
}
