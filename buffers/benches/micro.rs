//! The two inner loops of the buffer, apart from everything around them: `cargo bench -p grandmodel-buffers`. The codec on a rollout of the quickstart's
//! size, the priority tree on a million leaves. `cargo test` does not run it; what a user notices is timed by `grandmodel bench`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use grandmodel_buffers::{
    TransitionBlock,
    codec::{ObservationEncoding, decode, encode},
    replay::PriorityTree,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const STEPS: usize = 32;
const LANES: usize = 64;
const OBSERVATION_WIDTH: usize = 6;
const LEAVES: usize = 1 << 20;
const DRAWN: usize = 256;

/// Rows of a table that lanes walk along, accounts and rewards in small steps: they compress as real ones do.
fn block(rng: &mut ChaCha8Rng) -> TransitionBlock {
    let n = STEPS * LANES;
    let mut steps = |len: usize| (0..len).map(|_| f32::from(rng.random_range(-64_i8..64)) / 64.0).collect::<Vec<_>>();
    TransitionBlock {
        num_steps: STEPS as u32,
        num_envs: LANES as u32,
        observation_width: OBSERVATION_WIDTH as u16,
        action_width: 1,
        table: vec![0; n],
        row: (0..n).map(|i| (i / LANES + i % LANES * 97) as u32).collect(),
        observation: steps(n * OBSERVATION_WIDTH),
        action: (0..n).map(|i| (i % 3) as f32).collect(),
        log_prob: vec![-1.0986; n],
        value: steps(n),
        reward: steps(n),
        flags: vec![0; n],
        last_value: vec![0.0; LANES],
        reward_scale: 1.0,
        ..TransitionBlock::default()
    }
}

fn codec(c: &mut Criterion) {
    let block = block(&mut ChaCha8Rng::seed_from_u64(1));
    let packed = encode(&block, ObservationEncoding::F32);
    let mut group = c.benchmark_group("codec, LZ4");
    group.throughput(Throughput::Elements((STEPS * LANES) as u64));
    group.bench_function("encode", |b| b.iter(|| encode(black_box(&block), ObservationEncoding::F32)));
    group.bench_function("decode", |b| b.iter(|| decode(black_box(&packed))));
    group.finish();
}

fn tree(c: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut tree = PriorityTree::new(LEAVES);
    (0..LEAVES).step_by(64).for_each(|slot| tree.fill(slot..slot + 64, rng.random_range(0.01..1.0)));
    let mut group = c.benchmark_group("priority tree, a million leaves");
    group.throughput(Throughput::Elements(DRAWN as u64));
    let mut targets = || (0..DRAWN).map(|_| rng.random_range(0.0..1.0)).collect::<Vec<f64>>();
    let (mut slots, total) = (vec![0; DRAWN], tree.total());
    group.bench_function("find 256", |b| {
        b.iter_batched_ref(
            || targets().into_iter().map(|share| share * total).collect::<Vec<f64>>(),
            |targets| tree.find(black_box(targets), &mut slots),
            BatchSize::SmallInput,
        );
    });
    let mut at = 0;
    group.bench_function("fill 256", |b| {
        b.iter(|| {
            at = (at + 7919 * DRAWN) % (LEAVES - DRAWN);
            tree.fill(black_box(at..at + DRAWN), 0.5);
        });
    });
    group.finish();
}

criterion_group!(micro, codec, tree);
criterion_main!(micro);
