//! A buffer that goes on from a snapshot, in memory or through bytes, is the buffer that never stopped.

use super::*;

fn run(kept: usize, settings: impl Fn(ReplayConfig) -> ReplayConfig) {
    let folder = tempfile::tempdir().unwrap();
    let mut lanes = Lanes::new(3, 9, 1, true, 30, 1);
    lanes.kinds = 4;
    let base = ReplayConfig {
        cold_folder: Some(folder.path().to_owned()),
        sampling: Sampling::Prioritised(Prioritised::default()),
        warm_at: 0.8,
        cold_at: 0.9,
        ..config(20_000)
    };
    let config = tight(settings(base), &lanes.shape(), 1.5);
    let mut straight = ReplayStore::new(config.clone(), lanes.shape()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut out = ReplayBatch::default();
    let mut step = |store: &mut ReplayStore, block: &TransitionBlock, rng: &mut ChaCha8Rng| {
        store.push(block).unwrap();
        store.sample(64, 3, 0.9, 0.4, rng, &mut out).unwrap();
        let errors: Vec<f32> = (0..64).map(|i| out.reward[i] * 3.0).collect();
        store.update_priorities(&out.slot, &out.stamp, &errors).unwrap();
        out.clone()
    };
    for _ in 0..kept {
        step(&mut straight, &lanes.block(101), &mut rng);
    }
    let contents = straight.contents().with_random(rng.clone());
    let mut bytes = Vec::new();
    contents.write(&mut bytes).unwrap();
    let mut in_memory = ReplayStore::new(config.clone(), lanes.shape()).unwrap();
    in_memory.push(&Lanes::new(3, 9, 1, true, 30, 2).block(50)).unwrap();
    in_memory.restore(contents).unwrap();
    let read = Contents::read(&*bytes, &config, &lanes.shape()).unwrap();
    let mut random = read.random().unwrap().clone();
    let mut through_bytes = ReplayStore::new(config.clone(), lanes.shape()).unwrap();
    through_bytes.restore(read).unwrap();
    let mut random_in_memory = rng.clone();
    for _ in 0..40 {
        let block = lanes.block(101);
        let expected = step(&mut straight, &block, &mut rng);
        assert_eq!(step(&mut in_memory, &block, &mut random_in_memory), expected);
        assert_eq!(step(&mut through_bytes, &block, &mut random), expected);
        for store in [&in_memory, &through_bytes] {
            assert_eq!(store.charged_bytes(), straight.charged_bytes());
            assert_eq!((store.len(), store.bytes()), (straight.len(), straight.bytes()));
        }
    }
}

#[test]
fn it_goes_on_to_the_bit() {
    for kept in [0, 1, 3, 80] {
        run(kept, |config| config);
        run(kept, |config| ReplayConfig { eviction: Eviction::LeastRecentlyUsed, cold_folder: None, ..config });
        run(kept, |config| ReplayConfig { observation_f16: true, warm_at: 0.0, ..config });
    }
}

#[test]
fn a_snapshot_does_not_change_while_the_buffer_goes_on() {
    let mut lanes = Lanes::new(2, 5, 1, false, 30, 1);
    let mut store = ReplayStore::new(config(3000), lanes.shape()).unwrap();
    for _ in 0..20 {
        store.push(&lanes.block(77)).unwrap();
    }
    let contents = store.contents();
    let written = |contents: &Contents| {
        let mut bytes = Vec::new();
        contents.write(&mut bytes).unwrap();
        bytes
    };
    let before = written(&contents);
    for _ in 0..100 {
        store.push(&lanes.block(77)).unwrap();
    }
    store.relieve(Rung::Shed);
    assert!(written(&contents) == before && written(&store.contents()) != before);
}

#[test]
fn damage_and_other_buffers_are_errors() {
    let mut lanes = Lanes::new(2, 5, 1, false, 30, 1);
    let shape = lanes.shape();
    let mut store = ReplayStore::new(config(1024), shape).unwrap();
    for _ in 0..3 {
        store.push(&lanes.block(300)).unwrap();
    }
    let mut bytes = Vec::new();
    store.contents().write(&mut bytes).unwrap();
    let read = |bytes: &[u8], config: &ReplayConfig, shape: &ReplayShape| Contents::read(bytes, config, shape);
    assert!(read(&bytes, &config(1024), &shape).is_ok());
    for at in (0..bytes.len()).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        assert!(read(&damaged, &config(1024), &shape).is_err(), "byte {at}");
        assert!(read(&bytes[..at], &config(1024), &shape).is_err(), "cut at {at}");
    }
    let other = ReplayShape { num_envs: 3, ..shape };
    assert!(matches!(read(&bytes, &config(1024), &other), Err(BuffersError::OtherContents { field: "shape", .. })));
    let contents = read(&bytes, &ReplayConfig { warm_at: 0.5, ..config(1024) }, &shape).unwrap();
    assert!(matches!(store.restore(contents), Err(BuffersError::OtherContents { field: "settings", .. })));
    assert_eq!(store.len(), 1024);
}
