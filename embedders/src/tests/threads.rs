//! The same bits whatever the number of threads, forward and backward.

use std::sync::Barrier;

use burn::optim::GradientsParams;

use super::inputs::{normal_inputs, normals, stack};
use crate::{
    EmbedderKind, EmbedderModule, EmbedderStack, Preset,
    device::{self, Infer, Train},
    embed::{CHUNK_ROWS, Weights, embed_inputs},
    parameters::{gradients_to_flat, training_copy},
};

fn gradient(plain: &EmbedderStack<Infer>, seed: u64) -> Vec<f32> {
    let net: EmbedderStack<Train> = training_copy(plain);
    let output = net.forward(normal_inputs(seed, 4, &device::cpu()));
    let loss = (output.mean().powi_scalar(3)).sum() + output.aux.into_iter().map(|aux| aux.sum()).reduce(|a, b| a + b).unwrap();
    gradients_to_flat(&net, &GradientsParams::from_grads(loss.backward(), &net))
}

#[test]
fn two_threads_with_copies_of_one_module_get_the_gradients_of_one() {
    let plain = stack(Preset::Tiny, 1);
    let alone: Vec<Vec<f32>> = (0..6).map(|seed| gradient(&plain, seed)).collect();
    assert!(alone[0] != alone[1] && alone[0].iter().any(|value| *value != 0.0));
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (plain, start, alone) = (&plain, &start, &alone);
            scope.spawn(move || {
                start.wait();
                for seed in (thread..6).step_by(2) {
                    assert_eq!(gradient(plain, seed as u64), alone[seed], "block {seed} on thread {thread}");
                }
            });
        }
    });
}

fn embed_with<M: EmbedderModule<Infer> + Sync>(weights: &Weights<M>, num_threads: usize) -> Vec<f32> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap();
    // Two chunks and a part of one.
    let num_inputs = 2 * CHUNK_ROWS + 3;
    let inputs = normals(8, num_inputs * M::KIND.input_len());
    pool.install(|| {
        embed_inputs(weights, num_inputs, |index, out| out.copy_from_slice(&inputs[index * out.len()..(index + 1) * out.len()]))
    })
}

#[test]
fn embeddings_do_not_depend_on_the_number_of_threads() {
    fn same<M: EmbedderModule<Infer> + Sync>(module: M, num_threads: usize) {
        let weights = Weights::of(module);
        assert_eq!(embed_with(&weights, 1), embed_with(&weights, num_threads));
    }
    let stack = stack(Preset::Tiny, 1);
    same(stack.structure, 2);
    same(stack.tactical, 2);
    same(stack.regime, 3);
    same(stack.lvn, 3);
}

#[test]
fn an_input_has_the_same_bits_alone_in_a_pair_and_in_a_block() {
    fn check<M: EmbedderModule<Infer> + Sync>(module: &M) {
        for weights in [Weights::of(module.clone()), Weights::rounded(module.clone())] {
            let inputs = normals(8, 100 * M::KIND.input_len());
            let embed = |first: usize, count: usize| {
                embed_inputs(&weights, count, |index, out| out.copy_from_slice(&inputs[(first + index) * out.len()..][..out.len()]))
            };
            let block = embed(0, 100);
            for count in [1, 2] {
                for (at, among) in block.chunks(count * M::KIND.dim()).enumerate() {
                    assert_eq!(embed(at * count, count), among, "{:?}: {count} from input {}", M::KIND, at * count);
                }
            }
        }
    }
    for preset in [Preset::Tiny, Preset::Small, Preset::Full] {
        let stack = stack(preset, 1);
        check(&stack.structure);
        check(&stack.tactical);
        check(&stack.regime);
        check(&stack.lvn);
    }
    assert_eq!(embed_inputs(&Weights::of(stack(Preset::Tiny, 1).lvn), 0, |_, _| unreachable!()), [0.0f32; 0]);
    assert_eq!(EmbedderKind::Lvn.input_len(), 5);
}
