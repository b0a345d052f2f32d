//! The market encoder in training: rows in, parts ahead out; the gradient of the parts ahead in, that of the encoder's parameters out. The loss between the
//! two is plain Rust on the parts ahead and belongs to the algorithms. On a CPU the encoder is plain Rust as well; elsewhere Burn's tape is met here and
//! nowhere else above the embedders.

use std::sync::Arc;

use burn::{optim::GradientsParams, tensor::Tensor};
use grandmodel_agents::encoder::{
    MarketEncoder,
    plain::{EncoderTape, PlainEncoder},
};
use grandmodel_embedders::{
    EmbedderKind, StackEmbedding,
    device::{self, Device, Infer, Train},
    embedding::gaussian_nll_backward,
    gaussian_nll, parameters,
    plain::{Keep, Pool, StackInputs, layers::bytes},
};
use grandmodel_market::TableSpan;
use rayon::prelude::*;

use crate::{
    TrainerError,
    adam::SHARD,
    labels::SpanLabels,
    windows::{Windows, floats},
};

/// An encoder with the market it looks at.
#[derive(Clone)]
pub struct EncoderLearner {
    /// On a CPU the shapes only; elsewhere the weights. Boxed: its many handles are some 30 KB, and a learner is moved through several futures.
    net: Box<MarketEncoder<Infer>>,
    plain: Option<Arc<PlainPart>>,
    parameters: Vec<f32>,
    device: Device,
    spans: Vec<TableSpan>,
    labels: Arc<[SpanLabels]>,
}

/// What runs on a CPU.
struct PlainPart {
    encoder: PlainEncoder,
    /// Of blocks that learn.
    rooms: Pool<Box<PlainRoom>>,
    /// Of blocks whose outputs alone are wanted: smaller, and they stay so.
    passing: Pool<Box<PlainRoom>>,
}

impl PlainPart {
    fn bytes(&self, PlainRoom { windows, tape, d_aux }: &PlainRoom) -> u64 {
        self.encoder.bytes(tape) + windows.bytes() + bytes(d_aux)
    }
}

/// What one block needs there, warm after the first.
#[derive(Default)]
struct PlainRoom {
    windows: Windows,
    tape: EncoderTape,
    d_aux: [Vec<f32>; 4],
}

/// One block between its forward and its backward pass.
pub struct EncodedBlock(Block);

enum Block {
    Plain(Box<PlainRoom>),
    Burn(Box<BurnBlock>),
}

/// A block on Burn's tape.
struct BurnBlock {
    net: MarketEncoder<Train>,
    embedded: StackEmbedding<Train>,
    ahead: Tensor<Train, 2>,
    values: Vec<f32>,
    windows: Windows,
}

impl EncodedBlock {
    /// Parts ahead of its rows, `[rows, ahead_width]`.
    pub fn ahead(&self) -> &[f32] {
        match &self.0 {
            Block::Plain(room) => room.tape.ahead(),
            Block::Burn(block) => &block.values,
        }
    }
}

impl EncoderLearner {
    /// An encoder over spans that rows point into.
    pub fn new(net: MarketEncoder<Infer>, spans: Vec<TableSpan>, device: Device) -> Self {
        let labels = spans.iter().map(SpanLabels::of).collect();
        let plain = device::is_cpu(&device)
            .then(|| Arc::new(PlainPart { encoder: PlainEncoder::of(&net), rooms: Pool::default(), passing: Pool::default() }));
        Self { parameters: parameters::to_flat(&net), net: Box::new(net), plain, device, spans, labels }
    }

    /// Number of parameters.
    pub fn num_parameters(&self) -> usize {
        self.parameters.len()
    }

    /// All parameters in module order.
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// Current weights.
    pub fn net(&self) -> MarketEncoder<Infer> {
        match &self.plain {
            Some(_) => {
                parameters::from_flat((*self.net).clone(), &self.parameters).expect("Invariant: installed weights fit and are finite")
            }
            None => (*self.net).clone(),
        }
    }

    /// Takes other weights.
    ///
    /// # Errors
    /// A wrong number, or one that is not finite.
    pub fn install(&mut self, flat: &[f32]) -> Result<(), TrainerError> {
        let is_finite = |shard: &[f32]| shard.iter().fold(true, |all, value| all & value.is_finite());
        if self.plain.is_some() && flat.len() == self.parameters.len() && flat.par_chunks(SHARD).all(is_finite) {
            let shards = self.parameters.par_chunks_mut(SHARD).zip(flat.par_chunks(SHARD));
            shards.for_each(|(to, from)| to.copy_from_slice(from));
            return Ok(());
        }
        *self.net = parameters::from_flat((*self.net).clone(), flat)?;
        self.parameters.copy_from_slice(flat);
        Ok(())
    }

