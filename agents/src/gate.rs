//! Execute or keep: how sure the policy is and what the market is like in, a verdict with its reason out. It applies in paper, live
//! and, when asked, in evaluation; never in collection, where a fresh policy would never leave flat.

use crate::config::GateConfig;

/// What the gate looks at for one change of position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateInput {
    /// What the passes disagree on, in nats.
    pub epistemic: f32,
    /// Regime stability, -1 to 1.
    pub stability: f32,
    /// Expected edge of the change as a fraction of its notional.
    pub edge: f64,
    /// Cost of the change as a fraction of its notional.
    pub cost: f64,
}

/// Why the position is kept.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// The chosen action is not probable enough.
    Confidence {
        /// Mean probability.
        found: f32,
        /// Threshold.
        min: f32,
    },
    /// The passes disagree.
    Epistemic {
        /// Nats.
        found: f32,
        /// Threshold.
        max: f32,
    },
    /// The regime is changing.
    Stability {
        /// Stability.
        found: f32,
        /// Threshold.
        min: f32,
    },
    /// The edge does not pay for the change.
    Cost {
        /// Expected edge over cost.
        found: f64,
        /// Threshold.
        min: f64,
    },
}

impl Kept {
    /// Number of reasons.
    pub const NUM: usize = 4;
    /// Names by index.
    pub const NAMES: [&'static str; Self::NUM] = ["confidence", "epistemic", "stability", "cost"];

    /// Index of the reason.
    pub fn index(&self) -> usize {
        match self {
            Self::Confidence { .. } => 0,
            Self::Epistemic { .. } => 1,
            Self::Stability { .. } => 2,
            Self::Cost { .. } => 3,
        }
    }

    /// Name of the reason.
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

/// Decisions to keep, counted by reason in the order of [`Kept::NAMES`].
pub type KeptCounts = [u64; Kept::NUM];

/// Lets a change through, or says why the position is kept.
pub fn gate(config: &GateConfig, input: &GateInput) -> Result<(), Kept> {
    if !config.enabled {
        return Ok(());
    }
    if input.epistemic > config.epistemic_max {
        return Err(Kept::Epistemic { found: input.epistemic, max: config.epistemic_max });
    }
    if input.stability < config.stability_min {
        return Err(Kept::Stability { found: input.stability, min: config.stability_min });
    }
    if input.edge < input.cost * config.edge_to_cost_min {
        return Err(Kept::Cost { found: input.edge / input.cost, min: config.edge_to_cost_min });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_threshold_refuses_with_its_numbers() {
        let config = GateConfig { enabled: true, epistemic_max: 0.2, stability_min: 0.0, edge_to_cost_min: 2.0 };
        let good = GateInput { epistemic: 0.1, stability: 0.5, edge: 5e-4, cost: 2e-4 };
        assert_eq!(gate(&config, &good), Ok(()));
        assert_eq!(gate(&config, &GateInput { epistemic: 0.3, ..good }), Err(Kept::Epistemic { found: 0.3, max: 0.2 }));
        assert_eq!(gate(&config, &GateInput { stability: -0.1, ..good }), Err(Kept::Stability { found: -0.1, min: 0.0 }));
        let verdict = gate(&config, &GateInput { edge: 3e-4, ..good });
        assert!(matches!(verdict, Err(Kept::Cost { found, .. }) if (found - 1.5).abs() < 1e-9), "{verdict:?}");
        let off = GateConfig { enabled: false, ..config };
        assert_eq!(gate(&off, &GateInput { epistemic: 9.0, stability: -1.0, edge: 0.0, cost: 1.0 }), Ok(()));
    }
}
