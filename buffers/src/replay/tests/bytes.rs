//! What is weighed is what is there; what is really allocated is compared in `tests/allocations.rs`.

use super::*;

/// Counted again, part by part.
#[test]
fn a_market_transition_weighs_at_most_64_bytes_all_in() {
    let mut lanes = Lanes::new(16, 6, 1, true, 10, 1);
    let config =
        ReplayConfig { buffer_size: 1_000_000, sampling: Sampling::Prioritised(Prioritised::default()), ..ReplayConfig::default() };
    let mut store = ReplayStore::new(config, lanes.shape()).unwrap();
    while store.len() < 1_000_000 {
        store.push(&lanes.block(4096)).unwrap();
    }
    let each = store.bytes() as f64 / store.len() as f64;
    // Rows of 4 mark + 4 reward + 4 market row + 24 account + 4 action = 40; 1 % of terminal observations 0.4; priorities 4, their sums 1.3; cache 8.4;
    // tables and slack 0.5.
    assert!(each > 50.0 && each <= 64.0, "{each}");
    assert_eq!(store.observe().packed, 0);
}
