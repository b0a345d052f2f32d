//! The PPO gradient against Stable-Baselines3, against finite differences and against itself in blocks.

use std::panic::AssertUnwindSafe;

use grandmodel_agents::{
    heads::{ActorCriticConfig, distribution},
    net::Activation,
};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::*;
use crate::{adam::Adam, gae, golden};

const DISCRETE: ActionSpace = ActionSpace::Discrete { num_actions: 3 };
const CONTINUOUS: ActionSpace = ActionSpace::Box { width: 2, low: -1.0, high: 1.0 };

fn head(space: ActionSpace, hidden: usize) -> ActorCriticConfig {
    let hidden = vec![hidden; 2];
    ActorCriticConfig { space, observation_width: 4, ahead: false, shared: false, hidden, activation: Activation::Tanh, lstm: None }
}

/// Three steps on one mini-batch: parameters to 1e-5, gradients to 1e-6.
fn check_against(name: &str, space: ActionSpace) {
    let file = golden::read(name);
    let number = |key: &str| golden::number(&file["settings"][key]);
    // The reference's value loss is the squared error, ours half of it.
    let ppo = PpoConfig {
        ent_coef: number("ent_coef"),
        vf_coef: 2.0 * number("vf_coef"),
        clip_coef: number("clip_range"),
        clip_vloss: false,
        ..PpoConfig::default()
    };
    let (max_norm, rate, eps) = (number("max_grad_norm"), file["settings"]["learning_rate"].as_f64().unwrap(), number("adam_eps"));
    let column = |name: &str| golden::floats(&file["batch"][name]);
    let mut samples = Samples {
        batch: 32,
        observation: column("observation"),
        action: column("action"),
        log_prob: column("log_prob"),
        value: column("value"),
        advantage: column("advantage"),
        returns: column("return"),
        ..Samples::default()
    };
    gae::normalize(&mut samples.advantage);
    let mut scratch = PpoScratch { samples, ..PpoScratch::default() };
    let shape = ActorCritic::new(&head(space, 16));
    let mut parameters = golden::actor_critic(&file["before"]);
    let mut adam = Adam::new(parameters.len());
    for (index, step) in file["steps"].as_array().unwrap().iter().enumerate() {
        let mut gradient = vec![0.0; parameters.len()];
        let sums = head_gradient(&shape, &parameters, None, 32, &ppo, &mut scratch, &mut gradient);
        let losses = [
            ("policy_gradient_loss", sums.policy),
            ("value_loss", 2.0 * sums.value),
            ("entropy_loss", -sums.entropy),
            ("approx_kl", sums.approx_kl),
            ("clip_fraction", sums.clipped),
        ];
        for (loss, sum) in losses {
            let (found, expected) = ((sum / sums.count) as f32, golden::number(&step["loss"][loss]));
            assert!((found - expected).abs() < 1e-5, "{name} step {index}: {loss} {found}, expected {expected}");
        }
        let norm = adam.step(&mut parameters, &gradient, rate, eps, max_norm) as f32;
        let clipped: Vec<f32> = gradient.iter().map(|g| g * (max_norm / (norm + 1e-6)).min(1.0)).collect();
        golden::assert_close(&format!("{name} gradient {index}"), &clipped, &golden::actor_critic(&step["gradient"]), 1e-6);
        golden::assert_close(&format!("{name} step {index}"), &parameters, &golden::actor_critic(&step["after"]), 1e-5);
    }
}

/// The same steps where policy and value walk apart, in one thread and in two.
fn check_apart_against(name: &str, space: ActionSpace) {
    let file = golden::read(name);
    let number = |key: &str| golden::number(&file["settings"][key]);
    let ppo = PpoConfig {
        ent_coef: number("ent_coef"),
        vf_coef: 2.0 * number("vf_coef"),
        clip_coef: number("clip_range"),
        clip_vloss: false,
        ..PpoConfig::default()
    };
    let column = |name: &str| golden::floats(&file["batch"][name]);
    let block = TransitionBlock {
        num_steps: 32,
        num_envs: 1,
        observation_width: 4,
        action_width: space.width() as u16,
        observation: column("observation"),
        action: column("action"),
        log_prob: column("log_prob"),
        value: column("value"),
        ..TransitionBlock::default()
    };
    let (advantages, returns) = (column("advantage"), column("return"));
    let shape = ActorCritic::new(&head(space, 16));
    let steps = file["steps"].as_array().unwrap();
    let orders: Vec<u32> = steps.iter().flat_map(|_| 0..32).collect();
    let passes = apart::Passes {
        orders: &orders,
        count: 32,
        per_minibatch: 32,
        weights: ppo.weights(32),
        norm_adv: true,
        target_kl: None,
        learning_rate: file["settings"]["learning_rate"].as_f64().unwrap(),
        adam_eps: number("adam_eps"),
        max_grad_norm: number("max_grad_norm"),
    };
    let walk_on = |set| {
        let mut parameters = golden::actor_critic(&file["before"]);
        let mut adam = Adam::new(parameters.len());
        let nets = shape.apart().unwrap();
        let walked = apart::walk(nets, space, &mut parameters, &mut adam, set, &passes, &mut apart::ApartRoom::default());
        assert_eq!((steps.len() as u64, None), (walked.steps, walked.diverged));
        (parameters, adam, walked)
    };
    let set = LearningSet { block: &block, advantages: &advantages, returns: &returns };
    let walk = || walk_on(set);
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(walk);
    golden::assert_close(name, &alone.0, &golden::actor_critic(&steps.last().unwrap()["after"]), 1e-5);
    assert_eq!(alone, walk());
    // A side that panics, here for want of advantages or returns, does not leave the other one waiting.
    for set in [LearningSet { advantages: &[], ..set }, LearningSet { returns: &[], ..set }] {
        assert!(std::panic::catch_unwind(AssertUnwindSafe(|| walk_on(set))).is_err());
    }
}

