//! What replay hands to the learners, against numbers of Stable-Baselines3 (n-step returns) and cpprb (importance weights).

use std::collections::BTreeMap;

use grandmodel_buffers::{
    TransitionBlock,
    block::{Follow, Terminal, flags},
    replay::{Prioritised, ReplayConfig, ReplayShape, ReplayStore, Sampling},
};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::*;
use crate::golden;

/// Added to the step of a terminal observation, so that it is told from the next episode's first.
const TERMINAL: f32 = 1000.0;

/// A block whose observation is the number of its step, and whose action that of its lane.
fn block(num_steps: usize, num_envs: usize, reward: Vec<f32>, ends: Vec<u8>) -> TransitionBlock {
    let steps = |from: usize, to: usize| (from..to).flat_map(|t| vec![t as f32; num_envs]).collect::<Vec<f32>>();
    let ended: Vec<u32> = (0..ends.len() as u32).filter(|i| ends[*i as usize] != 0).collect();
    let observation = ended.iter().map(|i| TERMINAL + (*i as usize / num_envs) as f32).collect();
    TransitionBlock {
        num_steps: num_steps as u32,
        num_envs: num_envs as u32,
        observation_width: 1,
        action_width: 1,
        observation: steps(0, num_steps),
        action: (0..num_steps * num_envs).map(|i| (i % num_envs) as f32).collect(),
        reward,
        flags: ends,
        after: Follow { observation: steps(num_steps, num_steps + 1), ..Follow::default() },
        terminal: Terminal { index: ended, observation, ..Terminal::default() },
        reward_scale: 1.0,
        ..TransitionBlock::default()
    }
}

fn store(block: &TransitionBlock, sampling: Sampling, batch_size: usize) -> ReplayStore {
    let shape = ReplayShape {
        num_envs: block.num_envs,
        num_steps: block.num_steps,
        observation_width: 1,
        action_width: 1,
        has_market: false,
        batch_size,
    };
    let mut store = ReplayStore::new(ReplayConfig { buffer_size: 1024, sampling, ..ReplayConfig::default() }, shape).unwrap();
    store.push(block).unwrap();
    store
}

#[test]
fn n_step_samples_are_those_of_stable_baselines3() {
    let file = golden::read("nstep");
    let bits = |name: &str| golden::floats(&file[name]).into_iter().map(|x| x as u8).collect::<Vec<u8>>();
    let ends = bits("terminated").iter().zip(bits("truncated")).map(|(a, b)| (a * flags::TERMINATED) | (b * flags::TRUNCATED)).collect();
    let block = block(24, 2, golden::floats(&file["reward"]), ends);
    let store_of = |batch| store(&block, Sampling::Uniform, batch);
    let (mut store, mut rng, mut batch) = (store_of(48), ChaCha8Rng::seed_from_u64(1), ReplayBatch::default());
    let expected = &file["cases"][0];
    let [sums, discounts, next, terminal] =
        ["reward_sum", "discount", "next_step", "next_is_terminal"].map(|name| golden::floats(&expected[name]));
    let mut met = BTreeMap::new();
    for _ in 0..40 {
        store.sample(48, 3, 0.97, 0.0, &mut rng, &mut batch).unwrap();
        for i in 0..48 {
            let at = batch.observation[i] as usize * 2 + batch.action[i] as usize;
            met.insert(at, ());
            assert!((batch.reward[i] - sums[at]).abs() < 1e-6, "sum of {at}: {}, expected {}", batch.reward[i], sums[at]);
            assert!(
                (batch.discount[i] - discounts[at]).abs() < 1e-6,
                "discount of {at}: {}, expected {}",
                batch.discount[i],
                discounts[at]
            );
            let follows = if terminal[at] == 1.0 { TERMINAL + next[at] } else { next[at] };
            assert_eq!(follows, batch.next_observation[i], "what follows {at}");
        }
    }
    assert_eq!(48, met.len(), "every sample was met");
}

#[test]
fn importance_weights_are_those_of_cpprb_and_draws_follow_the_priorities() {
    let file = golden::read("priorities");
    let [priorities, weights, probabilities] = ["priority", "weight", "formula_probability"].map(|name| golden::floats(&file[name]));
    let block = block(48, 1, vec![0.0; 48], vec![0; 48]);
    let prioritised = Prioritised { alpha: 0.6, epsilon: 1e-9, ..Prioritised::default() };
    let mut store = store(&block, Sampling::Prioritised(prioritised), 48);
    let (mut rng, mut batch) = (ChaCha8Rng::seed_from_u64(2), ReplayBatch::default());
    // Fresh transitions are all alike: draws meet each sooner or later, and then its priority is set.
    let mut set = [false; 48];
    while set.contains(&false) {
        store.sample(48, 1, 0.99, 0.4, &mut rng, &mut batch).unwrap();
        let steps: Vec<usize> = batch.observation.iter().map(|step| *step as usize).collect();
        let new: Vec<f32> = steps.iter().map(|step| priorities[*step]).collect();
        store.update_priorities(&batch.slot, &batch.stamp, &new).unwrap();
        steps.iter().for_each(|step| set[*step] = true);
    }
    let (mut counts, draws) = ([0u32; 48], 1000);
    for _ in 0..draws {
        store.sample(48, 1, 0.99, 0.4, &mut rng, &mut batch).unwrap();
        for (step, weight) in batch.observation.iter().zip(&batch.weight) {
            let step = *step as usize;
            counts[step] += 1;
            assert!((weight - weights[step]).abs() < 1e-6, "weight of {step}: {weight}, expected {}", weights[step]);
        }
    }
    for (step, (count, p)) in counts.iter().zip(&probabilities).enumerate() {
        // Stratified draws vary less than independent ones: 5 of their deviations is generous.
        let expected = (draws * 48) as f32 * p;
        assert!((*count as f32 - expected).abs() < 5.0 * expected.sqrt(), "{step} was drawn {count} times, expected {expected}");
    }
}
