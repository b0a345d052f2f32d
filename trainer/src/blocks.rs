//! The sum of a step's gradient blocks: blocks in, each computed in a vector that stays warm; one gradient out, added in a fixed binary tree. Its bits depend on the order
//! of the blocks only, never on how many are computed at once or by whom.
//!
//! The tree is walked shard by shard: a worker carries all additions out over one range of the parameters, then takes the next range. What is read is read once, and
//! nobody waits for a thread that adds alone. [`crate::adam`] goes on over the same shards.
//!
//! With an [`Exchange`] the blocks belong to workers, as many as the settings say whatever the number of threads: each sums its own, and of its sum the largest
//! entries are added to those of the others.

use grandmodel_embedders::plain::Pool;
use rayon::prelude::*;

use crate::{
    TrainerError,
    adam::SHARD,
    snapshot::Snapshot,
    sparsify::{num_sent, sparsify},
};

/// What comes before a worker's number in the names of a checkpoint's arrays.
const ERROR: &str = "error.";
/// Values of each array that all additions pass over before the next ones: few enough that those of all arrays lie in a near cache together.
const TILE: usize = 1 << 11;

/// Gradients that nobody needs now, kept warm for the next blocks. Fresh ones were 8 % of a step of two workers: pages to fault in, and mappings taken back of which the
/// other core must be told.
#[derive(Debug, Default)]
pub struct Blocks {
    num_parameters: usize,
    spare: Pool<Vec<f32>>,
    /// Of each worker what it has not sent yet; none where there is no exchange.
    errors: Vec<Vec<f32>>,
    /// Share of the parameters that a worker sends.
    share: f64,
}

/// Between whom a step's blocks are divided, and what they tell each other of their sums. Part of a run's bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exchange {
    /// Workers.
    pub workers: u32,
    /// Share of the parameters that each sends; 0: everything, and who sums what makes no difference.
    pub share: f64,
}

impl Blocks {
    /// Of gradients of `num_parameters`.
    pub fn new(num_parameters: usize) -> Self {
        Self { num_parameters, ..Self::default() }
    }

    /// From now on so.
    pub fn set_exchange(&mut self, exchange: Exchange) {
        let num_errors = if exchange.share > 0.0 { exchange.workers as usize } else { 0 };
        self.errors = vec![vec![0.0; self.num_parameters]; num_errors];
        self.share = exchange.share;
    }

    /// The sum of a step of so many blocks; `earlier`, that of the step before, is no longer needed.
    pub fn sum(&mut self, earlier: Vec<f32>, num_blocks: usize) -> BlockSum<'_> {
        self.give_back(earlier);
        BlockSum { blocks: self, tree: TreeSum::default(), num_blocks, num_taken: 0, received: Vec::new() }
    }

    /// Bytes of gradients that are kept warm.
    pub fn spare_bytes(&self) -> u64 {
        self.spare.weigh(|gradient| (gradient.capacity() * size_of::<f32>()) as u64)
    }

    /// Bytes of what has not been sent yet.
    pub fn error_bytes(&self) -> u64 {
        (self.errors.len() * self.num_parameters * size_of::<f32>()) as u64
    }

    /// Puts what has not been sent yet into a checkpoint.
    pub fn put(&self, snapshot: &mut Snapshot) {
        let named = self.errors.iter().enumerate().map(|(worker, error)| (format!("{ERROR}{worker}"), error.clone()));
        snapshot.arrays.extend(named);
    }

    /// Takes it out again.
    ///
    /// # Errors
    /// [`TrainerError::Setting`] when the checkpoint was written with other workers.
    pub fn take(&mut self, snapshot: &mut Snapshot) -> Result<(), TrainerError> {
        let found = snapshot.arrays.keys().filter(|name| name.starts_with(ERROR)).count();
        if found != self.errors.len() {
            return Err(TrainerError::Setting {
                key: "train.gradient_workers with train.sparsify on",
                value: self.errors.len().to_string(),
                expected: format!("{found}, as in the checkpoint: what each has not sent yet lies there"),
            });
        }
        for (worker, error) in self.errors.iter_mut().enumerate() {
            *error = snapshot.take(&format!("{ERROR}{worker}"), self.num_parameters)?;
        }
        Ok(())
    }

    /// Drops what is kept.
    pub fn shed(&self) {
        self.spare.clear();
    }

    fn zeros(&self) -> Vec<f32> {
        let mut gradient = self.spare.take();
        gradient.clear();
        gradient.resize(self.num_parameters, 0.0);
        gradient
    }

    fn give_back(&self, gradient: Vec<f32>) {
        if gradient.capacity() > 0 {
            self.spare.give_back(gradient);
        }
    }
}

/// A sum under way.
pub struct BlockSum<'a> {
    blocks: &'a mut Blocks,
    /// Of the worker whose turn it is.
    tree: TreeSum,
    num_blocks: usize,
    num_taken: usize,
    /// What the workers before sent; empty before the first.
    received: Vec<f32>,
}

