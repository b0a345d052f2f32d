//! What a replay buffer holds at one moment, for checkpoints: taken in the time that pointers and priorities take to copy, written out by whoever
//! holds it while sampling goes on, and put back to the bit.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use super::config::{ReplayConfig, ReplayShape};
use super::pages::Packed;
use super::rows::SEGMENT_LEN;
use super::segments::{Segments, Slot, Stored};
use super::store::ReplayStore;
use crate::{BuffersError, Tier};

/// A snapshot. Complete segments are shared with the buffer, the one being written is a copy.
#[derive(Clone, Debug)]
pub struct Contents {
    pub(super) config: ReplayConfig,
    pub(super) shape: ReplayShape,
    /// By age, each with its slot.
    pub(super) segments: Vec<(u32, Slot)>,
    pub(super) open_ends: Vec<u32>,
    /// Words that their list has room for; charged, so restored.
    pub(super) ends_capacity: u64,
    pub(super) after: Vec<u32>,
    pub(super) leaves: Vec<f32>,
    pub(super) max_priority: f32,
    /// Transitions inserted and sampled, as the rate limit counts them.
    pub(super) rate: [u64; 2],
    pub(super) cursor: u64,
    pub(super) dead: u64,
    pub(super) clock: u64,
    pub(super) reward_scale: f32,
    /// Of the actor that owns the buffer.
    pub(super) random: Option<ChaCha8Rng>,
}

impl Contents {
    /// Transitions pushed before the snapshot.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// With the state of the random numbers that the buffer draws with.
    pub fn with_random(self, random: ChaCha8Rng) -> Self {
        Self { random: Some(random), ..self }
    }

    /// The random numbers to go on with.
    pub fn random(&self) -> Option<&ChaCha8Rng> {
        self.random.as_ref()
    }
}

impl ReplayStore {
    /// A snapshot of everything that later pushes, samples and updates depend on.
    pub fn contents(&self) -> Contents {
        let open = self.segments.order.last().filter(|_| self.open_len() > 0).copied();
        let segments = self.segments.order.iter().map(|&slot| {
            let mut held = self.segments.slots[slot as usize].clone();
            if open == Some(slot)
                && let Stored::Raw { rows, .. } = &mut held.stored
            {
                *rows = rows[..self.open_len() * self.segments.pages.rows.words].into();
            }
            (slot, held)
        });
        Contents {
            config: self.config.clone(),
            shape: self.shape,
            segments: segments.collect(),
            open_ends: self.segments.open_ends.clone(),
            ends_capacity: self.segments.open_ends.capacity() as u64,
            after: self.segments.after.clone(),
            leaves: self.tree.as_ref().map_or_else(Vec::new, |tree| tree.leaves().to_vec()),
            max_priority: self.max_priority,
            rate: self.rate.map_or([0; 2], |rate| [rate.inserted, rate.sampled]),
            cursor: self.cursor,
            dead: self.dead as u64,
            clock: self.clock,
            reward_scale: self.reward_scale,
            random: None,
        }
    }

