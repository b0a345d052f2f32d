//! Blocks in, blocks out, inside a byte capacity: raw while there is room, compressed above a share of it, evicted when full. A pure core: ages
//! count accesses, never seconds.
//!
//! Two accounts are kept. What is *charged* against the capacity follows from the pushes, takes and reads alone and decides what is compressed and
//! evicted. What is *held* may be less, when memory pressure had more compressed than was due; so pressure frees bytes and changes nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use grandmodel_memory::{ByteSize, Rung};

use crate::codec::{self, ObservationEncoding};
use crate::config::leaves_before;
use crate::index::{Segment, Stored};
use crate::messages::BufferObservation;
use crate::{BufferConfig, BuffersError, Eviction, PolicyVersion, SegmentId, SegmentIndex, Tier, TransitionBlock};

/// Charged for each segment beside its columns: both indices' entries, their slack, and the `Arc` headers.
pub const SEGMENT_OVERHEAD_BYTES: u64 = 256;

/// One part in so many must be saved for a segment to be held compressed.
pub const SAVED_SHARE_MIN: u64 = 16;

const _: () = assert!(2 * size_of::<SegmentId>() + size_of::<Entry>() + size_of::<Segment>() + 2 * 16 < SEGMENT_OVERHEAD_BYTES as usize);

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Number of the new segment.
    pub segment: SegmentId,
    /// Bytes charged for it.
    pub stored_bytes: u64,
    /// Segments that had to leave.
    pub evicted: u32,
}

/// The owner's view of a segment: all that decides.
struct Entry {
    policy_version: PolicyVersion,
    num_transitions: u32,
    raw_bytes: u64,
    /// Known once it was compressed for whatever reason.
    packed_bytes: Option<u64>,
    /// The tier it is charged as; it may be held in a smaller form, never in a larger one.
    charged_as: Tier,
    last_access: u64,
    hits: u32,
}

impl Entry {
    fn charged_bytes(&self) -> u64 {
        match self.charged_as {
            Tier::Hot => self.raw_bytes,
            // What does not shrink stays raw.
            Tier::Warm | Tier::Cold => self.packed_bytes.filter(|&packed| self.is_worth(packed)).unwrap_or(self.raw_bytes),
        }
    }

    /// Whether compression saves enough to decompress for.
    fn is_worth(&self, packed_bytes: u64) -> bool {
        packed_bytes + self.raw_bytes / SAVED_SHARE_MIN <= self.raw_bytes
    }
}

/// The store.
pub struct SegmentStore {
    config: BufferConfig,
    entries: BTreeMap<SegmentId, Entry>,
    index: Arc<SegmentIndex>,
    next: u64,
    /// Counts pushes and reads; the only clock of eviction.
    accesses: u64,
    charged_bytes: u64,
    observation: BufferObservation,
}

impl SegmentStore {
    /// An empty one.
    ///
    /// # Errors
    /// Settings out of range.
    pub fn new(config: BufferConfig) -> Result<Self, BuffersError> {
        config.validate()?;
        Ok(Self {
            config,
            entries: BTreeMap::new(),
            index: Arc::default(),
            next: 0,
            accesses: 0,
            charged_bytes: 0,
            observation: BufferObservation { capacity_bytes: config.capacity.0, ..BufferObservation::default() },
        })
    }

    /// Stores a block; others are compressed and, where that is not enough, evicted first. The capacity is never exceeded.
    ///
    /// # Errors
    /// A block that breaks its rules, or one that is larger than the whole capacity; nothing has changed then.
    pub fn push(&mut self, block: Arc<TransitionBlock>) -> Result<Pushed, BuffersError> {
        block.validate()?;
        // Rounded here and not when it is compressed: precision follows from the setting, not from the moment of compression.
        let block = if self.config.observation_f16 { Arc::new(codec::with_observation_f16(&block)?) } else { block };
        let stored_bytes = block.bytes() + SEGMENT_OVERHEAD_BYTES;
        if stored_bytes > self.config.capacity.0 {
            return Err(BuffersError::BlockAboveCapacity { block: ByteSize(stored_bytes), capacity: self.config.capacity });
        }
        let evicted = self.make_room(stored_bytes);
        let segment = SegmentId(self.next);
        self.next += 1;
        self.accesses += 1;
        let policy_version = block.policy_version;
        let entry = Entry {
            policy_version,
            num_transitions: block.num_transitions() as u32,
            raw_bytes: stored_bytes,
            packed_bytes: None,
            charged_as: Tier::Hot,
            last_access: self.accesses,
            hits: 0,
        };
        self.charged_bytes += stored_bytes;
        self.observation.hot_bytes += stored_bytes;
        self.observation.segments += 1;
        self.observation.transitions += u64::from(entry.num_transitions);
        self.observation.pushed += 1;
        self.entries.insert(segment, entry);
        self.index.segments.insert(segment, Segment { policy_version, stored: Stored::Raw(block) });
        Ok(Pushed { segment, stored_bytes, evicted })
    }

    /// Hands over the first block pushed under `policy_version` and forgets it.
    ///
    /// # Errors
    /// None there, or damaged (it is dropped then).
    pub fn take(&mut self, policy_version: PolicyVersion) -> Result<Arc<TransitionBlock>, BuffersError> {
        let found = self.entries.iter().find(|(_, entry)| entry.policy_version == policy_version);
        let Some((&segment, _)) = found else {
            return Err(BuffersError::NoRollout { wanted: policy_version, held: self.held() });
        };
        let block = self.index.peek(segment);
        self.remove(segment);
        match block {
            Ok(_) => self.observation.taken += 1,
            Err(_) => self.observation.damaged += 1,
        }
        block
    }

