//! The quantile Huber loss of one sample as a pure function.

use grandmodel_embedders::simd_fn;

/// Midpoints `(i + 1/2) / n` that the quantiles stand for.
pub fn taus(num_quantiles: usize) -> Vec<f32> {
    (0..num_quantiles).map(|i| (i as f32 + 0.5) / num_quantiles as f32).collect()
}

/// `sum_i mean_j |tau_i - 1{u_ij < 0}| huber(u_ij)` with `u_ij = target_j - current_i`, times `scale`; its gradient by `current` into
/// `d`. `losses` is room.
///
/// A single quantile is the median, whose weight is 1/2 on both sides; there the weight is left out, so that the loss is DQN's own.
///
/// # Source
/// Dabney et al. 2018, equation 10 with kappa 1.
pub fn quantile_huber(current: &[f32], target: &[f32], taus: &[f32], scale: f32, d: &mut [f32], losses: &mut Vec<f32>) -> f64 {
    let scale = scale * if current.len() == 1 { 2.0 } else { 1.0 } / target.len() as f32;
    losses.clear();
    losses.resize(current.len(), 0.0);
    d.fill(0.0);
    add_pairs(d, losses, current, target, taus);
    d.iter_mut().for_each(|d| *d *= scale);
    losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() * f64::from(scale)
}

simd_fn! {
    /// All pairs; the inner loop runs over quantiles of their own, so no sum is reordered. `huber(u) = c (u - c / 2)` with `c = clamp(u, -1, 1)`, and
    /// `c` is its derivative.
    pub fn add_pairs(d: &mut [f32], losses: &mut [f32], current: &[f32], target: &[f32], taus: &[f32]) {
        for target in target {
            for ((d, loss), (current, tau)) in d.iter_mut().zip(losses.iter_mut()).zip(current.iter().zip(taus)) {
                let u = target - current;
                let clamped = u.clamp(-1.0, 1.0);
                let weighted = clamped * if u < 0.0 { 1.0 - tau } else { *tau };
                *d -= weighted;
                *loss += weighted * (u - 0.5 * clamped);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_quantiles_by_hand() {
        // taus [0.25, 0.75]; u of quantile 0 (value 0): 0.5, 3 -> 0.25 * 0.125 + 0.25 * 2.5 = 0.65625, gradient -(0.25 * 0.5 + 0.25 * 1) = -0.375;
        // of quantile 1 (value 1): -0.5, 2 -> 0.25 * 0.125 + 0.75 * 1.5 = 1.15625, gradient -(0.25 * -0.5 + 0.75 * 1) = -0.625; means over 2 targets.
        let (mut d, mut room) = ([9.0; 2], Vec::new());
        let loss = quantile_huber(&[0.0, 1.0], &[0.5, 3.0], &taus(2), 1.0, &mut d, &mut room);
        assert_eq!((0.5 * (0.65625 + 1.15625), [-0.1875, -0.3125]), (loss, d));
        // Half the importance, half the gradient.
        quantile_huber(&[0.0, 1.0], &[0.5, 3.0], &taus(2), 0.5, &mut d, &mut room);
        assert_eq!([-0.09375, -0.15625], d);
    }

    #[test]
    fn one_quantile_is_the_huber_loss() {
        let (mut d, mut room) = ([0.0], Vec::new());
        assert_eq!(0.125, quantile_huber(&[1.0], &[1.5], &taus(1), 1.0, &mut d, &mut room));
        assert_eq!([-0.5], d);
        assert_eq!(2.5, quantile_huber(&[1.0], &[-2.0], &taus(1), 1.0, &mut d, &mut room));
        assert_eq!([1.0], d);
    }

    #[test]
    fn its_minimum_is_at_the_quantiles() {
        // 100 targets spread evenly over [0, 100): the loss of 4 quantiles pulls them to 12.5, 37.5, 62.5, 87.5.
        let targets: Vec<f32> = (0..100).map(|i| i as f32 + 0.5).collect();
        let (mut current, mut d, mut room) = ([50.0f32; 4], [0.0; 4], Vec::new());
        for _ in 0..2000 {
            quantile_huber(&current, &targets, &taus(4), 1.0, &mut d, &mut room);
            current.iter_mut().zip(&d).for_each(|(q, d)| *q -= d);
        }
        for (found, expected) in current.iter().zip([12.5, 37.5, 62.5, 87.5]) {
            assert!((found - expected).abs() < 0.6, "{current:?}");
        }
    }
}
