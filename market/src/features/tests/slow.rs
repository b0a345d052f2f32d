//! The formulas once more, as plainly as they can be written: whole arrays, no state, nothing clever. Too slow to use, easy to check.

use crate::Bar;

pub(super) fn true_range(bars: &[Bar], t: usize) -> f64 {
    let close_tm1 = bars[t - 1].close;
    (bars[t].high - bars[t].low).max((bars[t].high - close_tm1).abs()).max((bars[t].low - close_tm1).abs())
}

/// Wilder: the mean of the first 14 true ranges, then 13/14 of the last value and 1/14 of the new range.
pub(super) fn atr(bars: &[Bar], t: usize, tick: f64) -> Option<f64> {
    if t < 14 {
        return None;
    }
    let mut value = (1..=14).map(|i| true_range(bars, i)).sum::<f64>() / 14.0;
    for i in 15..=t {
        value = (13.0 * value + true_range(bars, i)) / 14.0;
    }
    Some(value.max(tick))
}

/// Wilder's RSI of a whole series; NaN before it exists.
pub(super) fn rsi(values: &[f64], period: usize) -> Vec<f64> {
    let mut out = vec![f64::NAN; values.len()];
    let (mut gain, mut loss) = (0.0, 0.0);
    for t in 1..values.len() {
        let change = values[t] - values[t - 1];
        let n = period as f64;
        if t <= period {
            gain += change.max(0.0) / n;
            loss += (-change).max(0.0) / n;
        } else {
            gain = (gain * (n - 1.0) + change.max(0.0)) / n;
            loss = (loss * (n - 1.0) + (-change).max(0.0)) / n;
        }
        if t >= period {
            out[t] = if gain + loss > 0.0 { 100.0 * gain / (gain + loss) } else { 50.0 };
        }
    }
    out
}

/// Linear weights 1..period, the newest heaviest; NaN where a value is missing.
pub(super) fn wma(values: &[f64], period: usize) -> Vec<f64> {
    (0..values.len())
        .map(|t| {
            if t + 1 < period {
                return f64::NAN;
            }
            let total = (period * (period + 1) / 2) as f64;
            (0..period).map(|lag| values[t - lag] * (period - lag) as f64).sum::<f64>() / total
        })
        .collect()
}

pub(super) fn heikin_ashi_closes(bars: &[Bar]) -> Vec<f64> {
    bars.iter().map(|bar| (bar.open + bar.high + bar.low + bar.close) / 4.0).collect()
}

/// Value and signal at every bar. `segments`: of each bar.
pub(super) fn mlmi(bars: &[Bar], segments: &[u32]) -> Vec<Option<(f64, f64)>> {
    let closes = heikin_ashi_closes(bars);
    let (quick, slow) = (wma(&closes, 5), wma(&closes, 20));
    let (p1, p2) = (wma(&rsi(&closes, 20), 20), wma(&rsi(&closes, 5), 20));
    let d: Vec<f64> = quick.iter().zip(&slow).map(|(quick, slow)| quick - slow).collect();
    let bullish = |t: usize| t > 0 && d[t - 1] <= 0.0 && d[t] > 0.0;
    let bearish = |t: usize| t > 0 && d[t - 1] >= 0.0 && d[t] < 0.0;
    let events: Vec<usize> = (0..bars.len()).filter(|t| (bullish(*t) || bearish(*t)) && !p1[*t].is_nan() && !p2[*t].is_nan()).collect();
    (0..bars.len())
        .map(|t| {
            // Labelled: the next event has happened by t, in the same segment.
            let mut labelled: Vec<(usize, f64)> = Vec::new();
            for pair in events.windows(2).filter(|pair| pair[1] <= t && segments[pair[0]] == segments[pair[1]]) {
                let change = closes[pair[1]] - closes[pair[0]];
                labelled.push((pair[0], if change == 0.0 { 0.0 } else { change.signum() }));
            }
            let newest = labelled.len().saturating_sub(10_000);
            let mut labelled = labelled.split_off(newest);
            if labelled.len() < 8 || p1[t].is_nan() {
                return None;
            }
            let k = (labelled.len() / 4).clamp(8, 200);
            let distance = |i: usize| (p1[t] - p1[i]).powi(2) + (p2[t] - p2[i]).powi(2);
            labelled.sort_by(|a, b| distance(a.0).total_cmp(&distance(b.0)).then(b.0.cmp(&a.0)));
            let value = labelled[..k].iter().map(|(_, label)| label).sum::<f64>() / k as f64;
            let edge = 1.0 / (k as f64).sqrt();
            let signal = if (value > 0.0 && bullish(t)) || value > edge {
                1.0
            } else if (value < 0.0 && bearish(t)) || value < -edge {
                -1.0
            } else {
                0.0
            };
            Some((value, signal))
        })
        .collect()
}

