//! The outcome of a run on its test part: the agent's passes in; baselines, statistics, the files of the run folder and the report out.
//! Every strategy goes through the same venue on the same terms; nothing here is tuned.

use std::collections::BTreeMap;

use anyhow::Result;
use grandmodel_agents::{
    backtest::BacktestResult,
    baselines::{self, NUM_RANDOM_RUNS, RandomEntries, Terms, ThresholdRule},
    gate::Kept,
    risk::Refusal,
};
use grandmodel_market::{
    TableSpan,
    stats::{Share, percentile},
    venue::CostConfig,
};
use grandmodel_memory::messages::MemorySample;

use crate::{
    cast::{Stream, seed_of},
    config::{Observe, RunConfig},
    progress,
    report::{
        self, Baseline, CandleBar, CandlesFile, CostPoint, EquityTable, FORMAT, FillMark, MemoryStated, PathEquity, PathShare, Performance,
        RandomRuns, RefusalCount, Setup, ShareOfOptimum, SpanStated, StatsFile, Strategy, TradeRow,
    },
    run_folder::RunFolder,
    screen::say,
    seeds::{Outcome, RunScores},
    spans::MarketSpans,
};

/// Costs of the sweep, in basis points of each fill's notional; holding costs stay as configured.
const SWEEP_BP: [f64; 9] = [0.0, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0];

/// What a finished run brings.
pub struct Trained<'a> {
    /// Its configuration.
    pub config: &'a RunConfig,
    /// Its market.
    pub spans: &'a MarketSpans,
    /// The agent's pass over each test span, consensus and gate off.
    pub plain: Vec<BacktestResult>,
    /// The same with consensus and gate on.
    pub gated: Option<Vec<BacktestResult>>,
    /// Memory at the end.
    pub memory: MemorySample,
    /// Weights in the network.
    pub num_parameters: u64,
}

/// Passes of one strategy over all test spans.
struct Passes {
    strategy: Strategy,
    detail: String,
    results: Vec<BacktestResult>,
}

/// Writes `equity.csv`, `trades.csv`, `candles.json`, `stats.json` and `report.html`; prints the table; returns the report's path and the scores.
///
/// # Errors
/// The file that could not be written, or a backtest that could not run.
pub fn write(folder: &RunFolder, trained: &Trained<'_>) -> Result<Outcome> {
    let passes = baseline_passes(trained)?;
    let stats = stats_file(trained, &passes)?;
    folder.write_equity(&equity_table(trained, &passes)?)?;
    folder.write_trades(&trade_rows(trained))?;
    folder.write_candles(&candles(trained))?;
    folder.write_stats(&stats)?;
    let path = report::render(folder.path())?;
    say(trained.config, progress::results_table(&stats));
    let paths = stats.share_of_optimum.iter().flat_map(|found| &found.paths);
    let shares = paths.map(|p| Share { seed: p.seed, path: p.path.into(), agent: p.agent, optimum: p.optimum }).collect();
    let total_return = |results: &[BacktestResult]| results.iter().map(total_return).collect::<Vec<f64>>();
    let baselines = passes.iter().map(|pass| (pass.strategy.label().to_owned(), total_return(&pass.results))).collect();
    let scores = RunScores { unit: "total return", agent: total_return(&trained.plain), baselines, shares };
    Ok(Outcome { path, scores })
}

/// Equity at the end over cash at the start, less 1.
pub fn total_return(result: &BacktestResult) -> f64 {
    let last = result.equity.last().map_or(result.initial_cash_micros, |point| point.equity_micros);
    last as f64 / result.initial_cash_micros as f64 - 1.0
}

fn terms(config: &RunConfig) -> Terms<'_> {
    Terms { env: config.env(), risk: &config.risk, costs: config.costs.as_ref() }
}

