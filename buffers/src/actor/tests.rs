//! The real actor under a small capacity, with a real recipient for its reports, and beside a real memory actor.

use super::*;
use crate::replay::{Prioritised, Sampling};
use crate::samples::{self, same_bits};
use crate::store::SEGMENT_OVERHEAD_BYTES;
use crate::{PolicyVersion, SegmentId};
use grandmodel_memory::{ByteSize, PressureLevel, Rung};

/// Keeps the last report of each subsystem.
#[derive(Default)]
struct Probe {
    hot_bytes: u64,
    warm_bytes: u64,
    reports: u64,
}

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Handler<ReportBytes> for Probe {
    type Result = ();

    fn handle(&mut self, report: ReportBytes, _: &mut Self::Context) {
        self.reports += 1;
        match report.subsystem {
            Subsystem::BuffersHot => self.hot_bytes = report.bytes,
            Subsystem::BuffersWarm => self.warm_bytes = report.bytes,
            other => panic!("a buffer reported {other:?}"),
        }
    }
}

#[derive(Message)]
#[rtype(result = "(u64, u64, u64)")]
struct Tell;

impl Handler<Tell> for Probe {
    type Result = MessageResult<Tell>;

    fn handle(&mut self, _: Tell, _: &mut Self::Context) -> Self::Result {
        MessageResult((self.hot_bytes, self.warm_bytes, self.reports))
    }
}

fn rollout(version: u64) -> Arc<TransitionBlock> {
    Arc::new(samples::block(version, 16, 4, 6, version))
}

/// Room for about four rollouts, raw.
fn config() -> BufferConfig {
    BufferConfig { capacity: ByteSize(4 * (rollout(0).bytes() + SEGMENT_OVERHEAD_BYTES) + 200), ..BufferConfig::default() }
}

#[actix::test]
async fn the_capacity_holds_over_many_rollouts_and_every_change_is_reported() {
    let probe = Probe::default().start();
    let buffer = Buffer::new(config()).unwrap().with_reports(probe.clone().recipient()).start();
    for version in 0..50 {
        buffer.send(PushBlock { block: rollout(version) }).await.unwrap().unwrap();
        let seen = buffer.send(ObserveBuffer).await.unwrap();
        assert!(seen.hot_bytes + seen.warm_bytes <= seen.capacity_bytes, "{seen:?}");
        let (hot, warm, _) = probe.send(Tell).await.unwrap();
        assert_eq!((hot, warm), (seen.hot_bytes, seen.warm_bytes));
    }
    let seen = buffer.send(ObserveBuffer).await.unwrap();
    assert!(seen.packed > 0 && seen.evicted > 0 && seen.segments > 4, "{seen:?}");
    assert_eq!((seen.pushed, seen.evicted + seen.segments, seen.refused_reports), (50, 50, 0));
    // The newest are there, bit for bit, the oldest gone.
    let newest = buffer.send(TakeRollout { policy_version: PolicyVersion(49) }).await.unwrap().unwrap();
    assert!(same_bits(&newest, &rollout(49)));
    let oldest_kept = 50 - seen.segments;
    let warm = buffer.send(TakeRollout { policy_version: PolicyVersion(oldest_kept) }).await.unwrap().unwrap();
    assert!(same_bits(&warm, &rollout(oldest_kept)));
    let gone = buffer.send(TakeRollout { policy_version: PolicyVersion(oldest_kept - 1) }).await.unwrap();
    assert!(matches!(gone, Err(BuffersError::NoRollout { wanted: PolicyVersion(_), .. })));
}

#[actix::test]
async fn what_does_not_fit_or_is_not_there_is_an_answer() {
    let buffer = Buffer::new(config()).unwrap().start();
    let large = Arc::new(samples::block(0, 64, 64, 6, 0));
    let refused = buffer.send(PushBlock { block: large }).await.unwrap();
    assert!(matches!(refused, Err(BuffersError::BlockAboveCapacity { .. })));
    let missing = buffer.send(ReadSegment { segment: SegmentId(3) }).await.unwrap();
    assert_eq!(missing, Err(BuffersError::NoSegment { segment: SegmentId(3) }));
    let too_small = BufferConfig { capacity: ByteSize(1), ..BufferConfig::default() };
    assert!(Buffer::new(too_small).is_err());
}

#[actix::test]
async fn relief_frees_bytes_says_so_and_keeps_the_rollouts() {
    let probe = Probe::default().start();
    let buffer = Buffer::new(config()).unwrap().with_reports(probe.clone().recipient()).start();
    for version in 0..2 {
        buffer.send(PushBlock { block: rollout(version) }).await.unwrap().unwrap();
    }
    let (hot_before, _, _) = probe.send(Tell).await.unwrap();
    let relieved = buffer.send(Relieve { rung: Rung::Shed }).await.unwrap();
    let (hot, warm, _) = probe.send(Tell).await.unwrap();
    assert_eq!((hot, relieved.freed_bytes), (0, hot_before - warm));
    assert!(relieved.freed_bytes > 0);
    let read = buffer.send(ReadSegment { segment: SegmentId(0) }).await.unwrap().unwrap();
    assert!(same_bits(&read, &rollout(0)));
}

