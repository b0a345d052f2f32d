//! Policy and value of an on-policy learner: one shared trunk or two, an LSTM before each where asked for; categorical over discrete actions, Gaussian
//! with a deviation of its own parameter over continuous ones.
//!
//! Parameters: per branch its LSTM and then its layers; after all branches `log_std [action_width]` of a Gaussian policy.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::{Acted, Mode, Seen, distribution};
use crate::{
    net::{Activation, Columns, ColumnsMut, Init, LstmShape, LstmTape, MlpShape, MlpTape},
    space::ActionSpace,
};

/// A fresh policy is nearly uniform, so that it explores every action at first.
const POLICY_GAIN: f32 = 0.01;

/// Widths of policy and value.
#[derive(Clone, Debug, PartialEq)]
pub struct ActorCritic {
    space: ActionSpace,
    observation_width: usize,
    ahead: bool,
    branches: Vec<Branch>,
}

#[derive(Clone, Debug, PartialEq)]
struct Branch {
    lstm: Option<LstmShape>,
    mlp: MlpShape,
}

/// How the networks are built.
#[derive(Clone, Debug, PartialEq)]
pub struct ActorCriticConfig {
    /// What is decided.
    pub space: ActionSpace,
    /// Width of an observation; 0 is possible where there is a part ahead.
    pub observation_width: usize,
    /// The first layers have a part that is computed ahead.
    pub ahead: bool,
    /// Policy and value have one trunk.
    pub shared: bool,
    /// Hidden layers of each trunk.
    pub hidden: Vec<usize>,
    /// Between layers.
    pub activation: Activation,
    /// Width of the LSTM before each trunk; absent: none.
    pub lstm: Option<usize>,
}

/// Outputs of a batch and what the backward pass needs; kept by the caller and reused.
#[derive(Clone, Debug, Default)]
pub struct ActorCriticTape {
    /// `[batch, policy_width]` logits or means.
    pub policy: Vec<f32>,
    /// `[batch]`.
    pub value: Vec<f32>,
    branches: Vec<(LstmTape, MlpTape)>,
    d_output: Vec<f32>,
    d_hidden: Vec<f32>,
}

/// Where episodes begin and what was remembered; of a network without LSTM anything may stand here.
#[derive(Debug)]
pub struct Memory<'a> {
    /// Lanes side by side; the batch is time-major.
    pub lanes: usize,
    /// `[T, lanes]` true where the step begins an episode.
    pub starts: &'a [bool],
    /// `[lanes, state_width]` before the first step; afterwards after the last.
    pub state: &'a mut [f32],
}

impl ActorCritic {
    /// Shapes from widths.
    pub fn new(config: &ActorCriticConfig) -> Self {
        let policy_width = policy_width(config.space);
        let branch = |output| {
            let lstm = config.lstm.map(|hidden| LstmShape { input: config.observation_width, hidden });
            let input = config.lstm.unwrap_or(config.observation_width);
            Branch { lstm, mlp: MlpShape { input, hidden: config.hidden.clone(), output, activation: config.activation } }
        };
        let branches = if config.shared { vec![branch(policy_width + 1)] } else { vec![branch(policy_width), branch(1)] };
        Self { space: config.space, observation_width: config.observation_width, ahead: config.ahead, branches }
    }

    /// First parameters.
    pub fn init(&self, init: Init, log_std: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let mut parameters = Vec::with_capacity(self.num_parameters());
        let (policy, value) = ((self.policy_width(), POLICY_GAIN), (1, 1.0));
        for (index, branch) in self.branches.iter().enumerate() {
            let outputs: &[(usize, f32)] = match (self.branches.len(), index) {
                (1, _) => &[policy, value],
                (_, 0) => &[policy],
                _ => &[value],
            };
            match init {
                Init::Orthogonal => {
                    parameters.extend(branch.lstm.iter().flat_map(|lstm| lstm.orthogonal(rng)));
                    parameters.extend(branch.mlp.orthogonal(std::f32::consts::SQRT_2, outputs, rng));
                }
                Init::Uniform => {
                    parameters.extend(branch.lstm.iter().flat_map(|lstm| lstm.uniform(rng)));
                    parameters.extend(branch.mlp.uniform(rng));
                }
            }
        }
        parameters.resize(self.num_parameters(), log_std);
        parameters
    }

