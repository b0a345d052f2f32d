//! The memory actor: samples on an interval, keeps the ledger, tells subscribers, commands relief, answers plans.
//!
//! A shell: thresholds, plans and sums are in the pure modules; this file owns the interval, the clock and the recipients.

use std::time::Instant;

use actix::prelude::*;
use tracing::{info, warn};

use crate::messages::{
    MemoryObservation, MemorySample, ObserveMemory, PlanBatch, PressureChanged, RegisterRelief, Relieve, ReportBytes, SampleNow, Subscribe,
};
use crate::{
    AllocatorGauge, BatchPlan, ByteSize, DeviceGauge, FreeHeap, GaugeReading, GaugeRoots, Gauges, Ladder, Ledger, MemoryConfig,
    MemoryError, PressureEvent, PressureWatch, Rung, Subsystem,
};

/// Most recipients of each kind.
pub const RECIPIENTS_MAX: usize = 64;

/// Owns the budget.
pub struct Memory {
    config: MemoryConfig,
    gauges: Gauges,
    allocator: Option<AllocatorGauge>,
    device: Option<DeviceGauge>,
    ledger: Ledger,
    watch: PressureWatch,
    ladder: Ladder,
    free_heap: Option<FreeHeap>,
    started: Instant,
    last_reading: GaugeReading,
    peak_used_bytes: u64,
    subscribers: Vec<Recipient<PressureChanged>>,
    reliefs: Vec<Relief>,
    observation: MemoryObservation,
}

struct Relief {
    subsystem: Subsystem,
    recipient: Recipient<Relieve>,
    /// A command is with the recipient; a second one would only queue behind it.
    busy: bool,
}

impl Memory {
    /// Opens the gauges and resolves the budget against the limit they show.
    ///
    /// # Errors
    /// Settings out of range, a budget above the limit, a share of an unknown limit, gauges that make no sense.
    pub fn new(config: MemoryConfig, roots: &GaugeRoots) -> Result<Self, MemoryError> {
        config.validate()?;
        let gauges = Gauges::open(roots)?;
        let last_reading = gauges.read()?;
        let budget_bytes = config.budget.resolve(last_reading.limit_bytes())?;
        Ok(Self {
            config,
            gauges,
            allocator: None,
            device: None,
            ledger: Ledger::default(),
            watch: PressureWatch::new(&config, budget_bytes),
            ladder: Ladder::default(),
            free_heap: None,
            #[allow(clippy::disallowed_methods)] // The shell is where the clock enters; the watch takes the time as an argument.
            started: Instant::now(),
            last_reading,
            peak_used_bytes: 0,
            subscribers: Vec::new(),
            reliefs: Vec::new(),
            observation: MemoryObservation::default(),
        })
    }

    /// With the allocator's own figures in every sample.
    pub fn with_allocator(mut self, gauge: AllocatorGauge) -> Self {
        self.allocator = Some(gauge);
        self
    }

    /// With the accelerator's pools in every sample.
    pub fn with_device(mut self, gauge: DeviceGauge) -> Self {
        self.device = Some(gauge);
        self
    }

    /// With a way to give the allocator's free pages back to the system.
    pub fn with_free_heap(mut self, free_heap: FreeHeap) -> Self {
        self.free_heap = Some(free_heap);
        self
    }

    /// Bytes that the run may use.
    pub fn budget_bytes(&self) -> u64 {
        self.watch.budget_bytes()
    }

    fn sample(&mut self, ctx: &mut Context<Self>) -> MemorySample {
        match self.gauges.read() {
            Ok(reading) => self.last_reading = reading,
            Err(error) => {
                self.observation.gauge_failures += 1;
                warn!(%error, "gauge not understood, the last good reading stands");
            }
        }
        let allocator = self.allocator.as_ref().and_then(|gauge| gauge());
        let ledger = self.ledger.snapshot();
        let reading = self.last_reading;
        let used_bytes = reading.anonymous_bytes().or(allocator.map(|reading| reading.resident_bytes)).unwrap_or(ledger.total_bytes);
        self.peak_used_bytes = self.peak_used_bytes.max(used_bytes);
        self.observation.samples += 1;
        if let Some(event) = self.watch.observe(self.started.elapsed(), used_bytes) {
            self.act(event, used_bytes, ctx);
        }
        MemorySample {
            used_bytes,
            budget_bytes: self.watch.budget_bytes(),
            peak_used_bytes: self.peak_used_bytes,
            level: self.watch.level(),
            rung: self.ladder.rung(),
            resident_bytes: reading.resident_bytes,
            resident_shared_bytes: reading.resident_shared_bytes,
            limit_bytes: reading.limit_bytes(),
            cgroup_used_bytes: reading.cgroup_used_bytes,
            stall: reading.stall,
            allocator,
            device: self.device.as_ref().and_then(|gauge| gauge()),
            ledger,
        }
    }

