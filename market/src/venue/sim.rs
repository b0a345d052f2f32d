//! The simulated venue: approved orders and the next bar in, fills and the account after it out. Pure: no clock, no randomness,
//! no allocation per bar.
//!
//! Life of a bar: (1) market orders fill at the open; (2) what the open has already passed fills at the open, stops before limits;
//! (3) what lies inside the bar fills at its own price, stops before limits; (4) holding cost; unfilled orders expire. A protective
//! stop closes the position and cancels everything else that was pending.

use super::{Account, BarReport, BarTicks, CostModel, Fill, FillKind, Fills, Fixed, Order, OrderId, OrderKind};
use crate::MarketError;

/// Orders one account may have pending for the next bar.
pub const MAX_PENDING_ORDERS: usize = 8;
/// Each pending order fills at most once, the protective stop at most once, and the close-out once.
pub const MAX_FILLS_PER_BAR: usize = MAX_PENDING_ORDERS + 2;

/// One account at a simulated venue.
#[derive(Clone, Debug)]
pub struct SimVenue {
    account: Account,
    costs: CostModel,
    pending: Fixed<Order, MAX_PENDING_ORDERS>,
    /// Trigger of the protective stop; only while in position.
    stop_ticks: Option<i64>,
    fills: Fills,
}

/// What one bar came to beside its fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Holding cost charged for the bar. Never negative.
    pub financing_micros: i64,
    /// Orders that did not fill and are gone.
    pub num_expired: usize,
}

/// Where in the bar an execution happens.
#[derive(Clone, Copy)]
struct Moment<'a> {
    bar: &'a BarTicks,
    at_open: bool,
}

impl SimVenue {
    /// A flat account with cash.
    ///
    /// # Errors
    /// [`MarketError::Setting`] when cash is not positive.
    pub fn new(cash_micros: i64, costs: CostModel) -> Result<Self, MarketError> {
        let account = Account::new(cash_micros, costs.micros_per_tick_lot())?;
        Ok(Self { account, costs, pending: Fixed::default(), stop_ticks: None, fills: Fixed::default() })
    }

    /// The account as it is now.
    #[inline]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The cost model.
    #[inline]
    pub fn costs(&self) -> &CostModel {
        &self.costs
    }

    /// Trigger of the resting protective stop.
    #[inline]
    pub fn stop_ticks(&self) -> Option<i64> {
        self.stop_ticks
    }

    /// Starts over, flat.
    ///
    /// # Errors
    /// [`MarketError::Setting`] when cash is not positive.
    pub fn reset(&mut self, cash_micros: i64) -> Result<(), MarketError> {
        *self = Self::new(cash_micros, self.costs)?;
        Ok(())
    }

    /// Puts back an account taken with [`SimVenue::account`] and its stop (a checkpoint). Nothing is pending afterwards.
    #[inline]
    pub fn restore(&mut self, account: Account, stop_ticks: Option<i64>) {
        self.account = account;
        self.stop_ticks = stop_ticks.filter(|_| account.position_lots != 0);
        self.pending.clear();
    }

    /// Gives a flat account a position at a price without cost: the random start of a training episode.
    ///
    /// # Errors
    /// [`MarketError::Money`] when the sums do not fit.
    pub fn grant(&mut self, lots: i64, price_ticks: i64, stop_distance_ticks: Option<i64>) -> Result<(), MarketError> {
        self.account.trade(lots, price_ticks, 0)?;
        self.account.turnover_micros = 0;
        self.stop_ticks = stop_distance_ticks.filter(|_| lots != 0).map(|distance| price_ticks - lots.signum() * distance);
        Ok(())
    }

    /// Accepts an order for the next bar.
    ///
    /// # Errors
    /// [`MarketError::Order`] when a number in it is not above zero or too many orders are pending.
    #[inline]
    pub fn submit(&mut self, order: Order) -> Result<OrderId, MarketError> {
        let refuse = |field, value, expected| Err(MarketError::Order { id: order.id.0, field, value, expected });
        if order.lots < 1 {
            return refuse("lots", order.lots, "at least 1");
        }
        if let OrderKind::Limit { ticks } | OrderKind::Stop { ticks } = order.kind
            && ticks < 1
        {
            return refuse("ticks", ticks, "a price of at least 1 tick");
        }
        if let Some(stop) = order.stop
            && stop.distance_ticks < 1
        {
            return refuse("stop.distance_ticks", stop.distance_ticks, "at least 1");
        }
        let num_pending = self.pending.len() as i64;
        if self.pending.push(order).is_err() {
            return refuse("number of pending orders", num_pending + 1, "at most 8");
        }
        Ok(order.id)
    }

