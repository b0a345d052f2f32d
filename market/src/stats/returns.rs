//! Return statistics as empyrical defines them: a slice of simple returns in, one number out, absent where it means nothing.
//!
//! # Source
//! github.com/quantopian/empyrical, `empyrical/stats.py`; the tests hold its numbers.

/// Simple returns of an equity curve; a return from an equity of 0 or less is 0, since there is nothing left to lose.
pub fn simple_returns(initial: f64, equity: &[f64]) -> Vec<f64> {
    let mut previous = initial;
    equity
        .iter()
        .map(|&value| {
            let change = if previous > 0.0 { value / previous - 1.0 } else { 0.0 };
            previous = value;
            change
        })
        .collect()
}

/// Returns of the days that have a bar, from the last equity of each; a bar belongs to the day it closes in (midnight closes the old day).
pub fn daily_returns(ts_close: &[i64], equity: &[f64], initial: f64, shift_ns: i64) -> Vec<f64> {
    const DAY_NS: i64 = 86_400_000_000_000;
    let day = |ts: i64| (ts.saturating_add(shift_ns) - 1).div_euclid(DAY_NS);
    let mut closing = Vec::new();
    for (row, &value) in equity.iter().enumerate() {
        if ts_close.get(row + 1).is_none_or(|&next| day(next) != day(ts_close[row])) {
            closing.push(value);
        }
    }
    simple_returns(initial, &closing)
}

/// Compounded return: `prod(1 + r) - 1`.
pub fn total_return(returns: &[f64]) -> f64 {
    returns.iter().fold(1.0, |growth, r| growth * (1.0 + r)) - 1.0
}

/// Compound annual growth: `(1 + total)^(periods_per_year / num_periods) - 1`; a total loss or worse is -1.
pub fn annual_return(total: f64, num_periods: usize, periods_per_year: f64) -> Option<f64> {
    if num_periods == 0 {
        return None;
    }
    finite((1.0 + total).max(0.0).powf(periods_per_year / num_periods as f64) - 1.0)
}

/// Sample deviation (n - 1) x sqrt(periods_per_year).
pub fn annual_volatility(returns: &[f64], periods_per_year: f64) -> Option<f64> {
    finite(sample_deviation(returns)? * periods_per_year.sqrt())
}

/// `mean / sample deviation x sqrt(periods_per_year)`; absent when nothing varies.
pub fn sharpe(returns: &[f64], periods_per_year: f64) -> Option<f64> {
    let deviation = sample_deviation(returns)?;
    // equal returns leave a deviation of rounding size, and a ratio of rounding errors is no Sharpe
    (deviation > 1e-14).then(|| mean(returns) / deviation * periods_per_year.sqrt()).and_then(finite)
}

/// `mean x periods_per_year / (sqrt(mean(min(r, 0)^2)) x sqrt(periods_per_year))`; absent without a loss.
pub fn sortino(returns: &[f64], periods_per_year: f64) -> Option<f64> {
    if returns.len() < 2 {
        return None;
    }
    let downside = (returns.iter().map(|r| r.min(0.0).powi(2)).sum::<f64>() / returns.len() as f64).sqrt();
    (downside > 0.0).then(|| mean(returns) / downside * periods_per_year.sqrt()).and_then(finite)
}

/// Annual return over the depth of the maximum drawdown; absent without a drawdown.
pub fn calmar(annual_return: f64, max_drawdown: f64) -> Option<f64> {
    (max_drawdown > 0.0).then(|| annual_return / max_drawdown).and_then(finite)
}

/// Quantile of the returns at `tail`, linear between order statistics (numpy's default).
pub fn value_at_risk(returns: &[f64], tail: f64) -> Option<f64> {
    percentile(returns, tail)
}

/// Mean of the worst `floor((n - 1) tail) + 1` returns.
pub fn conditional_value_at_risk(returns: &[f64], tail: f64) -> Option<f64> {
    let sorted = sorted(returns)?;
    let count = ((sorted.len() - 1) as f64 * tail) as usize + 1;
    finite(mean(&sorted[..count.min(sorted.len())]))
}

/// Quantile, linear between order statistics; absent for an empty slice.
pub fn percentile(values: &[f64], quantile: f64) -> Option<f64> {
    let sorted = sorted(values)?;
    let place = (sorted.len() - 1) as f64 * quantile.clamp(0.0, 1.0);
    let index = place as usize;
    let above = sorted[(index + 1).min(sorted.len() - 1)];
    finite(sorted[index] + (above - sorted[index]) * (place - index as f64))
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn sample_deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let centre = mean(values);
    finite((values.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt())
}

fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty()).then_some(sorted)
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
