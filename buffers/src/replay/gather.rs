//! From a store to a batch: which transitions, and what lies n steps ahead of each. Nothing is allocated once the batch has been that large.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::batch::ReplayBatch;
use super::config::Sampling;
use super::rows::{MARK, REWARD, RowLayout, SEGMENT_LEN, copy, end_of, flags_of, market_row_of, prefetch, table_of};
use super::segments::{FREE, Place, Segments, Stored};
use super::store::ReplayStore;
use crate::{BuffersError, Eviction, SegmentId, flags};

/// Most steps that one sample looks ahead.
pub const N_STEP_MAX: usize = 64;
/// Random numbers and tree searches at a time.
const CHUNK: usize = 64;
/// Samples whose first row is fetched ahead of its use.
const AHEAD: usize = 16;

impl ReplayStore {
    /// Draws a batch, with replacement: uniformly, or one from each of `batch` equal strata of the priorities.
    ///
    /// # Errors
    /// Fewer transitions stored than `min_size`, a sample that the rate limit does not allow yet, arguments out of range, a damaged segment.
    pub fn sample(
        &mut self,
        batch: usize,
        n_step: usize,
        gamma: f64,
        beta: f64,
        rng: &mut ChaCha8Rng,
        out: &mut ReplayBatch,
    ) -> Result<(), BuffersError> {
        self.check(batch, n_step, gamma, beta)?;
        if let Some(rate) = &mut self.rate {
            rate.sample(batch)?;
        }
        self.clock += 1;
        self.observation.sampled += batch as u64;
        out.resize(batch, &self.segments.pages.rows);
        out.reward_scale = self.reward_scale;
        match self.config.sampling {
            Sampling::Uniform => self.draw_uniform(rng, out),
            Sampling::Prioritised(_) => self.draw_prioritised(beta, rng, out),
        }
        let mut powers = [1.0; N_STEP_MAX + 1];
        (1..=n_step).for_each(|k| powers[k] = powers[k - 1] * gamma);
        let (cursor, lanes) = (self.cursor, u64::from(self.shape.num_envs));
        if self.asks_for_pages && self.observation.spilled > 0 {
            self.segments.fetch_mapped(out, n_step * lanes as usize);
        }
        let is_counted = self.config.eviction == Eviction::LeastRecentlyUsed;
        for slot in out.slot.iter().take(AHEAD) {
            self.segments.fetch(*slot as usize, lanes as usize);
        }
        let mut sample = 0;
        while sample < batch {
            if is_counted {
                let slot = &mut self.segments.slots[out.slot[sample] as usize / SEGMENT_LEN];
                (slot.last_access, slot.hits) = (self.clock, slot.hits.saturating_add(1));
            } else if n_step == 1 {
                sample = self.segments.gather_plain(sample, gamma as f32, cursor, lanes as usize, out);
                if sample == batch {
                    break;
                }
            }
            self.segments.gather(sample, &powers[..=n_step], cursor, lanes, out)?;
            sample += 1;
        }
        Ok(())
    }

    /// Sets priorities from absolute errors; how many still were where they had been.
    ///
    /// # Errors
    /// Columns of different lengths, an error that is not finite; nothing has changed then.
    pub fn update_priorities(&mut self, slot: &[u32], stamp: &[u64], error: &[f32]) -> Result<usize, BuffersError> {
        for (column, found) in [("stamp", stamp.len()), ("priority", error.len())] {
            if found != slot.len() {
                return Err(BuffersError::ColumnLength { column, found, expected: slot.len(), rule: "as many as slot" });
            }
        }
        if let Some(index) = error.iter().position(|error| !error.is_finite()) {
            return Err(BuffersError::Value { column: "priority", index, value: error[index].into(), expected: "finite" });
        }
        let (Sampling::Prioritised(settings), Some(tree)) = (&self.config.sampling, &mut self.tree) else { return Ok(0) };
        let oldest = self.segments.order.first().map_or(usize::MAX, |slot| *slot as usize);
        let mut updated = 0;
        for ((&slot, &stamp), error) in slot.iter().zip(stamp).zip(error) {
            let (holder, offset) = (slot as usize / SEGMENT_LEN, slot as usize % SEGMENT_LEN);
            let is_there = stamp != FREE && self.segments.slots.get(holder).is_some_and(|held| held.sequence == stamp);
            let is_dead = holder == oldest && offset < self.dead;
            if is_there && !is_dead && stamp * (SEGMENT_LEN as u64) + (offset as u64) < self.cursor {
                let priority = (error.abs() + settings.epsilon).powf(settings.alpha);
                tree.set(slot as usize, priority);
                self.max_priority = self.max_priority.max(priority);
                updated += 1;
            }
        }
        tree.refresh();
        Ok(updated)
    }

