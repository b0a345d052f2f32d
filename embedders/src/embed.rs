//! The pure core of an embedder actor: weights, a table and rows in; embeddings out, in the order asked for.
//!
//! Equal inputs are embedded once: a structure bar is shared by several base rows. The work is cut into chunks of a fixed size, so the
//! numbers do not depend on the number of threads.

use std::collections::HashMap;

use burn::tensor::{Tensor, TensorData};
use grandmodel_market::FeatureTable;
use rayon::prelude::*;

use crate::{
    EmbedderModule,
    device::{self, Infer},
    error::EmbeddersError,
    kind::EmbedderKind,
    parameters,
    plain::{Keep, Plain, Pool},
};

/// Inputs that go through a Burn module at once: large enough that calls cost little beside the arithmetic.
pub const CHUNK_ROWS: usize = 256;
/// Inputs that go through a [`Plain`] module at once: their activations stay in the cache, and a rollout keeps every thread busy.
pub const PLAIN_CHUNK_ROWS: usize = 32;

/// One embedder's weights where they run: on a CPU flat, elsewhere Burn's module.
pub enum Weights<M: EmbedderModule<Infer>> {
    /// On a CPU.
    Plain {
        /// The network.
        module: M::Plain,
        /// In module order; without the matrices that are rounded.
        parameters: Vec<f32>,
        /// Bytes of those that are rounded.
        int8_bytes: u64,
        /// Tapes that nobody uses just now.
        tapes: Pool<<M::Plain as Plain>::Tape>,
    },
    /// On any other device.
    Burn(M),
}

impl<M: EmbedderModule<Infer>> Weights<M> {
    /// A module's weights, for the device that it lives on.
    pub fn of(module: M) -> Self {
        if module.devices().iter().all(device::is_cpu) {
            Self::Plain { module: module.plain(), parameters: parameters::to_flat(&module), int8_bytes: 0, tapes: Pool::default() }
        } else {
            Self::Burn(module)
        }
    }

    /// A module's weights with large matrices in int8, see [`Plain::round`]; on another device than a CPU as they are.
    pub fn rounded(module: M) -> Self {
        match Self::of(module) {
            Self::Plain { mut module, parameters, tapes, .. } => {
                let (parameters, int8_bytes) = module.round(&parameters);
                Self::Plain { module, parameters, int8_bytes, tapes }
            }
            burn => burn,
        }
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Plain { parameters, int8_bytes, .. } => size_of_val(&parameters[..]) as u64 + int8_bytes,
            Self::Burn(module) => (parameters::num_parameters(module) * size_of::<f32>()) as u64,
        }
    }

    /// Bytes of weights that are read for so many rows, once for each step of a window: a measure of the work.
    pub fn bytes_read(&self, num_rows: usize) -> u64 {
        self.bytes() * (M::KIND.num_steps() * num_rows) as u64
    }
}

/// Embeds base rows of a table with rayon's current pool.
///
/// # Shapes
/// `[rows.len(), dim]`, row by row.
///
/// # Errors
/// [`EmbeddersError::RowOutOfRange`] and [`EmbeddersError::RowNotReady`], for the first such row.
pub fn embed_rows<M: EmbedderModule<Infer> + Sync>(
    weights: &Weights<M>,
    table: &FeatureTable,
    rows: &[u32],
) -> Result<Vec<f32>, EmbeddersError> {
    check_rows(table, rows)?;
    let plan = distinct(rows.iter().map(|row| M::KIND.input_row(table, *row as usize)));
    let values = embed_inputs(weights, plan.input_rows.len(), |index, out| M::KIND.copy_input(table, plan.input_rows[index], out));
    Ok(expand(&values, &plan.positions, M::KIND))
}

