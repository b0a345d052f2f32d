//! A snapshot as bytes and back, little-endian, a checksum at the end. Segments are written compressed, in the form of [`super::pages`].
//!
//! `magic[4] format:u16`, the shape, the counters, the segments by age, the priorities, `checksum:u32`. Settings are not written: [`Contents::read`] is
//! given those of the buffer that will hold them.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::config::{ReplayConfig, ReplayShape};
use super::contents::Contents;
use super::pages::{Packed, PageLayout};
use super::rows::SEGMENT_LEN;
use super::segments::{Side, Slot, Stored};
use crate::{BuffersError, PolicyVersion, Tier};

const MAGIC: [u8; 4] = *b"GMRC";
const FORMAT: u16 = 1;
/// Most bytes that a list may state: nothing larger is allocated for a damaged file.
const LIST_BYTES_MAX: u64 = 1 << 40;
/// So much of a list is read at a time: a damaged length ends at the file's end, not in memory.
const READ_BYTES: usize = 1 << 20;

struct Writer<W> {
    to: W,
    checksum: u32,
}

impl<W: Write> Writer<W> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        self.to.write_all(bytes)
    }

    fn number(&mut self, number: u64) -> io::Result<()> {
        self.bytes(&number.to_le_bytes())
    }

    fn list<T: bytemuck::Pod>(&mut self, values: &[T]) -> io::Result<()> {
        self.number(values.len() as u64)?;
        self.bytes(bytemuck::cast_slice(values))
    }
}

struct Reader<R> {
    from: R,
    checksum: u32,
}

impl<R: Read> Reader<R> {
    fn bytes(&mut self, bytes: &mut [u8]) -> Result<(), BuffersError> {
        self.from.read_exact(bytes).map_err(|error| damaged(error, "more bytes"))?;
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        Ok(())
    }

    fn number(&mut self) -> Result<u64, BuffersError> {
        let mut bytes = [0; 8];
        self.bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn list<T: bytemuck::Pod>(&mut self) -> Result<Vec<T>, BuffersError> {
        let len = self.number()?;
        if len.saturating_mul(size_of::<T>() as u64) > LIST_BYTES_MAX {
            return Err(damaged(format!("a list of {len}"), "less"));
        }
        let mut values = Vec::new();
        while values.len() < len as usize {
            let from = values.len();
            values.resize((len as usize).min(from + READ_BYTES), T::zeroed());
            self.bytes(bytemuck::cast_slice_mut(&mut values[from..]))?;
        }
        values.shrink_to_fit();
        Ok(values)
    }
}

impl Contents {
    /// Writes the snapshot; raw segments are compressed on the way.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        let mut writer = Writer { to, checksum: 0 };
        writer.bytes(&MAGIC)?;
        writer.bytes(&FORMAT.to_le_bytes())?;
        for number in self.head() {
            writer.number(number)?;
        }
        let pages = PageLayout::new(ReplayConfig::layout(&self.shape), self.config.observation_f16);
        let mut scratch = pages.scratch();
        for (slot, held) in &self.segments {
            for number in
                [u64::from(*slot), held.sequence, held.policy_version.0, held.last_access, held.hits.into(), held.charged_as as u64]
            {
                writer.number(number)?;
            }
            for number in [held.raw_bytes, held.packed_bytes.unwrap_or(0), held.cold_bytes] {
                writer.number(number)?;
            }
            let side = held.side.as_deref().cloned().unwrap_or_default();
            writer.list(&side.offsets)?;
            writer.list(&side.rows)?;
            match &held.stored {
                Stored::Packed(packed) => write_packed(&mut writer, packed)?,
                Stored::Raw { rows, ends } if rows.len() == SEGMENT_LEN * pages.rows.words => {
                    let ends = ends.as_deref().unwrap_or_default();
                    scratch.pack(&pages, rows, ends);
                    write_packed(&mut writer, &scratch.packed((rows.len() + ends.len()) / pages.rows.words))?;
                }
                // The one that is being written.
                Stored::Raw { rows, .. } => {
                    writer.number(0)?;
                    writer.list(rows)?;
                }
                Stored::Nothing => unreachable!("Invariant: a slot in use holds a segment"),
            }
        }
        writer.list(&self.open_ends)?;
        writer.list(&self.after)?;
        writer.list(&self.leaves)?;
        let (seed, position) = self.random.as_ref().map_or(([0; 32], 0), |random| (random.get_seed(), random.get_word_pos()));
        writer.number(self.random.is_some().into())?;
        writer.bytes(&seed)?;
        writer.bytes(&position.to_le_bytes())?;
        writer.number(self.random.as_ref().map_or(0, ChaCha8Rng::get_stream))?;
        let checksum = writer.checksum;
        writer.to.write_all(&checksum.to_le_bytes())
    }

