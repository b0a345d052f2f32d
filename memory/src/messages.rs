//! What the memory actor takes and what it sends. Reports and questions come in; events and relief commands go out; nothing here computes.

use actix::dev::MessageResponse;
use actix::{Message, Recipient};
use serde::Serialize;

use crate::{
    AllocatorReading, BatchPlan, BatchRequest, DeviceReading, LedgerSnapshot, MemoryError, PressureLevel, PressureStall, Rung, Subsystem,
};

/// "I hold so many bytes now"; replaces the subsystem's last report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct ReportBytes {
    /// Who holds them.
    pub subsystem: Subsystem,
    /// All of them, not a difference.
    pub bytes: u64,
}

/// Asks for the fastest plan under the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<BatchPlan, MemoryError>")]
pub struct PlanBatch(pub BatchRequest);

/// Asks for a sample at once, beside the regular ones; it counts for pressure as they do.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "MemorySample")]
pub struct SampleNow;

/// What the gauges and the ledger said at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, MessageResponse)]
pub struct MemorySample {
    /// What is compared with the budget: resident bytes without a file behind them (mapped tables and spilled segments can be taken back by the kernel), or
    /// where that cannot be read the allocator's resident bytes, or the ledger's total.
    pub used_bytes: u64,
    /// What the run may use.
    pub budget_bytes: u64,
    /// Largest `used_bytes` of all samples so far.
    pub peak_used_bytes: u64,
    /// Level after this sample.
    pub level: PressureLevel,
    /// Rung of the ladder after this sample.
    pub rung: Rung,
    /// Resident bytes of this process.
    pub resident_bytes: Option<u64>,
    /// Those of them that are file-backed or shared: memory-mapped tables, the binary.
    pub resident_shared_bytes: Option<u64>,
    /// What the machine or the tightest cgroup grants.
    pub limit_bytes: Option<u64>,
    /// Use of the cgroup, page cache included.
    pub cgroup_used_bytes: Option<u64>,
    /// Time lost waiting for memory.
    pub stall: Option<PressureStall>,
    /// The allocator's own count, where the binary gave a gauge.
    pub allocator: Option<AllocatorReading>,
    /// The accelerator's pools, where the binary gave a gauge.
    pub device: Option<DeviceReading>,
    /// What the subsystems report.
    pub ledger: LedgerSnapshot,
}

/// Wants every [`PressureChanged`] from now on.
#[derive(Message)]
#[rtype(result = "Result<(), MemoryError>")]
pub struct Subscribe {
    /// Told by `try_send`: a full mailbox misses the event and the miss is counted.
    pub recipient: Recipient<PressureChanged>,
}

/// The level rose or fell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct PressureChanged {
    /// New level.
    pub level: PressureLevel,
    /// Use at that moment.
    pub used_bytes: u64,
    /// What it was compared with.
    pub budget_bytes: u64,
}

/// Can free bytes on command.
#[derive(Message)]
#[rtype(result = "Result<(), MemoryError>")]
pub struct RegisterRelief {
    /// Whose bytes, for the log.
    pub subsystem: Subsystem,
    /// Takes the command; its reply is awaited, and no second command is sent before it came.
    pub recipient: Recipient<Relieve>,
}

/// Free what you can at this rung without changing any result: compress, drop caches, spill; evict nothing. Where steps are taken back, what would be
/// needed again may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Relieved")]
pub struct Relieve {
    /// The rung in force from now on; higher than the last one where steps are taken back.
    pub rung: Rung,
}

/// What a [`Relieve`] gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, MessageResponse)]
pub struct Relieved {
    /// Bytes freed by this command.
    pub freed_bytes: u64,
}

/// Asks for the actor's counters.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "MemoryObservation")]
pub struct ObserveMemory;

/// What the memory actor did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, MessageResponse)]
pub struct MemoryObservation {
    /// Samples taken.
    pub samples: u64,
    /// Samples with a gauge that could not be understood; the last good reading stood in.
    pub gauge_failures: u64,
    /// Changes of level.
    pub level_changes: u64,
    /// Events that a subscriber's full mailbox refused.
    pub refused_notices: u64,
    /// Rung of the ladder now.
    pub rung: Rung,
    /// Relief commands sent.
    pub reliefs_sent: u64,
    /// Relief commands not sent because the recipient still works on the one before.
    pub reliefs_skipped: u64,
    /// Bytes that relief freed, by the word of those who freed them.
    pub freed_bytes: u64,
    /// Subscribers and relief recipients now; those that stopped are forgotten.
    pub recipients: usize,
}
