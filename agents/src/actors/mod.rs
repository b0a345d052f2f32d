//! The actors that act: feed, venue and agent. Thin shells: what they do is in [`crate::backtest`], [`crate::decision`] and the
//! market's venue, where it is tested with an array and a seed.

pub mod agent;
pub mod collect;
pub mod feed;
pub mod gather;
pub mod venue;

#[cfg(test)]
mod tests;

pub use agent::{Agent, AgentConfig, AgentLinks};
pub use collect::LaneGroup;
pub use feed::Feed;
pub use gather::{EmbedderLinks, Embeddings, embed_rows};
pub use venue::Venue;
