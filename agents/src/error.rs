//! What can be wrong with an agent, its settings, its environment or its actors, each with the value and what was expected.

use grandmodel_market::MarketError;

/// Error of the `agents` crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentsError {
    /// A setting that cannot work.
    #[error("setting {key} was {value}, expected {expected}")]
    Setting {
        /// Dotted name of the setting.
        key: &'static str,
        /// What was found.
        value: String,
        /// What would be accepted, and why.
        expected: String,
    },
    /// No row from which an episode could start.
    #[error(
        "{num_spans} span(s) hold {num_ready} ready rows, but none has {bars_left} ready bars of its segment after it; give more bars or lower env.min_bars_left"
    )]
    NoEpisode {
        /// Spans given.
        num_spans: usize,
        /// Ready rows in them.
        num_ready: usize,
        /// Bars an episode needs after its first row.
        bars_left: u32,
    },
    /// One lot is worth more than the account may hold.
    #[error(
        "one lot of {symbol} is worth {lot_value:.2} at its first ready bar, expected at most env.initial_cash x env.max_leverage = {allowed:.2}; raise one of them or use a smaller instrument.lot"
    )]
    LotTooLarge {
        /// Instrument.
        symbol: String,
        /// Value of one lot in account currency.
        lot_value: f64,
        /// Largest notional allowed at the start.
        allowed: f64,
    },
    /// A target position outside [-1, 1].
    #[error("target of lane {lane} was {value}, expected a number from -1 to 1")]
    Target {
        /// Lane.
        lane: usize,
        /// What was found.
        value: f32,
    },
    /// An action outside the space.
    #[error("action of lane {lane} was {value}, expected {expected}")]
    Action {
        /// Lane.
        lane: usize,
        /// What was found.
        value: f32,
        /// What the space holds.
        expected: String,
    },
    /// An environment gave a number that is none.
    #[error("{environment} (seed {seed}, lane {lane}) gave {what} {value} at step {step} of its episode; the run stops here")]
    NotFinite {
        /// Which environment.
        environment: String,
        /// Its seed.
        seed: u64,
        /// Lane.
        lane: usize,
        /// Step of the episode, from 0.
        step: u32,
        /// Reward or observation.
        what: &'static str,
        /// The value.
        value: f64,
    },
    /// Two lengths that must agree.
    #[error("{what} was {found}, expected {expected}")]
    Shape {
        /// Which length.
        what: &'static str,
        /// What was found.
        found: usize,
        /// What was expected.
        expected: usize,
    },
    /// A row the table cannot serve.
    #[error("row {row} of a table of {len} rows: {expected}")]
    Row {
        /// Row asked for.
        row: usize,
        /// Rows there are.
        len: usize,
        /// What was expected.
        expected: &'static str,
    },
    /// An actor that did not answer.
    #[error("{actor} did not answer: {cause}")]
    Actor {
        /// Which actor.
        actor: &'static str,
        /// What its mailbox said.
        cause: String,
    },
    /// Weights of two versions would meet.
    #[error("policy version of an embedding was {found}, expected {expected}")]
    Version {
        /// What was found.
        found: u64,
        /// What was expected.
        expected: u64,
    },
    /// An embedder refused.
    #[error(transparent)]
    Embedders(#[from] grandmodel_embedders::EmbeddersError),
    /// The market refused.
    #[error(transparent)]
    Market(#[from] MarketError),
}
