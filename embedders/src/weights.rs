//! Weights to and from safetensors with PyTorch's names and layouts, so that a PyTorch module of the same parts loads them as they are.
//!
//! Linear weights are `[out, in]`, attention has `in_proj_weight` and `out_proj.weight`, an LSTM layer has `weight_ih_l0`,
//! `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0` and the same with `_reverse`. We keep one bias where PyTorch adds two: it leaves as
//! `bias_ih`, with zeros as `bias_hh`, and comes in as their sum. Works for any Burn module; optimiser state is not here.

use std::{collections::BTreeMap, collections::HashMap, path::Path};

use burn::{module::Module, tensor::backend::Backend};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{
    error::EmbeddersError,
    parameters::{self, ParameterSlot},
};

/// Writes a module's weights; replaces the file in one move, so that a reader never sees half of it.
///
/// # Errors
/// [`EmbeddersError::File`].
pub fn save<B: Backend, M: Module<B>>(module: &M, path: &Path) -> Result<(), EmbeddersError> {
    let partial = path.with_extension("safetensors.partial");
    let bytes = to_bytes(module)?;
    std::fs::write(&partial, bytes)
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|source| EmbeddersError::File { path: path.to_owned(), source })
}

/// Reads weights into a module of the same architecture.
///
/// # Errors
/// [`EmbeddersError::File`], and those of [`from_bytes`].
pub fn load<B: Backend, M: Module<B>>(module: M, path: &Path) -> Result<M, EmbeddersError> {
    let bytes = std::fs::read(path).map_err(|source| EmbeddersError::File { path: path.to_owned(), source })?;
    from_bytes(module, &bytes)
}

