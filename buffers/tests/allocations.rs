//! Every allocation of this process is counted: what the replay buffer says it weighs is what it took, its capacity is never exceeded, and drawing a
//! batch takes nothing once one that large was drawn.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use grandmodel_buffers::block::{Follow, Terminal};
use grandmodel_buffers::replay::{Prioritised, ReplayBatch, ReplayConfig, ReplayShape, ReplayStore, Sampling};
use grandmodel_buffers::{Eviction, PolicyVersion, TransitionBlock};
use grandmodel_memory::ByteSize;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Counts and passes on.
struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

fn count(bytes: i64) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    PEAK.fetch_max(LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes, Ordering::Relaxed);
}

// SAFETY: all calls go to the system's allocator as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn live() -> i64 {
    LIVE.load(Ordering::Relaxed)
}

/// A block of one push: 1 step in 100 ends, values of few kinds compress.
fn block(steps: u32, lanes: u32, width: u16, market: bool, kinds: u32, draw: &mut ChaCha8Rng) -> TransitionBlock {
    let n = (steps * lanes) as usize;
    let mut floats = |len: usize| (0..len).map(|_| draw.random_range(0..kinds) as f32).collect::<Vec<_>>();
    let on_market = |len| if market { len } else { 0 };
    let (observation, action, reward) = (floats(n * usize::from(width)), floats(n), floats(n));
    let after = floats(lanes as usize * usize::from(width));
    let flags: Vec<u8> = (0..n).map(|_| u8::from(draw.random_range(0..100) == 0)).collect();
    let index: Vec<u32> = (0..).zip(&flags).filter(|(_, flags)| **flags != 0).map(|(index, _)| index).collect();
    let ended = index.len();
    TransitionBlock {
        policy_version: PolicyVersion(0),
        num_steps: steps,
        num_envs: lanes,
        observation_width: width,
        action_width: 1,
        state_width: 0,
        table: vec![0; on_market(n)],
        row: vec![7; on_market(n)],
        observation,
        action,
        log_prob: Vec::new(),
        value: Vec::new(),
        reward,
        flags,
        bootstrap: Vec::new(),
        last_value: Vec::new(),
        after: Follow { table: vec![0; on_market(lanes as usize)], row: vec![7; on_market(lanes as usize)], observation: after },
        terminal: Terminal {
            index,
            table: vec![0; on_market(ended)],
            row: vec![7; on_market(ended)],
            observation: vec![0.0; ended * usize::from(width)],
        },
        state: Vec::new(),
        reward_scale: 1.0,
    }
}

fn shape(lanes: u32, width: u16, market: bool) -> ReplayShape {
    ReplayShape { num_envs: lanes, num_steps: 1, observation_width: width, action_width: 1, has_market: market, batch_size: 256 }
}

fn a_million_market_transitions_take_what_they_say() {
    let config =
        ReplayConfig { buffer_size: 1_000_000, sampling: Sampling::Prioritised(Prioritised::default()), ..ReplayConfig::default() };
    let mut draw = ChaCha8Rng::seed_from_u64(1);
    // The lanes of one block do not go on where they stood: here each would be cut; so one block is pushed whose first step follows its last.
    let mut pushed = block(4096, 16, 6, true, 1000, &mut draw);
    pushed.after.observation = pushed.observation[..16 * 6].to_vec();
    let before = live();
    let mut store = ReplayStore::new(config, shape(16, 6, true)).unwrap();
    for _ in 0..20 {
        store.push(&pushed).unwrap();
    }
    let taken = live() - before;
    assert_eq!(store.len(), 1_000_000);
    assert_eq!(taken as u64, store.bytes());
    let each = taken as f64 / 1e6;
    println!("a market transition takes {each:.2} bytes, all in");
    assert!(each <= 64.0, "{each}");
}

fn the_capacity_holds_at_every_moment() {
    let folder = tempfile::tempdir().unwrap();
    for (market, eviction, cold) in [(false, Eviction::OldestPolicy, true), (true, Eviction::LeastRecentlyUsed, false)] {
        let capacity = ByteSize::mib(4);
        let config = ReplayConfig {
            buffer_size: 200_000,
            capacity,
            eviction,
            cold_folder: cold.then(|| folder.path().to_owned()),
            cold_capacity: ByteSize::mib(2),
            cache: ByteSize(64 << 10),
            ..ReplayConfig::default()
        };
        let mut draw = ChaCha8Rng::seed_from_u64(2);
        let before = live();
        let mut store = ReplayStore::new(config, shape(4, 17, market)).unwrap();
        let (mut rng, mut batch, mut most) = (ChaCha8Rng::seed_from_u64(3), ReplayBatch::default(), 0);
        for _ in 0..400 {
            let pushed = block(150, 4, 17, market, 200, &mut draw);
            let outside = live() - before - store.bytes() as i64;
            PEAK.store(live(), Ordering::Relaxed);
            store.push(&pushed).unwrap();
            most = most.max(PEAK.load(Ordering::Relaxed) - before - outside);
            let held = live() - before - outside;
            assert_eq!(held as u64, store.bytes());
            store.sample(64, 3, 0.99, 0.0, &mut rng, &mut batch).unwrap();
        }
        let seen = store.observe();
        println!("{:.2} % of the capacity at the highest moment, {seen:?}", most as f64 * 100.0 / capacity.0 as f64);
        assert!(seen.evicted > 10 && seen.packed > 10 && (seen.spilled > 10) == cold, "{seen:?}");
        assert!(most as f64 <= capacity.0 as f64 * 1.02, "{most}");
    }
}

fn sampling_takes_nothing_once_warm() {
    for (warm_at, sampling) in [(1.0, Sampling::Uniform), (1.0, Sampling::Prioritised(Prioritised::default())), (0.0, Sampling::Uniform)] {
        let config = ReplayConfig { buffer_size: 20_000, warm_at, sampling, cache: ByteSize(64 << 10), ..ReplayConfig::default() };
        let mut store = ReplayStore::new(config, shape(4, 17, false)).unwrap();
        let mut draw = ChaCha8Rng::seed_from_u64(4);
        for _ in 0..10 {
            store.push(&block(600, 4, 17, false, 50, &mut draw)).unwrap();
        }
        assert_eq!(store.observe().packed > 10, warm_at == 0.0);
        let (mut rng, mut batch) = (ChaCha8Rng::seed_from_u64(5), ReplayBatch::default());
        store.sample(256, 3, 0.99, 0.5, &mut rng, &mut batch).unwrap();
        let errors = vec![0.5; 256];
        let before = COUNT.load(Ordering::Relaxed);
        for _ in 0..200 {
            store.sample(256, 3, 0.99, 0.5, &mut rng, &mut batch).unwrap();
            store.update_priorities(&batch.slot, &batch.stamp, &errors).unwrap();
        }
        assert_eq!(COUNT.load(Ordering::Relaxed) - before, 0);
        assert_eq!(store.observe().cache_misses > 1000, warm_at == 0.0);
    }
}

/// One test: the counters belong to the whole process.
#[test]
fn every_byte_is_counted() {
    a_million_market_transitions_take_what_they_say();
    the_capacity_holds_at_every_moment();
    sampling_takes_nothing_once_warm();
}
