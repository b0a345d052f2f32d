//! The structure embedder on flat parameters.

use std::ops::Range;

use grandmodel_market::features::{STRUCTURE_FEATURES, STRUCTURE_WINDOW};

use super::{
    Keep, Plain,
    layers::{Linear, Norm, NormTape, OutputGradient, Places, Readout, ReadoutTape, Rounding, bytes, zeros},
};
use crate::{
    config::StructureWidths,
    kind::EmbedderKind,
    ops::kernels::{add, attention, gelu, multiply, pooling, room},
    structure::position,
};

/// Linear layer, positions, pre-norm transformer blocks, attention pooling, readout.
#[derive(Clone, Debug)]
pub struct Structure {
    input: Linear,
    blocks: Vec<Block>,
    norm: Norm,
    query: Range<usize>,
    readout: Readout,
    /// `[48, d]`.
    positions: Vec<f32>,
    num_parameters: usize,
}

#[derive(Clone, Debug)]
struct Block {
    norm1: Norm,
    in_proj: Linear,
    out_proj: Linear,
    norm2: Norm,
    linear1: Linear,
    linear2: Linear,
    num_heads: usize,
}

/// What a forward pass keeps.
#[derive(Clone, Debug, Default)]
pub struct StructureTape {
    input: Vec<f32>,
    tokens: Vec<f32>,
    keep: Keep,
    /// Of one segment.
    blocks: Vec<BlockTape>,
    /// Inputs of the segments but the last.
    boundaries: Vec<Vec<f32>>,
    norm: NormTape,
    pooled_from: Vec<f32>,
    shares: Vec<f32>,
    readout: ReadoutTape,
    scratch: Scratch,
}

#[derive(Clone, Debug, Default)]
struct BlockTape {
    /// The block's input, where `cheap` is not kept.
    x: Vec<f32>,
    qkv: Vec<f32>,
    widened: Vec<f32>,
    cheap: Cheap,
}

/// What can be had again from the rest for few operations.
#[derive(Clone, Debug, Default)]
struct Cheap {
    norm1: NormTape,
    weights: Vec<f32>,
    mixed: Vec<f32>,
    norm2: NormTape,
}

/// Room that every block uses in turn.
#[derive(Clone, Debug, Default)]
struct Scratch {
    normed: Vec<f32>,
    wide: Vec<f32>,
    scores: Vec<f32>,
    d_tokens: Vec<f32>,
    d_pooled: Vec<f32>,
    /// Of whichever block is at work, where blocks do not keep their own.
    cheap: Cheap,
}

impl Cheap {
    fn bytes(&self) -> u64 {
        bytes([&self.weights, &self.mixed]) + self.norm1.bytes() + self.norm2.bytes()
    }
}

impl Structure {
    /// Of given widths.
    pub fn new(widths: StructureWidths) -> Self {
        let StructureWidths { d_model: d, num_heads, d_feed_forward, num_blocks } = widths;
        let mut places = Places::default();
        let input = Linear::new(&mut places, STRUCTURE_FEATURES, d, true);
        let blocks = (0..num_blocks).map(|_| Block::new(&mut places, d, num_heads, d_feed_forward)).collect();
        let norm = Norm::new(&mut places, d);
        let query = places.take(d);
        let readout = Readout::new(&mut places, d, EmbedderKind::Structure.dim());
        let positions = (0..STRUCTURE_WINDOW * d).map(|index| position(index / d, index % d, d)).collect();
        Self { input, blocks, norm, query, readout, positions, num_parameters: places.len }
    }

    fn pooling(&self, batch: usize) -> pooling::Sizes {
        pooling::Sizes::sample_major(batch, STRUCTURE_WINDOW, self.input.d_out)
    }
}

impl Plain for Structure {
    type Tape = StructureTape;
    const KIND: EmbedderKind = EmbedderKind::Structure;

    fn num_parameters(&self) -> usize {
        self.num_parameters
    }

    fn round(&mut self, parameters: &[f32]) -> (Vec<f32>, u64) {
        let mut to = Rounding::new(parameters);
        self.input.round(&mut to);
        for Block { norm1, in_proj, out_proj, norm2, linear1, linear2, .. } in &mut self.blocks {
            norm1.round(&mut to);
            in_proj.round(&mut to);
            out_proj.round(&mut to);
            norm2.round(&mut to);
            linear1.round(&mut to);
            linear2.round(&mut to);
        }
        self.norm.round(&mut to);
        to.keep(&mut self.query);
        self.readout.round(&mut to);
        (to.kept, to.bytes)
    }

