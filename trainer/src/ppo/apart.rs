//! The passes of PPO over a rollout where policy and value share nothing: each is a side with its own gradient, and all they tell each other at an optimiser
//! step is their part of the norm and of the loss. With a second thread they walk side by side; the numbers are those of one thread.

use std::sync::atomic::{AtomicU64, Ordering};

use grandmodel_agents::{
    net::{MlpShape, MlpTape},
    space::ActionSpace,
};

use super::{
    LearningSet, LossSums,
    loss::{self, LossRoom, Taken, Weights},
    policy_gradient,
};
use crate::{
    adam::{self, Adam},
    gae, pair,
};

/// No number that anyone tells: NaN is told as another one.
const NOT_YET: u64 = u64::MAX;

/// How the passes go.
pub(crate) struct Passes<'a> {
    /// Samples of every pass, one pass after the other, each shuffled.
    pub orders: &'a [u32],
    /// Samples of a pass, and of an optimiser step.
    pub count: usize,
    pub per_minibatch: usize,
    pub weights: Weights,
    pub norm_adv: bool,
    pub target_kl: Option<f64>,
    pub learning_rate: f64,
    pub adam_eps: f32,
    pub max_grad_norm: f32,
}

/// What the passes did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Walked {
    /// Over all passes, and over the last one.
    pub all: LossSums,
    pub last: LossSums,
    /// Optimiser steps, and the sum of their norms.
    pub steps: u64,
    pub norms: f64,
    /// What was not finite; the step it belongs to was not taken.
    pub diverged: Option<(&'static str, f64)>,
}

/// Room of both sides, reused.
#[derive(Default)]
pub(crate) struct ApartRoom {
    policy: SideRoom,
    value: SideRoom,
    told: Vec<[[AtomicU64; 3]; 2]>,
}

#[derive(Default)]
struct SideRoom {
    tape: MlpTape,
    observation: Vec<f32>,
    action: Vec<f32>,
    log_prob: Vec<f32>,
    /// Advantages of the policy, returns of the value.
    aim: Vec<f32>,
    old: Vec<f32>,
    d_output: Vec<f32>,
    loss: LossRoom,
    gradient: Vec<f32>,
    last: LossSums,
    all: LossSums,
}

/// What a side says of an optimiser step before it is taken.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    loss: f64,
    /// Sum of the squares of its gradient.
    squares: f64,
    approx_kl: f64,
}