    /// The block under that number, which stays; counts as a use.
    ///
    /// # Errors
    /// Not stored, or damaged (it is dropped then).
    pub fn read(&mut self, segment: SegmentId) -> Result<Arc<TransitionBlock>, BuffersError> {
        let entry = self.entries.get_mut(&segment).ok_or(BuffersError::NoSegment { segment })?;
        self.accesses += 1;
        entry.last_access = self.accesses;
        entry.hits = entry.hits.saturating_add(1);
        let block = self.index.peek(segment);
        if block.is_err() {
            self.remove(segment);
            self.observation.damaged += 1;
        }
        block
    }

    /// Compresses ahead of time: all but the newest segment, from [`Rung::Shed`] on all; returns the bytes freed.
    ///
    /// Blocks that someone still reads are left: compressing those would free nothing.
    pub fn relieve(&mut self, rung: Rung) -> u64 {
        let spared = match rung {
            Rung::Rest => return 0,
            Rung::Compress | Rung::Spill => 1,
            Rung::Shed | Rung::Stop => 0,
        };
        let before = self.observation.hot_bytes + self.observation.warm_bytes;
        let segments: Vec<SegmentId> = self.entries.keys().rev().skip(spared).copied().collect();
        for segment in segments {
            let unread = self.index.segments.get(&segment).is_some_and(|entry| match &entry.stored {
                Stored::Raw(block) => Arc::strong_count(block) == 1,
                Stored::Packed(_) => false,
            });
            if unread {
                self.pack(segment);
            }
        }
        before - (self.observation.hot_bytes + self.observation.warm_bytes)
    }

    /// Bytes held and what was done so far.
    pub fn observe(&self) -> BufferObservation {
        self.observation
    }

    /// For threads that read without asking.
    pub fn index(&self) -> Arc<SegmentIndex> {
        Arc::clone(&self.index)
    }

    /// Compresses until the warm share holds, then evicts until the capacity does.
    fn make_room(&mut self, incoming_bytes: u64) -> u32 {
        while self.charged_bytes + incoming_bytes > self.config.warm_bytes() {
            let Some(segment) = self.first_to_leave(|entry| entry.charged_as == Tier::Hot) else { break };
            self.pack(segment);
            let entry = self.entries.get_mut(&segment).expect("Invariant: a segment chosen to leave is stored");
            self.charged_bytes -= entry.charged_bytes();
            entry.charged_as = Tier::Warm;
            self.charged_bytes += entry.charged_bytes();
        }
        let mut evicted = 0;
        while self.charged_bytes + incoming_bytes > self.config.capacity.0 {
            let segment = self.first_to_leave(|_| true).expect("Invariant: a block within the capacity fits the empty store");
            self.remove(segment);
            evicted += 1;
        }
        self.observation.evicted += u64::from(evicted);
        evicted
    }

    /// Largest `age / (1 + hits)`; before that the oldest policy version, where so configured; at a tie the first pushed.
    fn first_to_leave(&self, among: impl Fn(&Entry) -> bool) -> Option<SegmentId> {
        let candidates = self.entries.iter().filter(|(_, entry)| among(entry));
        let first = candidates.min_by(|(_, a), (_, b)| {
            let by_policy = match self.config.eviction {
                Eviction::OldestPolicy => a.policy_version.cmp(&b.policy_version),
                Eviction::LeastRecentlyUsed => std::cmp::Ordering::Equal,
            };
            let age = |entry: &Entry| self.accesses - entry.last_access;
            by_policy.then_with(|| leaves_before((age(a), a.hits), (age(b), b.hits)))
        });
        first.map(|(&segment, _)| segment)
    }

    /// Holds the segment compressed, if it is raw and that makes it smaller.
    fn pack(&mut self, segment: SegmentId) {
        let entry = self.entries.get_mut(&segment).expect("Invariant: only stored segments are compressed");
        if entry.packed_bytes.is_some() {
            return;
        }
        let Some(mut held) = self.index.segments.get_mut(&segment) else { return };
        let Stored::Raw(block) = &held.stored else { return };
        let observation = if self.config.observation_f16 { ObservationEncoding::F16 } else { ObservationEncoding::F32 };
        let packed: Arc<[u8]> = codec::encode(block, observation).into();
        let packed_bytes = packed.len() as u64 + SEGMENT_OVERHEAD_BYTES;
        entry.packed_bytes = Some(packed_bytes);
        if entry.is_worth(packed_bytes) {
            held.stored = Stored::Packed(packed);
            self.observation.hot_bytes -= entry.raw_bytes;
            self.observation.warm_bytes += packed_bytes;
            self.observation.packed += 1;
            self.observation.packed_saved_bytes += entry.raw_bytes - packed_bytes;
        }
    }

    fn remove(&mut self, segment: SegmentId) {
        let entry = self.entries.remove(&segment).expect("Invariant: only stored segments are removed");
        self.charged_bytes -= entry.charged_bytes();
        match self.index.segments.remove(&segment).expect("Invariant: both indices hold the same segments").1.stored {
            Stored::Raw(_) => self.observation.hot_bytes -= entry.raw_bytes,
            Stored::Packed(packed) => self.observation.warm_bytes -= packed.len() as u64 + SEGMENT_OVERHEAD_BYTES,
        }
        self.observation.segments -= 1;
        self.observation.transitions -= u64::from(entry.num_transitions);
    }

    fn held(&self) -> String {
        let versions = || self.entries.values().map(|entry| entry.policy_version);
        match (versions().min(), versions().max()) {
            (Some(oldest), Some(newest)) => format!("{} segments of versions {oldest} to {newest} are", self.entries.len()),
            _ => "nothing is".into(),
        }
    }
}

#[cfg(test)]
mod tests;
