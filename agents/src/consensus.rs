//! MC dropout over the trunk head: passes of logits in, mean probabilities and their uncertainty out; and the seeded masks of the
//! passes. It decides nothing but how sure the policy is; the embeddings are computed once, outside.

use crate::heads::distribution::{argmax, log_softmax};

/// Verdict of all passes on one decision.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Consensus {
    /// Most probable action of the mean; the lowest index on a tie.
    pub action: usize,
    /// Its mean probability.
    pub confidence: f32,
    /// Entropy of the mean probabilities, in nats.
    pub total: f32,
    /// Mean of the entropies of the passes: what the policy itself leaves open.
    pub aleatoric: f32,
    /// Their difference: what the passes disagree on. Never negative.
    pub epistemic: f32,
}

/// Averages passes. `logits` is `[num_passes, num_actions]` and is overwritten; `mean` receives the mean probabilities
/// `[num_actions]`.
///
/// `total = H(mean_p)`, `aleatoric = mean_p H(p)`, `epistemic = total - aleatoric`.
///
/// # Source
/// Depeweg et al., Decomposition of uncertainty in Bayesian deep learning (2018), equation 3.
pub fn consensus(logits: &mut [f32], mean: &mut [f32]) -> Consensus {
    let num_actions = mean.len();
    assert!(num_actions > 0 && logits.len() >= num_actions, "Invariant: at least one pass of the head's own shape");
    let num_passes = (logits.len() / num_actions) as f32;
    mean.fill(0.0);
    let mut aleatoric = 0.0;
    for pass in logits.chunks_exact_mut(num_actions) {
        log_softmax(pass);
        for (mean, log_p) in mean.iter_mut().zip(pass.iter()) {
            let p = log_p.exp();
            *mean += p / num_passes;
            aleatoric -= if p > 0.0 { p * log_p / num_passes } else { 0.0 };
        }
    }
    let total = -mean.iter().map(|p| if *p > 0.0 { p * p.ln() } else { 0.0 }).sum::<f32>();
    let action = argmax(mean);
    Consensus { action, confidence: mean[action], total, aleatoric, epistemic: (total - aleatoric).max(0.0) }
}

/// Averages passes of a continuous policy: the mean target, and as its confidence the share of passes on the mean's side. Entropies have no meaning here and
/// are 0.
pub fn consensus_of_targets(targets: &[f32]) -> (f32, Consensus) {
    assert!(!targets.is_empty(), "Invariant: at least one pass");
    let n = targets.len() as f32;
    let mean = targets.iter().sum::<f32>() / n;
    let agreeing = targets.iter().filter(|target| **target * mean > 0.0 || **target == mean).count();
    (mean, Consensus { confidence: agreeing as f32 / n, ..Consensus::default() })
}

/// Fills the masks of one pass, one a hidden layer: 0 with probability `rate`, else `1 / (1 - rate)`. A pure function of its arguments, so that the same
/// decision meets the same masks in a backtest, in blocks of any size and live.
pub fn fill_masks(masks: &mut Vec<Vec<f32>>, hidden: &[usize], rate: f32, seed: u64, decision: i64, pass: u32) {
    let key = mix(mix(seed ^ 0x6d61_736b) ^ decision as u64) ^ (u64::from(pass) << 32);
    let keep = 1.0 / (1.0 - rate);
    let limit = (f64::from(rate) * 4_294_967_296.0) as u64;
    let unit = |index: usize| if mix(key.wrapping_add(index as u64)) >> 32 < limit { 0.0 } else { keep };
    masks.resize_with(hidden.len(), Vec::new);
    let mut from = 0;
    for (mask, width) in masks.iter_mut().zip(hidden) {
        mask.clear();
        mask.extend((from..from + width).map(unit));
        from += width;
    }
}

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disagreement_is_epistemic() {
        // Two sure passes that contradict each other: mean (0.5, 0.5), total = ln 2, aleatoric ~ 0.
        let mut mean = [0.0; 2];
        let verdict = consensus(&mut [20.0, 0.0, 0.0, 20.0], &mut mean);
        assert!((verdict.total - std::f32::consts::LN_2).abs() < 1e-5 && verdict.aleatoric < 1e-5, "{verdict:?}");
        assert_eq!(verdict.action, 0);
        // Two equal, unsure passes: all aleatoric.
        let verdict = consensus(&mut [0.0, 0.0, 0.0, 0.0], &mut mean);
        assert!((verdict.aleatoric - std::f32::consts::LN_2).abs() < 1e-5 && verdict.epistemic < 1e-5, "{verdict:?}");
        // p = (0.8, 0.2) once, logits ln 4 and 0: confidence 0.8, entropy 0.5004.
        let verdict = consensus(&mut [4.0_f32.ln(), 0.0], &mut mean);
        assert!((verdict.confidence - 0.8).abs() < 1e-6 && (verdict.total - 0.500_402).abs() < 1e-5, "{verdict:?}");
    }

    #[test]
    fn masks_are_counter_based_and_unbiased() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let hidden = [64, 64];
        fill_masks(&mut a, &hidden, 0.1, 7, 123, 3);
        fill_masks(&mut b, &hidden, 0.1, 7, 123, 3);
        assert_eq!(a, b);
        assert_ne!(a[0], a[1]);
        for (seed, decision, pass) in [(8, 123, 3), (7, 124, 3), (7, 123, 4)] {
            fill_masks(&mut b, &hidden, 0.1, seed, decision, pass);
            assert_ne!(a[0], b[0], "a different key must give a different mask");
        }
        let mut sum = 0.0;
        for pass in 0..500 {
            fill_masks(&mut a, &hidden, 0.1, 7, 1, pass);
            sum += a.iter().flatten().sum::<f32>();
        }
        // 64,000 units of mean 1 and deviation 1/3: the mean is within 0.01 (7.6 deviations).
        assert!((sum / 64_000.0 - 1.0).abs() < 0.01, "{sum}");
        fill_masks(&mut a, &hidden, 0.0, 7, 1, 0);
        assert!(a.iter().flatten().all(|m| *m == 1.0));
    }

    #[test]
    fn continuous_passes_agree_by_their_side() {
        // Mean of 0.5, 0.7, -0.3 is 0.3; two of three lie on its side.
        let (target, verdict) = consensus_of_targets(&[0.5, 0.7, -0.3]);
        assert!((target - 0.3).abs() < 1e-6 && (verdict.confidence - 2.0 / 3.0).abs() < 1e-6, "{target} {verdict:?}");
    }
}
