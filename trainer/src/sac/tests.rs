//! SAC against Stable-Baselines3's numbers and finite differences.

use grandmodel_agents::{
    heads::{Acted, Mode, Seen, SquashedPolicyConfig},
    net::{Activation, Columns},
    space::ActionSpace,
};
use rand_chacha::rand_core::Rng;

use super::*;

mod golden;

fn draw(len: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..len).map(|_| rng.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0).collect()
}

fn batch(len: usize, space: ActionSpace, rng: &mut ChaCha8Rng) -> ReplayBatch {
    ReplayBatch {
        batch: len,
        observation_width: 3,
        action_width: space.width(),
        observation: draw(len * 3, rng),
        action: match space {
            ActionSpace::Discrete { num_actions } => (0..len).map(|_| (rng.next_u32() as usize % num_actions) as f32).collect(),
            ActionSpace::Box { width, .. } => draw(len * width, rng),
        },
        reward: draw(len, rng),
        discount: (0..len).map(|i| if i % 3 == 0 { 0.0 } else { 0.9 }).collect(),
        next_observation: draw(len * 3, rng),
        weight: (0..len).map(|i| 1.0 / (1 + i % 2) as f32).collect(),
        reward_scale: 2.0,
        ..ReplayBatch::default()
    }
}

const HIDDEN: usize = 6;
const WIDTH: usize = 3 * HIDDEN;
const DISCRETE: ActionSpace = ActionSpace::Discrete { num_actions: 4 };
const BOX: ActionSpace = ActionSpace::Box { width: 2, low: -1.0, high: 1.0 };

fn learner(space: ActionSpace, use_sde: bool, ahead: bool) -> SacLearner {
    let config = SacConfig { use_sde, log_std_init: -0.5, alpha: 0.3, ..SacConfig::default() };
    let shape = config.shape(3, ahead, &[HIDDEN], Activation::Tanh, space);
    let mut learner = SacLearner::new(config, shape, 5);
    // Targets of their own, so that a mix-up shows.
    let other = learner.shape.init(1.0, &mut ChaCha8Rng::seed_from_u64(6));
    let [policy, q1, q2] = learner.shape.lens();
    learner.target_parameters = other[policy..policy + q1 + q2].to_vec();
    learner
}

fn learner_like(other: &SacLearner) -> SacLearner {
    let mut learner = SacLearner::new(other.config.clone(), other.shape.clone(), 0);
    learner.restore(other.snapshot()).unwrap();
    learner
}

/// Arrays that the formulas below need, as the learner had them before its update.
struct Frozen<'a> {
    learner: SacLearner,
    batch: &'a ReplayBatch,
    ahead: AheadBatch<'a>,
    noise: Vec<f32>,
    next_noise: Vec<f32>,
}

impl Frozen<'_> {
    /// Actions and log-probabilities of a policy.
    fn policy(&self, parameters: &[f32], observation: &[f32], ahead: &[f32], noise: &[f32]) -> SquashedTape {
        let (policy, mut tape) = (self.learner.shape.policy(), SquashedTape::default());
        let columns = Some(Columns { values: ahead, stride: WIDTH, offset: 0 });
        match policy.space() {
            ActionSpace::Discrete { .. } => policy.log_probs(parameters, observation, columns, self.batch.batch, &mut tape),
            ActionSpace::Box { .. } => policy.sample(parameters, observation, columns, self.batch.batch, noise, &mut tape),
        }
        tape
    }

    /// Values of one critic; `action` is empty for discrete ones.
    fn critic(&self, index: usize, parameters: &[f32], observation: &[f32], action: &[f32], ahead: &[f32]) -> Vec<f64> {
        let (net, mut tape) = (self.learner.shape.critic(), grandmodel_agents::net::MlpTape::default());
        let width = action.len() / self.batch.batch;
        let rows = (0..self.batch.batch).flat_map(|i| [&observation[i * 3..(i + 1) * 3], &action[i * width..(i + 1) * width]].concat());
        let columns = Some(Columns { values: ahead, stride: WIDTH, offset: HIDDEN * (1 + index) });
        net.forward(parameters, &rows.collect::<Vec<f32>>(), columns, self.batch.batch, &mut tape);
        tape.output().iter().map(|q| f64::from(*q)).collect()
    }

    /// `w (Q - y)^2 / 2`, the mean over samples.
    fn critic_loss(&self, index: usize, parameters: &[f32], ahead_now: &[f32]) -> f64 {
        let (this, batch) = (&self.learner, self.batch);
        let [policy, len, _] = this.shape.lens();
        let next = self.policy(&this.parameters[..policy], &batch.next_observation, self.ahead.next, &self.next_noise);
        let target = |i: usize| {
            let parameters = &this.target_parameters[i * len..(i + 1) * len];
            self.critic(i, parameters, &batch.next_observation, &next.action, self.ahead.next)
        };
        let (one, two) = (target(0), target(1));
        let stored = if one.len() > batch.batch { &[][..] } else { &batch.action[..] };
        let values = self.critic(index, parameters, &batch.observation, stored, ahead_now);
        let outputs = values.len() / batch.batch;
        let alpha = if this.config.backup_entropy { 0.3 } else { 0.0 };
        let both = |one: f64, two: f64| if this.config.clipped_double { one.min(two) } else { (one + two) / 2.0 };
        let mut loss = 0.0;
        for i in 0..batch.batch {
            let soft = |a: usize| both(one[i * outputs + a], two[i * outputs + a]) - alpha * f64::from(next.log_prob[i * outputs + a]);
            let exact = (0..outputs).map(|a| f64::from(next.log_prob[i * outputs + a]).exp() * soft(a)).sum();
            let value: f64 = if outputs > 1 { exact } else { soft(0) };
            let y = f64::from(batch.reward[i] * 2.0) + f64::from(batch.discount[i]) * value;
            let action = if outputs > 1 { batch.action[i] as usize } else { 0 };
            loss += 0.5 * f64::from(batch.weight[i]) * (values[i * outputs + action] - y).powi(2) / batch.batch as f64;
        }
        loss
    }

    /// `alpha ln p - min Q` under given critics, the mean over samples.
    fn policy_loss(&self, critics: &[f32], parameters: &[f32], ahead_now: &[f32]) -> f64 {
        let (len, batch) = (critics.len() / 2, self.batch);
        let now = self.policy(parameters, &batch.observation, ahead_now, &self.noise);
        // Constants to this loss: their part ahead is not the one that is moved.
        let value = |i: usize| self.critic(i, &critics[i * len..(i + 1) * len], &batch.observation, &now.action, self.ahead.now);
        let both = |one: f64, two: f64| if self.learner.config.clipped_double { one.min(two) } else { (one + two) / 2.0 };
        let pairs = value(0).into_iter().zip(value(1)).zip(&now.log_prob);
        let terms = pairs.map(|((one, two), log_prob)| (f64::from(*log_prob), 0.3 * f64::from(*log_prob) - both(one, two)));
        let exact = now.log_prob.len() > batch.batch;
        terms.map(|(log_prob, term)| if exact { log_prob.exp() * term } else { term }).sum::<f64>() / batch.batch as f64
    }
}

