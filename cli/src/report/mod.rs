//! The report of a run: the files of a run folder in, one self-contained page out. It trains nothing and it recomputes nothing that the
//! trainer already stated.

mod bars;
mod candles;
mod costs;
mod curves;
mod input;
mod lines;
mod results;
mod returns;
mod scale;
mod strategy;
mod summary;
mod svg;
mod tables;
mod trades;
mod training;
mod window;

pub use input::{FORMAT, Machine, Manifest, MetricsRecord, ReportInput, read_text};
pub use results::{
    Baseline, CostPoint, Counts, IntervalStated, MemoryStated, PathShare, Performance, RandomRuns, RefusalCount, Setup, ShareOfOptimum,
    SpanStated, StatsFile,
};
pub use strategy::Strategy;
pub use tables::{EquityTable, PathEquity, TradeRow, parse_decimal, push_decimal};
pub use window::{CandleBar, CandleWindow, CandlesFile, FillMark, MAX_BARS, MAX_WINDOWS, StopLine};

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::run_folder::write_whole;
use svg::escape;

/// Draws `report.html` from the files of a run folder alone and returns its path.
///
/// # Errors
/// The first file that is missing or damaged, by its path; the path of the report with the cause.
pub fn render(run_folder: &Path) -> Result<PathBuf> {
    let page = page(&ReportInput::load(run_folder)?);
    let path = run_folder.join("report.html");
    write_whole(&path, |out| Ok(out.write_all(page.as_bytes())?))?;
    Ok(path)
}

/// The page. It loads nothing: the policy in its head forbids it.
pub fn page(input: &ReportInput) -> String {
    let mut out = format!(
        r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"><title>{} - GrandModel</title><style>{}</style></head><body><main>"#,
        escape(&input.run_name),
        include_str!("page.css"),
    );
    out.push_str(&summary::header(input));
    section(
        &mut out,
        "Every strategy, same venue, same costs",
        "All figures from the test part, which was read once, for this report.",
        &summary::table(input),
    );
    performance(input, &mut out);
    shares(input, &mut out);
    returns(input, &mut out);
    decisions(input, &mut out);
    learning(input, &mut out);
    let _ = write!(out, "<details><summary>Resolved configuration</summary><pre>{}</pre></details>", escape(&input.config));
    let _ = write!(
        out,
        "<footer>Drawn by grandmodel {} from the files of this folder alone. A simulated account on past or invented prices says nothing certain about any other.</footer></main><script>{}</script></body></html>",
        env!("CARGO_PKG_VERSION"),
        include_str!("page.js")
    );
    out
}

fn performance(input: &ReportInput, out: &mut String) {
    let several = input.equity.paths.len();
    let lede = if several > 1 {
        format!(
            "Return since the start, net of costs: mean of {several} held-out paths, bar by bar. The band holds 80\u{a0}% of the agent's paths."
        )
    } else {
        "Return since the start, net of costs.".into()
    };
    section(out, "Equity", &lede, &curves::equity(input));
    if let Some(exposure) = curves::exposure(input) {
        let _ = write!(out, r#"<h3 class="sub">Exposure, share of equity</h3>{exposure}"#);
    }
    let lede = if several > 1 {
        "Fall of the agent from its highest equity so far; the area ends at the worst path of each bar."
    } else {
        "Fall from the highest equity so far."
    };
    section(out, "Under water", lede, &curves::underwater(input));
}

fn shares(input: &ReportInput, out: &mut String) {
    let Some(found) = &input.stats.share_of_optimum else { return };
    let lede = format!(
        "Sum of the agent's P&L over sum of the optimum's, through the same venue; 95\u{a0}% interval by bootstrap over {}paths.",
        if found.num_seeds > 1 { "seeds and " } else { "" }
    );
    section(
        out,
        "Share of the known optimum",
        &escape(&lede),
        &format!(
            r#"<div class="two"><div>{}{}</div><div>{}</div></div>"#,
            bars::share_bar(found),
            bars::share_facts(found),
            bars::path_pairs(found)
        ),
    );
}

fn returns(input: &ReportInput, out: &mut String) {
    let (title, table) = returns::heat(input);
    section(out, title, "Per cent, net of costs.", &table);
    let (lede, histogram) = returns::histogram(input);
    let left = part("Distribution of returns", &lede, &histogram);
    let right = costs::sweep(input).map_or_else(String::new, |(lede, figure)| part("Cost sweep", &lede, &figure));
    let _ = write!(out, r#"<div class="two">{left}{right}</div>"#);
}

fn decisions(input: &ReportInput, out: &mut String) {
    if let Some(window) = input.candles.windows.last() {
        let interval_ns = input.stats.setup.interval_ns;
        let start = input.equity.paths.iter().find(|path| path.path == window.path).and_then(|path| path.ts.first());
        let first_open = start.copied().unwrap_or(0).saturating_sub(interval_ns);
        let clock = if curves::counts_bars(input) { candles::Clock::Bars { first_open, interval_ns } } else { candles::Clock::Calendar };
        let lede = if input.equity.paths.len() > 1 {
            format!("The last trades of path {}.", window.path)
        } else {
            "Windows of the test part that end with recent trades.".into()
        };
        let key = r#"<p class="key"><i class="b">▲ bought</i><i class="s">▼ sold</i><i>✕ stopped out or liquidated</i><i class="b">shaded: long</i><i class="s">shaded: short</i><i class="s">- - resting stop</i><i>hollow candle: close above open</i></p>"#;
        section(out, "Bars with fills", &lede, &format!("{}{key}", candles::figures(&input.candles.windows, clock)));
    }
    if let Some((table, histogram)) = trades::summary(input) {
        let body = format!(r#"<div class="two"><div>{table}</div><div>{histogram}</div></div>"#);
        section(out, "Trades", "Round trips of the agent, from flat to flat or to the other side.", &body);
    }
    let left = costs::refusals(input).map_or_else(String::new, |(lede, figure)| part("Refusals", &escape(&lede), &figure));
    let right =
        costs::confidence(input).map_or_else(String::new, |figure| part("Confidence", "How probable the chosen action was.", &figure));
    if !left.is_empty() || !right.is_empty() {
        let _ = write!(out, r#"<div class="two">{left}{right}</div>"#);
    }
}

fn learning(input: &ReportInput, out: &mut String) {
    if let Some(curves) = training::curves(input) {
        section(out, "Training", "Over steps of all lanes together; the number beside each title is the last record.", &curves);
    }
    if let Some(memory) = training::memory(input) {
        let lede = input.stats.memory.map_or_else(String::new, |memory| {
            format!("Peak {} of a budget of {}.", scale::bytes(memory.peak_used_bytes), scale::bytes(memory.budget_bytes))
        });
        section(out, "Memory", &lede, &memory);
    }
}

/// `lede` and `body` are markup.
fn section(out: &mut String, title: &str, lede: &str, body: &str) {
    let _ = write!(out, "<section>{}</section>", part(title, lede, body));
}

fn part(title: &str, lede: &str, body: &str) -> String {
    let lede = if lede.is_empty() { String::new() } else { format!(r#"<p class="lede">{lede}</p>"#) };
    format!("<div><h2>{title}</h2>{lede}{body}</div>")
}

#[cfg(test)]
mod tests;
