//! The top of the report: what was run on what, the result in a sentence and a few numbers, and every strategy in one table.

use std::fmt::Write as _;

use super::{
    curves::color,
    input::ReportInput,
    results::{Performance, RandomRuns, SpanStated},
    scale::{self, plain},
    strategy::Strategy,
    svg::escape,
};

/// Title, verdict, tiles, facts and notes.
pub fn header(input: &ReportInput) -> String {
    let setup = &input.stats.setup;
    let title = format!("{} on {}, {} bars", setup.algorithm.to_uppercase(), setup.market, scale::duration(setup.interval_ns));
    let mut out = format!(
        r#"<p class="kicker">GrandModel · run {}</p><h1>{}</h1><p class="verdict">{}</p>"#,
        escape(&input.run_name),
        escape(&title),
        escape(&verdict(input))
    );
    out.push_str(&tiles(input));
    out.push_str("<dl>");
    for (name, value) in facts(input) {
        let _ = write!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(&value));
    }
    out.push_str("</dl>");
    if !input.stats.notes.is_empty() {
        out.push_str(r#"<ul class="notes">"#);
        for note in &input.stats.notes {
            let _ = write!(out, "<li>{}</li>", escape(note));
        }
        out.push_str("</ul>");
    }
    out
}

fn verdict(input: &ReportInput) -> String {
    let stats = &input.stats;
    let test = &stats.setup.test;
    let change = |value: f64| if value < 0.0 { format!("lost {}", percent(-value)) } else { format!("gained {}", percent(value)) };
    let mut out = if test.num_paths > 1 {
        format!(
            "On {} held-out paths of {} bars the agent {} a path after costs",
            test.num_paths,
            count(test.num_bars / u64::from(test.num_paths)),
            change(stats.agent.total_return)
        )
    } else {
        format!(
            "On {} held-out bars, never used in training, the agent {} after costs",
            count(test.num_bars),
            change(stats.agent.total_return)
        )
    };
    if let Some(found) = &stats.share_of_optimum {
        let share = found.share;
        let _ = write!(
            out,
            ": {} of the known optimum (95\u{a0}% interval {} to {})",
            percent(share.estimate),
            percent(share.low),
            percent(share.high)
        );
    }
    if let Some(hold) = stats.baselines.iter().find(|baseline| baseline.strategy == Strategy::BuyAndHold) {
        let _ = write!(out, "; buy and hold {}", change(hold.performance.total_return));
    }
    if let Some(random) = &stats.random {
        let _ = write!(
            out,
            "; {} of {} random runs with its number of trades did worse",
            percent(random.agent_percentile),
            count(random.num_runs.into())
        );
    }
    out + "."
}

