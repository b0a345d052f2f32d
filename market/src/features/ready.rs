//! Whether a base row can be shown to an agent, and if not, why.

use super::{LVN_FEATURES, REGIME_FEATURES, STRUCTURE_FEATURES, STRUCTURE_WINDOW, TACTICAL_FEATURES, TACTICAL_WINDOW};

/// Verdict on one base row; of several reasons the first in this order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Readiness {
    /// All four inputs exist with full windows.
    Ready = 0,
    /// Fewer than 60 tactical rows in a row are defined.
    TacticalWindow = 1,
    /// No structure bar has closed yet.
    NoStructureBar = 2,
    /// Fewer than 48 structure rows in a row are defined, for want of bars (the kernel regression needs 129).
    StructureWindow = 3,
    /// The same, for want of the eight labelled MLMI events that a vote needs.
    MlmiPoints = 4,
    /// The regime vector is not defined, for want of structure bars (the MMD needs 249).
    RegimeWindow = 5,
    /// The MMD's reference has no spread (median distance 0).
    MmdSpread = 6,
    /// The low-volume nodes are not known yet.
    LvnWindow = 7,
}

impl Readiness {
    /// Every verdict, in the order of its code.
    pub const ALL: [Self; 8] = [
        Self::Ready,
        Self::TacticalWindow,
        Self::NoStructureBar,
        Self::StructureWindow,
        Self::MlmiPoints,
        Self::RegimeWindow,
        Self::MmdSpread,
        Self::LvnWindow,
    ];

    /// What is missing, in words.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::TacticalWindow => "fewer than 60 defined base rows",
            Self::NoStructureBar => "no structure bar closed yet",
            Self::StructureWindow => "fewer than 48 defined structure rows",
            Self::MlmiPoints => "fewer than 8 labelled MLMI events",
            Self::RegimeWindow => "too few structure bars for the regime vector",
            Self::MmdSpread => "no spread in the MMD's reference",
            Self::LvnWindow => "low-volume nodes not known yet",
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(code as usize).copied()
    }
}

/// Counts defined rows as they pass and judges each base row.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadyCounter {
    tactical_run: usize,
    structure_run: usize,
    structure_seen: bool,
    structure_lacks_points: bool,
    regime: Option<Readiness>,
    regime_bars: usize,
    mmd_bars: usize,
}

impl ReadyCounter {
    /// `mmd_bars`: structure bars that the MMD needs.
    pub(crate) fn new(mmd_bars: usize) -> Self {
        Self { mmd_bars, ..Self::default() }
    }

    /// A structure bar closed with these rows (NaN: absent).
    pub(crate) fn structure(&mut self, structure: &[f32; STRUCTURE_FEATURES], regime: &[f32; REGIME_FEATURES]) {
        self.structure_seen = true;
        self.regime_bars += 1;
        let defined = structure.iter().all(|value| value.is_finite());
        self.structure_run = if defined { self.structure_run + 1 } else { 0 };
        // Column 0 is the vote: when it alone is missing, the bars would have sufficed.
        self.structure_lacks_points =
            if defined { self.structure_lacks_points } else { structure[2..].iter().all(|value| value.is_finite()) };
        self.regime = if regime.iter().all(|value| value.is_finite()) {
            None
        } else if self.regime_bars < self.mmd_bars || regime[..7].iter().any(|value| !value.is_finite()) {
            Some(Readiness::RegimeWindow)
        } else {
            Some(Readiness::MmdSpread)
        };
    }

    /// A base bar closed with these rows, after the structure bars known at its close.
    pub(crate) fn base(&mut self, tactical: &[f32; TACTICAL_FEATURES], lvn: &[f32; LVN_FEATURES]) -> Readiness {
        self.tactical_run = if tactical.iter().all(|value| value.is_finite()) { self.tactical_run + 1 } else { 0 };
        if self.tactical_run < TACTICAL_WINDOW {
            Readiness::TacticalWindow
        } else if !self.structure_seen {
            Readiness::NoStructureBar
        } else if self.structure_run < STRUCTURE_WINDOW {
            if self.structure_lacks_points { Readiness::MlmiPoints } else { Readiness::StructureWindow }
        } else if let Some(reason) = self.regime {
            reason
        } else if lvn.iter().any(|value| !value.is_finite()) {
            Readiness::LvnWindow
        } else {
            Readiness::Ready
        }
    }
}
