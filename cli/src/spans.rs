//! The market of a run: configuration in; training, validation and test spans out, with what is needed to judge the result on them.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, anyhow};
use grandmodel_agents::baselines::proportional_costs;
use grandmodel_market::{
    FeatureTable, Instrument, TableSpan,
    import::{BarSeries, import},
    optimum::{Filter, OptimalPolicy, ProportionalCosts},
    shuffle::shuffle_returns,
    stats::Convention,
    synth::{self, SynthConfig, SynthPath, WARM_UP_BARS},
};

use crate::{
    cast::{Stream, seed_of},
    config::{Observe, RunConfig},
};

/// Spans of one run.
pub struct MarketSpans {
    /// Learned from.
    pub train: Vec<TableSpan>,
    /// Used to choose among weights.
    pub validation: Vec<TableSpan>,
    /// Read once, for the report.
    pub test: Vec<TableSpan>,
    /// What was understood, for the screen.
    pub understood: String,
    /// Definitions of the statistics.
    pub convention: Convention,
    /// Of a synthetic market: its known optimum.
    pub synthetic: Option<Synthetic>,
}

/// What is known of a synthetic market.
pub struct Synthetic {
    /// Its parameters.
    pub config: SynthConfig,
    /// The solved policy.
    pub optimum: OptimalPolicy,
    /// Hidden state of each test span's table, one value a bar.
    pub hidden: Vec<Vec<f64>>,
}

impl MarketSpans {
    /// Reads or generates the bars and builds or opens their feature tables.
    ///
    /// # Errors
    /// What is wrong with the file or the settings; no ready row to train on.
    pub fn prepare(config: &RunConfig) -> Result<Self> {
        let spans = match (&config.data.path, &config.data.synth) {
            (Some(path), _) => Self::of_file(config, path)?,
            (None, Some(synth)) => Self::of_synth(config, synth)?,
            (None, None) => return Err(anyhow!("setting data was empty, expected data.path or data.synth")),
        };
        for span in spans.train.iter().chain(&spans.validation).chain(&spans.test) {
            span.require_ready()?;
        }
        Ok(spans)
    }

    fn of_file(config: &RunConfig, path: &Path) -> Result<Self> {
        let (table, understood) = match &config.data.cache {
            Some(cache) if !config.data.shuffle => {
                FeatureTable::open_or_import(cache, path, &config.import, &config.features).context("feature table")?
            }
            _ => {
                let (series, report) = import(path, &config.import)?;
                let table = build(config, series)?;
                let understood = format!("{report}\n{}", table.report());
                (table, understood)
            }
        };
        let table = Arc::new(observed(config, table, None)?);
        let split = table.split(config.split.train, config.split.validation)?;
        let convention = Convention::of(&table.instrument().session);
        Ok(Self {
            train: vec![split.train],
            validation: vec![split.validation],
            test: vec![split.test],
            understood,
            convention,
            synthetic: None,
        })
    }

    fn of_synth(config: &RunConfig, synth: &SynthConfig) -> Result<Self> {
        let paths = synth::benchmark_paths(synth, config.seed)?;
        let span = |path: &SynthPath| -> Result<TableSpan> {
            let table = build(config, path.series.clone())?;
            let table = observed(config, table, Some(synth))?;
            Ok(TableSpan::whole(Arc::new(table)).skip(WARM_UP_BARS))
        };
        let spans = |paths: &[SynthPath]| paths.iter().map(span).collect::<Result<Vec<_>>>();
        let costs = config.costs.as_ref().map_or_else(|| Ok(ProportionalCosts::benchmark(synth.market)), proportional_costs)?;
        let optimum = OptimalPolicy::solve(synth, costs)?;
        let understood = format!(
            "synthetic market {:?}, seed {}: {} training bars, {} validation and {} held-out paths of {} bars; optimum {:.4} bp a bar",
            synth.market,
            config.seed,
            paths.train.series.bars.len() - WARM_UP_BARS,
            paths.validation.len(),
            paths.held_out.len(),
            paths.held_out[0].series.bars.len() - WARM_UP_BARS,
            optimum.gain_bp(),
        );
        Ok(Self {
            train: spans(std::slice::from_ref(&paths.train))?,
            validation: spans(&paths.validation)?,
            test: spans(&paths.held_out)?,
            understood,
            convention: Convention::synthetic(),
            // In a drawn order nothing of it holds.
            synthetic: (!config.data.shuffle).then(|| Synthetic {
                config: synth.clone(),
                optimum,
                hidden: paths.held_out.into_iter().map(|path| path.hidden).collect(),
            }),
        })
    }

