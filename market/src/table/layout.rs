//! Where each column lies in the one buffer of a table: a 128-byte header, then column after column, each on a 64-byte boundary.
//!
//! The same bytes are the file of the cache, so a loaded table is the file mapped into memory. Little-endian machines only.

use std::ops::Range;

use rayon::prelude::*;

use crate::features::{LVN_FEATURES, REGIME_FEATURES, STRUCTURE_FEATURES, TACTICAL_FEATURES};

#[cfg(target_endian = "big")]
compile_error!("feature tables are little-endian and are mapped, not parsed");

/// First bytes of every table.
pub(super) const MAGIC: [u8; 8] = *b"GMTABLE\n";
/// Version of this layout.
pub(super) const LAYOUT_VERSION: u32 = 2;
/// Every column starts on a multiple of this many bytes.
pub(super) const ALIGN_BYTES: usize = 64;
/// Most base rows of one table: the streaming indicators count no further.
pub(super) const MAX_ROWS: usize = 100_000_000;

/// Bytes of a part that is hashed by itself.
const PART_BYTES: usize = 1 << 20;

/// Hash of the hashes of all parts of a mebibyte: a file of many is checked on all cores.
pub(super) fn hash_in_parts(bytes: &[u8]) -> [u8; 32] {
    let parts: Vec<[u8; 32]> = bytes.par_chunks(PART_BYTES).map(|part| *blake3::hash(part).as_bytes()).collect();
    *blake3::hash(bytemuck::cast_slice(&parts)).as_bytes()
}

/// The first 128 bytes.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Header {
    pub magic: [u8; 8],
    pub layout_version: u32,
    pub feature_version: u32,
    pub base_len: u64,
    pub structure_len: u64,
    pub meta_len: u64,
    /// Hash of bars, instrument, settings and versions: what the table was made from.
    pub key: [u8; 32],
    /// [`hash_in_parts`] of everything after the header: what it holds.
    pub payload: [u8; 32],
    pub reserved: [u8; 24],
}

/// Size of the header.
pub(super) const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(HEADER_BYTES == 128);

/// One column; the order is the order in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Column {
    Meta,
    TsOpen,
    TsClose,
    Open,
    High,
    Low,
    Close,
    Volume,
    OpenTicks,
    HighTicks,
    LowTicks,
    CloseTicks,
    Atr,
    Segment,
    StructureRow,
    Readiness,
    Tactical,
    Lvn,
    StructureTsOpen,
    StructureTsClose,
    StructureOpen,
    StructureHigh,
    StructureLow,
    StructureClose,
    StructureVolume,
    StructureAtr,
    StructureSegment,
    Structure,
    Regime,
}

const NUM_COLUMNS: usize = Column::Regime as usize + 1;

/// Bytes of one base row in each base column, in the order of [`Column`] from `TsOpen` on.
const BASE_ROW_BYTES: [usize; 17] = [8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 4, 4, 1, 4 * TACTICAL_FEATURES, 4 * LVN_FEATURES];
/// Bytes of one structure row in each structure column, from `StructureTsOpen` on.
const STRUCTURE_ROW_BYTES: [usize; 11] = [8, 8, 8, 8, 8, 8, 8, 8, 4, 4 * STRUCTURE_FEATURES, 4 * REGIME_FEATURES];

/// Byte ranges of all columns.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    ranges: [(usize, usize); NUM_COLUMNS],
    total_bytes: usize,
}

impl Layout {
    /// Layout for so many rows; `None` when the sizes do not fit (a damaged header).
    pub fn new(base_len: u64, structure_len: u64, meta_len: u64) -> Option<Self> {
        let mut ranges = [(0, 0); NUM_COLUMNS];
        let mut at = HEADER_BYTES;
        let base = BASE_ROW_BYTES.iter().map(|bytes| (base_len, *bytes));
        let structure = STRUCTURE_ROW_BYTES.iter().map(|bytes| (structure_len, *bytes));
        for (range, (len, bytes)) in ranges.iter_mut().zip(std::iter::once((meta_len, 1)).chain(base).chain(structure)) {
            let size = usize::try_from(len).ok()?.checked_mul(bytes)?;
            let end = at.checked_add(size)?;
            *range = (at, end);
            at = end.checked_next_multiple_of(ALIGN_BYTES)?;
        }
        Some(Self { ranges, total_bytes: at })
    }

    pub fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    pub fn range(&self, column: Column) -> Range<usize> {
        let (start, end) = self.ranges[column as usize];
        start..end
    }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Chunk([u8; ALIGN_BYTES]);

/// The bytes of a table, in our own memory or the cache file mapped.
pub(super) enum Bytes {
    Owned(OwnedBytes),
    Mapped(memmap2::Mmap),
}

/// A zeroed buffer on a 64-byte boundary.
pub(super) struct OwnedBytes(Vec<Chunk>);

impl OwnedBytes {
    /// `len` must be a multiple of 64.
    pub fn zeroed(len: usize) -> Self {
        Self(vec![Chunk([0; ALIGN_BYTES]); len / ALIGN_BYTES])
    }

    pub fn as_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

impl Bytes {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytemuck::cast_slice(&bytes.0),
            Self::Mapped(map) => map,
        }
    }
}
