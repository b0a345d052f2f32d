//! The encoder in training against itself: what acted is what learns, blocks add up, the gradient is the slope, and a GPU driver gives the processor's
//! numbers.

use std::sync::Arc;

use burn::{
    module::Module,
    tensor::{Tensor, TensorData},
};
use grandmodel_agents::{
    encoder::{ActingMixer, AheadWidths},
    net::Activation,
};
use grandmodel_buffers::replay::ReplayBatch;
use grandmodel_embedders::{
    EMBEDDING_DIM, Preset,
    device::{self, DeviceChoice},
};
use grandmodel_market::{
    FeatureTable,
    features::FeatureConfig,
    synth::{self, SynthConfig},
};
use grandmodel_memory::{BatchPlan, Rung, plan::Checkpointing};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::*;
use crate::{
    adam::Adam,
    blocks::Blocks,
    config::{EncoderConfig, QrdqnConfig},
    qrdqn::QrdqnLearner,
    replay_learner::ReplayLearner,
};

const AUX_SCALE: f32 = 0.01;

fn learner(device: &Device) -> EncoderLearner {
    let features = FeatureConfig { mmd_test: 8, mmd_reference: 16, ..FeatureConfig::default() };
    let path = synth::generate(&SynthConfig::default(), 1, 2500).expect("bars");
    let table = Arc::new(FeatureTable::build(&path.series, &features).expect("a table"));
    let widths = AheadWidths { detached: Vec::new(), attached: vec![16, 8] };
    let net = MarketEncoder::new(Preset::Tiny, &widths, &mut ChaCha8Rng::seed_from_u64(5), &device::cpu());
    EncoderLearner::new(net.to_device(device), vec![TableSpan::whole(table)], device.clone())
}

fn rows(learner: &EncoderLearner, count: usize) -> Vec<(u16, u32)> {
    let rows: Vec<(u16, u32)> = learner.spans[0].ready_rows().step_by(7).take(count).map(|row| (0, row as u32)).collect();
    assert_eq!(count, rows.len(), "the table has too few ready rows");
    rows
}

/// Any gradient of the parts ahead.
fn back(ahead: &[f32]) -> Vec<f32> {
    (0..ahead.len()).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) / 64.0).collect()
}

/// Gradient and auxiliary sum of one block.
fn gradient(learner: &EncoderLearner, rows: &[(u16, u32)], aux_scale: f32, back: impl FnOnce(&[f32]) -> Vec<f32>) -> (Vec<f32>, f64) {
    let mut gradient = vec![0.0; learner.num_parameters()];
    let aux = learner.gradient(rows, aux_scale, Keep::Everything, &mut gradient, back).unwrap();
    (gradient, aux)
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    square(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b))) / square(&mut b.iter().map(|b| f64::from(*b))).max(1e-12)
}

#[test]
fn what_acts_is_what_learns() {
    let learner = learner(&device::cpu());
    let rows = rows(&learner, 12);
    let learned = learner.ahead(&rows).unwrap();
    let windows = learner.windows(&rows);
    let embeddings: Vec<f32> = learner.net.embedders.forward(windows.inputs(&device::cpu())).mean().into_data().into_vec().unwrap();
    assert_eq!(rows.len() * EMBEDDING_DIM, embeddings.len());
    let acted = ActingMixer::of(learner.net().mixer, &device::cpu()).market_parts(&embeddings).unwrap();
    assert!(distance(&learned, &acted) < 1e-6);
}

#[test]
fn plain_gradients_are_burns() {
    let mut learner = learner(&device::cpu());
    let moved: Vec<f32> = learner.parameters().iter().map(|value| value * 1.1).collect();
    learner.install(&moved).unwrap();
    let rows = rows(&learner, 12);
    let (plain, plain_aux) = gradient(&learner, &rows, AUX_SCALE, back);
    let mut burn = vec![0.0; plain.len()];
    let burn_aux = learner.composed_gradient(&rows, AUX_SCALE, &mut burn, back).unwrap();
    assert!((plain_aux - burn_aux).abs() < 1e-4 * burn_aux.abs(), "{plain_aux} and {burn_aux}");
    for slot in parameters::parameter_slots(&*learner.net) {
        let found = distance(&plain[slot.range.clone()], &burn[slot.range.clone()]);
        assert!(found < 1e-4, "{}: {found}", slot.name);
    }
}

