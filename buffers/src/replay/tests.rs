//! The store against the naive buffer, over many layouts of episodes, lanes, pushes, capacities and tiers.

use std::collections::BTreeMap;

use grandmodel_memory::{ByteSize, Rung};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::oracle::{Oracle, number_of, sample_of};
use super::*;
use crate::block::{Follow, Terminal};
use crate::{BuffersError, Eviction, PolicyVersion, SegmentId, Tier, TransitionBlock, flags};

mod bytes;
mod order;
mod snapshot;

/// Lanes that step: each holds what it observes next.
pub(super) struct Lanes {
    draw: ChaCha8Rng,
    now: Vec<(u16, u32, Vec<f32>)>,
    pub(super) width: u16,
    pub(super) action_width: u16,
    pub(super) market: bool,
    /// Of a step that ends an episode, out of 1,000.
    ends: u32,
    /// How many values an observation can have: few compress, 0 means any float in [0, 1).
    pub(super) kinds: u32,
    version: u64,
}

impl Lanes {
    pub(super) fn new(num_envs: usize, width: u16, action_width: u16, market: bool, ends: u32, seed: u64) -> Self {
        let mut lanes =
            Self { draw: ChaCha8Rng::seed_from_u64(seed), now: Vec::new(), width, action_width, market, ends, kinds: 0, version: 0 };
        lanes.now = (0..num_envs).map(|_| lanes.observe()).collect();
        lanes
    }

    pub(super) fn shape(&self) -> ReplayShape {
        ReplayShape {
            num_envs: self.now.len() as u32,
            num_steps: 1,
            observation_width: self.width,
            action_width: self.action_width,
            has_market: self.market,
            batch_size: 1,
        }
    }

    fn observe(&mut self) -> (u16, u32, Vec<f32>) {
        let market = self.market;
        let (table, row) = if market { (self.draw.random_range(0..3), self.draw.random()) } else { (0, 0) };
        let kinds = self.kinds;
        let mut value = || if kinds == 0 { self.draw.random::<f32>() } else { self.draw.random_range(0..kinds) as f32 };
        (table, row, (0..self.width).map(|_| value()).collect())
    }

    /// Lane 0 starts elsewhere, without a word.
    pub(super) fn jump(&mut self) {
        self.now[0] = self.observe();
    }

    pub(super) fn block(&mut self, num_steps: u32) -> TransitionBlock {
        let lanes = self.now.len();
        let mut block = TransitionBlock {
            policy_version: PolicyVersion(self.version),
            num_steps,
            num_envs: lanes as u32,
            observation_width: self.width,
            action_width: self.action_width,
            state_width: 0,
            table: Vec::new(),
            row: Vec::new(),
            observation: Vec::new(),
            action: Vec::new(),
            log_prob: Vec::new(),
            value: Vec::new(),
            reward: Vec::new(),
            flags: Vec::new(),
            bootstrap: Vec::new(),
            last_value: Vec::new(),
            after: Follow::default(),
            terminal: Terminal::default(),
            state: Vec::new(),
            reward_scale: 1.0 + self.version as f32,
        };
        self.version += 1;
        let market = self.market;
        let add = |seen: &(u16, u32, Vec<f32>), table: &mut Vec<u16>, row: &mut Vec<u32>, observation: &mut Vec<f32>| {
            if market {
                table.push(seen.0);
                row.push(seen.1);
            }
            observation.extend(&seen.2);
        };
        for index in 0..num_steps * lanes as u32 {
            let lane = index as usize % lanes;
            add(&self.now[lane], &mut block.table, &mut block.row, &mut block.observation);
            block.action.extend((0..self.action_width).map(|_| self.draw.random::<f32>()));
            block.reward.push(self.draw.random::<f32>() - 0.5);
            let next = self.observe();
            let ended = self.draw.random_range(0..1000) < self.ends;
            block.flags.push(if ended { self.draw.random_range(1..=3) } else { 0 });
            self.now[lane] = if ended {
                block.terminal.index.push(index);
                let terminal = &mut block.terminal;
                add(&next, &mut terminal.table, &mut terminal.row, &mut terminal.observation);
                self.observe()
            } else {
                next
            };
        }
        for seen in &self.now {
            add(seen, &mut block.after.table, &mut block.after.row, &mut block.after.observation);
        }
        block.validate().unwrap();
        block
    }
}

