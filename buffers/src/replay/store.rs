//! Blocks in, batches out. This file holds the store and its door; [`super::room`] decides what ages and leaves, [`super::gather`] makes batches,
//! [`super::contents`] takes snapshots.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::config::{ReplayConfig, ReplayShape, Sampling};
use super::pages::PageLayout;
use super::rate::RateLimiter;
use super::rows::{MARK, SEGMENT_LEN, flags_of};
use super::segments::{Segments, Side, Slot, Stored, raw_bytes};
use super::tree::PriorityTree;
use crate::messages::BufferObservation;
use crate::{BuffersError, Eviction, PolicyVersion, Pushed, SegmentId, Tier, TransitionBlock, codec};

/// Experience of one set of lanes.
pub struct ReplayStore {
    pub(super) config: ReplayConfig,
    pub(super) shape: ReplayShape,
    pub(super) segments: Segments,
    /// By slot and offset; none when uniform.
    pub(super) tree: Option<PriorityTree>,
    /// Largest priority so far: what a new transition gets.
    pub(super) max_priority: f32,
    pub(super) rate: Option<RateLimiter>,
    /// Transitions pushed so far: the number of the next.
    pub(super) cursor: u64,
    /// Transitions at the beginning of the oldest segment that are no longer wanted.
    pub(super) dead: usize,
    /// Counts segments and batches; the only clock of eviction.
    pub(super) clock: u64,
    pub(super) reward_scale: f32,
    pub(super) observation: BufferObservation,
    /// Where memory pressure moves segments; without it to the cold folder, where there is one.
    pub(super) spill_folder: Option<PathBuf>,
    /// Mapped files are larger than what the system can keep of them.
    pub(super) asks_for_pages: bool,
}

impl ReplayStore {
    /// An empty one. Trees, tables and the cache are allocated here.
    ///
    /// # Errors
    /// Settings out of range or not fit for what will be stored and asked for.
    pub fn new(config: ReplayConfig, shape: ReplayShape) -> Result<Self, BuffersError> {
        config.validate_for(&shape)?;
        let pages = PageLayout::new(ReplayConfig::layout(&shape), config.observation_f16);
        let num_slots = config.num_slots();
        Ok(Self {
            segments: Segments::new(pages, num_slots, shape.num_envs as usize, config.cache.0),
            tree: matches!(config.sampling, Sampling::Prioritised(_)).then(|| PriorityTree::new(num_slots * SEGMENT_LEN)),
            max_priority: 1.0,
            rate: config.rate.map(|rate| RateLimiter::new(rate, config.min_size)),
            cursor: 0,
            dead: 0,
            clock: 0,
            reward_scale: 1.0,
            observation: BufferObservation { capacity_bytes: config.capacity.0, ..BufferObservation::default() },
            spill_folder: None,
            asks_for_pages: false,
            config,
            shape,
        })
    }

    /// Stores an off-policy block. Its lanes go on where those of the block before stood; a lane that does not is cut there, as if truncated.
    ///
    /// # Errors
    /// A block that breaks its rules or is not of the shape stated at the start, an insert that the rate limit does not allow yet; nothing has changed
    /// then. A cold file that cannot be written.
    pub fn push(&mut self, block: &TransitionBlock) -> Result<Pushed, BuffersError> {
        block.validate()?;
        self.segments.pages.rows.check(block, self.shape.num_envs)?;
        let rounded = if self.config.observation_f16 { Some(codec::with_observation_f16(block)?) } else { None };
        let block = rounded.as_ref().unwrap_or(block);
        if let Some(rate) = &mut self.rate {
            rate.insert(block.num_transitions())?;
        }
        let evicted_before = self.observation.evicted;
        self.cut_what_does_not_follow(block);
        let (mut from, mut ended) = (0, 0);
        while from < block.num_transitions() {
            let count = (SEGMENT_LEN - self.open_len()).min(block.num_transitions() - from);
            ended += self.write(block, from..from + count, ended)?;
            from += count;
        }
        self.follow(block);
        self.reward_scale = block.reward_scale;
        self.observation.transitions = self.len() as u64;
        let segment = SegmentId((self.cursor - 1) / SEGMENT_LEN as u64);
        let stored_bytes = self.segments.pages.rows.bytes(block.num_transitions());
        Ok(Pushed { segment, stored_bytes, evicted: (self.observation.evicted - evicted_before) as u32 })
    }

    /// Where memory pressure may move compressed segments.
    pub fn with_spill_folder(mut self, folder: PathBuf) -> Self {
        self.spill_folder = Some(folder);
        self
    }

