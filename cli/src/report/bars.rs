//! Charts of bars and dots: histograms, counts by reason, the share of the optimum path by path. Numbers in, one `<figure>` each out.

use std::fmt::Write as _;

use super::{
    lines::bounds,
    results::{PathShare, ShareOfOptimum},
    scale::{self, Unit, linear_ticks, plain},
    svg::{escape, tenth},
};

/// A histogram with vertical marks.
#[derive(Clone, Debug)]
pub struct HistogramChart {
    /// Width and height in units of the drawing.
    pub size: (f64, f64),
    /// For readers who cannot see it.
    pub description: String,
    /// `counts.len() + 1` bounds, rising.
    pub edges: Vec<f64>,
    /// Values in each bin.
    pub counts: Vec<u64>,
    /// Unit of the bounds.
    pub unit: Unit,
    /// Title of the bottom axis.
    pub along_title: String,
    /// Vertical lines with a text.
    pub marks: Vec<(f64, String)>,
}

impl HistogramChart {
    /// The figure; a sentence where there is nothing to draw or the bins do not fit the counts.
    pub fn figure(&self) -> String {
        let most = self.counts.iter().copied().max().unwrap_or(0);
        let fits = self.edges.len() == self.counts.len() + 1 && self.edges.windows(2).all(|pair| pair[0] < pair[1]);
        if most == 0 || !fits {
            return r#"<p class="none">No values to draw.</p>"#.into();
        }
        let (width, height) = self.size;
        let (left, right, top, bottom) = (52.0, width - 12.0, 26.0, height - 40.0);
        let (low, high) = (self.edges[0], self.edges[self.edges.len() - 1]);
        let x = |value: f64| left + (value - low) / (high - low) * (right - left);
        let y = |count: f64| bottom - count / (most as f64 * 1.06) * (bottom - top);
        let mut out = open(self.size, &self.description);
        let (ticks, step) = linear_ticks(0.0, most as f64 * 1.06, 5);
        for tick in ticks.into_iter().filter(|tick| tick.fract() == 0.0) {
            grid_line(&mut out, (left, right), y(tick), &plain(tick, step.max(1.0)));
        }
        for (index, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (from, to) = (self.edges[index], self.edges[index + 1]);
            let class = if (from + to) / 2.0 < 0.0 { "f-loss" } else { "f-agent" };
            let bar_width = (x(to) - x(from) - 1.0).max(0.6);
            let span = format!("{} to {}", self.unit.write(from, (to - from) / 2.0), self.unit.write(to, (to - from) / 2.0));
            let _ = write!(
                out,
                r#"<rect class="bar {class}" x="{}" y="{}" width="{}" height="{}"><title>{}: {count}</title></rect>"#,
                tenth(x(from) + 0.5),
                tenth(y(count as f64)),
                tenth(bar_width),
                tenth(bottom - y(count as f64)),
                escape(&span)
            );
        }
        let (ticks, step) = linear_ticks(low, high, ((right - left) / 62.0) as usize);
        for tick in ticks {
            below(&mut out, x(tick), bottom, &self.unit.write(tick, step));
        }
        for (value, text) in self.marks.iter().filter(|(value, _)| (low..=high).contains(value)) {
            let at = tenth(x(*value));
            let (class, dx) = if x(*value) > (left + right) / 2.0 { ("end", -4.0) } else { ("", 4.0) };
            let text_x = tenth(x(*value) + dx);
            let _ = write!(
                out,
                r#"<line class="level s-ink" x1="{at}" x2="{at}" y1="{}" y2="{}"/><text class="level-text {class}" x="{text_x}" y="{}">{}</text>"#,
                tenth(top - 8.0),
                tenth(bottom),
                tenth(top - 10.0),
                escape(text)
            );
        }
        axis_title(&mut out, (left + right) / 2.0, height - 4.0, &self.along_title);
        out + "</svg></figure>"
    }
}

/// Horizontal bars with their counts and shares, widest first as given.
pub fn count_bars(rows: &[(String, u64)], of: u64, description: &str) -> String {
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let (width, row_height) = (510.0, 26.0);
    let (left, right) = (170.0, width - 110.0);
    let mut out = open((width, row_height * rows.len() as f64 + 8.0), description);
    for (index, (name, count)) in rows.iter().enumerate() {
        let y = 4.0 + row_height * index as f64;
        let share = if of > 0 { format!(" ({} %)", plain(*count as f64 / of as f64 * 100.0, 0.1)) } else { String::new() };
        let length = (right - left) * *count as f64 / most as f64;
        let _ = write!(
            out,
            r#"<text class="name end" x="{}" y="{}">{}</text><rect class="bar f-agent" x="{left}" y="{}" width="{}" height="14" rx="2"/><text class="name" x="{}" y="{}">{}{share}</text>"#,
            left - 10.0,
            tenth(y + 16.0),
            escape(name),
            tenth(y + 5.0),
            tenth(length.max(1.0)),
            tenth(left + length + 8.0),
            tenth(y + 16.0),
            plain(*count as f64, 1.0),
        );
    }
    out + "</svg></figure>"
}

