//! `grandmodel data`: files of bars in; what was understood, a cached table, or a synthetic file out.

use std::{fs::File, io::BufWriter, path::Path};

use anyhow::{Context, Result, anyhow};
use grandmodel_market::{
    Bar, FeatureTable,
    features::FeatureConfig,
    import::{BarSeries, ImportConfig, import},
    synth::{self, SynthConfig, SynthMarket},
};
use serde::{Deserialize, Serialize};

use crate::{args::DataCommand, config};

/// Settings of the `data` verbs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DataSettings {
    import: ImportConfig,
    features: FeatureConfig,
}

/// Runs one verb.
///
/// # Errors
/// Names the file, line or key, the value found and what was expected.
pub fn run(command: DataCommand) -> Result<()> {
    match command {
        DataCommand::Import { file, settings, cache } => {
            let settings: DataSettings = config::parse_settings(&settings)?;
            let (series, report) = import(&file, &settings.import)?;
            println!("{report}");
            let (table, cached) = FeatureTable::open_or_build(&cache, &series, &settings.features)?;
            let verb = if cached { "found in" } else { "written to" };
            println!("features   {} rows, {} bytes, {verb} {}", table.len(), table.size_bytes(), cache.display());
            println!("hash       {}", table.content_hash());
            println!("{}", table.report());
            Ok(())
        }
        DataCommand::Inspect { file, settings } => {
            let settings: DataSettings = config::parse_settings(&settings)?;
            let (series, report) = import(&file, &settings.import)?;
            println!("{report}");
            println!("{}", FeatureTable::build(&series, &settings.features)?.report());
            Ok(())
        }
        DataCommand::Synth { market, output, bars, seed } => {
            let market = match market.as_str() {
                "regime" => SynthMarket::Regime,
                "ou" => SynthMarket::Ou,
                other => return Err(anyhow!("market was {other:?}, expected \"regime\" or \"ou\"")),
            };
            let path = synth::generate(&SynthConfig::of(market), seed, bars)?;
            write_csv(&output, &path.series)?;
            println!("wrote {bars} bars to {}", output.display());
            Ok(())
        }
    }
}

/// Bars as CSV: `timestamp` in nanoseconds of the open, prices with the digits of the tick, volume.
fn write_csv(path: &Path, series: &BarSeries) -> Result<()> {
    use std::io::Write;
    let tick = series.instrument.tick_size.to_string();
    let digits = tick.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let say = || format!("{}: cannot write", path.display());
    let mut out = BufWriter::new(File::create(path).with_context(say)?);
    writeln!(out, "timestamp,open,high,low,close,volume").with_context(say)?;
    for Bar { ts_open, open, high, low, close, volume, .. } in &series.bars {
        writeln!(out, "{ts_open},{open:.digits$},{high:.digits$},{low:.digits$},{close:.digits$},{volume}").with_context(say)?;
    }
    out.flush().with_context(say)
}
