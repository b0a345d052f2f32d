//! How learning went and what it took of the memory: records of `metrics.jsonl` in, figures out.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{
    input::{MetricsRecord, ReportInput},
    lines::{Along, Level, LineChart, Look, Series, WIDE},
    scale::{self, Unit},
    svg::escape,
};

/// Most curves of training.
const MAX_PANELS: usize = 18;
/// Curves of more points are drawn faint with their running mean on top.
const SMOOTH_FROM: usize = 60;
/// What is known, in the order of reading: name, title, unit.
const KNOWN: [(&str, &str, Unit); 16] = [
    ("charts/episodic_return", "Episodic return", Unit::Suffix("")),
    ("validation/log_growth", "Log growth on the validation part", Unit::Suffix("")),
    ("eval/total_return", "Return on the validation part", Unit::Percent),
    ("losses/entropy", "Entropy, nats", Unit::Suffix("")),
    ("losses/approx_kl", "Approximate KL divergence", Unit::Suffix("")),
    ("losses/explained_variance", "Explained variance of the value", Unit::Suffix("")),
    ("charts/SPS", "Steps a second", Unit::Suffix("")),
    ("losses/policy_loss", "Policy loss", Unit::Suffix("")),
    ("losses/value_loss", "Value loss", Unit::Suffix("")),
    ("losses/clipfrac", "Clipped share of samples", Unit::Percent),
    ("losses/aux_loss", "Auxiliary loss", Unit::Suffix("")),
    ("losses/grad_norm", "Gradient norm before clipping", Unit::Suffix("")),
    ("charts/reward_deviation", "Deviation of the discounted return", Unit::Suffix("")),
    ("charts/learning_rate", "Learning rate", Unit::Suffix("")),
    ("charts/episodic_length", "Episodic length, bars", Unit::Suffix("")),
    ("losses/old_approx_kl", "Approximate KL divergence, first order", Unit::Suffix("")),
];

/// Small charts of everything that was recorded.
pub fn curves(input: &ReportInput) -> Option<String> {
    let mut names: BTreeSet<&str> =
        input.metrics.iter().flat_map(|record| record.values.keys().chain(record.time.keys())).map(String::as_str).collect();
    names.retain(|name| name.contains('/') && !name.starts_with("memory/"));
    let known = KNOWN.iter().filter(|(name, _, _)| names.contains(name)).map(|(name, title, unit)| (*name, (*title).to_string(), *unit));
    let others =
        names.iter().filter(|name| KNOWN.iter().all(|known| known.0 != **name)).map(|name| (*name, (*name).to_string(), Unit::Suffix("")));
    let panels: Vec<String> =
        known.chain(others).filter_map(|(name, title, unit)| panel(&input.metrics, name, &title, unit)).take(MAX_PANELS).collect();
    (!panels.is_empty()).then(|| format!(r#"<div class="three">{}</div>"#, panels.concat()))
}

fn panel(metrics: &[MetricsRecord], name: &str, title: &str, unit: Unit) -> Option<String> {
    let line: Vec<(f64, f64)> = metrics.iter().filter_map(|record| Some((record.step as f64, record.get(name)?))).collect();
    let last = *line.last()?;
    let lost = metrics.iter().filter(|record| record.values.get(name).is_some_and(|value| !value.is_finite())).count();
    let mut chart = LineChart::new((336.0, 176.0), format!("{title} over training steps"), Along::Number(Unit::Steps), unit);
    chart.end_values = false;
    let (low, high) = super::lines::bounds(line.iter().map(|point| point.1))?;
    if low >= 0.0 && low < 0.6 * high {
        chart.include = vec![0.0];
    }
    let many = line.len() > SMOOTH_FROM;
    if many {
        chart.series.push(Series::new("agent", "", line.clone(), Look::Faint));
    }
    let shown = if many { running_mean(&line, line.len() / 30) } else { line };
    chart.series.push(Series::new("agent", "", shown, Look::Normal));
    let last_value =
        if unit == Unit::Percent { format!("{}\u{a0}%", scale::significant(last.1 * 100.0)) } else { scale::significant(last.1) };
    let mut out = format!(r#"<div class="panel"><h3>{}<span>{}</span></h3>{}"#, escape(title), last_value, chart.figure());
    if lost > 0 {
        let _ = write!(out, r#"<p class="none">{lost} records were not finite.</p>"#);
    }
    Some(out + "</div>")
}

/// Mean of the last `len` points at each point.
fn running_mean(line: &[(f64, f64)], len: usize) -> Vec<(f64, f64)> {
    let len = len.max(2);
    let mut sum = 0.0;
    let mut out = Vec::with_capacity(line.len());
    for (index, (x, value)) in line.iter().enumerate() {
        sum += value;
        if index >= len {
            sum -= line[index - len].1;
        }
        out.push((*x, sum / (index + 1).min(len) as f64));
    }
    out
}

/// Memory in use over the seconds of the run, with the budget and its two thresholds.
pub fn memory(input: &ReportInput) -> Option<String> {
    // a resumed run counts its seconds from 0 again; the parts are put one after the other
    let (mut offset, mut before) = (0.0, 0.0);
    let mut line: Vec<(f64, f64)> = Vec::new();
    for record in &input.metrics {
        let (Some(elapsed), Some(used)) = (record.get("elapsed_s"), record.get("memory/used_bytes")) else { continue };
        if elapsed < before {
            offset += before;
        }
        before = elapsed;
        line.push((offset + elapsed, used));
    }
    let most =
        line.iter().map(|point| point.1).fold(0.0, f64::max).max(input.stats.memory.map_or(0.0, |memory| memory.budget_bytes as f64));
    if line.is_empty() || most <= 0.0 {
        return None;
    }
    let (size, unit) = if most >= (1_u64 << 30) as f64 { ((1_u64 << 30) as f64, " GiB") } else { ((1_u64 << 20) as f64, " MiB") };
    let mut chart =
        LineChart::new((WIDE, 230.0), "Memory in use against the budget", Along::Number(Unit::Suffix(" s")), Unit::Suffix(unit));
    chart.include = vec![0.0];
    let mut series = Series::new("agent", "In use", line.into_iter().map(|(x, bytes)| (x, bytes / size)).collect(), Look::Strong);
    series.fill_to = Some(0.0);
    chart.series.push(series);
    if let Some(memory) = input.stats.memory.filter(|memory| memory.budget_bytes > 0) {
        let budget = memory.budget_bytes as f64;
        for (share, name, color) in [(memory.warning, "warning", "warn"), (memory.critical, "critical", "loss"), (1.0, "budget", "ink")] {
            let value = share * budget;
            let label = format!("{name} {}", scale::bytes(value as u64));
            chart.levels.push(Level { value: value / size, label, color });
        }
    }
    Some(chart.figure())
}
