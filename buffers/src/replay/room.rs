//! What ages, and what leaves: decided by what is *charged*, which follows from configuration, pushes and samples alone. Memory pressure may have more
//! compressed than is due; that changes what is held and nothing else.

use std::sync::Arc;

use grandmodel_memory::Rung;

use super::config::{ReplayConfig, ReplayShape};
use super::pages::{PACKED_HEAD_BYTES, PageLayout};
use super::rows::{MARK, SEGMENT_LEN, flags_of};
use super::segments::{FREE, Place, Segments, Side, Slot, Stored, raw_bytes};
use super::store::ReplayStore;
use super::tree::PriorityTree;
use crate::config::leaves_before;
use crate::{BuffersError, Eviction, Tier};

impl ReplayConfig {
    /// Bytes below which the buffer cannot work: its tables, and two segments of which every step ends an episode.
    pub fn capacity_min(&self, shape: &ReplayShape) -> u64 {
        let layout = Self::layout(shape);
        let pages = PageLayout::new(layout, self.observation_f16);
        let tables = Segments::new(pages, self.num_slots(), shape.num_envs as usize, self.cache.0).fixed_bytes();
        let tree = if self.sampling == super::Sampling::Uniform { 0 } else { PriorityTree::new(self.num_slots() * SEGMENT_LEN).bytes() };
        let segment_words = SEGMENT_LEN * layout.words;
        let sides = layout.bytes(shape.num_envs as usize);
        // Two segments, and the terminal observations of the one being written, twice while they move.
        tables + tree + 2 * raw_bytes(segment_words, segment_words) + 2 * layout.bytes(SEGMENT_LEN) + PACKED_HEAD_BYTES + 4 * sides
    }
}

impl ReplayStore {
    /// Compresses, spills and evicts until so many more bytes and transitions fit.
    pub(super) fn make_room(&mut self, bytes: u64, transitions: usize) -> Result<(), BuffersError> {
        if self.config.eviction != Eviction::OldestPolicy {
            while self.segments.order.len() * SEGMENT_LEN + transitions > self.config.buffer_size && transitions > 0 {
                self.evict_first(|_| true);
            }
        }
        self.age(bytes, FREE)
    }

    /// The same while a segment is being sealed, which stays as it is.
    pub(super) fn make_room_beside(&mut self, bytes: u64, slot: usize) -> Result<(), BuffersError> {
        let spared = self.segments.slots[slot].sequence;
        self.age(bytes, spared)
    }

    fn age(&mut self, bytes: u64, spared: u64) -> Result<(), BuffersError> {
        let share = |share: f64| (share * self.config.capacity.0 as f64) as u64;
        let (warm, cold, capacity) = (share(self.config.warm_at), share(self.config.cold_at), self.config.capacity.0);
        let is_due = |slot: &Slot, tier| slot.charged_as == tier && slot.sequence != spared;
        loop {
            let charged = self.charged_bytes() + bytes;
            if charged > warm
                && let Some(at) = self.first_to_leave(|slot| is_due(slot, Tier::Hot))
            {
                self.warm(at);
            } else if charged > cold
                && self.config.cold_folder.is_some()
                && let Some(at) = self.first_to_leave(|slot| is_due(slot, Tier::Warm))
                && self.config.cold_capacity.0 > 0
            {
                self.cool(at)?;
            } else if charged > capacity && self.evict_first(|slot| slot.sequence != spared) {
                continue;
            } else {
                return Ok(());
            }
        }
    }

    /// Bytes charged against the capacity.
    pub(super) fn charged_bytes(&self) -> u64 {
        let slots: u64 = self.segments.order.iter().map(|slot| self.segments.slots[*slot as usize].charged_bytes()).sum();
        self.fixed_bytes() + self.segments.open_ends.capacity() as u64 * 4 + slots
    }

