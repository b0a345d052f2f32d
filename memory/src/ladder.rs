//! The ladder: pressure in; the rung in force out. A rung says how much may be given up; whoever owns bytes knows what that means for them. No rung changes a
//! result: what is evicted and what is learned follow from configuration alone.

use serde::{Deserialize, Serialize};

use crate::{PressureEvent, PressureLevel};

/// How far down the ladder the run stands; each rung includes those above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// Nothing is given up.
    #[default]
    Rest,
    /// Compress what is complete; fewer samples in flight.
    Compress,
    /// Recompute activations instead of keeping them; spill what is compressed to files.
    Spill,
    /// Spill everything that may be spilled, drop caches and spare room, give free heap back.
    Shed,
    /// Nothing is left to give up: save and stop.
    Stop,
}

/// Where the run stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ladder {
    rung: Rung,
}

impl Ladder {
    /// The rung in force.
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// Follows an event; the rung to be at now where something is to be done: a lower one, a higher one, or the same once more because use is still high.
    ///
    /// A warning that lasts leads to [`Rung::Spill`], critical use to [`Rung::Shed`]. Only a budget that is all but used up although everything was given
    /// up leads to [`Rung::Stop`], which is never taken back. The way back is one rung an event.
    pub fn follow(&mut self, event: PressureEvent) -> Option<Rung> {
        use PressureEvent::{Calm, Fell, Rose, StillHigh};
        use PressureLevel::{Critical, Exhausted, Normal, Warning};
        let before = self.rung;
        self.rung = match event {
            _ if before == Rung::Stop => Rung::Stop,
            Rose(Normal) | StillHigh(Normal) => before,
            Rose(Warning) => before.max(Rung::Compress),
            StillHigh(Warning) => before.max(Rung::Spill),
            Rose(Critical) | StillHigh(Critical) => Rung::Shed,
            Rose(Exhausted) | StillHigh(Exhausted) if before < Rung::Shed => Rung::Shed,
            Rose(Exhausted) | StillHigh(Exhausted) => Rung::Stop,
            Fell(Normal) | Calm => before.above(),
            Fell(_) => before.above().max(Rung::Compress),
        };
        let again = matches!(event, Rose(_) | StillHigh(_)) && self.rung != Rung::Stop;
        (self.rung != before || again).then_some(self.rung)
    }
}

impl Rung {
    fn above(self) -> Self {
        match self {
            Self::Rest | Self::Compress => Self::Rest,
            Self::Spill => Self::Compress,
            Self::Shed => Self::Spill,
            Self::Stop => Self::Stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PressureEvent::{Calm, Fell, Rose, StillHigh};
    use PressureLevel::{Critical, Exhausted, Normal, Warning};

    #[test]
    fn down_as_use_rises_and_back_one_by_one() {
        let mut ladder = Ladder::default();
        for (event, expected) in [
            (Calm, None),
            (Rose(Warning), Some(Rung::Compress)),
            (StillHigh(Warning), Some(Rung::Spill)),
            (StillHigh(Warning), Some(Rung::Spill)),
            (Rose(Critical), Some(Rung::Shed)),
            (Fell(Warning), Some(Rung::Spill)),
            (Fell(Normal), Some(Rung::Compress)),
            (Calm, Some(Rung::Rest)),
            (Calm, None),
        ] {
            assert_eq!(ladder.follow(event), expected, "{event:?}");
        }
    }

    #[test]
    fn it_stops_only_when_nothing_is_left_and_for_good() {
        let mut ladder = Ladder::default();
        // A jump to the end is answered by giving up everything first.
        assert_eq!(ladder.follow(Rose(Exhausted)), Some(Rung::Shed));
        assert_eq!(ladder.follow(StillHigh(Exhausted)), Some(Rung::Stop));
        assert_eq!(ladder.follow(Fell(Normal)), None);
        assert_eq!(ladder.rung(), Rung::Stop);
        // Critical use that does not grow is lived with.
        let mut ladder = Ladder::default();
        assert_eq!(ladder.follow(Rose(Critical)), Some(Rung::Shed));
        (0..100).for_each(|_| assert_eq!(ladder.follow(StillHigh(Critical)), Some(Rung::Shed)));
    }
}
