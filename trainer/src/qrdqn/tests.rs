//! QR-DQN against Stable-Baselines3's numbers and finite differences.

use grandmodel_agents::net::Activation;
use rand_chacha::rand_core::Rng;

use super::*;
use crate::golden;

/// Three steps on one batch: parameters to 1e-5, the first gradient to 1e-6.
fn check_against(name: &str, network: &str, num_quantiles: usize) {
    let file = golden::read(name);
    let (settings, number) = (&file["settings"], |key: &str| golden::number(&file["settings"][key]));
    let config = QrdqnConfig {
        learning_rate: settings["learning_rate"].as_f64().unwrap(),
        gamma: number("gamma"),
        num_quantiles: num_quantiles as u32,
        double: false,
        dueling: false,
        max_grad_norm: settings["max_grad_norm"].as_f64().map(|norm| norm as f32),
        adam_eps: number("adam_eps"),
        ..QrdqnConfig::default()
    };
    // The file has quantiles of the same order side by side, we those of the same action: place a n + q is unit q 3 + a.
    let parameters = |network_of: &serde_json::Value| {
        let [first, second, last] = [0, 2, 4].map(|layer| format!("{network}.{layer}"));
        let last = golden::linear_by(network_of, &[&last], |place| place % num_quantiles * 3 + place / num_quantiles);
        [golden::linear(network_of, &[&first]), golden::linear(network_of, &[&second]), last].concat()
    };
    let batch = golden::replay_batch(&file["batch"], [4, 1], config.gamma);
    let head = config.head(4, false, &[16, 16], Activation::Relu, 3);
    let mut learner = QrdqnLearner::new(config, head, 0);
    learner.parameters = parameters(&file["before"]);
    learner.target_parameters = parameters(&file["target"]);
    for (index, step) in file["steps"].as_array().unwrap().iter().enumerate() {
        let loss = learner.update(&batch, None, 0).unwrap().losses[0].1;
        assert!((loss as f32 - golden::number(&step["loss"]["loss"])).abs() < 1e-5, "{name} step {index}: loss {loss}");
        golden::assert_close(&format!("{name} step {index}"), &learner.parameters, &parameters(&step["after"]), 1e-5);
        if index == 0 {
            // Adam's first moment after one step is a tenth of the gradient.
            let gradient: Vec<f32> = learner.adam.first_moment.iter().map(|m| m * 10.0).collect();
            golden::assert_close(&format!("{name} gradient"), &gradient, &parameters(&step["gradient"]), 1e-6);
        }
    }
}

#[test]
fn one_quantile_without_extras_is_the_dqn_of_stable_baselines3() {
    check_against("dqn", "q_net", 1);
}

#[test]
fn quantiles_are_those_of_sb3_contrib() {
    check_against("qrdqn", "quantile_net", 5);
}

fn draw(len: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..len).map(|_| rng.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0).collect()
}

fn batch(len: usize, width: usize, num_actions: usize, rng: &mut ChaCha8Rng) -> ReplayBatch {
    ReplayBatch {
        batch: len,
        observation_width: width,
        action_width: 1,
        observation: draw(len * width, rng),
        action: (0..len).map(|_| (rng.next_u32() as usize % num_actions) as f32).collect(),
        reward: draw(len, rng),
        discount: (0..len).map(|i| if i % 3 == 0 { 0.0 } else { 0.9 }).collect(),
        next_observation: draw(len * width, rng),
        weight: (0..len).map(|i| 1.0 / (1 + i % 2) as f32).collect(),
        reward_scale: 2.0,
        ..ReplayBatch::default()
    }
}

fn learner(config: QrdqnConfig, ahead: bool) -> QrdqnLearner {
    let head = config.head(3, ahead, &[7], Activation::Tanh, 4);
    let mut learner = QrdqnLearner::new(config, head, 5);
    // Targets of their own, so that double and plain targets differ.
    learner.target_parameters = learner.head.init(&mut ChaCha8Rng::seed_from_u64(6));
    learner
}