/// Both real actors: a report that fills the ledger past the threshold comes back as relief.
#[actix::test]
async fn beside_the_memory_actor_pressure_compresses_the_buffer() {
    use grandmodel_memory::messages::{ObserveMemory, RegisterRelief, SampleNow};
    use grandmodel_memory::{Budget, GaugeRoots, Memory, MemoryConfig};

    // No gauges: the ledger alone is compared with the budget.
    let nowhere = GaugeRoots { proc: "/nonexistent".into(), cgroup: "/nonexistent".into() };
    let one = rollout(0).bytes() + SEGMENT_OVERHEAD_BYTES;
    let memory_config =
        MemoryConfig { budget: Budget::Bytes(ByteSize(3 * one)), cooldown_s: 0.0, sample_every_s: 3600.0, ..MemoryConfig::default() };
    let memory = Memory::new(memory_config, &nowhere).unwrap().start();
    let buffer = Buffer::new(config()).unwrap().with_reports(memory.clone().recipient()).start();
    memory.send(RegisterRelief { subsystem: Subsystem::BuffersHot, recipient: buffer.clone().recipient() }).await.unwrap().unwrap();
    for version in 0..3 {
        buffer.send(PushBlock { block: rollout(version) }).await.unwrap().unwrap();
    }
    let sample = memory.send(SampleNow).await.unwrap();
    assert!(sample.level >= PressureLevel::Warning, "{sample:?}");
    while memory.send(ObserveMemory).await.unwrap().freed_bytes == 0 {
        a_moment().await;
    }
    let after = memory.send(SampleNow).await.unwrap();
    assert!(after.used_bytes < sample.used_bytes && after.ledger.bytes(Subsystem::BuffersWarm) > 0, "{after:?}");
    for version in 0..3 {
        let taken = buffer.send(TakeRollout { policy_version: PolicyVersion(version) }).await.unwrap().unwrap();
        assert!(same_bits(&taken, &rollout(version)));
    }
}

async fn a_moment() {
    actix::clock::sleep(std::time::Duration::from_millis(1)).await;
}

fn replay_config() -> (ReplayConfig, ReplayShape) {
    let config = ReplayConfig {
        buffer_size: 2048,
        sampling: Sampling::Prioritised(Prioritised::default()),
        min_size: 100,
        ..ReplayConfig::default()
    };
    let shape = ReplayShape { num_envs: 4, num_steps: 32, observation_width: 6, action_width: 1, has_market: true, batch_size: 32 };
    (config, shape)
}

fn sample(spent: Option<Box<ReplayBatch>>) -> Sample {
    Sample { batch: 32, n_step: 3, gamma: 0.99, beta: 0.4, spent }
}

#[actix::test]
async fn replay_is_drawn_updated_and_goes_on_from_a_checkpoint() {
    let (config, shape) = replay_config();
    let probe = Probe::default().start();
    let buffer = Buffer::replay(config.clone(), shape, 7).unwrap().with_reports(probe.clone().recipient()).start();
    let early = buffer.send(sample(None)).await.unwrap().unwrap_err();
    assert_eq!(early, BuffersError::TooFewStored { stored: 0, wanted: 100 });
    for version in 0..20 {
        buffer.send(PushBlock { block: Arc::new(samples::off_policy(version, 32, 4, 6, version)) }).await.unwrap().unwrap();
    }
    let batch = buffer.send(sample(None)).await.unwrap().unwrap();
    let (slot, stamp) = (batch.slot.clone(), batch.stamp.clone());
    let updated = buffer.send(UpdatePriorities { slot, stamp, priority: vec![2.0; 32] }).await.unwrap().unwrap();
    assert_eq!(updated, 32);
    let contents = buffer.send(TakeContents).await.unwrap().unwrap();
    let resumed = Buffer::replay(config, shape, 99).unwrap().start();
    resumed.send(RestoreContents { contents }).await.unwrap().unwrap();
    let expected = buffer.send(sample(Some(batch))).await.unwrap().unwrap();
    assert_eq!(resumed.send(sample(None)).await.unwrap().unwrap(), expected);
    let seen = buffer.send(ObserveBuffer).await.unwrap();
    assert_eq!((seen.transitions, seen.sampled, probe.send(Tell).await.unwrap().0), (2048, 64, seen.hot_bytes));
}

#[actix::test]
async fn a_buffer_answers_for_its_own_kind_only() {
    let (config, shape) = replay_config();
    let replay = Buffer::replay(config, shape, 7).unwrap().start();
    let taken = replay.send(TakeRollout { policy_version: PolicyVersion(0) }).await.unwrap().unwrap_err();
    assert_eq!(taken.to_string(), "this buffer keeps replay and does not answer TakeRollout");
    let rollouts = Buffer::new(self::config()).unwrap().start();
    let drawn = rollouts.send(sample(None)).await.unwrap().unwrap_err();
    assert_eq!(drawn.to_string(), "this buffer keeps rollouts and does not answer Sample");
}
