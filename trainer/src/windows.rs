//! Rows of feature tables in; the windows and labels of one gradient block out. Windows are copied once, for the samples of one block only.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use grandmodel_embedders::{EmbedderInputs, EmbedderKind, plain::layers::bytes};
use grandmodel_market::{
    TableSpan,
    features::{LVN_FEATURES, REGIME_FEATURES, STRUCTURE_FEATURES, STRUCTURE_WINDOW, TACTICAL_FEATURES, TACTICAL_WINDOW},
};

use crate::labels::SpanLabels;

/// Inputs and auxiliary labels of `batch` samples, row-major.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// Samples.
    pub batch: usize,
    /// `[batch, 48, 8]`.
    pub structure: Vec<f32>,
    /// `[batch, 60, 7]`.
    pub tactical: Vec<f32>,
    /// `[batch, 8]`.
    pub regime: Vec<f32>,
    /// `[batch, 5]`.
    pub lvn: Vec<f32>,
    /// `[batch, 2]` labels of the base frame; 0 where absent.
    pub base_label: Vec<f32>,
    /// `[batch]` 1 where the base label is there.
    pub base_weight: Vec<f32>,
    /// `[batch, 2]` labels of the structure frame.
    pub structure_label: Vec<f32>,
    /// `[batch]` 1 where the structure label is there.
    pub structure_weight: Vec<f32>,
}

impl Windows {
    /// Gathers rows, each an index of a span and a row of its table.
    pub fn gather(&mut self, spans: &[TableSpan], labels: &[SpanLabels], rows: &[(u16, u32)]) {
        self.batch = rows.len();
        self.structure.resize(rows.len() * STRUCTURE_WINDOW * STRUCTURE_FEATURES, 0.0);
        self.tactical.resize(rows.len() * TACTICAL_WINDOW * TACTICAL_FEATURES, 0.0);
        for list in [&mut self.regime, &mut self.lvn, &mut self.base_label, &mut self.base_weight] {
            list.clear();
        }
        self.structure_label.clear();
        self.structure_weight.clear();
        let structure = self.structure.chunks_exact_mut(STRUCTURE_WINDOW * STRUCTURE_FEATURES);
        let tactical = self.tactical.chunks_exact_mut(TACTICAL_WINDOW * TACTICAL_FEATURES);
        for (((span, row), structure), tactical) in rows.iter().zip(structure).zip(tactical) {
            let (table, labels, row) = (&spans[usize::from(*span)].table, &labels[usize::from(*span)], *row as usize);
            let structure_row = table.structure_row()[row] as usize;
            table.copy_structure_window(structure_row, structure);
            table.copy_tactical_window(row, tactical);
            self.regime.extend_from_slice(table.regime_row(structure_row));
            self.lvn.extend_from_slice(table.lvn_row(row));
            push_label(labels.base[row - labels.start], &mut self.base_label, &mut self.base_weight);
            push_label(labels.structure[structure_row], &mut self.structure_label, &mut self.structure_weight);
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        let inputs = [&self.structure, &self.tactical, &self.regime, &self.lvn];
        let labels = [&self.base_label, &self.base_weight, &self.structure_label, &self.structure_weight];
        bytes(inputs.into_iter().chain(labels))
    }

    /// Labels `[batch, 2]` of an embedder's own frame, and `[batch]` whether they are there.
    pub fn labels(&self, kind: EmbedderKind) -> (&[f32], &[f32]) {
        match kind {
            EmbedderKind::Structure | EmbedderKind::Regime => (&self.structure_label, &self.structure_weight),
            EmbedderKind::Tactical | EmbedderKind::Lvn => (&self.base_label, &self.base_weight),
        }
    }

    /// The embedders' inputs on a device.
    pub fn inputs<B: Backend>(&self, device: &B::Device) -> EmbedderInputs<B> {
        let n = self.batch;
        EmbedderInputs {
            structure: floats(&self.structure, [n, STRUCTURE_WINDOW, STRUCTURE_FEATURES], device),
            tactical: floats(&self.tactical, [n, TACTICAL_WINDOW, TACTICAL_FEATURES], device),
            regime: floats(&self.regime, [n, REGIME_FEATURES], device),
            lvn: floats(&self.lvn, [n, LVN_FEATURES], device),
        }
    }
}

/// A tensor of given shape.
pub fn floats<B: Backend, const D: usize>(values: &[f32], shape: [usize; D], device: &B::Device) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn push_label(label: [f32; 2], labels: &mut Vec<f32>, weights: &mut Vec<f32>) {
    let there = label[0].is_finite() && label[1].is_finite();
    labels.extend_from_slice(&if there { label } else { [0.0; 2] });
    weights.push(if there { 1.0 } else { 0.0 });
}