/// The loss by the formula, from outputs of the networks.
fn slow_loss(learner: &QrdqnLearner, parameters: &[f32], batch: &ReplayBatch, ahead: &AheadBatch<'_>) -> f64 {
    let (head, n, a) = (&learner.head, learner.head.num_quantiles(), learner.head.num_actions());
    let run = |parameters: &[f32], observation: &[f32], ahead| {
        let mut tape = QuantileTape::default();
        head.forward(parameters, observation, Some(Columns { values: ahead, stride: 7, offset: 0 }), batch.batch, &mut tape);
        tape.quantiles.iter().map(|q| f64::from(*q)).collect::<Vec<f64>>()
    };
    let now = run(parameters, &batch.observation, ahead.now);
    let next = run(&learner.parameters, &batch.next_observation, ahead.next);
    let next_target = run(&learner.target_parameters, &batch.next_observation, ahead.next);
    let mean = |q: &[f64], sample: usize, action: usize| q[(sample * a + action) * n..][..n].iter().sum::<f64>();
    let mut loss = 0.0;
    for sample in 0..batch.batch {
        let chooser = if learner.config.double { &next } else { &next_target };
        let best = (0..a).max_by(|x, y| mean(chooser, sample, *x).total_cmp(&mean(chooser, sample, *y))).unwrap();
        for i in 0..n {
            let tau = (i as f64 + 0.5) / n as f64;
            for j in 0..n {
                let bootstrap = f64::from(batch.discount[sample]) * next_target[(sample * a + best) * n + j];
                let target = f64::from(batch.reward[sample] * batch.reward_scale) + bootstrap;
                let u = target - now[(sample * a + batch.action[sample] as usize) * n + i];
                let huber = if u.abs() <= 1.0 { 0.5 * u * u } else { u.abs() - 0.5 };
                let weight = if n == 1 { 1.0 } else { (tau - f64::from(u8::from(u < 0.0))).abs() };
                loss += f64::from(batch.weight[sample]) * weight * huber / (n * batch.batch) as f64;
            }
        }
    }
    loss
}

#[test]
fn the_gradient_is_that_of_the_formula() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for (num_quantiles, double, dueling) in [(1, false, false), (1, true, true), (5, false, true), (5, true, false)] {
        let config = QrdqnConfig { num_quantiles, double, dueling, max_grad_norm: None, ..QrdqnConfig::default() };
        let mut learner = learner(config, true);
        let (batch, ahead) = (batch(6, 3, 4, &mut rng), draw(3 * 6 * 7, &mut rng));
        let [now, next] = [0, 1].map(|i| &ahead[i * 42..(i + 1) * 42]);
        let ahead = AheadBatch { now, next };
        let before = learner.parameters.clone();
        let frozen = learner_like(&learner);
        let update = learner.update(&batch, Some(&ahead), 1).unwrap().clone();
        assert!((slow_loss(&frozen, &before, &batch, &ahead) - update.losses[0].1).abs() < 1e-5);
        let numeric = |f: &dyn Fn(f32) -> f64| (f(3e-3) - f(-3e-3)) / 6e-3;
        for index in 0..before.len() {
            let expected = numeric(&|by| {
                let mut moved = before.clone();
                moved[index] += by;
                slow_loss(&frozen, &moved, &batch, &ahead)
            });
            // Adam's first moment after one step is a tenth of the gradient.
            let found = f64::from(learner.adam.first_moment[index]) * 10.0;
            assert!((found - expected).abs() < 1e-3, "{num_quantiles} {double} {dueling} parameter {index}: {found}, {expected}");
        }
        for index in 0..now.len() {
            let expected = numeric(&|by| {
                let mut moved = now.to_vec();
                moved[index] += by;
                slow_loss(&frozen, &before, &batch, &AheadBatch { now: &moved, ..ahead })
            });
            assert!((f64::from(update.d_ahead[index]) - expected).abs() < 1e-3, "ahead {index}: {}, {expected}", update.d_ahead[index]);
        }
    }
}

