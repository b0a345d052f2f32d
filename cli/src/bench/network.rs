//! Embedders, head and the gradient of the market's encoder.

use std::hint::black_box;

use anyhow::Result;
<<<<<<< HEAD
=======
use burn::{
    module::AutodiffModule,
    optim::GradientsParams,
    tensor::{Tensor, TensorData},
};
>>>>>>> bench
use grandmodel_agents::{
    config::ModelConfig,
    encoder::{ActingMixer, AheadWidths, MarketEncoder},
    env::ACCOUNT_WIDTH,
    head::{Head, HeadScratch, HeadShape},
    heads::{ActorCritic, Memory},
    space::ActionSpace,
};
use grandmodel_embedders::{
<<<<<<< HEAD
    EMBEDDING_DIM, EmbedderModule, Preset, Weights,
    device::{self, Infer},
    embed_rows,
    ops::kernels,
    parameters,
    plain::{OutputGradient, Plain},
};
use grandmodel_market::TableSpan;
use grandmodel_trainer::{adam::Adam, encoder::EncoderLearner};
=======
    EMBEDDING_DIM, EmbedderModule, EmbedderStack, LvnModule, Preset, RegimeModule, StructureModule, TacticalModule,
    device::{self, Device, Infer, Train},
    embed_rows, parameters,
};
use grandmodel_market::TableSpan;
use grandmodel_trainer::{
    adam::{Adam, TreeSum},
    encoder::EncoderLearner,
};
>>>>>>> bench
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rayon::prelude::*;

use super::{Bench, flops::Flops, market};

/// Windows of one forward pass, samples of one training step.
const WINDOWS: usize = 256;
const BATCH: usize = 64;

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
<<<<<<< HEAD
        forward(bench, &format!("network: {tag} structure forward"), stack.structure.clone(), &table, &rows);
        forward(bench, &format!("network: {tag} tactical forward"), stack.tactical.clone(), &table, &rows);
        forward(bench, &format!("network: {tag} regime forward"), stack.regime.clone(), &table, &rows);
        forward(bench, &format!("network: {tag} lvn forward"), stack.lvn.clone(), &table, &rows);
        train(bench, &tag, &stack.structure);
        train(bench, &tag, &stack.tactical);
        train(bench, &tag, &stack.regime);
        train(bench, &tag, &stack.lvn);
=======
        forward(bench, &format!("network: {tag} structure forward"), &stack.structure, &table, &rows);
        forward(bench, &format!("network: {tag} tactical forward"), &stack.tactical, &table, &rows);
        forward(bench, &format!("network: {tag} regime forward"), &stack.regime, &table, &rows);
        forward(bench, &format!("network: {tag} lvn forward"), &stack.lvn, &table, &rows);
        train::<StructureModule<Train>>(bench, preset, &stack.structure, &cpu);
        train::<TacticalModule<Train>>(bench, preset, &stack.tactical, &cpu);
        train::<RegimeModule<Train>>(bench, preset, &stack.regime, &cpu);
        train::<LvnModule<Train>>(bench, preset, &stack.lvn, &cpu);
>>>>>>> bench
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
        bench.row(&format!("network: {tag} encoder gradient, one thread"), "samples", BATCH, || {
            drop(black_box(learner.gradient(&samples, 1e-3, |ahead| vec![1e-3; ahead.len()])));
        });
    }
    let full = EmbedderStack::<Infer>::new(Preset::Full, &mut ChaCha8Rng::seed_from_u64(1), &cpu);
    train::<StructureModule<Train>>(bench, Preset::Full, &full.structure, &cpu);
    train::<TacticalModule<Train>>(bench, Preset::Full, &full.tactical, &cpu);
    Ok(())
}

fn forward<M: EmbedderModule<Infer> + Sync>(
    bench: &mut Bench,
    name: &str,
    module: M,
    table: &grandmodel_market::FeatureTable,
    rows: &[u32],
) {
    let weights = Weights::of(module);
    bench.row(name, "windows", rows.len(), || drop(black_box(embed_rows(&weights, table, rows))));
}

