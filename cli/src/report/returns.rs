//! Returns cut into months, paths and bins: equity in, a heat table or a histogram out.

use std::fmt::Write as _;

use super::{
    bars::{HistogramChart, bins},
    curves::{color, counts_bars},
    input::ReportInput,
    scale::{Unit, date_of, plain},
    strategy::Strategy,
    tables::PathEquity,
};

/// Fewer daily returns than this are shown bar by bar.
const MIN_DAYS: usize = 40;
/// Columns of the table of paths.
const MAX_PATH_COLUMNS: usize = 16;

/// Returns by month (UTC), or by path where dates mean nothing.
pub fn heat(input: &ReportInput) -> (&'static str, String) {
    match input.equity.paths.as_slice() {
        [path] if !counts_bars(input) => ("Monthly returns", months(path)),
        _ => ("Return by path", by_path(input)),
    }
}

fn months(path: &PathEquity) -> String {
    let Some(agent) = path.curve(Strategy::Agent) else { return String::new() };
    let mut found: Vec<(i16, usize, i64)> = Vec::new();
    for (&ts, &equity) in path.ts.iter().zip(agent) {
        // a bar that closes at midnight belongs to the day it ends
        let Some(date) = date_of(ts.saturating_sub(1)) else { continue };
        let key = (date.year(), date.month() as usize - 1);
        match found.last_mut() {
            Some(last) if (last.0, last.1) == key => last.2 = equity,
            _ => found.push((key.0, key.1, equity)),
        }
    }
    let mut years: Vec<(i16, [Option<f64>; 12], f64)> = Vec::new();
    let mut before = path.initial_micros;
    for (year, month, equity) in found {
        // a ruined account has no return
        let growth = if before > 0 { equity as f64 / before as f64 } else { 1.0 };
        before = equity;
        if years.last().is_none_or(|last| last.0 != year) {
            years.push((year, [None; 12], 1.0));
        }
        if let Some(last) = years.last_mut() {
            last.1[month] = Some(growth - 1.0);
            last.2 *= growth;
        }
    }
    let largest = years.iter().flat_map(|(_, months, _)| months).flatten().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let mut out = String::from(r#"<div class="scroll"><table class="heat"><thead><tr><th></th>"#);
    for month in ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Year"] {
        let _ = write!(out, "<th>{month}</th>");
    }
    out.push_str("</tr></thead><tbody>");
    for (year, months, growth) in years {
        let _ = write!(out, "<tr><th>{year}</th>");
        for value in months {
            out.push_str(&value.map_or_else(|| r#"<td class="blank"></td>"#.into(), |value| heat_cell(value, largest, "")));
        }
        let _ = write!(out, r#"<td class="sum blank">{}</td></tr>"#, percent(growth - 1.0));
    }
    out + "</tbody></table></div>"
}

fn by_path(input: &ReportInput) -> String {
    let paths = &input.equity.paths[..input.equity.paths.len().min(MAX_PATH_COLUMNS)];
    let last = |path: &PathEquity, strategy| Some(*path.curve(strategy)?.last()? as f64 / path.initial_micros as f64 - 1.0);
    let mut rows: Vec<(Strategy, Vec<Option<f64>>)> =
        input.equity.strategies().map(|strategy| (strategy, paths.iter().map(|path| last(path, strategy)).collect())).collect();
    rows.retain(|(strategy, _)| *strategy != Strategy::Flat);
    let largest = rows.iter().flat_map(|(_, row)| row).flatten().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let mut out = String::from(r#"<div class="scroll"><table class="heat"><thead><tr><th></th>"#);
    for path in paths {
        let _ = write!(out, "<th>{}</th>", path.path);
    }
    out.push_str("</tr></thead><tbody>");
    for (strategy, row) in rows {
        let class = if strategy == Strategy::Agent { r#" class="agent""# } else { "" };
        let _ = write!(out, r#"<tr{class}><th><span class="swatch c-{}"></span>{}</th>"#, color(strategy), strategy.label());
        for value in row {
            out.push_str(&value.map_or_else(|| r#"<td class="blank"></td>"#.into(), |value| heat_cell(value, largest, "")));
        }
        out.push_str("</tr>");
    }
    out + "</tbody></table></div>"
}

fn heat_cell(value: f64, largest: f64, class: &str) -> String {
    let weight = if largest > 0.0 { (value.abs() / largest * 52.0).round() } else { 0.0 };
    let side = if value < 0.0 { "down" } else { "up" };
    format!(r#"<td class="{side}{class}" style="--w:{weight}%">{}</td>"#, percent(value))
}

/// `1.2`, `−0.04`: per cent without its sign, two digits that matter.
fn percent(value: f64) -> String {
    plain(value * 100.0, if value.abs() < 0.099_95 { 0.01 } else { 0.1 })
}

/// Daily returns of the agent where there are enough days, returns of bars in a position elsewhere.
pub fn histogram(input: &ReportInput) -> (String, String) {
    let daily = match input.equity.paths.as_slice() {
        [path] if !counts_bars(input) => daily(path),
        _ => Vec::new(),
    };
    let (name, values) = if daily.len() >= MIN_DAYS { ("daily returns", daily) } else { ("returns of bars in a position", by_bar(input)) };
    let Some((edges, counts)) = bins(&values, 40, 0.002) else {
        return (String::new(), r#"<p class="none">The agent never held a position.</p>"#.into());
    };
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let step = edges[1] - edges[0];
    let chart = HistogramChart {
        size: (510.0, 270.0),
        description: format!("Histogram of the agent's {name}"),
        edges,
        counts,
        unit: Unit::Percent,
        along_title: name.into(),
        marks: vec![(mean, format!("mean {}", Unit::Percent.write(mean, step / 100.0)))],
    };
    let wins = values.iter().filter(|value| **value > 0.0).count() as f64 / values.len() as f64;
    let lede = format!(
        "{} {name}; {}\u{a0}% of them gains. The outermost bars hold what lies beyond the 0.2\u{a0}% and 99.8\u{a0}% quantiles.",
        plain(values.len() as f64, 1.0),
        plain(wins * 100.0, 0.1)
    );
    (lede, chart.figure())
}

fn daily(path: &PathEquity) -> Vec<f64> {
    let Some(agent) = path.curve(Strategy::Agent) else { return Vec::new() };
    const DAY_NS: i64 = 86_400_000_000_000;
    let (mut day, mut last, mut before, mut out) = (i64::MIN, path.initial_micros, path.initial_micros, Vec::new());
    for (&ts, &equity) in path.ts.iter().zip(agent) {
        let today = ts.saturating_sub(1).div_euclid(DAY_NS);
        if today != day && day != i64::MIN {
            out.push(last as f64 / before as f64 - 1.0);
            before = last;
        }
        (day, last) = (today, equity);
    }
    out.push(last as f64 / before as f64 - 1.0);
    out
}

fn by_bar(input: &ReportInput) -> Vec<f64> {
    let mut out = Vec::new();
    for path in &input.equity.paths {
        let Some(agent) = path.curve(Strategy::Agent) else { continue };
        let mut before = path.initial_micros;
        for (index, &equity) in agent.iter().enumerate() {
            // in a position now or at the bar before: the bar that closed one counts
            let held = path.position_lots[index] != 0 || index > 0 && path.position_lots[index - 1] != 0;
            if held && before > 0 {
                out.push(equity as f64 / before as f64 - 1.0);
            }
            before = equity;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_counts_from_the_last_equity_of_the_month_before() {
        let at = |text: &str| i64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_nanosecond()).unwrap();
        let ts = vec![at("2013-12-31T12:00:00Z"), at("2014-01-01T00:00:00Z"), at("2014-01-02T00:00:00Z")];
        // midnight of 1 January closes December: 100 -> 110 is +10 %, 110 -> 99 is -10 %, the year 2014 alone -10 %
        let path = PathEquity::new(0, 100, ts, vec![0; 3], vec![0.0; 3], vec![105, 110, 99]).unwrap();
        let table = months(&path);
        assert!(table.contains("<th>2013</th>") && table.contains(">10.0</td>") && table.contains(">−10.0</td>"), "{table}");
        assert_eq!(daily(&path), [110.0 / 100.0 - 1.0, 99.0 / 110.0 - 1.0]);
    }
}
