//! The one configuration of a run: a TOML file and `--set key=value` in; checked settings of every room out. Unknown keys, wrong types
//! and values that cannot work are refused by name before anything is written.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use grandmodel_agents::{
    config::{DecisionConfig, EnvConfig, ModelConfig, RiskConfig},
    control::ControlConfig,
    space::ActionSpace,
};
use grandmodel_buffers::{BufferConfig, BuffersError, replay::ReplayConfig};
use grandmodel_market::{MarketError, features::FeatureConfig, import::ImportConfig, synth::SynthConfig, venue::CostConfig};
use grandmodel_memory::MemoryConfig;
use grandmodel_trainer::{Algorithm, PpoConfig, QrdqnConfig, SacConfig, TrainConfig};
use serde::{Deserialize, Serialize};

/// Everything a run depends on; written resolved into the run folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Name of the run; the folder starts with it.
    pub name: String,
    /// Seed of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Where run folders go.
    #[serde(default = "default_runs")]
    pub runs: PathBuf,
    /// Where the bars come from; empty for a control task.
    #[serde(default, skip_serializing_if = "BarSource::is_empty")]
    pub data: BarSource,
    /// How a file is read.
    #[serde(default)]
    pub import: ImportConfig,
    /// What the agent sees.
    #[serde(default)]
    pub features: FeatureConfig,
    /// Parts of the data, by time.
    #[serde(default)]
    pub split: SplitConfig,
    /// What trading costs; has no default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub costs: Option<CostConfig>,
    /// The simulated account; a market needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvConfig>,
    /// A classic-control task in place of a market.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlConfig>,
    /// Limits outside the learned part.
    #[serde(default)]
    pub risk: RiskConfig,
    /// Consensus and gate.
    #[serde(default)]
    pub decision: DecisionConfig,
    /// The network and where it runs.
    #[serde(default)]
    pub model: ModelConfig,
    /// The algorithm: one of these tables; none means PPO with its defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppo: Option<PpoConfig>,
    /// Quantile-regression DQN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qrdqn: Option<QrdqnConfig>,
    /// Soft actor-critic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sac: Option<SacConfig>,
    /// Evaluation, checkpoints, threads.
    #[serde(default)]
    pub train: TrainConfig,
    /// Stored rollouts, of PPO.
    #[serde(default)]
    pub buffer: BufferConfig,
    /// Stored experience of QR-DQN and SAC; its `buffer_size` and `min_size` are those of the algorithm's table.
    #[serde(default)]
    pub replay: ReplayConfig,
    /// The byte budget.
    #[serde(default)]
    pub memory: MemoryConfig,
}

/// A file, or a synthetic market.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BarSource {
    /// CSV or Parquet file of bars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Synthetic market; exactly one of `path` and `synth` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synth: Option<SynthConfig>,
    /// What the policy is shown beside the account: nothing, or the true state of a synthetic market.
    pub observe: Observe,
    /// Put the bars in a drawn order without drift: a canary, nothing can be predicted then (`check-shuffled`).
    pub shuffle: bool,
    /// Folder of cached feature tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
}

impl BarSource {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Context of the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observe {
    /// Features of bars only: tests the whole.
    #[default]
    Bars,
    /// The filtered belief or deviation as well: tests the algorithm.
    State,
    /// The next bar's return as well: a canary, an agent that does not get rich on it is broken (`check-oracle`).
    NextReturn,
}

/// Shares of the ready rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitConfig {
    /// First part.
    pub train: f64,
    /// Second part; the rest is the test part.
    pub validation: f64,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self { train: 0.6, validation: 0.2 }
    }
}

fn default_runs() -> PathBuf {
    PathBuf::from("runs")
}

impl RunConfig {
    /// Reads a TOML file, applies `key=value` settings, and checks everything.
    ///
    /// # Errors
    /// Names the file and line, or the key, with the value found and what was expected.
    pub fn load(path: &Path, settings: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot read the configuration", path.display()))?;
        Self::parse(&text, settings).with_context(|| path.display().to_string())
    }

    /// As [`RunConfig::load`], from text.
    ///
    /// # Errors
    /// As [`RunConfig::load`] without the file's name.
    pub fn parse(text: &str, settings: &[String]) -> Result<Self> {
        let config: Self = if settings.is_empty() {
            // Straight from the text: errors carry line and column.
            toml::from_str(text)?
        } else {
            let mut table: toml::Table = toml::from_str(text)?;
            for setting in settings {
                apply(&mut table, setting)?;
            }
            let text = toml::to_string(&table)?;
            toml::from_str(&text).map_err(|e| anyhow!("with --set applied: {e}"))?
        };
        let config = config.with_algorithm();
        config.validate()?;
        Ok(config)
    }

