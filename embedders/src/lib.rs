//! embedders
