//! Kernels against Burn's operations, against central differences of a double-precision reference, at every instruction set; and Burn's on wgpu.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData, activation::softmax};
use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::lstm::Direction;
use super::product::Panels;
use super::simd::{Level, with_level};
use super::{attention, gelu, layer_norm, lstm, multiply, pooling, swap_leading};
use crate::device::{self, Device, DeviceChoice, Infer, Train};
use crate::ops;
use crate::plain::layers::{Linear, Places};

/// An operation at a size; its inputs are flat here so that all can be treated alike.
#[derive(Clone, Copy, Debug)]
enum Case {
    LayerNorm { rows: usize, d: usize },
    Gelu { len: usize },
    Linear { batch: usize, time: usize, width_in: usize, width_out: usize },
    Attention { batch: usize, time: usize, d: usize, num_heads: usize },
    BiLstm { batch: usize, time: usize, width_in: usize, hidden: usize },
    Pooling { batch: usize, time: usize, width: usize },
}

/// Odd and even sizes, and every length once at 1; small, because differences are taken of each input element.
const CASES: [Case; 18] = [
    Case::LayerNorm { rows: 3, d: 16 },
    Case::LayerNorm { rows: 5, d: 37 },
    Case::LayerNorm { rows: 1, d: 1 },
    Case::Gelu { len: 1 },
    Case::Gelu { len: 67 },
    Case::Linear { batch: 2, time: 3, width_in: 5, width_out: 7 },
    Case::Linear { batch: 1, time: 1, width_in: 1, width_out: 1 },
    Case::Attention { batch: 2, time: 5, d: 6, num_heads: 2 },
    Case::Attention { batch: 1, time: 18, d: 3, num_heads: 1 },
    Case::Attention { batch: 2, time: 1, d: 4, num_heads: 4 },
    Case::Attention { batch: 1, time: 1, d: 1, num_heads: 1 },
    Case::BiLstm { batch: 2, time: 4, width_in: 3, hidden: 5 },
    Case::BiLstm { batch: 1, time: 3, width_in: 2, hidden: 17 },
    Case::BiLstm { batch: 3, time: 1, width_in: 4, hidden: 2 },
    Case::BiLstm { batch: 1, time: 1, width_in: 1, hidden: 1 },
    Case::BiLstm { batch: 2, time: 6, width_in: 1, hidden: 3 },
    Case::Pooling { batch: 2, time: 7, width: 5 },
    Case::Pooling { batch: 1, time: 1, width: 1 },
];

/// Sizes of real models; too large for differences.
const LARGE_CASES: [Case; 6] = [
    Case::LayerNorm { rows: 96, d: 64 },
    Case::Gelu { len: 10_000 },
    Case::Linear { batch: 8, time: 48, width_in: 32, width_out: 96 },
    Case::Attention { batch: 4, time: 48, d: 32, num_heads: 4 },
    Case::BiLstm { batch: 70, time: 60, width_in: 7, hidden: 24 },
    Case::Pooling { batch: 5, time: 60, width: 48 },
];

impl Case {
    fn input_lens(self) -> Vec<usize> {
        match self {
            Self::LayerNorm { rows, d } => vec![rows * d, d, d],
            Self::Gelu { len } => vec![len],
            Self::Linear { batch, time, width_in, width_out } => vec![batch * time * width_in, width_in * width_out, width_out],
            Self::Attention { batch, time, d, .. } => vec![batch * time * 3 * d],
            Self::BiLstm { batch, time, width_in, hidden } => {
                vec![batch * time * width_in, 2 * width_in * 4 * hidden, 2 * hidden * 4 * hidden, 2 * 4 * hidden]
            }
            Self::Pooling { batch, time, width } => vec![batch * time * width, width * SCALES],
        }
    }

    fn inputs(self) -> Vec<Vec<f32>> {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        // Weights of a recurrence are kept small, as in a real model: chaos would amplify rounding.
        let reach = if matches!(self, Self::BiLstm { hidden, .. } if hidden > 8) { 0.4 } else { 1.5 };
        self.input_lens().into_iter().map(|len| (0..len).map(|_| rng.random_range(-reach..reach)).collect()).collect()
    }

