//! What can be wrong with learning and with checkpoints.

use std::path::PathBuf;

/// Error of the `trainer` crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainerError {
    /// A setting that cannot work.
    #[error("setting {key} was {value}, expected {expected}")]
    Setting {
        /// Dotted name.
        key: &'static str,
        /// What was found.
        value: String,
        /// What would be accepted, and why.
        expected: String,
    },
    /// A number that must be finite was not; the run stops here with its last checkpoint.
    #[error(
        "{what} was {value} at update {update}, optimiser step {step}: learning has diverged; lower ppo.learning_rate or look at the data"
    )]
    Diverged {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: f64,
        /// Rollout.
        update: u64,
        /// Optimiser step.
        step: u64,
    },
    /// No checkpoint where one was asked for.
    #[error("{path}: no checkpoint here, expected a folder with manifest.json")]
    NoCheckpoint {
        /// Where.
        path: PathBuf,
    },
    /// A checkpoint that is not what its manifest says.
    #[error("{path}: {problem}")]
    DamagedCheckpoint {
        /// Which file.
        path: PathBuf,
        /// Found and expected.
        problem: String,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An actor that should answer did not.
    #[error("the {actor} actor did not answer: {cause}")]
    Actor {
        /// Which one.
        actor: &'static str,
        /// Mailbox closed or timed out.
        cause: String,
    },
    /// Bytes that are no entries of a gradient.
    #[error("a sparse gradient is damaged: {problem}")]
    SparseGradient {
        /// Found and expected.
        problem: String,
    },
    /// From the environment or the agent.
    #[error(transparent)]
    Agents(#[from] grandmodel_agents::AgentsError),
    /// From the embedders.
    #[error(transparent)]
    Embedders(#[from] grandmodel_embedders::EmbeddersError),
    /// From the buffer.
    #[error(transparent)]
    Buffers(#[from] grandmodel_buffers::BuffersError),
    /// From the budget.
    #[error(transparent)]
    Memory(#[from] grandmodel_memory::MemoryError),
    /// From the market.
    #[error(transparent)]
    Market(#[from] grandmodel_market::MarketError),
}
