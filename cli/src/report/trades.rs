//! Round trips of the agent: rows of `trades.csv` in, a table by side, the ways they ended and their distribution out.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    bars::{HistogramChart, bins},
    input::ReportInput,
    scale::{Unit, plain},
    svg::escape,
    tables::TradeRow,
};

/// Fewer trades are shown without a histogram.
const MIN_TRADES: usize = 20;

/// A table by side and a histogram of profits, as two pieces of markup; `None` without trades.
pub fn summary(input: &ReportInput) -> Option<(String, String)> {
    let trades = &input.trades;
    if trades.is_empty() {
        return None;
    }
    let mut out = String::from(
        r#"<div class="scroll"><table><thead><tr><th></th><th>Trades</th><th>Won</th><th>Mean P&amp;L</th><th>Best</th><th>Worst</th><th>Mean bars</th></tr></thead><tbody>"#,
    );
    for (name, rows) in [
        ("All", trades.iter().collect::<Vec<_>>()),
        ("Long", trades.iter().filter(|row| row.long).collect()),
        ("Short", trades.iter().filter(|row| !row.long).collect()),
    ] {
        out.push_str(&side_row(name, &rows));
    }
    out.push_str("</tbody></table></div>");
    let mut exits: BTreeMap<&str, usize> = BTreeMap::new();
    for row in trades {
        *exits.entry(row.exit.as_str()).or_default() += 1;
    }
    let ways: Vec<String> = exits.iter().map(|(kind, count)| format!("{} {}", exit_name(kind), plain(*count as f64, 1.0))).collect();
    let _ = write!(out, r#"<p class="lede">Ended by: {}.</p>"#, escape(&ways.join(", ")));
    Some((out, histogram(trades).unwrap_or_default()))
}

fn side_row(name: &str, rows: &[&TradeRow]) -> String {
    let len = rows.len() as f64;
    let money = |micros: f64| plain(micros / 1e6, 0.01);
    let sum: f64 = rows.iter().map(|row| row.pnl_micros as f64).sum();
    let won = rows.iter().filter(|row| row.pnl_micros > 0).count() as f64;
    let bars: f64 = rows.iter().map(|row| f64::from(row.bars_held)).sum();
    let extreme = |pick: fn(i64, i64) -> i64| {
        rows.iter().map(|row| row.pnl_micros).reduce(pick).map_or_else(|| "n/a".into(), |micros| money(micros as f64))
    };
    let of_some = |text: String| if rows.is_empty() { "n/a".into() } else { text };
    let cells = [
        plain(len, 1.0),
        of_some(format!("{}\u{a0}%", plain(won / len * 100.0, 0.1))),
        of_some(money(sum / len)),
        extreme(i64::max),
        extreme(i64::min),
        of_some(plain(bars / len, 0.1)),
    ];
    let cells: String =
        cells.iter().map(|text| format!("<td{}>{text}</td>", if text.starts_with('−') { r#" class="neg""# } else { "" })).collect();
    format!("<tr><th>{name}</th>{cells}</tr>")
}

fn exit_name(kind: &str) -> String {
    match kind {
        "open" => "decision".into(),
        other => other.replace('_', " "),
    }
}

fn histogram(trades: &[TradeRow]) -> Option<String> {
    if trades.len() < MIN_TRADES {
        return None;
    }
    let values: Vec<f64> = trades.iter().map(|row| row.pnl_micros as f64 / 1e6).collect();
    let (edges, counts) = bins(&values, 30, 0.01)?;
    let chart = HistogramChart {
        size: (510.0, 240.0),
        description: "Histogram of the profit of a trade after all costs".into(),
        edges,
        counts,
        unit: Unit::Suffix(""),
        along_title: "P&L of a trade after all costs".into(),
        marks: Vec::new(),
    };
    Some(chart.figure())
}