pub(super) fn nwrqk(bars: &[Bar], t: usize) -> Option<f64> {
    let closes = heikin_ashi_closes(bars);
    let weight = |i: usize| (1.0 + (i * i) as f64 / (2.0 * 8.0 * 64.0)).powi(-8);
    (t >= 127).then(|| (0..128).map(|i| weight(i) * closes[t - i]).sum::<f64>() / (0..128).map(weight).sum::<f64>())
}

/// Nodes as `(price in ticks, strength seen from close)`, from a profile with one cell a tick.
pub(super) fn nodes(bars: &[Bar], t: usize, tick: f64, close: f64) -> Vec<(i64, f64)> {
    let ticks = |price: f64| (price / tick).round() as i64;
    let profile_bars = &bars[t - 19..=t];
    let lowest = profile_bars.iter().map(|bar| ticks(bar.low)).min().unwrap();
    let highest = profile_bars.iter().map(|bar| ticks(bar.high)).max().unwrap();
    let mut volume = vec![0.0; (highest - lowest + 1) as usize];
    for bar in profile_bars {
        let (low, high) = (ticks(bar.low), ticks(bar.high));
        for cell in low..=high {
            volume[(cell - lowest) as usize] += bar.volume / (high - low + 1) as f64;
        }
    }
    let mut runs: Vec<(i64, i64, f64)> = Vec::new();
    for (index, volume) in volume.into_iter().enumerate() {
        let cell = lowest + index as i64;
        match runs.last_mut() {
            Some(run) if run.2 == volume => run.1 = cell,
            _ => runs.push((cell, cell, volume)),
        }
    }
    let fullest = runs.iter().map(|run| run.2).fold(0.0, f64::max);
    let last = &bars[t - 49..=t];
    let mean_range = last.iter().map(|bar| bar.high - bar.low).sum::<f64>() / 50.0;
    let mut found = Vec::new();
    for i in 1..runs.len().max(1) - 1 {
        let (start, end, volume) = runs[i];
        if volume >= runs[i - 1].2 || volume >= runs[i + 1].2 || volume >= 0.3 * fullest {
            continue;
        }
        let level_ticks = (start + end).div_euclid(2);
        let level = level_ticks as f64 * tick;
        let tests: Vec<(usize, f64)> = last
            .iter()
            .enumerate()
            .filter(|(_, bar)| (bar.low - level).max(level - bar.high) <= mean_range / 2.0)
            .map(|(index, bar)| {
                let back = if bar.open >= level { bar.close - bar.low } else { bar.high - bar.close };
                (index, if bar.high > bar.low { back / (bar.high - bar.low) } else { 0.0 })
            })
            .collect();
        let mut strength = 40.0 * (1.0 - volume / fullest) + (3.0 * tests.len() as f64).min(15.0);
        if let Some((newest, _)) = tests.last() {
            strength += 15.0 * tests.iter().map(|test| test.1).sum::<f64>() / tests.len() as f64;
            strength += 20.0 * (1.0 - (49 - newest) as f64 / 50.0);
        }
        strength += 10.0 * (1.0 - ((level - close).abs() / mean_range).min(1.0));
        found.push((level_ticks, strength));
    }
    found
}

