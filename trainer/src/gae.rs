//! Generalised advantage estimation over one rollout block: rewards, values and ends in; advantages and returns out.

use grandmodel_buffers::{TransitionBlock, block::flags};

/// Advantages and returns of every transition, time-major `[T, N]`.
///
/// `delta_t = r_t + gamma V(s_{t+1}) - V(s_t)`, `A_t = delta_t + gamma lambda A_{t+1}`, `R_t = A_t + V(s_t)`. After a terminated step
/// nothing follows; after a truncated one the value of the true terminal observation follows, and the sum starts anew.
///
/// # Source
/// Schulman et al. 2016, arXiv:1506.02438, equations 11 and 16.
pub fn advantages(block: &TransitionBlock, rewards: &[f32], gamma: f32, gae_lambda: f32) -> (Vec<f32>, Vec<f32>) {
    let (num_steps, num_envs) = (block.num_steps as usize, block.num_envs as usize);
    let mut advantages = vec![0.0; num_steps * num_envs];
    let mut next_value = block.last_value.clone();
    let mut running = vec![0.0f32; num_envs];
    let mut bootstrap = block.bootstrap.iter().rev().peekable();
    for t in (0..num_steps).rev() {
        for lane in (0..num_envs).rev() {
            let index = t * num_envs + lane;
            let cut = bootstrap.next_if(|(at, _)| *at as usize == index).map(|(_, value)| *value);
            let flags = block.flags[index];
            let follows = if flags & flags::TERMINATED != 0 {
                0.0
            } else if flags & flags::TRUNCATED != 0 {
                cut.expect("Invariant: a validated block holds the value of every truncated step")
            } else {
                next_value[lane]
            };
            if flags != 0 {
                running[lane] = 0.0;
            }
            let delta = rewards[index] + gamma * follows - block.value[index];
            running[lane] = delta + gamma * gae_lambda * running[lane];
            advantages[index] = running[lane];
            next_value[lane] = block.value[index];
        }
    }
    let returns = advantages.iter().zip(&block.value).map(|(a, v)| a + v).collect();
    (advantages, returns)
}

/// `(x - mean) / (std + 1e-8)` in place, the deviation with n - 1 as PyTorch's.
pub fn normalize(values: &mut [f32]) {
    let n = values.len() as f64;
    if n < 2.0 {
        return;
    }
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let scale = 1.0 / (variance.sqrt() + 1e-8);
    values.iter_mut().for_each(|v| *v = ((f64::from(*v) - mean) * scale) as f32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    fn block(
        num_steps: u32,
        num_envs: u32,
        value: Vec<f32>,
        flags: Vec<u8>,
        bootstrap: Vec<(u32, f32)>,
        last_value: Vec<f32>,
    ) -> TransitionBlock {
        TransitionBlock { num_steps, num_envs, value, flags, bootstrap, last_value, ..TransitionBlock::default() }
    }

    #[test]
    fn estimates_are_those_of_stable_baselines3() {
        // 16 steps of 4 lanes: one terminates and one is truncated in the last step, one goes on, one has episodes of one step.
        let file = golden::read("gae");
        let column = |name: &str| golden::floats(&file[name]);
        let (terminated, truncated, after) = (column("terminated"), column("truncated"), column("terminal_value"));
        let flag = |(terminated, truncated): (&f32, &f32)| *terminated as u8 * flags::TERMINATED + *truncated as u8 * flags::TRUNCATED;
        let ends = terminated.iter().zip(&truncated).map(flag).collect();
        let cut = (0..truncated.len()).filter(|i| truncated[*i] == 1.0).map(|i| (i as u32, after[i])).collect();
        let block = block(16, 4, column("value"), ends, cut, column("last_value"));
        let number = |key: &str| golden::number(&file["settings"][key]);
        let (advantages, returns) = advantages(&block, &column("reward"), number("gamma"), number("gae_lambda"));
        golden::assert_close("advantage", &advantages, &column("advantage"), 1e-6);
        golden::assert_close("return", &returns, &column("return"), 1e-6);
    }

    #[test]
    fn golden_numbers_with_both_kinds_of_end() {
        // gamma = lambda = 0.5, one lane, rewards 1, 2, 3, 4; step 1 truncated with terminal value 8, step 2 terminated.
        // t3: delta = 4 + 0.5 * 2 - 1 = 4          A = 4
        // t2: delta = 3 - 1 = 2 (nothing follows)   A = 2
        // t1: delta = 2 + 0.5 * 8 - 1 = 5           A = 5
        // t0: delta = 1 + 0.5 * 1 - 1 = 0.5         A = 0.5 + 0.25 * 5 = 1.75
        let block = block(4, 1, vec![1.0; 4], vec![0, flags::TRUNCATED, flags::TERMINATED, 0], vec![(1, 8.0)], vec![2.0]);
        let (advantages, returns) = advantages(&block, &[1.0, 2.0, 3.0, 4.0], 0.5, 0.5);
        assert_eq!(vec![1.75, 5.0, 2.0, 4.0], advantages);
        assert_eq!(vec![2.75, 6.0, 3.0, 5.0], returns);
    }

    #[test]
    fn lanes_do_not_mix() {
        let two = block(2, 2, vec![0.5, -1.0, 0.25, 2.0], vec![0; 4], vec![], vec![1.0, 3.0]);
        let (both, _) = advantages(&two, &[1.0, -1.0, 0.5, 2.0], 0.9, 0.8);
        for lane in 0..2 {
            let pick = |values: &[f32]| vec![values[lane], values[2 + lane]];
            let one = block(2, 1, pick(&two.value), vec![0; 2], vec![], vec![two.last_value[lane]]);
            let (alone, _) = advantages(&one, &pick(&[1.0, -1.0, 0.5, 2.0]), 0.9, 0.8);
            assert_eq!(pick(&both), alone);
        }
    }

    #[test]
    fn normalized_values_have_mean_0_and_deviation_1() {
        let mut values = [1.0, 2.0, 3.0];
        normalize(&mut values); // mean 2, deviation 1 with n - 1
        assert_eq!([-1.0, 0.0, 1.0], values.map(|v| (v * 1e5).round() / 1e5));
    }
}
