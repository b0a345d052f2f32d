//! What trading and holding cost: configuration in, integer cost model out. Rebates do not exist here: a fee is never paid to the agent.

use super::account::narrow;
use crate::{Instrument, MarketError, instrument::MICROS};

/// Costs as the user states them; a field left out is 0, but a run that states none at all is refused.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostConfig {
    /// Account currency per lot and fill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commission_per_lot: Option<f64>,
    /// Basis points of the notional of each fill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commission_bp: Option<f64>,
    /// Half of the bid-ask spread, paid by market and stop orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_spread_ticks: Option<f64>,
    /// Slippage of market and stop orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slippage_ticks: Option<f64>,
    /// Slippage of market and stop orders in basis points of the notional.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slippage_bp: Option<f64>,
    /// Borrow or financing: basis points of the held notional per bar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub financing_bp_per_bar: Option<f64>,
}

/// What a user without a cost model is told to write.
pub const COSTS_LINE: &str = "[costs]\ncommission_bp = 2.0   # or commission_per_lot, half_spread_ticks, slippage_ticks, slippage_bp, financing_bp_per_bar; an explicit 0.0 trades for free";

/// No cost stated in basis points or ticks may exceed this: beyond it a unit was mistaken.
pub const MAX_COST_BP: f64 = 1_000.0;
/// Limit of half-spread plus slippage.
pub const MAX_COST_TICKS: f64 = 10_000.0;
/// Limit of the commission per lot, in account currency.
pub const MAX_COMMISSION_PER_LOT: f64 = 1e6;

/// Basis points are kept as integers of this many parts.
const BP_PARTS: f64 = 1e6;
/// A notional times a rate in parts of a basis point, divided by this, is money: `2^10 x 5^10`.
const BP_DIVISOR: i128 = 10_000 * 1_000_000;
const BP_DIVISOR_TWOS: u32 = 10;
const BP_DIVISOR_ODD: u64 = 9_765_625;
const _: () = assert!((BP_DIVISOR_ODD as i128) << BP_DIVISOR_TWOS == BP_DIVISOR);
/// Ticks are kept as integers of this many parts.
const TICK_PARTS: i64 = 1_000;

impl CostConfig {
    /// Trading for free, said explicitly.
    pub fn free() -> Self {
        Self { commission_bp: Some(0.0), ..Self::default() }
    }

    fn fields(&self) -> [(&'static str, Option<f64>, f64); 6] {
        [
            ("costs.commission_per_lot", self.commission_per_lot, MAX_COMMISSION_PER_LOT),
            ("costs.commission_bp", self.commission_bp, MAX_COST_BP),
            ("costs.half_spread_ticks", self.half_spread_ticks, MAX_COST_TICKS),
            ("costs.slippage_ticks", self.slippage_ticks, MAX_COST_TICKS),
            ("costs.slippage_bp", self.slippage_bp, MAX_COST_BP),
            ("costs.financing_bp_per_bar", self.financing_bp_per_bar, MAX_COST_BP),
        ]
    }
}

/// Costs in integers, with the instrument's tick value inside. Each amount is rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostModel {
    micros_per_tick_lot: i64,
    commission_micros_per_lot: i64,
    commission_bp_parts: i64,
    slippage_bp_parts: i64,
    financing_bp_parts: i64,
    /// Half-spread plus slippage in thousandths of a tick.
    adverse_tick_parts: i64,
}

impl CostModel {
    /// The model of a configuration.
    ///
    /// # Errors
    /// [`MarketError::NoCosts`] when nothing is stated; [`MarketError::Setting`] for a negative, non-finite or absurd cost.
    pub fn new(config: Option<&CostConfig>, instrument: &Instrument) -> Result<Self, MarketError> {
        let config = config.ok_or(MarketError::NoCosts)?;
        let fields = config.fields();
        if fields.iter().all(|(_, value, _)| value.is_none()) {
            return Err(MarketError::NoCosts);
        }
        for (key, value, max) in fields {
            let value = value.unwrap_or(0.0);
            if !(value >= 0.0 && value <= max) {
                return Err(MarketError::Setting {
                    key,
                    value: value.to_string(),
                    expected: format!("a number from 0 to {max}: a cost is never paid to the agent"),
                });
            }
        }
        let parts = |value: Option<f64>, scale: f64| ceil_parts(value.unwrap_or(0.0) * scale);
        Ok(Self {
            micros_per_tick_lot: instrument.micros_per_tick_lot()?,
            commission_micros_per_lot: parts(config.commission_per_lot, MICROS),
            commission_bp_parts: parts(config.commission_bp, BP_PARTS),
            slippage_bp_parts: parts(config.slippage_bp, BP_PARTS),
            financing_bp_parts: parts(config.financing_bp_per_bar, BP_PARTS),
            adverse_tick_parts: parts(config.half_spread_ticks, TICK_PARTS as f64) + parts(config.slippage_ticks, TICK_PARTS as f64),
        })
    }

