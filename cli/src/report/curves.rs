//! Equity against the baselines, and how far below its peak it stood. Equity tables in, figures out. Over several paths (synthetic markets)
//! the curves are means over paths, bar by bar: a single path proves nothing.

use super::{
    input::ReportInput,
    lines::{Along, Line, LineChart, Look, Series, WIDE},
    scale::Unit,
    strategy::Strategy,
    tables::PathEquity,
};

/// Ratio of the highest to the lowest equity from which heights are drawn logarithmic.
const LOG_FROM: f64 = 5.0;

/// Class of the page's palette.
pub fn color(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::RandomMedian => "random",
        Strategy::Rule => "rule_based",
        other => other.name(),
    }
}

/// Growth of every strategy.
pub fn equity(input: &ReportInput) -> String {
    let paths = &input.equity.paths;
    let mut strategies: Vec<Strategy> = input.equity.strategies().collect();
    // the agent last, so that it lies on top
    strategies.sort();
    strategies.reverse();
    let lines: Vec<(Strategy, Line)> = strategies.into_iter().map(|strategy| (strategy, mean_return(input, strategy))).collect();
    let all = || lines.iter().flat_map(|(_, line)| line.iter().map(|(_, value)| 1.0 + value));
    let (low, high) = all().fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let log = low > 0.0 && high / low >= LOG_FROM;
    let mut chart =
        base_chart(input, (WIDE, 400.0), "Equity of the agent and the baselines", if log { Unit::Multiple } else { Unit::Percent });
    chart.log = log;
    chart.include = vec![if log { 1.0 } else { 0.0 }];
    let place = |line: Line| if log { line.into_iter().map(|(x, value)| (x, 1.0 + value)).collect() } else { line };
    chart.series = lines
        .into_iter()
        .map(|(strategy, line)| {
            let look = if strategy == Strategy::Agent { Look::Strong } else { Look::Normal };
            Series::new(color(strategy), strategy.label(), place(line), look)
        })
        .collect();
    if paths.len() >= 4 {
        let (low, high) = quantiles(input, 0.1, 0.9);
        chart.band = Some((place(low), place(high)));
    }
    chart.figure()
}

/// Fall from the running peak: the agent filled, buy and hold beside it; on several paths their mean, the worst of each bar as an area, and
/// the path that fell deepest.
pub fn underwater(input: &ReportInput) -> String {
    let mut chart = base_chart(input, (WIDE, 220.0), "Fall from the highest equity so far", Unit::Percent);
    chart.include = vec![0.0];
    let drawdown = |path: &PathEquity, strategy: Strategy| -> Option<Line> {
        let equity = path.curve(strategy)?;
        let mut peak = path.initial_micros;
        let falls = equity.iter().map(|&value| {
            peak = peak.max(value);
            value as f64 / peak as f64 - 1.0
        });
        Some(std::iter::once(0.0).chain(falls).enumerate().map(|(index, fall)| (x_at(input, path, index), fall)).collect())
    };
    let deepest = |line: &[(f64, f64)]| line.iter().map(|point| point.1).fold(0.0, f64::min);
    if let [path] = input.equity.paths.as_slice() {
        for (strategy, look) in [(Strategy::BuyAndHold, Look::Normal), (Strategy::Agent, Look::Strong)] {
            let Some(line) = drawdown(path, strategy) else { continue };
            let mut series = Series::new(color(strategy), strategy.label(), line, look);
            series.fill_to = (strategy == Strategy::Agent).then_some(0.0);
            chart.series.push(series);
        }
        chart.end_values = false;
        return chart.figure();
    }
    let lines: Vec<(u32, Line)> =
        input.equity.paths.iter().filter_map(|path| Some((path.path, drawdown(path, Strategy::Agent)?))).collect();
    let len = lines.iter().map(|(_, line)| line.len()).min().unwrap_or(0);
    let across = |summary: &dyn Fn(&mut dyn Iterator<Item = f64>) -> f64| -> Line {
        (0..len).map(|index| (lines[0].1[index].0, summary(&mut lines.iter().map(|(_, line)| line[index].1)))).collect()
    };
    let worst = across(&|falls| falls.fold(0.0, f64::min));
    let mean = across(&|falls| falls.sum::<f64>() / lines.len() as f64);
    chart.band = Some((worst, (0..len).map(|index| (lines[0].1[index].0, 0.0)).collect()));
    if let Some((path, line)) = lines.iter().min_by(|a, b| deepest(&a.1).total_cmp(&deepest(&b.1))) {
        chart.series.push(Series::new("loss", format!("Deepest: path {path}"), line.clone(), Look::Normal));
    }
    chart.series.push(Series::new("agent", "Mean of the paths", mean, Look::Strong));
    chart.end_values = false;
    chart.figure()
}

