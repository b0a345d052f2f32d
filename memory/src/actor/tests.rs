//! The real actor over a made-up `/proc`, with real recipients that count.

use std::fs;
use std::sync::Arc;

use super::*;
use crate::messages::Relieved;
use crate::{AllocatorReading, BatchRequest, Budget, PressureLevel, Rung};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// Keeps what it was told; answers relief with a fixed number of bytes.
#[derive(Default)]
struct Probe {
    changes: Vec<PressureChanged>,
    reliefs: Vec<Rung>,
    /// Relief is answered only after so long, to be busy.
    slow: Option<std::time::Duration>,
}

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Handler<PressureChanged> for Probe {
    type Result = ();

    fn handle(&mut self, change: PressureChanged, _: &mut Self::Context) {
        self.changes.push(change);
    }
}

impl Handler<Relieve> for Probe {
    type Result = ResponseFuture<Relieved>;

    fn handle(&mut self, command: Relieve, _: &mut Self::Context) -> Self::Result {
        self.reliefs.push(command.rung);
        let slow = self.slow;
        Box::pin(async move {
            if let Some(slow) = slow {
                actix::clock::sleep(slow).await;
            }
            Relieved { freed_bytes: 7 }
        })
    }
}

#[derive(Message)]
#[rtype(result = "(Vec<PressureChanged>, Vec<Rung>)")]
struct Tell;

impl Handler<Tell> for Probe {
    type Result = MessageResult<Tell>;

    fn handle(&mut self, _: Tell, _: &mut Self::Context) -> Self::Result {
        MessageResult((self.changes.clone(), self.reliefs.clone()))
    }
}

/// A `/proc` whose process has so many MiB resident.
struct Machine(TempDir);

impl Machine {
    fn new(resident_mib: u64) -> Self {
        let machine = Self(TempDir::new().unwrap());
        fs::create_dir_all(machine.0.path().join("self")).unwrap();
        fs::write(machine.0.path().join("meminfo"), "MemTotal: 1048576 kB\n").unwrap();
        machine.resident(resident_mib);
        machine
    }

    fn resident(&self, mib: u64) {
        fs::write(self.0.path().join("self/statm"), format!("999999 {} 0 0 0 0 0\n", mib * 256)).unwrap();
    }

    fn roots(&self) -> GaugeRoots {
        GaugeRoots { proc: self.0.path().into(), cgroup: self.0.path().join("none") }
    }
}

/// Budget 100 MiB, so that MiB are percent; samples only on request; no cool-down unless a test wants one.
fn config() -> MemoryConfig {
    MemoryConfig { budget: Budget::Bytes(ByteSize::mib(100)), sample_every_s: 3600.0, cooldown_s: 0.0, ..MemoryConfig::default() }
}

#[actix::test]
async fn pressure_reaches_subscribers_and_relief_with_hysteresis() {
    let machine = Machine::new(10);
    let memory = Memory::new(config(), &machine.roots()).unwrap().start();
    let probe = Probe::default().start();
    memory.send(Subscribe { recipient: probe.clone().recipient() }).await.unwrap().unwrap();
    memory.send(RegisterRelief { subsystem: Subsystem::BuffersHot, recipient: probe.clone().recipient() }).await.unwrap().unwrap();
    // Percent of the budget -> level; falls at 70 and 85, one step a sample.
    let levels = [
        (74, PressureLevel::Normal),
        (75, PressureLevel::Warning),
        (71, PressureLevel::Warning),
        (69, PressureLevel::Normal),
        (95, PressureLevel::Critical),
        (86, PressureLevel::Critical),
        (20, PressureLevel::Warning),
        (20, PressureLevel::Normal),
    ];
    for (mib, level) in levels {
        machine.resident(mib);
        let sample = memory.send(SampleNow).await.unwrap();
        assert_eq!((sample.level, sample.used_bytes), (level, mib * MIB), "at {mib} %");
    }
    let (changes, reliefs) = probe.send(Tell).await.unwrap();
    let told: Vec<_> = changes.iter().map(|change| (change.level, change.used_bytes / MIB)).collect();
    use PressureLevel::{Critical, Normal, Warning};
    assert_eq!(told, [(Warning, 75), (Normal, 69), (Critical, 95), (Warning, 20), (Normal, 20)]);
    assert!(changes.iter().all(|change| change.budget_bytes == 100 * MIB));
    // Taken back when use fell, one step an event.
    assert_eq!(reliefs, [Rung::Compress, Rung::Rest, Rung::Shed, Rung::Spill, Rung::Compress]);
    let seen = memory.send(ObserveMemory).await.unwrap();
    assert_eq!((seen.samples, seen.level_changes, seen.reliefs_sent, seen.freed_bytes), (9, 5, 5, 35));
}

