//! The sizes that a segment's header states, and back; all lengths of its columns follow from them. It reads no column.

use super::arrange::Shape;
use super::{ObservationEncoding, array, damaged};
use crate::block::{COLUMN_VALUES_MAX, TRANSITIONS_MAX, WIDTH_MAX};
use crate::{BuffersError, PolicyVersion, TransitionBlock};

const MAGIC: [u8; 4] = *b"GMTB";
const FORMAT: u16 = 2;
pub(super) const NUM_COLUMNS: usize = 19;
pub(super) const COLUMN_HEADER_LEN: usize = 16;
pub(super) const FIXED_HEADER_LEN: usize = 44;
/// Bytes before the columns.
pub const HEADER_LEN: usize = FIXED_HEADER_LEN + NUM_COLUMNS * COLUMN_HEADER_LEN + 4;

/// Bits of a header's `parts`.
mod parts {
    pub const OBSERVATION_F16: u32 = 1;
    pub const MARKET: u32 = 2;
    pub const LOG_PROB: u32 = 4;
    pub const VALUE: u32 = 8;
    pub const LAST_VALUE: u32 = 16;
    pub const AFTER: u32 = 32;
}

/// What the lengths of all columns follow from.
pub(super) struct Sizes {
    pub(super) policy_version: PolicyVersion,
    pub(super) num_steps: u32,
    pub(super) num_envs: u32,
    pub(super) observation_width: u16,
    pub(super) action_width: u16,
    pub(super) state_width: u16,
    pub(super) observation: ObservationEncoding,
    pub(super) reward_scale: f32,
    num_bootstrap: u32,
    num_terminal: u32,
    parts: u32,
}

impl Sizes {
    pub(super) fn of(block: &TransitionBlock, observation: ObservationEncoding) -> Self {
        let follows = !(block.after.row.is_empty() && block.after.observation.is_empty());
        let present = [
            (parts::OBSERVATION_F16, observation == ObservationEncoding::F16),
            (parts::MARKET, block.has_market()),
            (parts::LOG_PROB, !block.log_prob.is_empty()),
            (parts::VALUE, !block.value.is_empty()),
            (parts::LAST_VALUE, !block.last_value.is_empty()),
            (parts::AFTER, follows),
        ];
        Self {
            policy_version: block.policy_version,
            num_steps: block.num_steps,
            num_envs: block.num_envs,
            observation_width: block.observation_width,
            action_width: block.action_width,
            state_width: block.state_width,
            observation,
            reward_scale: block.reward_scale,
            num_bootstrap: block.bootstrap.len() as u32,
            num_terminal: block.terminal.index.len() as u32,
            parts: present.into_iter().filter(|(_, is_present)| *is_present).map(|(bit, _)| bit).sum(),
        }
    }

    pub(super) fn shapes(&self) -> [Shape; NUM_COLUMNS] {
        let has = |bit| usize::from(self.parts & bit != 0);
        let lanes = self.num_envs as usize;
        let len = self.num_steps as usize * lanes;
        let after = lanes * has(parts::AFTER);
        let (market, bootstrap, terminal) = (has(parts::MARKET), self.num_bootstrap as usize, self.num_terminal as usize);
        let [observation, action, state] = [self.observation_width, self.action_width, self.state_width].map(usize::from);
        let observation_word = if self.observation == ObservationEncoding::F16 { 2 } else { 4 };
        let step = |name, word, group, len| Shape { name, word, group, lag: lanes, len };
        let list = |name, word, group, len| Shape { name, word, group, lag: 1, len };
        [
            step("table", 2, 1, len * market),
            step("row", 4, 1, len * market),
            step("observation", observation_word, observation, len),
            step("action", 4, action, len),
            step("log_prob", 4, 1, len * has(parts::LOG_PROB)),
            step("value", 4, 1, len * has(parts::VALUE)),
            step("reward", 4, 1, len),
            step("flags", 1, 1, len),
            list("bootstrap index", 4, 1, bootstrap),
            list("bootstrap value", 4, 1, bootstrap),
            list("last_value", 4, 1, lanes * has(parts::LAST_VALUE)),
            list("after.table", 2, 1, after * market),
            list("after.row", 4, 1, after * market),
            list("after.observation", observation_word, observation, after),
            list("terminal.index", 4, 1, terminal),
            list("terminal.table", 2, 1, terminal * market),
            list("terminal.row", 4, 1, terminal * market),
            list("terminal.observation", observation_word, observation, terminal),
            list("state", 4, state, lanes),
        ]
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(MAGIC);
        out.extend(FORMAT.to_le_bytes());
        out.extend(self.observation_width.to_le_bytes());
        out.extend(self.policy_version.0.to_le_bytes());
        for number in [self.num_steps, self.num_envs, self.num_bootstrap, self.num_terminal] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.action_width.to_le_bytes());
        out.extend(self.state_width.to_le_bytes());
        out.extend(self.parts.to_le_bytes());
        out.extend(self.reward_scale.to_le_bytes());
    }
}

/// The sizes of a header of [`HEADER_LEN`] bytes, within the limits of blocks: nothing large is allocated for a damaged one.
pub(super) fn read_sizes(header: &[u8]) -> Result<Sizes, BuffersError> {
    if header[..4] != MAGIC {
        return Err(damaged("header", format!("{:02x?}", &header[..4]), format!("{MAGIC:02x?}")));
    }
    let (body, checksum) = header.split_at(HEADER_LEN - 4);
    let (stated, found) = (u32::from_le_bytes(array(checksum)), crc32c::crc32c(body));
    if stated != found {
        return Err(damaged("header", format!("checksum {found:08x}"), format!("{stated:08x}")));
    }
    let format = u16::from_le_bytes(array(&header[4..]));
    if format != FORMAT {
        return Err(damaged("header", format!("format {format}"), format!("format {FORMAT}")));
    }
    let short = |at: usize| u16::from_le_bytes(array(&header[at..]));
    let number = |at: usize| u32::from_le_bytes(array(&header[at..]));
    let parts = number(36);
    let sizes = Sizes {
        policy_version: PolicyVersion(u64::from_le_bytes(array(&header[8..]))),
        num_steps: number(16),
        num_envs: number(20),
        observation_width: short(6),
        action_width: short(32),
        state_width: short(34),
        observation: if parts & parts::OBSERVATION_F16 == 0 { ObservationEncoding::F32 } else { ObservationEncoding::F16 },
        reward_scale: f32::from_bits(number(40)),
        num_bootstrap: number(24),
        num_terminal: number(28),
        parts,
    };
    sizes.check()?;
    Ok(sizes)
}

impl Sizes {
    fn check(&self) -> Result<(), BuffersError> {
        let transitions = u64::from(self.num_steps) * u64::from(self.num_envs);
        let listed = u64::from(self.num_bootstrap.max(self.num_terminal));
        let width = u64::from(self.observation_width.max(self.action_width));
        // A width is below 2^16: no overflow once the first holds.
        let fits = transitions <= TRANSITIONS_MAX && listed <= transitions && width.max(self.state_width.into()) <= WIDTH_MAX;
        let states = u64::from(self.num_envs) * u64::from(self.state_width);
        if !fits || transitions * width > COLUMN_VALUES_MAX || states > COLUMN_VALUES_MAX {
            let found = format!("{transitions} transitions, {listed} ends, vectors of {width}, states of {}", self.state_width);
            let expected = format!("at most {TRANSITIONS_MAX}, as many, {WIDTH_MAX}, and {COLUMN_VALUES_MAX} values a column");
            return Err(damaged("header", found, expected));
        }
        Ok(())
    }
}
