//! The pure core of a running agent: market part of a row and account vector in, requested target position out. Head, then consensus,
//! then gate; sizing and risk come after, in [`crate::desk`]. It holds no market, no account and no clock.

use crate::{
    AgentsError,
    config::{DecisionConfig, EnvConfig},
    consensus::{Consensus, consensus, fill_mask},
    desk::RowView,
    gate::{GateInput, Kept, KeptCounts, gate},
    head::{DropoutMask, Head, HeadScratch},
};
use grandmodel_market::{FeatureTable, features::REGIME_FEATURES, venue::CostModel};

/// Index of stability in the regime vector.
const STABILITY: usize = 7;

/// Turns what is seen into a target position.
#[derive(Clone, Debug)]
pub struct Decider {
    head: Head,
    config: DecisionConfig,
    env: EnvConfig,
    seed: u64,
    scratch: HeadScratch,
    mask: DropoutMask,
    /// `[num_passes, num_actions]`.
    logits: Vec<f32>,
    mean: Vec<f32>,
    counts: KeptCounts,
    num_decisions: u64,
}

/// What a decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Market part of the trunk's first layer, `[hidden]`.
    pub market: &'a [f32],
    /// Account vector and context, `[input_width]`.
    pub account: &'a [f32],
    /// Target position in force.
    pub held: f32,
    /// Conditions around the row.
    pub conditions: Conditions,
}

/// Conditions around a row, for masks and gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// Time of the decision; names the masks.
    pub ts: i64,
    /// Regime stability, -1 to 1.
    pub stability: f32,
    /// ATR over price.
    pub atr_fraction: f64,
    /// Cost of a unit of position change as a fraction of its notional.
    pub cost_fraction: f64,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Target position to request from the desk.
    pub target: f32,
    /// How sure the policy was.
    pub consensus: Consensus,
    /// Why the position is kept, where the policy wanted another.
    pub kept: Option<Kept>,
}

impl Decider {
    /// A decider around a head.
    ///
    /// # Errors
    /// Settings that cannot work; a head whose actions are not those of the environment.
    pub fn new(head: Head, env: &EnvConfig, config: &DecisionConfig, seed: u64) -> Result<Self, AgentsError> {
        env.validate()?;
        config.validate()?;
        let num_actions = env.num_actions();
        if head.num_actions() != num_actions {
            return Err(AgentsError::Shape { what: "number of actions of the head", found: head.num_actions(), expected: num_actions });
        }
        let num_passes = config.consensus_passes.max(1) as usize;
        Ok(Self {
            head,
            config: config.clone(),
            env: env.clone(),
            seed,
            scratch: HeadScratch::default(),
            mask: DropoutMask::default(),
            logits: vec![0.0; num_passes * num_actions],
            mean: vec![0.0; num_actions],
            counts: KeptCounts::default(),
            num_decisions: 0,
        })
    }

    /// The head in use.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Refuses account vectors of another width than the head's, before the first decision.
    ///
    /// # Errors
    /// [`AgentsError::Shape`].
    pub fn check_input_width(&self, found: usize) -> Result<(), AgentsError> {
        let expected = self.head.input_width();
        if found == expected {
            Ok(())
        } else {
            Err(AgentsError::Shape { what: "width of the account vector with context", found, expected })
        }
    }

    /// Most probable action, unless consensus or gate keep the position.
    pub fn decide(&mut self, seen: &Seen<'_>) -> Verdict {
        let num_actions = self.mean.len();
        let Self { head, scratch, logits, mask, config, .. } = self;
        if config.consensus_passes == 0 {
            head.forward(seen.market, seen.account, scratch, logits);
        } else {
            for (pass, logits) in logits.chunks_exact_mut(num_actions).enumerate() {
                fill_mask(mask, head.hidden(), config.dropout, self.seed, seen.conditions.ts, pass as u32);
                head.forward_masked(seen.market, seen.account, mask, scratch, logits);
            }
        }
        let verdict = consensus(&mut self.logits, &mut self.mean);
        let wanted = self.env.action_target(verdict.action);
        self.num_decisions += 1;
        let kept = (wanted != seen.held).then(|| self.keeps(seen, wanted, &verdict)).flatten();
        if let Some(kept) = kept {
            self.counts[kept.index()] += 1;
        }
        Verdict { target: if kept.is_some() { seen.held } else { wanted }, consensus: verdict, kept }
    }

    /// Decisions kept, by reason.
    pub fn kept(&self) -> KeptCounts {
        self.counts
    }

    /// Decisions taken.
    pub fn num_decisions(&self) -> u64 {
        self.num_decisions
    }

