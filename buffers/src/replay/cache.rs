//! Pages that were lately read from compressed segments, decompressed but still in byte planes; the least recently used gives way. It knows no segment, only
//! page numbers.

/// No entry, no page.
const NONE: u32 = u32::MAX;

/// Fixed memory, taken at the start.
#[derive(Debug)]
pub(super) struct PageCache {
    page_bytes: usize,
    planes: Vec<u8>,
    /// Entry that holds a page, by page number.
    entry_of: Vec<u32>,
    /// Page that an entry holds.
    page_of: Vec<u32>,
    /// Neighbours in order of use, by entry.
    newer: Vec<u32>,
    older: Vec<u32>,
    newest: u32,
    oldest: u32,
    pub(super) hits: u64,
    pub(super) misses: u64,
}

impl PageCache {
    /// For pages numbered below `num_pages`, of so many bytes, `entries` of them at once.
    pub(super) fn new(page_bytes: usize, num_pages: usize, entries: usize) -> Self {
        let mut cache = Self {
            page_bytes,
            planes: vec![0; page_bytes * entries],
            entry_of: vec![NONE; num_pages],
            page_of: vec![NONE; entries],
            newer: vec![NONE; entries],
            older: vec![NONE; entries],
            newest: NONE,
            oldest: NONE,
            hits: 0,
            misses: 0,
        };
        (0..entries as u32).for_each(|entry| cache.link(entry));
        cache
    }

    pub(super) fn bytes(&self) -> u64 {
        let columns = [&self.entry_of, &self.page_of, &self.newer, &self.older];
        self.planes.capacity() as u64 + columns.into_iter().map(|column| column.capacity() as u64 * 4).sum::<u64>()
    }

    /// Whether it holds the page.
    #[inline]
    pub(super) fn holds(&self, page: usize) -> bool {
        self.entry_of[page] != NONE
    }

    /// The entry that holds the page.
    #[inline]
    pub(super) fn find(&mut self, page: usize) -> Option<u32> {
        let entry = self.entry_of[page];
        if entry == NONE {
            self.misses += 1;
            return None;
        }
        self.hits += 1;
        if entry != self.newest {
            self.unlink(entry);
            self.link(entry);
        }
        Some(entry)
    }

    /// The entry that will hold the page, in place of the least recently used one.
    pub(super) fn take(&mut self, page: usize) -> u32 {
        let entry = self.oldest;
        let held = self.page_of[entry as usize];
        if held != NONE {
            self.entry_of[held as usize] = NONE;
        }
        (self.page_of[entry as usize], self.entry_of[page]) = (page as u32, entry);
        self.unlink(entry);
        self.link(entry);
        entry
    }

    /// The page is not what it was.
    pub(super) fn forget(&mut self, page: usize) {
        let entry = std::mem::replace(&mut self.entry_of[page], NONE);
        if entry != NONE {
            self.page_of[entry as usize] = NONE;
        }
    }

    #[inline]
    pub(super) fn planes(&self, entry: u32) -> &[u8] {
        &self.planes[entry as usize * self.page_bytes..][..self.page_bytes]
    }

    pub(super) fn planes_mut(&mut self, entry: u32) -> &mut [u8] {
        &mut self.planes[entry as usize * self.page_bytes..][..self.page_bytes]
    }

    fn link(&mut self, entry: u32) {
        (self.newer[entry as usize], self.older[entry as usize]) = (NONE, self.newest);
        match self.newest {
            NONE => self.oldest = entry,
            newest => self.newer[newest as usize] = entry,
        }
        self.newest = entry;
    }

    fn unlink(&mut self, entry: u32) {
        let (newer, older) = (self.newer[entry as usize], self.older[entry as usize]);
        match newer {
            NONE => self.newest = older,
            newer => self.older[newer as usize] = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.newer[older as usize] = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_gives_way() {
        let mut cache = PageCache::new(1, 10, 3);
        let read = |cache: &mut PageCache, page: usize| match cache.find(page) {
            Some(entry) => cache.planes(entry)[0],
            None => {
                let entry = cache.take(page);
                cache.planes_mut(entry)[0] = page as u8 + 100;
                page as u8 + 100
            }
        };
        let pages = [1, 2, 3, 1, 4, 1, 2, 3, 1];
        assert_eq!(pages.map(|page| read(&mut cache, page)), pages.map(|page| page as u8 + 100));
        // 1, 2, 3 miss; 1 hits; 4 takes the place of 2; 1 hits; 2 takes that of 3; 3 that of 4; 1 hits.
        assert_eq!((cache.hits, cache.misses), (3, 6));
        cache.forget(1);
        assert_eq!(cache.find(1), None);
        assert!(cache.find(3).is_some());
    }
}
