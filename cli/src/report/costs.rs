//! What trading costs do to the result, and what stood in the agent's way: the cost sweep, refusals by reason, confidence.

use super::{
    bars::{HistogramChart, count_bars},
    curves::color,
    input::ReportInput,
    lines::{Along, LineChart, Look, Series},
    results::CostPoint,
    scale::{Unit, plain},
    strategy::Strategy,
    svg::escape,
};

/// Total return against the cost of a side, with a sentence on where the agent breaks even.
pub fn sweep(input: &ReportInput) -> Option<(String, String)> {
    let points = &input.stats.cost_sweep;
    if points.len() < 2 {
        return None;
    }
    let mut strategies: Vec<Strategy> = points.iter().flat_map(|point| point.total_return.keys().copied()).collect();
    strategies.sort_unstable();
    strategies.dedup();
    strategies.reverse();
    let mut chart =
        LineChart::new((510.0, 270.0), "Total return against the cost of trading", Along::Number(Unit::Suffix("")), Unit::Percent);
    chart.along_title = "basis points of notional per side";
    chart.include = vec![0.0];
    chart.end_values = false;
    for strategy in strategies {
        let line = points.iter().filter_map(|point| Some((point.cost_bp, *point.total_return.get(&strategy)?))).collect();
        let look = if strategy == Strategy::Agent { Look::Strong } else { Look::Normal };
        let mut series = Series::new(color(strategy), strategy.label(), line, look);
        series.dots = strategy == Strategy::Agent;
        chart.series.push(series);
    }
    let sentence = match break_even(points) {
        Some(cost) => format!(
            "Total return of the same decisions, charged differently. The agent breaks even at about {}\u{a0}bp a side.",
            plain(cost, 0.1)
        ),
        None => "Total return of the same decisions, charged differently.".into(),
    };
    Some((sentence, chart.figure()))
}

/// Cost at which the agent's return first falls to 0, by straight lines between the points.
fn break_even(points: &[CostPoint]) -> Option<f64> {
    let line: Vec<(f64, f64)> =
        points.iter().filter_map(|point| Some((point.cost_bp, *point.total_return.get(&Strategy::Agent)?))).collect();
    let crossing = line.windows(2).find(|pair| pair[0].1 > 0.0 && pair[1].1 <= 0.0)?;
    let [(from, above), (to, below)] = [crossing[0], crossing[1]];
    Some(from + (to - from) * above / (above - below))
}

/// Counts of refusals, the reasons that never occurred in one sentence.
pub fn refusals(input: &ReportInput) -> Option<(String, String)> {
    let all = &input.stats.refusals;
    if all.is_empty() {
        return None;
    }
    let name = |by: &str, reason: &str| format!("{by}: {}", reason.replace('_', " "));
    let mut rows: Vec<(String, u64)> = all.iter().filter(|row| row.count > 0).map(|row| (name(&row.by, &row.reason), row.count)).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.1));
    let never: Vec<String> = all.iter().filter(|row| row.count == 0).map(|row| name(&row.by, &row.reason)).collect();
    let total: u64 = rows.iter().map(|row| row.1).sum();
    let decisions = input.stats.num_decisions;
    let of = if decisions > 0 { format!(" in {} decisions", plain(decisions as f64, 1.0)) } else { String::new() };
    let sentence =
        format!("{} refusals{of}, by who refused and why; those of the gate are from the pass with the gate on.", plain(total as f64, 1.0));
    let mut figure = if rows.is_empty() {
        r#"<p class="none">Nothing was refused.</p>"#.into()
    } else {
        count_bars(&rows, decisions, "Refusals by reason")
    };
    if !never.is_empty() && !rows.is_empty() {
        figure.push_str(&format!(r#"<p class="lede">Never: {}.</p>"#, escape(&never.join(", "))));
    }
    Some((sentence, figure))
}

/// Probability of the chosen action.
pub fn confidence(input: &ReportInput) -> Option<String> {
    let found = input.stats.confidence.as_ref()?;
    let chart = HistogramChart {
        size: (510.0, 240.0),
        description: "Histogram of the probability of the chosen action".into(),
        edges: found.edges.clone(),
        counts: found.counts.clone(),
        unit: Unit::Suffix(""),
        along_title: "probability of the chosen action".into(),
        marks: Vec::new(),
    };
    Some(chart.figure())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn break_even_lies_between_the_points() {
        let point = |cost_bp, value| CostPoint { cost_bp, total_return: [(Strategy::Agent, value)].into() };
        // from +0.3 at 2 bp to -0.1 at 4 bp: 2 + 2 * 0.3 / 0.4 = 3.5
        assert_eq!(break_even(&[point(0.0, 0.5), point(2.0, 0.3), point(4.0, -0.1)]), Some(3.5));
        assert_eq!(break_even(&[point(0.0, 0.5), point(2.0, 0.3)]), None);
    }
}