    /// Number of parameters.
    pub fn num_parameters(&self) -> usize {
        self.branches.iter().map(Branch::num_parameters).sum::<usize>() + self.log_std_width()
    }

    /// Each parameter array with its name and shape, in order.
    pub fn arrays(&self) -> Vec<(String, Vec<usize>)> {
        let names: &[&str] = if self.branches.len() == 1 { &["trunk"] } else { &["policy", "value"] };
        let mut arrays = Vec::new();
        for (branch, name) in self.branches.iter().zip(names) {
            arrays.extend(branch.lstm.iter().flat_map(|lstm| lstm.arrays(&format!("{name}.lstm"))));
            arrays.extend(branch.mlp.arrays(name));
        }
        if self.log_std_width() > 0 {
            arrays.push(("log_std".into(), vec![self.log_std_width()]));
        }
        arrays
    }

    /// What is decided.
    pub fn space(&self) -> ActionSpace {
        self.space
    }

    /// Width of an observation.
    pub fn observation_width(&self) -> usize {
        self.observation_width
    }

    /// Logits or means of one decision.
    pub fn policy_width(&self) -> usize {
        policy_width(self.space)
    }

    /// Width of the part that is computed ahead; 0 where there is none.
    pub fn ahead_width(&self) -> usize {
        if self.ahead { self.branches.iter().map(Branch::first_width).sum() } else { 0 }
    }

    /// The same by network.
    pub fn ahead_widths(&self) -> Vec<usize> {
        if self.ahead { self.branches.iter().map(Branch::first_width).collect() } else { Vec::new() }
    }

    /// Values a lane carries from step to step; 0 without LSTM.
    pub fn state_width(&self) -> usize {
        self.branches.iter().filter_map(|branch| branch.lstm).map(|lstm| lstm.state_width()).sum()
    }

    /// Widths of the hidden layers of the policy's trunk.
    pub fn hidden(&self) -> &[usize] {
        &self.branches[0].mlp.hidden
    }

