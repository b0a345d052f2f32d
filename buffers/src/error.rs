//! What can be wrong with a block, a segment or a capacity; every variant carries the numbers and what was expected.

use std::path::PathBuf;

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
    /// A block of another shape than the buffer was made for.
    #[error("block {field} was {found}, this buffer was made for {expected}")]
    BlockShape {
        /// Which size.
        field: &'static str,
        /// The block's.
        found: u64,
        /// The buffer's.
        expected: u64,
    },
    /// A batch that can never be drawn without showing everything more than once.
    #[error("a batch of {batch} is larger than the buffer of {buffer_size} transitions; raise buffer_size or lower batch_size")]
    BatchAboveBuffer {
        /// Samples of a batch.
        batch: usize,
        /// Transitions that the buffer keeps.
        buffer_size: usize,
    },
    /// A capacity in which not even the tables and two segments fit.
    #[error(
        "replay.capacity was {capacity}, a buffer of {buffer_size} transitions of this shape needs at least {needed}; raise it, or lower buffer_size or cache"
    )]
    CapacityBelow {
        /// The setting.
        capacity: ByteSize,
        /// What would do.
        needed: ByteSize,
        /// Transitions that the buffer keeps.
        buffer_size: usize,
    },
    /// A rate limit under which inserting and sampling would wait for each other.
    #[error(
        "replay.rate.error_buffer was {error_buffer}, must be at least {needed}: pushes of {push} transitions at {samples_per_insert} samples each and batches of {batch} \
         would come to where neither may go on"
    )]
    RateNeverMet {
        /// The setting.
        error_buffer: f64,
        /// What would do.
        needed: f64,
        /// Transitions of one push.
        push: u64,
        /// Samples of one batch.
        batch: usize,
        /// The other setting.
        samples_per_insert: f64,
    },
    /// Inserting would leave sampling behind.
    #[error(
        "inserting {count} transitions would be {ahead} samples ahead of what the rate limit allows ({inserted} inserted, {sampled} sampled): sample first"
    )]
    InsertAhead {
        /// Inserted so far.
        inserted: u64,
        /// Sampled so far.
        sampled: u64,
        /// The insert that was refused.
        count: usize,
        /// How far beyond the limit, in samples.
        ahead: f64,
    },
    /// Sampling would leave inserting behind.
    #[error(
        "drawing {count} samples would be {ahead} samples ahead of what the rate limit allows ({inserted} inserted, {sampled} sampled): insert first"
    )]
    SampleAhead {
        /// Inserted so far.
        inserted: u64,
        /// Sampled so far.
        sampled: u64,
        /// The sample that was refused.
        count: usize,
        /// How far beyond the limit, in samples.
        ahead: f64,
    },
    /// Drawn too early.
    #[error("{stored} transitions are stored, sampling begins at {wanted} (buffer.min_size)")]
    TooFewStored {
        /// Transitions stored.
        stored: usize,
        /// Transitions needed.
        wanted: usize,
    },
    /// An argument outside its range.
    #[error("{name} was {value}, must be {expected}")]
    Argument {
        /// Which argument.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The range.
        expected: &'static str,
    },
    /// A snapshot of another buffer.
    #[error("the snapshot's {field} is {found}, this buffer's is {expected}")]
    OtherContents {
        /// What differs.
        field: &'static str,
        /// The snapshot's.
        found: String,
        /// The buffer's.
        expected: String,
    },
    /// The cold folder cannot be used.
    #[error("{path}: cannot keep a cold segment there: {message}", path = path.display())]
    ColdFile {
        /// The file.
        path: PathBuf,
        /// The system's words.
        message: String,
    },
    /// A message that this kind of buffer does not answer.
    #[error("this buffer keeps {kept} and does not answer {message}")]
    OtherKind {
        /// What it is configured for.
        kept: &'static str,
        /// The message.
        message: &'static str,
    },
    /// A setting outside its range.
    #[error("{key} was {value}, must be {expected}")]
    Setting {
        /// Dotted name in the configuration.
        key: &'static str,
        /// What was written.
        value: String,
        /// The range, with its reason.
        expected: &'static str,
    },
}
