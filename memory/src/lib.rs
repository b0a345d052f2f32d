//! One byte budget, kept: gauges and reports go in, a level of pressure, relief commands and batch plans come out.
//!
//! Everything but [`actor`] and [`messages`] is a pure core: sizes, times and paths are arguments. It knows neither Burn nor the market,
//! and it frees nothing itself: whoever owns the bytes obeys a [`messages::Relieve`].

pub mod actor;
pub mod budget;
pub mod config;
pub mod gauges;
pub mod ladder;
pub mod leak;
pub mod ledger;
pub mod messages;
pub mod plan;
mod pressure;

mod error;

pub use actor::Memory;
pub use budget::{Budget, ByteSize};
pub use config::MemoryConfig;
pub use error::MemoryError;
pub use gauges::{AllocatorGauge, AllocatorReading, DeviceGauge, DeviceReading, FreeHeap, GaugeReading, GaugeRoots, Gauges, PressureStall};
pub use ladder::{Ladder, Rung};
pub use ledger::{Ledger, LedgerSnapshot, Subsystem};
pub use plan::{BatchPlan, BatchRequest};
pub use pressure::{PressureEvent, PressureLevel, PressureWatch};
