//! What can be wrong with a block, a segment or a capacity; every variant carries the numbers and what was expected.

use grandmodel_memory::ByteSize;

use crate::{PolicyVersion, SegmentId};

/// The one error type of this crate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BuffersError {
    /// A column of the wrong length.
    #[error("block column {column} has {found} values, must have {expected} ({rule})")]
    ColumnLength {
        /// Which column.
        column: &'static str,
        /// Its length.
        found: usize,
        /// What it must be.
        expected: usize,
        /// Why.
        rule: &'static str,
    },
    /// A size that no block may have.
    #[error("block {field} was {value}, must be between {min} and {max}")]
    BlockSize {
        /// Which size.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// A value that may not enter.
    #[error("block column {column} at index {index} is {value}, must be {expected}")]
    Value {
        /// Which column.
        column: &'static str,
        /// Index within the column.
        index: usize,
        /// What was found.
        value: f64,
        /// What would do.
        expected: &'static str,
    },
    /// A block that can never fit.
    #[error(
        "a block of {block} does not fit the buffer's capacity of {capacity}; raise buffer.capacity to at least the block's size or collect fewer steps at once"
    )]
    BlockAboveCapacity {
        /// Bytes of the block with its bookkeeping.
        block: ByteSize,
        /// The capacity.
        capacity: ByteSize,
    },
    /// Nothing stored under that policy.
    #[error("no rollout of policy version {wanted} is stored ({held})")]
    NoRollout {
        /// The version asked for.
        wanted: PolicyVersion,
        /// What is stored, in words.
        held: String,
    },
    /// Nothing stored under that number.
    #[error("segment {segment} is not stored: it was taken or evicted, or never pushed")]
    NoSegment {
        /// The segment asked for.
        segment: SegmentId,
    },
    /// Encoded bytes that are not what was written.
    #[error("damaged {part}: found {found}, expected {expected}")]
    Damaged {
        /// Which part of the segment: header, or a column's name.
        part: &'static str,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// Which segment was damaged.
    #[error("segment {segment} of policy version {policy_version} is dropped: {source}")]
    SegmentDamaged {
        /// The segment.
        segment: SegmentId,
        /// Whose experience is lost.
        policy_version: PolicyVersion,
        /// What was wrong with it.
        source: Box<BuffersError>,
    },
    /// A setting outside its range.
    #[error("buffer.{key} was {value}, must be {expected}")]
    Setting {
        /// Name in the configuration.
        key: &'static str,
        /// What was written.
        value: String,
        /// The range, with its reason.
        expected: &'static str,
    },
}