<<<<<<< HEAD
/// Forward, backward of the mean of all outputs, and Adam; on two threads each takes half of the batch.
fn train<M: EmbedderModule<Infer>>(bench: &mut Bench, tag: &str, module: &M) {
    let (net, mut parameters) = (module.plain(), parameters::to_flat(module));
    let (width, dim) = (M::KIND.input_len(), M::KIND.dim());
    let inputs: Vec<f32> = (0..BATCH * width).map(|i| ((i * 37 % 101) as f32 / 50.0) - 1.0).collect();
    let (d_mean, d_aux) = (vec![1.0 / (BATCH * dim) as f32; BATCH * dim], vec![1.0 / (BATCH * 4) as f32; BATCH * 4]);
    let mut adam = Adam::new(parameters.len());
    for threads in [1, 2] {
        let per_thread = BATCH / threads;
        let mut rooms: Vec<_> = (0..threads).map(|_| (<M::Plain as Plain>::Tape::default(), vec![0.0; parameters.len()])).collect();
        let name = format!("network: {tag} {} training step, {threads} thread{}", M::KIND, if threads > 1 { "s" } else { "" });
        bench.row(&name, "samples", BATCH, || {
            let work = |(index, (tape, gradient)): (usize, &mut (<M::Plain as Plain>::Tape, Vec<f32>))| {
                net.forward(&parameters, &inputs[index * per_thread * width..][..per_thread * width], tape);
                let outputs = OutputGradient {
                    mean: &d_mean[index * per_thread * dim..][..per_thread * dim],
                    aux: Some(&d_aux[index * per_thread * 4..][..per_thread * 4]),
                };
                gradient.fill(0.0);
                net.backward(&parameters, tape, &outputs, gradient);
            };
            if threads == 1 {
                rooms.iter_mut().enumerate().for_each(work);
            } else {
                rooms.par_iter_mut().enumerate().for_each(work);
            }
            let (first, others) = rooms.split_at_mut(1);
            let sum = &mut first[0].1;
            others.iter().for_each(|(_, gradient)| kernels::add(sum, gradient));
            adam.step(&mut parameters, sum, 1e-4, 1e-8, 0.5);
        });
    }
=======
/// Forward and backward of the mean of all outputs, and a step of Adam; of two threads each takes half of the windows.
fn train<M>(bench: &mut Bench, preset: Preset, module: &M::InnerModule, device: &Device)
where
    M: EmbedderModule<Train> + AutodiffModule<Train>,
    M::InnerModule: Clone + Sync,
{
    let width = M::KIND.input_len();
    let values: Vec<f32> = (0..BATCH * width).map(|i| ((i * 37 % 101) as f32 / 50.0) - 1.0).collect();
    for (threads, suffix) in [(1, ""), (2, ", two threads")] {
        let flops = Flops::of_training(M::KIND, preset, BATCH, threads);
        if threads > bench.threads() || (threads > 1 && flops.is_none()) {
            continue;
        }
        let (mut module, mut flat) = (module.clone(), parameters::to_flat(module));
        let mut adam = Adam::new(flat.len());
        let step = || {
            let gradients: Vec<Vec<f32>> =
                values.par_chunks(BATCH / threads * width).map(|block| gradient::<M>(&module, block, device)).collect();
            let mut sum = TreeSum::default();
            gradients.into_iter().for_each(|gradient| sum.push(gradient));
            adam.step(&mut flat, &sum.finish(), 1e-4, 1e-8, f32::INFINITY);
            module = parameters::from_flat(module.clone(), &flat).expect("Invariant: a step of a finite gradient is finite");
        };
        let name = format!("network: {preset:?} {} training step{suffix}", M::KIND).to_lowercase();
        match flops {
            Some(flops) => bench.row_of_flops(&name, "samples", BATCH, flops, step),
            None => bench.row(&name, "samples", BATCH, step),
        }
    }
}

/// Gradient of one block's share of the mean over the batch.
fn gradient<M>(module: &M::InnerModule, block: &[f32], device: &Device) -> Vec<f32>
where
    M: EmbedderModule<Train> + AutodiffModule<Train>,
{
    let module: M = parameters::training_copy(module);
    let shape = [block.len() / M::KIND.input_len(), M::KIND.input_len()];
    let output = module.embed(Tensor::<Train, 2>::from_data(TensorData::new(block.to_vec(), shape), device));
    let loss = (output.mean.mean() + output.aux.mean()) * (shape[0] as f32 / BATCH as f32);
    parameters::gradients_to_flat(&module, &GradientsParams::from_grads(loss.backward(), &module))
>>>>>>> bench
}
