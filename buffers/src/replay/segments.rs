//! The segments themselves: slots, rows by place whatever their form, and what they weigh. Which of them age and leave is decided elsewhere.

use std::sync::Arc;

use super::cache::PageCache;
use super::pages::{Packed, PageLayout, PageScratch};
use super::rows::SEGMENT_LEN;
use crate::{BuffersError, PolicyVersion, SegmentId, Tier};

/// Sequence number of a slot without a segment.
pub(super) const FREE: u64 = u64::MAX;

/// Observations that follow steps of a segment whose own next step is gone, or is not what followed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Side {
    /// Ascending.
    pub(super) offsets: Vec<u16>,
    pub(super) rows: Vec<u32>,
}

/// In what form a segment is held.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    Nothing,
    Raw { rows: Arc<[u32]>, ends: Option<Arc<[u32]>> },
    Packed(Arc<Packed>),
}

/// Room for one segment.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// Counts segments; transition `number` lies in sequence `number / SEGMENT_LEN`.
    pub(super) sequence: u64,
    pub(super) stored: Stored,
    pub(super) side: Option<Box<Side>>,
    pub(super) policy_version: PolicyVersion,
    pub(super) last_access: u64,
    pub(super) hits: u32,
    /// The tier it is charged as; it may be held in a smaller form, never in a larger one.
    pub(super) charged_as: Tier,
    pub(super) raw_bytes: u64,
    /// Known once it was compressed for whatever reason.
    pub(super) packed_bytes: Option<u64>,
    /// Of its file, once it is charged as cold.
    pub(super) cold_bytes: u64,
}

impl Slot {
    pub(super) const EMPTY: Self = Self {
        sequence: FREE,
        stored: Stored::Nothing,
        side: None,
        policy_version: PolicyVersion(0),
        last_access: 0,
        hits: 0,
        charged_as: Tier::Hot,
        raw_bytes: 0,
        packed_bytes: None,
        cold_bytes: 0,
    };

    /// Bytes of memory that decide what ages and leaves; they follow from pushes and samples alone.
    pub(super) fn charged_bytes(&self) -> u64 {
        let side = self.side.as_ref().map_or(0, |side| side.bytes());
        let warm = self.packed_bytes.map_or(self.raw_bytes, |packed| packed.min(self.raw_bytes));
        side + match self.charged_as {
            Tier::Hot => self.raw_bytes,
            Tier::Warm => warm,
            Tier::Cold => self.packed_bytes.map_or(self.raw_bytes, |packed| packed - self.cold_bytes),
        }
    }

    /// Bytes of memory that are really held, without the side.
    pub(super) fn held_bytes(&self) -> u64 {
        match &self.stored {
            Stored::Nothing => 0,
            Stored::Raw { rows, ends } => raw_bytes(rows.len(), ends.as_ref().map_or(0, |ends| ends.len())),
            Stored::Packed(packed) => packed.bytes(),
        }
    }

    pub(super) fn tier(&self) -> Tier {
        match &self.stored {
            Stored::Packed(packed) if packed.file_bytes() > 0 => Tier::Cold,
            Stored::Packed(_) => Tier::Warm,
            _ => Tier::Hot,
        }
    }
}

/// Bytes of a raw segment of so many words of rows and of terminal observations: two counts before each, rounded up to their alignment.
pub(super) fn raw_bytes(row_words: usize, end_words: usize) -> u64 {
    let shared = |words: usize| (16 + words as u64 * 4).next_multiple_of(8);
    shared(row_words) + if end_words == 0 { 0 } else { shared(end_words) }
}

impl Side {
    pub(super) fn bytes(&self) -> u64 {
        (size_of::<Self>() + self.offsets.capacity() * 2 + self.rows.capacity() * 4) as u64
    }

    /// Adds a step's follower, unless it has one.
    pub(super) fn insert(&mut self, offset: usize, row: &[u32]) {
        if let Err(at) = self.offsets.binary_search(&(offset as u16)) {
            // No slack: a restored side weighs as much.
            self.offsets.reserve_exact(1);
            self.rows.reserve_exact(row.len());
            self.offsets.insert(at, offset as u16);
            self.rows.splice(at * row.len()..at * row.len(), row.iter().copied());
        }
    }

    pub(super) fn find(&self, offset: usize) -> Option<usize> {
        self.offsets.binary_search(&(offset as u16)).ok()
    }
}

/// A row of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A step, or behind the steps a terminal observation.
    Row { slot: usize, index: usize },
    /// An entry of the slot's side.
    Side { slot: usize, at: usize },
    /// What a lane observes now.
    After { lane: usize },
}

/// All slots, and the means to read them.
pub(super) struct Segments {
    pub(super) pages: PageLayout,
    pub(super) slots: Vec<Slot>,
    /// Slots in use, by age.
    pub(super) order: Vec<u32>,
    pub(super) cache: PageCache,
    pub(super) scratch: PageScratch,
    /// The row that was last read from a compressed page.
    line: Vec<u32>,
    /// Terminal observations of the segment that is being written.
    pub(super) open_ends: Vec<u32>,
    /// `[num_envs]` rows: what each lane observes now, with the flags of its last step.
    pub(super) after: Vec<u32>,
}

