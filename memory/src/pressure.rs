//! Use against budget into a level: two thresholds, hysteresis on the way down, a cool-down in between. Time is an argument; it sends nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::MemoryConfig;

/// Time between two samples once a threshold is reached.
pub const PRESSED_EVERY: Duration = Duration::from_millis(10);
/// Bytes a second at which use may rise without the first threshold being slept through: several times what one thread writes into fresh pages while it
/// does anything else with them.
pub const RISE_PER_S: u64 = 1 << 30;

/// How tight memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PressureLevel {
    /// Below both thresholds.
    #[default]
    Normal,
    /// At or above the first.
    Warning,
    /// At or above the second.
    Critical,
    /// At or above the third: all but used up.
    Exhausted,
}

/// What an observation means for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PressureEvent {
    /// The level rose at once, by any number of steps.
    Rose(PressureLevel),
    /// The level fell by one step.
    Fell(PressureLevel),
    /// A cool-down has passed and use is still at or above the level's threshold: free more. Where the budget is all but used up nothing cools down.
    StillHigh(PressureLevel),
    /// A cool-down has passed below all thresholds.
    Calm,
}

/// The state machine.
///
/// Rising is immediate, as an alert that waits is none. Falling needs both: use below `threshold - hysteresis`, and a cool-down since the
/// last event; it goes one step at a time. So a level changes at most twice in a cool-down however use jumps.
#[derive(Clone, Debug)]
pub struct PressureWatch {
    budget_bytes: u64,
    /// Bytes at which each level but the first begins.
    rise: [u64; 3],
    /// Bytes below which it ends.
    fall: [u64; 3],
    cooldown: Duration,
    level: PressureLevel,
    last_event: Duration,
}

impl PressureWatch {
    /// At normal level; thresholds are shares of `budget_bytes`.
    pub fn new(config: &MemoryConfig, budget_bytes: u64) -> Self {
        let bytes = |share: f64| (share * budget_bytes as f64) as u64;
        Self {
            budget_bytes,
            rise: [config.warning, config.critical, config.exhausted].map(bytes),
            fall: [config.warning, config.critical, config.exhausted].map(|share| bytes(share - config.hysteresis)),
            cooldown: config.cooldown(),
            level: PressureLevel::Normal,
            last_event: Duration::ZERO,
        }
    }

    /// Level after the last observation.
    pub fn level(&self) -> PressureLevel {
        self.level
    }

    /// Time to the next sample: at most `sample_every`, and no more than use needs for the way to the first threshold at [`RISE_PER_S`].
    pub fn next_sample(&self, used_bytes: u64, sample_every: Duration) -> Duration {
        let left = self.rise[0].saturating_sub(used_bytes);
        Duration::from_secs_f64(left as f64 / RISE_PER_S as f64).max(PRESSED_EVERY).min(sample_every)
    }