#[test]
fn what_is_detached_teaches_its_own_layer_only() {
    let widths = AheadWidths { detached: vec![4], attached: vec![3] };
    let EncoderLearner { spans, .. } = learner(&device::cpu());
    let net = MarketEncoder::new(Preset::Tiny, &widths, &mut ChaCha8Rng::seed_from_u64(5), &device::cpu());
    let learner = EncoderLearner::new(net, spans, device::cpu());
    let rows = rows(&learner, 8);
    // A loss on the detached columns alone: the first 4 of 7.
    let only_detached = |ahead: &[f32]| (0..ahead.len()).map(|i| if i % 7 < 4 { 1.0 } else { 0.0 }).collect();
    let (gradient, _) = gradient(&learner, &rows, 0.0, only_detached);
    for slot in parameters::parameter_slots(&*learner.net) {
        let moved = gradient[slot.range].iter().any(|g| *g != 0.0);
        assert_eq!(slot.name.contains("detached"), moved, "{}", slot.name);
    }
}

/// A batch of replayed samples on the rows of an encoder.
fn replayed(encoder: &EncoderLearner, batch: usize) -> ReplayBatch {
    let rows = rows(encoder, batch + 1);
    let any = |len: usize, salt: usize| (0..len).map(|i| ((i * 37 + salt) % 101) as f32 / 50.0 - 1.0).collect::<Vec<f32>>();
    let column = |from: usize| rows[from..from + batch].iter().map(|row| row.1).collect::<Vec<u32>>();
    ReplayBatch {
        batch,
        observation_width: 2,
        action_width: 1,
        table: vec![0; batch],
        row: column(0),
        next_table: vec![0; batch],
        next_row: column(1),
        observation: any(2 * batch, 1),
        next_observation: any(2 * batch, 2),
        action: (0..batch).map(|i| (i % 3) as f32).collect(),
        reward: any(batch, 3),
        discount: vec![0.9; batch],
        weight: vec![1.0; batch],
        reward_scale: 1.0,
        ..ReplayBatch::default()
    }
}

#[test]
fn replayed_samples_teach_the_same_whatever_is_alive_at_once() {
    let device = device::cpu();
    let qrdqn = QrdqnConfig { num_quantiles: 4, ..QrdqnConfig::default() };
    let shape = qrdqn.head(2, true, &[8], Activation::Relu, 3);
    let widths = AheadWidths { detached: Vec::new(), attached: vec![shape.ahead_width()] };
    let spans = learner(&device).spans;
    let run = |micro_batch: usize, rungs: [Rung; 3]| {
        let net = MarketEncoder::new(Preset::Small, &widths, &mut ChaCha8Rng::seed_from_u64(5), &device);
        let encoder = EncoderLearner::new(net, spans.clone(), device.clone());
        let batch = replayed(&encoder, 36);
        let heads = Box::new(QrdqnLearner::new(qrdqn.clone(), shape.clone(), 3));
        let plan = BatchPlan { micro_batch, accumulation_steps: 1, checkpointing: Checkpointing::Off, predicted_bytes: 0 };
        let settings = EncoderConfig { grad_block: 8, ..EncoderConfig::default() };
        let mut learner = ReplayLearner::new(heads, Some((encoder, settings)), plan);
        for rung in rungs {
            learner.thrift().unwrap().set(rung);
            learner.learn(&batch).unwrap();
        }
        (learner.encoder().unwrap().parameters().to_vec(), learner.heads().parameters().to_vec())
    };
    let whole = run(36, [Rung::Rest; 3]);
    for micro_batch in [8, 16, 24] {
        assert_eq!(whole, run(micro_batch, [Rung::Rest; 3]), "{micro_batch} alive");
    }
    // Pressure that rises and falls between the updates.
    assert_eq!(whole, run(36, [Rung::Compress, Rung::Shed, Rung::Spill]));
}

