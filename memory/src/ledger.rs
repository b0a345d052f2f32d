//! Bytes that each subsystem says it holds, with peaks. It measures nothing and believes what it is told; the process's own size is a gauge.

use serde::{Deserialize, Serialize};

/// Who holds bytes. One owner each: the latest report of a subsystem replaces the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subsystem {
    /// Bars with their features: one table, mapped from a file where it is cached.
    MarketTable,
    /// Experience, raw.
    BuffersHot,
    /// Experience, compressed.
    BuffersWarm,
    /// Experience in memory-mapped files.
    BuffersCold,
    /// Weights, of learner and embedders.
    Parameters,
    /// Gradients of all blocks alive at once, warm ones included.
    Gradients,
    /// Moments of the optimiser.
    OptimizerState,
    /// What forward passes keep for backward passes, warm rooms included.
    Activations,
}

impl Subsystem {
    /// Every subsystem, in the order of reports.
    pub const ALL: [Self; 8] = [
        Self::MarketTable,
        Self::BuffersHot,
        Self::BuffersWarm,
        Self::BuffersCold,
        Self::Parameters,
        Self::Gradients,
        Self::OptimizerState,
        Self::Activations,
    ];

    /// Name as in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::MarketTable => "market_table",
            Self::BuffersHot => "buffers_hot",
            Self::BuffersWarm => "buffers_warm",
            Self::BuffersCold => "buffers_cold",
            Self::Parameters => "parameters",
            Self::Gradients => "gradients",
            Self::OptimizerState => "optimizer_state",
            Self::Activations => "activations",
        }
    }
}

/// Current and peak bytes by subsystem and in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    bytes: [u64; Subsystem::ALL.len()],
    peak: [u64; Subsystem::ALL.len()],
    peak_total: u64,
}

impl Ledger {
    /// Replaces what `subsystem` holds.
    pub fn set(&mut self, subsystem: Subsystem, bytes: u64) {
        let at = subsystem as usize;
        self.bytes[at] = bytes;
        self.peak[at] = self.peak[at].max(bytes);
        self.peak_total = self.peak_total.max(self.total());
    }

    /// What `subsystem` reported last.
    pub fn bytes(&self, subsystem: Subsystem) -> u64 {
        self.bytes[subsystem as usize]
    }

    /// Sum over all subsystems; stops at the largest number rather than wrap.
    pub fn total(&self) -> u64 {
        self.bytes.iter().fold(0, |sum, &bytes| sum.saturating_add(bytes))
    }

    /// A copy that can be sent and written.
    pub fn snapshot(&self) -> LedgerSnapshot {
        let rows = Subsystem::ALL.iter().map(|&subsystem| LedgerRow {
            subsystem,
            bytes: self.bytes[subsystem as usize],
            peak_bytes: self.peak[subsystem as usize],
        });
        LedgerSnapshot { rows: rows.collect(), total_bytes: self.total(), peak_total_bytes: self.peak_total }
    }
}

/// The ledger at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerSnapshot {
    /// One row a subsystem, in the order of [`Subsystem::ALL`].
    pub rows: Vec<LedgerRow>,
    /// Sum of the rows.
    pub total_bytes: u64,
    /// Largest sum seen; at most the sum of the peaks, which fall at different times.
    pub peak_total_bytes: u64,
}

impl LedgerSnapshot {
    /// What `subsystem` held.
    pub fn bytes(&self, subsystem: Subsystem) -> u64 {
        self.rows[subsystem as usize].bytes
    }
}

/// One subsystem's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerRow {
    /// Whose bytes.
    pub subsystem: Subsystem,
    /// Held now.
    pub bytes: u64,
    /// Most held at once so far.
    pub peak_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_report_stands_and_peaks_stay() {
        let mut ledger = Ledger::default();
        ledger.set(Subsystem::Parameters, 100);
        ledger.set(Subsystem::BuffersHot, 50); // 150 in all
        ledger.set(Subsystem::Parameters, 20); // 70
        ledger.set(Subsystem::BuffersHot, 90); // 110
        let snapshot = ledger.snapshot();
        assert_eq!((snapshot.total_bytes, snapshot.peak_total_bytes), (110, 150));
        let row = snapshot.rows[Subsystem::Parameters as usize];
        assert_eq!(row, LedgerRow { subsystem: Subsystem::Parameters, bytes: 20, peak_bytes: 100 });
        assert_eq!(snapshot.bytes(Subsystem::BuffersHot), 90);
    }

    #[test]
    fn all_lists_every_subsystem_at_its_own_place() {
        for (at, subsystem) in Subsystem::ALL.into_iter().enumerate() {
            assert_eq!(subsystem as usize, at, "{}", subsystem.name());
        }
    }

    #[test]
    fn absurd_reports_do_not_wrap() {
        let mut ledger = Ledger::default();
        ledger.set(Subsystem::Parameters, u64::MAX);
        ledger.set(Subsystem::Gradients, 1);
        assert_eq!(ledger.total(), u64::MAX);
    }
}