/// Central differences of `f` around `at` against `found`.
fn check(what: &str, at: &[f32], found: &[f32], f: impl Fn(&[f32]) -> f64) {
    for (index, found) in found.iter().enumerate() {
        let moved = |by: f32| {
            let mut at = at.to_vec();
            at[index] += by;
            f(&at)
        };
        let expected = (moved(3e-3) - moved(-3e-3)) / 6e-3;
        assert!((f64::from(*found) - expected).abs() < 1.5e-3, "{what} {index}: {found}, {expected}");
    }
}

#[test]
fn gradients_are_those_of_the_formulas_and_the_part_ahead_is_shared_out() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let cases = [
        (DISCRETE, false, true, true),
        (DISCRETE, false, false, false),
        (BOX, false, true, true),
        (BOX, true, true, true),
        (BOX, false, false, true),
    ];
    for (space, use_sde, backup_entropy, clipped_double) in cases {
        let mut learner = learner(space, use_sde, true);
        (learner.config.backup_entropy, learner.config.clipped_double) = (backup_entropy, clipped_double);
        let (batch, ahead) = (batch(7, space, &mut rng), draw(3 * 7 * WIDTH, &mut rng));
        let [now, next] = [0, 1].map(|i| &ahead[i * 7 * WIDTH..(i + 1) * 7 * WIDTH]);
        let ahead = AheadBatch { now, next };
        let before = learner_like(&learner);
        let [policy, len, _] = learner.shape.lens();
        let update = learner.update(&batch, Some(&ahead), 0).unwrap().clone();
        let (noise, next_noise) = (learner.room.noise.clone(), learner.room.next_noise.clone());
        let frozen = Frozen { learner: before, batch: &batch, ahead, noise, next_noise };
        let first = frozen.learner.parameters.clone();
        // Adam's first moment after one step is a tenth of the gradient.
        let gradient = |adam: &Adam| adam.first_moment.iter().map(|m| m * 10.0).collect::<Vec<f32>>();
        for (index, critic) in learner.critics.iter().enumerate() {
            let range = policy + index * len..policy + (index + 1) * len;
            check("critic", &first[range.clone()], &gradient(&critic.adam), |p| frozen.critic_loss(index, p, now));
        }
        let critics = &learner.parameters[policy..policy + 2 * len];
        check("policy", &first[..policy], &gradient(&learner.policy_adam), |p| frozen.policy_loss(critics, p, now));
        check("ahead", now, &update.d_ahead, |moved| {
            let of_critic = |i: usize| frozen.critic_loss(i, &first[policy + i * len..policy + (i + 1) * len], moved);
            frozen.policy_loss(critics, &first[..policy], moved) + of_critic(0) + of_critic(1)
        });
    }
}

