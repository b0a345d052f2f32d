//! What is sent and what stays are what was there; nothing waits for ever; learning arrives where it does without.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::*;
use crate::adam::Adam;

fn any(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| (rng.next_u32() as f32 / 2.0_f32.powi(31) - 1.0).powi(3)).collect()
}

/// The slow way.
fn sorted(values: &[f32], k: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(values[*i as usize].to_bits() & !(1 << 31)), *i));
    order.truncate(k);
    order.sort_unstable();
    order
}

#[test]
fn the_largest_are_sent_and_the_first_of_equal_ones() {
    // |2| twice, |1| three times; k = 3 sends both and the first of the others.
    let mut error = [0.0; 6];
    let sparse = sparsify(&[1.0, -2.0, 0.5, 2.0, -1.0, 1.0], &mut error, 3);
    assert_eq!(Sparse { indices: vec![0, 1, 3], values: vec![1.0, -2.0, 2.0] }, sparse);
    assert_eq!([0.0, 0.0, 0.5, 0.0, -1.0, 1.0], error);
    for (len, seed) in [(1, 1), (100, 2), (5000, 3)] {
        let mut values = any(len, seed);
        // Many equal ones.
        values.iter_mut().step_by(3).for_each(|value| *value = value.signum() * 0.25);
        for k in [1, len / 7, len / 2, len].map(|k| k.max(1)) {
            assert_eq!(sorted(&values, k), sparsify(&values, &mut vec![0.0; len], k).indices, "{k} of {len}");
        }
    }
}

#[test]
fn what_is_sent_and_what_stays_are_what_was_there() {
    let mut error = any(3000, 4);
    for seed in 5..15 {
        let (gradient, before) = (any(3000, seed), error.clone());
        let sparse = sparsify(&gradient, &mut error, 30);
        assert_eq!(30, sparse.values.len());
        let mut both = error.clone();
        sparse.add_to(&mut both);
        let expected: Vec<f32> = before.iter().zip(&gradient).map(|(e, g)| e + g).collect();
        assert_eq!(expected, both);
    }
}

#[test]
fn nothing_waits_for_ever() {
    // Of 1,000 entries 10 are sent a step; the smallest is a fiftieth of the largest.
    let gradient: Vec<f32> = (0..1000).map(|i| 0.02 + 0.98 * (i * 37 % 1000) as f32 / 1000.0).collect();
    let (mut error, mut sent) = (vec![0.0; 1000], vec![0; 1000]);
    for _ in 0..6000 {
        sparsify(&gradient, &mut error, 10).indices.iter().for_each(|i| sent[*i as usize] += 1);
    }
    assert!(sent.iter().all(|times| *times > 0), "{:?}", sent.iter().min());
    // What waits stays bounded: n / k steps of a mean entry.
    assert!(error.iter().all(|e| *e < 100.0));
}

#[test]
fn what_is_not_finite_is_sent() {
    let sparse = sparsify(&[1.0, f32::NAN, 3.0, f32::NEG_INFINITY], &mut [0.0; 4], 2);
    assert_eq!(vec![1, 3], sparse.indices);
    assert!(sparse.values[0].is_nan());
}

#[test]
fn bytes_hold_the_same_entries_and_damaged_ones_are_refused() {
    for (len, k) in [(1, 1), (300, 3), (100_000, 1000), (3_000_000, 2)] {
        let sparse = sparsify(&any(len, 9), &mut vec![0.0; len], k);
        let bytes = sparse.encode();
        assert_eq!(sparse, Sparse::decode(&bytes, k, len).expect("what was encoded"));
        assert!(bytes.len() <= 9 * k, "{} bytes for {k} entries", bytes.len());
        assert!(Sparse::decode(&bytes[..bytes.len() - 1], k, len).is_err());
        assert!(Sparse::decode(&bytes, k + 1, len).is_err());
        assert!(Sparse::decode(&bytes, k, *sparse.indices.last().expect("an entry") as usize).is_err());
    }
    // A hundred apart: a byte of distance and four of value an entry.
    let indices: Vec<u32> = (0..1000).map(|i| i * 100).collect();
    assert_eq!(5 * 1000, Sparse { values: vec![1.0; 1000], indices }.encode().len());
}

/// Distance from the minimum of a quadratic of 1,000 unlike directions after so many steps, relative to that at the start.
fn descend(share: Option<f64>, steps: usize, mut step: impl FnMut(&mut Vec<f32>, &[f32], usize)) -> f64 {
    let (minimum, curvature): (Vec<f32>, Vec<f32>) = (any(1000, 1), any(1000, 2).iter().map(|c| 0.5 + 0.5 * c.abs()).collect());
    let (mut at, mut error) = (vec![0.0_f32; 1000], vec![0.0; 1000]);
    let distance = |at: &[f32]| at.iter().zip(&minimum).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
    let first = distance(&at);
    for i in 0..steps {
        let gradient: Vec<f32> = at.iter().zip(&minimum).zip(&curvature).map(|((a, b), c)| c * (a - b)).collect();
        let gradient = match share {
            Some(share) => {
                let mut sum = vec![0.0; 1000];
                sparsify(&gradient, &mut error, num_sent(1000, share)).add_to(&mut sum);
                sum
            }
            None => gradient,
        };
        step(&mut at, &gradient, i);
    }
    distance(&at) / first
}

#[test]
fn gradient_descent_and_adam_arrive_with_one_entry_of_a_hundred() {
    // Every entry waits about a hundred steps, so steps are small beside that.
    let sgd = |at: &mut Vec<f32>, gradient: &[f32], _| at.iter_mut().zip(gradient).for_each(|(a, g)| *a -= 2e-3 * g);
    let found = [None, Some(0.01)].map(|share| descend(share, 8000, sgd));
    assert!(found.iter().all(|distance| *distance < 1e-3), "gradient descent: {found:?}");
    let found = [None, Some(0.01)].map(|share| {
        let mut adam = Adam::new(1000);
        descend(share, 20_000, |at, gradient, i| {
            let rate = 5e-3 * (1.0 - i as f64 / 20_000.0);
            adam.step(at, gradient, rate, 1e-8, f32::INFINITY);
        })
    });
    assert!(found.iter().all(|distance| *distance < 2e-2), "Adam: {found:?}");
}

#[test]
fn costs_are_those_of_the_ring_and_cross_where_they_say() {
    let cost = ExchangeCost { workers: 4, dense_bytes: 8e6, sparse_bytes: 1e5, compressed_per_second: 1e9, latency: 1e-4 };
    // 6 messages of 2 MB at 1e8 B/s; 3 messages of 0.1 MB after 8 ms of work.
    assert!((cost.dense_seconds(1e8) - (6e-4 + 0.12)).abs() < 1e-12);
    assert!((cost.sparse_seconds(1e8) - (8e-3 + 3e-4 + 3e-3)).abs() < 1e-12);
    // (12 MB - 0.3 MB) / (8 ms - 0.3 ms)
    let crossing = cost.largest_bytes_per_second();
    assert!((crossing - 11.7e6 / 7.7e-3).abs() < 1.0);
    assert!(cost.sparse_seconds(0.99 * crossing) < cost.dense_seconds(0.99 * crossing));
    assert!(cost.sparse_seconds(1.01 * crossing) > cost.dense_seconds(1.01 * crossing));
    assert_eq!(f64::INFINITY, ExchangeCost { latency: 1.0, ..cost }.largest_bytes_per_second());
    assert_eq!(0.0, ExchangeCost { sparse_bytes: 8e6, ..cost }.largest_bytes_per_second());
}
