//! What an agent may ask of a venue. An order says nothing about who approved it; that is a type of crate `agents`.

/// Number an agent gives its order; fills carry it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct OrderId(pub u64);

/// One order. It lives for the next bar only: what has not filled by its close has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Order {
    /// The agent's own number.
    pub id: OrderId,
    /// Buy or sell.
    pub side: Side,
    /// Quantity in lots, at least 1.
    pub lots: i64,
    /// How it fills.
    pub kind: OrderKind,
    /// Protective stop to rest beside the position that this order opens (or flips into); an order that only adds or reduces
    /// leaves the resting stop where it is.
    pub stop: Option<StopSpec>,
    /// Why it was sent.
    pub reason: OrderReason,
}

impl Order {
    /// A market order for a signed change of position: positive buys, negative sells.
    #[inline]
    pub fn market(id: OrderId, delta_lots: i64, stop: Option<StopSpec>, reason: OrderReason) -> Self {
        Self { id, side: Side::of(delta_lots), lots: delta_lots.saturating_abs(), kind: OrderKind::Market, stop, reason }
    }

    /// Signed lots: positive for a buy.
    #[inline]
    pub fn signed_lots(&self) -> i64 {
        self.side.sign() * self.lots
    }
}

/// Buy or sell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Position grows.
    #[default]
    Buy,
    /// Position shrinks.
    Sell,
}

impl Side {
    /// Side of a signed quantity.
    #[inline]
    pub fn of(lots: i64) -> Self {
        if lots < 0 { Self::Sell } else { Self::Buy }
    }

    /// +1 for a buy, -1 for a sell.
    #[inline]
    pub fn sign(self) -> i64 {
        match self {
            Self::Buy => 1,
            Self::Sell => -1,
        }
    }
}

/// How an order fills in the next bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderKind {
    /// At the open, half-spread and slippage worse.
    Market,
    /// At the limit or, where the bar opens beyond it, at the open; no spread, no slippage.
    Limit {
        /// Worst acceptable price.
        ticks: i64,
    },
    /// At the trigger or, where the bar opens beyond it, at the open; half-spread and slippage worse.
    Stop {
        /// Trigger price.
        ticks: i64,
    },
}

/// Protective stop, fixed at entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StopSpec {
    /// Distance from the entry fill, at least 1 tick.
    pub distance_ticks: i64,
}

/// Why an order was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderReason {
    /// The agent's target position changed.
    Target,
    /// A risk limit forces the position flat.
    RiskFlat,
}