#[test]
fn updates_apart_are_those_of_stable_baselines3_whatever_the_number_of_threads() {
    check_apart_against("ppo_discrete", DISCRETE);
    check_apart_against("ppo_continuous", CONTINUOUS);
}

#[test]
fn updates_over_discrete_actions_are_those_of_stable_baselines3() {
    check_against("ppo_discrete", DISCRETE);
}

#[test]
fn updates_over_continuous_actions_are_those_of_stable_baselines3() {
    check_against("ppo_continuous", CONTINUOUS);
}

fn draw(len: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// A rollout of 5 steps in 4 lanes with two ends, whose old log-probabilities and values stand off the network's by steps that keep every sample away
/// from the kinks of the loss: ratios of e^+-0.1 within the clip of 0.2 and e^+-0.5 outside, values of +-0.05 and +-0.5.
fn rollout(shape: &ActorCritic, parameters: &[f32], ahead: Option<&[f32]>, rng: &mut ChaCha8Rng) -> TransitionBlock {
    let batch = 20;
    let mut block = TransitionBlock {
        num_steps: 5,
        num_envs: 4,
        observation_width: 4,
        action_width: shape.space().width() as u16,
        state_width: shape.state_width() as u16,
        observation: draw(batch * 4, rng),
        flags: (0..batch).map(|i| if i == 5 || i == 10 { flags::TERMINATED } else { 0 }).collect(),
        state: draw(4 * shape.state_width(), rng),
        ..TransitionBlock::default()
    };
    let columns = ahead.map(|values| Columns { values, stride: shape.ahead_width(), offset: 0 });
    // Indices 5 and 10 end, so the same lanes begin one step, four indices, later.
    let starts: Vec<bool> = (0..batch).map(|i| i == 9 || i == 14).collect();
    let mut state = block.state.clone();
    let mut memory = Memory { lanes: 4, starts: &starts, state: &mut state };
    let mut tape = ActorCriticTape::default();
    shape.forward(parameters, &block.observation, columns, batch, &mut memory, &[], &mut tape);
    for (i, row) in tape.policy.chunks_exact_mut(shape.policy_width()).enumerate() {
        let log_prob = match shape.space() {
            ActionSpace::Discrete { num_actions } => {
                distribution::log_softmax(row);
                block.action.push((i % num_actions) as f32);
                row[i % num_actions]
            }
            ActionSpace::Box { .. } => {
                let action: Vec<f32> = row.iter().map(|mean| mean + rng.random_range(-1.0..1.0)).collect();
                block.action.extend_from_slice(&action);
                distribution::gaussian_log_prob(&action, row, shape.log_std(parameters))
            }
        };
        block.log_prob.push(log_prob + [-0.5, -0.1, 0.1, 0.5][i % 4]);
        block.value.push(tape.value[i] + [0.05, -0.5, 0.5][i % 3]);
    }
    block
}

/// Heads of every kind: over discrete and continuous actions, one trunk and two, with a part ahead, with an LSTM.
fn heads() -> [ActorCriticConfig; 6] {
    let (discrete, continuous) = (head(DISCRETE, 8), head(CONTINUOUS, 8));
    [
        ActorCriticConfig { shared: true, ahead: true, ..discrete.clone() },
        ActorCriticConfig { lstm: Some(5), ..discrete.clone() },
        discrete,
        ActorCriticConfig { shared: true, ..continuous.clone() },
        ActorCriticConfig { shared: true, lstm: Some(5), ahead: true, ..continuous.clone() },
        continuous,
    ]
}

/// Sums and gradients, also that of the part ahead, of some lanes or samples of a rollout.
fn gradient_of(
    (shape, parameters, ahead): (&ActorCritic, &[f32], &[f32]),
    set: &LearningSet<'_>,
    (indices, lanes): (&[u32], usize),
    ppo: &PpoConfig,
) -> (LossSums, Vec<f32>, Vec<f32>) {
    let mut scratch = PpoScratch::default();
    scratch.samples.gather(set, indices, set.advantages, lanes);
    let stride = shape.ahead_width();
    let rows = indices.iter().flat_map(|i| &ahead[*i as usize * stride..(*i as usize + 1) * stride]);
    let ahead: Option<Vec<f32>> = (stride > 0).then(|| rows.copied().collect());
    let mut gradient = vec![0.0; parameters.len()];
    let sums = head_gradient(shape, parameters, ahead.as_deref(), 20, ppo, &mut scratch, &mut gradient);
    (sums, gradient, scratch.d_ahead)
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for (config, clip_vloss) in heads().into_iter().flat_map(|head| [(head.clone(), false), (head, true)]) {
        let shape = ActorCritic::new(&config);
        let (parameters, ahead) = (draw(shape.num_parameters(), &mut rng), draw(20 * shape.ahead_width(), &mut rng));
        let block = rollout(&shape, &parameters, config.ahead.then_some(&ahead), &mut rng);
        // Values stand within 0.5 of the old ones and returns at least 1 from them: the clipped and the plain error never tie.
        let returns: Vec<f32> = block.value.iter().enumerate().map(|(i, v)| v + [2.0, -2.0][i % 2]).collect();
        let advantages: Vec<f32> = (0..20).map(|i| [1.0, 0.5, -1.5, -0.5, 2.0][i % 5]).collect();
        let set = LearningSet { block: &block, advantages: &advantages, returns: &returns };
        let ppo = PpoConfig { clip_vloss, ent_coef: 0.05, vf_coef: 0.5, ..PpoConfig::default() };
        let order: Vec<u32> = (0..20).collect();
        let run = |parameters: &[f32], ahead: &[f32]| gradient_of((&shape, parameters, ahead), &set, (&order, 4), &ppo);
        let loss = |parameters: &[f32], ahead: &[f32]| {
            let sums = run(parameters, ahead).0;
            (sums.policy + f64::from(ppo.vf_coef) * sums.value - f64::from(ppo.ent_coef) * sums.entropy) / sums.count
        };
        let (_, gradient, d_ahead) = run(&parameters, &ahead);
        let check = |what: &str, at: &[f32], gradient: &[f32], f: &dyn Fn(&[f32]) -> f64| {
            for (index, found) in gradient.iter().enumerate() {
                let moved = |by: f32| f(&at.iter().enumerate().map(|(i, x)| if i == index { x + by } else { *x }).collect::<Vec<f32>>());
                let (found, expected) = (f64::from(*found), (moved(2e-3) - moved(-2e-3)) / 4e-3);
                assert!(
                    (found - expected).abs() < 5e-4 * (1.0 + expected.abs()),
                    "{config:?}: {what} {index}: {found}, by differences {expected}"
                );
            }
        };
        check("parameter", &parameters, &gradient, &|parameters| loss(parameters, &ahead));
        check("ahead", &ahead, &d_ahead, &|ahead| loss(&parameters, ahead));
    }
}

#[test]
fn blocks_add_up_to_the_whole() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    for config in heads() {
        let shape = ActorCritic::new(&config);
        let (parameters, ahead) = (draw(shape.num_parameters(), &mut rng), draw(20 * shape.ahead_width(), &mut rng));
        let block = rollout(&shape, &parameters, config.ahead.then_some(&ahead), &mut rng);
        let (advantages, returns) = (draw(20, &mut rng), draw(20, &mut rng));
        let set = LearningSet { block: &block, advantages: &advantages, returns: &returns };
        // Whole lanes, as an LSTM needs them: 2 and 0, then 1 and 3.
        let lanes = |lanes: [u32; 2]| (0..5).flat_map(move |t| lanes.map(|lane| 4 * t + lane)).collect::<Vec<u32>>();
        let order: Vec<u32> = (0..20).collect();
        let run = |indices: &[u32], lanes| gradient_of((&shape, &parameters, &ahead), &set, (indices, lanes), &PpoConfig::default());
        let (sums, whole, _) = run(&order, 4);
        let ((mut first, mut gradient, _), (second, other, _)) = (run(&lanes([2, 0]), 2), run(&lanes([1, 3]), 2));
        first.add(&second);
        gradient.iter_mut().zip(other).for_each(|(sum, part)| *sum += part);
        golden::assert_close("gradient", &gradient, &whole, 1e-5);
        assert!((sums.policy - first.policy).abs() < 1e-5 && (sums.value - first.value).abs() < 1e-4, "{sums:?}, in parts {first:?}");
        assert_eq!((sums.count, sums.clipped), (first.count, first.clipped));
    }
}
