//! Quantile heads by hand and by finite differences.

use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::net::Columns;

fn config(num_quantiles: usize, dueling: bool, ahead: bool) -> QuantileHeadConfig {
    QuantileHeadConfig {
        observation_width: 2,
        ahead,
        hidden: vec![5],
        activation: Activation::Tanh,
        num_actions: 3,
        num_quantiles,
        dueling,
    }
}

#[test]
fn dueling_quantiles_by_hand() {
    // No hidden layer, no input: the biases are the outputs. a = [[1, 2], [4, 8], [1, 2]], means over actions [2, 4]; v = [10, 20].
    let config = QuantileHeadConfig { observation_width: 0, hidden: vec![], ..config(2, true, false) };
    let head = QuantileHead::new(&config);
    let mut tape = QuantileTape::default();
    head.forward(&[1.0, 2.0, 4.0, 8.0, 1.0, 2.0, 10.0, 20.0], &[], None, 1, &mut tape);
    assert_eq!(vec![9.0, 18.0, 12.0, 24.0, 9.0, 18.0], tape.quantiles);
    assert_eq!(vec![1], head.greedy(&tape.quantiles, &mut Vec::new()).collect::<Vec<_>>());
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for (num_quantiles, dueling) in [(1, false), (4, false), (1, true), (4, true)] {
        let head = QuantileHead::new(&config(num_quantiles, dueling, true));
        let parameters = head.init(&mut rng);
        let mut draw = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f32>>();
        let (x, ahead, weights) = (draw(3 * 2), draw(3 * 5), draw(3 * 3 * num_quantiles));
        let run = |parameters: &[f32], ahead: &[f32]| {
            let mut tape = QuantileTape::default();
            head.forward(parameters, &x, Some(Columns { values: ahead, stride: 5, offset: 0 }), 3, &mut tape);
            tape
        };
        let loss = |tape: QuantileTape| tape.quantiles.iter().zip(&weights).map(|(q, w)| f64::from(q * w)).sum::<f64>();
        let (mut gradient, mut d_ahead) = (vec![0.0; parameters.len()], vec![0.0; ahead.len()]);
        head.backward(&parameters, &x, 3, &mut run(&parameters, &ahead), &weights, &mut gradient, &mut d_ahead);
        let moved = |at: &[f32], index: usize, by: f32| {
            let mut at = at.to_vec();
            at[index] += by;
            at
        };
        for (index, found) in gradient.iter().enumerate() {
            let difference = loss(run(&moved(&parameters, index, 1e-2), &ahead)) - loss(run(&moved(&parameters, index, -1e-2), &ahead));
            assert!((f64::from(*found) - difference / 2e-2).abs() < 2e-3, "parameter {index}: {found}, {}", difference / 2e-2);
        }
        for (index, found) in d_ahead.iter().enumerate() {
            let difference = loss(run(&parameters, &moved(&ahead, index, 1e-2))) - loss(run(&parameters, &moved(&ahead, index, -1e-2)));
            assert!((f64::from(*found) - difference / 2e-2).abs() < 2e-3, "ahead {index}: {found}, {}", difference / 2e-2);
        }
    }
}

#[test]
fn a_mode_decides_how_often_an_action_is_the_greedy_one() {
    let head = QuantileHead::new(&config(2, false, false));
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let parameters = head.init(&mut rng);
    let (lanes, mut tape, mut out) = (6000, QuantileTape::default(), Acted::default());
    let observation = [0.5, -0.5].repeat(lanes);
    let seen = Seen { lanes, observation: &observation, ahead: None };
    head.act(&parameters, &seen, Mode::Greedy, &mut rng, &mut tape, &mut out);
    let greedy = out.action[0];
    assert!(out.action.iter().all(|a| *a == greedy) && out.log_prob.is_empty() && out.value.is_empty());
    let mut share = |mode| {
        head.act(&parameters, &seen, mode, &mut rng, &mut tape, &mut out);
        assert!(out.action.iter().all(|a| (0.0..3.0).contains(a) && a.fract() == 0.0));
        out.action.iter().filter(|a| **a == greedy).count() as f64 / lanes as f64
    };
    // Expected 1 - 0.6 * 2/3 = 0.6 and 1/3; 5 standard errors are 0.032.
    assert!((share(Mode::Epsilon(0.6)) - 0.6).abs() < 0.032);
    assert!((share(Mode::Uniform) - 1.0 / 3.0).abs() < 0.032);
}