    /// The last parameters: `log_std`, empty for a categorical policy.
    pub fn log_std<'a>(&self, parameters: &'a [f32]) -> &'a [f32] {
        &parameters[parameters.len() - self.log_std_width()..]
    }

    fn log_std_width(&self) -> usize {
        match self.space {
            ActionSpace::Discrete { .. } => 0,
            ActionSpace::Box { width, .. } => width,
        }
    }

    /// Policy and value where they share nothing but the observation, so that each can be computed without the other; none with an LSTM, whose states
    /// advance together.
    pub fn apart(&self) -> Option<[&MlpShape; 2]> {
        match self.branches.as_slice() {
            [Branch { lstm: None, mlp: policy }, Branch { lstm: None, mlp: value }] => Some([policy, value]),
            _ => None,
        }
    }

    /// Outputs of a batch, time-major where there is an LSTM; in `tape.policy` and `tape.value`.
    ///
    /// # Shapes
    /// `observation [batch, observation_width]`, `ahead` columns `[batch, ahead_width]`, one mask a hidden layer.
    pub fn forward(
        &self,
        parameters: &[f32],
        observation: &[f32],
        ahead: Option<Columns<'_>>,
        batch: usize,
        memory: &mut Memory<'_>,
        masks: &[Vec<f32>],
        tape: &mut ActorCriticTape,
    ) {
        let state_width = self.state_width();
        tape.branches.resize_with(self.branches.len(), Default::default);
        let (mut at, mut ahead_at, mut state_at) = (0, 0, 0);
        for (branch, (lstm_tape, mlp_tape)) in self.branches.iter().zip(&mut tape.branches) {
            let ahead = ahead.map(|columns| Columns { offset: columns.offset + ahead_at, ..columns });
            let parameters = &parameters[at..at + branch.num_parameters()];
            match &branch.lstm {
                None => branch.mlp.masked_forward(parameters, observation, ahead, batch, masks, mlp_tape),
                Some(lstm) => {
                    let (of_lstm, of_mlp) = parameters.split_at(lstm.num_parameters());
                    let mut state = ColumnsMut { values: memory.state, stride: state_width, offset: state_at };
                    lstm.forward(of_lstm, observation, ahead, memory.starts, memory.lanes, &mut state, lstm_tape);
                    branch.mlp.masked_forward(of_mlp, lstm_tape.output(), None, batch, masks, mlp_tape);
                    state_at += lstm.state_width();
                }
            }
            at += branch.num_parameters();
            ahead_at += branch.first_width();
        }
        let width = self.policy_width();
        let (policy, value) = (&mut tape.policy, &mut tape.value);
        policy.clear();
        value.clear();
        match tape.branches.as_slice() {
            [(_, both)] => {
                for row in both.output().chunks_exact(width + 1) {
                    policy.extend_from_slice(&row[..width]);
                    value.push(row[width]);
                }
            }
            [(_, first), (_, second)] => {
                policy.extend_from_slice(first.output());
                value.extend_from_slice(second.output());
            }
            _ => unreachable!("Invariant: one trunk or two"),
        }
    }

    /// As [`ActorCritic::forward`], but where policy and value are apart the policy alone: `tape.value` stays empty then.
    pub fn forward_policy(
        &self,
        parameters: &[f32],
        observation: &[f32],
        ahead: Option<Columns<'_>>,
        batch: usize,
        memory: &mut Memory<'_>,
        masks: &[Vec<f32>],
        tape: &mut ActorCriticTape,
    ) {
        let Some([policy, _]) = self.apart() else {
            return self.forward(parameters, observation, ahead, batch, memory, masks, tape);
        };
        tape.branches.resize_with(2, Default::default);
        let mlp_tape = &mut tape.branches[0].1;
        policy.masked_forward(&parameters[..policy.num_parameters()], observation, ahead, batch, masks, mlp_tape);
        tape.value.clear();
        tape.policy.clear();
        tape.policy.extend_from_slice(mlp_tape.output());
    }

    /// Values alone, in `tape.output()`; policy and value are apart.
    pub fn forward_value(&self, parameters: &[f32], observation: &[f32], ahead: Option<Columns<'_>>, batch: usize, tape: &mut MlpTape) {
        let [policy, value] = self.apart().expect("Invariant: values alone are asked of a network that has them apart");
        let ahead = ahead.map(|columns| Columns { offset: columns.offset + policy.first_width(), ..columns });
        let at = policy.num_parameters();
        value.forward(&parameters[at..at + value.num_parameters()], observation, ahead, batch, tape);
    }

    /// Adds the gradient of `sum(d_policy * policy) + sum(d_value * value)` to `gradient`; writes that of the part ahead where there is one. That of
    /// `log_std` is the caller's.
    ///
    /// # Shapes
    /// As in [`ActorCritic::forward`]; `d_ahead [batch, ahead_width]`, empty where there is none.
    #[allow(clippy::too_many_arguments, reason = "one pass, each argument an array of its own")]
    pub fn backward(
        &self,
        parameters: &[f32],
        observation: &[f32],
        batch: usize,
        starts: &[bool],
        lanes: usize,
        tape: &mut ActorCriticTape,
        d_policy: &[f32],
        d_value: &[f32],
        gradient: &mut [f32],
        d_ahead: &mut [f32],
    ) {
        let (width, stride) = (self.policy_width(), self.ahead_width());
        let shared = self.branches.len() == 1;
        let ActorCriticTape { branches, d_output, d_hidden, .. } = tape;
        let (mut at, mut offset) = (0, 0);
        for (index, (branch, (lstm_tape, mlp_tape))) in self.branches.iter().zip(branches).enumerate() {
            d_output.clear();
            match (shared, index) {
                (true, _) => {
                    for (d_policy, d_value) in d_policy.chunks_exact(width).zip(d_value) {
                        d_output.extend_from_slice(d_policy);
                        d_output.push(*d_value);
                    }
                }
                (false, 0) => d_output.extend_from_slice(d_policy),
                (false, _) => d_output.extend_from_slice(d_value),
            }
            let range = at..at + branch.num_parameters();
            let (parameters, gradient) = (&parameters[range.clone()], &mut gradient[range]);
            let d_ahead = (stride > 0).then_some(ColumnsMut { values: &mut *d_ahead, stride, offset });
            match &branch.lstm {
                None => branch.mlp.backward(parameters, observation, batch, mlp_tape, d_output, Some(gradient), None, d_ahead),
                Some(lstm) => {
                    let (of_lstm, of_mlp) = parameters.split_at(lstm.num_parameters());
                    let (g_lstm, g_mlp) = gradient.split_at_mut(lstm.num_parameters());
                    d_hidden.resize(batch * lstm.hidden, 0.0);
                    branch.mlp.backward(of_mlp, lstm_tape.output(), batch, mlp_tape, d_output, Some(g_mlp), Some(&mut *d_hidden), None);
                    lstm.backward(of_lstm, observation, starts, lanes, lstm_tape, d_hidden, g_lstm, d_ahead);
                }
            }
            at += branch.num_parameters();
            offset += branch.first_width();
        }
    }

    /// Decides for all lanes; where policy and value are apart, values are left to the caller.
    pub fn act(
        &self,
        parameters: &[f32],
        seen: &Seen<'_>,
        memory: &mut Memory<'_>,
        mode: Mode,
        rng: &mut ChaCha8Rng,
        tape: &mut ActorCriticTape,
        out: &mut Acted,
    ) {
        self.forward_policy(parameters, seen.observation, seen.ahead, seen.lanes, memory, &[], tape);
        out.action.clear();
        out.log_prob.clear();
        out.value.clear();
        out.value.extend_from_slice(&tape.value);
        let log_std = self.log_std(parameters);
        for row in tape.policy.chunks_exact_mut(self.policy_width()) {
            match self.space {
                ActionSpace::Discrete { .. } => {
                    distribution::log_softmax(row);
                    let action = match mode {
                        Mode::Greedy => distribution::argmax(row),
                        Mode::Sample | Mode::Epsilon(_) | Mode::Uniform => distribution::sample(row, rng),
                    };
                    out.action.push(action as f32);
                    out.log_prob.push(row[action]);
                }
                ActionSpace::Box { .. } => {
                    let from = out.action.len();
                    for (mean, log_std) in row.iter().zip(log_std) {
                        let noise: f32 = if mode == Mode::Greedy { 0.0 } else { rng.sample(StandardNormal) };
                        out.action.push(mean + log_std.exp() * noise);
                    }
                    out.log_prob.push(distribution::gaussian_log_prob(&out.action[from..], row, log_std));
                }
            }
        }
    }
}

impl Branch {
    fn num_parameters(&self) -> usize {
        self.lstm.map_or(0, |lstm| lstm.num_parameters()) + self.mlp.num_parameters()
    }

    fn first_width(&self) -> usize {
        self.lstm.map_or_else(|| self.mlp.first_width(), |lstm| lstm.gates())
    }
}

fn policy_width(space: ActionSpace) -> usize {
    match space {
        ActionSpace::Discrete { num_actions } => num_actions,
        ActionSpace::Box { width, .. } => width,
    }
}