fn tiles(input: &ReportInput) -> String {
    let stats = &input.stats;
    let agent = &stats.agent;
    let several = stats.setup.test.num_paths > 1;
    let mut tiles: Vec<(String, String)> =
        vec![(signed_percent(agent.total_return), if several { "mean return of a path".into() } else { "return after costs".into() })];
    if let Some(found) = &stats.share_of_optimum {
        tiles.push((
            percent(found.share.estimate),
            format!("of the known optimum, {} to {}", percent(found.share.low), percent(found.share.high)),
        ));
    }
    if stats.setup.annualised {
        let interval = agent
            .sharpe_interval
            .map_or_else(String::new, |found| format!(", {} to {} (95\u{a0}%)", plain(found.low, 0.1), plain(found.high, 0.1)));
        let sharpe = agent.sharpe.map_or_else(
            || ("n/a".into(), "Sharpe ratio, below 30 days".into()),
            |sharpe| (plain(sharpe, 0.01), format!("Sharpe ratio{interval}")),
        );
        tiles.push(sharpe);
    }
    if let Some(drawdown) = agent.max_drawdown {
        tiles.push((percent(drawdown), if several { "deepest drawdown of a path".into() } else { "deepest drawdown".into() }));
    }
    if let Some(trades) = agent.num_trades {
        let wins = agent.win_rate.map_or_else(String::new, |rate| format!(", {} won", percent(rate)));
        tiles.push((count(trades), format!("trades{wins}")));
    }
    if let Some(fees) = agent.fees_paid {
        let paid = fees + agent.financing_paid.unwrap_or(0.0);
        let cash = stats.setup.initial_cash * f64::from(stats.setup.test.num_paths.max(1));
        let share = if cash > 0.0 { format!(", {} of the cash", percent(paid / cash)) } else { String::new() };
        tiles.push((money(paid, &stats.setup.currency), format!("costs paid{share}")));
    }
    let tiles: String = tiles
        .iter()
        .map(|(value, name)| format!(r#"<div class="tile"><b>{}</b><span>{}</span></div>"#, escape(value), escape(name)))
        .collect();
    format!(r#"<div class="tiles">{tiles}</div>"#)
}

fn facts(input: &ReportInput) -> Vec<(&'static str, String)> {
    let (manifest, setup) = (&input.manifest, &input.stats.setup);
    let span = |span: &SpanStated| {
        let bars = format!("{} bars", count(span.num_bars));
        let paths = if span.num_paths > 1 { format!(" on {} paths", span.num_paths) } else { String::new() };
        if setup.synthetic { format!("{bars}{paths}") } else { format!("{} to {}, {bars}", unbroken(span.from_ts), unbroken(span.to_ts)) }
    };
    let machine = &manifest.machine;
    let year = if setup.annualised {
        format!("{}, {} days a year", setup.convention, plain(setup.periods_per_year, 1.0))
    } else {
        format!("{}; nothing annualised: a synthetic market has no years", setup.convention)
    };
    let mut facts = vec![
        ("Config", manifest.config_name.clone()),
        ("Seed", manifest.seed.to_string()),
        ("Commit", manifest.git_hash.as_deref().map_or("unknown".into(), short_hash)),
        ("Version", manifest.version.clone()),
        ("Started", manifest.started.split('.').next().unwrap_or_default().trim_end_matches('Z').replace('T', " ") + " UTC"),
        (
            "Machine",
            format!(
                "{}, {} threads, {}; {}",
                or_unknown(&machine.cpu),
                machine.num_cpus,
                scale::bytes(machine.memory_bytes),
                or_unknown(&machine.device)
            ),
        ),
        ("Network", format!("preset {}, {} parameters, sees {}", setup.preset, count(setup.num_parameters), setup.observe)),
        ("Frames", format!("{} and {}", scale::duration(setup.interval_ns), scale::duration(setup.structure_interval_ns))),
        ("Trained", format!("{} steps", count(setup.total_timesteps))),
    ];
    facts.extend(setup.train.as_ref().map(|part| ("Training part", span(part))));
    facts.extend(setup.validation.as_ref().map(|part| ("Validation part", span(part))));
    facts.push(("Test part", span(&setup.test)));
    facts.push(("Costs", if setup.costs.is_empty() { "none stated".into() } else { setup.costs.join("; ") }));
    facts.push(("Cash", money(setup.initial_cash, &setup.currency)));
    facts.push(("Statistics", year));
    facts
}

/// Every strategy in one table; columns that no strategy has are left out.
pub fn table(input: &ReportInput) -> String {
    let stats = &input.stats;
    let mut rows: Vec<(Strategy, &str, Performance)> = vec![(Strategy::Agent, "consensus and gate off", stats.agent)];
    rows.extend(stats.agent_gated.map(|gated| (Strategy::AgentGated, "consensus and gate on", gated)));
    rows.extend(stats.baselines.iter().map(|baseline| (baseline.strategy, baseline.detail.as_str(), baseline.performance)));
    let random_detail = stats.random.as_ref().map(random_detail);
    if let (Some(random), Some(detail)) = (&stats.random, &random_detail) {
        match rows.iter_mut().find(|row| row.0 == Strategy::RandomMedian) {
            Some(row) => row.1 = detail,
            None => rows.push((Strategy::RandomMedian, detail, Performance::of_return(random.median_return))),
        }
    }
    let per_bar = stats.setup.test.num_bars / u64::from(stats.setup.test.num_paths.max(1));
    // an annual figure says it better where there are years
    let per_bar = if stats.setup.annualised { 0 } else { per_bar };
    let more: Vec<(Strategy, &str, Performance)> = rows
        .iter()
        .filter(|row| MORE_COLUMNS.iter().any(|column| (column.1)(&row.2, per_bar).is_some()) && row.0 != Strategy::Flat)
        .map(|row| (row.0, "", row.2))
        .collect();
    format!(r#"{}<h3 class="sub">More figures</h3>{}"#, rows_of(&rows, &COLUMNS, per_bar), rows_of(&more, &MORE_COLUMNS, per_bar))
}

fn rows_of(rows: &[(Strategy, &str, Performance)], columns: &[Column], per_bar: u64) -> String {
    let columns: Vec<&Column> = columns.iter().filter(|column| rows.iter().any(|row| (column.1)(&row.2, per_bar).is_some())).collect();
    let mut out = String::from(r#"<div class="scroll"><table><thead><tr><th></th>"#);
    for (name, _) in &columns {
        let _ = write!(out, "<th>{name}</th>");
    }
    out.push_str("</tr></thead><tbody>");
    for (strategy, detail, performance) in rows {
        let class = if *strategy == Strategy::Agent { r#" class="agent""# } else { "" };
        let detail = if detail.is_empty() { String::new() } else { format!(r#"<span class="detail">{}</span>"#, escape(detail)) };
        let _ = write!(out, r#"<tr{class}><th><span class="swatch c-{}"></span>{}{detail}</th>"#, color(*strategy), strategy.label());
        for (_, value) in &columns {
            let text = value(performance, per_bar).unwrap_or_else(|| "n/a".into());
            let class = if text.starts_with('−') { r#" class="neg""# } else { "" };
            let _ = write!(out, "<td{class}>{}</td>", escape(&text));
        }
        out.push_str("</tr>");
    }
    out + "</tbody></table></div>"
}

type Column = (&'static str, fn(&Performance, u64) -> Option<String>);

const COLUMNS: [Column; 11] = [
    ("Return", |found, _| Some(signed_percent(found.total_return))),
    ("bp a bar", |found, bars| (bars > 0).then(|| plain(found.total_return / bars as f64 * 1e4, 0.001))),
    ("Return a year", |found, _| found.annual_return.map(signed_percent)),
    ("Volatility", |found, _| found.annual_volatility.map(percent)),
    ("Sharpe", |found, _| found.sharpe.map(|value| plain(value, 0.01))),
    ("Drawdown", |found, _| found.max_drawdown.map(percent)),
    ("Trades", |found, _| found.num_trades.map(count)),
    ("Won", |found, _| found.win_rate.map(percent)),
    ("Exposure", |found, _| found.exposure.map(|value| plain(value, 0.01))),
    ("Turnover", |found, _| found.turnover.map(|value| plain(value, 1.0))),
    ("Costs", |found, _| found.fees_paid.map(|fees| plain(fees + found.financing_paid.unwrap_or(0.0), 1.0))),
];

const MORE_COLUMNS: [Column; 11] = [
    ("Sharpe, 95\u{a0}%", |found, _| {
        found.sharpe_interval.map(|interval| format!("{} to {}", plain(interval.low, 0.01), plain(interval.high, 0.01)))
    }),
    ("Sortino", |found, _| found.sortino.map(|value| plain(value, 0.01))),
    ("Calmar", |found, _| found.calmar.map(|value| plain(value, 0.01))),
    ("VaR 5\u{a0}%", |found, _| found.value_at_risk.map(percent)),
    ("CVaR 5\u{a0}%", |found, _| found.conditional_value_at_risk.map(percent)),
    ("Longest drawdown, bars", |found, _| found.max_drawdown_bars.map(count)),
    ("Profit factor", |found, _| found.profit_factor.map(|value| plain(value, 0.01))),
    ("P&amp;L a trade", |found, _| found.expectancy.map(|value| plain(value, 0.01))),
    ("Bars a trade", |found, _| found.bars_held.map(|value| plain(value, 0.1))),
    ("Fees", |found, _| found.fees_paid.map(|value| plain(value, 1.0))),
    ("Holding costs", |found, _| found.financing_paid.map(|value| plain(value, 1.0))),
];

fn random_detail(random: &RandomRuns) -> String {
    format!(
        "{} runs with the agent's trades and holding times; 95\u{a0}% between {} and {}; the agent beats {}",
        count(random.num_runs.into()),
        signed_percent(random.low_return),
        signed_percent(random.high_return),
        percent(random.agent_percentile)
    )
}

fn percent(value: f64) -> String {
    format!("{}\u{a0}%", plain(value * 100.0, if value.abs() < 0.099_95 { 0.01 } else { 0.1 }))
}

fn signed_percent(value: f64) -> String {
    let text = percent(value);
    if value > 0.0 && !text.starts_with("0.00") { format!("+{text}") } else { text }
}

fn count(value: u64) -> String {
    plain(value as f64, 1.0)
}

fn money(value: f64, currency: &str) -> String {
    let text = plain(value, 1.0);
    if currency.is_empty() { text } else { format!("{text} {currency}") }
}

fn short_hash(hash: &str) -> String {
    let (hash, dirty) = hash.strip_suffix("-dirty").map_or((hash, ""), |hash| (hash, ", with uncommitted changes"));
    format!("{}{dirty}", hash.chars().take(12).collect::<String>())
}

/// A moment that no line ends within.
fn unbroken(ts: i64) -> String {
    scale::moment(ts).replace('-', "\u{2011}").replace(' ', "\u{a0}")
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}
