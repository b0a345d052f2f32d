//! Priorities by slot, drawn in proportion; the smallest among them for the largest importance weight. It knows no transition.
//!
//! Sixteen children a node, so that a node is a cache line or two and a million leaves are five levels. Sum tree and min tree share the leaves. Nodes are
//! recomputed from their children, never adjusted by differences, and are f64 over f32 leaves: sums cannot drift.

use super::rows::prefetch;

const WIDTH: usize = 16;
/// Leaves that walk down the tree together, so that their cache misses overlap.
const TOGETHER: usize = 64;

/// One level above the leaves; entry `i` covers children `16 i .. 16 i + 16`.
#[derive(Clone, Debug)]
struct Level {
    sums: Vec<f64>,
    /// Running sums within each group of sixteen entries.
    prefixes: Vec<f64>,
    mins: Vec<f32>,
    /// One bit an entry: a child changed.
    dirty: Vec<u64>,
}

/// The tree. A leaf of 0 is never drawn and no minimum.
#[derive(Clone, Debug)]
pub struct PriorityTree {
    leaves: Vec<f32>,
    levels: Vec<Level>,
}

impl PriorityTree {
    /// All leaves 0.
    pub fn new(num_leaves: usize) -> Self {
        let mut levels = Vec::new();
        let mut len = num_leaves.div_ceil(WIDTH);
        let leaves = vec![0.0; len * WIDTH];
        loop {
            let padded = len.div_ceil(WIDTH) * WIDTH;
            levels.push(Level {
                sums: vec![0.0; padded],
                prefixes: vec![0.0; padded],
                mins: vec![f32::INFINITY; padded],
                dirty: vec![0; len.div_ceil(64)],
            });
            if len <= WIDTH {
                levels.shrink_to_fit();
                return Self { leaves, levels };
            }
            len = padded / WIDTH;
        }
    }

    /// Sum of all leaves.
    pub fn total(&self) -> f64 {
        self.levels.last().expect("Invariant: there is a level").prefixes[WIDTH - 1]
    }

    /// Smallest leaf above 0; infinite when there is none.
    pub fn min(&self) -> f32 {
        self.levels.last().expect("Invariant: there is a level").mins.iter().copied().fold(f32::INFINITY, f32::min)
    }

    /// One leaf.
    pub fn get(&self, slot: usize) -> f32 {
        self.leaves[slot]
    }

