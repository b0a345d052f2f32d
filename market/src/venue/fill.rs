//! What a venue answers: bars in ticks go in, fills and a report of the bar come out.

use super::{Account, Fixed, OrderId, Side, sim::MAX_FILLS_PER_BAR};

/// One bar as the venue sees it: exact ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BarTicks {
    /// Row of the table the bar came from; only carried into fills.
    pub row: u32,
    /// First instant of the bar; market orders fill here.
    pub ts_open: i64,
    /// Instant at which the bar is complete.
    pub ts_close: i64,
    /// First trade.
    pub open: i64,
    /// Highest trade.
    pub high: i64,
    /// Lowest trade.
    pub low: i64,
    /// Last trade.
    pub close: i64,
}

/// An execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fill {
    /// The order, or `None` where the venue acted itself (protective stop, end of a segment, liquidation).
    pub order_id: Option<OrderId>,
    /// Open of the bar for fills at the open, its close otherwise: the moment within a bar is not known.
    pub ts: i64,
    /// Row of the bar in which it filled.
    pub row: u32,
    /// Bought or sold.
    pub side: Side,
    /// Quantity in lots, at least 1.
    pub lots: i64,
    /// Price paid, whole ticks of half-spread and slippage included.
    pub price_ticks: i64,
    /// Commission, slippage in basis points and the fraction of a tick that the price cannot show. Never negative.
    pub cost_micros: i64,
    /// How it came to be.
    pub kind: FillKind,
    /// Signed position after it.
    pub position_after_lots: i64,
}

/// How a fill came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FillKind {
    /// Market order at the open.
    Open,
    /// Limit order.
    Limit,
    /// Stop order sent by the agent.
    StopOrder,
    /// Protective stop: the position is closed and whatever else was pending is cancelled.
    Stop,
    /// Closed at the last close of a segment.
    SegmentEnd,
    /// Closed because equity fell to the ruin level.
    Liquidation,
}

/// Fills of one bar, in order.
pub type Fills = Fixed<Fill, MAX_FILLS_PER_BAR>;

/// What one bar did to an account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BarReport {
    /// Executions, in order.
    pub fills: Fills,
    /// Holding cost charged for the bar. Never negative.
    pub financing_micros: i64,
    /// Orders that did not fill and are gone.
    pub num_expired: usize,
    /// The account after the bar.
    pub account: Account,
    /// Trigger price of the protective stop that rests after the bar.
    pub stop_ticks: Option<i64>,
}

impl BarReport {
    /// True when the protective stop closed the position in this bar.
    pub fn stopped_out(&self) -> bool {
        self.fills.iter().any(|fill| fill.kind == FillKind::Stop)
    }
}
