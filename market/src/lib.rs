//! Files and feeds in; bars, feature tables, a simulated venue and performance statistics out.
//!
//! This crate is floor 0: it knows neither tensors nor actors. Everything in it is a pure function of the past and of its
//! arguments; seeds and clocks are passed in.

pub mod bar;
pub mod error;
pub mod features;
pub mod import;
pub mod instrument;
pub mod optimum;
pub mod resample;
pub mod session;
pub mod shuffle;
pub mod stats;
pub mod synth;
pub mod table;
pub mod venue;

pub use bar::Bar;
pub use error::MarketError;
pub use instrument::Instrument;
pub use table::{FeatureTable, TableSpan};