/// Signed notional over equity of the agent; only where there is one path.
pub fn exposure(input: &ReportInput) -> Option<String> {
    let [path] = input.equity.paths.as_slice() else { return None };
    let mut chart = base_chart(input, (WIDE, 120.0), "Exposure of the agent", Unit::Percent);
    chart.include = vec![0.0];
    // each bar's exposure holds until the next one: steps, not slopes
    let mut steps = Vec::with_capacity(2 * path.ts.len());
    for (index, &exposure) in path.exposure.iter().enumerate() {
        steps.extend([(x_at(input, path, index), exposure), (x_at(input, path, index + 1), exposure)]);
    }
    let mut series = Series::new("agent", "Agent", steps, Look::Normal);
    series.fill_to = Some(0.0);
    chart.series.push(series);
    chart.end_values = false;
    Some(chart.figure())
}

/// Bars are counted where dates mean nothing or paths lie over one another.
pub fn counts_bars(input: &ReportInput) -> bool {
    input.stats.setup.synthetic || input.equity.paths.len() > 1
}

fn base_chart(input: &ReportInput, size: (f64, f64), description: &str, unit: Unit) -> LineChart {
    let along = if counts_bars(input) { Along::Number(Unit::Suffix("")) } else { Along::Time };
    let mut chart = LineChart::new(size, description, along, unit);
    chart.along_title = if counts_bars(input) { "bar" } else { "" };
    chart
}

/// Place of the equity after bar `index - 1`; index 0 is the start.
fn x_at(input: &ReportInput, path: &PathEquity, index: usize) -> f64 {
    if counts_bars(input) {
        return index as f64;
    }
    match index.checked_sub(1) {
        Some(bar) => path.ts[bar] as f64,
        None => path.ts.first().map_or(0.0, |ts| ts.saturating_sub(input.stats.setup.interval_ns) as f64),
    }
}

fn mean_return(input: &ReportInput, strategy: Strategy) -> Line {
    over_paths(input, strategy, |values| values.iter().sum::<f64>() / values.len() as f64)
}

fn quantiles(input: &ReportInput, low: f64, high: f64) -> (Line, Line) {
    let at = |share: f64| {
        over_paths(input, Strategy::Agent, move |values| {
            values.sort_by(f64::total_cmp);
            let place = share * (values.len() - 1) as f64;
            let (below, part) = (place.floor() as usize, place.fract());
            values[below] + (values[(below + 1).min(values.len() - 1)] - values[below]) * part
        })
    };
    (at(low), at(high))
}

/// One number a bar from the returns of all paths, as far as the shortest path reaches.
fn over_paths(input: &ReportInput, strategy: Strategy, summary: impl Fn(&mut [f64]) -> f64) -> Line {
    let curves: Vec<(&PathEquity, &[i64])> = input.equity.paths.iter().filter_map(|path| Some((path, path.curve(strategy)?))).collect();
    let Some(first) = curves.first() else { return Vec::new() };
    let len = curves.iter().map(|(_, equity)| equity.len()).min().unwrap_or(0);
    let mut values = vec![0.0; curves.len()];
    let mut line = Vec::with_capacity(len + 1);
    line.push((x_at(input, first.0, 0), 0.0));
    for index in 0..len {
        for (value, (path, equity)) in values.iter_mut().zip(&curves) {
            *value = equity[index] as f64 / path.initial_micros as f64 - 1.0;
        }
        line.push((x_at(input, first.0, index + 1), summary(&mut values)));
    }
    line
}
