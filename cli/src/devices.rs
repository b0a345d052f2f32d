//! `grandmodel devices`: which devices are there, and why one is not.

use grandmodel_embedders::{device, ops};

/// Prints one line a kind of device.
pub fn run() {
    for found in device::list() {
        println!("{:<5} {}", format!("{:?}", found.choice).to_lowercase(), found.detail);
    }
    println!("cpu kernels run with {}", ops::simd_level());
}