/// The share of the optimum with its interval, between nothing and all of it.
pub fn share_bar(found: &ShareOfOptimum) -> String {
    let share = found.share;
    let (width, height) = (510.0, 120.0);
    let (left, right) = (24.0, width - 24.0);
    let low = share.low.min(0.0);
    let high = share.high.max(1.05);
    let x = |value: f64| left + (value - low) / (high - low) * (right - left);
    let description = format!(
        "Share of the optimum {:.1} %, 95 % interval {:.1} to {:.1} %",
        share.estimate * 100.0,
        share.low * 100.0,
        share.high * 100.0
    );
    let mut out = open((width, height), &description);
    let (ticks, step) = linear_ticks(low, high, 6);
    for tick in ticks {
        let at = tenth(x(tick));
        let _ = write!(out, r#"<line class="grid" x1="{at}" x2="{at}" y1="34" y2="88"/>"#);
        below(&mut out, x(tick), 88.0, &Unit::Percent.write(tick, step));
    }
    let _ = write!(
        out,
        r#"<line class="level s-optimum" x1="{0}" x2="{0}" y1="30" y2="88"/><text class="level-text f-optimum end" x="{0}" y="24">known optimum</text>"#,
        tenth(x(1.0))
    );
    let (from, to, at) = (tenth(x(share.low)), tenth(x(share.high)), tenth(x(share.estimate)));
    let _ = write!(
        out,
        r#"<rect class="track" x="{0}" y="54" width="{1}" height="14" rx="2"/><rect class="bar f-agent" x="{0}" y="54" width="{2}" height="14" rx="2"/>"#,
        tenth(x(0.0)),
        tenth(x(1.0) - x(0.0)),
        tenth((x(share.estimate) - x(0.0)).max(0.0)),
    );
    let _ = write!(
        out,
        r#"<path class="whisker" d="M{from} 54v14M{to} 54v14M{from} 61H{to}"/><circle class="dot" cx="{at}" cy="61" r="5"/><text class="label mid strong" x="{at}" y="46">{}</text>"#,
        Unit::Percent.write(share.estimate, 0.001)
    );
    out + "</svg></figure>"
}

/// What the share consists of, as a table.
pub fn share_facts(found: &ShareOfOptimum) -> String {
    let sum = |value: fn(&PathShare) -> f64| Unit::Percent.write(found.paths.iter().map(value).sum::<f64>(), 0.001);
    let of_all =
        |is_so: fn(&PathShare) -> bool| format!("{} of {}", found.paths.iter().filter(|path| is_so(path)).count(), found.paths.len());
    let rows = [
        ("Sum of the agent's P&amp;L, fraction of equity", sum(|path| path.agent)),
        ("Sum of the optimum's", sum(|path| path.optimum)),
        ("Paths on which the agent gained", of_all(|path| path.agent > 0.0)),
        ("Paths on which it beat the optimum, by luck", of_all(|path| path.agent > path.optimum)),
    ];
    let rows: String = rows.iter().map(|(name, value)| format!("<tr><th>{name}</th><td>{value}</td></tr>")).collect();
    format!(r#"<table class="facts"><tbody>{rows}</tbody></table>"#)
}

/// P&L of agent and optimum on every path, joined: one row a path, the smallest optimum at the bottom.
pub fn path_pairs(found: &ShareOfOptimum) -> String {
    const MAX_ROWS: usize = 32;
    let mut paths = found.paths.clone();
    paths.retain(|path| path.agent.is_finite() && path.optimum.is_finite());
    paths.sort_by(|a, b| b.optimum.total_cmp(&a.optimum));
    paths.truncate(MAX_ROWS);
    let Some((low, high)) = bounds(paths.iter().flat_map(|path| [path.agent, path.optimum, 0.0])) else { return String::new() };
    let (low, high) = (low - (high - low) * 0.03, high + (high - low) * 0.03);
    let (width, row_height) = (510.0, 15.0);
    let (left, right, top) = (70.0, width - 20.0, 26.0);
    let bottom = top + row_height * paths.len() as f64;
    let x = |value: f64| left + (value - low) / (high - low) * (right - left);
    let mut out = open((width, bottom + 40.0), "P&L of the agent and of the optimum on every held-out path");
    let (ticks, step) = linear_ticks(low, high, 6);
    for tick in ticks {
        let class = if tick == 0.0 { "zero" } else { "grid" };
        let at = tenth(x(tick));
        let _ = write!(out, r#"<line class="{class}" x1="{at}" x2="{at}" y1="{}" y2="{}"/>"#, tenth(top - 4.0), tenth(bottom));
        below(&mut out, x(tick), bottom, &Unit::Percent.write(tick, step));
    }
    let several_seeds = found.num_seeds > 1;
    for (index, path) in paths.iter().enumerate() {
        let y = tenth(top + row_height * (index as f64 + 0.5));
        let name = if several_seeds { format!("s{} p{}", path.seed, path.path) } else { format!("path {}", path.path) };
        let (agent, optimum) = (tenth(x(path.agent)), tenth(x(path.optimum)));
        let _ = write!(
            out,
            r#"<text class="tick end" x="{}" y="{y}" dy="4">{name}</text><line class="pair" x1="{agent}" x2="{optimum}" y1="{y}" y2="{y}"/><circle class="f-optimum" cx="{optimum}" cy="{y}" r="3.6"/><circle class="f-agent" cx="{agent}" cy="{y}" r="3.6"><title>agent {}, optimum {}</title></circle>"#,
            left - 10.0,
            Unit::Percent.write(path.agent, 0.001),
            Unit::Percent.write(path.optimum, 0.001),
        );
    }
    let _ = write!(
        out,
        r#"<circle class="f-agent" cx="{0}" cy="10" r="4"/><text class="label f-agent" x="{1}" y="14">Agent</text><circle class="f-optimum" cx="{2}" cy="10" r="4"/><text class="label f-optimum" x="{3}" y="14">Known optimum</text>"#,
        left,
        left + 9.0,
        left + 70.0,
        left + 79.0
    );
    axis_title(&mut out, (left + right) / 2.0, bottom + 36.0, "P&L of a path, fraction of equity");
    out + "</svg></figure>"
}

/// Counts of values in `num_bins` bins between two quantiles; what lies beyond them is counted in the outermost bins, so that a few
/// extreme bars do not squeeze the rest.
pub fn bins(values: &[f64], num_bins: usize, tail: f64) -> Option<(Vec<f64>, Vec<u64>)> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    if sorted.is_empty() || num_bins == 0 {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    let (mut low, mut high) = (at(tail), at(1.0 - tail));
    if low >= high {
        (low, high) = (low - low.abs().max(1e-6), high + high.abs().max(1e-6));
    }
    // a round width with an edge at 0, so that no bin holds both losses and gains
    let step = scale::nice_step(low, high, num_bins);
    let first = (low / step).floor();
    let num = ((high / step).ceil() - first).clamp(1.0, 4.0 * num_bins as f64) as usize;
    let mut counts = vec![0; num];
    for value in sorted {
        counts[((value / step - first).floor().max(0.0) as usize).min(num - 1)] += 1;
    }
    Some(((0..=num).map(|i| (first + i as f64) * step).collect(), counts))
}

fn open((width, height): (f64, f64), description: &str) -> String {
    format!(r#"<figure class="chart"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{}">"#, escape(description))
}

fn grid_line(out: &mut String, (left, right): (f64, f64), y: f64, text: &str) {
    let y = tenth(y);
    let _ = write!(
        out,
        r#"<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/><text class="tick end" x="{}" y="{y}" dy="4">{text}</text>"#,
        left - 8.0
    );
}

fn below(out: &mut String, x: f64, bottom: f64, text: &str) {
    let _ = write!(out, r#"<text class="tick mid" x="{}" y="{}">{}</text>"#, tenth(x), tenth(bottom + 17.0), escape(text));
}

fn axis_title(out: &mut String, x: f64, y: f64, text: &str) {
    let _ = write!(out, r#"<text class="axis mid" x="{}" y="{}">{}</text>"#, tenth(x), tenth(y), escape(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_keep_every_value_and_part_at_zero() {
        let values: Vec<f64> = (0..1000).map(|i| (f64::from(i) - 400.0) * 1e-5).chain([5.0, f64::NAN]).collect();
        let (edges, counts) = bins(&values, 40, 0.005).unwrap();
        assert_eq!(counts.iter().sum::<u64>(), 1001, "all finite ones");
        assert!(edges.contains(&0.0), "{edges:?}");
        assert!(edges[edges.len() - 1] < 0.01, "one extreme value does not widen it");
        assert!(bins(&[], 10, 0.0).is_none());
        assert_eq!(bins(&[0.0; 5], 10, 0.01).unwrap().1.iter().sum::<u64>(), 5);
    }
}