    /// Parts ahead of rows, `[rows, ahead_width]`, without a tape.
    ///
    /// # Errors
    /// A device that does not give the result back.
    pub fn ahead(&self, rows: &[(u16, u32)]) -> Result<Vec<f32>, TrainerError> {
        if let Some(plain) = &self.plain {
            return Ok(plain.passing.with(|room| {
                self.run_plain(plain, rows, Keep::Outputs, room);
                room.tape.ahead().to_vec()
            }));
        }
        let windows = self.windows(rows);
        let embedded = self.net.embedders.forward(windows.inputs(&self.device));
        read(self.net.mixer.ahead(embedded.mean()))
    }

    /// The forward pass of one block. Burn's tape keeps everything.
    ///
    /// # Errors
    /// A device that does not give a result back.
    pub fn forward(&self, rows: &[(u16, u32)], keep: Keep) -> Result<EncodedBlock, TrainerError> {
        if let Some(plain) = &self.plain {
            let mut room = plain.rooms.take();
            self.run_plain(plain, rows, keep, &mut room);
            return Ok(EncodedBlock(Block::Plain(room)));
        }
        self.forward_composed(rows)
    }

    fn forward_composed(&self, rows: &[(u16, u32)]) -> Result<EncodedBlock, TrainerError> {
        let windows = self.windows(rows);
        // Leaves of its own: two threads never meet on one tape.
        let net: MarketEncoder<Train> = parameters::training_copy(&self.net());
        let embedded = net.embedders.forward(windows.inputs(&self.device));
        let ahead = net.mixer.ahead(embedded.mean());
        let values = read(ahead.clone().inner())?;
        Ok(EncodedBlock(Block::Burn(Box::new(BurnBlock { net, embedded, ahead, values, windows }))))
    }

    /// The backward pass: from the gradient of the parts ahead `[rows, ahead_width]` to that of the parameters, which is added to `gradient`, in module order;
    /// the auxiliary likelihood is added with the weight `aux_scale` a sample. Returns the sum over the samples of its negative logarithm, the mean of four
    /// embedders.
    ///
    /// # Errors
    /// A device that does not give a result back.
    pub fn backward(&self, block: EncodedBlock, d_ahead: &[f32], aux_scale: f32, gradient: &mut [f32]) -> Result<f64, TrainerError> {
        match (block.0, &self.plain) {
            (Block::Plain(mut room), Some(plain)) => {
                let aux = self.backward_plain(plain, &mut room, d_ahead, aux_scale, gradient);
                plain.rooms.give_back(room);
                Ok(aux)
            }
            (Block::Burn(block), _) => self.backward_composed(*block, d_ahead, aux_scale, gradient),
            (Block::Plain(_), None) => unreachable!("Invariant: a block goes back to the encoder it came from"),
        }
    }

    fn backward_composed(&self, block: BurnBlock, d_ahead: &[f32], aux_scale: f32, gradient: &mut [f32]) -> Result<f64, TrainerError> {
        let BurnBlock { net, embedded, ahead, windows, .. } = block;
        let d_ahead = floats::<Train, 2>(d_ahead, ahead.dims(), &self.device);
        let mut loss = (ahead * d_ahead).sum();
        let mut aux = 0.0;
        if aux_scale > 0.0 {
            let likelihood = aux_loss(&embedded.aux, &windows, &self.device);
            aux = read(likelihood.clone().inner())?.into_iter().map(f64::from).sum();
            loss = loss + likelihood.sum() * aux_scale;
        }
        let of_net = GradientsParams::from_grads(loss.backward(), &net);
        gradient.iter_mut().zip(parameters::gradients_to_flat(&net, &of_net)).for_each(|(sum, g)| *sum += g);
        Ok(aux)
    }

    /// As [`Self::gradient`] with Burn's own operations, as on a GPU, on whatever device: what the plain passes are held against.
    ///
    /// # Errors
    /// A device that does not give a result back.
    pub fn composed_gradient(
        &self,
        rows: &[(u16, u32)],
        aux_scale: f32,
        gradient: &mut [f32],
        back: impl FnOnce(&[f32]) -> Vec<f32>,
    ) -> Result<f64, TrainerError> {
        let EncodedBlock(Block::Burn(block)) = self.forward_composed(rows)? else {
            unreachable!("Invariant: what is composed lies on Burn's tape")
        };
        let d_ahead = back(&block.values);
        self.backward_composed(*block, &d_ahead, aux_scale, gradient)
    }

    /// Both passes over one block: `back` is given the parts ahead and answers with their gradient; what is added and returned is that of [`Self::backward`].
    ///
    /// # Errors
    /// A device that does not give a result back.
    pub fn gradient(
        &self,
        rows: &[(u16, u32)],
        aux_scale: f32,
        keep: Keep,
        gradient: &mut [f32],
        back: impl FnOnce(&[f32]) -> Vec<f32>,
    ) -> Result<f64, TrainerError> {
        let block = self.forward(rows, keep)?;
        let d_ahead = back(block.ahead());
        self.backward(block, &d_ahead, aux_scale, gradient)
    }

