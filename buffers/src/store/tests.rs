//! The capacity is kept, the right segments leave, and pressure changes nothing but bytes.

use super::*;
use crate::samples::{self, same_bits};
use proptest::prelude::*;

/// Bytes charged for a hot block of `samples::block(_, 8, 2, 6, _)`, whatever it drew.
fn small(version: u64, seed: u64) -> Arc<TransitionBlock> {
    let mut block = samples::block(version, 8, 2, 6, seed);
    (block.flags, block.bootstrap) = (vec![0; 16], Vec::new());
    Arc::new(block)
}

fn small_bytes() -> u64 {
    small(0, 0).bytes() + SEGMENT_OVERHEAD_BYTES
}

/// Room for `segments` small blocks; nothing is compressed, unless a test asks for it.
fn store(segments: u64, eviction: Eviction) -> SegmentStore {
    let capacity = ByteSize(segments * small_bytes());
    SegmentStore::new(BufferConfig { capacity, warm_at: 1.0, eviction, ..BufferConfig::default() }).unwrap()
}

/// A block that no codec shrinks, of the same size.
fn noise(version: u64, seed: u64) -> Arc<TransitionBlock> {
    noisy(TransitionBlock::clone(&small(version, seed)), seed)
}

fn noisy(mut block: TransitionBlock, seed: u64) -> Arc<TransitionBlock> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for column in [&mut block.observation, &mut block.action, &mut block.log_prob, &mut block.value, &mut block.reward] {
        column.fill_with(|| f32::from_bits((draw() >> 32) as u32 & !0x4000_0000));
    }
    block.row.fill_with(|| (draw() >> 32) as u32);
    block.table.fill_with(|| (draw() >> 48) as u16);
    Arc::new(block)
}

fn kept(store: &SegmentStore) -> Vec<u64> {
    store.entries.keys().map(|segment| segment.0).collect()
}

#[test]
fn a_rollout_is_taken_once_in_the_order_pushed() {
    let mut store = store(8, Eviction::OldestPolicy);
    for (version, seed) in [(1, 10), (2, 20), (1, 11)] {
        store.push(small(version, seed)).unwrap();
    }
    assert!(same_bits(&store.take(PolicyVersion(1)).unwrap(), &small(1, 10)));
    assert!(same_bits(&store.take(PolicyVersion(1)).unwrap(), &small(1, 11)));
    let refused = store.take(PolicyVersion(1)).unwrap_err().to_string();
    assert_eq!(refused, "no rollout of policy version 1 is stored (1 segments of versions 2 to 2 are)");
    store.take(PolicyVersion(2)).unwrap();
    assert_eq!(store.take(PolicyVersion(2)).unwrap_err().to_string(), "no rollout of policy version 2 is stored (nothing is)");
    let seen = store.observe();
    assert_eq!((seen.hot_bytes, seen.warm_bytes, seen.segments, seen.transitions, seen.taken), (0, 0, 0, 0, 3));
    assert_eq!(store.charged_bytes, 0);
}

#[test]
fn the_oldest_policy_leaves_first_whatever_its_use() {
    let mut store = store(4, Eviction::OldestPolicy);
    for version in [5, 4, 6, 8] {
        store.push(noise(version, version)).unwrap();
    }
    store.read(SegmentId(1)).unwrap(); // version 4: used, and still the first to leave
    assert_eq!(store.push(noise(7, 7)).unwrap().evicted, 1);
    assert_eq!(kept(&store), [0, 2, 3, 4]);
    assert_eq!(store.observe().evicted, 1);
}

#[test]
fn least_recently_used_is_weighted_by_frequency() {
    let mut store = store(4, Eviction::LeastRecentlyUsed);
    for seed in 0..4 {
        store.push(noise(1, seed)).unwrap(); // accesses 1, 2, 3, 4
    }
    for segment in [0, 0, 0, 1] {
        store.read(SegmentId(segment)).unwrap(); // accesses 5, 6, 7, 8
    }
    // Scores age / (1 + hits) at access 8:
    //   0: (8 - 7) / 4 = 0.25    1: (8 - 8) / 2 = 0    2: (8 - 3) / 1 = 5    3: (8 - 4) / 1 = 4
    store.push(noise(1, 4)).unwrap(); // 2 leaves; access 9
    assert_eq!(kept(&store), [0, 1, 3, 4]);
    // 0: 2/4 = 0.5    1: 1/2 = 0.5    3: 5    4: 0
    store.push(noise(1, 5)).unwrap(); // 3 leaves; access 10
    // 0: 3/4 = 0.75    1: 2/2 = 1    4: 1    5: 0    -> a tie of 1 and 4: the first pushed
    store.push(noise(1, 6)).unwrap();
    assert_eq!(kept(&store), [0, 4, 5, 6]);
}

