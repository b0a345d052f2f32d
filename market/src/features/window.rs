//! The newest values of a series as one slice, oldest first.

/// Keeps the newest `capacity` values contiguous; amortised one copy a push.
#[derive(Clone, Debug)]
pub(super) struct Window<T> {
    capacity: usize,
    values: Vec<T>,
}

impl<T: Copy> Window<T> {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, values: Vec::with_capacity(4 * capacity) }
    }

    pub fn push(&mut self, value: T) {
        if self.values.len() == 4 * self.capacity {
            self.values.copy_within(3 * self.capacity + 1.., 0);
            self.values.truncate(self.capacity - 1);
        }
        self.values.push(value);
    }

    /// At most `capacity` values, oldest first.
    pub fn as_slice(&self) -> &[T] {
        &self.values[self.values.len().saturating_sub(self.capacity)..]
    }

    pub fn is_full(&self) -> bool {
        self.values.len() >= self.capacity
    }

    /// The newest `N` values, oldest first; nothing before there are so many.
    pub fn last_chunk<const N: usize>(&self) -> Option<&[T; N]> {
        self.as_slice().last_chunk()
    }
}

/// Independent accumulators of a sum: wide enough for any vector unit, and the same order of additions on all of them.
const LANES: usize = 8;

/// Sum in eight interleaved lanes: the same bits whatever the vector width, and the processor may use it.
pub(super) fn sum(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let mut lanes = [0.0; LANES];
    for (index, value) in values.enumerate() {
        lanes[index % LANES] += value;
    }
    fold(lanes)
}

/// Sum of products, in lanes.
pub(super) fn dot(left: &[f64], right: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (left, right) = (left.chunks(LANES), right.chunks(LANES));
    for (left, right) in left.zip(right) {
        for ((lane, left), right) in lanes.iter_mut().zip(left).zip(right) {
            *lane += left * right;
        }
    }
    fold(lanes)
}

fn fold(lanes: [f64; LANES]) -> f64 {
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}
