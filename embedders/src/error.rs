//! What can be wrong with devices, rows and weights, each with what was found and what was expected.

use std::path::PathBuf;

use crate::{device::DeviceChoice, kind::EmbedderKind, messages::PolicyVersion};

/// Error of the `embedders` crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddersError {
    /// The machine lacks the device that was asked for.
    #[error("device = \"{choice}\" is not to be had on this machine: {reason}")]
    DeviceAbsent {
        /// What was asked for.
        choice: DeviceChoice,
        /// What is missing, and what to do.
        reason: String,
    },
    /// A row beyond the end of the table.
    #[error("row {row} of table {table} does not exist, the table has {len} rows")]
    RowOutOfRange {
        /// Content hash of the table.
        table: String,
        /// The row asked for.
        row: u32,
        /// Rows of the table.
        len: usize,
    },
    /// A row without full windows.
    #[error("row {row} of table {table} has no full windows ({reason}), embed only rows where is_ready is true")]
    RowNotReady {
        /// Content hash of the table.
        table: String,
        /// The row asked for.
        row: u32,
        /// The table's verdict.
        reason: String,
    },
    /// A flat vector that does not fit its module.
    #[error("{found} values given for a module of {expected} parameters")]
    FlatLength {
        /// Values given.
        found: usize,
        /// Parameters of the module.
        expected: usize,
    },
    /// NaN or infinity among weights.
    #[error("weight {name}[{index}] was {value}, expected a finite number")]
    NotFinite {
        /// The parameter.
        name: String,
        /// Position in it, row-major.
        index: usize,
        /// What was found.
        value: f32,
    },
    /// A file that could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Bytes that are not safetensors.
    #[error("not a safetensors file: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// A weight that is not there.
    #[error("no tensor {name} of shape {expected:?} among the {num_tensors} tensors given; are these weights of another preset or module?")]
    TensorMissing {
        /// Its PyTorch name.
        name: String,
        /// Its PyTorch shape.
        expected: Vec<usize>,
        /// How many tensors there are.
        num_tensors: usize,
    },
    /// A weight of another shape or type.
    #[error("tensor {name} is {found_dtype} {found:?}, expected F32 {expected:?}; are these weights of another preset?")]
    TensorShape {
        /// Its PyTorch name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// Its type.
        found_dtype: String,
        /// PyTorch shape that would fit.
        expected: Vec<usize>,
    },
    /// Weights that the module has no place for.
    #[error("{count} tensors have no place in this module, the first is {first}; are these weights of another preset or module?")]
    TensorUnknown {
        /// How many.
        count: usize,
        /// First name.
        first: String,
    },
    /// Weights were to be installed that nobody published.
    #[error("the {kind} embedder was to install weights of policy version {wanted}, published is {}", published.map_or("none".to_owned(), |version| version.to_string()))]
    WeightsAbsent {
        /// The embedder.
        kind: EmbedderKind,
        /// Version asked for.
        wanted: PolicyVersion,
        /// Version that is there.
        published: Option<PolicyVersion>,
    },
    /// A thread died while it embedded.
    #[error("the {kind} embedder panicked while it embedded {num_rows} rows; the panic's message is in the log")]
    Panicked {
        /// The embedder.
        kind: EmbedderKind,
        /// Rows asked for.
        num_rows: usize,
    },
}
