//! What a run shows while it works and at its end: counters in; a bar on a terminal, a plain line now and then elsewhere, and a table of
//! results out. It measures nothing itself.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::{Performance, StatsFile, Strategy};

/// Seconds between two lines where there is no terminal.
pub const PLAIN_LINE_EVERY_S: f64 = 10.0;
/// Redraws of the bar a second.
const BAR_HZ: u8 = 8;

/// What is shown of a run that works.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// Steps of all lanes so far.
    pub step: u64,
    /// Seconds since the start.
    pub elapsed_s: f64,
    /// Steps a second.
    pub steps_per_s: f64,
    /// Mean return of the episodes that ended lately.
    pub episodic_return: Option<f64>,
    /// Memory in use.
    pub used_bytes: u64,
    /// What the run may use; 0 when unknown.
    pub budget_bytes: u64,
}

/// A bar on a terminal, lines elsewhere; both on standard error.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    total_steps: u64,
    last_line_s: Option<f64>,
}

impl Progress {
    /// Starts at `first_step` (above 0 in a resumed run) of `total_steps`.
    pub fn new(first_step: u64, total_steps: u64, quiet: bool) -> Self {
        let bar = (!quiet && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total_steps), ProgressDrawTarget::stderr_with_hz(BAR_HZ));
            // a template that does not parse would be a mistake of ours; indicatif's own bar does the job, too
            if let Ok(style) = ProgressStyle::with_template("{bar:24.cyan/blue} {percent:>3}% {msg}") {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar.set_position(first_step);
            bar
        });
        Self { bar, quiet, total_steps, last_line_s: None }
    }

    /// Shows how far the run is.
    pub fn update(&mut self, standing: &Standing) {
        if let Some(bar) = &self.bar {
            bar.set_position(standing.step);
            bar.set_message(line(standing, self.total_steps));
        } else if self.is_due(standing.elapsed_s) {
            self.plain(&line(standing, self.total_steps));
        }
    }

    /// Says one sentence without disturbing the bar: a checkpoint, memory pressure.
    pub fn say(&self, sentence: &str) {
        match &self.bar {
            Some(bar) => bar.println(sentence),
            None => self.plain(sentence),
        }
    }

    /// Leaves the bar as it stands.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }

    fn is_due(&mut self, elapsed_s: f64) -> bool {
        let due = self.last_line_s.is_none_or(|last| elapsed_s - last >= PLAIN_LINE_EVERY_S);
        if due {
            self.last_line_s = Some(elapsed_s);
        }
        due
    }

    fn plain(&self, text: &str) {
        if self.quiet {
            return;
        }
        // a closed standard error must not end a run
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// `12,288/200,000 steps  9,800/s  ETA 0:19  return +0.12  memory 0.41/2.00 GiB`
fn line(standing: &Standing, total_steps: u64) -> String {
    let left = total_steps.saturating_sub(standing.step) as f64;
    let eta = if standing.steps_per_s > 0.0 { duration(left / standing.steps_per_s) } else { "-".into() };
    let speed = thousands(standing.steps_per_s.max(0.0) as u64);
    let mut text = format!("{}/{} steps  {speed}/s  ETA {eta}", thousands(standing.step), thousands(total_steps));
    if let Some(value) = standing.episodic_return {
        text.push_str(&format!("  return {value:+.4}"));
    }
    let gib = |bytes: u64| bytes as f64 / (1_u64 << 30) as f64;
    match (standing.used_bytes, standing.budget_bytes) {
        (0, _) => {}
        (used, 0) => text.push_str(&format!("  memory {:.2} GiB", gib(used))),
        (used, budget) => text.push_str(&format!("  memory {:.2}/{:.2} GiB", gib(used), gib(budget))),
    }
    text
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.clamp(0.0, 1e9).round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// `1234567` as `1,234,567`.
fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The table at the end of a run: one line a strategy, columns aligned, the share of the optimum below it.
pub fn results_table(stats: &StatsFile) -> String {
    let header = ["", "return", "max drawdown", "Sharpe", "trades", "exposure", "fees"].map(String::from);
    let mut rows = vec![header, row(Strategy::Agent.label(), &stats.agent)];
    rows.extend(stats.agent_gated.iter().map(|gated| row(Strategy::AgentGated.label(), gated)));
    rows.extend(stats.baselines.iter().map(|baseline| row(baseline.strategy.label(), &baseline.performance)));
    let mut text = aligned(&rows);
    if let Some(random) = &stats.random {
        let percentile = random.agent_percentile * 100.0;
        text.push_str(&format!(
            "the agent beats {percentile:.1} % of {} random runs with its trades and holding times\n",
            thousands(random.num_runs.into())
        ));
    }
    if let Some(found) = &stats.share_of_optimum {
        let share = found.share;
        text.push_str(&format!(
            "share of the known optimum {:.1} % (95 % interval {:.1} to {:.1} %; {} held-out paths, {})\n",
            share.estimate * 100.0,
            share.low * 100.0,
            share.high * 100.0,
            stats.setup.test.num_paths,
            if found.num_seeds == 1 { "1 seed".into() } else { format!("{} seeds", found.num_seeds) },
        ));
    }
    text
}

fn row(label: &str, performance: &Performance) -> [String; 7] {
    let or_absent = |value: Option<String>| value.unwrap_or_else(|| "n/a".into());
    [
        label.into(),
        format!("{:+.2} %", performance.total_return * 100.0),
        or_absent(performance.max_drawdown.map(|value| format!("{:.2} %", value * 100.0))),
        or_absent(performance.sharpe.map(|value| format!("{value:.2}"))),
        or_absent(performance.num_trades.map(thousands)),
        or_absent(performance.exposure.map(|value| format!("{value:.2}"))),
        or_absent(performance.fees_paid.map(|value| format!("{value:.0}"))),
    ]
}

/// First column to the left, the others to the right, a rule below the header.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            line.push_str(&if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") });
        }
        text.push_str(line.trim_end());
        text.push('\n');
        if index == 0 {
            text.push_str(&"-".repeat(widths.iter().sum::<usize>() + 2 * (N - 1)));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Baseline, IntervalStated, ShareOfOptimum};

    #[test]
    fn a_line_says_speed_rest_and_memory() {
        let standing = Standing {
            step: 12_288,
            elapsed_s: 2.0,
            steps_per_s: 9_800.0,
            episodic_return: Some(0.125),
            used_bytes: 1 << 29,
            budget_bytes: 1 << 31,
        };
        // (200000 - 12288) / 9800 = 19.15 s
        assert_eq!(line(&standing, 200_000), "12,288/200,000 steps  9,800/s  ETA 0:19  return +0.1250  memory 0.50/2.00 GiB");
        assert_eq!(line(&Standing::default(), 10), "0/10 steps  0/s  ETA -");
        assert_eq!((duration(3_661.0), duration(f64::NAN)), ("1:01:01".into(), "0:00".into()));
    }

    #[test]
    fn lines_keep_their_distance() {
        let mut progress = Progress { bar: None, quiet: false, total_steps: 1, last_line_s: None };
        assert_eq!([0.0, 9.9, 10.0, 19.0, 20.5].map(|elapsed_s| progress.is_due(elapsed_s)), [true, false, true, false, true]);
    }

    #[test]
    fn the_table_is_aligned() {
        let mut stats =
            StatsFile { agent: Performance { num_trades: Some(1234), ..Performance::of_return(0.0812) }, ..StatsFile::default() };
        stats.setup.test.num_paths = 16;
        stats.baselines.push(Baseline { strategy: Strategy::Flat, performance: Performance::of_return(0.0), detail: String::new() });
        let share = IntervalStated { estimate: 0.873, low: 0.81, high: 0.93 };
        stats.share_of_optimum = Some(ShareOfOptimum { share, num_seeds: 1, paths: Vec::new() });
        let expected = "\
        \x20       return  max drawdown  Sharpe  trades  exposure  fees\n\
        ------------------------------------------------------------\n\
        Agent  +8.12 %           n/a     n/a   1,234       n/a   n/a\n\
        Flat   +0.00 %           n/a     n/a     n/a       n/a   n/a\n\
        share of the known optimum 87.3 % (95 % interval 81.0 to 93.0 %; 16 held-out paths, 1 seed)\n";
        assert_eq!(results_table(&stats), expected);
    }
}
