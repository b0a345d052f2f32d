//! Embedders, policy, head and a whole PPO gradient.

use std::hint::black_box;

use anyhow::Result;
use burn::tensor::{Tensor, TensorData, backend::AutodiffBackend};
use grandmodel_agents::{actors::market_parts, env::ACCOUNT_WIDTH, head::HeadScratch, policy::AgentNet};
use grandmodel_embedders::{
    EMBEDDING_DIM, EmbedderModule, LvnModule, Preset, RegimeModule, StructureModule, TacticalModule,
    device::{self, Device, Infer, Train},
    embed_rows, parameters,
};
use grandmodel_trainer::{PpoConfig, batch::GradBatch, ppo::block_gradient};
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
        let net = AgentNet::<Infer>::new(preset, ACCOUNT_WIDTH, 3, &mut ChaCha8Rng::seed_from_u64(1), &cpu);
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
            drop(black_box(market_parts(&net.policy, &cpu, &embeddings)));
        });
        let head = net.policy.head();
        let (market, account) = (vec![0.1; head.hidden()], vec![0.2; ACCOUNT_WIDTH]);
        let (mut scratch, mut logits) = (HeadScratch::default(), vec![0.0; head.num_actions()]);
        bench.row(&format!("network: {tag} policy, per step"), "decisions", 1000, || {
            for _ in 0..1000 {
                black_box(head.forward(&market, &account, &mut scratch, &mut logits));
            }
        });
        let (batch, ppo) = (grad_batch(), PpoConfig::default());
        bench.row(&format!("network: {tag} PPO gradient, one thread"), "samples", BATCH, || {
            black_box(block_gradient(&net, &batch, BATCH, &ppo, &cpu));
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

/// A block of the right shapes with arbitrary numbers.
fn grad_batch() -> GradBatch {
    let values = |len: usize| (0..len).map(|i| ((i * 37 % 101) as f32 / 50.0) - 1.0).collect::<Vec<f32>>();
    GradBatch {
        batch: BATCH,
        structure: values(BATCH * 48 * 8),
        tactical: values(BATCH * 60 * 7),
        regime: values(BATCH * 8),
        lvn: values(BATCH * 5),
        account: values(BATCH * ACCOUNT_WIDTH),
        action: (0..BATCH as i32).map(|i| i % 3).collect(),
        log_prob: vec![-1.1; BATCH],
        value: values(BATCH),
        advantage: values(BATCH),
        returns: values(BATCH),
        base_label: values(BATCH * 2),
        base_weight: vec![1.0; BATCH],
        structure_label: values(BATCH * 2),
        structure_weight: vec![1.0; BATCH],
    }
}
