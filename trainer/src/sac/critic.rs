//! One of the two critics: its optimiser and the arrays of its passes. The two never meet here, so they may run side by side.

use grandmodel_agents::net::{Columns, ColumnsMut, MlpTape};
use grandmodel_buffers::replay::ReplayBatch;

use super::SacShape;
use crate::{adam::Adam, config::SacConfig};

/// Optimiser and arrays; parameters are the learner's.
pub(super) struct Critic {
    pub adam: Adam,
    /// Half the weighted mean squared error of the last step.
    pub loss: f64,
    /// Mean value of the stored actions.
    pub value: f64,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
    tape: MlpTape,
    next: MlpTape,
    errors: Vec<f32>,
    d_output: Vec<f32>,
    d_input: Vec<f32>,
    /// Samples where this critic is the lower one.
    lower: Vec<u32>,
    d_ahead: Vec<f32>,
    gradient: Vec<f32>,
}

/// What a pass is about.
pub(super) struct Pass<'a> {
    pub shape: &'a SacShape,
    /// First critic or second.
    pub index: usize,
    pub batch: usize,
    /// `[batch, ahead_width]`.
    pub ahead: Option<&'a [f32]>,
}

impl<'a> Pass<'a> {
    fn columns(&self) -> Option<Columns<'a>> {
        let (stride, offset) = (self.shape.ahead_width(), self.shape.ahead_offset(self.index));
        self.ahead.map(|values| Columns { values, stride, offset })
    }
}

impl Critic {
    pub fn new(num_parameters: usize) -> Self {
        Self {
            adam: Adam::new(num_parameters),
            loss: 0.0,
            value: 0.0,
            grad_norm: 0.0,
            tape: MlpTape::default(),
            next: MlpTape::default(),
            errors: Vec::new(),
            d_output: Vec::new(),
            d_input: Vec::new(),
            lower: Vec::new(),
            d_ahead: Vec::new(),
            gradient: Vec::new(),
        }
    }

    /// The target network's values of what follows, in [`Critic::next_values`].
    pub fn look_ahead(&mut self, pass: &Pass<'_>, target_parameters: &[f32], input: &[f32]) {
        pass.shape.critic().forward(target_parameters, input, pass.columns(), pass.batch, &mut self.next);
    }

    /// One step on `mean w (Q - target)^2 / 2`; a loss that is not finite changes nothing.
    pub fn learn(
        &mut self,
        pass: &Pass<'_>,
        parameters: &mut [f32],
        input: &[f32],
        target: &[f32],
        batch: &ReplayBatch,
        config: &SacConfig,
    ) {
        let net = pass.shape.critic();
        net.forward(parameters, input, pass.columns(), pass.batch, &mut self.tape);
        let mean = 1.0 / pass.batch as f32;
        self.errors.clear();
        self.d_output.clear();
        self.d_output.resize(pass.batch * net.output, 0.0);
        (self.loss, self.value) = (0.0, 0.0);
        for (sample, target) in target.iter().enumerate() {
            let action = if net.output > 1 { batch.action[sample] as usize } else { 0 };
            let at = sample * net.output + action;
            let value = self.tape.output()[at];
            let error = value - target;
            self.loss += 0.5 * f64::from(batch.weight[sample] * error * error);
            self.value += f64::from(value);
            self.d_output[at] = batch.weight[sample] * error * mean;
            self.errors.push(error);
        }
        self.loss *= f64::from(mean);
        self.value *= f64::from(mean);
        if !self.loss.is_finite() {
            return;
        }
        self.gradient.clear();
        self.gradient.resize(parameters.len(), 0.0);
        let width = if pass.shape.ahead_width() > 0 { net.first_width() } else { 0 };
        self.d_ahead.resize(pass.batch * width, 0.0);
        let d_ahead = (width > 0).then_some(ColumnsMut { values: &mut self.d_ahead, stride: width, offset: 0 });
        net.backward(parameters, input, pass.batch, &mut self.tape, &self.d_output, Some(&mut self.gradient), None, d_ahead);
        self.grad_norm = self.adam.step(parameters, &self.gradient, config.q_lr, config.adam_eps, config.max_grad_norm());
    }

    /// Values of actions that the policy proposes, in [`Critic::values`].
    pub fn judge(&mut self, pass: &Pass<'_>, parameters: &[f32], input: &[f32]) {
        pass.shape.critic().forward(parameters, input, pass.columns(), pass.batch, &mut self.tape);
    }

    /// Gradient of `-mean Q` by the action, of the samples where this critic is the lower one, in [`Critic::blamed`].
    pub fn blame(&mut self, pass: &Pass<'_>, parameters: &[f32]) {
        let net = pass.shape.critic();
        let blamed = self.lower.len();
        self.tape.keep_rows(pass.batch, &self.lower);
        self.d_output.clear();
        self.d_output.resize(blamed, -1.0 / pass.batch as f32);
        self.d_input.resize(blamed * net.input, 0.0);
        net.backward(parameters, &[], blamed, &mut self.tape, &self.d_output, None, Some(&mut self.d_input), None);
    }

    /// Samples, and the gradient by each one's input.
    pub fn blamed(&self, input: usize) -> impl Iterator<Item = (usize, &[f32])> {
        self.lower.iter().map(|sample| *sample as usize).zip(self.d_input.chunks_exact(input))
    }

    /// Puts the gradient of this critic's loss into its columns.
    pub fn copy_d_ahead(&self, pass: &Pass<'_>, d_ahead: &mut [f32]) {
        let (stride, offset) = (pass.shape.ahead_width(), pass.shape.ahead_offset(pass.index));
        if stride > 0 {
            let width = self.d_ahead.len() / pass.batch;
            let rows = d_ahead.chunks_exact_mut(stride).zip(self.d_ahead.chunks_exact(width));
            rows.for_each(|(row, d)| row[offset..offset + width].copy_from_slice(d));
        }
    }

    pub fn values(&self) -> &[f32] {
        self.tape.output()
    }

    pub fn next_values(&self) -> &[f32] {
        self.next.output()
    }

    pub fn errors(&self) -> &[f32] {
        &self.errors
    }
}

/// The gradient of `-mean min(Q_1, Q_2)` of a sample goes to the critic that is lower there, so each answers for its own samples only.
pub(super) fn share_blame(one: &mut Critic, two: &mut Critic) {
    one.lower.clear();
    two.lower.clear();
    for (sample, (a, b)) in one.tape.output().iter().zip(two.tape.output()).enumerate() {
        if a <= b { &mut one.lower } else { &mut two.lower }.push(sample as u32);
    }
}
