//! Tables on disk: one file a content key, written whole or not at all, mapped when read, and never trusted unseen.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use super::{
    FeatureTable, Meta,
    layout::{Bytes, Column, HEADER_BYTES, Header, LAYOUT_VERSION, Layout, MAGIC, hash_in_parts},
};
use crate::{
    MarketError,
    features::{FEATURE_VERSION, FeatureConfig, Readiness},
    import::BarSeries,
};

/// Hash of everything a table depends on: bars, instrument, settings, code and layout version.
pub(crate) fn content_key(series: &BarSeries, config: &FeatureConfig) -> Result<[u8; 32], MarketError> {
    let mut hasher = blake3::Hasher::new();
    let meta = serde_json::to_vec(&(&series.instrument, series.interval_ns, series.has_volume, config))
        .map_err(|error| MarketError::TableMeta { reason: error.to_string() })?;
    hasher.update(&LAYOUT_VERSION.to_le_bytes()).update(&FEATURE_VERSION.to_le_bytes());
    hasher.update(&(meta.len() as u64).to_le_bytes()).update(&meta);
    let mut block = Vec::with_capacity(1024 * 56);
    for bars in series.bars.chunks(1024) {
        block.clear();
        for bar in bars {
            block.extend_from_slice(&bar.ts_open.to_le_bytes());
            block.extend_from_slice(&bar.ts_close.to_le_bytes());
            for value in [bar.open, bar.high, bar.low, bar.close, bar.volume] {
                block.extend_from_slice(&value.to_le_bytes());
            }
        }
        hasher.update(&block);
    }
    Ok(*hasher.finalize().as_bytes())
}

impl FeatureTable {
    /// The table of a series from the cache folder, or built and stored there. True: it came from the cache.
    ///
    /// # Errors
    /// What [`Self::build`] and [`Self::open`] refuse, and [`MarketError::Io`].
    pub fn open_or_build(cache_dir: &Path, series: &BarSeries, config: &FeatureConfig) -> Result<(Self, bool), MarketError> {
        config.validate(series.interval_ns)?;
        let key = content_key(series, config)?;
        let path = table_path(cache_dir, blake3::Hash::from_bytes(key).to_hex().as_str());
        if path.exists() {
            let table = Self::open(&path)?;
            if table.content_hash() != blake3::Hash::from_bytes(key).to_hex().as_str() {
                return Err(refused(&path, "content key", table.content_hash().to_owned(), "the key in the file's name".into()));
            }
            return Ok((table, true));
        }
        let built = Self::build(series, config)?;
        built.write(&path)?;
        // Read back what was written, so that the first run sees the same bytes as every later one.
        Ok((Self::open(&path)?, false))
    }

    /// Writes the table (without context): a temporary file, flushed to the disk, then renamed.
    ///
    /// # Errors
    /// [`MarketError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), MarketError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(io(folder))?;
        // The process id keeps two programs that build the same table from writing into one file.
        let temporary = path.with_extension(format!("tmp{}", std::process::id()));
        let written = File::create(&temporary)
            .and_then(|mut file| file.write_all(self.bytes.as_slice()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, path))
            .and_then(|()| File::open(folder)?.sync_all());
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.map_err(io(path))
    }

    /// Maps a stored table after checking all of it.
    ///
    /// # Errors
    /// [`MarketError::TableFile`] for another version or a damaged file, [`MarketError::Io`].
    pub fn open(path: &Path) -> Result<Self, MarketError> {
        let file = File::open(path).map_err(io(path))?;
        let file_bytes = file.metadata().map_err(io(path))?.len();
        if file_bytes < HEADER_BYTES as u64 {
            return Err(refused(path, "size", format!("{file_bytes} bytes"), format!("at least a header of {HEADER_BYTES} bytes")));
        }
        // SAFETY: files of the cache are renamed into place once and never written again; whoever truncates one under a running
        // program gets a bus error, as with any mapped file.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io(path))?;
        let bytes = Bytes::Mapped(map);
        let header: Header = bytemuck::pod_read_unaligned(&bytes.as_slice()[..HEADER_BYTES]);
        if header.magic != MAGIC {
            return Err(refused(path, "magic", format!("{:?}", header.magic.escape_ascii().to_string()), "\"GMTABLE\\n\"".into()));
        }
        if header.layout_version != LAYOUT_VERSION {
            return Err(refused(path, "layout version", header.layout_version.to_string(), LAYOUT_VERSION.to_string()));
        }
        if header.feature_version != FEATURE_VERSION {
            return Err(refused(path, "feature version", header.feature_version.to_string(), FEATURE_VERSION.to_string()));
        }
        let layout = Layout::new(header.base_len, header.structure_len, header.meta_len)
            .filter(|layout| layout.total_bytes() as u64 == file_bytes)
            .ok_or_else(|| {
                let expected = format!("the size of {} base and {} structure rows", header.base_len, header.structure_len);
                refused(path, "size", format!("{file_bytes} bytes"), expected)
            })?;
        let found = hash_in_parts(&bytes.as_slice()[HEADER_BYTES..]);
        if found != header.payload {
            let hex = |hash: [u8; 32]| blake3::Hash::from_bytes(hash).to_hex().to_string();
            return Err(refused(path, "payload hash", hex(found), hex(header.payload)));
        }
        let meta: Meta = serde_json::from_slice(&bytes.as_slice()[layout.range(Column::Meta)])
            .map_err(|error| refused(path, "settings", error.to_string(), "settings of this version".into()))?;
        let codes = &bytes.as_slice()[layout.range(Column::Readiness)];
        if let Some(code) = codes.iter().find(|code| Readiness::from_code(**code).is_none()) {
            return Err(refused(path, "readiness", code.to_string(), format!("a code below {}", Readiness::ALL.len())));
        }
        Ok(Self::from_parts(bytes, layout, meta, header.key))
    }
}

/// File of a table.
pub(super) fn table_path(cache_dir: &Path, content_hash: &str) -> PathBuf {
    cache_dir.join(format!("{content_hash}.gmtable"))
}

pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> MarketError {
    let path: PathBuf = path.to_owned();
    move |source| MarketError::Io { path, source }
}

fn refused(path: &Path, what: &'static str, found: String, expected: String) -> MarketError {
    MarketError::TableFile { path: path.to_owned(), what, found, expected }
}
