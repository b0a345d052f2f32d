//! The encoder once more, for a CPU: plain modules and the token mixer on one flat vector of parameters, forwards and backwards. See
//! [`grandmodel_embedders::plain`] for why.

use burn::tensor::backend::Backend;
use grandmodel_embedders::{
    EMBEDDING_DIM, EMBEDDING_DIMS,
    ops::kernels::{add, attention, room},
    plain::{
        Keep, OutputGradient, PlainStack, StackInputs, StackTape,
        layers::{Linear, Places, bytes},
    },
};

use super::{MarketEncoder, NUM_TOKENS, TOKEN_DIM, TOKEN_HEADS, TokenMixer};

/// Width of all tokens side by side.
const MIXED: usize = NUM_TOKENS * TOKEN_DIM;
/// Attention weights of one head over the tokens.
const SCORES: usize = NUM_TOKENS * NUM_TOKENS;

/// Tokens, attention over them, and the layers into the heads.
#[derive(Clone, Debug)]
pub struct PlainMixer {
    tokens: Vec<Linear>,
    attention_in: Linear,
    attention_out: Linear,
    detached: Option<Linear>,
    attached: Option<Linear>,
    num_parameters: usize,
}

/// What a forward pass keeps.
#[derive(Clone, Debug, Default)]
pub struct MixerTape {
    /// `[batch, dim]` embeddings by embedder.
    parts: [Vec<f32>; NUM_TOKENS],
    tokens: Vec<f32>,
    qkv: Vec<f32>,
    weights: Vec<f32>,
    attended: Vec<f32>,
    mixed: Vec<f32>,
    /// `[batch, ahead_width]`.
    ahead: Vec<f32>,
    scratch: Scratch,
}

#[derive(Clone, Debug, Default)]
struct Scratch {
    columns: Vec<f32>,
    token: Vec<f32>,
    d_mixed: Vec<f32>,
    d_attended: Vec<f32>,
    d_qkv: Vec<f32>,
    scores: Vec<f32>,
    d_parts: [Vec<f32>; NUM_TOKENS],
}

impl MixerTape {
    fn bytes(&self) -> u64 {
        let Self { parts, tokens, qkv, weights, attended, mixed, ahead, scratch } = self;
        let Scratch { columns, token, d_mixed, d_attended, d_qkv, scores, d_parts } = scratch;
        let single = [tokens, qkv, weights, attended, mixed, ahead, columns, token, d_mixed, d_attended, d_qkv, scores];
        bytes(single.into_iter().chain(parts).chain(d_parts))
    }
}

impl PlainMixer {
    /// The same network as Burn's.
    pub fn of<B: Backend>(mixer: &TokenMixer<B>) -> Self {
        let mut places = Places::default();
        let tokens = EMBEDDING_DIMS.iter().map(|dim| Linear::new(&mut places, *dim, TOKEN_DIM, true)).collect();
        let attention_in = Linear::new(&mut places, TOKEN_DIM, 3 * TOKEN_DIM, true);
        let attention_out = Linear::new(&mut places, TOKEN_DIM, TOKEN_DIM, true);
        let mut into_heads = |layer: &Option<burn::nn::Linear<B>>| {
            layer.as_ref().map(|layer| Linear::new(&mut places, MIXED, layer.weight.dims()[1], false))
        };
        let (detached, attached) = (into_heads(&mixer.detached), into_heads(&mixer.attached));
        Self { tokens, attention_in, attention_out, detached, attached, num_parameters: places.len }
    }

    /// Values in module order.
    pub fn num_parameters(&self) -> usize {
        self.num_parameters
    }

    /// Width of the parts ahead of all networks.
    pub fn ahead_width(&self) -> usize {
        self.layers_into_heads().map(|layer| layer.d_out).sum()
    }

    fn layers_into_heads(&self) -> impl Iterator<Item = &Linear> {
        self.detached.iter().chain(&self.attached)
    }