    /// What one lot gains when the price rises one tick.
    pub fn micros_per_tick_lot(&self) -> i64 {
        self.micros_per_tick_lot
    }

    /// Price and cash cost of a fill that takes liquidity: whole ticks of half-spread and slippage move the price against the
    /// side, the remaining fraction of a tick is paid in cash.
    ///
    /// # Errors
    /// [`MarketError::Money`] when the cost does not fit.
    #[inline]
    pub fn take(&self, sign: i64, lots: i64, reference_ticks: i64) -> Result<(i64, i64), MarketError> {
        let price = reference_ticks + sign * (self.adverse_tick_parts / TICK_PARTS);
        let fraction = i128::from(lots) * i128::from(self.micros_per_tick_lot) * i128::from(self.adverse_tick_parts % TICK_PARTS);
        let slip = self.bp(self.slippage_bp_parts, lots, price);
        let cost = self.commission(lots, price) + ceil_div::<{ TICK_PARTS as u64 }>(fraction) + slip;
        Ok((price, narrow("cost of a fill", cost)?))
    }

    /// Cash cost of a fill that gives liquidity (a limit): commission only.
    ///
    /// # Errors
    /// [`MarketError::Money`] when the cost does not fit.
    pub fn give(&self, lots: i64, price_ticks: i64) -> Result<i64, MarketError> {
        narrow("cost of a fill", self.commission(lots, price_ticks))
    }

    /// Holding cost of one bar.
    ///
    /// # Errors
    /// [`MarketError::Money`] when the cost does not fit.
    #[inline]
    pub fn financing(&self, lots: i64, mark_ticks: i64) -> Result<i64, MarketError> {
        narrow("holding cost", self.bp(self.financing_bp_parts, lots, mark_ticks))
    }

    /// Estimated cost of changing the position by `lots` at a price, as a fraction of that notional; what a gate compares with
    /// the expected edge.
    pub fn taking_fraction(&self, price_ticks: i64) -> f64 {
        let notional = price_ticks.unsigned_abs().max(1) as f64 * self.micros_per_tick_lot as f64;
        let ticks = self.adverse_tick_parts as f64 / TICK_PARTS as f64 * self.micros_per_tick_lot as f64;
        (ticks + self.commission_micros_per_lot as f64) / notional
            + (self.commission_bp_parts + self.slippage_bp_parts) as f64 / BP_DIVISOR as f64
    }

    #[inline]
    fn commission(&self, lots: i64, ticks: i64) -> i128 {
        i128::from(lots.unsigned_abs()) * i128::from(self.commission_micros_per_lot) + self.bp(self.commission_bp_parts, lots, ticks)
    }

    #[inline]
    fn bp(&self, parts: i64, lots: i64, ticks: i64) -> i128 {
        let notional = i128::from(lots.unsigned_abs()) * i128::from(ticks.unsigned_abs()) * i128::from(self.micros_per_tick_lot);
        if let Some(cost) = u64::try_from(notional).ok().and_then(|notional| bp_of(parts, notional)) {
            return i128::from(cost);
        }
        let product = notional.saturating_mul(i128::from(parts));
        product / BP_DIVISOR + i128::from(product % BP_DIVISOR > 0)
    }

    /// Holding cost of one bar of a position that is worth so much at its close; `None` where that takes more than 64 bits to work out
    /// ([`CostModel::financing`] always answers).
    #[inline]
    pub fn financing_of(&self, notional_micros: u64) -> Option<i64> {
        bp_of(self.financing_bp_parts, notional_micros).and_then(|cost| i64::try_from(cost).ok())
    }
}

/// Share of a notional, rounded up, without a division of 128 bits: the twos of the divisor are shifted out first.
#[inline]
fn bp_of(parts: i64, notional_micros: u64) -> Option<u64> {
    let product = u128::from(notional_micros) * u128::from(parts.unsigned_abs());
    let whole = u64::try_from(product >> BP_DIVISOR_TWOS).ok()?;
    let rest = product as u64 & ((1 << BP_DIVISOR_TWOS) - 1);
    Some(whole / BP_DIVISOR_ODD + u64::from(whole % BP_DIVISOR_ODD != 0 || rest != 0))
}

/// Next integer at or above a number that is not negative, forgiving the last bits of a decimal fraction: 2.1 bp is 2,100,000
/// parts, not 2,100,001.
fn ceil_parts(value: f64) -> i64 {
    let nearest = value.round();
    if (value - nearest).abs() <= 1e-9 * nearest.max(1.0) { nearest as i64 } else { value.ceil() as i64 }
}

/// The divisor is a constant, and the value nearly always fits 64 bits: a division of 128 bits costs ten times as much.
fn ceil_div<const DIVISOR: u64>(value: i128) -> i128 {
    match u64::try_from(value) {
        Ok(value) => i128::from(value.div_ceil(DIVISOR)),
        Err(_) => value / i128::from(DIVISOR) + i128::from(value % i128::from(DIVISOR) > 0),
    }
}
