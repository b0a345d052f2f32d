//! Tests of the modules, their weights and their actors, in one binary: linking Burn takes most of the time.

mod actors;
pub(crate) mod inputs;
mod int8;
mod modules;
mod parameters;
mod parity;
mod threads;