#[test]
fn a_restored_learner_goes_on_bit_by_bit_whatever_the_number_of_threads() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for (space, use_sde) in [(DISCRETE, false), (BOX, false), (BOX, true)] {
        let batches: Vec<ReplayBatch> = (0..12).map(|_| batch(8, space, &mut rng)).collect();
        let mut whole = learner(space, use_sde, false);
        let mut part = learner_like(&whole);
        let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        for (step, batch) in batches.iter().enumerate() {
            if step == 6 {
                part = learner_like(&part);
            }
            let expected = whole.update(batch, None, 0).unwrap();
            assert_eq!(expected, single.install(|| part.update(batch, None, 0)).unwrap());
        }
        assert_eq!(whole.snapshot(), part.snapshot());
    }
    let error = learner(BOX, false, false).restore(learner(BOX, true, false).snapshot()).unwrap_err().to_string();
    assert!(error.contains("as in the checkpoint"), "{error}");
}

#[test]
fn a_loss_that_is_not_finite_changes_no_network() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut learner = learner(BOX, false, false);
    let mut bad = batch(8, BOX, &mut rng);
    bad.reward[3] = f32::INFINITY;
    let networks = learner.shape.num_parameters() - 1;
    let before = (learner.parameters[..networks].to_vec(), learner.target_parameters.clone());
    let error = learner.update(&bad, None, 1).unwrap_err().to_string();
    assert!(error.contains("the critics' loss was inf"), "{error}");
    assert_eq!(before, (learner.parameters[..networks].to_vec(), learner.target_parameters.clone()));
}

#[test]
fn the_temperature_falls_where_entropy_is_above_its_aim_and_stays_where_it_is_fixed() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let batch = batch(64, DISCRETE, &mut rng);
    // A fresh policy over 4 actions is nearly uniform, entropy about ln 4.
    for (autotune, scale, direction) in [(true, 0.1, -1.0), (true, 1.0, 1.0), (false, 0.1, 0.0)] {
        let mut learner = learner(DISCRETE, false, false);
        (learner.config.autotune, learner.config.target_entropy_scale) = (autotune, scale);
        let before = learner.alpha();
        let update = learner.update(&batch, None, 0).unwrap().clone();
        assert!(update.losses.iter().any(|(name, value)| *name == "entropy" && (0.9..1.387).contains(value)), "{update:?}");
        let moved = learner.alpha() - before;
        assert_eq!(direction, if moved == 0.0 { 0.0 } else { moved.signum() }, "{moved}");
    }
}

#[test]
fn shapes_name_every_parameter() {
    for (space, use_sde) in [(DISCRETE, false), (BOX, false), (BOX, true)] {
        let learner = learner(space, use_sde, true);
        let named: usize = learner.arrays().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!((named, WIDTH), (learner.parameters().len(), learner.ahead_width()));
        assert_eq!(learner.shape.num_parameters(), named);
    }
    let config = SquashedPolicyConfig {
        space: BOX,
        observation_width: 3,
        ahead: false,
        hidden: vec![HIDDEN],
        activation: Activation::Tanh,
        state_dependent: None,
    };
    assert_eq!(0, SacShape::new(&config).ahead_width());
}

#[test]
fn the_policy_finds_the_best_action_of_each_state() {
    // One step each. Continuous: reward -4 (a - o / 2)^2 is best at a = o / 2. Discrete: reward 1 for action 1 where o > 0 and for action 0 elsewhere.
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let continuous = ActionSpace::Box { width: 1, low: -1.0, high: 1.0 };
    for (space, use_sde) in [(ActionSpace::Discrete { num_actions: 2 }, false), (continuous, false), (continuous, true)] {
        let config = SacConfig { policy_lr: 3e-3, q_lr: 3e-3, alpha: 0.1, target_entropy_scale: 0.2, use_sde, ..SacConfig::default() };
        let shape = config.shape(1, false, &[32], Activation::Relu, space);
        let mut learner = SacLearner::new(config, shape, 1);
        for _ in 0..1000 {
            let mut batch = ReplayBatch { batch: 64, observation_width: 1, action_width: 1, reward_scale: 1.0, ..ReplayBatch::default() };
            for _ in 0..64 {
                let observation = draw(1, &mut rng)[0];
                let (action, reward) = if space == continuous {
                    let action = draw(1, &mut rng)[0];
                    (action, -4.0 * (action - observation / 2.0).powi(2))
                } else {
                    let action = (rng.next_u32() % 2) as f32;
                    (action, if (action > 0.5) == (observation > 0.0) { 1.0 } else { 0.0 })
                };
                batch.observation.push(observation);
                batch.action.push(action);
                batch.reward.push(reward);
            }
            batch.next_observation.resize(64, 0.0);
            batch.discount.resize(64, 0.0);
            batch.weight.resize(64, 1.0);
            learner.update(&batch, None, 0).unwrap();
        }
        let (mut tape, mut out) = (SquashedTape::default(), Acted::default());
        let seen = Seen { lanes: 4, observation: &[-0.9, -0.3, 0.3, 0.9], ahead: None };
        learner.shape.policy().act(learner.acting_parameters(), &seen, Mode::Greedy, &mut rng, &mut tape, &mut out);
        let expected = if space == continuous { [-0.45, -0.15, 0.15, 0.45] } else { [0.0, 0.0, 1.0, 1.0] };
        crate::golden::assert_close("actions", &out.action, &expected, 0.1);
    }
}
