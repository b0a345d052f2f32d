//! The buffer's store and its codec.

use std::{hint::black_box, sync::Arc};

use anyhow::Result;
use grandmodel_buffers::{
    BufferConfig, PolicyVersion, SegmentStore, TransitionBlock,
    codec::{ObservationEncoding, decode, encode},
};

use super::Bench;

/// A rollout of the quickstart's size.
const STEPS: usize = 32;
const LANES: usize = 64;
const ACCOUNT_WIDTH: usize = 6;

fn block(policy_version: u64) -> TransitionBlock {
    let n = STEPS * LANES;
    TransitionBlock {
        policy_version: PolicyVersion(policy_version),
        num_steps: STEPS as u32,
        num_envs: LANES as u32,
        observation_width: ACCOUNT_WIDTH as u16,
        action_width: 1,
        table: vec![0; n],
        row: (0..n).map(|i| (i / LANES + i % LANES * 97) as u32).collect(),
        observation: (0..n * ACCOUNT_WIDTH).map(|i| (i % 13) as f32 / 13.0).collect(),
        action: (0..n).map(|i| (i % 3) as f32).collect(),
        log_prob: vec![-1.0986; n],
        value: (0..n).map(|i| (i % 101) as f32 / 101.0).collect(),
        reward: (0..n).map(|i| (i % 89) as f32 / 1e5).collect(),
        flags: vec![0; n],
        last_value: vec![0.0; LANES],
        reward_scale: 1.0,
        ..TransitionBlock::default()
    }
}

/// Rows of this group.
///
/// # Errors
/// A store that cannot be opened.
pub fn rows(bench: &mut Bench) -> Result<()> {
    if bench.wants("buffer") {
        let template = block(0);
        let mut store = SegmentStore::new(BufferConfig::default())?;
        let mut version = 0;
        bench.row("buffer: push and take a rollout", "transitions", STEPS * LANES, || {
            version += 1;
            let pushed = TransitionBlock { policy_version: PolicyVersion(version), ..template.clone() };
            drop(black_box(store.push(Arc::new(pushed))));
            drop(black_box(store.take(PolicyVersion(version))));
        });
        bench.row("buffer: compress with LZ4", "transitions", STEPS * LANES, || {
            drop(black_box(encode(&template, ObservationEncoding::F32)))
        });
        let packed = encode(&template, ObservationEncoding::F32);
        bench.row("buffer: read from LZ4", "transitions", STEPS * LANES, || drop(black_box(decode(&packed))));
    }
    Ok(())
}
