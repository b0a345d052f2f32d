//! Embeddings with large matrices in int8: near those of f32, and the same at every instruction set.

use super::inputs::{normals, stack};
use crate::{
    EmbedderModule, Preset,
    device::Infer,
    embed::{Weights, embed_inputs},
    ops::kernels::simd::{Level, with_level},
    plain::{Keep, Plain, TacticalTape},
};

fn embed<M: EmbedderModule<Infer> + Sync>(weights: &Weights<M>) -> Vec<f32> {
    let inputs = normals(8, 40 * M::KIND.input_len());
    embed_inputs(weights, 40, |index, out| out.copy_from_slice(&inputs[index * out.len()..][..out.len()]))
}

/// Bytes and embeddings are those of int8; embeddings have about unit variance, so the root mean square of the difference is relative.
fn check<M: EmbedderModule<Infer> + Sync>(module: M, shrinks_to: f64, rms_max: f64) {
    let (plain, rounded) = (Weights::of(module.clone()), Weights::rounded(module));
    let share = rounded.bytes() as f64 / plain.bytes() as f64;
    assert!(share < shrinks_to, "{:?}: {share} of the bytes", M::KIND);
    let (found, expected) = (embed(&rounded), embed(&plain));
    let sum: f64 = found.iter().zip(&expected).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let rms = (sum / found.len() as f64).sqrt();
    assert!(rms < rms_max && (rms > 0.0) == (share < 1.0), "{:?}: root mean square {rms}", M::KIND);
}

#[test]
fn embeddings_are_near_those_of_f32() {
    let (small, full) = (stack(Preset::Small, 1), stack(Preset::Full, 1));
    check(small.tactical, 0.5, 0.02);
    check(full.structure, 0.3, 0.02);
    check(full.tactical, 0.3, 0.02);
    // Too small to gain anything.
    check(small.structure, 1.01, 0.02);
    check(full.regime, 1.01, 0.02);
    check(full.lvn, 1.01, 0.02);
}

#[test]
fn every_instruction_set_gives_the_same_sums() {
    let Weights::Plain { module, parameters, .. } = Weights::rounded(stack(Preset::Full, 1).tactical) else { panic!("on a CPU") };
    let inputs = normals(8, 3 * 60 * 7);
    // Not through `embed_inputs`, whose threads have levels of their own.
    let of = |level| {
        with_level(level, || {
            let mut tape = TacticalTape::default();
            module.forward(&parameters, &inputs, Keep::Outputs, &mut tape);
            module.outputs(&tape).mean.clone()
        })
    };
    let base = of(Level::Base);
    assert!(base.as_ref().is_some_and(|base| base.len() == 3 * 48));
    for level in [Level::Avx2, Level::Avx512] {
        assert!(of(level).is_none_or(|found| Some(found) == base), "{level}");
    }
}
