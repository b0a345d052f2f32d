//! What the feed, the venue and the agent are asked. Each is a thin struct around a pure payload; answers are awaited, nothing is
//! sent and forgotten.

use std::sync::Arc;

use actix::Message;
use grandmodel_embedders::PolicyVersion;
use grandmodel_market::{
    FeatureTable, TableSpan,
    venue::{BarReport, BarTicks, CostModel, FillKind, Order, OrderId},
};

use grandmodel_buffers::Pushed;

use crate::{
    AgentsError,
    actors::EmbedderLinks,
    backtest::BacktestResult,
    control::ControlConfig,
    encoder::ActingMixer,
    episode::EpisodeStats,
    head::Head,
    heads::Mode,
    lanes::LanesState,
    risk::Approved,
    rollout::{LaneMemory, RolloutStats},
};

/// To the feed: begin at the first ready row of a span.
#[derive(Message, Clone, Debug)]
#[rtype(result = "Result<(), AgentsError>")]
pub struct OpenSpan {
    /// The span.
    pub span: TableSpan,
}

/// To the feed: the next rows of the open span, `None` at its end.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Result<Option<RowBlock>, AgentsError>")]
pub struct NextRows {
    /// Most rows wanted; a block never goes past the end of a run.
    pub max_rows: u32,
}

/// Consecutive ready rows of one segment.
#[derive(Clone, Debug)]
pub struct RowBlock {
    /// Their table.
    pub table: Arc<FeatureTable>,
    /// The rows, ascending.
    pub rows: Arc<[u32]>,
    /// The last of them is the last of its run: positions are closed at its close.
    pub ends_run: bool,
}

/// To the venue: a new flat account in place of the old one.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Result<(), AgentsError>")]
pub struct OpenAccount {
    /// Cash at the start.
    pub cash_micros: i64,
    /// Costs of every fill.
    pub costs: CostModel,
}

/// To the venue: an order for the next bar. Only risk can make the proof inside.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Result<OrderId, AgentsError>")]
pub struct SubmitOrder {
    /// The approved order.
    pub order: Approved<Order>,
}

/// To the venue: a bar has passed.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Result<BarReport, AgentsError>")]
pub struct PassBar {
    /// The bar.
    pub bar: BarTicks,
}

/// To the venue: close the position at the bar's close.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Result<BarReport, AgentsError>")]
pub struct ClosePosition {
    /// The bar.
    pub bar: BarTicks,
    /// Why.
    pub kind: FillKind,
}

/// To the agent: trade a span from its first to its last ready row.
#[derive(Message, Clone, Debug)]
#[rtype(result = "Result<BacktestResult, AgentsError>")]
pub struct RunBacktest {
    /// The span.
    pub span: TableSpan,
    /// Rows asked of the feed and embedded at once; 1 is how it runs live.
    pub block_len: u32,
    /// Decide with consensus and gate, as paper and live do; without, the most probable action is taken.
    pub gated: bool,
}

/// To the agent: the policy of the weights that the embedders hold from now on.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct InstallPolicy {
    /// Its version; embeddings of another are refused.
    pub policy_version: PolicyVersion,
    /// From embeddings to the head's first layers; absent where the head has no market part.
    pub mixer: Option<ActingMixer>,
    /// What acts.
    pub head: Head,
}

/// To the agent: everything flat at the next bar and nothing opens any more, or trade again.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct SetKillSwitch {
    /// Thrown or released.
    pub on: bool,
}

/// To the agent: run so many steps of every lane with the installed policy and push the block to the buffer.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Result<Collected, AgentsError>")]
pub struct Collect {
    /// Steps of each lane.
    pub num_steps: u32,
    /// How the policy is followed.
    pub mode: Mode,
}

/// A rollout was pushed.
#[derive(Clone, Debug)]
pub struct Collected {
    /// Version that acted.
    pub policy_version: PolicyVersion,
    /// Episodes that ended, actions taken.
    pub stats: RolloutStats,
    /// What the buffer answered.
    pub pushed: Pushed,
    /// Distinct rows embedded for it; 0 without a market.
    pub rows_embedded: usize,
}

/// To the agent: episodes of a control task with the installed policy's best actions, each in a lane of its own, observations scaled as in its lanes.
#[derive(Message, Clone, Debug)]
#[rtype(result = "Result<Vec<EpisodeStats>, AgentsError>")]
pub struct Evaluate {
    /// The task.
    pub control: ControlConfig,
    /// Episodes.
    pub num_episodes: u32,
    /// Seed of their starts; none of those that the agent learned from.
    pub seed: u64,
}

/// To the agent: where its lanes stand.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Result<LaneGroupState, AgentsError>")]
pub struct TakeLanes;

/// To the agent: go on from a checkpoint.
#[derive(Message, Clone, Debug)]
#[rtype(result = "Result<(), AgentsError>")]
pub struct RestoreLanes {
    /// As told by [`TakeLanes`].
    pub state: LaneGroupState,
}

/// Where a lane group stands, for a checkpoint.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LaneGroupState {
    /// Environment and running moments.
    pub lanes: LanesState,
    /// What a recurrent head remembers.
    pub memory: LaneMemory,
    /// Seed of the actions' stream.
    pub seed: u64,
    /// Words drawn from it.
    pub rng_words: u128,
}

/// To the agent: ask these embedders from now on; the old ones are gone.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct RewireEmbedders {
    /// The four new ones, with the weights that were published last.
    pub links: EmbedderLinks,
}
