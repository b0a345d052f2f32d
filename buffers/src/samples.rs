//! Blocks for tests: a seed in, a valid rollout out that looks like one. Only compiled for tests.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{PolicyVersion, TransitionBlock, flags};

/// A rollout whose rows run on lane by lane, with positions that stay, noise in rewards and values, and every 50th step an end.
pub fn block(policy_version: u64, num_steps: u32, num_envs: u32, account_width: u16, seed: u64) -> TransitionBlock {
    let mut draw = ChaCha8Rng::seed_from_u64(seed);
    let (steps, lanes, width) = (num_steps as usize, num_envs as usize, usize::from(account_width));
    let starts: Vec<u32> = (0..lanes).map(|_| draw.random_range(0..100_000)).collect();
    let mut positions = vec![1.0_f32; lanes];
    let mut block = TransitionBlock {
        policy_version: PolicyVersion(policy_version),
        num_steps,
        num_envs,
        account_width,
        table: vec![0; steps * lanes],
        row: Vec::with_capacity(steps * lanes),
        account: Vec::with_capacity(steps * lanes * width),
        action: Vec::with_capacity(steps * lanes),
        log_prob: Vec::with_capacity(steps * lanes),
        value: Vec::with_capacity(steps * lanes),
        reward: Vec::with_capacity(steps * lanes),
        flags: vec![0; steps * lanes],
        bootstrap: Vec::new(),
        last_value: (0..lanes).map(|_| draw.random::<f32>()).collect(),
    };
    for step in 0..steps {
        for (lane, position) in positions.iter_mut().enumerate() {
            if draw.random_range(0..20) == 0 {
                *position = draw.random_range(-1_i32..=1) as f32;
            }
            block.row.push(starts[lane] + step as u32);
            for field in 0..width {
                block.account.push(if field % 2 == 0 { *position } else { *position * draw.random::<f32>() });
            }
            block.action.push(*position);
            block.log_prob.push(-draw.random::<f32>());
            block.value.push(draw.random::<f32>() - 0.5);
            block.reward.push(*position * (draw.random::<f32>() - 0.5));
            let index = step * lanes + lane;
            match draw.random_range(0..100) {
                0 => block.flags[index] = flags::TERMINATED,
                1 => {
                    block.flags[index] = flags::TRUNCATED;
                    block.bootstrap.push((index as u32, draw.random()));
                }
                _ => {}
            }
        }
    }
    block.bootstrap.shrink_to_fit();
    block
}

/// Equal to the bit, which `==` on floats is not.
pub fn same_bits(a: &TransitionBlock, b: &TransitionBlock) -> bool {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let all = |block: &TransitionBlock| {
        let floats =
            [&block.account, &block.action, &block.log_prob, &block.value, &block.reward, &block.last_value].map(|column| bits(column));
        let bootstrap: Vec<_> = block.bootstrap.iter().map(|(index, value)| (*index, value.to_bits())).collect();
        let sizes = (block.policy_version, block.num_steps, block.num_envs, block.account_width);
        (sizes, floats, bootstrap, block.table.clone(), block.row.clone(), block.flags.clone())
    };
    all(a) == all(b)
}