    /// Runs one bar and reports on it.
    ///
    /// # Errors
    /// [`MarketError::Money`] when a sum would leave `i64`.
    pub fn on_bar(&mut self, bar: &BarTicks) -> Result<BarReport, MarketError> {
        let passed = self.pass(bar)?;
        Ok(self.report(passed))
    }

    /// Runs one bar; what filled stands in [`SimVenue::fills`]. [`SimVenue::on_bar`] without the copy of a report.
    ///
    /// # Errors
    /// [`MarketError::Money`] when a sum would leave `i64`.
    #[inline]
    pub fn pass(&mut self, bar: &BarTicks) -> Result<Passed, MarketError> {
        self.fills.clear();
        if self.pending.is_empty() && !self.stop_within(bar) {
            let financing_micros = self.costs.financing(self.account.position_lots, bar.close)?;
            self.account.pay_financing(financing_micros)?;
            return Ok(Passed { financing_micros, num_expired: 0 });
        }
        self.pass_orders(bar)
    }

    #[inline(never)]
    fn pass_orders(&mut self, bar: &BarTicks) -> Result<Passed, MarketError> {
        let num_orders = self.pending.len();
        let held_lots = self.fill_bar(bar)?;
        // The largest position the bar saw pays for the whole bar: how long it was held within the bar is not known.
        let financing_micros = self.costs.financing(held_lots, bar.close)?;
        self.account.pay_financing(financing_micros)?;
        let num_filled = self.fills.iter().filter(|fill| fill.order_id.is_some()).count();
        Ok(Passed { financing_micros, num_expired: num_orders - num_filled })
    }

    /// Executions of the last bar or close-out, in order.
    #[inline]
    pub fn fills(&self) -> &Fills {
        &self.fills
    }

    /// True when the protective stop closed the position in the last bar.
    #[inline]
    pub fn stopped_out(&self) -> bool {
        self.fills.iter().any(|fill| fill.kind == FillKind::Stop)
    }

    /// Whether the bar trades at the protective stop.
    #[inline]
    fn stop_within(&self, bar: &BarTicks) -> bool {
        let is_long = self.account.position_lots > 0;
        self.stop_ticks.is_some_and(|stop| if is_long { bar.low.min(bar.open) <= stop } else { bar.high.max(bar.open) >= stop })
    }

    /// Orders and the stop against one bar; the largest position that it saw.
    fn fill_bar(&mut self, bar: &BarTicks) -> Result<i64, MarketError> {
        let at_open = Moment { bar, at_open: true };
        let inside = Moment { bar, at_open: false };
        let mut waiting = Fixed::<Order, MAX_PENDING_ORDERS>::default();
        let mut num_taken = 0;
        while let Some(order) = self.pending.get(num_taken) {
            num_taken += 1;
            match order.kind {
                OrderKind::Market => self.fill_order(&order, bar.open, FillKind::Open, at_open)?,
                _ => waiting.push(order).unwrap_or_else(|_| unreachable!("Invariant: not more than pending")),
            }
        }
        self.pending.clear();
        let mut held_lots = self.account.position_lots.abs();
        if !self.protective_stop(at_open)? {
            self.resting(&mut waiting, at_open)?;
            held_lots = held_lots.max(self.account.position_lots.abs());
            if !self.protective_stop(inside)? {
                self.resting(&mut waiting, inside)?;
                held_lots = held_lots.max(self.account.position_lots.abs());
            }
        }
        Ok(held_lots)
    }

    /// Closes the position at the close of `bar` with costs.
    ///
    /// # Errors
    /// [`MarketError::Money`] when a sum would leave `i64`.
    pub fn close_out(&mut self, bar: &BarTicks, kind: FillKind) -> Result<BarReport, MarketError> {
        self.fills.clear();
        let num_expired = self.pending.len();
        self.pending.clear();
        if self.account.position_lots != 0 {
            self.take(None, -self.account.position_lots, bar.close, kind, Moment { bar, at_open: false })?;
        }
        self.stop_ticks = None;
        Ok(self.report(Passed { financing_micros: 0, num_expired }))
    }

    fn report(&self, Passed { financing_micros, num_expired }: Passed) -> BarReport {
        BarReport { fills: self.fills, financing_micros, num_expired, account: self.account, stop_ticks: self.stop_ticks }
    }

