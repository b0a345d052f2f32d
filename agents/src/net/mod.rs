//! Small networks in plain Rust: flat parameters and a batch in; outputs, and on the way back flat gradients out. This is the fast path of every policy:
//! no tensors, no tape of operations, no allocation once warm.
//!
//! Parameters of a network are one slice in layer order, weights row-major `[in, out]` and then the bias `[out]`. What these are not: parallel. A
//! caller with several threads gives each a network or a block of samples of its own.

mod init;
mod kernels;
mod lstm;
mod mlp;

pub use init::Init;
pub use lstm::{LstmShape, LstmTape};
pub use mlp::{Activation, Columns, ColumnsMut, MlpShape, MlpTape};

#[cfg(test)]
mod tests;