fn baseline_passes(trained: &Trained<'_>) -> Result<Vec<Passes>> {
    let (terms, spans) = (terms(trained.config), trained.spans);
    let over = |strategy, detail: &str, run: &dyn Fn(usize, &TableSpan) -> Result<BacktestResult, grandmodel_agents::AgentsError>| {
        let results = spans.test.iter().enumerate().map(|(i, span)| run(i, span)).collect::<Result<Vec<_>, _>>()?;
        anyhow::Ok(Passes { strategy, detail: detail.into(), results })
    };
    let mut passes = vec![
        over(Strategy::Flat, "no position", &|_, span| baselines::flat(span, &terms))?,
        over(Strategy::BuyAndHold, "long from the first bar to the last", &|_, span| baselines::buy_and_hold(span, &terms))?,
        over(Strategy::Sma, "long above, short below; never tuned", &|_, span| baselines::moving_averages(span, &terms))?,
    ];
    if let Some(rule) = ThresholdRule::tune(&spans.train, &terms)? {
        passes.push(over(Strategy::Rule, &format!("{rule} (tuned on the training part)"), &|_, span| rule.run(span, &terms))?);
    }
    if let Some(synthetic) = &spans.synthetic {
        let optimum = &synthetic.optimum;
        passes.push(over(Strategy::Optimum, "dynamic programming over the filtered state", &|_, span| {
            baselines::optimum(optimum, span, &terms)
        })?);
        passes.push(over(Strategy::Oracle, "also sees the hidden state", &|i, span| {
            baselines::oracle(optimum, &synthetic.hidden[i], span, &terms)
        })?);
    }
    Ok(passes)
}

fn stats_file(trained: &Trained<'_>, passes: &[Passes]) -> Result<StatsFile> {
    let config = trained.config;
    let random = random_runs(trained)?;
    let baselines = passes
        .iter()
        .map(|pass| {
            Ok(Baseline { strategy: pass.strategy, performance: performance(trained, &pass.results)?, detail: pass.detail.clone() })
        })
        .collect::<Result<_>>()?;
    let memory = MemoryStated {
        budget_bytes: trained.memory.budget_bytes,
        peak_used_bytes: trained.memory.peak_used_bytes,
        warning: config.memory.warning,
        critical: config.memory.critical,
    };
    Ok(StatsFile {
        format: FORMAT,
        setup: setup(trained),
        agent: performance(trained, &trained.plain)?,
        agent_gated: trained.gated.as_ref().map(|results| performance(trained, results)).transpose()?,
        baselines,
        random: Some(random),
        share_of_optimum: share_of_optimum(trained, passes),
        cost_sweep: cost_sweep(trained, passes)?,
        refusals: refusals(trained),
        num_decisions: trained.plain.iter().map(|result| result.equity.len() as u64).sum(),
        confidence: None,
        memory: Some(memory),
        notes: notes(trained),
    })
}

fn performance(trained: &Trained<'_>, results: &[BacktestResult]) -> Result<Performance> {
    let seed = seed_of(trained.config.seed, Stream::Bootstrap);
    let one = |(result, span): (&BacktestResult, &TableSpan)| -> Result<Performance> {
        Ok(Performance::from(&baselines::statistics(result, &span.table, &trained.spans.convention, seed)?))
    };
    let paths = results.iter().zip(&trained.spans.test).map(one).collect::<Result<Vec<_>>>()?;
    Ok(Performance::over_paths(&paths))
}

fn random_runs(trained: &Trained<'_>) -> Result<RandomRuns> {
    let passes: Vec<_> = trained.spans.test.iter().zip(&trained.plain).collect();
    let seed = seed_of(trained.config.seed, Stream::Baseline);
    let RandomEntries { profits, percentile: rank, .. } =
        baselines::random_entries(&passes, &terms(trained.config), NUM_RANDOM_RUNS, seed)?;
    let a_path: Vec<f64> = profits.iter().map(|profit| profit / passes.len() as f64).collect();
    let at = |quantile| percentile(&a_path, quantile).unwrap_or(0.0);
    Ok(RandomRuns {
        num_runs: NUM_RANDOM_RUNS as u32,
        median_return: at(0.5),
        low_return: at(0.025),
        high_return: at(0.975),
        agent_percentile: rank.unwrap_or(0.5),
    })
}

fn share_of_optimum(trained: &Trained<'_>, passes: &[Passes]) -> Option<ShareOfOptimum> {
    let optimum = &passes.iter().find(|pass| pass.strategy == Strategy::Optimum)?.results;
    let seed = trained.config.seed;
    let pairs = trained.plain.iter().zip(optimum).enumerate();
    let shares: Vec<Share> = pairs.map(|(path, (agent, optimum))| baselines::share(seed, path as u64, agent, optimum)).collect();
    let share = baselines::share_of_optimum(&shares, seed_of(seed, Stream::Bootstrap))?;
    let paths = shares.iter().map(|s| PathShare { seed, path: s.path as u32, agent: s.agent, optimum: s.optimum }).collect();
    Some(ShareOfOptimum { share: share.into(), num_seeds: 1, paths })
}