    /// The kernels: the output, and for `loss = sum(output * cotangent)` the gradient of each input.
    fn run(self, inputs: &[Vec<f32>]) -> Outcome {
        match self {
            Self::LayerNorm { rows, d } => run_layer_norm(inputs, rows, d),
            Self::Gelu { len } => {
                let (mut y, mut slope, mut again, mut dx) = (inputs[0].clone(), inputs[0].clone(), vec![0.0; len], cotangent(len));
                gelu::forward(&mut y);
                gelu::forward_and_slope(&mut slope, &mut again);
                assert_eq!(bits(&y), bits(&again));
                multiply(&mut dx, &slope);
                Outcome { y, gradients: vec![dx] }
            }
            Self::Linear { width_in, width_out, .. } => run_linear(inputs, width_in, width_out),
            Self::Attention { batch, time, d, num_heads } => {
                let sizes = attention::Sizes { batch, time, d, num_heads };
                let (mut weights, mut y) = (vec![0.0; batch * num_heads * time * time], vec![0.0; batch * time * d]);
                attention::forward(sizes, &inputs[0], &mut weights, &mut y);
                let mut dx = vec![0.0; inputs[0].len()];
                attention::backward(sizes, &inputs[0], &weights, &cotangent(y.len()), &mut vec![0.0; time * time], &mut dx);
                Outcome { y, gradients: vec![dx] }
            }
            Self::BiLstm { batch, time, width_in, hidden } => run_bilstm(inputs, lstm::Sizes { batch, time, width_in, hidden }),
            Self::Pooling { batch, time, width } => run_pooling(inputs, pooling::Sizes::sample_major(batch, time, width)),
        }
    }

    fn run_composed<B: Backend>(self, inputs: &[Tensor<B, 1>]) -> Tensor<B, 1> {
        let input = |index: usize| inputs[index].clone();
        match self {
            Self::LayerNorm { rows, d } => ops::layer_norm(input(0).reshape([rows, d]), input(1), input(2)).flatten(0, 1),
            Self::Gelu { .. } => ops::gelu(input(0)),
            Self::Linear { batch, time, width_in, width_out } => {
                ops::linear(input(0).reshape([batch, time, width_in]), input(1).reshape([width_in, width_out]), input(2)).flatten(0, 2)
            }
            Self::Attention { batch, time, d, num_heads } => {
                ops::attention(input(0).reshape([batch, time, 3 * d]), num_heads).flatten(0, 2)
            }
            Self::BiLstm { batch, time, width_in, hidden } => ops::bilstm(
                input(0).reshape([batch, time, width_in]),
                input(1).reshape([2, width_in, 4 * hidden]),
                input(2).reshape([2, hidden, 4 * hidden]),
                input(3).reshape([2, 4 * hidden]),
            )
            .flatten(0, 2),
            Self::Pooling { batch, time, width } => {
                let (x, queries) = (input(0).reshape([batch, time, width]), input(1).reshape([width, SCALES]));
                let pooled = scale_lens(time).into_iter().enumerate().map(|(k, len)| {
                    let recent = x.clone().narrow(1, time - len, len);
                    let scores = recent.clone().matmul(queries.clone().narrow(1, k, 1).unsqueeze());
                    softmax(scores, 1).swap_dims(1, 2).matmul(recent)
                });
                Tensor::cat(pooled.collect(), 1).flatten(0, 2)
            }
        }
    }

