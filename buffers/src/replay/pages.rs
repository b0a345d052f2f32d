//! Rows of one segment, compressed page by page, so that one sample costs one page and not the segment. In memory or in a mapped file.
//!
//! A page's words are split into byte planes (all first bytes of word 0, all second bytes, ...), observations by setting as the two bytes of an f16,
//! then LZ4; what does not shrink stays split.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use half::f16;

use super::rows::{RowLayout, SEGMENT_LEN};
use crate::BuffersError;

/// Bytes of one page, raw, at which its number of rows aims.
const PAGE_BYTES_TARGET: usize = 2048;
/// Most rows of one page.
const PAGE_ROWS_MAX: usize = 128;

/// How rows become pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageLayout {
    pub(super) rows: RowLayout,
    pub(super) observation_f16: bool,
    /// Rows of one page; divides [`SEGMENT_LEN`].
    pub(super) page_rows: usize,
}

/// Start of a page's bytes and their checksum.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Page {
    start: u32,
    checksum: u32,
}

#[derive(Debug)]
enum Bytes {
    Memory(Box<[u8]>),
    Mapped(memmap2::Mmap),
}

/// A compressed segment: its rows, then its terminal observations.
#[derive(Debug)]
pub(super) struct Packed {
    bytes: Bytes,
    pages: Box<[Page]>,
    pub(super) num_rows: usize,
}

/// Room for packing and unpacking, so that neither allocates.
#[derive(Debug)]
pub(super) struct PageScratch {
    planes: Vec<u8>,
    packed: Vec<u8>,
    pages: Vec<Page>,
}

impl PageLayout {
    pub(super) fn new(rows: RowLayout, observation_f16: bool) -> Self {
        let fitting = (PAGE_BYTES_TARGET / (4 * rows.words)).clamp(1, PAGE_ROWS_MAX);
        Self { rows, observation_f16, page_rows: 1 << fitting.ilog2() }
    }

    /// Words of one page.
    pub(super) fn page_words(&self) -> usize {
        self.page_rows * self.rows.words
    }

    /// Most pages of one segment: every row may end an episode.
    pub(super) fn pages_max(&self) -> usize {
        2 * SEGMENT_LEN / self.page_rows
    }

    fn is_half(&self, word: usize) -> bool {
        self.observation_f16 && (self.rows.observation_at..self.rows.action_at).contains(&word)
    }

    fn row_planes(&self) -> usize {
        (0..self.rows.words).map(|word| if self.is_half(word) { 2 } else { 4 }).sum()
    }

    pub(super) fn scratch(&self) -> PageScratch {
        let page_bytes = self.page_words() * 4;
        let page_bytes_max = lz4_flex::block::get_maximum_output_size(page_bytes);
        PageScratch {
            planes: vec![0; page_bytes],
            packed: Vec::with_capacity(page_bytes * self.pages_max() + page_bytes_max),
            pages: Vec::with_capacity(self.pages_max()),
        }
    }

    fn split(&self, rows: &[u32], planes: &mut [u8]) {
        let num_rows = rows.len() / self.rows.words;
        let mut planes = planes.chunks_exact_mut(num_rows);
        for word in 0..self.rows.words {
            let is_half = self.is_half(word);
            for byte in 0..if is_half { 2 } else { 4 } {
                let plane = planes.next().expect("Invariant: there are as many planes as bytes in a row");
                for (out, value) in plane.iter_mut().zip(rows[word..].iter().step_by(self.rows.words)) {
                    let value = if is_half { u32::from(f16::from_f32(f32::from_bits(*value)).to_bits()) } else { *value };
                    *out = (value >> (8 * byte)) as u8;
                }
            }
        }
    }

    /// One row of a page of `num_rows`.
    pub(super) fn join_row(&self, planes: &[u8], num_rows: usize, index: usize, row: &mut [u32]) {
        let mut plane = planes[index..].iter().step_by(num_rows).map(|byte| u32::from(*byte));
        let mut byte = || plane.next().expect("Invariant: there are as many planes as bytes in a row");
        for (word, value) in row.iter_mut().enumerate() {
            let low = byte() | byte() << 8;
            *value = if self.is_half(word) { f16::from_bits(low as u16).to_f32().to_bits() } else { low | byte() << 16 | byte() << 24 };
        }
    }