impl Segments {
    pub(super) fn new(pages: PageLayout, num_slots: usize, num_envs: usize, cache_bytes: u64) -> Self {
        let page_bytes = pages.page_words() as u64 * 4;
        // More pages than the buffer has are never needed.
        let entries = (cache_bytes / page_bytes).clamp(1, (num_slots * pages.pages_max() / 2) as u64);
        Self {
            pages,
            slots: vec![Slot::EMPTY; num_slots],
            order: Vec::with_capacity(num_slots),
            cache: PageCache::new(page_bytes as usize, num_slots * pages.pages_max(), entries as usize),
            scratch: pages.scratch(),
            line: vec![0; pages.rows.words],
            open_ends: Vec::new(),
            after: vec![0; num_envs * pages.rows.words],
        }
    }

    /// Bytes that do not depend on what is stored.
    pub(super) fn fixed_bytes(&self) -> u64 {
        let tables = self.slots.capacity() * size_of::<Slot>() + (self.order.capacity() + self.after.capacity() + self.line.capacity()) * 4;
        tables as u64 + self.cache.bytes() + self.scratch.bytes()
    }

    /// Where a segment is, if it still is.
    #[inline]
    pub(super) fn slot_of(&self, sequence: u64) -> Option<usize> {
        // Where it goes unless that slot is taken, which happens only when others than the oldest leave.
        let usual = (sequence % self.slots.len() as u64) as usize;
        if self.slots[usual].sequence == sequence {
            return Some(usual);
        }
        let at = self.order.binary_search_by_key(&sequence, |slot| self.slots[*slot as usize].sequence).ok()?;
        Some(self.order[at] as usize)
    }

    /// The words of a row. Of a compressed segment the page is decompressed, unless it was lately.
    #[inline]
    pub(super) fn row(&mut self, place: Place) -> Result<&[u32], BuffersError> {
        let words = self.pages.rows.words;
        let (slot, index) = match place {
            Place::Row { slot, index } => (slot, index),
            Place::Side { slot, at } => {
                let side = self.slots[slot].side.as_ref().expect("Invariant: a place in a side was found there");
                return Ok(&side.rows[at * words..][..words]);
            }
            Place::After { lane } => return Ok(&self.after[lane * words..][..words]),
        };
        if matches!(self.slots[slot].stored, Stored::Packed(_)) {
            return self.packed_row(slot, index);
        }
        match &self.slots[slot].stored {
            Stored::Raw { rows, .. } if index < SEGMENT_LEN => Ok(&rows[index * words..][..words]),
            Stored::Raw { ends: Some(ends), .. } => Ok(&ends[(index - SEGMENT_LEN) * words..][..words]),
            // Not sealed yet.
            Stored::Raw { ends: None, .. } => Ok(&self.open_ends[(index - SEGMENT_LEN) * words..][..words]),
            _ => unreachable!("Invariant: only slots in use are read"),
        }
    }

    fn packed_row(&mut self, slot: usize, index: usize) -> Result<&[u32], BuffersError> {
        let page = index / self.pages.page_rows;
        let number = slot * self.pages.pages_max() + page;
        let Self { slots, cache, line, pages, .. } = self;
        let Stored::Packed(packed) = &slots[slot].stored else { unreachable!("Invariant: only compressed segments have pages") };
        let entry = match cache.find(number) {
            Some(entry) => entry,
            None => {
                let entry = cache.take(number);
                if let Err(source) = packed.planes(pages, page, cache.planes_mut(entry)) {
                    cache.forget(number);
                    let (segment, policy_version) = (SegmentId(slots[slot].sequence), slots[slot].policy_version);
                    return Err(BuffersError::SegmentDamaged { segment, policy_version, source: Box::new(source) });
                }
                entry
            }
        };
        // Of a page hardly more than one row is wanted before it gives way: that one is put together.
        pages.join_row(cache.planes(entry), packed.rows_of(pages, page), index % pages.page_rows, line);
        Ok(line)
    }

    pub(super) fn forget_pages(&mut self, slot: usize) {
        let pages_max = self.pages.pages_max();
        (slot * pages_max..(slot + 1) * pages_max).for_each(|page| self.cache.forget(page));
    }

    /// Bytes held raw, compressed in memory, and in files; sides count as raw.
    pub(super) fn held_bytes(&self) -> [u64; 3] {
        let mut held = [self.open_ends.capacity() as u64 * 4, 0, 0];
        for &slot in &self.order {
            let slot = &self.slots[slot as usize];
            held[usize::from(slot.tier() != Tier::Hot)] += slot.held_bytes();
            held[0] += slot.side.as_ref().map_or(0, |side| side.bytes());
            if let Stored::Packed(packed) = &slot.stored {
                held[2] += packed.file_bytes();
            }
        }
        held
    }
}
