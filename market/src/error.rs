//! What can be wrong with bars, files, features and orders, each with the place, the value and what was expected.

/// Error of the `market` crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MarketError {
    /// A bar breaks the rules of [`crate::Bar::new_checked`].
    #[error("{field} was {value}, expected {expected}")]
    Bar {
        /// Which field.
        field: &'static str,
        /// What was found.
        value: f64,
        /// What would be accepted.
        expected: &'static str,
    },
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
    // -- import --
    // -- features and table --
    // -- synth, optimum, stats --
    /// A synthetic path left the range in which ticks are exact.
    #[error("synthetic price was {price} at bar {bar_index}, expected {low} to {high}: use fewer bars or a smaller drift and sigma")]
    SynthPrice {
        /// Bar in which it happened.
        bar_index: usize,
        /// The price.
        price: f64,
        /// Lowest price allowed.
        low: f64,
        /// Highest price allowed.
        high: f64,
    },
    // -- venue --
    /// The run states no costs at all.
    #[error("no cost model is stated; add to the run's configuration:\n{}", crate::venue::cost::COSTS_LINE)]
    NoCosts,
    /// An order that no venue could accept.
    #[error("order {id}: {field} was {value}, expected {expected}")]
    Order {
        /// The agent's number of the order.
        id: u64,
        /// Which field.
        field: &'static str,
        /// What was found.
        value: i64,
        /// What would be accepted.
        expected: &'static str,
    },
    /// A sum of money that does not fit 64 bits.
    #[error("{what} would be {micros} micro-units, expected at most {} in size", i64::MAX)]
    Money {
        /// Which sum.
        what: &'static str,
        /// What it would be.
        micros: i128,
    },
    /// The operating system refused a file operation.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