    fn join(&self, planes: &[u8], rows: &mut [u32]) {
        let num_rows = rows.len() / self.rows.words;
        // One word of all rows: made without gaps, which the compiler turns into wide instructions, then spread.
        let mut column = [0; PAGE_ROWS_MAX];
        let column = &mut column[..num_rows];
        let mut rest = planes;
        let mut plane = || {
            let (plane, after) = rest.split_at(num_rows);
            rest = after;
            plane
        };
        for word in 0..self.rows.words {
            let (a, b) = (plane(), plane());
            if self.is_half(word) {
                for (i, value) in column.iter_mut().enumerate() {
                    *value = f16::from_bits(u16::from_le_bytes([a[i], b[i]])).to_f32().to_bits();
                }
            } else {
                let (c, d) = (plane(), plane());
                for (i, value) in column.iter_mut().enumerate() {
                    *value = u32::from(a[i]) | u32::from(b[i]) << 8 | u32::from(c[i]) << 16 | u32::from(d[i]) << 24;
                }
            }
            for (row, value) in rows.chunks_exact_mut(self.rows.words).zip(&*column) {
                row[word] = *value;
            }
        }
    }
}

impl PageScratch {
    pub(super) fn bytes(&self) -> u64 {
        (self.planes.capacity() + self.packed.capacity() + self.pages.capacity() * size_of::<Page>()) as u64
    }

    /// Compresses all rows; the result lies here until it is copied out by [`PageScratch::packed`].
    pub(super) fn pack(&mut self, layout: &PageLayout, rows: &[u32], ends: &[u32]) {
        self.packed.clear();
        self.pages.clear();
        for page in rows.chunks(layout.page_words()).chain(ends.chunks(layout.page_words())) {
            let planes = &mut self.planes[..page.len() / layout.rows.words * layout.row_planes()];
            layout.split(page, planes);
            let start = self.packed.len();
            self.packed.resize(start + lz4_flex::block::get_maximum_output_size(planes.len()), 0);
            let len = lz4_flex::block::compress_into(planes, &mut self.packed[start..]).unwrap_or(usize::MAX);
            if len < planes.len() {
                self.packed.truncate(start + len);
            } else {
                self.packed.truncate(start);
                self.packed.extend_from_slice(planes);
            }
            self.pages.push(Page { start: start as u32, checksum: crc32c::crc32c(&self.packed[start..]) });
        }
    }

    /// Bytes that [`PageScratch::packed`] will allocate, with the `Arc` around it.
    pub(super) fn packed_bytes(&self) -> u64 {
        (self.packed.len() + self.pages.len() * size_of::<Page>()) as u64 + PACKED_HEAD_BYTES
    }

    pub(super) fn packed(&self, num_rows: usize) -> Packed {
        Packed { bytes: Bytes::Memory(self.packed.as_slice().into()), pages: self.pages.as_slice().into(), num_rows }
    }
}

/// The `Arc`'s counts and the struct.
pub(super) const PACKED_HEAD_BYTES: u64 = 16 + size_of::<Packed>() as u64;

impl Packed {
    pub(super) fn from_parts(bytes: Vec<u8>, pages: Vec<Page>, num_rows: usize) -> Self {
        Self { bytes: Bytes::Memory(bytes.into()), pages: pages.into(), num_rows }
    }

    pub(super) fn page_table(&self) -> &[Page] {
        &self.pages
    }

    /// Bytes of memory, with the `Arc` around it; a mapped file's are none.
    pub(super) fn bytes(&self) -> u64 {
        let held = match &self.bytes {
            Bytes::Memory(bytes) => bytes.len(),
            Bytes::Mapped(_) => 0,
        };
        (held + self.pages.len() * size_of::<Page>()) as u64 + PACKED_HEAD_BYTES
    }

    /// Bytes in the cold folder.
    pub(super) fn file_bytes(&self) -> u64 {
        match &self.bytes {
            Bytes::Memory(_) => 0,
            Bytes::Mapped(map) => map.len() as u64,
        }
    }