/// The positions that were taken, at other costs: the agent does not decide anew. Only with three targets, where a position's side says
/// which target it was.
fn cost_sweep(trained: &Trained<'_>, passes: &[Passes]) -> Result<Vec<CostPoint>> {
    if trained.config.env().levels != 1 || trained.config.env().continuous {
        return Ok(Vec::new());
    }
    let swept = [Strategy::BuyAndHold, Strategy::Sma, Strategy::Rule];
    let others = passes.iter().filter(|pass| swept.contains(&pass.strategy)).map(|pass| (pass.strategy, &pass.results));
    let all: Vec<_> = std::iter::once((Strategy::Agent, &trained.plain)).chain(others).collect();
    let financing_bp_per_bar = trained.config.costs.as_ref().and_then(|costs| costs.financing_bp_per_bar);
    SWEEP_BP
        .iter()
        .map(|&cost_bp| {
            let costs = CostConfig { commission_bp: Some(cost_bp), financing_bp_per_bar, ..CostConfig::default() };
            let terms = Terms { costs: Some(&costs), ..terms(trained.config) };
            let mut total_return = BTreeMap::new();
            for (strategy, results) in &all {
                let returns = results.iter().zip(&trained.spans.test).map(|(result, span)| replay(result, span, &terms));
                let returns = returns.collect::<Result<Vec<f64>>>()?;
                total_return.insert(*strategy, returns.iter().sum::<f64>() / returns.len() as f64);
            }
            Ok(CostPoint { cost_bp, total_return })
        })
        .collect()
}

fn replay(result: &BacktestResult, span: &TableSpan, terms: &Terms<'_>) -> Result<f64> {
    let sides: BTreeMap<u32, f32> = result.equity.iter().map(|point| (point.row, point.position_lots.signum() as f32)).collect();
    // The position after bar t + 1 is what was decided at the close of bar t.
    let again = terms.run(span, |seen| sides.get(&(seen.row as u32 + 1)).copied().unwrap_or(0.0))?;
    Ok(total_return(&again))
}

fn refusals(trained: &Trained<'_>) -> Vec<RefusalCount> {
    let mut counts = Vec::new();
    let mut add = |by: &str, reason: &str, count: u64| {
        if count > 0 {
            counts.push(RefusalCount { by: by.into(), reason: reason.into(), count });
        }
    };
    for (index, reason) in Refusal::NAMES.iter().enumerate() {
        add("risk", reason, trained.plain.iter().map(|result| result.refusals[index]).sum());
    }
    for (index, reason) in Kept::NAMES.iter().enumerate() {
        add("gate", reason, trained.gated.iter().flatten().map(|result| result.kept[index]).sum());
    }
    counts
}

fn setup(trained: &Trained<'_>) -> Setup {
    let (config, spans) = (trained.config, trained.spans);
    let table = &spans.test[0].table;
    Setup {
        market: table.instrument().symbol.clone(),
        interval_ns: table.interval_ns(),
        structure_interval_ns: table.structure_ns(),
        synthetic: spans.synthetic.is_some(),
        observe: match config.data.observe {
            Observe::Bars => "bars",
            Observe::State => "state",
            Observe::NextReturn => "the future",
        }
        .into(),
        preset: format!("{:?}", config.model.preset).to_lowercase(),
        num_parameters: trained.num_parameters,
        algorithm: config.algorithm().name().to_uppercase(),
        total_timesteps: config.algorithm().total_timesteps(),
        train: stated(&spans.train),
        validation: stated(&spans.validation),
        test: stated(&spans.test).unwrap_or_default(),
        costs: costs_stated(config.costs.as_ref()),
        convention: spans.convention.name.clone(),
        periods_per_year: spans.convention.periods_per_year,
        annualised: spans.convention.annualised,
        initial_cash: config.env().initial_cash,
        currency: String::new(),
    }
}

