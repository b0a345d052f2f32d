//! Stored blocks by number, readable from any thread without asking the owner. It decides nothing: [`crate::store`] alone adds, compresses, removes.

use std::fmt;
use std::sync::Arc;

use dashmap::DashMap;

use crate::codec;
use crate::{BuffersError, PolicyVersion, TransitionBlock};

/// Number of a pushed block; counts up from 0, never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct SegmentId(pub u64);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// In what form a segment is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// As pushed.
    Hot,
    /// Compressed.
    Warm,
    /// Compressed, in a mapped file.
    Cold,
}

/// One stored block, as any thread may read it.
pub(crate) struct Segment {
    pub(crate) policy_version: PolicyVersion,
    pub(crate) stored: Stored,
}

#[derive(Clone)]
pub(crate) enum Stored {
    Raw(Arc<TransitionBlock>),
    Packed(Arc<[u8]>),
}

/// The segments by number, for threads that read without asking the buffer's owner. Such reads are not counted as uses, so that eviction stays
/// a function of the messages.
#[derive(Default)]
pub struct SegmentIndex {
    pub(crate) segments: DashMap<SegmentId, Segment>,
}

impl SegmentIndex {
    /// The block, decompressed where it must be.
    ///
    /// # Errors
    /// Not stored, or damaged.
    pub fn peek(&self, segment: SegmentId) -> Result<Arc<TransitionBlock>, BuffersError> {
        // The copy of the `Arc` ends the lock before the decompression begins.
        let found = self.segments.get(&segment).map(|entry| (entry.policy_version, entry.stored.clone()));
        let (policy_version, stored) = found.ok_or(BuffersError::NoSegment { segment })?;
        stored.open().map_err(|source| BuffersError::SegmentDamaged { segment, policy_version, source: Box::new(source) })
    }

    /// In what form it is held.
    pub fn tier(&self, segment: SegmentId) -> Option<Tier> {
        self.segments.get(&segment).map(|entry| match entry.stored {
            Stored::Raw(_) => Tier::Hot,
            Stored::Packed(_) => Tier::Warm,
        })
    }
}

impl Stored {
    fn open(self) -> Result<Arc<TransitionBlock>, BuffersError> {
        match self {
            Self::Raw(block) => Ok(block),
            Self::Packed(bytes) => codec::decode(&bytes).map(Arc::new),
        }
    }
}
