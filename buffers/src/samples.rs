//! Blocks for tests: a seed in, a valid rollout out that looks like one. Only compiled for tests.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::block::{Follow, Terminal};
use crate::{PolicyVersion, TransitionBlock, flags};

/// A rollout whose rows run on lane by lane, with positions that stay, noise in rewards and values, and every 50th step an end.
pub fn block(policy_version: u64, num_steps: u32, num_envs: u32, observation_width: u16, seed: u64) -> TransitionBlock {
    let mut draw = ChaCha8Rng::seed_from_u64(seed);
    let (steps, lanes, width) = (num_steps as usize, num_envs as usize, usize::from(observation_width));
    let starts: Vec<u32> = (0..lanes).map(|_| draw.random_range(0..100_000)).collect();
    let mut positions = vec![1.0_f32; lanes];
    let mut block = TransitionBlock {
        policy_version: PolicyVersion(policy_version),
        num_steps,
        num_envs,
        observation_width,
        action_width: 1,
        state_width: 0,
        table: vec![0; steps * lanes],
        row: Vec::with_capacity(steps * lanes),
        observation: Vec::with_capacity(steps * lanes * width),
        action: Vec::with_capacity(steps * lanes),
        log_prob: Vec::with_capacity(steps * lanes),
        value: Vec::with_capacity(steps * lanes),
        reward: Vec::with_capacity(steps * lanes),
        flags: vec![0; steps * lanes],
        bootstrap: Vec::new(),
        last_value: (0..lanes).map(|_| draw.random::<f32>()).collect(),
        after: Follow::default(),
        terminal: Terminal::default(),
        state: Vec::new(),
        reward_scale: 1.0,
    };
    for step in 0..steps {
        for (lane, position) in positions.iter_mut().enumerate() {
            if draw.random_range(0..20) == 0 {
                *position = draw.random_range(-1_i32..=1) as f32;
            }
            block.row.push(starts[lane] + step as u32);
            for field in 0..width {
                block.observation.push(if field % 2 == 0 { *position } else { *position * draw.random::<f32>() });
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

/// The same steps as off-policy experience: no values, but what each lane and each ended step led to.
pub fn off_policy(policy_version: u64, num_steps: u32, num_envs: u32, observation_width: u16, seed: u64) -> TransitionBlock {
    let mut block = block(policy_version, num_steps, num_envs, observation_width, seed);
    let mut draw = ChaCha8Rng::seed_from_u64(seed ^ 0xaf7e);
    let (lanes, width) = (num_envs as usize, usize::from(observation_width));
    for column in [&mut block.log_prob, &mut block.value, &mut block.last_value] {
        *column = Vec::new();
    }
    block.bootstrap = Vec::new();
    block.terminal.index = (0..).zip(&block.flags).filter(|(_, flags)| **flags != 0).map(|(index, _)| index).collect();
    let ended = block.terminal.index.len();
    block.terminal.table = vec![1; ended];
    block.terminal.row = block.terminal.index.iter().map(|&index| block.row[index as usize] + 1).collect();
    block.terminal.observation = (0..ended * width).map(|_| draw.random()).collect();
    block.after.table = vec![0; lanes];
    block.after.row = block.row[block.row.len() - lanes..].iter().map(|row| row + 1).collect();
    block.after.observation = (0..lanes * width).map(|_| draw.random()).collect();
    (block.state_width, block.state) = (3, (0..lanes * 3).map(|_| draw.random()).collect());
    block.reward_scale = 0.5;
    block
}

/// Takes the market away: what is left is a classic control task's experience.
pub fn without_market(mut block: TransitionBlock) -> TransitionBlock {
    for column in [&mut block.table, &mut block.after.table, &mut block.terminal.table] {
        *column = Vec::new();
    }
    for column in [&mut block.row, &mut block.after.row, &mut block.terminal.row] {
        *column = Vec::new();
    }
    block
}

/// Equal to the bit, which `==` on floats is not.
pub fn same_bits(a: &TransitionBlock, b: &TransitionBlock) -> bool {
    let all = |block: &TransitionBlock| {
        let mut block = block.clone();
        let floats = block.float_columns().map(|(_, column)| column.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
        let bootstrap: Vec<_> = block.bootstrap.iter().map(|(index, value)| (*index, value.to_bits())).collect();
        let reward_scale = block.reward_scale.to_bits();
        // What is left compares as it should.
        let TransitionBlock { observation, action, log_prob, value, reward, last_value, state, after, terminal, .. } = &mut block;
        for column in [observation, action, log_prob, value, reward, last_value, state, &mut after.observation, &mut terminal.observation] {
            column.clear();
        }
        (block.bootstrap, block.reward_scale) = (Vec::new(), 0.0);
        (block, floats, bootstrap, reward_scale)
    };
    all(a) == all(b)
}