    fn forward(&self, parameters: &[f32], inputs: &[f32], keep: Keep, tape: &mut StructureTape) {
        let batch = inputs.len() / Self::KIND.input_len();
        let len = batch * STRUCTURE_WINDOW * self.input.d_out;
        let StructureTape { input, tokens, keep: kept, blocks, boundaries, norm, pooled_from, shares, readout, scratch } = tape;
        *kept = keep;
        room(input, inputs.len()).copy_from_slice(inputs);
        let tokens = room(tokens, len);
        self.input.forward(parameters, inputs, tokens);
        tokens.chunks_exact_mut(self.positions.len()).for_each(|window| add(window, &self.positions));
        let segment_len = keep.segment_len(self.blocks.len());
        let num_segments = self.blocks.len().div_ceil(segment_len);
        blocks.resize_with(segment_len, BlockTape::default);
        boundaries.resize_with(if keep == Keep::Outputs { 0 } else { num_segments - 1 }, Vec::new);
        for (index, segment) in self.blocks.chunks(segment_len).enumerate() {
            if let Some(boundary) = boundaries.get_mut(index) {
                room(boundary, len).copy_from_slice(tokens);
            }
            for (block, tape) in segment.iter().zip(&mut *blocks) {
                block.forward(parameters, tokens, keep == Keep::Selected, tape, scratch);
            }
        }
        let pooled_from = room(pooled_from, len);
        self.norm.forward(parameters, tokens, norm, pooled_from);
        let shares = room(shares, batch * STRUCTURE_WINDOW);
        let features = self.readout.features(readout, batch);
        pooling::forward(self.pooling(batch), &[STRUCTURE_WINDOW], pooled_from, &parameters[self.query.clone()], shares, features);
        self.readout.forward(parameters, readout, batch);
    }

    fn outputs<'a>(&self, tape: &'a StructureTape) -> &'a ReadoutTape {
        &tape.readout
    }

    fn bytes(&self, tape: &StructureTape) -> u64 {
        let StructureTape { input, tokens, blocks, boundaries, norm, pooled_from, shares, readout, scratch, .. } = tape;
        let Scratch { normed, wide, scores, d_tokens, d_pooled, cheap } = scratch;
        let of_blocks: u64 = blocks.iter().map(|block| bytes([&block.x, &block.qkv, &block.widened]) + block.cheap.bytes()).sum();
        bytes([input, tokens, pooled_from, shares, normed, wide, scores, d_tokens, d_pooled].into_iter().chain(boundaries))
            + of_blocks
            + cheap.bytes()
            + norm.bytes()
            + readout.bytes()
    }

    fn backward(&self, parameters: &[f32], tape: &mut StructureTape, outputs: &OutputGradient<'_>, gradient: &mut [f32]) {
        let batch = outputs.mean.len() / Self::KIND.dim();
        let d = self.input.d_out;
        let StructureTape { input, tokens, keep, blocks, boundaries, norm, pooled_from, shares, readout, scratch } = tape;
        assert!(*keep != Keep::Outputs, "Invariant: a backward pass follows a forward pass that kept what it needs");
        let mut d_tokens = std::mem::take(&mut scratch.d_tokens);
        let d_pooled = room(&mut scratch.d_pooled, batch * d);
        self.readout.backward(parameters, readout, outputs, d_pooled, gradient);
        let d = zeros(&mut d_tokens, batch * STRUCTURE_WINDOW * d);
        let (sizes, query) = (self.pooling(batch), &parameters[self.query.clone()]);
        pooling::backward(sizes, &[STRUCTURE_WINDOW], pooled_from, query, shares, d_pooled, d, &mut gradient[self.query.clone()]);
        self.norm.backward(parameters, norm, d, gradient);
        let selected = *keep == Keep::Selected;
        for (index, segment) in self.blocks.chunks(keep.segment_len(self.blocks.len())).enumerate().rev() {
            if let Some(boundary) = boundaries.get(index) {
                let tokens = room(tokens, d.len());
                tokens.copy_from_slice(&boundary[..d.len()]);
                for (block, tape) in segment.iter().zip(&mut *blocks) {
                    block.forward(parameters, tokens, false, tape, scratch);
                }
            }
            for (block, tape) in segment.iter().zip(&mut *blocks).rev() {
                block.backward(parameters, tape, selected, scratch, d, gradient);
            }
        }
        self.input.backward(&input[..batch * Self::KIND.input_len()], d, gradient);
        scratch.d_tokens = d_tokens;
    }
}

impl Block {
    fn new(places: &mut Places, d: usize, num_heads: usize, d_feed_forward: usize) -> Self {
        Self {
            norm1: Norm::new(places, d),
            in_proj: Linear::new(places, d, 3 * d, true),
            out_proj: Linear::new(places, d, d, true),
            norm2: Norm::new(places, d),
            linear1: Linear::new(places, d, d_feed_forward, true),
            linear2: Linear::new(places, d_feed_forward, d, true),
            num_heads,
        }
    }