    /// Bytes once packed, wherever they lie.
    pub(super) fn payload(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Memory(bytes) => bytes,
            Bytes::Mapped(map) => map,
        }
    }

    /// Moves the bytes to a file of its own, which is unlinked once mapped: nothing is left behind, however the process ends.
    ///
    /// # Errors
    /// The file cannot be written or mapped.
    pub(super) fn to_file(&self, folder: &Path) -> Result<Self, BuffersError> {
        // Several buffers and processes may share the folder.
        static FILES: AtomicU64 = AtomicU64::new(0);
        let (path, mut file) = loop {
            let path = folder.join(format!("replay-{}-{}.segment", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed)));
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => break (path, file),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(BuffersError::ColdFile { path, message: error.to_string() }),
            }
        };
        let cold = |error: std::io::Error| BuffersError::ColdFile { path: path.clone(), message: error.to_string() };
        file.write_all(self.payload()).map_err(cold)?;
        // SAFETY: the file was created here and is unlinked below; no one else opens it to change or cut it.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(cold)?;
        // Samples are drawn anywhere: reading ahead would fetch what nobody asked for. A system that takes no advice is as right, only slower.
        let _ = map.advise(memmap2::Advice::Random);
        fs::remove_file(&path).map_err(cold)?;
        Ok(Self { bytes: Bytes::Mapped(map), pages: self.pages.clone(), num_rows: self.num_rows })
    }

    /// Asks for pages of a mapped file before they are read, so that a batch waits for the disk once and not once a page.
    pub(super) fn fetch(&self, pages: std::ops::RangeInclusive<usize>) {
        let Bytes::Mapped(map) = &self.bytes else { return };
        let (first, last) = (*pages.start(), (*pages.end()).min(self.pages.len() - 1));
        let start = self.pages[first.min(last)].start as usize;
        let end = self.pages.get(last + 1).map_or(map.len(), |next| next.start as usize);
        let _ = map.advise_range(memmap2::Advice::WillNeed, start, end - start);
    }

    /// Rows of one page: rows and terminal observations begin pages of their own.
    pub(super) fn rows_of(&self, layout: &PageLayout, page: usize) -> usize {
        let first = page * layout.page_rows;
        let up_to = if first < SEGMENT_LEN { SEGMENT_LEN.min(self.num_rows) } else { self.num_rows };
        up_to.saturating_sub(first).min(layout.page_rows)
    }

    /// One page decompressed into `out`, in byte planes; how many bytes they are.
    ///
    /// # Errors
    /// Damaged bytes.
    pub(super) fn planes(&self, layout: &PageLayout, page: usize, out: &mut [u8]) -> Result<usize, BuffersError> {
        let damaged = |found: String, expected: String| BuffersError::Damaged { part: "page", found, expected };
        let payload = self.payload();
        if page >= self.pages.len() || self.num_rows < page * layout.page_rows {
            return Err(damaged(format!("{} pages of {} rows", self.pages.len(), self.num_rows), format!("page {page}")));
        }
        let start = self.pages[page].start as usize;
        let end = self.pages.get(page + 1).map_or(payload.len(), |next| next.start as usize);
        let bytes = payload.get(start..end).ok_or_else(|| damaged(format!("{} bytes", payload.len()), format!("at least {end}")))?;
        let (stated, found) = (self.pages[page].checksum, crc32c::crc32c(bytes));
        if stated != found {
            return Err(damaged(format!("checksum {found:08x}"), format!("{stated:08x}")));
        }
        let len = self.rows_of(layout, page) * layout.row_planes();
        let out = &mut out[..len];
        if bytes.len() == len {
            out.copy_from_slice(bytes);
            return Ok(len);
        }
        let found =
            lz4_flex::block::decompress_into(bytes, out).map_err(|error| damaged(error.to_string(), format!("{len} bytes of LZ4")))?;
        if found == len { Ok(len) } else { Err(damaged(format!("{found} bytes"), format!("{len}"))) }
    }

    /// Rows of one page into `out`; how many words they are.
    ///
    /// # Errors
    /// Damaged bytes.
    pub(super) fn unpack(
        &self,
        layout: &PageLayout,
        page: usize,
        scratch: &mut PageScratch,
        out: &mut [u32],
    ) -> Result<usize, BuffersError> {
        let len = self.planes(layout, page, &mut scratch.planes)?;
        let out = &mut out[..len / layout.row_planes() * layout.rows.words];
        layout.join(&scratch.planes[..len], out);
        Ok(out.len())
    }
}