#[test]
fn above_the_warm_share_the_first_to_leave_is_compressed_first() {
    let capacity = ByteSize(10 * small_bytes());
    let mut store = SegmentStore::new(BufferConfig { capacity, warm_at: 0.8, ..BufferConfig::default() }).unwrap();
    for version in 0..8 {
        store.push(small(version, version)).unwrap();
    }
    // 8 of 10: exactly the share, nothing to do.
    assert_eq!((store.observe().packed, store.observe().hot_bytes), (0, 8 * small_bytes()));
    store.push(small(8, 8)).unwrap();
    let index = store.index();
    assert_eq!(index.tier(SegmentId(0)), Some(Tier::Warm));
    assert_eq!(index.tier(SegmentId(8)), Some(Tier::Hot));
    let seen = store.observe();
    assert!(seen.hot_bytes + seen.warm_bytes <= 8 * small_bytes() && seen.evicted == 0, "{seen:?}");
    for version in 0..9 {
        assert!(same_bits(&store.take(PolicyVersion(version)).unwrap(), &small(version, version)), "version {version}");
    }
}

#[test]
fn what_does_not_shrink_stays_raw() {
    let mut store = store(400, Eviction::OldestPolicy);
    let block = noisy(samples::block(1, 64, 64, 6, 1), 1);
    let packed = codec::encode(&block, ObservationEncoding::F32).len() as u64;
    // Smaller by the flags and what the struct itself takes, 2 %: not worth it.
    assert!(packed < block.bytes() && packed > block.bytes() * 15 / 16);
    store.push(Arc::clone(&block)).unwrap();
    assert_eq!(store.relieve(Rung::Shed), 0);
    assert_eq!((store.observe().packed, store.observe().warm_bytes), (0, 0));
    assert!(same_bits(&store.take(PolicyVersion(1)).unwrap(), &block));
}

#[test]
fn a_block_above_the_capacity_is_refused_and_nothing_lost() {
    let mut store = store(4, Eviction::OldestPolicy);
    store.push(small(1, 1)).unwrap();
    let large = Arc::new(samples::block(2, 64, 64, 6, 1));
    let stored = large.bytes() + SEGMENT_OVERHEAD_BYTES;
    assert_eq!(store.push(large), Err(BuffersError::BlockAboveCapacity { block: ByteSize(stored), capacity: ByteSize(4 * small_bytes()) }));
    let mut broken = TransitionBlock::clone(&small(2, 2));
    broken.reward[1] = f32::NAN;
    assert!(matches!(store.push(Arc::new(broken)), Err(BuffersError::Value { column: "reward", index: 1, .. })));
    assert_eq!((kept(&store), store.observe().pushed), (vec![0], 1));
}

#[test]
fn relief_spares_the_newest_at_a_warning_and_what_is_being_read() {
    let mut store = store(8, Eviction::OldestPolicy);
    for version in 0..4 {
        store.push(small(version, version)).unwrap();
    }
    let index = store.index();
    let reader = index.peek(SegmentId(1)).unwrap();
    let before = store.observe().hot_bytes;
    assert_eq!(store.relieve(Rung::Rest), 0);
    let freed = store.relieve(Rung::Compress);
    let seen = store.observe();
    assert_eq!(seen.hot_bytes + seen.warm_bytes + freed, before);
    let tiers = |index: &SegmentIndex| [0, 1, 2, 3].map(|segment| index.tier(SegmentId(segment)).unwrap());
    assert_eq!(tiers(&index), [Tier::Warm, Tier::Hot, Tier::Warm, Tier::Hot]);
    drop(reader);
    assert!(store.relieve(Rung::Shed) > 0);
    assert_eq!(tiers(&index), [Tier::Warm; 4]);
    assert_eq!(store.relieve(Rung::Shed), 0);
}

#[test]
fn half_precision_is_the_same_hot_and_warm() {
    let config = BufferConfig { observation_f16: true, ..BufferConfig::default() };
    let mut store = SegmentStore::new(config).unwrap();
    let expected = codec::with_observation_f16(&small(1, 1)).unwrap();
    let segment = store.push(small(1, 1)).unwrap().segment;
    assert!(same_bits(&store.read(segment).unwrap(), &expected));
    assert!(store.relieve(Rung::Shed) > 0);
    assert!(same_bits(&store.read(segment).unwrap(), &expected));
}

