//! When an instrument trades.

/// Trading hours of an instrument.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Session {
    /// Around the clock, every day.
    #[default]
    Always,
}