    fn attention(&self, rows: usize) -> attention::Sizes {
        attention::Sizes { batch: rows / STRUCTURE_WINDOW, time: STRUCTURE_WINDOW, d: self.out_proj.d_in, num_heads: self.num_heads }
    }

    /// `x` becomes the next block's input. Where `selected`, the input is kept and what is cheap lies in the scratch.
    fn forward(&self, parameters: &[f32], x: &mut [f32], selected: bool, tape: &mut BlockTape, scratch: &mut Scratch) {
        let rows = x.len() / self.out_proj.d_in;
        let (cheap, normed) = (if selected { &mut scratch.cheap } else { &mut tape.cheap }, room(&mut scratch.normed, x.len()));
        if selected {
            room(&mut tape.x, x.len()).copy_from_slice(x);
        }
        self.norm1.forward(parameters, x, &mut cheap.norm1, normed);
        let qkv = room(&mut tape.qkv, 3 * x.len());
        self.in_proj.forward(parameters, normed, qkv);
        self.attend(parameters, x, qkv, cheap, normed);
        self.norm2.output(parameters, &cheap.norm2, normed);
        let widened = room(&mut tape.widened, rows * self.linear1.d_out);
        self.linear1.forward(parameters, normed, widened);
        let wide = room(&mut scratch.wide, widened.len());
        wide.copy_from_slice(widened);
        gelu::forward(wide);
        self.linear2.forward(parameters, wide, normed);
        add(x, normed);
    }

    /// From queries, keys and values to the first half of the second normalisation; `x` gets what was attended to.
    fn attend(&self, parameters: &[f32], x: &mut [f32], qkv: &[f32], cheap: &mut Cheap, attended: &mut [f32]) {
        let rows = x.len() / self.out_proj.d_in;
        let weights = room(&mut cheap.weights, rows * STRUCTURE_WINDOW * self.num_heads);
        let mixed = room(&mut cheap.mixed, x.len());
        attention::forward(self.attention(rows), qkv, weights, mixed);
        self.out_proj.forward(parameters, mixed, attended);
        add(x, attended);
        self.norm2.normalise(x, &mut cheap.norm2);
    }

    /// `d`, the gradient of the output, becomes that of the input.
    fn backward(
        &self,
        parameters: &[f32],
        tape: &mut BlockTape,
        selected: bool,
        scratch: &mut Scratch,
        d: &mut [f32],
        gradient: &mut [f32],
    ) {
        let len = d.len();
        let rows = len / self.out_proj.d_in;
        let wide_len = rows * self.linear1.d_out;
        let Scratch { normed, wide, scores, cheap, .. } = scratch;
        let normed = room(normed, len);
        if selected {
            // The input is not needed again after this: it becomes what the second normalisation saw.
            let x = &mut tape.x[..len];
            self.norm1.normalise(x, &mut cheap.norm1);
            self.attend(parameters, x, &tape.qkv[..3 * len], cheap, normed);
        }
        let Cheap { norm1, weights, mixed, norm2 } = if selected { &*cheap } else { &tape.cheap };
        let widened = &mut tape.widened[..wide_len];
        let wide = room(wide, wide_len.max(3 * len));
        gelu::forward_and_slope(widened, &mut wide[..wide_len]);
        self.linear2.backward(&wide[..wide_len], d, gradient);
        // From here on the same room holds gradients.
        let d_wide = &mut wide[..wide_len];
        self.linear2.backward_input(parameters, d, d_wide, false);
        multiply(d_wide, widened);
        self.norm2.output(parameters, norm2, normed);
        self.linear1.backward(normed, d_wide, gradient);
        self.linear1.backward_input(parameters, d_wide, normed, false);
        self.norm2.backward(parameters, norm2, normed, gradient);
        add(d, normed);

        self.out_proj.backward(&mixed[..len], d, gradient);
        self.out_proj.backward_input(parameters, d, normed, false);
        let d_qkv = &mut wide[..3 * len];
        let scores = room(scores, STRUCTURE_WINDOW * STRUCTURE_WINDOW);
        attention::backward(self.attention(rows), &tape.qkv, weights, normed, scores, d_qkv);
        self.norm1.output(parameters, norm1, normed);
        self.in_proj.backward(normed, d_qkv, gradient);
        self.in_proj.backward_input(parameters, d_qkv, normed, false);
        self.norm1.backward(parameters, norm1, normed, gradient);
        add(d, normed);
    }
}