impl BlockSum<'_> {
    /// Computes the next blocks side by side, all of them alive at once: `one` adds a block's gradient to zeros. Answers come in the order of the blocks.
    ///
    /// # Errors
    /// That of a block.
    pub fn add<B: Send, A: Send>(
        &mut self,
        next: impl IndexedParallelIterator<Item = B>,
        one: impl Fn(B, &mut [f32]) -> Result<A, TrainerError> + Send + Sync,
    ) -> Result<Vec<A>, TrainerError> {
        let blocks = &*self.blocks;
        let compute = |block| {
            let mut gradient = blocks.zeros();
            one(block, &mut gradient).map(|answer| (gradient, answer))
        };
        let computed: Vec<_> = next.map(compute).collect::<Result<_, _>>()?;
        let (gradients, answers): (Vec<_>, Vec<_>) = computed.into_iter().unzip();
        self.take(gradients);
        Ok(answers)
    }

    /// The sum of all blocks, or of all that was sent of it; empty when there was none.
    pub fn finish(self) -> Vec<f32> {
        assert_eq!(self.num_taken, self.num_blocks, "Invariant: a step has the blocks it was said to have");
        if self.blocks.errors.is_empty() { self.tree.finish(self.blocks) } else { self.received }
    }

    /// Each block goes to its worker: the first ones to the first, as many to each as to any other, or one more.
    fn take(&mut self, gradients: Vec<Vec<f32>>) {
        let workers = self.blocks.errors.len().max(1);
        let mut gradients = gradients.into_iter();
        while gradients.len() > 0 {
            let worker = self.num_taken * workers / self.num_blocks;
            let end = ((worker + 1) * self.num_blocks).div_ceil(workers);
            let own: Vec<_> = gradients.by_ref().take(end - self.num_taken).collect();
            self.num_taken += own.len();
            self.tree.push(own, self.blocks);
            if self.num_taken == end && !self.blocks.errors.is_empty() {
                self.send(worker);
            }
        }
    }

    /// A worker that has all its blocks sends what is largest, and keeps the rest for the next step.
    fn send(&mut self, worker: usize) {
        let sum = std::mem::take(&mut self.tree).finish(self.blocks);
        let k = num_sent(sum.len(), self.blocks.share);
        let sparse = sparsify(&sum, &mut self.blocks.errors[worker], k);
        self.blocks.give_back(sum);
        if self.received.is_empty() {
            self.received = self.blocks.zeros();
        }
        sparse.add_to(&mut self.received);
    }
}

/// Partial sums, one a level of the tree.
#[derive(Debug, Default)]
struct TreeSum {
    levels: Vec<Option<Vec<f32>>>,
}

impl TreeSum {
    /// Takes the next arrays; those that are added to others go back.
    fn push(&mut self, arrays: Vec<Vec<f32>>, blocks: &Blocks) {
        let mut slots = Slots::default();
        let mut levels: Vec<Option<usize>> = self.levels.drain(..).map(|level| Some(slots.put(level?))).collect();
        for array in arrays {
            let mut carried = slots.put(array);
            let free = levels.iter_mut().find_map(|level| match level.take() {
                Some(earlier) => {
                    carried = slots.add(earlier, carried);
                    None
                }
                None => Some(level),
            });
            match free {
                Some(level) => *level = Some(carried),
                None => levels.push(Some(carried)),
            }
        }
        slots.carry_out();
        self.levels = levels.into_iter().map(|level| Some(slots.take(level?))).collect();
        slots.arrays.into_iter().for_each(|array| blocks.give_back(array));
    }

    /// The sum of all arrays: later levels into earlier ones.
    fn finish(self, blocks: &Blocks) -> Vec<f32> {
        let mut slots = Slots::default();
        let levels: Vec<usize> = self.levels.into_iter().flatten().map(|level| slots.put(level)).collect();
        let sum = levels.into_iter().reduce(|later, earlier| slots.add(earlier, later));
        slots.carry_out();
        let sum = sum.map_or(Vec::new(), |sum| slots.take(sum));
        slots.arrays.into_iter().for_each(|array| blocks.give_back(array));
        sum
    }
}

/// Arrays with the additions between them that are still to be carried out.
#[derive(Default)]
struct Slots {
    arrays: Vec<Vec<f32>>,
    /// `(into, other)`, in order.
    additions: Vec<[usize; 2]>,
}

impl Slots {
    fn put(&mut self, array: Vec<f32>) -> usize {
        self.arrays.push(array);
        self.arrays.len() - 1
    }

    fn take(&mut self, slot: usize) -> Vec<f32> {
        std::mem::take(&mut self.arrays[slot])
    }

    /// Notes an addition; the sum will lie where the first array lies.
    fn add(&mut self, into: usize, other: usize) -> usize {
        self.additions.push([into, other]);
        into
    }

