//! A short list of fixed capacity that lives on the stack: the venue allocates nothing per bar.

/// Up to `N` copyable values.
#[derive(Clone, Copy, Debug)]
pub struct Fixed<T: Copy, const N: usize> {
    items: [Option<T>; N],
    len: usize,
}

impl<T: Copy, const N: usize> Fixed<T, N> {
    /// Appends; gives the value back when the list is full.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        match self.items.get_mut(self.len) {
            Some(slot) => {
                *slot = Some(value);
                self.len += 1;
                Ok(())
            }
            None => Err(value),
        }
    }

    /// The value that arrived as number `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Option<T> {
        self.items[..self.len].get(index).copied().flatten()
    }

    /// Number of values held.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing is held.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all values.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The values in order of arrival.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.items[..self.len].iter().flatten()
    }
}

impl<T: Copy, const N: usize> Default for Fixed<T, N> {
    fn default() -> Self {
        Self { items: [None; N], len: 0 }
    }
}

impl<T: Copy + PartialEq, const N: usize> PartialEq for Fixed<T, N> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}
