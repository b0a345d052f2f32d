//! What ages, what leaves, what is refused.

use super::*;

fn filled(config: ReplayConfig, lanes: &mut Lanes, segments: u32) -> (ReplayStore, Oracle) {
    let mut store = ReplayStore::new(config, lanes.shape()).unwrap();
    let mut oracle = Oracle::default();
    for _ in 0..segments {
        let block = lanes.block(1024);
        store.push(&block).unwrap();
        oracle.push(&block);
    }
    (store, oracle)
}

fn tiers(store: &ReplayStore, segments: u64) -> Vec<Option<Tier>> {
    (0..segments).map(|segment| store.tier(SegmentId(segment))).collect()
}

#[test]
fn segments_turn_warm_then_cold_then_leave() {
    let mut lanes = Lanes::new(1, 30, 1, false, 10, 1);
    lanes.kinds = 50;
    let folder = tempfile::tempdir().unwrap();
    let base = ReplayConfig { cold_folder: Some(folder.path().to_owned()), cold_capacity: ByteSize(200 << 10), ..config(64 << 10) };
    let config = tight(ReplayConfig { warm_at: 0.75, cold_at: 0.85, ..base }, &lanes.shape(), 1.3);
    let (mut store, oracle) = filled(config, &mut lanes, 40);
    let tiers = tiers(&store, 40);
    let count = |tier| tiers.iter().filter(|found| **found == tier).count();
    assert!(count(None) > 0 && count(Some(Tier::Cold)) > 1 && count(Some(Tier::Warm)) > 1 && count(Some(Tier::Hot)) >= 1, "{tiers:?}");
    // By age: gone, cold, warm, hot.
    let rank = |tier: &Option<Tier>| match tier {
        None => 0,
        Some(Tier::Cold) => 1,
        Some(Tier::Warm) => 2,
        Some(Tier::Hot) => 3,
    };
    assert!(tiers.is_sorted_by_key(rank), "{tiers:?}");
    let seen = store.observe();
    assert!(seen.cold_bytes > 100 << 10 && seen.cold_bytes <= 200 << 10 && store.bytes() <= seen.capacity_bytes, "{seen:?}");
    // Unlinked: nothing is left behind in the folder.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    (0..20).for_each(|_| drop(compare(&mut store, &oracle, 200, 3, 0.9, &mut rng)));
    assert!(store.observe().cache_hits > 0 && store.observe().cache_misses > 0);
}

#[test]
fn the_least_used_leaves_and_windows_are_cut_there() {
    let mut lanes = Lanes::new(2, 3, 1, false, 10, 1);
    let base = ReplayConfig { eviction: Eviction::LeastRecentlyUsed, ..config(4096) };
    let (mut store, mut oracle) = filled(base, &mut lanes, 2);
    // Segments 0 to 3 of 1,024 transitions each; 1 is never used.
    for (slot, hits) in [(0, 3), (2, 1), (3, 1)] {
        (store.segments.slots[slot].hits, store.segments.slots[slot].last_access) = (hits, store.clock);
    }
    let block = lanes.block(1);
    store.push(&block).unwrap();
    oracle.push(&block);
    assert_eq!(tiers(&store, 5).iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true, true, true]);
    assert_eq!(store.len(), 3 * 1024 + 2);
    // The last steps of segment 0 look no further than its end, and see what followed.
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut numbers: Vec<usize> = (0..100).flat_map(|_| compare(&mut store, &oracle, 500, 4, 0.9, &mut rng)).collect();
    numbers.sort_unstable();
    assert!(numbers.contains(&1023) && numbers.contains(&1022) && numbers.contains(&1017));
}

