//! Small networks by hand and by finite differences.

use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::*;

fn draw(len: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Central differences of `f` against an analytic gradient, at every `step`-th parameter.
fn check(name: &str, at: &[f32], gradient: &[f32], step: usize, f: impl Fn(&[f32]) -> f64) {
    for index in (0..at.len()).step_by(step) {
        let h = 1e-2;
        let moved = |by: f32| {
            let mut at = at.to_vec();
            at[index] += by;
            f(&at)
        };
        let expected = (moved(h) - moved(-h)) / (2.0 * f64::from(h));
        let found = f64::from(gradient[index]);
        assert!((found - expected).abs() < 2e-3 * (1.0 + expected.abs()), "{name} {index}: {found}, by differences {expected}");
    }
}

fn weighted(output: &[f32], weights: &[f32]) -> f64 {
    output.iter().zip(weights).map(|(y, w)| f64::from(y * w)).sum()
}

#[test]
fn a_network_by_hand() {
    // x = [1, 2]; hidden = tanh(0.5 + 1 * 0.1 + 2 * 0.2 + ahead 0.25) = tanh(1.25) = 0.848284; output = 3 * 0.848284 - 1 = 1.544851
    let shape = MlpShape { input: 2, hidden: vec![1], output: 1, activation: Activation::Tanh };
    let mut tape = MlpTape::default();
    let ahead = Columns { values: &[9.0, 0.25], stride: 2, offset: 1 };
    shape.forward(&[0.1, 0.2, 0.5, 3.0, -1.0], &[1.0, 2.0], Some(ahead), 1, &mut tape);
    assert!((tape.output()[0] - 1.544_851).abs() < 1e-5, "{:?}", tape.output());
    // A mask of 2 on the hidden unit: 3 * 1.696567 - 1.
    shape.masked_forward(&[0.1, 0.2, 0.5, 3.0, -1.0], &[1.0, 2.0], Some(ahead), 1, &[vec![2.0]], &mut tape);
    assert!((tape.output()[0] - 4.089_702).abs() < 1e-5, "{:?}", tape.output());
}

#[test]
fn gradients_of_a_network_are_those_of_finite_differences() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (activation, batch) in [(Activation::Tanh, 3), (Activation::Tanh, 20), (Activation::Relu, 20)] {
        let shape = MlpShape { input: 3, hidden: vec![8, 5], output: 2, activation };
        let (parameters, x, ahead) = (draw(shape.num_parameters(), &mut rng), draw(batch * 3, &mut rng), draw(batch * 10, &mut rng));
        let weights = draw(batch * 2, &mut rng);
        let run = |parameters: &[f32], x: &[f32], ahead: &[f32]| {
            let mut tape = MlpTape::default();
            shape.forward(parameters, x, Some(Columns { values: ahead, stride: 10, offset: 2 }), batch, &mut tape);
            tape
        };
        let mut tape = run(&parameters, &x, &ahead);
        let mut gradient = vec![0.0; parameters.len()];
        let (mut d_x, mut d_ahead) = (vec![0.0; x.len()], vec![0.0; ahead.len()]);
        let columns = ColumnsMut { values: &mut d_ahead, stride: 10, offset: 2 };
        shape.backward(&parameters, &x, batch, &mut tape, &weights, Some(&mut gradient), Some(&mut d_x), Some(columns));
        if activation == Activation::Tanh {
            check("weights", &parameters, &gradient, 1, |p| weighted(run(p, &x, &ahead).output(), &weights));
            check("input", &x, &d_x, 1, |x| weighted(run(&parameters, x, &ahead).output(), &weights));
            check("ahead", &ahead, &d_ahead, 1, |a| weighted(run(&parameters, &x, a).output(), &weights));
        } else {
            // A kink lies within the step now and then; the last layer has none.
            let last = parameters.len() - 12;
            check("weights", &parameters[last..], &gradient[last..], 1, |p| {
                weighted(run(&[&parameters[..last], p].concat(), &x, &ahead).output(), &weights)
            });
        }
    }
}

