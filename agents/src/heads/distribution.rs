//! The distributions of policies: log-probabilities, draws and entropies of single rows.

use rand_chacha::{ChaCha8Rng, rand_core::Rng};

const HALF_LN_TAU: f32 = 0.918_938_5;

/// Log-probabilities in place of logits: `l - max - ln sum exp(l - max)`.
pub fn log_softmax(logits: &mut [f32]) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let log_sum = logits.iter().map(|l| (l - max).exp()).sum::<f32>().ln();
    // The maximum first: adding it to the small logarithm would cost the digits of large logits.
    logits.iter_mut().for_each(|l| *l = (*l - max) - log_sum);
}

/// Index of the largest entry; of equals the first.
pub fn argmax(values: &[f32]) -> usize {
    values.iter().enumerate().fold(0, |best, (i, v)| if *v > values[best] { i } else { best })
}

/// Index drawn from log-probabilities by inverting their sum; one 32-bit word a draw.
pub fn sample(log_probs: &[f32], rng: &mut ChaCha8Rng) -> usize {
    let u = (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0;
    let mut sum = 0.0;
    for (action, log_prob) in log_probs.iter().enumerate() {
        sum += f64::from(log_prob.exp());
        if u < sum {
            return action;
        }
    }
    log_probs.len() - 1
}

/// `-sum p ln p` of log-probabilities, in nats.
pub fn entropy(log_probs: &[f32]) -> f32 {
    -log_probs.iter().map(|l| if *l > -80.0 { l.exp() * l } else { 0.0 }).sum::<f32>()
}

/// Log-density of independent normals.
pub fn gaussian_log_prob(action: &[f32], mean: &[f32], log_std: &[f32]) -> f32 {
    let one = |((a, m), s): ((&f32, &f32), &f32)| {
        let z = (a - m) * (-s).exp();
        -0.5 * z * z - s - HALF_LN_TAU
    };
    action.iter().zip(mean).zip(log_std).map(one).sum()
}

/// Entropy of independent normals, in nats.
pub fn gaussian_entropy(log_std: &[f32]) -> f32 {
    log_std.iter().map(|s| 0.5 + HALF_LN_TAU + s).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn log_softmax_sums_to_one_and_survives_large_logits() {
        let mut logits = [1000.0, 1001.0, 999.0];
        log_softmax(&mut logits);
        assert!((logits.iter().map(|l| l.exp()).sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(1, argmax(&logits));
    }

    #[test]
    fn actions_are_drawn_by_their_probability() {
        let log_probs = [0.5f32.ln(), 0.25f32.ln(), 0.25f32.ln()];
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0u32; 3];
        (0..8000).for_each(|_| counts[sample(&log_probs, &mut rng)] += 1);
        // A deviation of 5 standard errors: sqrt(8000 / 4) * 5 = 224.
        for (count, want) in counts.iter().zip([4000, 2000, 2000]) {
            assert!(count.abs_diff(want) < 224, "{counts:?}");
        }
    }

    #[test]
    fn densities_by_hand() {
        // mean 1, deviation 2: z = 0.5, ln p = -0.125 - 0.693147 - 0.918939 = -1.737086; H = 0.5 + 0.918939 + 0.693147 = 2.112086
        let log_std = [2f32.ln()];
        assert!((gaussian_log_prob(&[2.0], &[1.0], &log_std) + 1.737_086).abs() < 1e-5);
        assert!((gaussian_entropy(&log_std) - 2.112_086).abs() < 1e-5);
        // (1/2, 1/4, 1/4): 0.5 ln 2 + 2 * 0.25 ln 4 = 1.5 ln 2
        assert!((entropy(&[0.5f32.ln(), 0.25f32.ln(), 0.25f32.ln()]) - 1.5 * 2f32.ln()).abs() < 1e-6);
    }
}