    /// The formula of the documentation, spelled out in double precision.
    fn reference(self, inputs: &[Vec<f64>]) -> Vec<f64> {
        match self {
            Self::LayerNorm { d, .. } => inputs[0].chunks(d).flat_map(|row| layer_norm_f64(row, &inputs[1], &inputs[2])).collect(),
            Self::Gelu { .. } => inputs[0].iter().map(|&x| x / 2.0 * (1.0 + erf_f64(x / 2.0_f64.sqrt()))).collect(),
            Self::Linear { width_in, width_out, .. } => inputs[0]
                .chunks(width_in)
                .flat_map(|row| (0..width_out).map(move |j| (row, j)))
                .map(|(row, j)| inputs[2][j] + (0..width_in).map(|i| row[i] * inputs[1][i * width_out + j]).sum::<f64>())
                .collect(),
            Self::Attention { time, d, num_heads, .. } => {
                inputs[0].chunks(time * 3 * d).flat_map(|sample| attention_f64(sample, time, d, num_heads)).collect()
            }
            Self::BiLstm { time, width_in, hidden, .. } => inputs[0]
                .chunks(time * width_in)
                .flat_map(|sample| {
                    let mut y = vec![0.0; time * 2 * hidden];
                    for way in 0..2 {
                        let part = |index: usize| &inputs[index][way * inputs[index].len() / 2..(way + 1) * inputs[index].len() / 2];
                        lstm_f64(sample, [part(1), part(2), part(3)], [time, width_in, hidden], way, &mut y);
                    }
                    y
                })
                .collect(),
            Self::Pooling { time, width, .. } => {
                inputs[0].chunks(time * width).flat_map(|window| pooling_f64(window, &inputs[1], time, width)).collect()
            }
        }
    }
}

/// Scales of a pooling: the whole window, its newer half, its last row.
const SCALES: usize = 3;

fn scale_lens(time: usize) -> [usize; SCALES] {
    [time, time.div_ceil(2), 1]
}

fn run_layer_norm(inputs: &[Vec<f32>], rows: usize, d: usize) -> Outcome {
    let (mut normal, mut y, mut scale) = (vec![0.0; rows * d], vec![0.0; rows * d], vec![0.0; rows]);
    layer_norm::normalise(&inputs[0], &mut normal, d, ops::LAYER_NORM_EPS, &mut scale);
    layer_norm::stretch(&normal, &inputs[1], &inputs[2], &mut y);
    let (mut dx, mut d_gain, mut d_shift) = (cotangent(y.len()), vec![0.0; d], vec![0.0; d]);
    layer_norm::backward(&normal, &scale, &inputs[1], &mut dx, &mut d_gain, &mut d_shift);
    Outcome { y, gradients: vec![dx, d_gain, d_shift] }
}

fn run_linear(inputs: &[Vec<f32>], width_in: usize, width_out: usize) -> Outcome {
    let layer = Linear::new(&mut Places::default(), width_in, width_out, true);
    let parameters = [&inputs[1][..], &inputs[2]].concat();
    let mut y = vec![0.0; inputs[0].len() / width_in * width_out];
    layer.forward(&parameters, &inputs[0], &mut y);
    let (dy, mut gradient, mut dx) = (cotangent(y.len()), vec![0.0; parameters.len()], vec![0.0; inputs[0].len()]);
    layer.backward(&inputs[0], &dy, &mut gradient);
    layer.backward_input(&parameters, &dy, &mut dx, false);
    let d_bias = gradient.split_off(inputs[1].len());
    Outcome { y, gradients: vec![dx, gradient, d_bias] }
}