    /// The parts ahead of what acts, `[batch, width]`, of embeddings `[batch, 136]`: of the detached networks where there are any, else of all.
    pub fn acting_ahead(&self, parameters: &[f32], embeddings: &[f32], tape: &mut MixerTape) -> Vec<f32> {
        let batch = embeddings.len() / EMBEDDING_DIM;
        let mut column = 0;
        for (part, dim) in tape.parts.iter_mut().zip(EMBEDDING_DIMS) {
            part.clear();
            embeddings.chunks_exact(EMBEDDING_DIM).for_each(|row| part.extend_from_slice(&row[column..column + dim]));
            column += dim;
        }
        self.mix(parameters, batch, tape);
        let Some(layer) = self.detached.as_ref().or(self.attached.as_ref()) else { return Vec::new() };
        let mut ahead = vec![0.0; batch * layer.d_out];
        layer.forward(parameters, &tape.mixed[..batch * MIXED], &mut ahead);
        ahead
    }

    /// From the parts on the tape to mixed tokens.
    fn mix(&self, parameters: &[f32], batch: usize, tape: &mut MixerTape) {
        let MixerTape { parts, tokens, qkv, weights, attended, mixed, scratch, .. } = tape;
        let len = batch * MIXED;
        let (tokens, token) = (room(tokens, len), room(&mut scratch.token, batch * TOKEN_DIM));
        for (index, (layer, part)) in self.tokens.iter().zip(parts).enumerate() {
            layer.forward(parameters, &part[..batch * layer.d_in], token);
            for (to, from) in tokens.chunks_exact_mut(MIXED).zip(token.chunks_exact(TOKEN_DIM)) {
                to[index * TOKEN_DIM..][..TOKEN_DIM].copy_from_slice(from);
            }
        }
        let qkv = room(qkv, 3 * len);
        self.attention_in.forward(parameters, tokens, qkv);
        let attended = room(attended, len);
        attention::forward(sizes(batch), qkv, room(weights, batch * TOKEN_HEADS * SCORES), attended);
        let mixed = room(mixed, len);
        self.attention_out.forward(parameters, attended, mixed);
        add(mixed, tokens);
    }

    fn forward(&self, parameters: &[f32], batch: usize, tape: &mut MixerTape) {
        self.mix(parameters, batch, tape);
        let MixerTape { mixed, ahead, scratch, .. } = tape;
        let width = self.ahead_width();
        ahead.resize(batch * width, 0.0);
        let mut column = 0;
        for layer in self.layers_into_heads() {
            let part = room(&mut scratch.columns, batch * layer.d_out);
            layer.forward(parameters, &mixed[..batch * MIXED], part);
            for (to, from) in ahead.chunks_exact_mut(width).zip(part.chunks_exact(layer.d_out)) {
                to[column..column + layer.d_out].copy_from_slice(from);
            }
            column += layer.d_out;
        }
    }

    /// Adds the gradient; that of the embeddings is left in `scratch.d_parts`.
    fn backward(&self, parameters: &[f32], batch: usize, tape: &mut MixerTape, d_ahead: &[f32], gradient: &mut [f32]) {
        let MixerTape { parts, tokens, qkv, weights, attended, mixed, scratch, .. } = tape;
        let Scratch { columns, token, d_mixed, d_attended, d_qkv, scores, d_parts } = scratch;
        let (len, width) = (batch * MIXED, self.ahead_width());
        let (mixed, d_mixed) = (&mixed[..len], room(d_mixed, len));
        d_mixed.fill(0.0);
        let mut column = 0;
        for (layer, teaches) in self.detached.iter().map(|layer| (layer, false)).chain(self.attached.iter().map(|layer| (layer, true))) {
            let part = room(columns, batch * layer.d_out);
            for (to, from) in part.chunks_exact_mut(layer.d_out).zip(d_ahead.chunks_exact(width)) {
                to.copy_from_slice(&from[column..column + layer.d_out]);
            }
            column += layer.d_out;
            layer.backward(mixed, part, gradient);
            if teaches {
                layer.backward_input(parameters, part, d_mixed, true);
            }
        }
        self.attention_out.backward(&attended[..len], d_mixed, gradient);
        let d_attended = room(d_attended, len);
        self.attention_out.backward_input(parameters, d_mixed, d_attended, false);
        let d_qkv = room(d_qkv, 3 * len);
        attention::backward(sizes(batch), qkv, weights, d_attended, room(scores, SCORES), d_qkv);
        self.attention_in.backward(&tokens[..len], d_qkv, gradient);
        self.attention_in.backward_input(parameters, d_qkv, d_mixed, true);
        let token = room(token, batch * TOKEN_DIM);
        for (index, ((layer, part), d_part)) in self.tokens.iter().zip(parts).zip(d_parts).enumerate() {
            for (to, from) in token.chunks_exact_mut(TOKEN_DIM).zip(d_mixed.chunks_exact(MIXED)) {
                to.copy_from_slice(&from[index * TOKEN_DIM..][..TOKEN_DIM]);
            }
            layer.backward(&part[..batch * layer.d_in], token, gradient);
            d_part.resize(batch * layer.d_in, 0.0);
            layer.backward_input(parameters, token, d_part, false);
        }
    }
}