#[actix::test]
async fn a_cooldown_holds_the_level_and_a_busy_recipient_gets_no_second_command() {
    let machine = Machine::new(95);
    let held = Memory::new(MemoryConfig { cooldown_s: 3600.0, ..config() }, &machine.roots()).unwrap().start();
    assert_eq!(held.send(SampleNow).await.unwrap().level, PressureLevel::Critical);
    machine.resident(1);
    let sample = held.send(SampleNow).await.unwrap();
    assert_eq!((sample.level, sample.used_bytes, sample.peak_used_bytes), (PressureLevel::Critical, MIB, 95 * MIB));

    machine.resident(95);
    let memory = Memory::new(config(), &machine.roots()).unwrap().start();
    let probe = Probe { slow: Some(std::time::Duration::from_secs(3600)), ..Probe::default() }.start();
    memory.send(RegisterRelief { subsystem: Subsystem::BuffersHot, recipient: probe.clone().recipient() }).await.unwrap().unwrap();
    for _ in 0..3 {
        memory.send(SampleNow).await.unwrap();
    }
    let seen = memory.send(ObserveMemory).await.unwrap();
    assert_eq!((seen.reliefs_sent, seen.reliefs_skipped, seen.freed_bytes), (1, 2, 0));
}

#[actix::test]
async fn the_interval_samples_by_itself() {
    let machine = Machine::new(80);
    let memory = Memory::new(MemoryConfig { sample_every_s: 0.01, ..config() }, &machine.roots()).unwrap().start();
    while memory.send(ObserveMemory).await.unwrap().samples < 3 {
        actix::clock::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(memory.send(ObserveMemory).await.unwrap().level_changes, 1);
}

#[actix::test]
async fn recipients_that_stopped_are_forgotten_and_their_number_is_limited() {
    let machine = Machine::new(10);
    let memory = Memory::new(config(), &machine.roots()).unwrap().start();
    let gone = Probe::default().start();
    let (notices, reliefs) = (gone.clone().recipient::<PressureChanged>(), gone.clone().recipient::<Relieve>());
    memory.send(Subscribe { recipient: notices.clone() }).await.unwrap().unwrap();
    memory.send(RegisterRelief { subsystem: Subsystem::MarketTable, recipient: reliefs }).await.unwrap().unwrap();
    assert_eq!(memory.send(ObserveMemory).await.unwrap().recipients, 2);
    gone.send(Stop).await.unwrap();
    while notices.connected() {
        actix::clock::sleep(std::time::Duration::from_millis(1)).await;
    }
    machine.resident(80);
    memory.send(SampleNow).await.unwrap();
    let seen = memory.send(ObserveMemory).await.unwrap();
    assert_eq!((seen.recipients, seen.reliefs_sent, seen.refused_notices), (0, 0, 0));

    let probe = Probe::default().start();
    for _ in 0..RECIPIENTS_MAX {
        memory.send(Subscribe { recipient: probe.clone().recipient() }).await.unwrap().unwrap();
    }
    let refused = memory.send(Subscribe { recipient: probe.clone().recipient() }).await.unwrap();
    assert_eq!(refused, Err(MemoryError::TooManyRecipients { kind: "pressure", limit: RECIPIENTS_MAX }));
}

/// Ends the probe.
#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

impl Handler<Stop> for Probe {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

#[actix::test]
async fn a_full_mailbox_misses_the_event_and_the_miss_is_counted() {
    /// Takes nothing while its arbiter's thread is held.
    struct Deaf(std::sync::mpsc::Receiver<()>);
    impl Actor for Deaf {
        type Context = Context<Self>;
        fn started(&mut self, ctx: &mut Self::Context) {
            ctx.set_mailbox_capacity(1);
            self.0.recv().unwrap();
        }
    }
    impl Handler<PressureChanged> for Deaf {
        type Result = ();
        fn handle(&mut self, _: PressureChanged, _: &mut Self::Context) {}
    }
    let machine = Machine::new(10);
    let memory = Memory::new(config(), &machine.roots()).unwrap().start();
    let (release, held) = std::sync::mpsc::channel();
    let arbiter = Arbiter::new();
    let deaf = Deaf::start_in_arbiter(&arbiter.handle(), |_| Deaf(held));
    memory.send(Subscribe { recipient: deaf.recipient() }).await.unwrap().unwrap();
    // Up and down, far more often than a mailbox holds.
    for mib in [80, 10].into_iter().cycle().take(60) {
        machine.resident(mib);
        memory.send(SampleNow).await.unwrap();
    }
    let seen = memory.send(ObserveMemory).await.unwrap();
    assert_eq!(seen.level_changes, 60);
    assert!(seen.refused_notices > 0 && seen.recipients == 1, "{seen:?}");
    release.send(()).unwrap();
    arbiter.stop();
}

#[actix::test]
async fn the_ledger_and_the_callers_gauges_are_in_the_sample() {
    let machine = Machine::new(10);
    let allocator = AllocatorReading { live_bytes: 5, resident_bytes: 9 };
    let memory = Memory::new(config(), &machine.roots()).unwrap().with_allocator(Arc::new(move || Some(allocator))).start();
    memory.send(ReportBytes { subsystem: Subsystem::Parameters, bytes: 300 }).await.unwrap();
    memory.send(ReportBytes { subsystem: Subsystem::Parameters, bytes: 200 }).await.unwrap();
    let sample = memory.send(SampleNow).await.unwrap();
    assert_eq!((sample.allocator, sample.device), (Some(allocator), None));
    assert_eq!((sample.ledger.bytes(Subsystem::Parameters), sample.ledger.peak_total_bytes), (200, 300));
    assert_eq!(sample.limit_bytes, Some(1 << 30));
}

#[actix::test]
async fn without_files_the_allocator_and_then_the_ledger_stand_in() {
    let nowhere = GaugeRoots { proc: "/nonexistent".into(), cgroup: "/nonexistent".into() };
    let ledger_only = Memory::new(config(), &nowhere).unwrap().start();
    ledger_only.send(ReportBytes { subsystem: Subsystem::MarketTable, bytes: 80 * MIB }).await.unwrap();
    let sample = ledger_only.send(SampleNow).await.unwrap();
    assert_eq!((sample.used_bytes, sample.level, sample.resident_bytes), (80 * MIB, PressureLevel::Warning, None));
    let gauge: AllocatorGauge = Arc::new(|| Some(AllocatorReading { live_bytes: 1, resident_bytes: 2 }));
    let with_allocator = Memory::new(config(), &nowhere).unwrap().with_allocator(gauge).start();
    assert_eq!(with_allocator.send(SampleNow).await.unwrap().used_bytes, 2);
    assert!(matches!(Memory::new(MemoryConfig::default(), &nowhere), Err(MemoryError::NoLimit { .. })));
}

#[actix::test]
async fn a_gauge_that_breaks_is_counted_and_the_last_reading_stands() {
    let machine = Machine::new(30);
    let memory = Memory::new(config(), &machine.roots()).unwrap().start();
    fs::write(machine.0.path().join("self/statm"), "broken").unwrap();
    assert_eq!(memory.send(SampleNow).await.unwrap().used_bytes, 30 * MIB);
    // The first sample of all, and the one that was asked for.
    assert_eq!(memory.send(ObserveMemory).await.unwrap().gauge_failures, 2);
    assert!(matches!(Memory::new(config(), &machine.roots()), Err(MemoryError::Gauge { .. })));
}

#[actix::test]
async fn plans_follow_the_budget_and_refusals_say_what_fits() {
    let machine = Machine::new(10);
    let memory = Memory::new(config(), &machine.roots()).unwrap().start();
    // Half of 100 MiB: 10 + 8 a block of 8 <= 50 -> 32 of 128.
    let bytes_per_block = [8 * MIB; 3];
    let asked = BatchRequest {
        effective_batch: 128,
        grad_block: 8,
        threads: 1,
        bytes_beside: 0,
        bytes_fixed: 10 * MIB,
        bytes_per_gradient: 0,
        bytes_per_block,
        bytes_per_thread: [0; 3],
    };
    let plan = memory.send(PlanBatch(asked)).await.unwrap().unwrap();
    assert_eq!((plan.micro_batch, plan.accumulation_steps), (32, 4));
    let refused = memory.send(PlanBatch(BatchRequest { bytes_fixed: 60 * MIB, ..asked })).await.unwrap().unwrap_err();
    // 60 + 8 = 68 MiB of at least 136.
    assert_eq!(
        refused.to_string(),
        "the smallest micro-batch of 8 samples needs 68.00 MiB (60.00 MiB fixed + 8.00 MiB in flight) but the budget has room for 50.00 MiB; \
         a memory.budget of 136 MiB would fit it, or a model of at most 42.00 MiB fixed at this budget"
    );
}

#[test]
fn a_budget_above_the_machine_is_refused_at_the_start() {
    let machine = Machine::new(10);
    let above = MemoryConfig { budget: Budget::Bytes(ByteSize::mib(2048)), ..config() };
    assert!(matches!(Memory::new(above, &machine.roots()), Err(MemoryError::BudgetAboveLimit { .. })));
    let share = Memory::new(MemoryConfig { budget: Budget::Share(0.5), ..config() }, &machine.roots()).unwrap();
    assert_eq!(share.budget_bytes(), 512 * MIB);
}