    /// What thresholds are shares of.
    pub fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// Takes use at time `now`, which counts from any fixed start and never goes back.
    pub fn observe(&mut self, now: Duration, used_bytes: u64) -> Option<PressureEvent> {
        let reached = match used_bytes {
            used if used >= self.rise[2] => PressureLevel::Exhausted,
            used if used >= self.rise[1] => PressureLevel::Critical,
            used if used >= self.rise[0] => PressureLevel::Warning,
            _ => PressureLevel::Normal,
        };
        let cooled = now.saturating_sub(self.last_event) >= self.cooldown;
        let (ends_below, one_lower) = match self.level {
            PressureLevel::Normal => (0, PressureLevel::Normal),
            PressureLevel::Warning => (self.fall[0], PressureLevel::Normal),
            PressureLevel::Critical => (self.fall[1], PressureLevel::Warning),
            PressureLevel::Exhausted => (self.fall[2], PressureLevel::Critical),
        };
        let event = if reached > self.level {
            PressureEvent::Rose(reached)
        } else if cooled && used_bytes < ends_below {
            PressureEvent::Fell(one_lower)
        } else if reached == PressureLevel::Exhausted || cooled && reached == self.level && reached != PressureLevel::Normal {
            PressureEvent::StillHigh(reached)
        } else if cooled && self.level == PressureLevel::Normal {
            PressureEvent::Calm
        } else {
            return None;
        };
        self.level = match event {
            PressureEvent::Rose(level) | PressureEvent::Fell(level) | PressureEvent::StillHigh(level) => level,
            PressureEvent::Calm => PressureLevel::Normal,
        };
        self.last_event = now;
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PressureEvent::{Calm, Fell, Rose, StillHigh};
    use PressureLevel::{Critical, Exhausted, Normal, Warning};
    use proptest::prelude::*;

    /// Budget 1000: rises at 750 and 900, falls below 700 and 850, cool-down 30 s.
    fn watch() -> PressureWatch {
        PressureWatch::new(&MemoryConfig::default(), 1000)
    }

    fn at(watch: &mut PressureWatch, second: u64, used: u64) -> Option<PressureEvent> {
        watch.observe(Duration::from_secs(second), used)
    }

    #[test]
    fn rises_at_the_threshold_and_at_once() {
        let mut watch = watch();
        assert_eq!(at(&mut watch, 0, 749), None);
        assert_eq!(at(&mut watch, 1, 750), Some(Rose(Warning)));
        assert_eq!(at(&mut watch, 2, 899), None);
        assert_eq!(at(&mut watch, 3, 900), Some(Rose(Critical)));
        let mut jump = self::watch();
        assert_eq!(at(&mut jump, 0, 5000), Some(Rose(Exhausted)));
    }

    #[test]
    fn nothing_cools_down_where_all_is_used_up() {
        let mut watch = watch();
        assert_eq!(at(&mut watch, 0, 970), Some(Rose(Exhausted)));
        assert_eq!(at(&mut watch, 0, 971), Some(StillHigh(Exhausted)));
        assert_eq!(at(&mut watch, 1, 960), None); // below 970, but not below 920
    }

    #[test]
    fn no_rise_is_slept_through() {
        let watch = PressureWatch::new(&MemoryConfig::default(), 4 << 30);
        let next = |used_gib: f64, sample_every| {
            watch.next_sample((used_gib * RISE_PER_S as f64) as u64, Duration::from_secs_f64(sample_every)).as_secs_f64()
        };
        // The first threshold is at 3 GiB: 3, 1 and 0.25 s away at a GiB a second.
        assert_eq!((next(0.0, 5.0), next(2.0, 5.0), next(2.75, 5.0)), (3.0, 1.0, 0.25));
        assert_eq!((next(0.0, 2.0), next(3.0, 5.0), next(4.0, 5.0)), (2.0, 0.01, 0.01));
    }

    #[test]
    fn falls_one_step_at_a_time_after_hysteresis_and_cooldown() {
        let mut watch = watch();
        assert_eq!(at(&mut watch, 0, 950), Some(Rose(Critical)));
        assert_eq!(at(&mut watch, 29, 0), None); // cool-down not over
        assert_eq!(at(&mut watch, 30, 850), None); // below 900, but not below 850
        assert_eq!(at(&mut watch, 31, 849), Some(Fell(Warning)));
        assert_eq!(at(&mut watch, 32, 0), None);
        assert_eq!(at(&mut watch, 61, 0), Some(Fell(Normal)));
        assert_eq!(at(&mut watch, 90, 0), None);
        assert_eq!(at(&mut watch, 91, 0), Some(Calm)); // what was given up may come back
    }

    #[test]
    fn hovering_at_a_threshold_does_not_flap() {
        let mut watch = watch();
        let events = (0..200).filter_map(|second| at(&mut watch, second, if second % 2 == 0 { 760 } else { 740 })).collect::<Vec<_>>();
        // One rise; then only the reminder, at each even second after a cool-down: 30, 60, ..., 180.
        assert_eq!(events[0], Rose(Warning));
        assert_eq!(events[1..], [StillHigh(Warning); 6]);
    }

    #[test]
    fn between_hysteresis_and_threshold_nothing_is_asked() {
        let mut watch = watch();
        assert_eq!(at(&mut watch, 0, 800), Some(Rose(Warning)));
        assert_eq!(at(&mut watch, 100, 720), None);
        assert_eq!(watch.level(), Warning);
        assert_eq!(at(&mut watch, 101, 750), Some(StillHigh(Warning)));
    }

    proptest! {
        #[test]
        fn levels_never_understate_and_falls_keep_their_distance(uses in prop::collection::vec((0_u64..1200, 0_u64..40), 1..200)) {
            let mut watch = watch();
            let (mut now, mut last_event) = (0, None::<u64>);
            for (used, step) in uses {
                now += step;
                let before = watch.level();
                let event = at(&mut watch, now, used);
                prop_assert!(used < 970 || watch.level() == Exhausted);
                prop_assert!(used < 900 || watch.level() >= Critical);
                prop_assert!(used < 750 || watch.level() >= Warning);
                match event {
                    Some(Fell(level)) => {
                        prop_assert!(last_event.is_some_and(|last| now - last >= 30));
                        prop_assert_eq!(level as usize + 1, before as usize);
                    }
                    Some(Rose(level)) => prop_assert!(level > before),
                    Some(StillHigh(level)) => prop_assert_eq!(level, before),
                    Some(Calm) => prop_assert!(used < 750 && before == Normal && watch.level() == Normal),
                    None => prop_assert_eq!(watch.level(), before),
                }
                last_event = if event.is_some() { Some(now) } else { last_event };
            }
        }
    }
}