    fn check(&self, batch: usize, n_step: usize, gamma: f64, beta: f64) -> Result<(), BuffersError> {
        let argument = |name, value: f64, expected| Err(BuffersError::Argument { name, value, expected });
        if batch > self.config.buffer_size {
            return Err(BuffersError::BatchAboveBuffer { batch, buffer_size: self.config.buffer_size });
        }
        if batch == 0 {
            return argument("batch", 0.0, "at least 1");
        }
        if !(1..=N_STEP_MAX).contains(&n_step) {
            return argument("n_step", n_step as f64, "between 1 and 64");
        }
        if !(0.0..=1.0).contains(&gamma) {
            return argument("gamma", gamma, "between 0 and 1");
        }
        if !(0.0..=1.0).contains(&beta) {
            return argument("beta", beta, "between 0 and 1");
        }
        let wanted = self.config.min_size.max(1);
        if self.len() < wanted { Err(BuffersError::TooFewStored { stored: self.len(), wanted }) } else { Ok(()) }
    }

    fn draw_uniform(&self, rng: &mut ChaCha8Rng, out: &mut ReplayBatch) {
        let len = self.len() as u128;
        for (slot, stamp) in out.slot.iter_mut().zip(&mut out.stamp) {
            // The upper half of the product: uniform to within len / 2^64.
            let at = ((u128::from(rng.next_u64()) * len) >> 64) as usize + self.dead;
            let holder = self.segments.order[at / SEGMENT_LEN];
            *slot = holder * SEGMENT_LEN as u32 + (at % SEGMENT_LEN) as u32;
            *stamp = self.segments.slots[holder as usize].sequence;
        }
        out.weight.fill(1.0);
    }

    fn draw_prioritised(&self, beta: f64, rng: &mut ChaCha8Rng, out: &mut ReplayBatch) {
        let tree = self.tree.as_ref().expect("Invariant: prioritised sampling has a tree");
        let width = tree.total() / out.batch as f64;
        let mut targets = [0.0; CHUNK];
        for (chunk, slots) in out.slot.chunks_mut(CHUNK).enumerate() {
            for (i, target) in targets.iter_mut().enumerate().take(slots.len()) {
                let fraction = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
                *target = ((chunk * CHUNK + i) as f64 + fraction) * width;
            }
            tree.find(&mut targets[..slots.len()], slots);
        }
        // (len p / total)^-beta over the largest of it, that of the smallest p.
        let (min, beta) = (tree.min(), beta as f32);
        for ((slot, stamp), weight) in out.slot.iter().zip(&mut out.stamp).zip(&mut out.weight) {
            *stamp = self.segments.slots[*slot as usize / SEGMENT_LEN].sequence;
            *weight = (min / tree.get(*slot as usize)).powf(beta);
        }
    }
}

impl Segments {
    /// Fills samples as long as each is the plain case: one step ahead, within one raw segment. The first that is not.
    fn gather_plain(&self, from: usize, gamma: f32, cursor: u64, lanes: usize, out: &mut ReplayBatch) -> usize {
        let layout = self.pages.rows;
        let RowLayout { observation_width: width, action_width, words, .. } = layout;
        let ReplayBatch { table, row, observation, action, reward, discount, next_table, next_row, next_observation, slot, stamp, .. } =
            out;
        let (observation, next_observation, action) = (&mut observation[..], &mut next_observation[..], &mut action[..]);
        let (reward, discount) = (&mut reward[..slot.len()], &mut discount[..slot.len()]);
        for sample in from..slot.len() {
            if let Some(later) = slot.get(sample + AHEAD) {
                self.fetch(*later as usize, lanes);
            }
            let (held, index) = (&self.slots[slot[sample] as usize / SEGMENT_LEN], slot[sample] as usize % SEGMENT_LEN);
            let is_newest = stamp[sample] * SEGMENT_LEN as u64 + (index + lanes) as u64 >= cursor;
            let Stored::Raw { rows, .. } = &held.stored else { return sample };
            if is_newest || index + lanes >= SEGMENT_LEN || held.side.is_some() {
                return sample;
            }
            let this = &rows[index * words..][..words];
            if flags_of(this[MARK]) != 0 {
                return sample;
            }
            let next = &rows[(index + lanes) * words..][..words];
            reward[sample] = f32::from_bits(this[REWARD]);
            discount[sample] = gamma;
            copy(&mut action[sample * action_width..][..action_width], layout.action(this));
            copy(&mut observation[sample * width..][..width], layout.observation(this));
            copy(&mut next_observation[sample * width..][..width], layout.observation(next));
            if layout.has_market {
                (table[sample], row[sample]) = (table_of(this[MARK]), market_row_of(this));
                (next_table[sample], next_row[sample]) = (table_of(next[MARK]), market_row_of(next));
            }
        }
        slot.len()
    }