    /// Position, by age, of the complete segment that goes first: the oldest, or the largest `age / (1 + hits)`.
    fn first_to_leave(&self, among: impl Fn(&Slot) -> bool) -> Option<usize> {
        let slots = &self.segments.slots;
        let mut candidates =
            self.segments.order[..self.num_sealed()].iter().map(|slot| &slots[*slot as usize]).enumerate().filter(|(_, slot)| among(slot));
        match self.config.eviction {
            Eviction::OldestPolicy => candidates.next().map(|(at, _)| at),
            Eviction::LeastRecentlyUsed => {
                let age = |slot: &Slot| self.clock - slot.last_access;
                let first = candidates.min_by(|(_, a), (_, b)| leaves_before((age(a), a.hits), (age(b), b.hits)));
                first.map(|(at, _)| at)
            }
        }
    }

    fn evict_first(&mut self, among: impl Fn(&Slot) -> bool) -> bool {
        match self.first_to_leave(among) {
            Some(at) => {
                self.evict(at);
                true
            }
            None => false,
        }
    }

    /// The segment leaves; others keep what they need of it.
    pub(super) fn evict(&mut self, at: usize) {
        let slot = self.segments.order[at] as usize;
        if self.config.eviction != Eviction::OldestPolicy {
            self.keep_followers(slot);
        }
        if at == 0 {
            self.dead = 0;
        }
        if matches!(self.segments.slots[slot].stored, Stored::Packed(_)) {
            self.segments.forget_pages(slot);
        }
        self.segments.slots[slot] = Slot::EMPTY;
        self.segments.order.remove(at);
        if let Some(tree) = &mut self.tree {
            tree.fill(slot * SEGMENT_LEN..(slot + 1) * SEGMENT_LEN, 0.0);
        }
        self.observation.evicted += 1;
    }

    /// Observations of a leaving segment that are the next ones of steps in segments that stay.
    ///
    /// A damaged page keeps nothing: reading it again would only fail again.
    fn keep_followers(&mut self, slot: usize) {
        let (lanes, words) = (u64::from(self.shape.num_envs), self.segments.pages.rows.words);
        let first = self.segments.slots[slot].sequence * SEGMENT_LEN as u64;
        let mut kept = vec![0; words];
        for index in 0..SEGMENT_LEN.min(lanes as usize) {
            let Some(before) = (first + index as u64).checked_sub(lanes) else { continue };
            let (sequence, offset) = (before / SEGMENT_LEN as u64, (before % SEGMENT_LEN as u64) as usize);
            let Some(holder) = self.segments.slot_of(sequence) else { continue };
            match self.segments.row(Place::Row { slot: holder, index: offset }) {
                Ok(row) if flags_of(row[MARK]) == 0 => {}
                _ => continue,
            }
            match self.segments.row(Place::Row { slot, index }) {
                Ok(row) => kept.copy_from_slice(row),
                Err(_) => continue,
            }
            self.segments.slots[holder].side.get_or_insert_with(|| Box::new(Side::default())).insert(offset, &kept);
        }
    }

    fn warm(&mut self, at: usize) {
        let slot = self.segments.order[at] as usize;
        self.pack(slot);
        self.segments.slots[slot].charged_as = Tier::Warm;
    }

