//! Settings of the features: the two time-frames, the scaling, and the few windows that the specification leaves open.

use super::Interval;
use crate::MarketError;

/// How prices, ages and volumes become numbers of order one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scaling {
    /// In units of the ATR.
    #[default]
    Volatility,
    /// The literal values of the literature: nearly constant on 5-minute index futures, kept for comparison.
    Fixed,
}

/// Settings of the features; every field has a default.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeatureConfig {
    /// Scaling of the columns that have two.
    pub scaling: Scaling,
    /// Base frame; absent: the interval of the bars given. Otherwise a multiple of it, and the bars are resampled.
    pub base: Option<Interval>,
    /// Structure frame, a multiple of the base; absent: six base intervals, one week over days.
    pub structure: Option<Interval>,
    /// A longer hole between two bars starts a new segment; absent: the larger of 3 days and 6 base intervals.
    pub max_gap: Option<Interval>,
    /// Newest structure bars that the MMD tests, 2 to 1,000.
    pub mmd_test: usize,
    /// Structure bars before them that it compares with, 2 to 1,000.
    pub mmd_reference: usize,
    /// The MMD is refreshed at the first bar of every so many structure intervals, counted from 1970, 1 to 1,000.
    pub mmd_stride: u32,
    /// Bars after which a fair value gap that nobody filled expires, 1 to 64.
    pub fvg_expiry: u32,
    /// The middle bar's body must exceed so many mean bodies, 0 to 100.
    pub fvg_body_ratio: f64,
}

impl Default for FeatureConfig {
    fn default() -> Self {
        Self {
            scaling: Scaling::Volatility,
            base: None,
            structure: None,
            max_gap: None,
            mmd_test: 48,
            mmd_reference: 200,
            mmd_stride: 1,
            fvg_expiry: 50,
            fvg_body_ratio: 1.5,
        }
    }
}

const DAY_NS: i64 = 86_400_000_000_000;
/// Base intervals in a structure interval where none is set, and in the default `max_gap`.
const DEFAULT_MULTIPLE: i64 = 6;
/// Largest structure frame, in base intervals.
const MAX_MULTIPLE: i64 = 10_000;

impl FeatureConfig {
    /// Base interval in nanoseconds, for bars of `interval_ns`.
    pub fn base_ns(&self, interval_ns: i64) -> i64 {
        self.base.map_or(interval_ns, Interval::ns)
    }

    /// Structure interval in nanoseconds, for base bars of `base_ns`.
    pub fn structure_ns(&self, base_ns: i64) -> i64 {
        match self.structure {
            Some(interval) => interval.ns(),
            None if base_ns == DAY_NS => 7 * DAY_NS,
            None => DEFAULT_MULTIPLE * base_ns,
        }
    }

    /// Longest hole inside a segment, in nanoseconds.
    pub fn max_gap_ns(&self, base_ns: i64) -> i64 {
        self.max_gap.map_or((3 * DAY_NS).max(DEFAULT_MULTIPLE * base_ns), Interval::ns)
    }

    /// Structure bars that the MMD needs: its windows, and one before them.
    pub(crate) fn mmd_bars(&self) -> usize {
        self.mmd_test + self.mmd_reference + 1
    }

    /// Refuses settings that make no features, for bars of `interval_ns`.
    ///
    /// # Errors
    /// [`MarketError::Setting`] with the key, its value and what was expected.
    pub fn validate(&self, interval_ns: i64) -> Result<(), MarketError> {
        let refuse = |key, value: String, expected: String| Err(MarketError::Setting { key, value, expected });
        if interval_ns <= 0 {
            return refuse("interval", format!("{interval_ns} ns"), "an interval above 0".into());
        }
        let base = self.base_ns(interval_ns);
        if base < interval_ns || base % interval_ns != 0 {
            return refuse("features.base", format!("{base} ns"), format!("a multiple of the bars' interval, {interval_ns} ns"));
        }
        let structure = self.structure_ns(base);
        if structure % base != 0 || !(2..=MAX_MULTIPLE).contains(&(structure / base)) {
            return refuse("features.structure", format!("{structure} ns"), format!("2 to {MAX_MULTIPLE} base intervals of {base} ns"));
        }
        for (key, value, low, high) in [
            ("features.mmd_test", self.mmd_test, 2, 1_000),
            ("features.mmd_reference", self.mmd_reference, 2, 1_000),
            ("features.mmd_stride", self.mmd_stride as usize, 1, 1_000),
            ("features.fvg_expiry", self.fvg_expiry as usize, 1, super::MAX_FVG_EXPIRY as usize),
        ] {
            if !(low..=high).contains(&value) {
                return refuse(key, value.to_string(), format!("{low} to {high}"));
            }
        }
        if !(0.0..=100.0).contains(&self.fvg_body_ratio) {
            return refuse("features.fvg_body_ratio", self.fvg_body_ratio.to_string(), "0 to 100".into());
        }
        Ok(())
    }
}
