//! The door to the house: command line in, wiring of the other rooms out. The binary is a thin shell around this library.

pub mod from_market;
pub mod progress;
pub mod report;
pub mod run_folder;
pub mod tensorboard;