/// Small tables, so that small capacities do.
pub(super) fn config(buffer_size: usize) -> ReplayConfig {
    ReplayConfig { buffer_size, cache: ByteSize(16 << 10), ..ReplayConfig::default() }
}

/// The least capacity that is accepted, times a factor.
pub(super) fn tight(config: ReplayConfig, shape: &ReplayShape, factor: f64) -> ReplayConfig {
    let capacity = ByteSize((config.capacity_min(shape) as f64 * factor) as u64);
    ReplayConfig { capacity, ..config }
}

/// Draws a batch and compares every sample with the oracle's; the numbers drawn.
pub(super) fn compare(
    store: &mut ReplayStore,
    oracle: &Oracle,
    batch: usize,
    n_step: usize,
    gamma: f64,
    rng: &mut ChaCha8Rng,
) -> Vec<usize> {
    let mut out = ReplayBatch::default();
    store.sample(batch, n_step, gamma, 0.4, rng, &mut out).unwrap();
    let numbers: Vec<usize> = (0..batch).map(|i| number_of(&out, i)).collect();
    for (i, &number) in numbers.iter().enumerate() {
        let is_stored = |number: usize| store.tier(SegmentId((number / SEGMENT_LEN) as u64)).is_some();
        assert_eq!(sample_of(&out, i), oracle.sample(number, n_step, gamma, is_stored), "transition {number} of {}", oracle.all.len());
        assert!(is_stored(number) && number < oracle.all.len());
        if store.config.eviction == Eviction::OldestPolicy {
            assert!(number + store.len() >= oracle.all.len(), "{number} is not among the newest {}", store.len());
        }
    }
    numbers
}

#[derive(Clone, Debug)]
struct Layout {
    num_envs: usize,
    width: u16,
    market: bool,
    /// Steps of each push.
    pushes: Vec<u32>,
    ends: u32,
    jumps: bool,
    n_step: usize,
    gamma: f64,
    buffer_size: usize,
    prioritised: bool,
    lru: bool,
    f16: bool,
    cold: bool,
    /// Of the least capacity.
    room: f64,
    seed: u64,
}

fn layouts() -> impl Strategy<Value = Layout> {
    let sizes = (1_usize..7, 0_u16..4, any::<bool>(), prop::collection::vec(1_u32..120, 1..6), 0_u32..4);
    let asked = (any::<bool>(), 1_usize..6, prop::sample::select(vec![0.0, 0.5, 0.97, 1.0]), 1024_usize..1500, any::<u64>());
    let forms = (any::<bool>(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.1), prop::sample::select(vec![1.0, 1.2, 30.0]));
    (sizes, asked, forms).prop_map(|(sizes, asked, forms)| {
        let (num_envs, width, market, pushes, ends) = sizes;
        let (jumps, n_step, gamma, buffer_size, seed) = asked;
        let (prioritised, lru, f16, cold, room) = forms;
        let width = if market { width } else { width + 1 };
        let ends = [0, 10, 100, 1000][ends as usize];
        Layout { num_envs, width, market, pushes, ends, jumps, n_step, gamma, buffer_size, prioritised, lru, f16, cold, room, seed }
    })
}

