//! Squashed policies by hand and by finite differences.

use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::net::ColumnsMut;

const BOX: ActionSpace = ActionSpace::Box { width: 2, low: -3.0, high: 3.0 };

fn policy(space: ActionSpace, state_dependent: Option<f32>, hidden: &[usize]) -> SquashedPolicy {
    SquashedPolicy::new(&SquashedPolicyConfig {
        space,
        observation_width: 3,
        ahead: true,
        hidden: hidden.to_vec(),
        activation: Activation::Tanh,
        state_dependent,
    })
}

fn draw(len: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn moved(at: &[f32], index: usize, by: f32) -> Vec<f32> {
    let mut at = at.to_vec();
    at[index] += by;
    at
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let discrete = ActionSpace::Discrete { num_actions: 4 };
    for (space, state_dependent, hidden) in
        [(discrete, None, vec![6, 5]), (BOX, None, vec![6, 5]), (BOX, Some(-0.5), vec![6, 5]), (BOX, Some(-0.5), vec![6])]
    {
        let policy = policy(space, state_dependent, &hidden);
        let batch = 5;
        let mut parameters = policy.init(&mut rng);
        if state_dependent.is_some() {
            // Unequal deviations, and the first mean far beyond its clip, so that both branches are taken.
            let log_std = parameters.len() - hidden[hidden.len() - 1] * 2;
            parameters[log_std..].iter_mut().for_each(|p| *p += rng.random_range(-0.5..0.5f32));
            parameters[log_std - 2] += 4.0;
        }
        let (x, ahead) = (draw(batch * 3, &mut rng), draw(batch * 8, &mut rng));
        let mut noise = Vec::new();
        policy.draw_noise(batch, &mut rng, &mut noise);
        let run = |parameters: &[f32], ahead: &[f32]| {
            let mut tape = SquashedTape::default();
            let ahead = Some(Columns { values: ahead, stride: 8, offset: 1 });
            match space {
                ActionSpace::Discrete { .. } => policy.log_probs(parameters, &x, ahead, batch, &mut tape),
                ActionSpace::Box { .. } => policy.sample(parameters, &x, ahead, batch, &noise, &mut tape),
            }
            tape
        };
        let mut tape = run(&parameters, &ahead);
        assert!(tape.mean.iter().enumerate().all(|(i, mean)| (*mean == 2.0) == (i % 2 == 0)), "{:?}", tape.mean);
        let (d_action, d_log_prob) = (draw(tape.action.len(), &mut rng), draw(tape.log_prob.len(), &mut rng));
        let loss = |tape: &SquashedTape| {
            let sum = |y: &[f32], d: &[f32]| y.iter().zip(d).map(|(y, d)| f64::from(y * d)).sum::<f64>();
            sum(&tape.action, &d_action) + sum(&tape.log_prob, &d_log_prob)
        };
        let (mut gradient, mut d_ahead) = (vec![0.0; parameters.len()], vec![0.0; ahead.len()]);
        let columns = ColumnsMut { values: &mut d_ahead, stride: 8, offset: 1 };
        policy.backward(&parameters, &x, batch, &mut tape, &d_action, &d_log_prob, &mut gradient, Some(columns));
        let h = 4e-3;
        for (index, found) in gradient.iter().enumerate() {
            let expected = (loss(&run(&moved(&parameters, index, h), &ahead)) - loss(&run(&moved(&parameters, index, -h), &ahead)))
                / f64::from(2.0 * h);
            assert!((f64::from(*found) - expected).abs() < 4e-3 * (1.0 + expected.abs()), "{space} {index}: {found}, {expected}");
        }
        for (index, found) in d_ahead.iter().enumerate() {
            let expected = (loss(&run(&parameters, &moved(&ahead, index, h))) - loss(&run(&parameters, &moved(&ahead, index, -h))))
                / f64::from(2.0 * h);
            assert!((f64::from(*found) - expected).abs() < 4e-3 * (1.0 + expected.abs()), "{space} ahead {index}: {found}, {expected}");
        }
    }
}

#[test]
fn a_squashed_gaussian_by_hand() {
    // No hidden layer, no input: mean 0.5, log_std ln 0.5, noise 1: u = 1, a = tanh 1 = 0.761594;
    // ln N = -0.5 - ln 0.5 - 0.918939 = -0.725791; ln(1 - a^2) = ln 0.419974 = -0.867562; ln p = 0.141771.
    let config = SquashedPolicyConfig {
        space: ActionSpace::Box { width: 1, low: -1.0, high: 1.0 },
        observation_width: 0,
        ahead: false,
        hidden: vec![],
        activation: Activation::Relu,
        state_dependent: None,
    };
    let (policy, mut tape) = (SquashedPolicy::new(&config), SquashedTape::default());
    policy.sample(&[0.5, 0.5f32.ln()], &[], None, 1, &[1.0], &mut tape);
    assert!((tape.action[0] - 0.761_594).abs() < 1e-5 && (tape.log_prob[0] - 0.141_771).abs() < 1e-5, "{tape:?}");
    // Far out: u = 30, 1 - tanh^2 = 4 e^-60, ln = 1.386294 - 60; ln N = -0.5 - ln e - 0.918939 with log_std 1, noise 1.
    policy.sample(&[30.0 - 1f32.exp(), 1.0], &[], None, 1, &[1.0], &mut tape);
    assert!((tape.log_prob[0] - (58.613_706 - 2.418_939)).abs() < 1e-4, "{tape:?}");
}

#[test]
fn state_dependent_noise_is_held_until_the_next_rollout_and_has_the_variance_of_its_formula() {
    let policy = policy(BOX, Some(-1.0), &[16]);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (parameters, lanes) = (policy.init(&mut rng), 4000);
    let (observation, ahead) = ([0.3, -0.7, 0.2].repeat(lanes), vec![0.1; lanes * 16]);
    let seen = Seen { lanes, observation: &observation, ahead: Some(Columns { values: &ahead, stride: 16, offset: 0 }) };
    let (mut tape, mut first, mut second) = (SquashedTape::default(), Acted::default(), Acted::default());
    policy.begin_rollout(&parameters, lanes, &mut rng, &mut tape);
    policy.act(&parameters, &seen, Mode::Sample, &mut rng, &mut tape, &mut first);
    policy.act(&parameters, &seen, Mode::Sample, &mut rng, &mut tape, &mut second);
    assert_eq!(first, second);
    policy.begin_rollout(&parameters, lanes, &mut rng, &mut tape);
    policy.act(&parameters, &seen, Mode::Sample, &mut rng, &mut tape, &mut second);
    assert_ne!(first, second);

    policy.act(&parameters, &seen, Mode::Greedy, &mut rng, &mut tape, &mut second);
    let centre = second.action[0].atanh();
    let mut noise = Vec::new();
    policy.draw_noise(1, &mut rng, &mut noise);
    policy.sample(&parameters, &observation[..3], seen.ahead, 1, &noise, &mut tape);
    let expected = f64::from(tape.variance[0]);
    let found = first.action.iter().step_by(2).map(|a| f64::from(a.atanh() - centre).powi(2)).sum::<f64>() / lanes as f64;
    // 5 standard errors of a variance of 4000 normal draws: 5 sqrt(2 / 4000) = 0.11.
    assert!((found / expected - 1.0).abs() < 0.11, "{found}, {expected}");
}

#[test]
fn warm_up_actions_fill_the_space() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (mut tape, mut out) = (SquashedTape::default(), Acted::default());
    let seen = Seen { lanes: 500, observation: &vec![0.0; 1500], ahead: None };
    let continuous = policy(BOX, None, &[4]);
    continuous.act(&continuous.init(&mut rng), &seen, Mode::Uniform, &mut rng, &mut tape, &mut out);
    assert!(out.action.len() == 1000 && out.action.iter().all(|a| a.abs() <= 1.0) && out.action.iter().any(|a| *a < -0.9));
    let discrete = policy(ActionSpace::Discrete { num_actions: 3 }, None, &[4]);
    discrete.act(&discrete.init(&mut rng), &seen, Mode::Uniform, &mut rng, &mut tape, &mut out);
    for action in 0..3 {
        assert!(out.action.contains(&(action as f32)), "{action}");
    }
}
