//! The pure core of a running agent: market part of a row and account vector in, requested target position out. Head, then consensus,
//! then gate; sizing and risk come after, in [`crate::desk`]. It holds no market, no account and no clock; of a recurrent head, what it remembers.

use crate::{
    AgentsError,
    config::{DecisionConfig, EnvConfig},
    consensus::{Consensus, consensus, consensus_of_targets, fill_masks},
    desk::RowView,
    gate::{GateInput, Kept, KeptCounts, gate},
    head::{Head, HeadScratch},
    heads::Memory,
    space::ActionSpace,
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
    masks: Vec<Vec<f32>>,
    /// `[num_passes, num_actions]`; of a continuous policy `[num_passes]` targets.
    passes: Vec<f32>,
    /// `[num_actions]`; empty for a continuous policy.
    mean: Vec<f32>,
    /// `[state_width]` of a recurrent head.
    state: Vec<f32>,
    state_after: Vec<f32>,
    counts: KeptCounts,
    num_decisions: u64,
}

/// What a decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Market part of the head's first layers, `[ahead_width]`; empty where the head has none.
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
        let num_actions = match head.shape.space() {
            ActionSpace::Box { width, .. } if width != 1 => {
                return Err(AgentsError::Shape { what: "width of the head's action", found: width, expected: 1 });
            }
            ActionSpace::Box { .. } => 0,
            ActionSpace::Discrete { num_actions } if num_actions != env.num_actions() => {
                return Err(AgentsError::Shape { what: "number of actions of the head", found: num_actions, expected: env.num_actions() });
            }
            ActionSpace::Discrete { num_actions } => num_actions,
        };
        let num_passes = config.consensus_passes.max(1) as usize;
        let state = vec![0.0; head.shape.state_width()];
        Ok(Self {
            head,
            config: config.clone(),
            env: env.clone(),
            seed,
            scratch: HeadScratch::default(),
            masks: Vec::new(),
            passes: vec![0.0; num_passes * num_actions.max(1)],
            mean: vec![0.0; num_actions],
            state_after: state.clone(),
            state,
            counts: KeptCounts::default(),
            num_decisions: 0,
        })
    }

    /// Forgets what a recurrent head remembers: at the beginning of each run of rows.
    pub fn forget(&mut self) {
        self.state.fill(0.0);
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
        let expected = self.head.shape.observation_width();
        if found == expected {
            Ok(())
        } else {
            Err(AgentsError::Shape { what: "width of the account vector with context", found, expected })
        }
    }

    /// Most probable action, unless consensus or gate keep the position.
    pub fn decide(&mut self, seen: &Seen<'_>) -> Verdict {
        let num_actions = self.mean.len();
        let Self { head, scratch, passes, masks, config, state, state_after, .. } = self;
        let ahead = (!seen.market.is_empty()).then_some(seen.market);
        for (pass, out) in passes.chunks_exact_mut(num_actions.max(1)).enumerate() {
            masks.clear();
            if config.consensus_passes > 0 {
                fill_masks(masks, head.shape.hidden(), config.dropout, self.seed, seen.conditions.ts, pass as u32);
            }
            // Masks lie behind the LSTM: every pass remembers the same.
            state_after.clone_from(state);
            let mut memory = Memory { lanes: 1, starts: &[false], state: state_after };
            head.prefer(seen.account, ahead, masks, &mut memory, scratch, out);
        }
        std::mem::swap(state, state_after);
        let (wanted, verdict) = if num_actions == 0 {
            let (target, verdict) = consensus_of_targets(passes);
            (target.clamp(-1.0, 1.0), verdict)
        } else {
            let verdict = consensus(passes, &mut self.mean);
            (self.env.action_target(verdict.action), verdict)
        };
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
        let leaning: f32 = if self.mean.is_empty() {
            wanted - seen.held
        } else {
            self.mean.iter().enumerate().map(|(action, p)| p * (self.env.action_target(action) - seen.held)).sum()
        };
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
    use crate::{
        config::GateConfig,
        head::HeadShape,
        heads::{ActorCritic, ActorCriticConfig},
        net::Activation,
    };

    /// Logits are the policy bias, and the first unit of the second layer a little.
    fn head(bias: [f32; 3]) -> Head {
        let shape = ActorCritic::new(&ActorCriticConfig {
            space: ActionSpace::Discrete { num_actions: 3 },
            observation_width: 6,
            ahead: true,
            shared: true,
            hidden: vec![4, 4],
            activation: Activation::Tanh,
            lstm: None,
        });
        // Layers 6 x 4 and 4 x 4 of zeros, biases 0 and 0.5; the output's first row; its bias with that of the value.
        let mut parameters = vec![0.0; 24 + 4 + 16];
        parameters.extend([0.5; 4]);
        parameters.extend([0.3, 0.0, -0.3, 0.0]);
        parameters.extend([0.0; 12]);
        parameters.extend(bias);
        parameters.push(0.0);
        Head { shape: HeadShape::ActorCritic(shape), parameters: parameters.into() }
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