/// Bits, for which NaN equals itself.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn run_bilstm(inputs: &[Vec<f32>], sizes: lstm::Sizes) -> Outcome {
    let lstm::Sizes { batch, time, width_in, hidden } = sizes;
    let rows = batch * time;
    let mut x = vec![0.0; inputs[0].len()];
    swap_leading(&inputs[0], [batch, time, width_in], &mut x);
    let mut y = vec![0.0; rows * 2 * hidden];
    let half = |index: usize, way: Direction| {
        let len = inputs[index].len() / 2;
        &inputs[index][way as usize * len..][..len]
    };
    let weights = |way| lstm::Weights { w_ih: half(1, way), w_hh: half(2, way), bias: half(3, way) };
    let mut traces = Direction::BOTH.map(|way| {
        let (mut gates, mut c) = (vec![0.0; rows * 4 * hidden], vec![0.0; rows * hidden]);
        lstm::forward(sizes, way, &x, weights(way), &mut gates, &mut c, &mut y, lstm::Rows::shared(way, hidden), &mut Panels::default());
        (gates, c)
    });
    let mut dy = vec![0.0; y.len()];
    swap_leading(&cotangent(y.len()), [batch, time, 2 * hidden], &mut dy);
    let (mut dx, mut dc, mut again) = (vec![0.0; x.len()], vec![0.0; batch * hidden], vec![0.0; y.len()]);
    for (way, (gates, c)) in Direction::BOTH.into_iter().zip(&traces) {
        lstm::outputs(way, gates, c, &mut again, hidden);
    }
    assert_eq!(bits(&y), bits(&again));
    let mut gradients: Vec<Vec<f32>> = inputs.iter().map(|input| vec![0.0; input.len()]).collect();
    for (way, (gates, c)) in Direction::BOTH.into_iter().zip(&mut traces) {
        let trace = lstm::Trace { x: &x, c, y: &y };
        let mut halves = gradients[1..].iter_mut().map(|both| {
            let len = both.len() / 2;
            &mut both[way as usize * len..][..len]
        });
        let into = lstm::WeightsMut { w_ih: halves.next().unwrap(), w_hh: halves.next().unwrap(), bias: halves.next().unwrap() };
        lstm::backward(sizes, way, &trace, weights(way), &mut dy, gates, &mut dc, into, Some(&mut dx), &mut Panels::default());
    }
    swap_leading(&dx, [time, batch, width_in], &mut gradients[0]);
    let mut sample_major = vec![0.0; y.len()];
    swap_leading(&y, [time, batch, 2 * hidden], &mut sample_major);
    Outcome { y: sample_major, gradients }
}

fn run_pooling(inputs: &[Vec<f32>], sizes: pooling::Sizes) -> Outcome {
    let lens = scale_lens(sizes.time);
    let (mut shares, mut y) = (vec![0.0; sizes.batch * lens.iter().sum::<usize>()], vec![0.0; sizes.batch * SCALES * sizes.width]);
    pooling::forward(sizes, &lens, &inputs[0], &inputs[1], &mut shares, &mut y);
    let (dy, mut dx, mut d_queries) = (cotangent(y.len()), vec![0.0; inputs[0].len()], vec![0.0; inputs[1].len()]);
    pooling::backward(sizes, &lens, &inputs[0], &inputs[1], &shares, &dy, &mut dx, &mut d_queries);
    Outcome { y, gradients: vec![dx, d_queries] }
}

fn pooling_f64(window: &[f64], queries: &[f64], time: usize, width: usize) -> Vec<f64> {
    let pooled = scale_lens(time).into_iter().enumerate().map(|(k, len)| {
        let rows: Vec<&[f64]> = window.chunks(width).skip(time - len).collect();
        let weight = |row: &[f64]| (0..width).map(|j| row[j] * queries[j * SCALES + k]).sum::<f64>().exp();
        let total: f64 = rows.iter().map(|row| weight(row)).sum();
        (0..width).map(|j| rows.iter().map(|row| weight(row) / total * row[j]).sum()).collect::<Vec<f64>>()
    });
    pooled.flatten().collect()
}

fn layer_norm_f64(row: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
    let d = row.len() as f64;
    let mean = row.iter().sum::<f64>() / d;
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d;
    row.iter().zip(gamma).zip(beta).map(|((x, gamma), beta)| (x - mean) / (variance + 1e-5).sqrt() * gamma + beta).collect()
}

