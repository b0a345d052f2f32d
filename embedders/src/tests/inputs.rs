//! What several tests need: seeded inputs, a stack, and a table with ready rows.

use std::sync::{Arc, LazyLock};

use burn::tensor::{Tensor, TensorData, backend::Backend};
use grandmodel_market::{
    FeatureTable,
    features::FeatureConfig,
    features::{LVN_FEATURES, REGIME_FEATURES, STRUCTURE_FEATURES, STRUCTURE_WINDOW, TACTICAL_FEATURES, TACTICAL_WINDOW},
    synth::{self, SynthConfig},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::{
    EmbedderInputs, EmbedderKind, EmbedderStack, Preset,
    device::{self, Infer},
};

pub fn stack(preset: Preset, seed: u64) -> EmbedderStack<Infer> {
    EmbedderStack::new(preset, &mut ChaCha8Rng::seed_from_u64(seed), &device::cpu())
}

pub fn normals(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.sample(StandardNormal)).collect()
}

pub fn tensor<B: Backend, const D: usize>(values: Vec<f32>, shape: [usize; D], device: &B::Device) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

pub fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().into_vec().unwrap()
}

/// Standard normal inputs of `batch` samples.
pub fn normal_inputs<B: Backend>(seed: u64, batch: usize, device: &B::Device) -> EmbedderInputs<B> {
    let draw = |kind: EmbedderKind| normals(seed * 4 + kind as u64, batch * kind.input_len());
    EmbedderInputs {
        structure: tensor(draw(EmbedderKind::Structure), [batch, STRUCTURE_WINDOW, STRUCTURE_FEATURES], device),
        tactical: tensor(draw(EmbedderKind::Tactical), [batch, TACTICAL_WINDOW, TACTICAL_FEATURES], device),
        regime: tensor(draw(EmbedderKind::Regime), [batch, REGIME_FEATURES], device),
        lvn: tensor(draw(EmbedderKind::Lvn), [batch, LVN_FEATURES], device),
    }
}

/// A synthetic market after its warm-up, with 600 ready rows.
pub fn table() -> Arc<FeatureTable> {
    static TABLE: LazyLock<Arc<FeatureTable>> = LazyLock::new(|| {
        let path = synth::generate(&SynthConfig::default(), 7, synth::WARM_UP_BARS + 600).unwrap();
        Arc::new(FeatureTable::build(&path.series, &FeatureConfig::default()).unwrap())
    });
    TABLE.clone()
}

/// The last `count` rows of [`table`], all ready.
pub fn ready_rows(count: usize) -> Vec<u32> {
    let table = table();
    let rows: Vec<u32> = (table.len() - count..table.len()).map(|row| row as u32).collect();
    assert!(rows.iter().all(|row| table.is_ready(*row as usize)), "the last {count} of {} rows are ready", table.len());
    rows
}
