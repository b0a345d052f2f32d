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
    // -- venue --
    /// The operating system refused a file operation.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
