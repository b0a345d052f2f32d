//! The same weights in plain PyTorch give the same outputs and gradients; `tests/pytorch_golden.py` wrote the expected numbers.

use burn::{
    optim::GradientsParams,
    tensor::{Tensor, backend::Backend},
};
use safetensors::SafeTensors;

use super::inputs::{stack, tensor, values};
use crate::{
    EmbedderInputs, EmbedderKind, EmbedderStack, Preset, StackEmbedding,
    device::{self, Infer, Train},
    gaussian_nll,
    parameters::{gradients_to_flat, parameter_slots, training_copy},
    weights,
};

const TINY_WEIGHTS: &[u8] = include_bytes!("../../tests/golden/tiny_weights.safetensors");
const TINY_EXPECTED: &[u8] = include_bytes!("../../tests/golden/tiny_expected.safetensors");
const SMALL_EXPECTED: &[u8] = include_bytes!("../../tests/golden/small_expected.safetensors");
/// The small preset's weights are too large to keep: they are drawn again from this seed.
const SEED: u64 = 2026;

fn read(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(file.tensor(name).unwrap().data())
}

fn read_tensor<B: Backend, const D: usize>(file: &SafeTensors<'_>, name: &str, device: &B::Device) -> Tensor<B, D> {
    let shape: [usize; D] = file.tensor(name).unwrap().shape().try_into().unwrap();
    tensor(read(file, name), shape, device)
}

fn forward<B: Backend>(stack: &EmbedderStack<B>, file: &SafeTensors<'_>, device: &B::Device) -> StackEmbedding<B> {
    stack.forward(EmbedderInputs {
        structure: read_tensor(file, "input.structure", device),
        tactical: read_tensor(file, "input.tactical", device),
        regime: read_tensor(file, "input.regime", device),
        lvn: read_tensor(file, "input.lvn", device),
    })
}

fn largest_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).fold(0.0, |largest: f32, (found, expected)| largest.max((found - expected).abs()))
}

fn check_outputs(stack: &EmbedderStack<Infer>, expected: &[u8]) {
    let file = SafeTensors::deserialize(expected).unwrap();
    let output = forward(stack, &file, &device::cpu());
    for ((kind, mean), aux) in EmbedderKind::ALL.iter().zip(output.means).zip(output.aux) {
        for (part, found) in [("mean", mean), ("aux", aux)] {
            let error = largest_error(&values(found), &read(&file, &format!("{part}.{kind}")));
            assert!(error < 1e-5, "{part} of {kind} is off by {error}");
        }
    }
}

#[test]
fn tiny_gives_pytorchs_outputs() {
    check_outputs(&weights::from_bytes(stack(Preset::Tiny, 1), TINY_WEIGHTS).unwrap(), TINY_EXPECTED);
}

#[test]
fn small_gives_pytorchs_outputs() {
    check_outputs(&stack(Preset::Small, SEED), SMALL_EXPECTED);
}

#[test]
fn tiny_gives_pytorchs_gradients() {
    let plain = weights::from_bytes(stack(Preset::Tiny, 1), TINY_WEIGHTS).unwrap();
    let file = SafeTensors::deserialize(TINY_EXPECTED).unwrap();
    let device = device::cpu();
    let net: EmbedderStack<Train> = training_copy(&plain);
    let output = forward(&net, &file, &device);
    let labels: Tensor<Train, 2> = read_tensor(&file, "labels", &device);
    let mut loss = Tensor::<Train, 1>::zeros([1], &device);
    for ((kind, mean), aux) in EmbedderKind::ALL.iter().zip(output.means).zip(output.aux) {
        let direction = read_tensor::<Train, 2>(&file, &format!("direction.{kind}"), &device);
        loss = loss + (mean * direction).sum() + gaussian_nll(aux, labels.clone()).sum();
    }
    let expected_loss = read(&file, "loss")[0];
    assert!((values(loss.clone())[0] - expected_loss).abs() < 1e-5 * expected_loss.abs().max(1.0));

    let gradient = gradients_to_flat(&net, &GradientsParams::from_grads(loss.backward(), &net));
    let mut num_compared = 0;
    for (name, found) in weights::to_torch(&parameter_slots(&plain), &gradient) {
        // The second bias of an LSTM has the gradient of the first; ours is one.
        if name.contains("bias_hh") {
            continue;
        }
        let expected = read(&file, &format!("grad.{name}"));
        let scale = expected.iter().fold(0.0f32, |top, value| top.max(value.abs()));
        let error = largest_error(&found.values, &expected);
        assert!(scale > 0.0 && error < 1e-4 * scale + 1e-5, "gradient of {name} is off by {error}, its largest value is {scale}");
        num_compared += expected.len();
    }
    assert!(num_compared > 28_000, "{num_compared} gradients compared");
}

#[test]
fn write_golden_weights() {
    // No test: writes the weights that tests/pytorch_golden.py reads, where a folder for them is named.
    let Some(folder) = std::env::var_os("GRANDMODEL_GOLDEN_OUT").map(std::path::PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).unwrap();
    // Fresh biases are 0 and fresh gains 1, which would hide a bias in the wrong place: everything is moved a little.
    let plain = stack(Preset::Tiny, SEED);
    let moved: Vec<f32> = crate::parameters::to_flat(&plain)
        .iter()
        .zip(super::inputs::normals(SEED, crate::parameters::num_parameters(&plain)))
        .map(|(weight, normal)| weight + 0.1 * normal)
        .collect();
    weights::save(&crate::parameters::from_flat(plain, &moved).unwrap(), &folder.join("tiny_weights.safetensors")).unwrap();
    weights::save(&stack(Preset::Small, SEED), &folder.join("small_weights.safetensors")).unwrap();
}