    /// Checks every room's settings.
    ///
    /// # Errors
    /// The first that cannot work.
    pub fn validate(&self) -> Result<()> {
        if [self.ppo.is_some(), self.qrdqn.is_some(), self.sac.is_some()].into_iter().filter(|given| *given).count() > 1 {
            bail!("more than one of the tables ppo, qrdqn and sac was given, expected one: it names the algorithm");
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(plain) {
            bail!("setting name was {:?}, expected letters, digits, '-', '_' or '.', as it names a folder", self.name);
        }
        if self.control.is_some() {
            self.validate_control()?;
        } else {
            self.validate_market()?;
        }
        self.model.validate()?;
        let algorithm = self.algorithm();
        let encoder = self.is_market() && self.model.embedders;
        algorithm.validate(self.space(), &self.model.hidden(self.is_market()), self.model.lstm.is_some(), encoder)?;
        if algorithm.schedule().is_some() {
            self.replay.validate().map_err(|error| match error {
                // It stands in the algorithm's table.
                BuffersError::Setting { key: "replay.buffer_size", value, expected } => {
                    anyhow!("{}.buffer_size was {value}, must be {expected}", self.algorithm().name())
                }
                other => other.into(),
            })?;
        }
        self.train.validate(encoder)?;
        self.buffer.validate()?;
        self.memory.validate()?;
        Ok(())
    }

    fn validate_control(&self) -> Result<()> {
        for (key, given) in [("data", !self.data.is_empty()), ("env", self.env.is_some()), ("costs", self.costs.is_some())] {
            if given {
                bail!("settings control and {key} were both given, expected one: a control task has no market");
            }
        }
        Ok(self.control.as_ref().map_or(Ok(()), ControlConfig::validate)?)
    }

    fn validate_market(&self) -> Result<()> {
        match (&self.data.path, &self.data.synth) {
            (None, None) => bail!(
                "setting data was empty, expected a file of bars (data.path), a synthetic market (data.synth.market) or a control task (control.id)"
            ),
            (Some(path), Some(_)) => {
                bail!("settings data.path ({}) and data.synth were both given, expected one of them", path.display())
            }
            (Some(_), None) if self.data.observe == Observe::State => {
                bail!("setting data.observe was \"state\", expected \"bars\": only a synthetic market has a known state")
            }
            _ => {}
        }
        if self.costs.is_none() {
            return Err(MarketError::NoCosts.into());
        }
        let Some(env) = &self.env else { bail!("setting env.initial_cash was absent, expected an amount of account currency") };
        if let Some(synth) = &self.data.synth {
            synth.validate()?;
        }
        if self.model.normalize_observation {
            bail!(
                "setting model.normalize_observation was true, expected false on a market: its features and its account are scaled already"
            );
        }
        self.import.validate()?;
        env.validate()?;
        self.risk.validate()?;
        self.decision.validate()?;
        Ok(())
    }

    /// Puts PPO where no algorithm was named, and the algorithm's sizes into the replay.
    fn with_algorithm(mut self) -> Self {
        if self.ppo.is_none() && self.qrdqn.is_none() && self.sac.is_none() {
            self.ppo = Some(PpoConfig::default());
        }
        if let Some(schedule) = self.algorithm().schedule() {
            self.replay.buffer_size = usize::try_from(schedule.buffer_size).unwrap_or(usize::MAX);
            self.replay.min_size = usize::try_from(schedule.learning_starts.min(schedule.buffer_size)).unwrap_or(usize::MAX).max(1);
        }
        self
    }

    /// The algorithm. Where several tables are given the last of ppo, qrdqn, sac counts; [`RunConfig::validate`] refuses that.
    pub fn algorithm(&self) -> Algorithm {
        match (&self.sac, &self.qrdqn, &self.ppo) {
            (Some(sac), _, _) => Algorithm::Sac(sac.clone()),
            (None, Some(qrdqn), _) => Algorithm::Qrdqn(qrdqn.clone()),
            (None, None, ppo) => Algorithm::Ppo(ppo.clone().unwrap_or_default()),
        }
    }

    /// Whether a market is traded.
    pub fn is_market(&self) -> bool {
        self.control.is_none()
    }

    /// The simulated account of a market.
    ///
    /// # Panics
    /// `Invariant:` without a market; a checked configuration of one has it.
    pub fn env(&self) -> &EnvConfig {
        self.env.as_ref().expect("Invariant: a checked configuration of a market has an account")
    }

    /// What is decided.
    pub fn space(&self) -> ActionSpace {
        match &self.control {
            Some(control) => control.id.action_space(),
            None => self.env().space(),
        }
    }

    /// The resolved configuration as TOML.
    ///
    /// # Errors
    /// Never for a configuration that was read.
    pub fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string(self)?)
    }
}

