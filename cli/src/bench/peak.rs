//! The most multiply-adds a second in f32 that this machine gives: a loop over registers, nothing read, nothing written. What a row's arithmetic is a share of.
#![allow(clippy::disallowed_methods)] // timing is what this room is for

use std::{hint::black_box, sync::Barrier, thread, time::Instant};

use grandmodel_embedders::{
    ops::{kernels::simd::Level, simd_level},
    simd_fn,
};
use serde::Serialize;

/// Multiply-adds of one number in one repetition: about two milliseconds.
const ROUNDS: usize = 400_000;
/// The best of so many: what else the machine does only takes away.
const REPEATS: usize = 12;

/// Floating-point operations a second; a multiply-add is two.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Peak {
    /// Of one thread alone.
    pub one_thread: f64,
    /// Of as many threads as there are cores, together.
    pub all_threads: f64,
}

impl Peak {
    /// Measures it.
    pub fn measure(threads: usize) -> Self {
        Self { one_thread: best(1), all_threads: best(threads) }
    }

    /// Of work that `threads` threads share.
    pub fn of(&self, threads: usize) -> f64 {
        if threads > 1 { self.all_threads } else { self.one_thread }
    }
}

fn best(threads: usize) -> f64 {
    let operations = |slowest: f64| (threads * 2 * numbers() * ROUNDS) as f64 / slowest.max(1e-9);
    (0..REPEATS).map(|_| operations(together(threads))).fold(0.0, f64::max)
}

/// Seconds of the slowest of threads that begin at once.
fn together(threads: usize) -> f64 {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let before = Instant::now();
                    burn();
                    before.elapsed().as_secs_f64()
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap_or(f64::INFINITY)).fold(0.0, f64::max)
    })
}

/// Numbers that are multiplied side by side: two pipes are busy when eight registers wait for their results of four cycles ago; more than the registers
/// there are would go through memory.
fn numbers() -> usize {
    match simd_level() {
        Level::Avx512 => 16 * 16,
        Level::Avx2 => 12 * 8,
        Level::Base => 12 * 4,
    }
}

fn burn() {
    let (factor, addend) = (black_box(0.999), black_box(1e-3));
    match simd_level() {
        Level::Avx512 => burn_16(black_box(&mut [[1.0; 16]; 16]), factor, addend),
        Level::Avx2 => burn_8(black_box(&mut [[1.0; 8]; 12]), factor, addend),
        Level::Base => burn_4(black_box(&mut [[1.0; 4]; 12]), factor, addend),
    }
}

simd_fn! {
    /// Sixteen registers of AVX-512.
    pub fn burn_16(sums: &mut [[f32; 16]; 16], factor: f32, addend: f32) {
        rounds(sums, |x| x.mul_add(factor, addend));
    }
}

simd_fn! {
    /// Twelve registers of AVX2.
    pub fn burn_8(sums: &mut [[f32; 8]; 12], factor: f32, addend: f32) {
        rounds(sums, |x| x.mul_add(factor, addend));
    }
}

/// Twelve registers of what every processor has; without a fused instruction `mul_add` would be a call into the C library.
fn burn_4(sums: &mut [[f32; 4]; 12], factor: f32, addend: f32) {
    rounds(sums, |x| if cfg!(target_arch = "aarch64") { x.mul_add(factor, addend) } else { x * factor + addend });
}

#[inline(always)]
fn rounds<const WIDTH: usize, const REGISTERS: usize>(sums: &mut [[f32; WIDTH]; REGISTERS], step: impl Fn(f32) -> f32) {
    let mut held = *sums;
    for _ in 0..ROUNDS {
        for register in &mut held {
            for x in register {
                *x = step(*x);
            }
        }
    }
    *sums = held;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_a_number_of_operations() {
        let peak = Peak::measure(2);
        assert!(peak.one_thread.is_finite() && peak.one_thread > 0.0, "{peak:?}");
        assert!(peak.all_threads.is_finite() && peak.all_threads > 0.0, "{peak:?}");
    }
}