fn run(layout: &Layout) {
    let Layout { num_envs, width, market, ends, seed, n_step, gamma, .. } = *layout;
    let mut lanes = Lanes::new(num_envs, width, 1 + (seed % 2) as u16, market, ends, seed);
    // Whole numbers are exact in half precision.
    lanes.kinds = if layout.f16 { 5 } else { 0 };
    lanes.now.iter_mut().flat_map(|seen| &mut seen.2).for_each(|value| *value = if layout.f16 { value.round() } else { *value });
    let folder = layout.cold.then(|| tempfile::tempdir().unwrap());
    let config = ReplayConfig {
        sampling: if layout.prioritised { Sampling::Prioritised(Prioritised::default()) } else { Sampling::Uniform },
        eviction: if layout.lru { Eviction::LeastRecentlyUsed } else { Eviction::OldestPolicy },
        observation_f16: layout.f16,
        cold_folder: folder.as_ref().map(|folder| folder.path().to_owned()),
        cold_at: 0.5,
        warm_at: 0.5,
        ..config(layout.buffer_size)
    };
    let mut store = ReplayStore::new(tight(config, &lanes.shape(), layout.room), lanes.shape()).unwrap();
    let (mut oracle, mut rng) = (Oracle::default(), ChaCha8Rng::seed_from_u64(seed ^ 1));
    for (push, &steps) in layout.pushes.iter().enumerate() {
        if layout.jumps && push > 0 {
            lanes.jump();
        }
        // Every other push is large: it wraps.
        let block = lanes.block(if push % 2 == 0 { steps } else { steps * 8 });
        let pushed = store.push(&block).unwrap();
        oracle.push(&block);
        assert_eq!(pushed.segment, SegmentId((oracle.all.len() as u64 - 1) / 1024));
        assert!(store.len() <= layout.buffer_size && store.bytes() <= store.config.capacity.0);
        let numbers = compare(&mut store, &oracle, 40, n_step, gamma, &mut rng);
        if layout.prioritised && push % 2 == 1 {
            let number = numbers[0];
            let slot = store.segments.slot_of((number / SEGMENT_LEN) as u64).unwrap() * SEGMENT_LEN + number % SEGMENT_LEN;
            store.update_priorities(&[slot as u32], &[(number / SEGMENT_LEN) as u64], &[1e4]).unwrap();
            let again = compare(&mut store, &oracle, 40, n_step, gamma, &mut rng);
            // So many of the 40 strata lie within its share, but for both ends.
            let tree = store.tree.as_ref().unwrap();
            let strata = (40.0 * f64::from(tree.get(slot)) / tree.total()) as usize;
            assert!(again.iter().filter(|drawn| **drawn == number).count() + 1 >= strata, "{again:?}");
        }
        if push % 3 == 2 {
            store.relieve(Rung::Shed);
            compare(&mut store, &oracle, 40, n_step, gamma, &mut rng);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, max_shrink_iters: 200, ..ProptestConfig::default() })]
    /// 10,000 layouts of episodes, lanes and pushes, every form of storage among them.
    #[test]
    fn every_sample_is_what_the_naive_buffer_holds(layout in layouts()) {
        run(&layout);
    }
}

#[test]
fn exactly_the_newest_are_kept_each_as_likely_as_another() {
    let mut lanes = Lanes::new(3, 2, 1, false, 50, 1);
    let mut store = ReplayStore::new(config(2500), lanes.shape()).unwrap();
    let (mut oracle, mut rng) = (Oracle::default(), ChaCha8Rng::seed_from_u64(2));
    for _ in 0..30 {
        let block = lanes.block(100);
        store.push(&block).unwrap();
        oracle.push(&block);
        assert_eq!(store.len(), oracle.all.len().min(2500));
    }
    let mut counts = BTreeMap::new();
    for _ in 0..500 {
        for number in compare(&mut store, &oracle, 1000, 3, 0.9, &mut rng) {
            *counts.entry(number).or_insert(0) += 1;
        }
    }
    // 9,000 pushed, 500,000 drawn from the newest 2,500: 200 each, standard deviation 14.
    assert_eq!((counts.len(), *counts.first_key_value().unwrap().0, *counts.last_key_value().unwrap().0), (2500, 6500, 8999));
    assert!(counts.values().all(|count| (120..280).contains(count)), "{counts:?}");
}