#[test]
fn a_block_weighs_what_its_room_holds_and_less_where_it_is_computed_again() {
    let device = device::cpu();
    let widths = AheadWidths { detached: Vec::new(), attached: vec![16] };
    let net = MarketEncoder::new(Preset::Small, &widths, &mut ChaCha8Rng::seed_from_u64(5), &device);
    let encoder = EncoderLearner::new(net, learner(&device).spans, device);
    let weigh = |count: usize, keep| encoder.weigh(&encoder.ready_rows(count), keep).unwrap().unwrap();
    let [all, selected, segments] = [Keep::Everything, Keep::Selected, Keep::Segments(1)].map(|keep| weigh(16, keep));
    assert!(segments < selected && selected < all, "{segments} {selected} {all}");
    // Twice the samples, twice the bytes, but for buffers that grow in steps.
    let ratio = weigh(32, Keep::Everything) as f64 / all as f64;
    assert!((1.8..=2.2).contains(&ratio), "{ratio}");
}

#[test]
fn blocks_add_up_to_the_whole() {
    let learner = learner(&device::cpu());
    let rows = rows(&learner, 16);
    let (whole, whole_aux) = gradient(&learner, &rows, AUX_SCALE, back);
    let d_ahead = back(&learner.ahead(&rows).unwrap());
    let mut blocks = Blocks::new(whole.len());
    let mut sum = blocks.sum(Vec::new(), 2);
    let halves = rows.par_chunks(8).zip(d_ahead.par_chunks(d_ahead.len() / 2));
    let aux = sum.add(halves, |(rows, d), gradient| learner.gradient(rows, AUX_SCALE, Keep::Everything, gradient, |_| d.to_vec()));
    let (found, aux) = (distance(&sum.finish(), &whole), aux.unwrap().iter().sum::<f64>());
    assert!(found < 1e-5, "{found}");
    assert!((aux - whole_aux).abs() < 1e-3 * whole_aux.abs());
}

#[test]
fn the_gradient_is_the_slope_along_itself() {
    let mut learner = learner(&device::cpu());
    let rows = rows(&learner, 8);
    let at = learner.parameters().to_vec();
    let weights = back(&learner.ahead(&rows).unwrap());
    let (gradient, _) = gradient(&learner, &rows, 0.0, |_| weights.clone());
    let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    let mut loss = |by: f64| {
        let moved: Vec<f32> = at.iter().zip(&gradient).map(|(p, g)| p + (by * f64::from(*g) / norm) as f32).collect();
        learner.install(&moved).unwrap();
        learner.ahead(&rows).unwrap().iter().zip(&weights).map(|(y, w)| f64::from(y * w)).sum::<f64>()
    };
    let slope = (loss(1e-2) - loss(-1e-2)) / 2e-2;
    assert!((slope - norm).abs() < 1e-2 * norm, "{slope}, by the gradient {norm}");
}

#[test]
fn a_few_steps_on_software_vulkan_agree_with_the_processor() {
    let Ok(wgpu) = device::resolve(DeviceChoice::Wgpu, 0) else {
        println!("skipped: no Vulkan, Metal or DirectX adapter here (Debian: mesa-vulkan-drivers)");
        return;
    };
    let train = |device: &Device| {
        let mut learner = learner(device);
        let rows = rows(&learner, 16);
        let mut parameters = learner.parameters().to_vec();
        let mut adam = Adam::new(parameters.len());
        for _ in 0..3 {
            let (gradient, _) = gradient(&learner, &rows, AUX_SCALE, back);
            adam.step(&mut parameters, &gradient, 1e-3, 1e-5, 0.5);
            learner.install(&parameters).unwrap();
        }
        (parameters, gradient(&learner, &rows, AUX_SCALE, back).1)
    };
    let ((cpu, cpu_aux), (other, other_aux)) = (train(&device::cpu()), train(&wgpu));
    let found = distance(&other, &cpu);
    assert!(found < 1e-3, "{found}");
    assert!((cpu_aux - other_aux).abs() < 1e-3 * cpu_aux.abs().max(1.0), "{cpu_aux} on the processor, {other_aux} on the adapter");
    // The adapter is really used: a tensor made there reads back.
    let there = Tensor::<Infer, 1>::from_data(TensorData::new(vec![1.5f32], [1]), &wgpu);
    assert_eq!(vec![1.5f32], read(there).unwrap());
}
