//! The per-step part of the policy, in plain Rust: the market part of the first trunk layer and an account vector in, logits and a
//! value out. It holds a copy of a few matrices at one policy version; it is not a Burn module and it does not learn.
//!
//! The market part `W_e h + b` is computed ahead in large batches ([`crate::policy::PolicyNet::market_part`]), so that a step of a
//! rollout, of a backtest or of a running agent costs two small matrix-vector products.

/// Weights of the trunk and of both heads; matrices are row-major `[in, out]`, as Burn stores them.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    hidden: usize,
    input_width: usize,
    num_actions: usize,
    account: Vec<f32>,
    trunk: Vec<f32>,
    trunk_bias: Vec<f32>,
    policy: Vec<f32>,
    policy_bias: Vec<f32>,
    value: Vec<f32>,
    value_bias: f32,
}

/// The matrices of a [`Head`], by name.
#[derive(Clone, Debug, Default)]
pub struct HeadWeights {
    /// `[input_width, hidden]`, no bias: the bias travels in the market part.
    pub account: Vec<f32>,
    /// `[hidden, hidden]`.
    pub trunk: Vec<f32>,
    /// `[hidden]`.
    pub trunk_bias: Vec<f32>,
    /// `[hidden, num_actions]`.
    pub policy: Vec<f32>,
    /// `[num_actions]`.
    pub policy_bias: Vec<f32>,
    /// `[hidden, 1]`.
    pub value: Vec<f32>,
    /// One number.
    pub value_bias: f32,
}

/// Room for the two hidden layers of one step, kept by the caller so that a step allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct HeadScratch {
    first: Vec<f32>,
    second: Vec<f32>,
}

/// Multiplicative masks over the two hidden layers for one pass of MC dropout: 0 or `1 / (1 - p)`.
#[derive(Clone, Debug, Default)]
pub struct DropoutMask {
    /// `[hidden]`, after the first layer.
    pub first: Vec<f32>,
    /// `[hidden]`, after the second layer.
    pub second: Vec<f32>,
}

impl Head {
    /// A head from its matrices; `hidden`, `input_width` and `num_actions` follow from the lengths.
    ///
    /// # Panics
    /// `Invariant:` when the lengths do not belong together; they come from one module.
    pub fn new(weights: HeadWeights) -> Self {
        let hidden = weights.trunk_bias.len();
        let num_actions = weights.policy_bias.len();
        assert!(hidden > 0 && num_actions > 1, "Invariant: a head has hidden units and at least two actions");
        let input_width = weights.account.len() / hidden;
        assert_eq!(weights.account.len(), input_width * hidden, "Invariant: account weights are [input_width, hidden]");
        assert_eq!(weights.trunk.len(), hidden * hidden, "Invariant: trunk weights are [hidden, hidden]");
        assert_eq!(weights.policy.len(), hidden * num_actions, "Invariant: policy weights are [hidden, num_actions]");
        assert_eq!(weights.value.len(), hidden, "Invariant: value weights are [hidden]");
        let HeadWeights { account, trunk, trunk_bias, policy, policy_bias, value, value_bias } = weights;
        Self { hidden, input_width, num_actions, account, trunk, trunk_bias, policy, policy_bias, value, value_bias }
    }

    /// Number of actions, the length of `logits`.
    pub fn num_actions(&self) -> usize {
        self.num_actions
    }

    /// Width of the account vector, context columns included.
    pub fn input_width(&self) -> usize {
        self.input_width
    }

    /// Width of the market part and of both hidden layers.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Logits into `logits`; returns the value: `x1 = tanh(market + W_a account)`, `x2 = tanh(W_2 x1 + b_2)`, heads linear in `x2`.
    ///
    /// # Shapes
    /// `market [hidden]`, `account [input_width]`, `logits [num_actions]`.
    pub fn forward(&self, market: &[f32], account: &[f32], scratch: &mut HeadScratch, logits: &mut [f32]) -> f32 {
        self.pass(market, account, None, scratch, logits)
    }

    /// As [`Head::forward`] with units of both hidden layers left out: one pass of MC dropout.
    pub fn forward_masked(
        &self,
        market: &[f32],
        account: &[f32],
        mask: &DropoutMask,
        scratch: &mut HeadScratch,
        logits: &mut [f32],
    ) -> f32 {
        self.pass(market, account, Some(mask), scratch, logits)
    }