    /// Goes on from a snapshot, whatever was stored before; its segments keep their tiers.
    ///
    /// # Errors
    /// A snapshot of other settings or shapes, or a damaged one; nothing has changed then. A cold file that cannot be written.
    pub fn restore(&mut self, contents: Contents) -> Result<(), BuffersError> {
        // The folder may have another name on another machine, and the cache changes no result.
        let comparable = |config: &ReplayConfig| ReplayConfig { cold_folder: None, cache: self.config.cache, ..config.clone() };
        let turns_cold = |config: &ReplayConfig| config.cold_folder.is_some();
        let same = |field, found: String, expected: String| {
            if found == expected { Ok(()) } else { Err(BuffersError::OtherContents { field, found, expected }) }
        };
        same("shape", format!("{:?}", contents.shape), format!("{:?}", self.shape))?;
        same("settings", format!("{:?}", comparable(&contents.config)), format!("{:?}", comparable(&self.config)))?;
        same("cold_folder", format!("{:?}", turns_cold(&contents.config)), format!("{:?}", turns_cold(&self.config)))?;
        let mut store = Self::new(self.config.clone(), self.shape)?;
        for (slot, held) in contents.segments {
            store.segments.slots[slot as usize] = held;
            store.segments.order.push(slot);
        }
        (store.cursor, store.dead, store.clock) = (contents.cursor, contents.dead as usize, contents.clock);
        store.segments.after.copy_from_slice(&contents.after);
        store.reopen(&contents.open_ends, contents.ends_capacity as usize);
        store.settle()?;
        if let Some(tree) = &mut store.tree {
            tree.load(&contents.leaves);
        }
        if let Some(rate) = &mut store.rate {
            [rate.inserted, rate.sampled] = contents.rate;
        }
        (store.max_priority, store.reward_scale) = (contents.max_priority, contents.reward_scale);
        store.observation = self.observation;
        store.observation.transitions = store.len() as u64;
        *self = store;
        Ok(())
    }

    /// Gives the segment that is being written its full length and its terminal observations.
    fn reopen(&mut self, ends: &[u32], ends_capacity: usize) {
        self.segments.open_ends.reserve_exact(ends_capacity.min(SEGMENT_LEN * self.segments.pages.rows.words));
        self.segments.open_ends.extend_from_slice(ends);
        if self.open_len() == 0 {
            return;
        }
        let slot = *self.segments.order.last().expect("Invariant: an open segment is the newest") as usize;
        let words = SEGMENT_LEN * self.segments.pages.rows.words;
        if let Stored::Raw { rows, .. } = &mut self.segments.slots[slot].stored {
            let missing = std::iter::repeat_n(0, words - rows.len());
            *rows = rows.iter().copied().chain(missing).collect();
        }
    }

    /// Gives every complete segment the form that it is charged as.
    fn settle(&mut self) -> Result<(), BuffersError> {
        for at in 0..self.num_sealed() {
            let slot = self.segments.order[at] as usize;
            let Stored::Packed(packed) = self.segments.slots[slot].stored.clone() else { continue };
            let held = &self.segments.slots[slot];
            let stored = match (held.charged_as, &self.config.cold_folder) {
                (Tier::Cold, Some(folder)) if packed.file_bytes() == 0 => {
                    self.observation.spilled += 1;
                    Stored::Packed(Arc::new(packed.to_file(folder)?))
                }
                (Tier::Hot, _) => self.segments.unpack(slot, &packed)?,
                (Tier::Warm, _) if held.packed_bytes.is_some_and(|bytes| bytes >= held.raw_bytes) => self.segments.unpack(slot, &packed)?,
                _ => continue,
            };
            self.segments.slots[slot].stored = stored;
        }
        Ok(())
    }
}

impl Segments {
    /// A compressed segment, raw again.
    fn unpack(&mut self, slot: usize, packed: &Packed) -> Result<Stored, BuffersError> {
        let (words, page_rows) = (self.pages.rows.words, self.pages.page_rows);
        let mut rows = vec![0; packed.num_rows.div_ceil(page_rows) * self.pages.page_words()];
        for page in 0..packed.num_rows.div_ceil(page_rows) {
            let out = &mut rows[page * self.pages.page_words()..][..self.pages.page_words()];
            packed.unpack(&self.pages, page, &mut self.scratch, out).map_err(|source| BuffersError::SegmentDamaged {
                segment: crate::SegmentId(self.slots[slot].sequence),
                policy_version: self.slots[slot].policy_version,
                source: Box::new(source),
            })?;
        }
        let ends = &rows[SEGMENT_LEN * words..packed.num_rows * words];
        Ok(Stored::Raw { rows: rows[..SEGMENT_LEN * words].into(), ends: (!ends.is_empty()).then(|| ends.into()) })
    }
}