    /// Stop orders, then limit orders. Each entry is followed by a look at its own protective stop, the pessimistic order of events.
    fn resting(&mut self, waiting: &mut Fixed<Order, MAX_PENDING_ORDERS>, now: Moment<'_>) -> Result<(), MarketError> {
        if waiting.is_empty() {
            return Ok(());
        }
        let orders = std::mem::take(waiting);
        let mut left = Fixed::<Order, MAX_PENDING_ORDERS>::default();
        for stops in [true, false] {
            for order in orders.iter().filter(|order| matches!(order.kind, OrderKind::Stop { .. }) == stops) {
                let Some((price, kind)) = touched(order, now) else {
                    left.push(*order).unwrap_or_else(|_| unreachable!("Invariant: not more than waiting"));
                    continue;
                };
                self.fill_order(order, price, kind, now)?;
                if self.protective_stop(Moment { at_open: false, ..now })? {
                    return Ok(());
                }
            }
        }
        *waiting = left;
        Ok(())
    }

    /// Fires the protective stop when touched; true when it fired.
    fn protective_stop(&mut self, now: Moment<'_>) -> Result<bool, MarketError> {
        let (Some(stop), position) = (self.stop_ticks, self.account.position_lots) else { return Ok(false) };
        let is_long = position > 0;
        let reached = |price: i64| if is_long { price <= stop } else { price >= stop };
        let extreme = if is_long { now.bar.low } else { now.bar.high };
        let price = match now.at_open {
            true if reached(now.bar.open) => now.bar.open,
            false if reached(extreme) => stop,
            _ => return Ok(false),
        };
        self.take(None, -position, price, FillKind::Stop, now)?;
        Ok(true)
    }

    fn fill_order(&mut self, order: &Order, price: i64, kind: FillKind, now: Moment<'_>) -> Result<(), MarketError> {
        let before = self.account.position_lots;
        if kind == FillKind::Limit {
            let cost = self.costs.give(order.lots, price)?;
            self.book(Some(order.id), order.signed_lots(), price, cost, kind, now)?;
        } else {
            self.take(Some(order.id), order.signed_lots(), price, kind, now)?;
        }
        let after = self.account.position_lots;
        if after.signum() != before.signum() {
            let entry = self.fills.iter().next_back().map_or(price, |fill| fill.price_ticks);
            self.stop_ticks = order.stop.filter(|_| after != 0).map(|stop| entry - after.signum() * stop.distance_ticks);
        }
        Ok(())
    }

    fn take(&mut self, id: Option<OrderId>, lots: i64, reference: i64, kind: FillKind, now: Moment<'_>) -> Result<(), MarketError> {
        let (price, cost) = self.costs.take(lots.signum(), lots.abs(), reference)?;
        self.book(id, lots, price, cost, kind, now)
    }

    fn book(
        &mut self,
        order_id: Option<OrderId>,
        lots: i64,
        price_ticks: i64,
        cost: i64,
        kind: FillKind,
        now: Moment<'_>,
    ) -> Result<(), MarketError> {
        self.account.trade(lots, price_ticks, cost)?;
        if self.account.position_lots == 0 {
            self.stop_ticks = None;
        }
        let fill = Fill {
            order_id,
            ts: if now.at_open { now.bar.ts_open } else { now.bar.ts_close },
            row: now.bar.row,
            side: super::Side::of(lots),
            lots: lots.abs(),
            price_ticks,
            cost_micros: cost,
            kind,
            position_after_lots: self.account.position_lots,
        };
        self.fills.push(fill).unwrap_or_else(|_| unreachable!("Invariant: at most {MAX_FILLS_PER_BAR} fills a bar"));
        Ok(())
    }
}

/// Price at which a resting order fills at this moment, if it does.
fn touched(order: &Order, now: Moment<'_>) -> Option<(i64, FillKind)> {
    let sign = order.side.sign();
    let bar = now.bar;
    let (trigger, kind, wants_rise) = match order.kind {
        OrderKind::Market => return None,
        OrderKind::Limit { ticks } => (ticks, FillKind::Limit, sign < 0),
        OrderKind::Stop { ticks } => (ticks, FillKind::StopOrder, sign > 0),
    };
    let reached = |price: i64| if wants_rise { price >= trigger } else { price <= trigger };
    let extreme = if wants_rise { bar.high } else { bar.low };
    match now.at_open {
        true => reached(bar.open).then_some((bar.open, kind)),
        false => reached(extreme).then_some((trigger, kind)),
    }
}
