//! The strategies a report can show side by side, with their names in files and for readers.

use serde::{Deserialize, Serialize};

/// Every strategy a report knows, in the order of its legend. The names are the columns of `equity.csv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The trained agent, consensus and gate off.
    Agent,
    /// The same with consensus and gate on.
    AgentGated,
    /// No position.
    Flat,
    /// Long from the first bar to the last.
    BuyAndHold,
    /// The random run in the middle of its kind.
    RandomMedian,
    /// Moving averages 12 and 48.
    Sma,
    /// Best single-feature rule, tuned on the training part.
    Rule,
    /// The known optimum of a synthetic market.
    Optimum,
    /// Knows the hidden state: a line above the optimum.
    Oracle,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Agent,
        Self::AgentGated,
        Self::Flat,
        Self::BuyAndHold,
        Self::RandomMedian,
        Self::Sma,
        Self::Rule,
        Self::Optimum,
        Self::Oracle,
    ];

    /// Name in files.
    pub fn name(self) -> &'static str {
        ["agent", "agent_gated", "flat", "buy_and_hold", "random_median", "sma", "rule", "optimum", "oracle"][self as usize]
    }

    /// Name for readers.
    pub fn label(self) -> &'static str {
        ["Agent", "Agent, gated", "Flat", "Buy and hold", "Random, median", "SMA 12/48", "Tuned rule", "Known optimum", "Oracle"]
            [self as usize]
    }

    /// Strategy of a name in files.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == name)
    }
}