/// Embeds `num_inputs` inputs, each written by `copy_input(index, out)`.
///
/// # Shapes
/// `[num_inputs, dim]`, row by row.
pub fn embed_inputs<M: EmbedderModule<Infer> + Sync>(
    weights: &Weights<M>,
    num_inputs: usize,
    copy_input: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let (input_len, dim) = (M::KIND.input_len(), M::KIND.dim());
    let mut values = vec![0.0; num_inputs * dim];
    let gather = |first: usize, out: &[f32]| {
        let mut inputs = vec![0.0; out.len() / dim * input_len];
        inputs.chunks_exact_mut(input_len).enumerate().for_each(|(index, input)| copy_input(first + index, input));
        inputs
    };
    match weights {
        Weights::Plain { module, parameters, tapes, .. } => {
            let chunks: Vec<_> = values.chunks_mut(PLAIN_CHUNK_ROWS * dim).enumerate().collect();
            chunks.into_par_iter().for_each(|(chunk, out)| {
                let inputs = gather(chunk * PLAIN_CHUNK_ROWS, out);
                tapes.with(|tape| {
                    module.forward(parameters, &inputs, Keep::Outputs, tape);
                    out.copy_from_slice(&module.outputs(tape).mean);
                });
            });
        }
        // One queue feeds a GPU; threads would only take turns.
        Weights::Burn(module) => {
            // A module without parameters does not exist here; the default is never taken.
            let device = module.devices().first().cloned().unwrap_or_else(device::cpu);
            for (chunk, out) in values.chunks_mut(CHUNK_ROWS * dim).enumerate() {
                let inputs = gather(chunk * CHUNK_ROWS, out);
                let inputs = Tensor::<Infer, 2>::from_data(TensorData::new(inputs, [out.len() / dim, input_len]), &device);
                let means = module.embed(inputs).mean.into_data();
                out.copy_from_slice(means.as_slice().expect("Invariant: embeddings are f32"));
            }
        }
    }
    values
}

fn check_rows(table: &FeatureTable, rows: &[u32]) -> Result<(), EmbeddersError> {
    let hash = || table.content_hash().to_owned();
    for &row in rows {
        if row as usize >= table.len() {
            return Err(EmbeddersError::RowOutOfRange { table: hash(), row, len: table.len() });
        }
        if !table.is_ready(row as usize) {
            let reason = table.readiness(row as usize).reason().to_owned();
            return Err(EmbeddersError::RowNotReady { table: hash(), row, reason });
        }
    }
    Ok(())
}

/// Distinct input rows in order of first appearance, and for each row asked for its place among them.
#[derive(Debug, PartialEq)]
struct Distinct {
    input_rows: Vec<usize>,
    positions: Vec<usize>,
}

fn distinct(input_rows: impl Iterator<Item = usize>) -> Distinct {
    let mut plan = Distinct { input_rows: Vec::new(), positions: Vec::new() };
    let mut seen = HashMap::new();
    for input_row in input_rows {
        let position = *seen.entry(input_row).or_insert_with(|| {
            plan.input_rows.push(input_row);
            plan.input_rows.len() - 1
        });
        plan.positions.push(position);
    }
    plan
}

fn expand(values: &[f32], positions: &[usize], kind: EmbedderKind) -> Vec<f32> {
    let dim = kind.dim();
    positions.iter().flat_map(|position| &values[position * dim..(position + 1) * dim]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_inputs_are_listed_once_and_spread_again() {
        // 7 appears at 0 and 2, so the list is 7, 3, 9 and the third answer is the first.
        let plan = distinct([7, 3, 7, 9].into_iter());
        assert_eq!(plan, Distinct { input_rows: vec![7, 3, 9], positions: vec![0, 1, 0, 2] });
        let values: Vec<f32> = (0..3 * 8).map(|v| v as f32).collect();
        let spread = expand(&values, &plan.positions, EmbedderKind::Lvn);
        assert_eq!(spread.chunks(8).map(|row| row[0]).collect::<Vec<_>>(), [0.0, 8.0, 0.0, 16.0]);
    }
}
