//! The steps of one update: temperature, both critics, then the policy against the updated critics with the temperature from before, as
//! Stable-Baselines3.

use std::ops::Range;

use grandmodel_agents::{
    net::{Columns, ColumnsMut},
    space::ActionSpace,
};
use grandmodel_buffers::replay::ReplayBatch;

use super::{
    Half, Room, SacLearner,
    critic::{Critic, Pass, share_blame},
};
use crate::{TrainerError, config::SacConfig, offpolicy, offpolicy::AheadBatch, pair::side_by_side};

impl SacLearner {
    fn is_discrete(&self) -> bool {
        matches!(self.shape.policy().space(), ActionSpace::Discrete { .. })
    }

    /// Fresh noise for both observations.
    pub(super) fn draw_noise(&mut self, batch: usize) {
        let Room { noise, next_noise, .. } = &mut self.room;
        self.shape.policy().draw_noise(batch, &mut self.rng, noise);
        if self.config.use_sde {
            // One exploration matrix an update, as the reference.
            next_noise.clone_from(noise);
        } else {
            self.shape.policy().draw_noise(batch, &mut self.rng, next_noise);
        }
    }

    /// The update from noise that was drawn.
    pub(super) fn step(&mut self, batch: &ReplayBatch, ahead: Option<&AheadBatch<'_>>) -> Result<(), TrainerError> {
        self.follow_policy(batch, ahead);
        self.update.losses.clear();
        let alpha = self.alpha();
        self.step_alpha(batch.batch)?;
        self.targets(batch, ahead, alpha);
        self.step_critics(batch, ahead)?;
        self.step_policy(batch, ahead, alpha)
    }

    /// The policy at both observations.
    fn follow_policy(&mut self, batch: &ReplayBatch, ahead: Option<&AheadBatch<'_>>) {
        let (discrete, stride) = (self.is_discrete(), self.shape.ahead_width());
        let policy = self.shape.policy();
        let parameters = &self.parameters[..policy.num_parameters()];
        let Room { halves, log_prob, next_log_prob, noise, next_noise, stored, following, proposed, .. } = &mut self.room;
        let (all_noise, use_sde): ([&[f32]; 2], bool) = ([noise, next_noise], self.config.use_sde);
        let follow = |rows: Range<usize>, half: &mut Half| {
            let Half { now, next, .. } = half;
            let passes = [
                (&batch.observation, ahead.map(|ahead| ahead.now), all_noise[0], now),
                (&batch.next_observation, ahead.map(|ahead| ahead.next), all_noise[1], next),
            ];
            for (observation, ahead, noise, tape) in passes {
                let observation = of_rows(observation, &rows, batch.batch);
                let columns = ahead.map(|values| Columns { values: of_rows(values, &rows, batch.batch), stride, offset: 0 });
                if discrete {
                    policy.log_probs(parameters, observation, columns, rows.len(), tape);
                } else {
                    // One exploration matrix for all samples, or noise of each one's own.
                    let noise = if use_sde { noise } else { of_rows(noise, &rows, batch.batch) };
                    policy.sample(parameters, observation, columns, rows.len(), noise, tape);
                }
            }
        };
        let [first, second] = split(batch.batch);
        let [one, two] = &mut *halves;
        side_by_side(|| follow(first, one), || follow(second, two));
        let mut action = [Vec::new(), Vec::new()];
        log_prob.clear();
        next_log_prob.clear();
        for half in halves.iter() {
            log_prob.extend_from_slice(&half.now.log_prob);
            next_log_prob.extend_from_slice(&half.next.log_prob);
            action[0].extend_from_slice(&half.now.action);
            action[1].extend_from_slice(&half.next.action);
        }
        // Discrete critics take the observation alone and give a value an action.
        let width = if discrete { 0 } else { batch.action_width };
        for (input, observation, action) in [
            (stored, &batch.observation, &batch.action),
            (following, &batch.next_observation, &action[1]),
            (proposed, &batch.observation, &action[0]),
        ] {
            input.clear();
            for sample in 0..batch.batch {
                input.extend_from_slice(&observation[sample * batch.observation_width..][..batch.observation_width]);
                input.extend_from_slice(&action[sample * width..][..width]);
            }
        }
    }