    /// A sample, and the next one when it is due.
    fn watch_on(&mut self, ctx: &mut Context<Self>) {
        let used_bytes = self.sample(ctx).used_bytes;
        let next = self.watch.next_sample(used_bytes, self.config.sample_every());
        ctx.run_later(next, Self::watch_on);
    }

    fn act(&mut self, event: PressureEvent, used_bytes: u64, ctx: &mut Context<Self>) {
        let budget_bytes = self.watch.budget_bytes();
        if let PressureEvent::Rose(level) | PressureEvent::Fell(level) = event {
            self.observation.level_changes += 1;
            info!(?level, used = ByteSize(used_bytes).rounded(), budget = ByteSize(budget_bytes).rounded(), "memory pressure changed");
            let refused = &mut self.observation.refused_notices;
            self.subscribers.retain(|subscriber| match subscriber.try_send(PressureChanged { level, used_bytes, budget_bytes }) {
                Ok(()) => true,
                Err(SendError::Full(_)) => {
                    *refused += 1;
                    true
                }
                Err(SendError::Closed(_)) => false,
            });
        }
        let before = self.ladder.rung();
        if let Some(rung) = self.ladder.follow(event) {
            if rung != before {
                info!(?rung, "the ladder's rung changed");
            }
            self.relieve(Relieve { rung }, ctx);
            if let (Rung::Shed, Some(free_heap)) = (rung, &self.free_heap) {
                free_heap();
            }
        }
    }

    /// One command to each recipient that is not still busy with the last; its answer is logged when it comes.
    fn relieve(&mut self, command: Relieve, ctx: &mut Context<Self>) {
        self.reliefs.retain(|relief| relief.recipient.connected());
        for relief in &mut self.reliefs {
            if relief.busy {
                self.observation.reliefs_skipped += 1;
                continue;
            }
            relief.busy = true;
            self.observation.reliefs_sent += 1;
            let (subsystem, recipient) = (relief.subsystem, relief.recipient.clone());
            let answer = fut::wrap_future::<_, Self>(relief.recipient.send(command)).map(move |answer, memory, _| {
                if let Some(relief) = memory.reliefs.iter_mut().find(|relief| relief.recipient == recipient) {
                    relief.busy = false;
                }
                match answer {
                    Ok(relieved) => {
                        memory.observation.freed_bytes += relieved.freed_bytes;
                        let freed = ByteSize(relieved.freed_bytes).rounded();
                        info!(rung = ?command.rung, subsystem = subsystem.name(), freed, "relief");
                    }
                    Err(error) => warn!(subsystem = subsystem.name(), %error, "relief not answered"),
                }
            });
            ctx.spawn(answer);
        }
    }
}

impl Actor for Memory {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.watch_on(ctx);
    }
}

impl Handler<ReportBytes> for Memory {
    type Result = ();

    fn handle(&mut self, report: ReportBytes, _: &mut Self::Context) {
        self.ledger.set(report.subsystem, report.bytes);
    }
}

impl Handler<SampleNow> for Memory {
    type Result = MemorySample;

    fn handle(&mut self, _: SampleNow, ctx: &mut Self::Context) -> MemorySample {
        self.sample(ctx)
    }
}

impl Handler<PlanBatch> for Memory {
    type Result = Result<BatchPlan, MemoryError>;

    fn handle(&mut self, asked: PlanBatch, _: &mut Self::Context) -> Self::Result {
        let plan = BatchPlan::choose(&asked.0, &self.config, self.watch.budget_bytes())?;
        info!(
            micro_batch = plan.micro_batch,
            accumulation_steps = plan.accumulation_steps,
            checkpointing = ?plan.checkpointing,
            predicted = ByteSize(plan.predicted_bytes).rounded(),
            "batch planned"
        );
        Ok(plan)
    }
}

impl Handler<Subscribe> for Memory {
    type Result = Result<(), MemoryError>;

    fn handle(&mut self, wanted: Subscribe, _: &mut Self::Context) -> Self::Result {
        admit(self.subscribers.len(), "pressure")?;
        self.subscribers.push(wanted.recipient);
        Ok(())
    }
}

impl Handler<RegisterRelief> for Memory {
    type Result = Result<(), MemoryError>;

    fn handle(&mut self, wanted: RegisterRelief, _: &mut Self::Context) -> Self::Result {
        admit(self.reliefs.len(), "relief")?;
        let RegisterRelief { subsystem, recipient } = wanted;
        self.reliefs.push(Relief { subsystem, recipient, busy: false });
        Ok(())
    }
}

impl Handler<ObserveMemory> for Memory {
    type Result = MemoryObservation;

    fn handle(&mut self, _: ObserveMemory, _: &mut Self::Context) -> MemoryObservation {
        MemoryObservation { rung: self.ladder.rung(), recipients: self.subscribers.len() + self.reliefs.len(), ..self.observation }
    }
}

fn admit(registered: usize, kind: &'static str) -> Result<(), MemoryError> {
    if registered < RECIPIENTS_MAX { Ok(()) } else { Err(MemoryError::TooManyRecipients { kind, limit: RECIPIENTS_MAX }) }
}

#[cfg(test)]
mod tests;
