//! Exact money: cash, position and what was paid. `cash + position value = equity` after every event, in integers.

use crate::MarketError;

/// Cash and one position. Buying pays the whole notional out of cash, so cash goes below zero under leverage or short sales go
/// above it; equity is what counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Account {
    /// Cash in micro-units.
    pub cash_micros: i64,
    /// Signed position in lots.
    pub position_lots: i64,
    /// Signed value of the open position at its entry prices.
    pub basis_micros: i64,
    /// Commission and slippage paid in cash so far.
    pub fees_paid_micros: i64,
    /// Holding costs paid so far.
    pub financing_paid_micros: i64,
    /// Profit of closed positions before fees and financing.
    pub realised_micros: i64,
    /// Sum of the notional of all fills.
    pub turnover_micros: i64,
    /// What one lot gains when the price rises one tick.
    pub micros_per_tick_lot: i64,
}

impl Account {
    /// A flat account.
    ///
    /// # Errors
    /// [`MarketError::Setting`] when cash is not positive or the tick value is below 1.
    pub fn new(cash_micros: i64, micros_per_tick_lot: i64) -> Result<Self, MarketError> {
        let refuse =
            |key, value: i64, expected: &str| Err(MarketError::Setting { key, value: value.to_string(), expected: expected.into() });
        if cash_micros <= 0 {
            return refuse("initial_cash", cash_micros, "more than 0 micro-units");
        }
        if micros_per_tick_lot < 1 {
            return refuse("instrument.multiplier", micros_per_tick_lot, "at least 1 micro-unit per tick and lot");
        }
        Ok(Self {
            cash_micros,
            position_lots: 0,
            basis_micros: 0,
            fees_paid_micros: 0,
            financing_paid_micros: 0,
            realised_micros: 0,
            turnover_micros: 0,
            micros_per_tick_lot,
        })
    }

    /// Cash plus the position marked at a price; saturates at the ends of `i64`, which [`Account::trade`] refuses to reach.
    #[inline]
    pub fn equity_micros(&self, mark_ticks: i64) -> i64 {
        clamp(i128::from(self.cash_micros) + self.value(self.position_lots, mark_ticks))
    }

    /// Unsigned value of the position at a price.
    #[inline]
    pub fn notional_micros(&self, mark_ticks: i64) -> i64 {
        clamp(self.value(self.position_lots, mark_ticks).abs())
    }

    /// Profit of the open position at a price, before fees.
    pub fn unrealised_micros(&self, mark_ticks: i64) -> i64 {
        clamp(self.value(self.position_lots, mark_ticks) - i128::from(self.basis_micros))
    }

    /// Average entry price in ticks; `None` when flat.
    #[inline]
    pub fn entry_ticks(&self) -> Option<f64> {
        (self.position_lots != 0).then(|| self.basis_micros as f64 / (self.position_lots as f64 * self.micros_per_tick_lot as f64))
    }

    /// Changes the position by `delta_lots` at a price and pays `cost_micros`.
    ///
    /// # Errors
    /// [`MarketError::Money`] when a sum would not fit; the account is unchanged then.
    #[inline]
    pub fn trade(&mut self, delta_lots: i64, price_ticks: i64, cost_micros: i64) -> Result<(), MarketError> {
        assert!(cost_micros >= 0, "Invariant: a cost is never paid to the agent, found {cost_micros}");
        let value = self.value(delta_lots, price_ticks);
        let position = self.position_lots.checked_add(delta_lots).ok_or_else(|| money("position", i128::from(delta_lots)))?;
        let (basis, realised) = self.basis_after(delta_lots, position, price_ticks);
        let next = Self {
            cash_micros: narrow("cash", i128::from(self.cash_micros) - value - i128::from(cost_micros))?,
            position_lots: position,
            basis_micros: narrow("position value", basis)?,
            fees_paid_micros: narrow("fees", i128::from(self.fees_paid_micros) + i128::from(cost_micros))?,
            realised_micros: narrow("realised profit", i128::from(self.realised_micros) + realised)?,
            turnover_micros: clamp(i128::from(self.turnover_micros) + value.abs()),
            ..*self
        };
        *self = next;
        Ok(())
    }

    /// Pays a holding cost.
    ///
    /// # Errors
    /// [`MarketError::Money`] when a sum would not fit.
    #[inline]
    pub fn pay_financing(&mut self, micros: i64) -> Result<(), MarketError> {
        assert!(micros >= 0, "Invariant: a holding cost is never paid to the agent, found {micros}");
        let cash = narrow("cash", i128::from(self.cash_micros) - i128::from(micros))?;
        self.financing_paid_micros = narrow("financing", i128::from(self.financing_paid_micros) + i128::from(micros))?;
        self.cash_micros = cash;
        Ok(())
    }

    /// Entry value after a trade, and the profit it realises. A reduction takes its share of the entry value rounded towards
    /// zero; the rest stays, so that realised + unrealised is exact at any moment.
    #[inline]
    fn basis_after(&self, delta: i64, position: i64, price_ticks: i64) -> (i128, i128) {
        let old = i128::from(self.basis_micros);
        let reduces = self.position_lots.signum() * delta.signum() < 0;
        if !reduces {
            return (old + self.value(delta, price_ticks), 0);
        }
        if position.signum() * self.position_lots.signum() <= 0 {
            let realised = self.value(self.position_lots, price_ticks) - old;
            return (self.value(position, price_ticks), realised);
        }
        let taken = old * i128::from(delta.unsigned_abs()) / i128::from(self.position_lots.unsigned_abs());
        (old - taken, -self.value(delta, price_ticks) - taken)
    }

    #[inline]
    fn value(&self, lots: i64, ticks: i64) -> i128 {
        i128::from(lots) * i128::from(ticks) * i128::from(self.micros_per_tick_lot)
    }
}

#[inline]
fn clamp(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

fn money(what: &'static str, micros: i128) -> MarketError {
    MarketError::Money { what, micros }
}

#[inline]
pub(super) fn narrow(what: &'static str, micros: i128) -> Result<i64, MarketError> {
    i64::try_from(micros).map_err(|_| money(what, micros))
}