#[test]
fn an_lstm_forgets_where_an_episode_begins_and_carries_its_state_between_rollouts() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let shape = LstmShape { input: 2, hidden: 3 };
    let parameters = draw(shape.num_parameters(), &mut rng);
    let x = draw(4 * 2, &mut rng);
    let run = |x: &[f32], starts: &[bool], state: &mut [f32]| {
        let mut tape = LstmTape::default();
        let mut columns = ColumnsMut { values: state, stride: 6, offset: 0 };
        shape.forward(&parameters, x, None, starts, 1, &mut columns, &mut tape);
        tape.output().to_vec()
    };
    let mut state = [0.0; 6];
    let whole = run(&x, &[true, false, false, false], &mut state);
    let (mut halves, first) = ([0.0; 6], [true, false]);
    let mut parts = run(&x[..4], &first, &mut halves);
    parts.extend(run(&x[4..], &[false, false], &mut halves));
    assert_eq!((whole.clone(), state), (parts, halves));
    let restarted = run(&x, &[true, false, true, false], &mut [0.5; 6]);
    assert_eq!(restarted[6..], run(&x[4..], &[true, false], &mut [7.0; 6])[..]);
    assert_ne!(restarted[6..], whole[6..]);
}

#[test]
fn gradients_of_an_lstm_are_those_of_finite_differences() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (shape, lanes) = (LstmShape { input: 2, hidden: 4 }, 2);
    let starts = [true, false, false, false, false, true, false, false, false, false];
    let (parameters, x) = (draw(shape.num_parameters(), &mut rng), draw(10 * 2, &mut rng));
    let (ahead, state) = (draw(10 * 16, &mut rng), draw(lanes * 8, &mut rng));
    let weights = draw(10 * 4, &mut rng);
    let run = |parameters: &[f32], ahead: &[f32]| {
        let (mut tape, mut state) = (LstmTape::default(), state.clone());
        let mut columns = ColumnsMut { values: &mut state, stride: 8, offset: 0 };
        let ahead = Columns { values: ahead, stride: 16, offset: 0 };
        shape.forward(parameters, &x, Some(ahead), &starts, lanes, &mut columns, &mut tape);
        tape
    };
    let mut tape = run(&parameters, &ahead);
    let (mut gradient, mut d_ahead) = (vec![0.0; parameters.len()], vec![0.0; ahead.len()]);
    let columns = ColumnsMut { values: &mut d_ahead, stride: 16, offset: 0 };
    shape.backward(&parameters, &x, &starts, lanes, &mut tape, &mut weights.clone(), &mut gradient, Some(columns));
    check("weights", &parameters, &gradient, 1, |p| weighted(run(p, &ahead).output(), &weights));
    check("ahead", &ahead, &d_ahead, 1, |a| weighted(run(&parameters, a).output(), &weights));
}

#[test]
fn products_are_those_of_three_loops_at_every_size() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let close = |what: &str, size: [usize; 3], found: &[f32], expected: &dyn Fn(usize) -> f32| {
        for (index, found) in found.iter().enumerate() {
            assert!((found - expected(index)).abs() < 3e-4, "{what} {size:?}, {index}: {found}, expected {}", expected(index));
        }
    };
    for size in [
        [1, 1, 1],
        [1, 40, 3],
        [4, 5, 2],
        [4, 40, 40],
        [17, 3, 20],
        [20, 40, 1],
        [33, 40, 2],
        [40, 2, 15],
        [40, 35, 17],
        [19, 600, 21],
        [1, 9, 700],
    ] {
        let [rows, inner, columns] = size;
        let (x, w, dy) = (draw(rows * inner, &mut rng), draw(inner * columns, &mut rng), draw(rows * columns, &mut rng));
        let mut room = kernels::WeightRoom::default();
        let mut y = vec![0.5; rows * columns];
        kernels::add_product(&mut y, &x, &w, size, &mut room.room);
        close("y", size, &y, &|at| 0.5 + (0..inner).map(|k| x[at / columns * inner + k] * w[k * columns + at % columns]).sum::<f32>());
        let mut dw = vec![0.5; inner * columns];
        kernels::add_weight_gradient(&mut dw, &x, &dy, size, &mut room);
        close("dw", size, &dw, &|at| 0.5 + (0..rows).map(|k| x[k * inner + at / columns] * dy[k * columns + at % columns]).sum::<f32>());
        let mut dx = vec![0.5; rows * inner];
        kernels::input_gradient(&mut dx, &dy, &w, size, &mut room.room);
        close("dx", size, &dx, &|at| (0..columns).map(|k| dy[at / inner * columns + k] * w[at % inner * columns + k]).sum::<f32>());
        let mut room = vec![f32::NAN; 7];
        kernels::repeat(&w, rows, &mut room);
        close("copies", size, &room, &|at| w[at % w.len()]);
    }
}