    fn keeps(&self, seen: &Seen<'_>, wanted: f32, verdict: &Consensus) -> Option<Kept> {
        let min = self.config.confidence_min;
        if self.config.consensus_passes > 0 && verdict.confidence < min {
            return Some(Kept::Confidence { found: verdict.confidence, min });
        }
        // What only reduces needs no edge.
        if wanted * seen.held >= 0.0 && wanted.abs() <= seen.held.abs() {
            return None;
        }
        // Edge: the mean change of position the policy asks for, if one ATR goes its way.
        let leaning: f32 = self.mean.iter().enumerate().map(|(action, p)| p * (self.env.action_target(action) - seen.held)).sum();
        let input = GateInput {
            epistemic: verdict.epistemic,
            stability: seen.conditions.stability,
            edge: f64::from(leaning * (wanted - seen.held).signum()) * seen.conditions.atr_fraction,
            cost: f64::from((wanted - seen.held).abs()) * seen.conditions.cost_fraction,
        };
        gate(&self.config.gate, &input).err()
    }
}

impl Conditions {
    /// Conditions around a ready row.
    pub fn of(table: &FeatureTable, view: &RowView, costs: &CostModel) -> Self {
        let structure_row = table.structure_row()[view.row] as usize;
        let stability = table.regime().get(structure_row.saturating_mul(REGIME_FEATURES) + STABILITY).copied();
        Self {
            ts: view.ts_close,
            stability: stability.unwrap_or(-1.0),
            atr_fraction: view.atr_ticks / view.close_ticks as f64,
            cost_fraction: costs.taking_fraction(view.close_ticks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::GateConfig, head::HeadWeights};

    /// Logits are the policy bias alone: short, flat, long.
    fn head(bias: [f32; 3]) -> Head {
        Head::new(HeadWeights {
            account: vec![0.0; 4 * 6],
            trunk: vec![0.0; 16],
            trunk_bias: vec![0.5; 4],
            policy: vec![0.3, 0.0, -0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            policy_bias: bias.to_vec(),
            value: vec![0.0; 4],
            value_bias: 0.0,
        })
    }

    fn seen(held: f32) -> Seen<'static> {
        let conditions = Conditions { ts: 5, stability: 0.5, atr_fraction: 1e-3, cost_fraction: 2e-4 };
        Seen { market: &[0.0; 4], account: &[0.0; 6], held, conditions }
    }

    fn decider(bias: [f32; 3], config: &DecisionConfig) -> Decider {
        Decider::new(head(bias), &EnvConfig::with_cash(1e5), config, 3).expect("decider")
    }

    #[test]
    fn the_most_probable_action_is_requested() {
        for (bias, target) in [([3.0, 0.0, 0.0], -1.0), ([0.0, 3.0, 0.0], 0.0), ([0.0, 0.0, 3.0], 1.0)] {
            let verdict = decider(bias, &DecisionConfig::off()).decide(&seen(0.0));
            assert_eq!((verdict.target, verdict.kept), (target, None));
        }
    }

    #[test]
    fn an_unsure_policy_keeps_the_position() {
        let mut unsure = decider(
            [0.0, 0.0, 0.5],
            &DecisionConfig { gate: GateConfig { enabled: false, ..GateConfig::default() }, ..DecisionConfig::default() },
        );
        let verdict = unsure.decide(&seen(-1.0));
        assert_eq!(verdict.target, -1.0);
        assert!(matches!(verdict.kept, Some(Kept::Confidence { .. })), "{verdict:?}");
        assert_eq!(unsure.kept(), [1, 0, 0, 0]);
        assert!(verdict.consensus.epistemic > 0.0, "the passes differ: {verdict:?}");
    }

    #[test]
    fn the_gate_judges_openings_and_never_closings() {
        let gate = GateConfig { enabled: true, edge_to_cost_min: 100.0, ..GateConfig::default() };
        let config = DecisionConfig { consensus_passes: 0, gate, ..DecisionConfig::default() };
        let verdict = decider([0.0, 0.0, 5.0], &config).decide(&seen(0.0));
        assert!(matches!(verdict.kept, Some(Kept::Cost { .. })), "{verdict:?}");
        let verdict = decider([0.0, 5.0, 0.0], &config).decide(&seen(1.0));
        assert_eq!((verdict.target, verdict.kept), (0.0, None));
    }

    #[test]
    fn a_head_of_another_width_is_refused() {
        let env = EnvConfig { levels: 2, ..EnvConfig::with_cash(1e5) };
        assert!(matches!(Decider::new(head([0.0; 3]), &env, &DecisionConfig::off(), 0), Err(AgentsError::Shape { expected: 5, .. })));
    }
}