#[test]
fn a_damaged_segment_is_named_and_dropped() {
    let mut store = store(8, Eviction::OldestPolicy);
    for version in 0..2 {
        store.push(small(version, version)).unwrap();
    }
    store.relieve(Rung::Shed);
    for segment in [SegmentId(0), SegmentId(1)] {
        let mut held = store.index.segments.get_mut(&segment).unwrap();
        let Stored::Packed(packed) = &held.stored else { panic!("not compressed") };
        let mut damaged = packed.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        held.stored = Stored::Packed(damaged.into());
    }
    let taken = store.take(PolicyVersion(0)).unwrap_err();
    assert!(taken.to_string().starts_with("segment 0 of policy version 0 is dropped: damaged last_value: found checksum "), "{taken}");
    assert!(matches!(store.read(SegmentId(1)), Err(BuffersError::SegmentDamaged { segment: SegmentId(1), .. })));
    assert_eq!(store.read(SegmentId(1)), Err(BuffersError::NoSegment { segment: SegmentId(1) }));
    let seen = store.observe();
    assert_eq!((seen.damaged, seen.segments, seen.hot_bytes + seen.warm_bytes, store.charged_bytes), (2, 0, 0, 0));
}

#[test]
fn many_threads_read_while_the_owner_packs_and_evicts() {
    let mut store = store(6, Eviction::OldestPolicy);
    let index = store.index();
    let first = store.push(small(0, 0)).unwrap().segment;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let index = &index;
            scope.spawn(move || {
                // Ends when the segment was evicted.
                while let Ok(block) = index.peek(first) {
                    assert!(same_bits(&block, &small(0, 0)));
                }
            });
        }
        for version in 1..200 {
            store.push(noise(version, version)).unwrap();
            store.relieve(Rung::Shed);
        }
    });
    assert_eq!(index.peek(first), Err(BuffersError::NoSegment { segment: first }));
}

#[derive(Clone, Debug)]
enum Step {
    Push { version: u64, num_steps: u32, num_envs: u32, seed: u64 },
    Take(u64),
    Read(u64),
    Relieve(Rung),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let push = (0_u64..6, 1_u32..40, 1_u32..5, 0_u64..1000).prop_map(|(version, num_steps, num_envs, seed)| Step::Push {
        version,
        num_steps,
        num_envs,
        seed,
    });
    let level = prop::sample::select(vec![Rung::Rest, Rung::Compress, Rung::Shed]);
    let step = prop_oneof![
        6 => push,
        1 => (0_u64..6).prop_map(Step::Take),
        2 => (0_u64..60).prop_map(Step::Read),
        2 => level.prop_map(Step::Relieve),
    ];
    prop::collection::vec(step, 1..60)
}

/// What a store answered, without the bytes that pressure may change.
fn answer(store: &mut SegmentStore, step: &Step) -> String {
    match *step {
        Step::Push { version, num_steps, num_envs, seed } => {
            format!("{:?}", store.push(Arc::new(samples::block(version, num_steps, num_envs, 6, seed))))
        }
        Step::Take(version) => format!("{:?}", store.take(PolicyVersion(version))),
        Step::Read(segment) => format!("{:?}", store.read(SegmentId(segment))),
        Step::Relieve(_) => String::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_capacity_holds_and_pressure_changes_no_answer(steps in steps(), lru in any::<bool>(), warm_at in 0.0_f64..=1.0, observation_f16 in any::<bool>()) {
        let eviction = if lru { Eviction::LeastRecentlyUsed } else { Eviction::OldestPolicy };
        let config = BufferConfig { capacity: ByteSize(24 << 10), warm_at, eviction, observation_f16 };
        let mut calm = SegmentStore::new(config).unwrap();
        let mut pressed = SegmentStore::new(config).unwrap();
        for step in &steps {
            if let Step::Relieve(level) = step {
                let held = |store: &SegmentStore| store.observe().hot_bytes + store.observe().warm_bytes;
                let before = held(&pressed);
                prop_assert_eq!(pressed.relieve(*level), before - held(&pressed));
            }
            prop_assert_eq!(answer(&mut calm, step), answer(&mut pressed, step));
            prop_assert_eq!(kept(&calm), kept(&pressed));
            prop_assert_eq!(calm.charged_bytes, pressed.charged_bytes);
            for store in [&calm, &pressed] {
                let seen = store.observe();
                // Counted again from the segments themselves.
                let (mut hot, mut warm) = (0, 0);
                for entry in store.index.segments.iter() {
                    match &entry.stored {
                        Stored::Raw(block) => hot += block.bytes() + SEGMENT_OVERHEAD_BYTES,
                        Stored::Packed(packed) => warm += packed.len() as u64 + SEGMENT_OVERHEAD_BYTES,
                    }
                }
                prop_assert_eq!((seen.hot_bytes, seen.warm_bytes), (hot, warm));
                let charged: u64 = store.entries.values().map(Entry::charged_bytes).sum();
                prop_assert_eq!(store.charged_bytes, charged);
                prop_assert!(hot + warm <= charged && charged <= config.capacity.0);
                prop_assert_eq!(seen.segments as usize, store.entries.len());
            }
        }
    }
}