/// Nearest node's price and strength.
pub(super) fn nearest_node(bars: &[Bar], t: usize, tick: f64, close: f64) -> Option<(f64, f64)> {
    let mut found = nodes(bars, t, tick, close);
    found.sort_by(|a, b| (a.0 as f64 * tick - close).abs().total_cmp(&(b.0 as f64 * tick - close).abs()).then(a.0.cmp(&b.0)));
    found.first().map(|(ticks, strength)| (*ticks as f64 * tick, *strength))
}

/// Columns 0 to 4 of the tactical row at `t`, volatility scaling.
pub(super) fn fvg(bars: &[Bar], segments: &[u32], t: usize, atr: f64) -> [f64; 5] {
    let body = |i: usize| (bars[i].close - bars[i].open).abs();
    let found = |i: usize| {
        let big = i >= 11 && body(i - 1) > 1.5 * (i - 11..=i - 2).map(body).sum::<f64>() / 10.0;
        if big && bars[i].low > bars[i - 2].high {
            Some((true, bars[i - 2].high, bars[i].low))
        } else if big && bars[i].high < bars[i - 2].low {
            Some((false, bars[i].high, bars[i - 2].low))
        } else {
            None
        }
    };
    let filled_at = |gap: (bool, f64, f64), j: usize| if gap.0 { bars[j].low <= gap.1 } else { bars[j].high >= gap.2 };
    let mut out = [0.0; 5];
    let mut nearest = f64::INFINITY;
    for i in t.saturating_sub(50)..=t {
        let Some(gap) = found(i) else { continue };
        if segments[i] != segments[t] || (i + 1..t).any(|j| filled_at(gap, j)) {
            continue;
        }
        if i < t && filled_at(gap, t) {
            out[4] = 1.0;
        } else if t - i < 50 {
            let weight = (-0.1 * (t - i) as f64).exp();
            out[if gap.0 { 0 } else { 1 }] = weight;
            let centre = (gap.1 + gap.2) / 2.0;
            if (centre - bars[t].close).abs() <= nearest {
                nearest = (centre - bars[t].close).abs();
                (out[2], out[3]) = (((centre - bars[t].close) / (4.0 * atr)).tanh(), weight);
            }
        }
    }
    out
}

/// `tanh(0.5 (ln v - E))` at every bar.
pub(super) fn volume_ratio(bars: &[Bar]) -> Vec<Option<f64>> {
    let mut traded: Vec<f64> = Vec::new();
    let mut mean = None;
    bars.iter()
        .map(|bar| {
            if bar.volume == 0.0 {
                return mean.map(|_: f64| -1.0);
            }
            let log = bar.volume.ln();
            let ratio = mean.map(|mean| (0.5 * (log - mean)).tanh());
            traded.push(log);
            mean = match mean {
                Some(mean) => Some(0.02 * log + 0.98 * mean),
                None if traded.len() == 99 => Some(traded.iter().sum::<f64>() / 99.0),
                None => None,
            };
            ratio
        })
        .collect()
}

