//! The policy and value network (spec 2.2) as a Burn module: embeddings and an account vector in, logits and values out.
//!
//! Attention over four tokens (one an embedder), then a trunk whose first layer is `W_e h + W_a account`, so that the market part is
//! computed ahead in large batches and only the account enters per step ([`crate::head::Head`]). No dropout here: consensus applies
//! masks of its own.

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Tensor, backend::Backend},
};
use grandmodel_embedders::{EMBEDDING_DIMS, EmbedderStack, Preset, init, ops, ops::Ops};
use rand_chacha::ChaCha8Rng;

use crate::head::{Head, HeadWeights};

/// Width of a token.
pub const TOKEN_DIM: usize = 64;
/// Attention heads over the four tokens.
pub const TOKEN_HEADS: usize = 4;
const NUM_TOKENS: usize = EMBEDDING_DIMS.len();
/// A fresh policy is nearly uniform, so that it explores every target at first (spec 2.2).
const POLICY_GAIN: f32 = 0.01;

/// Policy and value over the concatenated embeddings and the account.
#[derive(Module, Debug)]
pub struct PolicyNet<B: Backend> {
    tokens: Vec<Linear<B>>,
    attention_in: Linear<B>,
    attention_out: Linear<B>,
    market: Linear<B>,
    account: Linear<B>,
    trunk: Linear<B>,
    policy: Linear<B>,
    value: Linear<B>,
}

/// Width of the trunk of a preset.
pub fn trunk_width(preset: Preset) -> usize {
    match preset {
        Preset::Tiny => 64,
        Preset::Small => 128,
        Preset::Full => 256,
    }
}

impl<B: Ops> PolicyNet<B> {
    /// A network with orthogonal weights from the given stream.
    pub fn new(preset: Preset, input_width: usize, num_actions: usize, rng: &mut ChaCha8Rng, device: &B::Device) -> Self {
        let hidden = trunk_width(preset);
        let gain = std::f32::consts::SQRT_2;
        let mut linear = |d_in, d_out, gain, bias| init::orthogonal_linear::<B>(d_in, d_out, gain, bias, rng, device);
        Self {
            tokens: EMBEDDING_DIMS.iter().map(|dim| linear(*dim, TOKEN_DIM, 1.0, true)).collect(),
            attention_in: linear(TOKEN_DIM, 3 * TOKEN_DIM, 1.0, true),
            attention_out: linear(TOKEN_DIM, TOKEN_DIM, 1.0, true),
            market: linear(NUM_TOKENS * TOKEN_DIM, hidden, 1.0, true),
            account: linear(input_width, hidden, 1.0, false),
            trunk: linear(hidden, hidden, gain, true),
            policy: linear(hidden, num_actions, POLICY_GAIN, true),
            value: linear(hidden, 1, 1.0, true),
        }
    }

    /// The market's share of the first trunk layer, `W_e h + b`.
    ///
    /// # Shapes
    /// `embedding [batch, 136]` to `[batch, hidden]`.
    pub fn market_part(&self, embedding: Tensor<B, 2>) -> Tensor<B, 2> {
        let batch = embedding.dims()[0];
        let parts = embedding.split_with_sizes(EMBEDDING_DIMS.to_vec(), 1);
        let tokens: Vec<_> =
            self.tokens.iter().zip(parts).map(|(linear, part)| linear.forward(part).reshape([batch, 1, TOKEN_DIM])).collect();
        let tokens = Tensor::cat(tokens, 1);
        let attended = ops::attention(self.attention_in.forward(tokens.clone()), TOKEN_HEADS);
        let tokens = tokens + self.attention_out.forward(attended);
        self.market.forward(tokens.reshape([batch, NUM_TOKENS * TOKEN_DIM]))
    }

    /// Logits `[batch, num_actions]` and values `[batch, 1]` from embeddings `[batch, 136]` and account vectors `[batch, input_width]`.
    pub fn forward(&self, embedding: Tensor<B, 2>, account: Tensor<B, 2>) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let x = (self.market_part(embedding) + self.account.forward(account)).tanh();
        let x = self.trunk.forward(x).tanh();
        (self.policy.forward(x.clone()), self.value.forward(x))
    }

    /// The per-step part as plain arrays.
    pub fn head(&self) -> Head {
        let bias = |linear: &Linear<B>| linear.bias.as_ref().map(|b| to_vec(b.val())).unwrap_or_default();
        Head::new(HeadWeights {
            account: to_vec(self.account.weight.val()),
            trunk: to_vec(self.trunk.weight.val()),
            trunk_bias: bias(&self.trunk),
            policy: to_vec(self.policy.weight.val()),
            policy_bias: bias(&self.policy),
            value: to_vec(self.value.weight.val()),
            value_bias: bias(&self.value)[0],
        })
    }
}

fn to_vec<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().into_vec().expect("Invariant: converted to f32")
}

/// Everything that learns: four embedders and the policy.
#[derive(Module, Debug)]
pub struct AgentNet<B: Backend> {
    /// The four embedders.
    pub embedders: EmbedderStack<B>,
    /// Policy and value.
    pub policy: PolicyNet<B>,
}

impl<B: Ops> AgentNet<B> {
    /// A freshly initialised network; the same preset, widths and stream give the same weights.
    pub fn new(preset: Preset, input_width: usize, num_actions: usize, rng: &mut ChaCha8Rng, device: &B::Device) -> Self {
        let embedders = EmbedderStack::new(preset, rng, device);
        Self { embedders, policy: PolicyNet::new(preset, input_width, num_actions, rng, device) }
    }
}
