//! The sum of a step's gradient blocks: blocks in, each computed in a vector that stays warm; one gradient out, added in a fixed binary tree. Its bits depend on the order
//! of the blocks only, never on how many are computed at once or by whom.
//!
//! The tree is walked shard by shard: a worker carries all additions out over one range of the parameters, then takes the next range. What is read is read once, and
//! nobody waits for a thread that adds alone. [`crate::adam`] goes on over the same shards.

use grandmodel_embedders::plain::Pool;
use rayon::prelude::*;

use crate::{TrainerError, adam::SHARD};

/// Values of all arrays of an addition that lie in the nearest cache together.
const TILE: usize = 1 << 11;

/// Gradients that nobody needs now, kept warm for the next blocks: a fresh one of some megabytes costs as much in page faults as it takes to add it.
#[derive(Debug, Default)]
pub struct Blocks {
    num_parameters: usize,
    spare: Pool<Vec<f32>>,
}

impl Blocks {
    /// Of gradients of `num_parameters`.
    pub fn new(num_parameters: usize) -> Self {
        Self { num_parameters, spare: Pool::default() }
    }

    /// The sum of a step, of which `earlier`, that of the step before, is no longer needed.
    pub fn sum(&self, earlier: Vec<f32>) -> BlockSum<'_> {
        self.give_back(earlier);
        BlockSum { blocks: self, tree: TreeSum::default() }
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
    blocks: &'a Blocks,
    tree: TreeSum,
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
        let compute = |block| {
            let mut gradient = self.blocks.zeros();
            one(block, &mut gradient).map(|answer| (gradient, answer))
        };
        let computed: Vec<_> = next.map(compute).collect::<Result<_, _>>()?;
        let (gradients, answers): (Vec<_>, Vec<_>) = computed.into_iter().unzip();
        self.tree.push(gradients, self.blocks);
        Ok(answers)
    }

    /// The sum of all blocks; empty when there was none.
    pub fn finish(self) -> Vec<f32> {
        self.tree.finish(self.blocks)
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
        let blocks = Blocks::new(arrays[0].len());
        let mut sum = blocks.sum(Vec::new());
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
        let blocks = Blocks::new(3);
        let mut sum = blocks.sum(vec![9.0; 3]);
        // The gradient of the step before is taken again, and is zero again.
        let answer = sum.add([7].par_iter(), |block, gradient| Ok((*block, gradient.to_vec())));
        assert_eq!(vec![(7, vec![0.0; 3])], answer.expect("a block"));
        assert!(blocks.spare.take().is_empty());
        let refused = || TrainerError::Actor { actor: "block", cause: "refused".into() };
        assert!(sum.add([7].par_iter(), |_, _| Err::<(), _>(refused())).is_err());
    }
}
