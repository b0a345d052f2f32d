//! Windows of features in; embeddings out, through four small networks that are served by an actor each.
//!
//! Burn is kept here: [`device`] is the only place that names its backends, [`ops`] holds the operations that its modules are made of. On a CPU [`plain`]
//! computes the same without it.
//! What this crate is not: it knows neither accounts nor orders (`agents`), nor losses beyond the auxiliary likelihood (`trainer`).

pub mod actor;
pub mod config;
pub mod device;
pub mod embed;
pub mod embedding;
pub mod error;
pub mod init;
pub mod kind;
pub mod linear;
pub mod lvn;
pub mod messages;
pub mod norm;
pub mod ops;
pub mod parameters;
pub mod plain;
pub mod pooling;
pub mod published;
pub mod regime;
pub mod stack;
pub mod structure;
pub mod tactical;
pub mod weights;

pub use actor::{Embedder, LvnEmbedder, RegimeEmbedder, StructureEmbedder, TacticalEmbedder};
pub use config::{EmbeddersConfig, Preset, StructureWidths, TacticalWidths};
pub use embed::{Weights, embed_rows};
pub use embedding::{EmbedderModule, Embedding, gaussian_nll};
pub use error::EmbeddersError;
pub use kind::EmbedderKind;
pub use lvn::LvnModule;
pub use messages::{Embed, Embedded, InstallWeights, PolicyVersion};
pub use published::Published;
pub use regime::RegimeModule;
pub use stack::{EMBEDDING_DIM, EMBEDDING_DIMS, EmbedderInputs, EmbedderStack, StackEmbedding};
pub use structure::StructureModule;
pub use tactical::TacticalModule;

#[cfg(test)]
mod tests;
