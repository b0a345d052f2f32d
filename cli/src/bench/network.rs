//! Embedders, head and the gradient of the market's encoder.

use std::hint::black_box;

use anyhow::Result;
use grandmodel_agents::{
    config::ModelConfig,
    encoder::{ActingMixer, AheadWidths, MarketEncoder},
    env::ACCOUNT_WIDTH,
    head::{Head, HeadScratch, HeadShape},
    heads::{ActorCritic, Memory},
    space::ActionSpace,
};
use grandmodel_embedders::{
    EMBEDDING_DIM, EmbedderModule, Preset, Weights,
    device::{self, Infer},
    embed_rows,
    embedding::AUX_WIDTH,
    ops::kernels,
    parameters,
    plain::{Keep, OutputGradient, Plain},
};
use grandmodel_market::TableSpan;
use grandmodel_trainer::{adam::Adam, encoder::EncoderLearner};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rayon::prelude::*;

use super::{Bench, flops::Flops, market};

/// Windows of one forward pass, samples of one training step.
const WINDOWS: usize = 256;
const BATCH: usize = 64;
/// Samples of one block of a training step.
const BLOCK: usize = 16;

/// Rows of this group.
///
/// # Errors
/// Tables that cannot be made.
pub fn rows(bench: &mut Bench) -> Result<()> {
    if !bench.wants("network") {
        return Ok(());
    }
    let table = market::table()?;
    let rows: Vec<u32> = (0..table.len()).filter(|row| table.is_ready(*row)).step_by(7).take(WINDOWS).map(|row| row as u32).collect();
    let cpu = device::cpu();
    for preset in [Preset::Tiny, Preset::Small, Preset::Full] {
        let tag = format!("{preset:?}").to_lowercase();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let model = ModelConfig { preset, ..ModelConfig::default() };
        let shape = ActorCritic::new(&model.actor_critic(ActionSpace::Discrete { num_actions: 3 }, ACCOUNT_WIDTH, true));
        let widths = AheadWidths { detached: Vec::new(), attached: shape.ahead_widths() };
        let net = MarketEncoder::<Infer>::new(preset, &widths, &mut rng, &cpu);
        let stack = &net.embedders;
        forward(bench, &tag, &stack.structure, &table, &rows);
        forward(bench, &tag, &stack.tactical, &table, &rows);
        forward(bench, &tag, &stack.regime, &table, &rows);
        forward(bench, &tag, &stack.lvn, &table, &rows);
        train(bench, preset, &stack.structure);
        train(bench, preset, &stack.tactical);
        train(bench, preset, &stack.regime);
        train(bench, preset, &stack.lvn);
        let embeddings = vec![0.1; WINDOWS * EMBEDDING_DIM];
        let mixer = ActingMixer::of(net.mixer.clone(), &cpu);
        bench.row(&format!("network: {tag} policy, market part"), "rows", WINDOWS, || {
            drop(black_box(mixer.market_parts(&embeddings)));
        });
        let (ahead, account, mut logits) = (vec![0.1; shape.ahead_width()], vec![0.2; ACCOUNT_WIDTH], vec![0.0; 3]);
        let head = Head { parameters: shape.init(model.init, 0.0, &mut rng).into(), shape: HeadShape::ActorCritic(shape) };
        let mut scratch = HeadScratch::default();
        bench.row(&format!("network: {tag} policy, per step"), "decisions", 1000, || {
            for _ in 0..1000 {
                let mut memory = Memory { lanes: 1, starts: &[], state: &mut [] };
                head.prefer(&account, Some(&ahead), &[], &mut memory, &mut scratch, &mut logits);
                black_box(&logits);
            }
        });
        let learner = EncoderLearner::new(net.clone(), vec![TableSpan::whole(table.clone())], cpu.clone());
        let samples: Vec<(u16, u32)> = rows.iter().take(BATCH).map(|row| (0, *row)).collect();
        let mut gradient = vec![0.0; learner.num_parameters()];
        bench.row(&format!("network: {tag} encoder gradient, one thread"), "samples", BATCH, || {
            drop(black_box(learner.gradient(&samples, 1e-3, Keep::Everything, &mut gradient, |ahead| vec![1e-3; ahead.len()])));
        });
    }
    Ok(())
}

fn forward<M: EmbedderModule<Infer> + Sync>(
    bench: &mut Bench,
    preset: &str,
    module: &M,
    table: &grandmodel_market::FeatureTable,
    rows: &[u32],
) {
    let rounded = Weights::rounded(module.clone());
    let mut ways = vec![("", Weights::of(module.clone()))];
    if rounded.bytes() < ways[0].1.bytes() {
        ways.push((", int8", rounded));
    }
    for (suffix, weights) in &ways {
        for (rows, of_one) in [(rows, ""), (&rows[..1], ", one window")] {
            let name = format!("network: {preset} {} forward{of_one}{suffix}", M::KIND).to_lowercase();
            bench.row(&name, "windows", rows.len(), || drop(black_box(embed_rows(weights, table, rows))));
        }
    }
}

/// Forward and backward of the mean of all outputs, and a step of Adam; of two threads each takes half of the windows.
fn train<M: EmbedderModule<Infer>>(bench: &mut Bench, preset: Preset, module: &M) {
    let (net, mut parameters) = (module.plain(), parameters::to_flat(module));
    let (width, dim) = (M::KIND.input_len(), M::KIND.dim());
    let inputs: Vec<f32> = (0..BATCH * width).map(|i| ((i * 37 % 101) as f32 / 50.0) - 1.0).collect();
    let (d_mean, d_aux) = (vec![1.0 / (BATCH * dim) as f32; BATCH * dim], vec![1.0 / (BATCH * AUX_WIDTH) as f32; BATCH * AUX_WIDTH]);
    let mut adam = Adam::new(parameters.len());
    for (threads, suffix) in [(1, ""), (2, ", two threads")] {
        let flops = Flops::of_training(M::KIND, preset, BATCH, threads);
        if threads > bench.threads() || (threads > 1 && flops.is_none()) {
            continue;
        }
        let mut rooms: Vec<_> = (0..threads).map(|_| (<M::Plain as Plain>::Tape::default(), vec![0.0; parameters.len()])).collect();
        let step = || {
            let work = |(half, (tape, gradient)): (usize, &mut (<M::Plain as Plain>::Tape, Vec<f32>))| {
                gradient.fill(0.0);
                // Blocks as large as those of a run.
                for block in 0..BATCH / threads / BLOCK {
                    let first = (half * BATCH / threads) + block * BLOCK;
                    net.forward(&parameters, &inputs[first * width..][..BLOCK * width], Keep::Everything, tape);
                    let outputs = OutputGradient { mean: &d_mean[first * dim..][..BLOCK * dim], aux: Some(&d_aux[..BLOCK * AUX_WIDTH]) };
                    net.backward(&parameters, tape, &outputs, gradient);
                }
            };
            if threads == 1 {
                rooms.iter_mut().enumerate().for_each(work);
            } else {
                rooms.par_iter_mut().enumerate().for_each(work);
            }
            let (first, others) = rooms.split_at_mut(1);
            let sum = &mut first[0].1;
            others.iter().for_each(|(_, gradient)| kernels::add(sum, gradient));
            adam.step(&mut parameters, sum, 1e-4, 1e-8, f32::INFINITY);
        };
        let name = format!("network: {preset:?} {} training step{suffix}", M::KIND).to_lowercase();
        match flops {
            Some(flops) => bench.row_of_flops(&name, "samples", BATCH, flops, step),
            None => bench.row(&name, "samples", BATCH, step),
        }
    }
}
