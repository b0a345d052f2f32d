//! The replay buffer on one core: transitions of 17 + 6 f32 from 16 lanes where not said otherwise, batches of 256, one step ahead.

use std::hint::black_box;

use anyhow::Result;
use grandmodel_buffers::{
    PolicyVersion, TransitionBlock,
    block::{Follow, Terminal},
    replay::{Prioritised, ReplayBatch, ReplayConfig, ReplayShape, ReplayStore, Sampling},
};
use grandmodel_memory::ByteSize;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Bench;

const OBSERVATION_WIDTH: usize = 17;
const ACTION_WIDTH: usize = 6;
const LANES: usize = 16;
const STEPS: usize = 128;
const BATCH: usize = 256;
/// Batches of one repetition: long enough that the clock does not count.
const BATCHES: usize = 16;
const LARGE: usize = 1_000_000;

/// A block whose lanes go on where they stood, so that it can be pushed again and again; a step in 100 ends.
fn block(lanes: usize, draw: &mut ChaCha8Rng) -> TransitionBlock {
    let n = STEPS * LANES;
    // Eighths between -8 and 8, as sensors give them: they compress, as such observations do.
    let mut floats = |len: usize| (0..len).map(|_| f32::from(draw.random_range(-64_i8..64)) / 8.0).collect::<Vec<_>>();
    let observation = floats(n * OBSERVATION_WIDTH);
    let after = Follow { observation: observation[..lanes * OBSERVATION_WIDTH].to_vec(), ..Follow::default() };
    let index: Vec<u32> = (0..n as u32).step_by(100).collect();
    TransitionBlock {
        policy_version: PolicyVersion(0),
        num_steps: (n / lanes) as u32,
        num_envs: lanes as u32,
        observation_width: OBSERVATION_WIDTH as u16,
        action_width: ACTION_WIDTH as u16,
        state_width: 0,
        table: Vec::new(),
        row: Vec::new(),
        observation,
        action: floats(n * ACTION_WIDTH),
        log_prob: Vec::new(),
        value: Vec::new(),
        reward: floats(n),
        flags: (0..n).map(|step| u8::from(step % 100 == 0)).collect(),
        bootstrap: Vec::new(),
        last_value: Vec::new(),
        after,
        terminal: Terminal { observation: floats(index.len() * OBSERVATION_WIDTH), index, ..Terminal::default() },
        state: Vec::new(),
        reward_scale: 1.0,
    }
}

fn store(config: ReplayConfig, lanes: usize) -> Result<ReplayStore> {
    let shape = ReplayShape {
        num_envs: lanes as u32,
        num_steps: (STEPS * LANES / lanes) as u32,
        observation_width: OBSERVATION_WIDTH as u16,
        action_width: ACTION_WIDTH as u16,
        has_market: false,
        batch_size: BATCH,
    };
    Ok(ReplayStore::new(ReplayConfig { capacity: ByteSize::mib(1024), ..config }, shape)?)
}

fn filled(config: ReplayConfig, lanes: usize, draw: &mut ChaCha8Rng) -> Result<ReplayStore> {
    let buffer_size = config.buffer_size;
    let mut store = store(config, lanes)?;
    while store.len() < buffer_size {
        store.push(&block(lanes, draw))?;
    }
    Ok(store)
}

/// Rows of this group.
///
/// # Errors
/// A store that cannot be made or filled.
pub fn rows(bench: &mut Bench) -> Result<()> {
    if !bench.wants_all_of("replay") {
        return Ok(());
    }
    let (mut draw, mut rng) = (ChaCha8Rng::seed_from_u64(1), ChaCha8Rng::seed_from_u64(2));
    let mut batch = ReplayBatch::default();
    let large = ReplayConfig { buffer_size: LARGE, ..ReplayConfig::default() };
    let pushed = block(LANES, &mut draw);
    let mut uniform = store(large.clone(), LANES)?;
    while uniform.len() < LARGE {
        uniform.push(&pushed)?;
    }
    bench.row("replay: push", "transitions", STEPS * LANES, || drop(black_box(uniform.push(&pushed))));
    let sizes = [
        ("replay: sample 256 of 100 k, one lane", 100_000, 1),
        ("replay: sample 256 of 100 k", 100_000, LANES),
        ("replay: sample 256 of 1 M", LARGE, LANES),
    ];
    for (name, buffer_size, lanes) in sizes {
        let mut store = filled(ReplayConfig { buffer_size, ..large.clone() }, lanes, &mut draw)?;
        bench.row(name, "transitions", BATCH * BATCHES, || {
            for _ in 0..BATCHES {
                drop(black_box(store.sample(BATCH, 1, 0.99, 0.0, &mut rng, &mut batch)));
            }
        });
    }
    for (name, buffer_size) in
        [("replay: prioritised sample + update of 100 k", 100_000), ("replay: prioritised sample + update of 1 M", LARGE)]
    {
        let sampling = Sampling::Prioritised(Prioritised::default());
        let mut store = filled(ReplayConfig { buffer_size, sampling, ..large.clone() }, LANES, &mut draw)?;
        let errors: Vec<f32> = (0..BATCH).map(|_| draw.random::<f32>()).collect();
        bench.row(name, "transitions", BATCH * BATCHES, || {
            for _ in 0..BATCHES {
                drop(black_box(store.sample(BATCH, 1, 0.99, 0.5, &mut rng, &mut batch)));
                drop(black_box(store.update_priorities(&batch.slot, &batch.stamp, &errors)));
            }
        });
    }
    compressed(bench, &mut draw, &mut rng)
}

/// All compressed, with a cache for nine pages in ten.
fn compressed(bench: &mut Bench, draw: &mut ChaCha8Rng, rng: &mut ChaCha8Rng) -> Result<()> {
    let name = "replay: sample 256 from LZ4";
    if !bench.wants_row(name) {
        return Ok(());
    }
    let config = ReplayConfig { buffer_size: 100_000, warm_at: 0.0, cache: ByteSize(9_000_000), ..ReplayConfig::default() };
    let mut store = filled(config, LANES, draw)?;
    let mut batch = ReplayBatch::default();
    let before = store.observe();
    bench.row(name, "transitions", BATCH * BATCHES, || {
        for _ in 0..BATCHES {
            drop(black_box(store.sample(BATCH, 1, 0.99, 0.0, rng, &mut batch)));
        }
    });
    let seen = store.observe();
    let (hits, misses) = (seen.cache_hits - before.cache_hits, seen.cache_misses - before.cache_misses);
    println!("{:<44} {:>11.1} %", "replay: of them in the cache", hits as f64 * 100.0 / (hits + misses).max(1) as f64);
    Ok(())
}