    /// Asks for the pages of a batch in mapped files before it reads them: worth it where the system cannot keep them all in memory, and only there.
    pub fn with_pages_asked_for(mut self) -> Self {
        self.asks_for_pages = true;
        self
    }

    /// Transitions stored.
    pub fn len(&self) -> usize {
        self.segments.order.len() * SEGMENT_LEN - (SEGMENT_LEN - self.open_len()) % SEGMENT_LEN - self.dead
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory allocated: rows, tables, trees, cache.
    pub fn bytes(&self) -> u64 {
        let [raw, packed, _] = self.segments.held_bytes();
        self.fixed_bytes() + raw + packed
    }

    /// Bytes held and what was done so far; tables, trees and the cache count as hot.
    pub fn observe(&self) -> BufferObservation {
        let [raw, packed, cold_bytes] = self.segments.held_bytes();
        let (cache_hits, cache_misses) = (self.segments.cache.hits, self.segments.cache.misses);
        let segments = self.segments.order.len() as u64;
        BufferObservation {
            hot_bytes: self.fixed_bytes() + raw,
            warm_bytes: packed,
            cold_bytes,
            segments,
            cache_hits,
            cache_misses,
            ..self.observation
        }
    }

    /// Settings.
    pub fn config(&self) -> &ReplayConfig {
        &self.config
    }

    /// Bytes that do not depend on what is stored.
    pub(super) fn fixed_bytes(&self) -> u64 {
        self.segments.fixed_bytes() + self.tree.as_ref().map_or(0, PriorityTree::bytes)
    }

    /// Transitions in the segment that is being written; 0 when the next begins one.
    pub(super) fn open_len(&self) -> usize {
        (self.cursor % SEGMENT_LEN as u64) as usize
    }

    /// Segments that are complete.
    pub(super) fn num_sealed(&self) -> usize {
        self.segments.order.len() - usize::from(self.open_len() > 0)
    }

    /// Transitions `range` of the block, within one segment; how many of them ended an episode.
    fn write(&mut self, block: &TransitionBlock, range: Range<usize>, ended: usize) -> Result<usize, BuffersError> {
        let words = self.segments.pages.rows.words;
        let (start, count) = (self.open_len(), range.len());
        let ending = block.flags[range.clone()].iter().filter(|flags| **flags != 0).count();
        self.reserve_ends(ending * words)?;
        let slot = self.open_slot(block.policy_version)?;
        let Segments { slots, open_ends, pages, .. } = &mut self.segments;
        let Stored::Raw { rows, .. } = &mut slots[slot].stored else { unreachable!("Invariant: an open segment is raw") };
        let rows = Arc::get_mut(rows).expect("Invariant: an open segment is not shared");
        let mut ends = (open_ends.len() / words) as u32;
        pages.rows.write_rows(&mut rows[start * words..(start + count) * words], block, range.start, &mut ends);
        for end in ended..ended + ending {
            let terminal = &block.terminal;
            let at = open_ends.len();
            open_ends.resize(at + words, 0);
            let table = block.has_market().then(|| (terminal.table[end], terminal.row[end]));
            let width = pages.rows.observation_width;
            pages.rows.write_observation(&mut open_ends[at..], table, &terminal.observation[end * width..][..width]);
        }
        if let Some(tree) = &mut self.tree {
            tree.fill(slot * SEGMENT_LEN + start..slot * SEGMENT_LEN + start + count, self.max_priority);
        }
        self.cursor += count as u64;
        self.trim();
        if self.open_len() == 0 {
            self.seal(slot)?;
        }
        Ok(ending)
    }

    /// The slot of the segment that is being written, a new one where there is none.
    fn open_slot(&mut self, policy_version: PolicyVersion) -> Result<usize, BuffersError> {
        if self.open_len() > 0 {
            return Ok(*self.segments.order.last().expect("Invariant: an open segment is the newest") as usize);
        }
        let words = SEGMENT_LEN * self.segments.pages.rows.words;
        self.make_room(raw_bytes(words, 0), SEGMENT_LEN)?;
        self.clock += 1;
        let sequence = self.cursor / SEGMENT_LEN as u64;
        let usual = (sequence % self.segments.slots.len() as u64) as usize;
        let is_free = |slot: &usize| matches!(self.segments.slots[*slot].stored, Stored::Nothing);
        let mut slots = std::iter::once(usual).chain(0..self.segments.slots.len());
        let slot = slots.find(is_free).expect("Invariant: there are more slots than segments fit");
        self.segments.slots[slot] = Slot {
            sequence,
            stored: Stored::Raw { rows: std::iter::repeat_n(0, words).collect(), ends: None },
            policy_version,
            last_access: self.clock,
            raw_bytes: raw_bytes(words, 0),
            ..Slot::EMPTY
        };
        self.segments.order.push(slot as u32);
        self.observation.pushed += 1;
        Ok(slot)
    }

    /// Makes sure that so many more words of terminal observations fit the open segment, within the capacity.
    fn reserve_ends(&mut self, words: usize) -> Result<(), BuffersError> {
        let (len, capacity) = (self.segments.open_ends.len(), self.segments.open_ends.capacity());
        if len + words > capacity {
            let wanted = (len + words).max(2 * capacity).min(SEGMENT_LEN * self.segments.pages.rows.words);
            // The old and the new one are there at once while it moves.
            self.make_room(wanted as u64 * 4, 0)?;
            self.segments.open_ends.reserve_exact(wanted - len);
        }
        Ok(())
    }

    /// The segment is complete: its terminal observations move to it.
    fn seal(&mut self, slot: usize) -> Result<(), BuffersError> {
        let end_words = self.segments.open_ends.len();
        if end_words == 0 {
            return Ok(());
        }
        let Stored::Raw { rows, .. } = &self.segments.slots[slot].stored else { unreachable!("Invariant: an open segment is raw") };
        let sealed_bytes = raw_bytes(rows.len(), end_words);
        self.make_room_beside(sealed_bytes - raw_bytes(rows.len(), 0), slot)?;
        let Segments { slots, open_ends, .. } = &mut self.segments;
        if let Stored::Raw { ends, .. } = &mut slots[slot].stored {
            *ends = Some(open_ends.as_slice().into());
        }
        slots[slot].raw_bytes = sealed_bytes;
        open_ends.clear();
        Ok(())
    }

    /// The newest `buffer_size` transitions are wanted; older ones are no longer drawn, and leave with the last of their segment.
    fn trim(&mut self) {
        if self.config.eviction != Eviction::OldestPolicy {
            return;
        }
        while self.len() > self.config.buffer_size {
            let beyond = (self.len() - self.config.buffer_size).min(SEGMENT_LEN - self.dead);
            let first = self.segments.order[0] as usize * SEGMENT_LEN + self.dead;
            if let Some(tree) = &mut self.tree {
                tree.fill(first..first + beyond, 0.0);
            }
            self.dead += beyond;
            if self.dead == SEGMENT_LEN {
                self.evict(0);
            }
        }
    }

    /// Where a lane's first observation is not what its last step led to, that step keeps what it led to.
    fn cut_what_does_not_follow(&mut self, block: &TransitionBlock) {
        let lanes = self.shape.num_envs as usize;
        if self.cursor == 0 {
            return;
        }
        let layout = self.segments.pages.rows;
        let mut first = vec![0; layout.words];
        for lane in 0..lanes {
            let after = &self.segments.after[lane * layout.words..][..layout.words];
            let table = layout.has_market.then(|| (block.table[lane], block.row[lane]));
            let observation = &block.observation[lane * layout.observation_width..][..layout.observation_width];
            layout.write_observation(&mut first, table, observation);
            if flags_of(after[MARK]) != 0 || layout.same_observation(after, &first) {
                continue;
            }
            let number = self.cursor - (lanes - lane) as u64;
            let Some(slot) = self.segments.slot_of(number / SEGMENT_LEN as u64) else { continue };
            let Segments { slots, after, .. } = &mut self.segments;
            let side = slots[slot].side.get_or_insert_with(|| Box::new(Side::default()));
            side.insert((number % SEGMENT_LEN as u64) as usize, &after[lane * layout.words..][..layout.words]);
        }
    }

    /// Remembers what each lane observes now, with the flags of its last step.
    fn follow(&mut self, block: &TransitionBlock) {
        let layout = self.segments.pages.rows;
        let last = block.num_transitions() - self.shape.num_envs as usize;
        for (lane, row) in self.segments.after.chunks_exact_mut(layout.words).enumerate() {
            let after = &block.after;
            let table = layout.has_market.then(|| (after.table[lane], after.row[lane]));
            layout.write_observation(row, table, &after.observation[lane * layout.observation_width..][..layout.observation_width]);
            row[MARK] |= u32::from(block.flags[last + lane]);
        }
    }

    /// The tier of a segment.
    pub fn tier(&self, segment: SegmentId) -> Option<Tier> {
        self.segments.slot_of(segment.0).map(|slot| self.segments.slots[slot].tier())
    }
}
