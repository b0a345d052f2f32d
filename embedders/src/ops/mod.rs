//! The operations that most of the time goes into, fused on the CPU.
//!
//! In: tensors of either backend. Out: tensors, on the tape where the backend has one. [`Ops`] is implemented for [`Infer`]
//! and [`Train`]; both run plain Rust over slices (folder `kernels`) where the tensors are `f32` in CPU memory, and compose
//! Burn's own operations (`composed.rs`) everywhere else. The two agree to 1e-5.
//!
//! What it is not: parallel. A caller that has several threads gives each its own block of samples; the numbers of a block
//! then never depend on the number of threads.
//!
//! [`Infer`]: crate::device::Infer
//! [`Train`]: crate::device::Train

mod attention;
mod bilstm;
mod composed;
mod fused;
mod gelu;
pub mod kernels;
mod layer_norm;
mod linear;
#[cfg(test)]
mod tests;

pub use attention::attention;
pub use bilstm::bilstm;
pub use fused::Ops;
pub use gelu::gelu;
pub use kernels::simd::level as simd_level;
pub use layer_norm::{LAYER_NORM_EPS, layer_norm};
pub use linear::linear;
