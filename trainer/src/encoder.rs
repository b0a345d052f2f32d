//! The market encoder in training: rows in, parts ahead out; the gradient of the parts ahead in, that of the encoder's parameters out. The loss between the
//! two is plain Rust on the parts ahead and belongs to the algorithms; Burn's tape is met here and nowhere else above the embedders.

use burn::{
    optim::GradientsParams,
    tensor::{Tensor, TensorData},
};
use grandmodel_agents::encoder::MarketEncoder;
use grandmodel_embedders::{
    device::{Device, Infer, Train},
    gaussian_nll, parameters,
};
use grandmodel_market::TableSpan;

use crate::{
    TrainerError,
    labels::SpanLabels,
    windows::{Windows, floats},
};

/// An encoder with the market it looks at.
#[derive(Clone)]
pub struct EncoderLearner {
    net: MarketEncoder<Infer>,
    device: Device,
    num_parameters: usize,
    spans: Vec<TableSpan>,
    labels: std::sync::Arc<[SpanLabels]>,
}

/// What one block adds.
pub struct EncodedGradient {
    /// In module order.
    pub gradient: Vec<f32>,
    /// Sum over the samples of the auxiliary negative log-likelihood, the mean of four embedders.
    pub aux: f64,
}

impl EncoderLearner {
    /// An encoder over spans that rows point into.
    pub fn new(net: MarketEncoder<Infer>, spans: Vec<TableSpan>, device: Device) -> Self {
        let labels = spans.iter().map(SpanLabels::of).collect();
        let num_parameters = parameters::num_parameters(&net);
        Self { net, device, num_parameters, spans, labels }
    }

    /// Number of parameters.
    pub fn num_parameters(&self) -> usize {
        self.num_parameters
    }

    /// All parameters in module order.
    pub fn parameters(&self) -> Vec<f32> {
        parameters::to_flat(&self.net)
    }

    /// Current weights.
    pub fn net(&self) -> &MarketEncoder<Infer> {
        &self.net
    }

    /// Takes other weights.
    ///
    /// # Errors
    /// A wrong number, or one that is not finite.
    pub fn install(&mut self, flat: &[f32]) -> Result<(), TrainerError> {
        self.net = parameters::from_flat(self.net.clone(), flat)?;
        Ok(())
    }

    fn windows(&self, rows: &[(u16, u32)]) -> Windows {
        // Flex reads beyond the end of an empty batch.
        assert!(!rows.is_empty(), "Invariant: a block has samples");
        Windows::gather(&self.spans, &self.labels, rows)
    }

    /// Parts ahead of rows, `[rows, ahead_width]`, without a tape.
    ///
    /// # Errors
    /// A device that does not give the result back.
    pub fn ahead(&self, rows: &[(u16, u32)]) -> Result<Vec<f32>, TrainerError> {
        let windows = self.windows(rows);
        let embedded = self.net.embedders.forward(windows.inputs(&self.device));
        read(self.net.mixer.ahead(embedded.mean()))
    }

    /// Gradient over one block: `back` is given the parts ahead `[rows, ahead_width]` and answers with their gradient; the auxiliary likelihood is added with
    /// the weight `aux_scale` a sample.
    ///
    /// # Errors
    /// A device that does not give a result back.
    pub fn gradient(
        &self,
        rows: impl Iterator<Item = (u16, u32)>,
        aux_scale: f32,
        back: impl FnOnce(&[f32]) -> Vec<f32>,
    ) -> Result<EncodedGradient, TrainerError> {
        let rows: Vec<(u16, u32)> = rows.collect();
        let windows = self.windows(&rows);
        // Leaves of its own: two threads never meet on one tape.
        let net: MarketEncoder<Train> = parameters::training_copy(&self.net);
        let embedded = net.embedders.forward(windows.inputs(&self.device));
        let ahead = net.mixer.ahead(embedded.mean());
        let shape = ahead.dims();
        let d_ahead = back(&read(ahead.clone().inner())?);
        let d_ahead = Tensor::<Train, 2>::from_data(TensorData::new(d_ahead, shape), &self.device);
        let mut loss = (ahead * d_ahead).sum();
        let mut aux = 0.0;
        if aux_scale > 0.0 {
            let likelihood = aux_loss(&embedded.aux, &windows, &self.device);
            aux = read(likelihood.clone().inner())?.into_iter().map(f64::from).sum();
            loss = loss + likelihood.sum() * aux_scale;
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        Ok(EncodedGradient { gradient: parameters::gradients_to_flat(&net, &gradients), aux })
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