/// Columns 0 to 6 of the regime vector.
pub(super) fn regime(bars: &[Bar], t: usize) -> [f64; 7] {
    let r = |i: usize| (bars[i].close / bars[i - 1].close).ln();
    let range = |i: usize| (bars[i].high / bars[i].low).ln();
    let slow = |values: Vec<f64>| {
        let mut mean = 0.0;
        for (index, value) in values.iter().enumerate() {
            let alpha = (1.0_f64 / 384.0).max(1.0 / (index + 1) as f64);
            mean = (1.0 - alpha) * mean + alpha * value;
        }
        mean
    };
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let (window, newer, older) = (t - 95..=t, t - 47..=t, t - 95..=t - 48);
    let all = window.clone();
    let trend = 0.5 * 96_f64.sqrt() * (bars[t].close - bars[t - 96].close)
        / all.clone().map(|i| (bars[i].close - bars[i - 1].close).abs()).sum::<f64>();
    let volatility = 0.5 * (mean(newer.clone().map(|i| r(i).powi(2)).collect()) / slow((1..=t).map(|i| r(i).powi(2)).collect())).ln();
    let volume = mean(newer.clone().map(|i| bars[i].volume).collect());
    let usual_volume = slow((0..=t).map(|i| bars[i].volume).collect());
    let liquidity = 2.0 * ((volume / usual_volume).ln() - (mean(newer.map(range).collect()) / slow((0..=t).map(range).collect())).ln());
    let high = all.clone().map(|i| bars[i].high).fold(0.0, f64::max);
    let low = all.clone().map(|i| bars[i].low).fold(f64::INFINITY, f64::min);
    let path = all.clone().map(|i| true_range(bars, i)).sum::<f64>();
    let smoothness = 6.0 * (0.5 - (path / (high - low)).ln() / 96_f64.ln());
    let volume_trend = (volume / mean(older.map(|i| bars[i].volume).collect())).ln();
    let bodies = all.clone().map(|i| (bars[i].close - bars[i].open).abs()).sum::<f64>();
    let cleanliness = 10.0 * (bodies / all.clone().map(|i| bars[i].high - bars[i].low).sum::<f64>() - 0.47);
    let drift = mean(all.clone().map(r).collect());
    let side = |up: bool| all.clone().map(|i| r(i) - drift).filter(|d| (*d > 0.0) == up).map(|d| d * d).sum::<f64>();
    let asymmetry = 2.0 * (side(true) - side(false)) / (side(true) + side(false));
    [trend, volatility, liquidity, smoothness, volume_trend, cleanliness, asymmetry].map(f64::tanh)
}

/// The unbiased squared MMD at bar `t`.
pub(super) fn mmd(bars: &[Bar], t: usize, test: usize, reference: usize) -> Option<f64> {
    let window = test + reference;
    let mut points: Vec<[f64; 2]> =
        (t + 1 - window..=t).map(|i| [(bars[i].close / bars[i - 1].close).ln(), true_range(bars, i) / bars[i - 1].close]).collect();
    for axis in 0..2 {
        let known: Vec<f64> = points[..reference].iter().map(|point| point[axis]).collect();
        let mean = known.iter().sum::<f64>() / reference as f64;
        let deviation = (known.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / reference as f64).sqrt();
        for point in &mut points {
            point[axis] = (point[axis] - mean) / if deviation == 0.0 { 1.0 } else { deviation };
        }
    }
    let distance = |a: [f64; 2], b: [f64; 2]| ((a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)).sqrt();
    let (old, new) = points.split_at(reference);
    let mut distances: Vec<f64> = (0..reference).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| distance(old[i], old[j])).collect();
    distances.sort_by(f64::total_cmp);
    let sigma = (distances[(distances.len() - 1) / 2] + distances[distances.len() / 2]) / 2.0;
    if sigma == 0.0 {
        return None;
    }
    let k = |a: [f64; 2], b: [f64; 2]| (-distance(a, b).powi(2) / (2.0 * sigma * sigma)).exp();
    let within = |points: &[[f64; 2]]| {
        let n = points.len();
        let total: f64 = (0..n).map(|i| (0..n).filter(|j| *j != i).map(|j| k(points[i], points[j])).sum::<f64>()).sum();
        total / (n * (n - 1)) as f64
    };
    let between: f64 = old.iter().map(|a| new.iter().map(|b| k(*a, *b)).sum::<f64>()).sum();
    Some(within(old) + within(new) - 2.0 * between / (reference * test) as f64)
}