    fn carry_out(&mut self) {
        if self.additions.is_empty() {
            return;
        }
        let num_shards = self.arrays.first().map_or(0, |array| array.len().div_ceil(SHARD));
        let mut shards: Vec<Vec<&mut [f32]>> = (0..num_shards).map(|_| Vec::with_capacity(self.arrays.len())).collect();
        for array in &mut self.arrays {
            shards.iter_mut().zip(array.chunks_mut(SHARD)).for_each(|(shard, part)| shard.push(part));
        }
        shards.into_par_iter().for_each(|mut parts| add_parts(&mut parts, &self.additions));
    }
}

/// All additions over one shard, a tile at a time.
fn add_parts(parts: &mut [&mut [f32]], additions: &[[usize; 2]]) {
    let len = parts.first().map_or(0, |part| part.len());
    for start in (0..len).step_by(TILE) {
        let tile = start..(start + TILE).min(len);
        for addition in additions {
            let [into, other] = parts.get_disjoint_mut(*addition).expect("Invariant: nothing is added to itself");
            into[tile.clone()].iter_mut().zip(&other[tile.clone()]).for_each(|(a, b)| *a += b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums arrays of which so many are alive at once.
    fn sum(arrays: &[Vec<f32>], alive: usize) -> Vec<f32> {
        let mut blocks = Blocks::new(arrays[0].len());
        let mut sum = blocks.sum(Vec::new(), arrays.len());
        for arrays in arrays.chunks(alive) {
            let copy = |array: &Vec<f32>, into: &mut [f32]| {
                into.copy_from_slice(array);
                Ok(array[0])
            };
            let answers = sum.add(arrays.par_iter(), copy).expect("blocks that work");
            assert_eq!(answers, arrays.iter().map(|array| array[0]).collect::<Vec<_>>());
        }
        sum.finish()
    }

    #[test]
    fn the_tree_is_fixed() {
        // ((a + b) + (c + d)) + e, where a plain left-to-right sum would lose the small terms
        let terms = [1e8f32, 1.0, -1e8, 1.0, 3.0];
        let expected = vec![((terms[0] + terms[1]) + (terms[2] + terms[3])) + terms[4]];
        let arrays = terms.map(|term| vec![term]);
        (1..=5).for_each(|alive| assert_eq!(expected, sum(&arrays, alive), "{alive} alive"));
    }

    #[test]
    fn shards_and_threads_change_no_bit() {
        let len = 2 * SHARD + 5000;
        let arrays: Vec<Vec<f32>> = (0..7).map(|k| (0..len).map(|i| ((i * 37 + k * 11) % 1013) as f32 * 1e-3 + 0.1).collect()).collect();
        let a = |k: usize, i: usize| arrays[k][i];
        let expected: Vec<f32> = (0..len).map(|i| ((a(0, i) + a(1, i)) + (a(2, i) + a(3, i))) + ((a(4, i) + a(5, i)) + a(6, i))).collect();
        for threads in [1, 2, 4] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            for alive in [1, 3, 7] {
                assert!(expected == pool.install(|| sum(&arrays, alive)), "{threads} threads, {alive} alive");
            }
        }
    }

    #[test]
    fn a_block_that_fails_fails_the_sum_and_what_is_not_needed_stays_warm() {
        let mut blocks = Blocks::new(3);
        let mut sum = blocks.sum(vec![9.0; 3], 1);
        // The gradient of the step before is taken again, and is zero again.
        let answer = sum.add([7].par_iter(), |block, gradient| Ok((*block, gradient.to_vec())));
        assert_eq!(vec![(7, vec![0.0; 3])], answer.expect("a block"));
        assert!(sum.blocks.spare.take().is_empty());
        let refused = || TrainerError::Actor { actor: "block", cause: "refused".into() };
        assert!(sum.add([7].par_iter(), |_, _| Err::<(), _>(refused())).is_err());
    }

    #[test]
    fn workers_send_the_largest_of_their_own_sums_and_keep_the_rest() {
        // Five blocks for two workers: three for the first, two for the second. Of four parameters each sends one.
        let arrays = [[1.0, 0.0, 0.0, 5.0], [1.0, 0.0, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 7.0, 4.0], [0.0, 0.0, 0.0, 4.0]];
        for alive in 1..=5 {
            let mut blocks = Blocks::new(4);
            blocks.set_exchange(Exchange { workers: 2, share: 0.25 });
            let mut step = || {
                let mut sum = blocks.sum(Vec::new(), 5);
                for arrays in arrays.chunks(alive) {
                    sum.add(arrays.par_iter(), |array, into| {
                        into.copy_from_slice(array);
                        Ok(())
                    })
                    .expect("blocks that work");
                }
                sum.finish()
            };
            // Sums 3 2 0 5 and 0 0 7 8: both send the last. Then 6 4 0 5 and 0 0 14 8.
            assert_eq!(vec![0.0, 0.0, 0.0, 13.0], step(), "{alive} alive");
            assert_eq!(vec![6.0, 0.0, 14.0, 0.0], step(), "{alive} alive");
            assert_eq!([[0.0, 4.0, 0.0, 5.0], [0.0, 0.0, 0.0, 8.0]].map(Vec::from).to_vec(), blocks.errors);
        }
    }
}