/// By its Maclaurin series; the inputs here stay below 2.
fn erf_f64(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..60 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

fn attention_f64(qkv: &[f64], time: usize, d: usize, num_heads: usize) -> Vec<f64> {
    let d_head = d / num_heads;
    let at = |t: usize, part: usize, column: usize| qkv[t * 3 * d + part * d + column];
    let mut y = vec![0.0; time * d];
    for (t, column) in (0..time).flat_map(|t| (0..d).map(move |column| (t, column))) {
        let first = column / d_head * d_head; // of this column's head
        let score = |s: usize| (first..first + d_head).map(|j| at(t, 0, j) * at(s, 1, j)).sum::<f64>() / (d_head as f64).sqrt();
        let total: f64 = (0..time).map(|s| score(s).exp()).sum();
        y[t * d + column] = (0..time).map(|s| score(s).exp() / total * at(s, 2, column)).sum();
    }
    y
}

fn lstm_f64(x: &[f64], [w_ih, w_hh, bias]: [&[f64]; 3], [time, width_in, hidden]: [usize; 3], way: usize, y: &mut [f64]) {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let (mut h, mut c) = (vec![0.0; hidden], vec![0.0; hidden]);
    for step in 0..time {
        let t = if way == 0 { step } else { time - 1 - step };
        let gate = |index: usize, j: usize, h: &[f64]| {
            let column = index * hidden + j;
            bias[column]
                + (0..width_in).map(|i| x[t * width_in + i] * w_ih[i * 4 * hidden + column]).sum::<f64>()
                + (0..hidden).map(|i| h[i] * w_hh[i * 4 * hidden + column]).sum::<f64>()
        };
        let h_tm1 = h.clone();
        for j in 0..hidden {
            let [i, f, g, o] = [0, 1, 2, 3].map(|index| gate(index, j, &h_tm1));
            c[j] = sigmoid(f) * c[j] + sigmoid(i) * g.tanh();
            h[j] = sigmoid(o) * c[j].tanh();
            y[(t * 2 + way) * hidden + j] = h[j];
        }
    }
}

/// The output and, for `loss = sum(output * cotangent)`, the gradient of each input.
struct Outcome {
    y: Vec<f32>,
    gradients: Vec<Vec<f32>>,
}

/// Burn's own operations and autodiff.
fn composed(case: Case, inputs: &[Vec<f32>], device: &Device) -> Outcome {
    let leaves: Vec<_> = inputs.iter().map(|input| flat::<Train>(input, device).require_grad()).collect();
    let y = case.run_composed(&leaves);
    let cotangent = cotangent(y.dims()[0]);
    let gradients = (y.clone() * flat(&cotangent, device)).sum().backward();
    // A window of one step never touches w_hh, which then has no gradient where ours is zero.
    let gradient = |leaf: &Tensor<Train, 1>| leaf.grad(&gradients).map_or_else(|| vec![0.0; leaf.dims()[0]], to_vec);
    Outcome { y: to_vec(y), gradients: leaves.iter().map(gradient).collect() }
}

/// Fixed weights of the outputs in the loss, all different and of both signs.
fn cotangent(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect()
}

fn flat<B: Backend>(values: &[f32], device: &B::Device) -> Tensor<B, 1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

fn to_vec<B: Backend>(x: Tensor<B, 1>) -> Vec<f32> {
    x.into_data().to_vec().unwrap()
}

/// Differences are measured against the largest expected number, or 1: what matters to a sum of gradients.
fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0_f32, |max, value| max.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        // negated, so that NaN fails
        assert!(!((found - expected).abs() > tolerance * scale || found.is_nan()), "{what}[{index}] was {found}, expected {expected}");
    }
}

fn assert_outcomes_close(case: Case, found: &Outcome, expected: &Outcome, tolerance: f32) {
    assert_close(&format!("{case:?} output"), &found.y, &expected.y, tolerance);
    for (index, (found, expected)) in found.gradients.iter().zip(&expected.gradients).enumerate() {
        assert_close(&format!("{case:?} gradient of input {index}"), found, expected, tolerance);
    }
}

fn bits_of_all(outcome: &Outcome) -> Vec<u32> {
    outcome.gradients.iter().chain([&outcome.y]).flat_map(|values| bits(values)).collect()
}

#[test]
fn kernels_equal_burns_operations() {
    for case in CASES.into_iter().chain(LARGE_CASES) {
        let inputs = case.inputs();
        assert_outcomes_close(case, &case.run(&inputs), &composed(case, &inputs, &device::cpu()), 1e-5);
    }
}

