//! Embedders, head and the gradient of the market's encoder.

use std::hint::black_box;

use anyhow::Result;
use burn::tensor::{Tensor, TensorData, backend::AutodiffBackend};
use grandmodel_agents::{
    actors::market_parts,
    config::ModelConfig,
    encoder::{AheadWidths, MarketEncoder},
    env::ACCOUNT_WIDTH,
    head::{Head, HeadScratch, HeadShape},
    heads::{ActorCritic, Memory},
    space::ActionSpace,
};
use grandmodel_embedders::{
    EMBEDDING_DIM, EmbedderModule, LvnModule, Preset, RegimeModule, StructureModule, TacticalModule,
    device::{self, Device, Infer, Train},
    embed_rows, parameters,
};
use grandmodel_market::TableSpan;
use grandmodel_trainer::encoder::EncoderLearner;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::{Bench, market};

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
    for preset in [Preset::Tiny, Preset::Small] {
        let tag = format!("{preset:?}").to_lowercase();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let model = ModelConfig { preset, ..ModelConfig::default() };
        let shape = ActorCritic::new(&model.actor_critic(ActionSpace::Discrete { num_actions: 3 }, ACCOUNT_WIDTH, true));
        let widths = AheadWidths { detached: Vec::new(), attached: shape.ahead_widths() };
        let net = MarketEncoder::<Infer>::new(preset, &widths, &mut rng, &cpu);
        let stack = &net.embedders;
        forward(bench, &format!("network: {tag} structure forward"), &stack.structure, &table, &rows);
        forward(bench, &format!("network: {tag} tactical forward"), &stack.tactical, &table, &rows);
        forward(bench, &format!("network: {tag} regime forward"), &stack.regime, &table, &rows);
        forward(bench, &format!("network: {tag} lvn forward"), &stack.lvn, &table, &rows);
        train::<StructureModule<Train>>(bench, &format!("network: {tag} structure training step"), &stack.structure, &cpu);
        train::<TacticalModule<Train>>(bench, &format!("network: {tag} tactical training step"), &stack.tactical, &cpu);
        train::<RegimeModule<Train>>(bench, &format!("network: {tag} regime training step"), &stack.regime, &cpu);
        train::<LvnModule<Train>>(bench, &format!("network: {tag} lvn training step"), &stack.lvn, &cpu);
        let embeddings = vec![0.1; WINDOWS * EMBEDDING_DIM];
        bench.row(&format!("network: {tag} policy, market part"), "rows", WINDOWS, || {
            drop(black_box(market_parts(&net.mixer, &cpu, &embeddings)));
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
            drop(black_box(learner.gradient(samples.iter().copied(), 1e-3, |ahead| vec![1e-3; ahead.len()])));
        });
    }
    Ok(())
}

fn forward<M: EmbedderModule<Infer> + Sync>(
    bench: &mut Bench,
    name: &str,
    module: &M,
    table: &grandmodel_market::FeatureTable,
    rows: &[u32],
) {
    bench.row(name, "windows", rows.len(), || drop(black_box(embed_rows(module, table, rows))));
}

/// Forward and backward of the mean of all outputs.
fn train<M>(bench: &mut Bench, name: &str, module: &M::InnerModule, device: &Device)
where
    M: EmbedderModule<Train> + burn::module::AutodiffModule<Train>,
    M::InnerModule: Clone,
{
    let width = M::KIND.input_len();
    let values: Vec<f32> = (0..BATCH * width).map(|i| ((i * 37 % 101) as f32 / 50.0) - 1.0).collect();
    bench.row(name, "samples", BATCH, || {
        let module: M = parameters::training_copy(module);
        let inputs = Tensor::<Train, 2>::from_data(TensorData::new(values.clone(), [BATCH, width]), device);
        let output = module.embed(inputs);
        let loss = (output.mean.mean() + output.aux.mean()).into_primitive().tensor();
        drop(black_box(<Train as AutodiffBackend>::backward(loss)));
    });
}
