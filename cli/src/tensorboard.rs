//! TensorBoard event files: scalars in, framed records out. No summaries but scalars, no clock (wall times are arguments), no protobuf crate:
//! the three messages in use have eight fields.
//!
//! A record is `length: u64 | masked crc32c(length): u32 | bytes | masked crc32c(bytes): u32`, little-endian; its bytes are
//! `Event { wall_time = 1: double, step = 2: int64, file_version = 3: string, summary = 5: Summary }`, with
//! `Summary { value = 1: repeated { tag = 1: string, simple_value = 2: float } }`.
//!
//! # Source
//! TensorFlow `core/lib/io/record_writer.cc`, `core/lib/hash/crc32c.h` (mask), `core/util/event.proto`, `core/framework/summary.proto`.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

/// Longest name of a scalar.
pub const MAX_TAG_BYTES: usize = 256;

const MASK_DELTA: u32 = 0xa282_ead8;
/// Protobuf wire types.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// Appends events to one file. TensorBoard reads it while it grows.
#[derive(Debug)]
pub struct EventWriter {
    file: File,
    path: PathBuf,
}

impl EventWriter {
    /// Creates `events.out.tfevents.<seconds>.<suffix>` in a folder. A resumed run takes another file: TensorBoard reads all of a folder,
    /// and where steps overlap it takes the later file.
    ///
    /// # Errors
    /// The path with the cause.
    pub fn create(folder: &Path, wall_time_s: f64, suffix: &str) -> Result<Self> {
        ensure!(wall_time_s.is_finite() && wall_time_s >= 0.0, "wall_time_s was {wall_time_s}, expected seconds since 1970");
        let path = folder.join(format!("events.out.tfevents.{:010}.{suffix}", wall_time_s as u64));
        let file = OpenOptions::new().create(true).append(true).open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut writer = Self { file, path };
        writer.append(&version_event(wall_time_s))?;
        Ok(writer)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends scalars of one step as one event, e.g. `("charts/episodic_return", 0.12)`. Nothing is written for none. TensorBoard draws
    /// values that are not finite as gaps.
    ///
    /// # Errors
    /// A name that is empty or longer than [`MAX_TAG_BYTES`]; the path with the cause.
    pub fn scalars<'a>(&mut self, step: u64, wall_time_s: f64, scalars: impl IntoIterator<Item = (&'a str, f64)>) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            ensure!((1..=MAX_TAG_BYTES).contains(&tag.len()), "name of a scalar had {} bytes, expected 1 to {MAX_TAG_BYTES}", tag.len());
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, tag.as_bytes());
            put_key(&mut entry, 2, FIXED_32);
            entry.extend((value as f32).to_le_bytes());
            put_bytes(&mut summary, 1, &entry);
        }
        if summary.is_empty() {
            return Ok(());
        }
        let mut event = Vec::with_capacity(summary.len() + 24);
        put_wall_time(&mut event, wall_time_s);
        put_key(&mut event, 2, VARINT);
        put_varint(&mut event, step);
        put_bytes(&mut event, 5, &summary);
        self.append(&event)
    }

    fn append(&mut self, event: &[u8]) -> Result<()> {
        // one call, so that a reader never sees half a record unless the disk is full
        self.file.write_all(&framed(event)).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn version_event(wall_time_s: f64) -> Vec<u8> {
    let mut event = Vec::new();
    put_wall_time(&mut event, wall_time_s);
    put_bytes(&mut event, 3, b"brain.Event:2");
    event
}

fn framed(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(event.len() + 16);
    record.extend(length);
    record.extend(masked_crc32c(&length).to_le_bytes());
    record.extend(event);
    record.extend(masked_crc32c(event).to_le_bytes());
    record
}

/// The checksum of a record that holds checksums would be weak; the mask is TensorFlow's remedy.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK_DELTA)
}

fn put_wall_time(out: &mut Vec<u8>, wall_time_s: f64) {
    put_key(out, 1, FIXED_64);
    out.extend(wall_time_s.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_key(out, field, BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn put_key(out: &mut Vec<u8>, field: u64, wire_type: u64) {
    put_varint(out, field << 3 | wire_type);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests;
