//! The tree against a scan over all leaves, and probabilities against counts.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// The slot that a scan over all leaves finds.
fn scanned(leaves: &[f32], target: f64) -> usize {
    let mut running = 0.0;
    for (slot, leaf) in leaves.iter().enumerate() {
        running += f64::from(*leaf);
        if running > target {
            return slot;
        }
    }
    leaves.iter().rposition(|leaf| *leaf > 0.0).unwrap()
}

fn find(tree: &PriorityTree, target: f64) -> usize {
    let mut slots = [0];
    tree.find(&mut [target], &mut slots);
    slots[0] as usize
}

#[test]
fn by_hand() {
    let mut tree = PriorityTree::new(40);
    for (slot, value) in [(0, 1.0), (17, 2.0), (18, 4.0), (39, 1.0)] {
        tree.set(slot, value);
    }
    tree.refresh();
    // Running sums: 1 up to slot 0, 3 up to 17, 7 up to 18, 8 up to 39.
    assert_eq!((tree.total(), tree.min()), (8.0, 1.0));
    for (target, slot) in [(0.0, 0), (0.999, 0), (1.0, 17), (2.999, 17), (3.0, 18), (6.5, 18), (7.0, 39), (7.999, 39), (8.0, 39), (1e9, 39)]
    {
        assert_eq!(find(&tree, target), slot, "{target}");
    }
    tree.fill(0..18, 0.0);
    assert_eq!((tree.total(), tree.min(), find(&tree, 0.0)), (5.0, 1.0, 18));
    tree.fill(39..40, 0.0);
    assert_eq!((tree.total(), tree.min(), find(&tree, 3.999)), (4.0, 4.0, 18));
}

#[test]
fn sums_do_not_drift() {
    let mut tree = PriorityTree::new(5000);
    let mut draw = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..2000 {
        for _ in 0..50 {
            tree.set(draw.random_range(0..5000), draw.random::<f32>() * 1e6);
        }
        tree.refresh();
    }
    tree.fill(0..5000, 0.0);
    assert_eq!((tree.total(), tree.min()), (0.0, f32::INFINITY));
    tree.fill(77..78, 1e-6);
    assert_eq!((tree.total(), find(&tree, 0.0)), (f64::from(1e-6_f32), 77));
}

#[test]
fn draws_follow_the_priorities() {
    let mut tree = PriorityTree::new(300);
    (0..300).for_each(|slot| tree.set(slot, (slot % 5) as f32));
    tree.refresh();
    let mut draw = ChaCha8Rng::seed_from_u64(2);
    let mut counts = [0.0_f64; 5];
    let mut targets: Vec<f64> = (0..100_000).map(|_| draw.random::<f64>() * tree.total()).collect();
    let mut slots = vec![0; targets.len()];
    tree.find(&mut targets, &mut slots);
    slots.iter().for_each(|slot| counts[*slot as usize % 5] += 1.0);
    // Shares 0, 1/10, 2/10, 3/10, 4/10; five standard errors of the largest are 5 sqrt(0.4 * 0.6 / 1e5) = 0.008.
    for (share, count) in counts.iter().enumerate() {
        assert!((count / 1e5 - share as f64 / 10.0).abs() < 0.008, "{counts:?}");
    }
    assert_eq!(counts[0], 0.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn as_a_scan_over_all_leaves(num_leaves in 1_usize..5000, sets in prop::collection::vec((any::<prop::sample::Index>(), 0_u32..4), 1..80), fills in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..600, 0_u32..4), 0..6), at in 0.0_f64..1.0) {
        let mut tree = PriorityTree::new(num_leaves);
        let mut leaves = vec![0.0_f32; num_leaves];
        for (slot, len, value) in fills {
            let start = slot.index(num_leaves);
            let end = (start + len).min(num_leaves);
            // Powers of two: sums are exact, whatever their order.
            let value = [0.0, 0.5, 1.0, 4.0][value as usize];
            tree.fill(start..end, value);
            leaves[start..end].fill(value);
        }
        for (slot, value) in sets {
            let (slot, value) = (slot.index(num_leaves), [0.0, 0.25, 2.0, 8.0][value as usize]);
            tree.set(slot, value);
            leaves[slot] = value;
        }
        tree.refresh();
        let total: f64 = leaves.iter().map(|leaf| f64::from(*leaf)).sum();
        let min = leaves.iter().copied().filter(|leaf| *leaf > 0.0).fold(f32::INFINITY, f32::min);
        prop_assert_eq!((tree.total(), tree.min()), (total, min));
        if total > 0.0 {
            for target in [0.0, at * total, total * 0.999_999, total] {
                prop_assert_eq!(find(&tree, target), scanned(&leaves, target));
            }
        }
        let mut loaded = PriorityTree::new(num_leaves);
        loaded.load(&leaves);
        prop_assert_eq!(loaded.total(), tree.total());
        prop_assert_eq!(loaded.min(), tree.min());
    }
}