fn sizes(batch: usize) -> attention::Sizes {
    attention::Sizes { batch, time: NUM_TOKENS, d: TOKEN_DIM, num_heads: TOKEN_HEADS }
}

/// Everything before the heads, on flat parameters: the embedders' first, then the mixer's.
#[derive(Clone, Debug)]
pub struct PlainEncoder {
    stack: PlainStack,
    mixer: PlainMixer,
}

/// What a forward pass keeps.
#[derive(Clone, Debug, Default)]
pub struct EncoderTape {
    stack: StackTape,
    mixer: MixerTape,
    batch: usize,
}

impl EncoderTape {
    /// `[batch, ahead_width]`: the parts ahead of all networks, detached ones first.
    pub fn ahead(&self) -> &[f32] {
        &self.mixer.ahead
    }
}

impl PlainEncoder {
    /// The same network as Burn's.
    pub fn of<B: Backend>(encoder: &MarketEncoder<B>) -> Self {
        Self { stack: PlainStack::of(&encoder.embedders), mixer: PlainMixer::of(&encoder.mixer) }
    }

    /// Values in module order.
    pub fn num_parameters(&self) -> usize {
        self.stack.num_parameters() + self.mixer.num_parameters()
    }

    /// Windows of `batch` samples to the parts ahead, [`EncoderTape::ahead`].
    pub fn forward(&self, parameters: &[f32], batch: usize, inputs: &StackInputs<'_>, keep: Keep, tape: &mut EncoderTape) {
        let (of_stack, of_mixer) = parameters.split_at(self.stack.num_parameters());
        self.stack.forward(of_stack, inputs, keep, &mut tape.stack);
        for (part, output) in tape.mixer.parts.iter_mut().zip(self.stack.outputs(&tape.stack)) {
            room(part, output.mean.len()).copy_from_slice(&output.mean);
        }
        self.mixer.forward(of_mixer, batch, &mut tape.mixer);
        tape.batch = batch;
    }

    /// Bytes that a tape holds.
    pub fn bytes(&self, tape: &EncoderTape) -> u64 {
        self.stack.bytes(&tape.stack) + tape.mixer.bytes()
    }

    /// `[batch, 4]` auxiliary heads of the four embedders.
    pub fn aux<'a>(&self, tape: &'a EncoderTape) -> [&'a [f32]; NUM_TOKENS] {
        self.stack.outputs(&tape.stack).map(|output| &output.aux[..])
    }

    /// Adds the gradient of the last forward pass, from those of the parts ahead and, where they are taught, of the auxiliary heads.
    pub fn backward(
        &self,
        parameters: &[f32],
        tape: &mut EncoderTape,
        d_ahead: &[f32],
        d_aux: Option<&[Vec<f32>; NUM_TOKENS]>,
        gradient: &mut [f32],
    ) {
        let of_stack = self.stack.num_parameters();
        let (stack, mixer) = gradient.split_at_mut(of_stack);
        self.mixer.backward(&parameters[of_stack..], tape.batch, &mut tape.mixer, d_ahead, mixer);
        let d_parts = &tape.mixer.scratch.d_parts;
        let outputs = [0, 1, 2, 3].map(|i: usize| OutputGradient { mean: &d_parts[i], aux: d_aux.map(|d| &d[i][..]) });
        self.stack.backward(&parameters[..of_stack], &mut tape.stack, &outputs, stack);
    }
}