    /// `-ln alpha (E ln p + target entropy)`, a step where the temperature is learned.
    fn step_alpha(&mut self, batch: usize) -> Result<(), TrainerError> {
        let mean = mean_log_prob(&self.room.log_prob, batch);
        let ln_alpha = self.parameters.len() - 1;
        self.update.losses.extend([("entropy", -mean), ("alpha", f64::from(self.alpha()))]);
        if !self.config.autotune {
            return Ok(());
        }
        let gradient = -(mean + f64::from(self.config.target_entropy(self.shape.policy().space())));
        self.update.losses.push(("alpha_loss", f64::from(self.parameters[ln_alpha]) * gradient));
        let SacConfig { q_lr, adam_eps, .. } = self.now;
        let norm = self.alpha_adam.step(&mut self.parameters[ln_alpha..], &[gradient as f32], q_lr, adam_eps, f32::INFINITY);
        offpolicy::check("the temperature's gradient", norm, self.state.update, &self.alpha_adam)
    }

    /// `reward + discount (min_i Q_i' - alpha ln p)`, an exact expectation over discrete actions.
    fn targets(&mut self, batch: &ReplayBatch, ahead: Option<&AheadBatch<'_>>, alpha: f32) {
        let Room { next_log_prob, following, target, .. } = &mut self.room;
        let pass = |index| Pass { shape: &self.shape, index, batch: batch.batch, ahead: ahead.map(|ahead| ahead.next) };
        let [_, len, _] = self.shape.lens();
        let (first, second) = self.target_parameters.split_at(len);
        let [one, two] = &mut self.critics;
        side_by_side(|| one.look_ahead(&pass(0), first, following), || two.look_ahead(&pass(1), second, following));
        let outputs = self.shape.critic().output;
        let values = one.next_values().chunks_exact(outputs).zip(two.next_values().chunks_exact(outputs));
        let log_probs = next_log_prob.chunks_exact(outputs);
        let alpha = if self.config.backup_entropy { alpha } else { 0.0 };
        target.clear();
        for (sample, ((one, two), log_prob)) in values.zip(log_probs).enumerate() {
            let soft = |i: usize| self.config.of_both(one[i], two[i]) - alpha * log_prob[i];
            let value: f32 = if outputs == 1 { soft(0) } else { (0..outputs).map(|i| log_prob[i].exp() * soft(i)).sum() };
            target.push(batch.reward[sample] * batch.reward_scale + batch.discount[sample] * value);
        }
    }

    fn step_critics(&mut self, batch: &ReplayBatch, ahead: Option<&AheadBatch<'_>>) -> Result<(), TrainerError> {
        let Room { stored, target, .. } = &self.room;
        let pass = |index| Pass { shape: &self.shape, index, batch: batch.batch, ahead: ahead.map(|ahead| ahead.now) };
        let [policy, len, _] = self.shape.lens();
        let (first, second) = self.parameters[policy..policy + 2 * len].split_at_mut(len);
        let [one, two] = &mut self.critics;
        let config = &self.now;
        side_by_side(
            || one.learn(&pass(0), first, stored, target, batch, config),
            || two.learn(&pass(1), second, stored, target, batch, config),
        );
        for critic in [&*one, &*two] {
            offpolicy::check("the critics' loss", critic.loss, self.state.update, &critic.adam)?;
            offpolicy::check("the critics' gradient", critic.grad_norm, self.state.update, &critic.adam)?;
        }
        self.update.priority.clear();
        self.update.priority.extend(one.errors().iter().zip(two.errors()).map(|(a, b)| 0.5 * (a.abs() + b.abs())));
        let mean = |get: fn(&Critic) -> f64| 0.5 * (get(one) + get(two));
        self.update.losses.extend([
            ("qf_loss", mean(|c| c.loss)),
            ("qf_values", mean(|c| c.value)),
            ("qf_grad_norm", mean(|c| c.grad_norm)),
        ]);
        Ok(())
    }