    /// The snapshot that [`Contents::write`] wrote, for a buffer of these settings and shape.
    ///
    /// # Errors
    /// Damaged bytes, or a snapshot of another shape.
    pub fn read(from: impl Read, config: &ReplayConfig, shape: &ReplayShape) -> Result<Self, BuffersError> {
        let mut reader = Reader { from, checksum: 0 };
        let mut magic = [0; 6];
        reader.bytes(&mut magic)?;
        if magic[..4] != MAGIC || magic[4..] != FORMAT.to_le_bytes() {
            return Err(damaged(format!("{magic:02x?}"), format!("{MAGIC:02x?} and format {FORMAT}")));
        }
        let mut contents = Self::empty(config, shape);
        let mut head = contents.head();
        let expected = head;
        for number in &mut head {
            *number = reader.number()?;
        }
        if head[..SHAPE_NUMBERS] != expected[..SHAPE_NUMBERS] {
            let (found, expected) = (format!("{:?}", &head[..SHAPE_NUMBERS]), format!("{:?}", &expected[..SHAPE_NUMBERS]));
            return Err(BuffersError::OtherContents { field: "shape", found, expected });
        }
        let [max_priority, reward_scale, inserted, sampled, cursor, dead, clock, ends_capacity, num_segments] =
            *head.last_chunk().expect("Invariant: the head is longer");
        (contents.max_priority, contents.reward_scale) = (f32::from_bits(max_priority as u32), f32::from_bits(reward_scale as u32));
        (contents.rate, contents.cursor, contents.dead, contents.clock) = ([inserted, sampled], cursor, dead, clock);
        contents.ends_capacity = ends_capacity;
        for _ in 0..num_segments {
            contents.segments.push(read_segment(&mut reader)?);
        }
        (contents.open_ends, contents.after, contents.leaves) = (reader.list()?, reader.list()?, reader.list()?);
        let has_random = reader.number()? == 1;
        let (mut seed, mut position) = ([0; 32], [0; 16]);
        reader.bytes(&mut seed)?;
        reader.bytes(&mut position)?;
        let stream = reader.number()?;
        contents.random = has_random.then(|| {
            let mut random = ChaCha8Rng::from_seed(seed);
            random.set_stream(stream);
            random.set_word_pos(u128::from_le_bytes(position));
            random
        });
        let (found, mut stated) = (reader.checksum, [0; 4]);
        reader.bytes(&mut stated)?;
        let stated = u32::from_le_bytes(stated);
        if found == stated { Ok(contents) } else { Err(damaged(format!("checksum {found:08x}"), format!("{stated:08x}"))) }
    }

    fn empty(config: &ReplayConfig, shape: &ReplayShape) -> Self {
        Self {
            config: config.clone(),
            shape: *shape,
            segments: Vec::new(),
            open_ends: Vec::new(),
            ends_capacity: 0,
            after: Vec::new(),
            leaves: Vec::new(),
            max_priority: 1.0,
            rate: [0; 2],
            cursor: 0,
            dead: 0,
            clock: 0,
            reward_scale: 1.0,
            random: None,
        }
    }

    /// The shape, what the rows' form depends on, and the counters.
    fn head(&self) -> [u64; SHAPE_NUMBERS + 9] {
        let shape = &self.shape;
        [
            shape.num_envs.into(),
            shape.observation_width.into(),
            shape.action_width.into(),
            shape.has_market.into(),
            self.config.buffer_size as u64,
            self.config.observation_f16.into(),
            self.max_priority.to_bits().into(),
            self.reward_scale.to_bits().into(),
            self.rate[0],
            self.rate[1],
            self.cursor,
            self.dead,
            self.clock,
            self.ends_capacity,
            self.segments.len() as u64,
        ]
    }
}

const SHAPE_NUMBERS: usize = 6;

fn write_packed<W: Write>(writer: &mut Writer<W>, packed: &Packed) -> io::Result<()> {
    writer.number(packed.num_rows as u64)?;
    writer.list(packed.page_table())?;
    writer.list(packed.payload())
}

fn read_segment<R: Read>(reader: &mut Reader<R>) -> Result<(u32, Slot), BuffersError> {
    let mut numbers = [0; 9];
    for number in &mut numbers {
        *number = reader.number()?;
    }
    let [slot, sequence, policy_version, last_access, hits, charged_as, raw_bytes, packed_bytes, cold_bytes] = numbers;
    let side = Side { offsets: reader.list()?, rows: reader.list()? };
    let num_rows = reader.number()? as usize;
    let stored = if num_rows == 0 {
        Stored::Raw { rows: reader.list()?.into(), ends: None }
    } else {
        let pages = reader.list()?;
        Stored::Packed(Arc::new(Packed::from_parts(reader.list()?, pages, num_rows)))
    };
    let held = Slot {
        sequence,
        stored,
        side: (!side.offsets.is_empty()).then(|| Box::new(side)),
        policy_version: PolicyVersion(policy_version),
        last_access,
        hits: hits as u32,
        charged_as: [Tier::Hot, Tier::Warm, Tier::Cold].into_iter().find(|tier| *tier as u64 == charged_as).unwrap_or(Tier::Hot),
        raw_bytes,
        packed_bytes: (packed_bytes > 0).then_some(packed_bytes),
        cold_bytes,
    };
    Ok((slot as u32, held))
}

fn damaged(found: impl ToString, expected: impl ToString) -> BuffersError {
    BuffersError::Damaged { part: "replay contents", found: found.to_string(), expected: expected.to_string() }
}