fn learner_like(other: &QrdqnLearner) -> QrdqnLearner {
    let mut learner = QrdqnLearner::new(other.config.clone(), other.head.clone(), 0);
    learner.restore(other.snapshot()).unwrap();
    learner
}

#[test]
fn a_restored_learner_goes_on_bit_by_bit() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let batches: Vec<ReplayBatch> = (0..20).map(|_| batch(8, 3, 4, &mut rng)).collect();
    let config = QrdqnConfig { target_network_frequency: 6, ..QrdqnConfig::default() };
    let mut whole = learner(config, false);
    let mut part = learner_like(&whole);
    for (step, batch) in batches.iter().enumerate() {
        if step == 10 {
            part = learner_like(&part);
        }
        let expected = whole.update(batch, None, step as u64).unwrap().clone();
        assert_eq!(&expected, part.update(batch, None, step as u64).unwrap());
        // Steps 6, 12 and 18 begin a period; the target is then a copy.
        assert_eq!(step > 0 && step % 6 == 0, whole.parameters == whole.target_parameters, "step {step}");
    }
    assert_eq!(whole.snapshot(), part.snapshot());
    let other = QrdqnLearner::new(whole.config.clone(), whole.config.head(2, false, &[7], Activation::Tanh, 4), 0);
    assert!(whole.restore(other.snapshot()).unwrap_err().to_string().contains("as in the checkpoint"));
}

#[test]
fn a_loss_that_is_not_finite_changes_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut learner = learner(QrdqnConfig::default(), false);
    let mut bad = batch(8, 3, 4, &mut rng);
    bad.reward[3] = f32::NAN;
    let before = learner.snapshot();
    let error = learner.update(&bad, None, 1).unwrap_err().to_string();
    assert!(error.contains("temporal-difference loss was NaN"), "{error}");
    assert_eq!(before, learner.snapshot());
}

#[test]
fn a_chain_of_two_steps_gets_its_known_values() {
    // From observation 0 action 0 leads to -1 and action 1 to 1, reward 0; there action 1 pays the observation, action 0 nothing, and it ends. With gamma
    // 0.9: q(1) = [0, 1], q(-1) = [0, -1], q(0) = 0.9 [max q(-1), max q(1)] = [0, 0.9].
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for (num_quantiles, double, dueling) in [(1, false, false), (5, true, true)] {
        let config =
            QrdqnConfig { learning_rate: 3e-3, num_quantiles, double, dueling, target_network_frequency: 20, ..QrdqnConfig::default() };
        let head = config.head(1, false, &[32], Activation::Tanh, 2);
        let mut learner = QrdqnLearner::new(config, head, 1);
        for step in 0..600 {
            let mut batch = ReplayBatch { batch: 32, observation_width: 1, action_width: 1, reward_scale: 1.0, ..ReplayBatch::default() };
            for _ in 0..32 {
                let (observation, action) = ((rng.next_u32() % 3) as i32 - 1, (rng.next_u32() % 2) as i32);
                let goes_on = observation == 0;
                batch.observation.push(observation as f32);
                batch.action.push(action as f32);
                batch.reward.push((observation * action) as f32);
                batch.discount.push(if goes_on { 0.9 } else { 0.0 });
                batch.next_observation.push(if goes_on { (2 * action - 1) as f32 } else { 0.0 });
                batch.weight.push(1.0);
            }
            learner.update(&batch, None, step).unwrap();
        }
        let mut tape = QuantileTape::default();
        learner.head.forward(&learner.parameters, &[-1.0, 0.0, 1.0], None, 3, &mut tape);
        let values = tape.quantiles.chunks_exact(num_quantiles as usize).map(|q| q.iter().sum::<f32>() / q.len() as f32);
        let values: Vec<f32> = values.collect();
        golden::assert_close("values", &values, &[0.0, -1.0, 0.0, 0.9, 0.0, 1.0], 0.1);
    }
}
