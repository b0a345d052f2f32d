//! The pure core of an embedder actor: a module, a table and rows in; embeddings out, in the order asked for.
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
};

/// Inputs that go through a module at once, in windows. Large enough that calls into Burn cost little beside the arithmetic, small
/// enough that a rollout of 2048 rows keeps eight threads busy.
pub const CHUNK_ROWS: usize = 256;

/// Embeds base rows of a table with rayon's current pool.
///
/// # Shapes
/// `[rows.len(), dim]`, row by row.
///
/// # Errors
/// [`EmbeddersError::RowOutOfRange`] and [`EmbeddersError::RowNotReady`], for the first such row.
pub fn embed_rows<M: EmbedderModule<Infer> + Sync>(module: &M, table: &FeatureTable, rows: &[u32]) -> Result<Vec<f32>, EmbeddersError> {
    check_rows(table, rows)?;
    let plan = distinct(rows.iter().map(|row| M::KIND.input_row(table, *row as usize)));
    let values = embed_inputs(module, plan.input_rows.len(), |index, out| M::KIND.copy_input(table, plan.input_rows[index], out));
    Ok(expand(&values, &plan.positions, M::KIND))
}

/// Embeds `num_inputs` inputs, each written by `copy_input(index, out)`.
///
/// # Shapes
/// `[num_inputs, dim]`, row by row.
pub fn embed_inputs<M: EmbedderModule<Infer> + Sync>(
    module: &M,
    num_inputs: usize,
    copy_input: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let (input_len, dim) = (M::KIND.input_len(), M::KIND.dim());
    // A module without parameters does not exist here; the default is never taken.
    let device = module.devices().first().cloned().unwrap_or_else(device::cpu);
    let mut values = vec![0.0; num_inputs * dim];
    let embed_chunk = |(chunk, out): (usize, &mut [f32])| {
        let len = out.len() / dim;
        let mut inputs = vec![0.0; len * input_len];
        for (index, input) in inputs.chunks_exact_mut(input_len).enumerate() {
            copy_input(chunk * CHUNK_ROWS + index, input);
        }
        let inputs = Tensor::<Infer, 2>::from_data(TensorData::new(inputs, [len, input_len]), &device);
        let means = module.embed(inputs).mean.into_data();
        out.copy_from_slice(means.as_slice().expect("Invariant: embeddings are f32"));
    };
    let chunks = values.chunks_mut(CHUNK_ROWS * dim);
    if device::is_cpu(&device) {
        chunks.collect::<Vec<_>>().into_par_iter().enumerate().for_each(embed_chunk);
    } else {
        // One queue feeds a GPU; threads would only take turns.
        chunks.enumerate().for_each(embed_chunk);
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
