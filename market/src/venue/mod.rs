//! Orders and bars in; fills and an exact account out. This is the one simulated market: training lanes, backtests and the
//! venue actor all trade through it.
//!
//! Prices are integer ticks, quantities integer lots, cash integer micro-units of the account currency. Everything that has to be
//! rounded is rounded against the agent. It does not size positions and it does not judge risk (crate `agents` does).

pub mod account;
pub mod cost;
pub mod fill;
pub mod fixed;
pub mod order;
pub mod sim;
pub mod trade;

#[cfg(test)]
mod tests;

pub use account::Account;
pub use cost::{CostConfig, CostModel};
pub use fill::{BarReport, BarTicks, Fill, FillKind, Fills};
pub use fixed::Fixed;
pub use order::{Order, OrderId, OrderKind, OrderReason, Side, StopSpec};
pub use sim::{MAX_PENDING_ORDERS, Passed, SimVenue};
pub use trade::{Trade, TradeBook};
