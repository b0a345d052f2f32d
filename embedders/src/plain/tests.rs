//! Plain modules against Burn's: outputs, gradients of every parameter, and no trace of an earlier, larger batch.

use burn::{optim::GradientsParams, tensor::Tensor};

use super::*;
use crate::{
    EmbedderStack, Preset,
    device::{self, Train},
    parameters::{gradients_to_flat, parameter_slots, to_flat, training_copy},
    tests::inputs::{normal_inputs, normals, stack, tensor, values},
};

/// Outputs and gradients of one batch.
struct Outcome {
    outputs: Vec<f32>,
    gradient: Vec<f32>,
}

/// Any gradients of the outputs, by embedder: of means, then of auxiliary heads.
fn directions(batch: usize) -> Vec<[Vec<f32>; 2]> {
    EmbedderKind::ALL.iter().map(|kind| [normals(40 + *kind as u64, batch * kind.dim()), normals(80 + *kind as u64, batch * 4)]).collect()
}

fn of_burn(preset: Preset, seed: u64, batch: usize) -> Outcome {
    let device = device::cpu();
    let net: EmbedderStack<Train> = training_copy(&stack(preset, 1));
    let output = net.forward(normal_inputs(seed, batch, &device));
    let mut loss = Tensor::<Train, 1>::zeros([1], &device);
    let mut outputs = Vec::new();
    for ((mean, aux), [d_mean, d_aux]) in output.means.into_iter().zip(output.aux).zip(directions(batch)) {
        outputs.extend(values(mean.clone()));
        outputs.extend(values(aux.clone()));
        let (shape, aux_shape) = (mean.dims(), aux.dims());
        loss = loss + (mean * tensor(d_mean, shape, &device)).sum() + (aux * tensor(d_aux, aux_shape, &device)).sum();
    }
    Outcome { outputs, gradient: gradients_to_flat(&net, &GradientsParams::from_grads(loss.backward(), &net)) }
}

fn of_plain(preset: Preset, seed: u64, batch: usize, tape: &mut StackTape) -> Outcome {
    keeping(Keep::Everything, preset, seed, batch, tape)
}

fn keeping(keep: Keep, preset: Preset, seed: u64, batch: usize, tape: &mut StackTape) -> Outcome {
    let burn = stack(preset, 1);
    let (net, parameters) = (PlainStack::of(&burn), to_flat(&burn));
    let inputs = normal_inputs::<device::Infer>(seed, batch, &device::cpu());
    let (structure, tactical) = (values(inputs.structure), values(inputs.tactical));
    let (regime, lvn) = (values(inputs.regime), values(inputs.lvn));
    net.forward(&parameters, &StackInputs { structure: &structure, tactical: &tactical, regime: &regime, lvn: &lvn }, keep, tape);
    let outputs = net.outputs(tape).iter().flat_map(|of| [&of.mean[..], &of.aux].concat()).collect();
    let directions = directions(batch);
    let of = [0, 1, 2, 3].map(|i: usize| OutputGradient { mean: &directions[i][0], aux: Some(&directions[i][1]) });
    let mut gradient = vec![0.0; net.num_parameters()];
    net.backward(&parameters, tape, &of, &mut gradient);
    Outcome { outputs, gradient }
}

#[test]
fn plain_modules_are_burns_modules() {
    for (preset, batch) in [(Preset::Tiny, 5), (Preset::Small, 3), (Preset::Full, 2)] {
        let (found, expected) = (of_plain(preset, 3, batch, &mut StackTape::default()), of_burn(preset, 3, batch));
        for (found, expected) in found.outputs.iter().zip(&expected.outputs) {
            assert!((found - expected).abs() < 1e-5, "{preset:?}: an output was {found}, Burn's {expected}");
        }
        assert_eq!(expected.gradient.len(), found.gradient.len());
        for slot in parameter_slots(&stack(preset, 1)) {
            let (found, expected) = (&found.gradient[slot.range.clone()], &expected.gradient[slot.range.clone()]);
            let scale = expected.iter().fold(1.0f32, |most, g| most.max(g.abs()));
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= 2e-5 * scale, "{preset:?} {}: {found}, Burn's {expected}", slot.name);
            }
        }
    }
}

#[test]
fn a_tape_forgets_the_batch_before() {
    let mut used = StackTape::default();
    of_plain(Preset::Small, 9, 7, &mut used);
    let (again, fresh) = (of_plain(Preset::Small, 3, 2, &mut used), of_plain(Preset::Small, 3, 2, &mut StackTape::default()));
    assert_eq!(fresh.outputs, again.outputs);
    assert_eq!(fresh.gradient, again.gradient);
}

#[test]
fn what_is_computed_again_has_the_same_bits_and_takes_less() {
    for preset in [Preset::Tiny, Preset::Small, Preset::Full] {
        let net = PlainStack::of(&stack(preset, 1));
        let run = |keep| {
            let mut tape = StackTape::default();
            // A second pass after a larger one: nothing of the first may show.
            keeping(keep, preset, 9, 4, &mut tape);
            let outcome = keeping(keep, preset, 3, 3, &mut tape);
            (outcome, net.bytes(&tape))
        };
        let (all, all_bytes) = run(Keep::Everything);
        for keep in [Keep::Selected, Keep::Segments(1), Keep::Segments(2)] {
            let (found, bytes) = run(keep);
            assert_eq!((&all.outputs, &all.gradient), (&found.outputs, &found.gradient), "{preset:?} {keep:?}");
            // With one layer there is nothing to give up but what is cheap.
            let layers = preset.structure().num_blocks;
            let fewer = match keep {
                Keep::Segments(len) => len < layers,
                _ => layers > 1,
            };
            assert!(!fewer || bytes < all_bytes, "{preset:?} {keep:?}: {bytes} of {all_bytes}");
        }
    }
}