    /// `E (alpha ln p - min_i Q_i)` against the updated critics.
    fn step_policy(&mut self, batch: &ReplayBatch, ahead: Option<&AheadBatch<'_>>, alpha: f32) -> Result<(), TrainerError> {
        let stride = self.shape.ahead_width();
        let Room { halves, log_prob, proposed, d_action, d_log_prob, gradient, .. } = &mut self.room;
        let pass = |index| Pass { shape: &self.shape, index, batch: batch.batch, ahead: ahead.map(|ahead| ahead.now) };
        let [policy_len, len, _] = self.shape.lens();
        let (of_policy, of_critics) = self.parameters.split_at_mut(policy_len);
        let (first, second) = of_critics[..2 * len].split_at(len);
        let [one, two] = &mut self.critics;
        side_by_side(|| one.judge(&pass(0), first, proposed), || two.judge(&pass(1), second, proposed));
        let outputs = self.shape.critic().output;
        let mean = 1.0 / batch.batch as f32;
        let mut loss = 0.0;
        d_log_prob.clear();
        d_action.clear();
        if outputs > 1 {
            for ((one, two), log_prob) in one.values().iter().zip(two.values()).zip(&*log_prob) {
                let (p, hard) = (log_prob.exp(), alpha * log_prob - self.config.of_both(*one, *two));
                loss += f64::from(p * hard);
                d_log_prob.push(p * (hard + alpha) * mean);
            }
        } else {
            let pairs = one.values().iter().zip(two.values());
            loss = pairs.zip(&*log_prob).map(|((one, two), log_prob)| f64::from(alpha * log_prob - one.min(*two))).sum();
            d_log_prob.resize(batch.batch, alpha * mean);
            share_blame(one, two);
            side_by_side(|| one.blame(&pass(0), first), || two.blame(&pass(1), second));
            let (input, width) = (self.shape.critic().input, batch.action_width);
            d_action.resize(batch.batch * width, 0.0);
            for (sample, d_input) in one.blamed(input).chain(two.blamed(input)) {
                d_action[sample * width..][..width].copy_from_slice(&d_input[input - width..]);
            }
        }
        loss *= f64::from(mean);
        offpolicy::check("the policy's loss", loss, self.state.update, &self.policy_adam)?;

        let d_ahead = &mut self.update.d_ahead;
        d_ahead.resize(batch.batch * stride, 0.0);
        one.copy_d_ahead(&pass(0), d_ahead);
        two.copy_d_ahead(&pass(1), d_ahead);
        let policy = self.shape.policy();
        let (of_policy_now, d_action, d_log_prob) = (&*of_policy, &*d_action, &*d_log_prob);
        let back = |rows: Range<usize>, half: &mut Half, d_ahead: &mut [f32]| {
            half.gradient.clear();
            half.gradient.resize(policy_len, 0.0);
            let [observation, d_action, d_log_prob] =
                [&batch.observation, d_action, d_log_prob].map(|values| of_rows(values, &rows, batch.batch));
            let columns = (stride > 0).then_some(ColumnsMut { values: d_ahead, stride, offset: 0 });
            policy.backward(of_policy_now, observation, rows.len(), &mut half.now, d_action, d_log_prob, &mut half.gradient, columns);
        };
        let [rows_1, rows_2] = split(batch.batch);
        let (ahead_1, ahead_2) = d_ahead.split_at_mut(rows_1.len() * stride);
        let [half_1, half_2] = halves;
        side_by_side(|| back(rows_1, half_1, ahead_1), || back(rows_2, half_2, ahead_2));
        gradient.clear();
        gradient.extend(half_1.gradient.iter().zip(&half_2.gradient).map(|(one, two)| one + two));
        let SacConfig { policy_lr, adam_eps, .. } = self.now;
        let norm = self.policy_adam.step_in_two(of_policy, gradient, policy_lr, adam_eps, self.config.max_grad_norm());
        offpolicy::check("the policy's gradient", norm, self.state.update, &self.policy_adam)?;
        self.update.losses.extend([("actor_loss", loss), ("actor_grad_norm", norm)]);
        Ok(())
    }
}

/// The two halves of the samples.
fn split(batch: usize) -> [Range<usize>; 2] {
    [0..batch / 2, batch / 2..batch]
}

/// Rows of a `[batch, width]` matrix.
fn of_rows<'a>(values: &'a [f32], rows: &Range<usize>, batch: usize) -> &'a [f32] {
    let width = values.len() / batch;
    &values[rows.start * width..rows.end * width]
}

/// `E ln p`: a mean over samples, and over discrete actions an exact expectation.
fn mean_log_prob(log_probs: &[f32], batch: usize) -> f64 {
    let exact = log_probs.len() > batch;
    log_probs.iter().map(|l| f64::from(*l) * if exact { f64::from(*l).exp() } else { 1.0 }).sum::<f64>() / batch as f64
}