    /// To the cold folder; where that is full, the first to leave of those there leaves instead.
    fn cool(&mut self, at: usize) -> Result<(), BuffersError> {
        let slot = self.segments.order[at] as usize;
        if matches!(self.segments.slots[slot].stored, Stored::Raw { .. }) {
            // It did not shrink and moves all the same.
            let (rows, _) = self.compress_into_scratch(slot);
            self.segments.slots[slot].stored = Stored::Nothing;
            self.segments.slots[slot].stored = Stored::Packed(Arc::new(self.segments.scratch.packed(rows)));
        }
        let Stored::Packed(packed) = self.segments.slots[slot].stored.clone() else { unreachable!("Invariant: it was compressed above") };
        let file_bytes = packed.payload().len() as u64;
        let cold_bytes =
            |store: &Self| store.segments.order.iter().map(|slot| store.segments.slots[*slot as usize].cold_bytes).sum::<u64>();
        let spared = self.segments.slots[slot].sequence;
        while cold_bytes(self) + file_bytes > self.config.cold_capacity.0 {
            if !self.evict_first(|slot| slot.charged_as == Tier::Cold) {
                // Larger than the whole folder: it leaves itself.
                self.evict_first(|slot| slot.sequence == spared);
                return Ok(());
            }
        }
        let folder = self.config.cold_folder.clone().expect("Invariant: segments turn cold only where there is a folder");
        let mapped = if packed.file_bytes() > 0 { packed } else { Arc::new(packed.to_file(&folder)?) };
        let slot = &mut self.segments.slots[slot];
        slot.packed_bytes = Some(mapped.bytes() + mapped.file_bytes());
        (slot.charged_as, slot.cold_bytes, slot.stored) = (Tier::Cold, file_bytes, Stored::Packed(mapped));
        self.observation.spilled += 1;
        Ok(())
    }

    /// Holds the segment compressed, if it is raw and that makes it smaller.
    fn pack(&mut self, slot: usize) {
        if self.segments.slots[slot].packed_bytes.is_some() {
            return;
        }
        let (rows, packed_bytes) = self.compress_into_scratch(slot);
        let held = &mut self.segments.slots[slot];
        held.packed_bytes = Some(packed_bytes);
        if packed_bytes < held.raw_bytes {
            self.observation.packed += 1;
            self.observation.packed_saved_bytes += held.raw_bytes - packed_bytes;
            // Dropped before the other is allocated.
            held.stored = Stored::Nothing;
            self.segments.slots[slot].stored = Stored::Packed(Arc::new(self.segments.scratch.packed(rows)));
        }
    }

    fn compress_into_scratch(&mut self, slot: usize) -> (usize, u64) {
        let Segments { slots, scratch, pages, .. } = &mut self.segments;
        let Stored::Raw { rows, ends } = &slots[slot].stored else { unreachable!("Invariant: only raw segments are compressed") };
        let ends = ends.as_deref().unwrap_or_default();
        scratch.pack(pages, rows, ends);
        ((rows.len() + ends.len()) / pages.rows.words, scratch.packed_bytes())
    }

    /// Compresses ahead of time, all complete segments but the newest, and from [`Rung::Spill`] on moves what is compressed to files; from [`Rung::Shed`]
    /// on the newest, too. Returns the bytes of memory freed.
    ///
    /// Segments that a snapshot still holds are left, since that would free nothing, and so are those that cannot be written: pressure is no reason to end
    /// a run with an error.
    pub fn relieve(&mut self, rung: Rung) -> u64 {
        let (spared, spills) = match rung {
            Rung::Rest => return 0,
            Rung::Compress => (1, false),
            Rung::Spill => (1, true),
            Rung::Shed | Rung::Stop => (0, true),
        };
        let before = self.bytes();
        for at in 0..self.num_sealed().saturating_sub(spared) {
            let slot = self.segments.order[at] as usize;
            if let Stored::Raw { rows, .. } = &self.segments.slots[slot].stored
                && Arc::strong_count(rows) == 1
            {
                self.pack(slot);
            }
            if spills {
                self.spill(slot);
            }
        }
        before - self.bytes()
    }

    /// Holds a compressed segment as a mapped file, whatever it is charged as.
    fn spill(&mut self, slot: usize) {
        let Some(folder) = self.spill_folder.as_deref().or(self.config.cold_folder.as_deref()) else { return };
        let Stored::Packed(packed) = &self.segments.slots[slot].stored else { return };
        if packed.file_bytes() > 0 || Arc::strong_count(packed) > 1 {
            return;
        }
        match packed.to_file(folder) {
            Ok(mapped) => {
                self.segments.slots[slot].stored = Stored::Packed(Arc::new(mapped));
                self.observation.spilled += 1;
            }
            Err(_) => self.observation.not_spilled += 1,
        }
    }
}
