//! Tables by the file that their bars came from: a file, how to read it and the features in; the table and what was understood out. A file
//! that was read before is not read again but recognised, by everything in it.
//!
//! Beside the tables the cache folder then holds one small note a file. A note that does not fit what it names is written anew: it only ever
//! saves time.

use std::{fs, io::Write, path::Path};

use super::{
    FeatureTable,
    cache::{io, table_path},
    layout::{LAYOUT_VERSION, hash_in_parts},
};
use crate::{
    MarketError,
    features::{FEATURE_VERSION, FeatureConfig},
    import::{ImportConfig, import},
};

/// Raised with any change of how files are read or of what is said about it.
const SOURCE_VERSION: u32 = 1;

/// What a note says.
#[derive(serde::Serialize, serde::Deserialize)]
struct Note {
    content_hash: String,
    understood: String,
}

impl FeatureTable {
    /// The table of a file of bars from the cache folder, or imported, built and stored there; with what the import and the table report.
    ///
    /// # Errors
    /// What [`import`] and [`FeatureTable::open_or_build`] refuse.
    pub fn open_or_import(
        cache_dir: &Path,
        file: &Path,
        import_config: &ImportConfig,
        config: &FeatureConfig,
    ) -> Result<(Self, String), MarketError> {
        import_config.validate()?;
        let note = cache_dir.join(format!("{}.gmsource", source_key(file, import_config, config)?));
        if let Some(known) = fs::read(&note).ok().and_then(|bytes| serde_json::from_slice::<Note>(&bytes).ok()) {
            let path = table_path(cache_dir, &known.content_hash);
            if path.exists() {
                let table = Self::open(&path)?;
                if table.content_hash() == known.content_hash {
                    return Ok((table, known.understood));
                }
            }
        }
        let (series, report) = import(file, import_config)?;
        let (table, _) = Self::open_or_build(cache_dir, &series, config)?;
        let understood = format!("{report}\n{}", table.report());
        let known = Note { content_hash: table.content_hash().to_owned(), understood: understood.clone() };
        let bytes = serde_json::to_vec(&known).map_err(|error| MarketError::TableMeta { reason: error.to_string() })?;
        write_whole(&note, &bytes)?;
        Ok((table, understood))
    }
}

/// Hash of all that an imported table depends on: the file's bytes and name, settings, versions.
fn source_key(file: &Path, import_config: &ImportConfig, config: &FeatureConfig) -> Result<blake3::Hash, MarketError> {
    let opened = fs::File::open(file).map_err(io(file))?;
    let mut hasher = blake3::Hasher::new();
    for version in [SOURCE_VERSION, LAYOUT_VERSION, FEATURE_VERSION] {
        hasher.update(&version.to_le_bytes());
    }
    // The symbol of a file without a column for it is the file's name.
    let settings = serde_json::to_vec(&(file.file_name().map(|name| name.to_string_lossy()), import_config, config))
        .map_err(|error| MarketError::TableMeta { reason: error.to_string() })?;
    hasher.update(&(settings.len() as u64).to_le_bytes()).update(&settings);
    if opened.metadata().map_err(io(file))?.len() > 0 {
        // SAFETY: read once, here; a file that is cut short by another program meanwhile ends this one with a bus error, as with any mapped file.
        let map = unsafe { memmap2::Mmap::map(&opened) }.map_err(io(file))?;
        hasher.update(&hash_in_parts(&map));
    }
    Ok(hasher.finalize())
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), MarketError> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let written = fs::File::create(&temporary).and_then(|mut file| file.write_all(bytes)).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::tests::sample;

    fn write(path: &Path, price_of_last: f64) {
        let mut text = String::from("timestamp,open,high,low,close,volume\n");
        let mut bars = sample(3, 400).bars;
        let last = bars.len() - 1;
        (bars[last].close, bars[last].low) = (bars[last].low.min(price_of_last), bars[last].low.min(price_of_last));
        for bar in bars {
            text.push_str(&format!("{},{},{},{},{},{}\n", bar.ts_open, bar.open, bar.high, bar.low, bar.close, bar.volume));
        }
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_file_that_was_read_before_is_recognised_by_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (file, cache) = (folder.path().join("ES.csv"), folder.path().join("cache"));
        let (import_config, config) =
            (ImportConfig::default(), FeatureConfig { mmd_test: 8, mmd_reference: 16, ..FeatureConfig::default() });
        let load = |config: &FeatureConfig| FeatureTable::open_or_import(&cache, &file, &import_config, config).unwrap();
        let notes = || {
            fs::read_dir(&cache).unwrap().filter(|entry| entry.as_ref().unwrap().path().extension() == Some("gmsource".as_ref())).count()
        };
        write(&file, f64::MAX);
        let (first, understood) = load(&config);
        let (second, again) = load(&config);
        assert_eq!((first.content_hash(), &understood, notes()), (second.content_hash(), &again, 1));
        assert!(understood.contains("ES"), "{understood}");
        // Another price, other settings, a damaged note, a table that is gone: each is read anew.
        write(&file, 1.0);
        let (other, _) = load(&config);
        assert_ne!(first.content_hash(), other.content_hash());
        load(&FeatureConfig { mmd_stride: 2, ..config.clone() });
        assert_eq!(notes(), 3);
        for entry in fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.extension() == Some("gmsource".as_ref()) { fs::write(entry, "{").unwrap() } else { fs::remove_file(entry).unwrap() }
        }
        assert_eq!(load(&config).0.content_hash(), other.content_hash());
        assert!(FeatureTable::open_or_import(&cache, &folder.path().join("none.csv"), &import_config, &config).is_err());
    }
}