/// One side: parameters with their moments, and how their gradient is computed.
struct Side<'a> {
    seat: usize,
    net: &'a MlpShape,
    /// Of the policy.
    space: Option<ActionSpace>,
    /// Ranges of parameters with both moments: the network's, and of a Gaussian policy `log_std`.
    parts: [[&'a mut [f32]; 3]; 2],
    set: LearningSet<'a>,
    room: &'a mut SideRoom,
}

/// Walks over all passes; `parameters` and `adam` are those of the policy, the value and `log_std`, one after the other.
pub(crate) fn walk(
    nets: [&MlpShape; 2],
    space: ActionSpace,
    parameters: &mut [f32],
    adam: &mut Adam,
    set: LearningSet<'_>,
    passes: &Passes<'_>,
    room: &mut ApartRoom,
) -> Walked {
    let ApartRoom { policy, value, told } = room;
    let num_steps = passes.orders.len() / passes.count * (passes.count / passes.per_minibatch);
    told.resize_with(num_steps, Default::default);
    told.iter_mut().flatten().flatten().for_each(|slot| *slot.get_mut() = NOT_YET);
    let Adam { step, first_moment, second_moment } = adam;
    let [p, m, v] = [parameters, first_moment, second_moment].map(|values| {
        let (policy, rest) = values.split_at_mut(nets[0].num_parameters());
        let (value, log_std) = rest.split_at_mut(nets[1].num_parameters());
        [policy, value, log_std]
    });
    let [[p_policy, p_value, p_std], [m_policy, m_value, m_std], [v_policy, v_value, v_std]] = [p, m, v];
    let mut policy = Side {
        seat: 0,
        net: nets[0],
        space: Some(space),
        parts: [[p_policy, m_policy, v_policy], [p_std, m_std, v_std]],
        set,
        room: policy,
    };
    let mut value = Side { seat: 1, net: nets[1], space: None, parts: [[p_value, m_value, v_value], Default::default()], set, room: value };
    let first_step = *step;
    let mut walked = if pair::has_partner() {
        let meeting = Meeting { told };
        rayon::in_place_scope(|scope| {
            scope.spawn(|_| {
                // What it says of the walk is what the other side says, too.
                let _ = steps(&mut [&mut value], passes, first_step, Some(&meeting));
            });
            steps(&mut [&mut policy], passes, first_step, Some(&meeting))
        })
    } else {
        steps(&mut [&mut policy, &mut value], passes, first_step, None)
    };
    for side in [&policy, &value] {
        walked.all.add(&side.room.all);
        walked.last.add(&side.room.last);
    }
    *step += walked.steps;
    walked
}

/// The optimiser steps of some sides; what the others say is heard at the meeting.
fn steps(sides: &mut [&mut Side<'_>], passes: &Passes<'_>, first_step: u64, meeting: Option<&Meeting<'_>>) -> Walked {
    let mut walked = Walked::default();
    let _seats: Vec<Seat<'_>> = sides.iter().filter_map(|side| Some(Seat { meeting: meeting?, seat: side.seat })).collect();
    sides.iter_mut().for_each(|side| side.room.all = LossSums::default());
    let mut at = 0;
    for order in passes.orders.chunks_exact(passes.count) {
        sides.iter_mut().for_each(|side| side.room.last = LossSums::default());
        let mut approx_kl = 0.0;
        for minibatch in order.chunks_exact(passes.per_minibatch) {
            let mut told = [Told::default(); 2];
            for side in sides.iter_mut() {
                told[side.seat] = side.gradient(minibatch, passes);
            }
            if let Some(meeting) = meeting {
                let here = sides[0].seat;
                meeting.tell(at, here, told[here]);
                told[1 - here] = meeting.hear(at, 1 - here);
            }
            let [policy, value] = told;
            let (loss, norm) = (policy.loss + value.loss, (policy.squares + value.squares).sqrt());
            if let Some(found) = [("the loss", loss), ("a gradient", norm)].into_iter().find(|(_, value)| !value.is_finite()) {
                walked.diverged = Some(found);
                return walked;
            }
            walked.steps += 1;
            let step = first_step + walked.steps;
            let factors = adam::factors(step, norm, passes.learning_rate, passes.adam_eps, passes.max_grad_norm);
            sides.iter_mut().for_each(|side| side.descend(factors));
            walked.norms += norm;
            approx_kl += policy.approx_kl + value.approx_kl;
            at += 1;
        }
        sides.iter_mut().for_each(|side| {
            let last = side.room.last;
            side.room.all.add(&last);
        });
        if passes.target_kl.is_some_and(|limit| approx_kl / passes.count as f64 > limit) {
            break;
        }
    }
    walked
}

impl Side<'_> {
    /// Gradient of one effective batch into the room.
    fn gradient(&mut self, minibatch: &[u32], passes: &Passes<'_>) -> Told {
        let Self { net, space, parts: [[parameters, ..], [log_std, ..]], set, room, .. } = self;
        let SideRoom { tape, observation, action, log_prob, aim, old, d_output, loss: loss_room, gradient, last, .. } = &mut **room;
        let batch = minibatch.len();
        let block = set.block;
        gather(&block.observation, usize::from(block.observation_width), minibatch, observation);
        net.forward(parameters, observation, None, batch, tape);
        d_output.resize(batch * net.output, 0.0);
        gradient.clear();
        gradient.resize(parameters.len() + log_std.len(), 0.0);
        let (of_net, of_std) = gradient.split_at_mut(parameters.len());
        let mut sums = LossSums::default();
        if let Some(space) = space {
            gather(&block.action, usize::from(block.action_width), minibatch, action);
            gather(&block.log_prob, 1, minibatch, log_prob);
            gather(set.advantages, 1, minibatch, aim);
            if passes.norm_adv {
                gae::normalize(aim);
            }
            sums.count = batch as f64;
            let taken = Taken { action, log_prob, advantage: aim };
            policy_gradient(*space, tape.output(), log_std, &taken, &passes.weights, d_output, of_std, loss_room, &mut sums);
        } else {
            gather(set.returns, 1, minibatch, aim);
            gather(&block.value, 1, minibatch, old);
            loss::value(tape.output(), old, aim, &passes.weights, d_output, loss_room, &mut sums);
        }
        net.backward(parameters, observation, batch, tape, d_output, Some(of_net), None, None);
        last.add(&sums);
        Told { loss: sums.policy + sums.value + sums.entropy, squares: adam::squares(gradient), approx_kl: sums.approx_kl }
    }

    /// Takes the optimiser step.
    fn descend(&mut self, factors: [f32; 4]) {
        let mut gradient = &self.room.gradient[..];
        for [parameters, first_moment, second_moment] in &mut self.parts {
            let (here, rest) = gradient.split_at(parameters.len());
            adam::descend(parameters, here, first_moment, second_moment, factors);
            gradient = rest;
        }
    }
}

fn gather(values: &[f32], width: usize, indices: &[u32], to: &mut Vec<f32>) {
    to.clear();
    if width == 1 {
        to.extend(indices.iter().map(|i| values[*i as usize]));
    } else {
        indices.iter().for_each(|i| to.extend_from_slice(&values[*i as usize * width..][..width]));
    }
}

/// Where both sides tell what the other waits for; every step has slots of its own.
struct Meeting<'a> {
    told: &'a [[[AtomicU64; 3]; 2]],
}

impl Meeting<'_> {
    fn tell(&self, step: usize, seat: usize, told: Told) {
        let [loss, squares, approx_kl] = &self.told[step][seat];
        loss.store(bits(told.loss), Ordering::Relaxed);
        squares.store(bits(told.squares), Ordering::Relaxed);
        // Last, and seen only after the others.
        approx_kl.store(bits(told.approx_kl), Ordering::Release);
    }

    fn hear(&self, step: usize, seat: usize) -> Told {
        let [loss, squares, approx_kl] = &self.told[step][seat];
        let last = pair::wait_until(|| Some(approx_kl.load(Ordering::Acquire)).filter(|bits| *bits != NOT_YET));
        let read = |slot: &AtomicU64| f64::from_bits(slot.load(Ordering::Relaxed));
        Told { loss: read(loss), squares: read(squares), approx_kl: f64::from_bits(last) }
    }
}

fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

/// A side that panics says so in every slot, so that the other does not wait for it.
struct Seat<'a> {
    meeting: &'a Meeting<'a>,
    seat: usize,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lost = Told { loss: f64::NAN, squares: f64::NAN, approx_kl: f64::NAN };
            (0..self.meeting.told.len()).for_each(|step| self.meeting.tell(step, self.seat, lost));
        }
    }
}