    fn pass(&self, market: &[f32], account: &[f32], mask: Option<&DropoutMask>, scratch: &mut HeadScratch, logits: &mut [f32]) -> f32 {
        assert_eq!(market.len(), self.hidden, "Invariant: the market part is as wide as the trunk");
        assert_eq!(account.len(), self.input_width, "Invariant: the account vector is as wide as the head's input");
        scratch.first.clear();
        scratch.first.extend_from_slice(market);
        add_product(&mut scratch.first, account, &self.account);
        scratch.first.iter_mut().for_each(|x| *x = x.tanh());
        if let Some(mask) = mask {
            scratch.first.iter_mut().zip(&mask.first).for_each(|(x, m)| *x *= m);
        }
        scratch.second.clear();
        scratch.second.extend_from_slice(&self.trunk_bias);
        add_product(&mut scratch.second, &scratch.first, &self.trunk);
        scratch.second.iter_mut().for_each(|x| *x = x.tanh());
        if let Some(mask) = mask {
            scratch.second.iter_mut().zip(&mask.second).for_each(|(x, m)| *x *= m);
        }
        logits.copy_from_slice(&self.policy_bias);
        add_product(logits, &scratch.second, &self.policy);
        self.value_bias + scratch.second.iter().zip(&self.value).map(|(x, w)| x * w).sum::<f32>()
    }
}

/// `out += x W` with `W` row-major `[x.len(), out.len()]`; the inner loop runs over `out`, so it vectorises without reordering a sum.
fn add_product(out: &mut [f32], x: &[f32], weights: &[f32]) {
    for (x, row) in x.iter().zip(weights.chunks_exact(out.len())) {
        for (out, w) in out.iter_mut().zip(row) {
            *out += x * w;
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Head {
        Head::new(HeadWeights {
            account: vec![1.0, -1.0],
            trunk: vec![1.0, 0.0, 0.0, 2.0],
            trunk_bias: vec![0.0, 0.5],
            policy: vec![1.0, 0.0, -1.0, 0.0, 1.0, 0.0],
            policy_bias: vec![0.0, 0.0, 0.25],
            value: vec![1.0, 1.0],
            value_bias: -0.5,
        })
    }

    #[test]
    fn forward_follows_the_formula() {
        // x1 = tanh([0.5 + 2, 0 - 2]) = [0.986614, -0.964028]; x2 = tanh([0.986614, 2 * -0.964028 + 0.5]) = [0.755915, -0.891267]
        let (mut logits, mut scratch) = ([0.0; 3], HeadScratch::default());
        let value = small().forward(&[0.5, 0.0], &[2.0], &mut scratch, &mut logits);
        for (got, want) in logits.iter().zip([0.755_915, -0.891_267, 0.25 - 0.755_915]) {
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
        assert!((value - (0.755_915 - 0.891_267 - 0.5)).abs() < 1e-5, "{value}");
    }

    #[test]
    fn a_mask_of_ones_changes_nothing_and_a_mask_of_zeros_leaves_the_biases() {
        let (mut plain, mut masked, mut scratch) = ([0.0; 3], [0.0; 3], HeadScratch::default());
        let head = small();
        let value = head.forward(&[0.1, 0.2], &[-1.0], &mut scratch, &mut plain);
        let ones = DropoutMask { first: vec![1.0; 2], second: vec![1.0; 2] };
        assert_eq!(value, head.forward_masked(&[0.1, 0.2], &[-1.0], &ones, &mut scratch, &mut masked));
        assert_eq!(plain, masked);
        let zeros = DropoutMask { first: vec![0.0; 2], second: vec![0.0; 2] };
        assert_eq!(-0.5, head.forward_masked(&[0.1, 0.2], &[-1.0], &zeros, &mut scratch, &mut masked));
        assert_eq!([0.0, 0.0, 0.25], masked);
    }

    #[test]
    fn log_softmax_sums_to_one_and_survives_large_logits() {
        let mut logits = [1000.0, 1001.0, 999.0];
        log_softmax(&mut logits);
        assert!((logits.iter().map(|l| l.exp()).sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(1, argmax(&logits));
    }
}