/// Settings alone, over defaults.
///
/// # Errors
/// An unknown key, a wrong type or a value that does not parse, by name.
pub fn parse_settings<T: serde::de::DeserializeOwned>(settings: &[String]) -> Result<T> {
    let mut table = toml::Table::new();
    for setting in settings {
        apply(&mut table, setting)?;
    }
    toml::from_str(&toml::to_string(&table)?).map_err(|e| anyhow!("with --set applied: {e}"))
}

/// Sets one dotted key; the value is TOML, or a bare word taken as a string.
fn apply(table: &mut toml::Table, setting: &str) -> Result<()> {
    let (key, value) = setting.split_once('=').ok_or_else(|| anyhow!("--set was {setting:?}, expected key=value"))?;
    let (key, value) = (key.trim(), value.trim());
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}")).ok().and_then(|mut t| t.remove("value"));
    let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().filter(|last| !last.is_empty()).ok_or_else(|| anyhow!("--set was {setting:?}, expected key=value"))?;
    let mut at = table;
    for part in parts {
        let entry = at.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        at = entry.as_table_mut().ok_or_else(|| anyhow!("--set {key}: {part} is a value, not a section"))?;
    }
    // A file given on the command line takes the place of the market that the configuration names.
    if key == "data.path" {
        at.remove("synth");
    }
    at.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use grandmodel_embedders::Preset;

    use super::*;

    const MINIMAL: &str = "name = \"t\"\n[data.synth]\nmarket = \"regime\"\n[costs]\ncommission_bp = 2.0\n[env]\ninitial_cash = 1e5\n";

    fn error(text: &str, settings: &[&str]) -> String {
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        format!("{:#}", RunConfig::parse(text, &settings).unwrap_err())
    }

    #[test]
    fn a_minimal_file_works_and_survives_writing() {
        let config = RunConfig::parse(MINIMAL, &[]).unwrap();
        assert_eq!(config, RunConfig::parse(&config.to_toml().unwrap(), &[]).unwrap());
    }

    #[test]
    fn settings_override_by_dotted_key() {
        let config = RunConfig::parse(MINIMAL, &["ppo.gamma=0.9".into(), "model.preset=tiny".into(), "seed=7".into()]).unwrap();
        assert_eq!((0.9, Preset::Tiny, 7), (config.algorithm().gamma(), config.model.preset, config.seed));
    }

    #[test]
    fn every_bad_input_is_named() {
        for (text, settings, expected) in [
            (MINIMAL, vec!["ppo.gamma"], "key=value"),
            (MINIMAL, vec!["ppo.gama=0.9"], "gama"),
            (MINIMAL, vec!["ppo.gamma=fast"], "fast"),
            (MINIMAL, vec!["ppo.num_minibatches=0"], "ppo.num_minibatches was 0"),
            (MINIMAL, vec!["ppo.num_envs=0"], "ppo.num_envs was 0"),
            (MINIMAL, vec!["name=a/b"], "names a folder"),
            (MINIMAL, vec!["model.device=tpu"], "tpu"),
            ("name = \"t\"\n[data.synth]\nmarket = \"regime\"\n[env]\ninitial_cash = 1e5\n", vec![], "commission_bp"),
            ("name = \"t\"\nnaem = 1\n", vec![], "naem"),
            (MINIMAL, vec!["ppo.gamma=0.9", "sac.gamma=0.9"], "more than one"),
            (MINIMAL, vec!["control.id=CartPole-v1"], "control and data"),
            ("name = \"t\"\n[control]\nid = \"CartPole-v2\"\n", vec![], "CartPole-v2"),
            ("name = \"t\"\n[control]\nid = \"Pendulum-v1\"\n[qrdqn]\n", vec![], "discrete actions"),
            ("name = \"t\"\n[control]\nid = \"CartPole-v1\"\n[sac]\nbuffer_size = 100\n", vec![], "sac.buffer_size was 100"),
            ("name = \"t\"\n[control]\nid = \"CartPole-v1\"\n[qrdqn]\nbuffer_size = 600\n", vec![], "qrdqn.buffer_size was 600"),
            ("name = \"t\"\n[control]\nid = \"CartPole-v1\"\n[sac]\n[model]\nlstm = 8\n", vec![], "model.lstm"),
            ("name = \"t\"\n[data]\n[costs]\ncommission_bp = 2.0\n[env]\ninitial_cash = 1e5\n", vec![], "data.path"),
        ] {
            let found = error(text, &settings);
            assert!(found.contains(expected), "{found}");
        }
    }
}