    /// Bytes that a block of `rows` holds between its passes, or with [`Keep::Outputs`] in its one pass: it is run, and weighed. Elsewhere than on a CPU nothing is known before the device runs out.
    ///
    /// # Errors
    /// A device that does not give a result back.
    pub fn weigh(&self, rows: &[(u16, u32)], keep: Keep) -> Result<Option<u64>, TrainerError> {
        let Some(plain) = &self.plain else { return Ok(None) };
        let mut room = PlainRoom::default();
        self.run_plain(plain, rows, keep, &mut room);
        if keep != Keep::Outputs {
            let d_ahead = vec![0.0; room.tape.ahead().len()];
            self.backward_plain(plain, &mut room, &d_ahead, 1.0, &mut vec![0.0; self.parameters.len()]);
        }
        Ok(Some(plain.bytes(&room)))
    }

    /// Bytes of the rooms that blocks have left warm.
    pub fn room_bytes(&self) -> u64 {
        self.plain.as_ref().map_or(0, |plain| plain.rooms.weigh(|room| plain.bytes(room)) + plain.passing.weigh(|room| plain.bytes(room)))
    }

    /// Gives back the room of blocks that nobody works on.
    pub fn shed(&self) {
        if let Some(plain) = &self.plain {
            plain.rooms.clear();
            plain.passing.clear();
        }
    }

    /// The first rows, at most `count`, that can be windows: what probes look at.
    pub fn ready_rows(&self, count: usize) -> Vec<(u16, u32)> {
        let of_span = |(index, span): (usize, &TableSpan)| {
            let ready = span.rows.clone().filter(|row| span.table.is_ready(*row)).take(count);
            ready.map(move |row| (index as u16, row as u32)).collect::<Vec<_>>()
        };
        self.spans.iter().enumerate().map(of_span).find(|rows| rows.len() == count).unwrap_or_default()
    }

    fn windows(&self, rows: &[(u16, u32)]) -> Windows {
        // Flex reads beyond the end of an empty batch.
        assert!(!rows.is_empty(), "Invariant: a block has samples");
        let mut windows = Windows::default();
        windows.gather(&self.spans, &self.labels, rows);
        windows
    }

    fn run_plain(&self, plain: &PlainPart, rows: &[(u16, u32)], keep: Keep, room: &mut PlainRoom) {
        let PlainRoom { windows, tape, .. } = room;
        windows.gather(&self.spans, &self.labels, rows);
        let inputs = StackInputs { structure: &windows.structure, tactical: &windows.tactical, regime: &windows.regime, lvn: &windows.lvn };
        plain.encoder.forward(&self.parameters, rows.len(), &inputs, keep, tape);
    }

    fn backward_plain(&self, plain: &PlainPart, room: &mut PlainRoom, d_ahead: &[f32], aux_scale: f32, gradient: &mut [f32]) -> f64 {
        let PlainRoom { windows, tape, d_aux } = room;
        let mut aux = 0.0;
        if aux_scale > 0.0 {
            let of = plain.encoder.aux(tape);
            for (kind, (aux_of, d)) in EmbedderKind::ALL.into_iter().zip(of.into_iter().zip(d_aux.iter_mut())) {
                let (labels, weights) = windows.labels(kind);
                aux += gaussian_nll_backward(aux_of, labels, weights, aux_scale / 4.0, d) / 4.0;
            }
        }
        plain.encoder.backward(&self.parameters, tape, d_ahead, (aux_scale > 0.0).then_some(&*d_aux), gradient);
        aux
    }
}

/// Mean of the four embedders' likelihoods, per sample; samples without a label count as 0.
fn aux_loss(aux: &[Tensor<Train, 2>; 4], windows: &Windows, device: &Device) -> Tensor<Train, 1> {
    let n = windows.batch;
    let frame = |labels: &[f32], weights: &[f32]| (floats::<Train, 2>(labels, [n, 2], device), floats::<Train, 1>(weights, [n], device));
    let (base, base_weight) = frame(&windows.base_label, &windows.base_weight);
    let (structure, structure_weight) = frame(&windows.structure_label, &windows.structure_weight);
    let [of_structure, of_tactical, of_regime, of_lvn] = aux.clone();
    let structure_nll = gaussian_nll(of_structure, structure.clone()) + gaussian_nll(of_regime, structure);
    let base_nll = gaussian_nll(of_tactical, base.clone()) + gaussian_nll(of_lvn, base);
    (structure_nll * structure_weight + base_nll * base_weight) / 4.0
}

fn read<const D: usize>(tensor: Tensor<Infer, D>) -> Result<Vec<f32>, TrainerError> {
    let failed = |cause: String| TrainerError::Actor { actor: "device", cause };
    let data = tensor.try_into_data().map_err(|error| failed(format!("{error:?}")))?;
    data.convert::<f32>().into_vec::<f32>().map_err(|error| failed(format!("{error:?}")))
}

#[cfg(test)]
mod tests;