/// The bytes of a safetensors file; equal weights give equal bytes.
///
/// # Errors
/// [`EmbeddersError::Safetensors`] when the header outgrows the format's limit.
pub fn to_bytes<B: Backend, M: Module<B>>(module: &M) -> Result<Vec<u8>, EmbeddersError> {
    let flat = parameters::to_flat(module);
    let tensors = to_torch(&parameters::parameter_slots(module), &flat);
    let views = tensors
        .iter()
        .map(|(name, tensor)| Ok((name, TensorView::new(Dtype::F32, tensor.shape.clone(), bytemuck::cast_slice(&tensor.values))?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// Weights from the bytes of a safetensors file, all of them and no others.
///
/// # Errors
/// [`EmbeddersError::TensorMissing`], [`EmbeddersError::TensorShape`], [`EmbeddersError::TensorUnknown`],
/// [`EmbeddersError::NotFinite`], [`EmbeddersError::Safetensors`].
pub fn from_bytes<B: Backend, M: Module<B>>(module: M, bytes: &[u8]) -> Result<M, EmbeddersError> {
    let file = SafeTensors::deserialize(bytes)?;
    let slots = parameters::parameter_slots(&module);
    let mut flat = vec![0.0; slots.last().map_or(0, |slot| slot.range.end)];
    let mut known = Vec::new();
    for slot in &slots {
        for part in parts(slot) {
            let values = read(&file, &part)?;
            for (index, value) in values.into_iter().enumerate() {
                flat[slot.range.start + part.source(index)] += value;
            }
            known.push(part.name);
        }
    }
    known.sort_unstable();
    let mut unknown: Vec<_> =
        file.names().into_iter().filter(|name| known.binary_search_by(|known| known.as_str().cmp(name)).is_err()).collect();
    unknown.sort_unstable();
    if let Some(first) = unknown.first() {
        return Err(EmbeddersError::TensorUnknown { count: unknown.len(), first: (*first).to_owned() });
    }
    parameters::from_flat(module, &flat)
}

/// One PyTorch tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TorchTensor {
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
}

/// PyTorch tensors by name, from a flat vector in module order; gradients have the same layout as weights.
pub fn to_torch(slots: &[ParameterSlot], flat: &[f32]) -> BTreeMap<String, TorchTensor> {
    let tensor = |slot: &ParameterSlot, part: &Part| {
        let own = &flat[slot.range.clone()];
        let values = (0..part.shape.iter().product()).map(|index| if part.is_second_bias { 0.0 } else { own[part.source(index)] });
        TorchTensor { shape: part.shape.clone(), values: values.collect() }
    };
    slots.iter().flat_map(|slot| parts(slot).into_iter().map(move |part| (tensor(slot, &part), part.name))).map(|(t, n)| (n, t)).collect()
}

/// One PyTorch tensor inside one of our parameters.
struct Part {
    name: String,
    shape: Vec<usize>,
    /// Where it begins in the parameter.
    offset: usize,
    /// Whether the parameter holds it transposed.
    is_transposed: bool,
    /// The bias that PyTorch adds to one that is there already.
    is_second_bias: bool,
}

impl Part {
    /// Place in the parameter of a value of the PyTorch tensor.
    fn source(&self, index: usize) -> usize {
        if !self.is_transposed {
            return self.offset + index;
        }
        let (rows, cols) = (self.shape[0], self.shape[1]);
        self.offset + index % cols * rows + index / cols
    }
}

fn parts(slot: &ParameterSlot) -> Vec<Part> {
    let (parent, field) = slot.name.rsplit_once('.').unwrap_or(("", &slot.name));
    match (slot.owner.as_str(), field) {
        ("BiLstm", "w_ih") => directions(slot, parent, &["weight_ih_l0"]),
        ("BiLstm", "w_hh") => directions(slot, parent, &["weight_hh_l0"]),
        ("BiLstm", "bias") => directions(slot, parent, &["bias_ih_l0", "bias_hh_l0"]),
        ("Linear", "weight") => {
            let shape = vec![slot.shape[1], slot.shape[0]];
            vec![Part { name: torch_name(&slot.name), shape, offset: 0, is_transposed: true, is_second_bias: false }]
        }
        _ => {
            let shape = slot.shape.clone();
            vec![Part { name: torch_name(&slot.name), shape, offset: 0, is_transposed: false, is_second_bias: false }]
        }
    }
}

/// `[2, ..]` split into the forward and the backward direction.
fn directions(slot: &ParameterSlot, parent: &str, fields: &[&str]) -> Vec<Part> {
    let prefix = if parent.is_empty() { String::new() } else { format!("{parent}.") };
    let shape: Vec<usize> = slot.shape[1..].iter().rev().copied().collect();
    let len: usize = shape.iter().product();
    let part = |direction: usize, suffix: &str, index: usize, field: &str| Part {
        name: format!("{prefix}{field}{suffix}"),
        offset: direction * len,
        is_transposed: shape.len() == 2,
        is_second_bias: index > 0,
        shape: shape.clone(),
    };
    ["", "_reverse"]
        .iter()
        .enumerate()
        .flat_map(|(direction, suffix)| fields.iter().enumerate().map(move |(index, field)| (direction, *suffix, index, *field)))
        .map(|(direction, suffix, index, field)| part(direction, suffix, index, field))
        .collect()
}

/// PyTorch's attention has `in_proj_weight` where its other parts have a linear layer.
fn torch_name(name: &str) -> String {
    name.replace(".in_proj.", ".in_proj_")
}

fn read(file: &SafeTensors<'_>, part: &Part) -> Result<Vec<f32>, EmbeddersError> {
    let tensor = file.tensor(&part.name).map_err(|_| EmbeddersError::TensorMissing {
        name: part.name.clone(),
        expected: part.shape.clone(),
        num_tensors: file.len(),
    })?;
    if tensor.dtype() != Dtype::F32 || tensor.shape() != part.shape {
        return Err(EmbeddersError::TensorShape {
            name: part.name.clone(),
            found: tensor.shape().to_vec(),
            found_dtype: format!("{:?}", tensor.dtype()),
            expected: part.shape.clone(),
        });
    }
    Ok(bytemuck::pod_collect_to_vec(tensor.data()))
}
