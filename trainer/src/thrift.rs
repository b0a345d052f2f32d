//! How much memory one gradient may use: the plan of the start, made smaller while the ladder says so. It decides how many blocks are alive at once and what
//! their forward passes keep; never what comes out.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use grandmodel_embedders::plain::Keep;
use grandmodel_memory::{BatchPlan, Rung, plan::Checkpointing};

/// Shared by the learner at work and the actor that is told the rung meanwhile.
#[derive(Clone, Debug)]
pub struct Thrift {
    plan: BatchPlan,
    rung: Arc<AtomicU8>,
}

impl Thrift {
    /// As planned.
    pub fn new(plan: BatchPlan) -> Self {
        Self { plan, rung: Arc::new(AtomicU8::new(Rung::Rest as u8)) }
    }

    /// The rung from now on.
    pub fn set(&self, rung: Rung) {
        self.rung.store(rung as u8, Ordering::Relaxed);
    }

    /// How many times the micro-batch is halved.
    fn halvings(&self) -> u8 {
        self.rung.load(Ordering::Relaxed)
    }

    /// Blocks of so many samples that may be alive at once: half as many with each rung, one from [`Rung::Shed`] on.
    pub fn blocks_alive(&self, samples_per_block: usize) -> usize {
        let planned = self.plan.micro_batch / samples_per_block.max(1);
        let shed = self.halvings() >= Rung::Shed as u8;
        if shed { 1 } else { (planned >> self.halvings()).max(1) }
    }

    /// What their forward passes keep: at most what was planned.
    pub fn keep(&self) -> Keep {
        let rung = match self.halvings() {
            0 => Checkpointing::Off,
            1 => Checkpointing::Selective,
            _ => Checkpointing::Full,
        };
        keep(self.plan.checkpointing.max(rung))
    }
}

/// What a forward pass keeps under a way of checkpointing.
pub fn keep(checkpointing: Checkpointing) -> Keep {
    match checkpointing {
        Checkpointing::Off => Keep::Everything,
        Checkpointing::Selective => Keep::Selected,
        Checkpointing::Full => Keep::Segments(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_blocks_and_less_kept_with_each_rung_and_back() {
        let thrift =
            Thrift::new(BatchPlan { micro_batch: 128, accumulation_steps: 1, checkpointing: Checkpointing::Off, predicted_bytes: 0 });
        let seen = |rung| {
            thrift.set(rung);
            (thrift.blocks_alive(16), thrift.keep())
        };
        assert_eq!(seen(Rung::Rest), (8, Keep::Everything));
        assert_eq!(seen(Rung::Compress), (4, Keep::Selected));
        assert_eq!(seen(Rung::Spill), (2, Keep::Segments(1)));
        assert_eq!(seen(Rung::Shed), (1, Keep::Segments(1)));
        assert_eq!(seen(Rung::Rest), (8, Keep::Everything));
    }
}
