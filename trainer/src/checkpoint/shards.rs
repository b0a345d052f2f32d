//! Arrays by name as safetensors files of bounded size, in the Hugging Face layout: one `<stem>.safetensors`, or `<stem>-00001-of-0000n.safetensors` with
//! `<stem>.safetensors.index.json`. Blobs are cut likewise, without an index.

use std::collections::BTreeMap;

use bytemuck::cast_slice;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

/// Most bytes of a shard, but for an array that alone is larger.
pub const SHARD_BYTES: usize = 100_000_000;

/// One array.
#[derive(Clone, Copy, Debug)]
pub struct Array<'a> {
    /// Dotted path.
    pub name: &'a str,
    /// Its shape.
    pub shape: &'a [usize],
    /// Row-major.
    pub values: &'a [f32],
}

/// `<stem>.safetensors.index.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Index {
    metadata: BTreeMap<String, usize>,
    weight_map: BTreeMap<String, String>,
}

fn index_name(stem: &str) -> String {
    format!("{stem}.safetensors.index.json")
}

fn shard_name(stem: &str, at: usize, count: usize, extension: &str) -> String {
    if count == 1 { format!("{stem}.{extension}") } else { format!("{stem}-{:05}-of-{count:05}.{extension}", at + 1) }
}

/// Shapes and values by name.
pub type Named = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Files of the arrays, names first.
pub fn arrays_to_files(stem: &str, arrays: &[Array<'_>], shard_bytes: usize) -> Vec<(String, Vec<u8>)> {
    let mut shards: Vec<Vec<&Array<'_>>> = vec![Vec::new()];
    let mut filled = 0;
    for array in arrays {
        let bytes = size_of_val(array.values);
        if filled > 0 && filled + bytes > shard_bytes {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        shards.last_mut().expect("Invariant: there is a shard").push(array);
    }
    let count = shards.len();
    let mut weight_map = BTreeMap::new();
    let mut files: Vec<(String, Vec<u8>)> = shards
        .iter()
        .enumerate()
        .map(|(at, arrays)| {
            let name = shard_name(stem, at, count, "safetensors");
            weight_map.extend(arrays.iter().map(|array| (array.name.to_owned(), name.clone())));
            let views = arrays.iter().map(|array| {
                let view = TensorView::new(Dtype::F32, array.shape.to_vec(), cast_slice(array.values));
                (array.name, view.expect("Invariant: shape and bytes agree"))
            });
            let bytes = safetensors::serialize(views.collect::<Vec<_>>(), None).expect("Invariant: names and views are valid");
            (name, bytes)
        })
        .collect();
    if count > 1 {
        let total = arrays.iter().map(|array| size_of_val(array.values)).sum();
        let index = Index { metadata: [("total_size".to_owned(), total)].into(), weight_map };
        files.push((index_name(stem), serde_json::to_vec_pretty(&index).expect("Invariant: the index is plain")));
    }
    files
}

/// A blob in pieces.
pub fn blob_to_files(stem: &str, blob: &[u8], shard_bytes: usize) -> Vec<(String, Vec<u8>)> {
    let count = blob.len().div_ceil(shard_bytes).max(1);
    let piece = |at: usize| blob[(at * shard_bytes).min(blob.len())..((at + 1) * shard_bytes).min(blob.len())].to_vec();
    (0..count).map(|at| (shard_name(stem, at, count, "bin"), piece(at))).collect()
}

/// Files of a stem among `names`, in order; none where it was not written.
pub fn files_of<'a>(stem: &str, extension: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let single = format!("{stem}.{extension}");
    let is_one = |name: &&str| *name == single || (name.starts_with(&format!("{stem}-")) && name.ends_with(&format!(".{extension}")));
    let mut found: Vec<String> = names.filter(is_one).map(str::to_owned).collect();
    found.sort();
    found
}

/// Arrays of one file by name, with their shapes.
///
/// # Errors
/// What is wrong with the bytes.
pub fn arrays_of(bytes: &[u8]) -> Result<Named, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    file.iter().map(|(name, tensor)| Ok((name.to_owned(), (tensor.shape().to_vec(), floats(name, &tensor)?)))).collect()
}

fn floats(name: &str, tensor: &TensorView<'_>) -> Result<Vec<f32>, String> {
    if tensor.dtype() != Dtype::F32 {
        return Err(format!("{name} was {:?}, expected F32", tensor.dtype()));
    }
    Ok(tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}