    /// Makes every table the test part: bars that the agent has not learned from.
    pub fn test_everything(&mut self) {
        if self.synthetic.is_none() {
            self.test.truncate(1);
            self.test = self.test.drain(..).map(|span| TableSpan::whole(span.table)).collect();
        }
    }

    /// Terms of the traded instrument.
    pub fn instrument(&self) -> &Instrument {
        self.test[0].table.instrument()
    }

    /// Rows of the test part: all of them are judged at the end.
    pub fn num_test_rows(&self) -> u64 {
        self.test.iter().map(|span| span.rows.len() as u64).sum()
    }

    /// Bytes of all feature tables.
    pub fn table_bytes(&self) -> u64 {
        let spans = self.train.iter().chain(&self.validation).chain(&self.test);
        let mut tables: Vec<_> = spans.map(|span| &span.table).collect();
        tables.sort_by_key(|table| Arc::as_ptr(table));
        tables.dedup_by_key(|table| Arc::as_ptr(table));
        tables.iter().map(|table| table.size_bytes() as u64).sum()
    }
}

/// The bars of a configuration as they are: all of a file, or the training path of a synthetic market.
///
/// # Errors
/// What is wrong with the file or the settings.
pub fn raw_bars(config: &RunConfig) -> Result<BarSeries> {
    match (&config.data.path, &config.data.synth) {
        (Some(path), _) => Ok(import(path, &config.import)?.0),
        (None, Some(synth)) => Ok(synth::benchmark_paths(synth, config.seed)?.train.series),
        (None, None) => Err(anyhow!("setting data was empty, expected a market: data.path or data.synth")),
    }
}

/// The feature table of bars as the policy sees it, without a cache.
///
/// # Errors
/// As [`MarketSpans::prepare`].
pub fn table(config: &RunConfig, series: BarSeries) -> Result<FeatureTable> {
    observed(config, FeatureTable::build(&series, &config.features)?, config.data.synth.as_ref())
}

/// Values that the policy is shown beside the account.
pub fn observed_width(config: &RunConfig) -> usize {
    usize::from(config.data.observe != Observe::Bars)
}

fn build(config: &RunConfig, series: BarSeries) -> Result<FeatureTable> {
    let series = if config.data.shuffle { shuffle_returns(&series, seed_of(config.seed, Stream::Shuffle))? } else { series };
    match &config.data.cache {
        Some(cache) => {
            let (table, _) = FeatureTable::open_or_build(cache, &series, &config.features).context("feature table")?;
            Ok(table)
        }
        None => Ok(FeatureTable::build(&series, &config.features)?),
    }
}

/// The table with what the policy is shown beside the account.
fn observed(config: &RunConfig, table: FeatureTable, synth: Option<&SynthConfig>) -> Result<FeatureTable> {
    let context = match (config.data.observe, synth) {
        (Observe::Bars, _) | (Observe::State, None) => return Ok(table),
        (Observe::State, Some(synth)) => Filter::context_series(synth, table.close().iter().copied()),
        (Observe::NextReturn, _) => next_returns(table.close()),
    };
    Ok(table.try_with_context(1, context)?)
}

/// Each bar's next log return in deviations of all of them; 0 at the last.
fn next_returns(close: &[f64]) -> Vec<f32> {
    let mut returns: Vec<f64> = close.windows(2).map(|pair| (pair[1] / pair[0]).ln()).collect();
    let deviation = (returns.iter().map(|r| r * r).sum::<f64>() / returns.len().max(1) as f64).sqrt().max(1e-12);
    returns.push(0.0);
    returns.into_iter().map(|r| (r / deviation) as f32).collect()
}