#[test]
fn pressure_changes_bytes_and_nothing_else() {
    let run = |pressed: bool, lru: bool| {
        let mut lanes = Lanes::new(2, 20, 1, false, 10, 1);
        lanes.kinds = 3;
        let eviction = if lru { Eviction::LeastRecentlyUsed } else { Eviction::OldestPolicy };
        let config = tight(ReplayConfig { eviction, warm_at: 0.9, ..config(32 << 10) }, &lanes.shape(), 1.5);
        let folder = tempfile::tempdir().unwrap();
        let mut store = ReplayStore::new(config, lanes.shape()).unwrap().with_spill_folder(folder.path().into()).with_pages_asked_for();
        let (mut rng, mut seen, mut out) = (ChaCha8Rng::seed_from_u64(1), Vec::new(), ReplayBatch::default());
        let mut freed = 0;
        for push in 0..60 {
            store.push(&lanes.block(300)).unwrap();
            if pressed {
                freed += store.relieve([Rung::Compress, Rung::Shed, Rung::Rest, Rung::Spill][push % 4]);
            }
            store.sample(64, 2, 0.9, 0.0, &mut rng, &mut out).unwrap();
            seen.push((out.clone(), store.observe().evicted, store.charged_bytes()));
        }
        assert_eq!((freed > 0, store.observe().spilled > 0), (pressed, pressed));
        assert!(store.observe().evicted > 3, "{:?}", store.observe());
        seen
    };
    for lru in [false, true] {
        assert!(run(false, lru) == run(true, lru));
    }
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let shape = Lanes::new(1, 17, 6, false, 0, 1).shape();
    let refused = |config: ReplayConfig, shape: ReplayShape| ReplayStore::new(config, shape).err().unwrap().to_string();
    assert_eq!(refused(config(1000), shape), "replay.buffer_size was 1000, must be between 1024 (one segment) and 1073741824");
    let batch = ReplayShape { batch_size: 2000, ..shape };
    assert_eq!(
        refused(config(1024), batch),
        "a batch of 2000 is larger than the buffer of 1024 transitions; raise buffer_size or lower batch_size"
    );
    let small = refused(ReplayConfig { capacity: ByteSize(64 << 10), ..config(1024) }, shape);
    assert!(small.starts_with("replay.capacity was 64 KiB, a buffer of 1024 transitions of this shape needs at least "), "{small}");
    let never = refused(ReplayConfig { min_size: 2000, ..config(1024) }, shape);
    assert_eq!(never, "replay.min_size was 2000, must be at most buffer_size: more can never be stored, so nothing would ever be drawn");
    let rate = ReplayConfig { rate: Some(RateConfig { samples_per_insert: 4.0, error_buffer: 3.0 }), ..config(1024) };
    let locked = refused(rate, ReplayShape { batch_size: 256, num_steps: 16, ..shape });
    assert!(locked.starts_with("replay.rate.error_buffer was 3, must be at least 160: pushes of 16 transitions"), "{locked}");
    let share = refused(ReplayConfig { warm_at: -0.1, ..config(1024) }, shape);
    assert_eq!(share, "replay.warm_at was -0.1, must be a share between 0 and 1");
}

#[test]
fn what_cannot_be_answered_is_an_error_that_changes_nothing() {
    let mut lanes = Lanes::new(2, 3, 1, false, 0, 1);
    let mut store = ReplayStore::new(ReplayConfig { min_size: 10, ..config(1024) }, lanes.shape()).unwrap();
    let (mut rng, mut out) = (ChaCha8Rng::seed_from_u64(1), ReplayBatch::default());
    let mut refused = |store: &mut ReplayStore, batch, n_step, gamma| {
        store.sample(batch, n_step, gamma, 0.0, &mut rng, &mut out).unwrap_err().to_string()
    };
    store.push(&lanes.block(4)).unwrap();
    assert_eq!(refused(&mut store, 4, 1, 0.9), "8 transitions are stored, sampling begins at 10 (buffer.min_size)");
    store.push(&lanes.block(4)).unwrap();
    assert_eq!(refused(&mut store, 4, 0, 0.9), "n_step was 0, must be between 1 and 64");
    assert_eq!(refused(&mut store, 4, 1, f64::NAN), "gamma was NaN, must be between 0 and 1");
    assert!(refused(&mut store, 1025, 1, 0.9).starts_with("a batch of 1025 is larger than the buffer"));
    let wrong = store.push(&Lanes::new(3, 3, 1, false, 0, 1).block(4)).unwrap_err().to_string();
    assert_eq!(wrong, "block num_envs was 3, this buffer was made for 2");
    let mut broken = lanes.block(4);
    broken.reward[3] = f32::NAN;
    assert!(matches!(store.push(&broken), Err(BuffersError::Value { column: "reward", index: 3, .. })));
    assert_eq!(store.len(), 16);
}

#[test]
fn the_rate_limit_holds_both_sides() {
    let mut lanes = Lanes::new(1, 3, 1, false, 0, 1);
    let rate = Some(RateConfig { samples_per_insert: 1.0, error_buffer: 16.0 });
    let shape = ReplayShape { num_steps: 8, batch_size: 16, ..lanes.shape() };
    let mut store = ReplayStore::new(ReplayConfig { min_size: 32, rate, ..config(1024) }, shape).unwrap();
    let (mut rng, mut out) = (ChaCha8Rng::seed_from_u64(1), ReplayBatch::default());
    // Up to 32 + 16 inserted before the first sample.
    let pushes = (0..10).take_while(|_| store.push(&lanes.block(8)).is_ok()).count();
    assert_eq!((pushes, store.len()), (6, 48));
    // Down to 48 - 32 = 16 samples ahead: two batches of 16.
    let samples = (0..10).take_while(|_| store.sample(16, 1, 0.9, 0.0, &mut rng, &mut out).is_ok()).count();
    assert_eq!(samples, 2);
}