    pub(super) fn leaves(&self) -> &[f32] {
        &self.leaves
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> u64 {
        let level = |level: &Level| {
            (level.sums.capacity() + level.prefixes.capacity()) * 8 + level.mins.capacity() * 4 + level.dirty.capacity() * 8
        };
        let levels: usize = self.levels.iter().map(level).sum();
        (self.leaves.capacity() * 4 + self.levels.capacity() * size_of::<Level>() + levels) as u64
    }

    /// Sets a run of leaves to one value.
    pub fn fill(&mut self, slots: std::ops::Range<usize>, value: f32) {
        if slots.is_empty() {
            return;
        }
        self.leaves[slots.clone()].fill(value);
        let (mut first, mut last) = (slots.start / WIDTH, (slots.end - 1) / WIDTH);
        for entry in first..=last {
            self.refresh_bottom(entry);
        }
        for level in 0..self.levels.len() {
            (first, last) = (first / WIDTH, last / WIDTH);
            for group in first..=last {
                self.refresh_group(level, group);
            }
        }
    }

    /// Sets all leaves at once; missing ones are 0.
    pub(super) fn load(&mut self, leaves: &[f32]) {
        self.leaves[..leaves.len()].copy_from_slice(leaves);
        self.leaves[leaves.len()..].fill(0.0);
        for entry in 0..self.leaves.len() / WIDTH {
            self.refresh_bottom(entry);
        }
        for level in 0..self.levels.len() {
            for group in 0..self.levels[level].sums.len() / WIDTH {
                self.refresh_group(level, group);
            }
        }
    }

    /// Sets a leaf; its parents follow with [`PriorityTree::refresh`].
    pub(super) fn set(&mut self, slot: usize, value: f32) {
        self.leaves[slot] = value;
        let entry = slot / WIDTH;
        self.levels[0].dirty[entry / 64] |= 1 << (entry % 64);
    }

    /// Recomputes the parents of all leaves that were set, each once.
    pub(super) fn refresh(&mut self) {
        for level in 0..self.levels.len() {
            for word in 0..self.levels[level].dirty.len() {
                let mut bits = std::mem::take(&mut self.levels[level].dirty[word]);
                while bits != 0 {
                    let entry = word * 64 + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    if level == 0 {
                        self.refresh_bottom(entry);
                    } else {
                        self.refresh_group(level - 1, entry);
                    }
                    if let Some(above) = self.levels.get_mut(level + 1) {
                        above.dirty[entry / WIDTH / 64] |= 1 << (entry / WIDTH % 64);
                    }
                }
            }
        }
        self.refresh_group(self.levels.len() - 1, 0);
    }

    /// Entry of the lowest level from its leaves.
    fn refresh_bottom(&mut self, entry: usize) {
        let leaves: &[f32; WIDTH] = self.leaves[entry * WIDTH..].first_chunk().expect("Invariant: leaves are whole groups");
        let level = &mut self.levels[0];
        level.sums[entry] = sum(&leaves.map(f64::from));
        level.mins[entry] = min(&leaves.map(|leaf| if leaf > 0.0 { leaf } else { f32::INFINITY }));
    }

    /// Running sums of a group, and its entry one level up.
    fn refresh_group(&mut self, level: usize, group: usize) {
        let (below, above) = self.levels.split_at_mut(level + 1);
        let level = &mut below[level];
        let at = group * WIDTH;
        let sums: &[f64; WIDTH] = level.sums[at..].first_chunk().expect("Invariant: levels are whole groups");
        let prefixes: &mut [f64; WIDTH] = level.prefixes[at..].first_chunk_mut().expect("Invariant: levels are whole groups");
        let mut running = 0.0;
        for (prefix, sum) in prefixes.iter_mut().zip(sums) {
            running += sum;
            *prefix = running;
        }
        if let Some(above) = above.first_mut() {
            above.sums[group] = running;
            above.mins[group] = min(level.mins[at..].first_chunk().expect("Invariant: levels are whole groups"));
        }
    }

    /// For each target in `[0, total)` the slot whose share of the running sum it falls in.
    ///
    /// # Panics
    /// When all leaves are 0.
    pub fn find(&self, targets: &mut [f64], slots: &mut [u32]) {
        assert!(self.total() > 0.0, "Invariant: only a tree with a leaf above 0 is drawn from");
        for (targets, slots) in targets.chunks_mut(TOGETHER).zip(slots.chunks_mut(TOGETHER)) {
            slots.fill(0);
            for (height, level) in self.levels.iter().enumerate().rev() {
                for (target, slot) in targets.iter_mut().zip(&mut *slots) {
                    let at = *slot as usize * WIDTH;
                    let prefixes: &[f64; WIDTH] = level.prefixes[at..].first_chunk().expect("Invariant: levels are whole groups");
                    let below = at + descend(prefixes, target);
                    *slot = below as u32;
                    match height.checked_sub(1) {
                        Some(lower) => prefetch(&self.levels[lower].prefixes[below * WIDTH..][..WIDTH]),
                        None => prefetch(&self.leaves[below * WIDTH..][..WIDTH]),
                    }
                }
            }
            for (target, slot) in targets.iter_mut().zip(slots) {
                let at = *slot as usize * WIDTH;
                let leaves: &[f32; WIDTH] = self.leaves[at..].first_chunk().expect("Invariant: leaves are whole groups");
                let mut running = 0.0;
                let prefixes = leaves.map(|leaf| {
                    running += f64::from(leaf);
                    running
                });
                *slot = (at + descend(&prefixes, target)) as u32;
            }
        }
    }
}

/// The child that the target falls in; the target becomes what is left of it there. Beyond the end, as rounding may have it, the last child above 0.
#[inline]
fn descend(prefixes: &[f64; WIDTH], target: &mut f64) -> usize {
    let passed: u32 = prefixes.iter().map(|prefix| u32::from(*prefix <= *target)).sum();
    let child = match passed as usize {
        WIDTH => prefixes.iter().position(|prefix| *prefix == prefixes[WIDTH - 1]).unwrap_or(0),
        child => child,
    };
    if child > 0 {
        *target -= prefixes[child - 1];
    }
    child
}

fn sum(values: &[f64; WIDTH]) -> f64 {
    let mut lanes = [0.0; 4];
    for four in values.chunks_exact(4) {
        for (lane, value) in lanes.iter_mut().zip(four) {
            *lane += value;
        }
    }
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
}

fn min(values: &[f32; WIDTH]) -> f32 {
    let mut lanes = [f32::INFINITY; 4];
    for four in values.chunks_exact(4) {
        for (lane, value) in lanes.iter_mut().zip(four) {
            *lane = if *value < *lane { *value } else { *lane };
        }
    }
    lanes[0].min(lanes[1]).min(lanes[2].min(lanes[3]))
}

#[cfg(test)]
mod tests;