fn stated(spans: &[TableSpan]) -> Option<SpanStated> {
    let rows = |span: &TableSpan| Some((span.ready_rows().next()?, span.rows.end.checked_sub(1)?));
    let (first, last) = (spans.first()?, spans.last()?);
    Some(SpanStated {
        from_ts: first.table.ts_open()[rows(first)?.0],
        to_ts: last.table.ts_close()[rows(last)?.1],
        num_bars: spans.iter().map(|span| span.num_ready() as u64).sum(),
        num_paths: spans.len() as u32,
    })
}

fn costs_stated(costs: Option<&CostConfig>) -> Vec<String> {
    let Some(costs) = costs else { return Vec::new() };
    [
        (costs.commission_per_lot, "commission a lot"),
        (costs.commission_bp, "bp commission"),
        (costs.half_spread_ticks, "ticks half-spread"),
        (costs.slippage_ticks, "ticks slippage"),
        (costs.slippage_bp, "bp slippage"),
        (costs.financing_bp_per_bar, "bp a bar held"),
    ]
    .into_iter()
    .filter_map(|(value, unit)| value.map(|value| format!("{value} {unit}")))
    .collect()
}

fn notes(trained: &Trained<'_>) -> Vec<String> {
    let mut notes =
        vec!["Random runs keep the agent's number of trades and holding times; their returns are sums of bar returns.".to_owned()];
    if trained.config.env().levels == 1 && !trained.config.env().continuous {
        notes.push("The cost sweep replays the positions taken at other costs; nobody decides anew.".into());
    }
    if trained.spans.synthetic.as_ref().is_some_and(|s| s.config.market == grandmodel_market::synth::SynthMarket::Regime) {
        notes.push("On this market a moving-average rule is near-optimal by construction.".into());
    }
    if trained.plain.iter().any(|result| result.terminated) {
        notes.push("The agent's account was ruined on at least one path and the pass stopped there.".into());
    }
    notes
}

fn equity_table(trained: &Trained<'_>, passes: &[Passes]) -> Result<EquityTable> {
    let mut paths = Vec::new();
    for (path, (agent, span)) in trained.plain.iter().zip(&trained.spans.test).enumerate() {
        let exposure = exposure(agent, span);
        let ts = agent.equity.iter().map(|point| point.ts).collect();
        let lots = agent.equity.iter().map(|point| point.position_lots).collect();
        let mut rows = PathEquity::new(path as u32, agent.initial_cash_micros, ts, lots, exposure, micros(agent))?;
        for pass in passes {
            let mut curve = micros(&pass.results[path]);
            curve.truncate(agent.equity.len());
            rows.add(pass.strategy, curve)?;
        }
        if let Some(gated) = &trained.gated {
            let mut curve = micros(&gated[path]);
            curve.truncate(agent.equity.len());
            rows.add(Strategy::AgentGated, curve)?;
        }
        paths.push(rows);
    }
    Ok(EquityTable { paths })
}

fn micros(result: &BacktestResult) -> Vec<i64> {
    result.equity.iter().map(|point| point.equity_micros).collect()
}

/// Signed notional over equity at each close.
fn exposure(result: &BacktestResult, span: &TableSpan) -> Vec<f64> {
    let micros_per_tick_lot = result.account.micros_per_tick_lot as f64;
    let close = span.table.close_ticks();
    let notional = |row: u32, lots: i64| lots as f64 * close[row as usize] as f64 * micros_per_tick_lot;
    result
        .equity
        .iter()
        .map(|p| if p.equity_micros > 0 { notional(p.row, p.position_lots) / p.equity_micros as f64 } else { 0.0 })
        .collect()
}

fn trade_rows(trained: &Trained<'_>) -> Vec<TradeRow> {
    let instrument = trained.spans.instrument();
    let paths = trained.plain.iter().enumerate();
    paths.flat_map(|(path, result)| result.trades.iter().map(move |trade| TradeRow::of(path as u32, trade, instrument))).collect()
}

/// Candles of the first path around its fills.
fn candles(trained: &Trained<'_>) -> CandlesFile {
    let (span, result) = (&trained.spans.test[0], &trained.plain[0]);
    let table = &span.table;
    let bars: Vec<CandleBar> = result.equity.iter().map(|point| CandleBar::from(&table.bar(point.row as usize))).collect();
    let fills: Vec<FillMark> =
        result.fills.iter().map(|fill| FillMark::of(fill, table.ts_open()[fill.row as usize], table.instrument())).collect();
    CandlesFile::around_fills(0, &bars, &fills, &[])
}