    /// Fills one sample, whatever it is.
    fn gather(&mut self, sample: usize, powers: &[f64], cursor: u64, lanes: u64, out: &mut ReplayBatch) -> Result<(), BuffersError> {
        let layout = self.pages.rows;
        let at = out.slot[sample] as usize;
        let (mut slot, mut index) = (at / SEGMENT_LEN, at % SEGMENT_LEN);
        let mut number = out.stamp[sample] * SEGMENT_LEN as u64 + index as u64;
        let row = self.row(Place::Row { slot, index })?;
        let mut mark = row[MARK];
        let mut reward = f64::from(f32::from_bits(row[REWARD]));
        copy(&mut out.action[sample * layout.action_width..][..layout.action_width], layout.action(row));
        read_observation(&layout, row, sample, &mut out.table, &mut out.row, &mut out.observation);
        let mut k = 1;
        let next = loop {
            if flags_of(mark) != 0 {
                break Place::Row { slot, index: SEGMENT_LEN + end_of(mark) };
            }
            if let Some(side) = &self.slots[slot].side
                && let Some(at) = side.find(index)
            {
                break Place::Side { slot, at };
            }
            number += lanes;
            if number >= cursor {
                break Place::After { lane: (number - cursor) as usize };
            }
            index += lanes as usize;
            if index >= SEGMENT_LEN {
                index %= SEGMENT_LEN;
                // A step whose next one left has an entry in its side, unless what left was damaged.
                let segment = SegmentId(number / SEGMENT_LEN as u64);
                slot = self.slot_of(segment.0).ok_or(BuffersError::NoSegment { segment })?;
            }
            if k + 1 == powers.len() {
                break Place::Row { slot, index };
            }
            let row = self.row(Place::Row { slot, index })?;
            mark = row[MARK];
            reward += powers[k] * f64::from(f32::from_bits(row[REWARD]));
            k += 1;
        };
        out.reward[sample] = reward as f32;
        out.discount[sample] = if flags_of(mark) & flags::TERMINATED != 0 { 0.0 } else { powers[k] as f32 };
        let row = self.row(next)?;
        read_observation(&layout, row, sample, &mut out.next_table, &mut out.next_row, &mut out.next_observation);
        Ok(())
    }

    /// Asks for the pages in mapped files that a batch will read: those of its rows, and of the rows so far ahead.
    fn fetch_mapped(&self, batch: &ReplayBatch, ahead: usize) {
        let page_rows = self.pages.page_rows;
        let fetch = |slot: usize, first: usize, last: usize| {
            let Stored::Packed(packed) = &self.slots[slot].stored else { return };
            let number = slot * self.pages.pages_max();
            if !(first..=last).all(|page| self.cache.holds(number + page)) {
                packed.fetch(first..=last);
            }
        };
        for (at, stamp) in batch.slot.iter().zip(&batch.stamp) {
            let (slot, index) = (*at as usize / SEGMENT_LEN, *at as usize % SEGMENT_LEN);
            let last = index + ahead;
            fetch(slot, index / page_rows, last.min(SEGMENT_LEN - 1) / page_rows);
            if last >= SEGMENT_LEN
                && let Some(next) = self.slot_of(stamp + (last / SEGMENT_LEN) as u64)
            {
                let page = last % SEGMENT_LEN / page_rows;
                fetch(next, page, page);
            }
        }
    }

    /// Asks for the cache lines of a row, and of the next one of its lane, before they are needed.
    #[inline(always)]
    fn fetch(&self, at: usize, lanes: usize) {
        if let Stored::Raw { rows, .. } = &self.slots[at / SEGMENT_LEN].stored {
            let (words, index) = (self.pages.rows.words, at % SEGMENT_LEN);
            prefetch(&rows[index * words..][..words]);
            if index + lanes < SEGMENT_LEN {
                prefetch(&rows[(index + lanes) * words..][..self.pages.rows.action_at]);
            }
        }
    }
}

#[inline]
fn read_observation(layout: &RowLayout, row: &[u32], sample: usize, table: &mut [u16], market_row: &mut [u32], observation: &mut [f32]) {
    if layout.has_market {
        (table[sample], market_row[sample]) = (table_of(row[MARK]), market_row_of(row));
    }
    copy(&mut observation[sample * layout.observation_width..][..layout.observation_width], layout.observation(row));
}