#[test]
fn forward_equals_double_precision() {
    for case in CASES {
        let inputs = case.inputs();
        let wide: Vec<Vec<f64>> = inputs.iter().map(|input| input.iter().map(|&x| f64::from(x)).collect()).collect();
        let expected: Vec<f32> = case.reference(&wide).into_iter().map(|y| y as f32).collect();
        assert_close(&format!("{case:?}"), &case.run(&inputs).y, &expected, 2e-6);
    }
}

#[test]
fn gradients_equal_central_differences_in_double_precision() {
    const STEP: f64 = 1e-5;
    for case in CASES {
        let inputs = case.inputs();
        let found = case.run(&inputs);
        let mut wide: Vec<Vec<f64>> = inputs.iter().map(|input| input.iter().map(|&x| f64::from(x)).collect()).collect();
        let loss = |inputs: &[Vec<f64>]| -> f64 {
            let y = case.reference(inputs);
            let weights = cotangent(y.len());
            y.iter().zip(weights).map(|(y, weight)| y * f64::from(weight)).sum()
        };
        for input in 0..inputs.len() {
            let mut expected = Vec::with_capacity(inputs[input].len());
            for element in 0..inputs[input].len() {
                let x = wide[input][element];
                wide[input][element] = x + STEP;
                let above = loss(&wide);
                wide[input][element] = x - STEP;
                let below = loss(&wide);
                wide[input][element] = x;
                expected.push(((above - below) / (2.0 * STEP)) as f32);
            }
            assert_close(&format!("{case:?} gradient of input {input}"), &found.gradients[input], &expected, 1e-5);
        }
    }
}

#[test]
fn same_inputs_same_bits_on_every_thread() {
    for case in LARGE_CASES {
        let inputs = case.inputs();
        let run = || bits_of_all(&case.run(&inputs));
        let expected = run();
        std::thread::scope(|scope| {
            let others: Vec<_> = (0..2).map(|_| scope.spawn(run)).collect();
            others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), expected, "{case:?}"));
        });
    }
}

#[test]
fn same_bits_at_every_instruction_set() {
    for case in CASES.into_iter().chain(LARGE_CASES) {
        let inputs = case.inputs();
        let run = || bits_of_all(&case.run(&inputs));
        let expected = run();
        for level in [Level::Avx512, Level::Avx2, Level::Base] {
            match with_level(level, run) {
                Some(found) => assert_eq!(found, expected, "{case:?} at {level}"),
                None => println!("skipped: this processor lacks {level}"),
            }
        }
    }
}

#[test]
fn nan_comes_out_where_it_went_in() {
    for case in CASES {
        for input in 0..case.inputs().len() {
            let mut inputs = case.inputs();
            inputs[input][0] = f32::NAN;
            let found = case.run(&inputs);
            assert!(input > 0 || found.y.iter().any(|y| y.is_nan()), "{case:?}: a NaN in x was swallowed");
            let expected = composed(case, &inputs, &device::cpu());
            let nans = |values: &[f32]| values.iter().map(|value| value.is_nan()).collect::<Vec<_>>();
            assert_eq!(nans(&found.y), nans(&expected.y), "{case:?} with NaN in input {input}");
        }
    }
}

#[test]
#[should_panic(expected = "must be a multiple of 3 * num_heads")]
fn heads_that_do_not_divide_the_width_are_refused() {
    let _ = ops::attention(Tensor::<Infer, 3>::zeros([1, 2, 12], &device::cpu()), 3);
}

/// Burn's operations on whatever adapter this machine has; software Vulkan will do.
#[test]
fn wgpu_agrees_with_the_cpu() {
    let device = match device::resolve(DeviceChoice::Wgpu, 0) {
        Ok(device) => device,
        Err(error) => return println!("skipped: {error}"),
    };
    // One size each: what takes time is the compilation of some dozens of shaders, seconds on a software adapter.
    for case in [CASES[1], CASES[4], CASES[5], CASES[7], CASES[12]] {
        let inputs = case.inputs();
        assert_outcomes_close(case, &composed(case, &inputs, &device), &case.run(&inputs), 1e-3);
    }
}