#[test]
fn a_window_stops_where_it_must() {
    // One lane, rewards 1, 2, 4, 8; the second step truncated, the fourth is the newest.
    let mut block = Lanes::new(1, 1, 1, false, 0, 1).block(4);
    block.reward = vec![1.0, 2.0, 4.0, 8.0];
    block.observation = vec![10.0, 11.0, 12.0, 13.0];
    block.flags[1] = flags::TRUNCATED;
    block.terminal = Terminal { index: vec![1], observation: vec![99.0], ..Terminal::default() };
    block.after.observation = vec![14.0];
    let shape = Lanes::new(1, 1, 1, false, 0, 1).shape();
    let drawn = |block: &TransitionBlock| {
        let mut store = ReplayStore::new(config(1024), shape).unwrap();
        store.push(block).unwrap();
        let (mut out, mut samples) = (ReplayBatch::default(), BTreeMap::new());
        store.sample(200, 3, 0.5, 0.0, &mut ChaCha8Rng::seed_from_u64(1), &mut out).unwrap();
        for i in 0..200 {
            samples.insert(number_of(&out, i), (out.reward[i], out.discount[i], out.next_observation[i]));
        }
        samples.into_values().collect::<Vec<_>>()
    };
    // 1 + 0.5 * 2, cut after two; 2, cut after one; 4 + 0.5 * 8, two; 8, one.
    assert_eq!(drawn(&block), [(2.0, 0.25, 99.0), (2.0, 0.5, 99.0), (8.0, 0.25, 14.0), (8.0, 0.5, 14.0)]);
    block.flags[1] = flags::TERMINATED | flags::TRUNCATED;
    assert_eq!(drawn(&block)[..2], [(2.0, 0.0, 99.0), (2.0, 0.0, 99.0)]);
}

#[test]
fn priorities_and_weights_by_hand() {
    let mut lanes = Lanes::new(1, 1, 1, false, 0, 1);
    let settings = Prioritised { alpha: 0.5, epsilon: 1e-9, ..Prioritised::default() };
    let mut store = ReplayStore::new(ReplayConfig { sampling: Sampling::Prioritised(settings), ..config(1024) }, lanes.shape()).unwrap();
    store.push(&lanes.block(4)).unwrap();
    // Errors 1, 4, 16, 25 to the power 0.5: priorities 1, 2, 4, 5 of 12.
    assert_eq!(store.update_priorities(&[0, 1, 2, 3], &[0; 4], &[1.0, -4.0, 16.0, 25.0]).unwrap(), 4);
    let mut out = ReplayBatch::default();
    store.sample(12, 1, 0.9, 1.0, &mut ChaCha8Rng::seed_from_u64(3), &mut out).unwrap();
    // Twelve strata of one each.
    assert_eq!(out.slot, [0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3]);
    // (4 * p / 12)^-1 over that of p = 1: 1/1, 1/2, 1/4, 1/5.
    for (slot, weight) in out.slot.iter().zip(&out.weight) {
        assert!((weight - [1.0, 0.5, 0.25, 0.2][*slot as usize]).abs() < 1e-6);
    }
    // A new transition is drawn like the most urgent.
    store.push(&lanes.block(1)).unwrap();
    store.sample(17, 1, 0.9, 0.0, &mut ChaCha8Rng::seed_from_u64(3), &mut out).unwrap();
    assert_eq!(out.slot.iter().filter(|slot| **slot == 4).count(), 5);
    assert_eq!(out.weight, [1.0; 17]);
}

#[test]
fn an_update_of_what_was_overwritten_is_ignored() {
    let mut lanes = Lanes::new(1, 1, 1, false, 0, 1);
    let config = ReplayConfig { sampling: Sampling::Prioritised(Prioritised::default()), ..config(1024) };
    let mut store = ReplayStore::new(config, lanes.shape()).unwrap();
    store.push(&lanes.block(1024)).unwrap();
    store.push(&lanes.block(100)).unwrap();
    // The first 100 of segment 0 are dead, the others live; segment 1 holds 100.
    let total = store.tree.as_ref().unwrap().total();
    assert_eq!(store.update_priorities(&[99, 100, 1024 + 99, 1024 + 100, 5000, 9], &[0, 0, 1, 1, 1, u64::MAX], &[9.0; 6]).unwrap(), 2);
    assert!((store.tree.as_ref().unwrap().total() - total - 2.0 * (f64::from(9.0_f32.powf(0.6)) - 1.0)).abs() < 1e-3);
    store.push(&lanes.block(1024)).unwrap();
    // Segment 2 lies where segment 0 was.
    assert_eq!(store.update_priorities(&[50, 50], &[0, 2], &[1.0; 2]).unwrap(), 1);
    let refused = store.update_priorities(&[50], &[2], &[f32::NAN]).unwrap_err().to_string();
    assert_eq!(refused, "block column priority at index 0 is NaN, must be finite");
}
