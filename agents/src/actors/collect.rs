//! Training rollouts of the agent: on a market plan the rows and ask the embedders once; step the lanes, push one block to the buffer. And evaluation
//! episodes of control tasks.

use actix::{ActorFutureExt, Context, Handler, Recipient, ResponseActFuture, WrapFuture};
use grandmodel_buffers::{PolicyVersion, messages::PushBlock};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::{
    agent::{Agent, Installed},
    gather::{EmbedderLinks, acting_parts, ask},
};
use crate::{
    AgentsError,
    episode::EpisodeStats,
    evaluate::evaluate,
    lanes::Lanes,
    messages::{Collect, Collected, Evaluate, LaneGroupState, RestoreLanes, TakeLanes},
    rollout::{CollectScratch, LaneMemory, MarketParts, MarketRollout, RowIndex, collect},
};

/// Lanes that an agent collects in, and the stream its actions are drawn from.
pub struct LaneGroup {
    lanes: Lanes,
    memory: LaneMemory,
    rng: ChaCha8Rng,
    seed: u64,
    scratch: CollectScratch,
    push_block: Recipient<PushBlock>,
}

impl LaneGroup {
    /// Lanes at their first observations; blocks go to `push_block`.
    pub fn new(lanes: Lanes, seed: u64, push_block: Recipient<PushBlock>) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { lanes, memory: LaneMemory::default(), rng, seed, scratch: CollectScratch::default(), push_block }
    }

    /// For a checkpoint; between rollouts.
    pub fn state(&self) -> LaneGroupState {
        LaneGroupState { lanes: self.lanes.state(), memory: self.memory.clone(), seed: self.seed, rng_words: self.rng.get_word_pos() }
    }

    /// Goes on from a checkpoint of the same configuration.
    ///
    /// # Errors
    /// As [`Lanes::restore`].
    pub fn restore(&mut self, state: &LaneGroupState) -> Result<(), AgentsError> {
        self.lanes.restore(&state.lanes)?;
        self.memory.clone_from(&state.memory);
        self.seed = state.seed;
        self.rng = ChaCha8Rng::seed_from_u64(state.seed);
        self.rng.set_word_pos(state.rng_words);
        Ok(())
    }

    async fn rollout(&mut self, message: Collect, embedders: Option<EmbedderLinks>, policy: Installed) -> Result<Collected, AgentsError> {
        let num_steps = message.num_steps as usize;
        let plan = self.lanes.plan(num_steps);
        let index = plan.as_ref().map(RowIndex::of_plan).unwrap_or_default();
        let mut values = Vec::with_capacity(index.len() * policy.head.shape.ahead_width());
        for (table, rows) in index.tables() {
            let table = &self.lanes.spans()[usize::from(table)].table;
            values.extend(acting_parts(embedders.as_ref(), &policy, table, rows).await?);
        }
        let parts = MarketParts { index: &index, values: &values, width: policy.head.shape.ahead_width() };
        let market = plan.as_ref().map(|plan| MarketRollout { plan, parts: policy.mixer.is_some().then_some(&parts) });
        let acted = PolicyVersion(policy.policy_version.0);
        let Self { lanes, memory, rng, scratch, .. } = self;
        let (block, stats) = collect(lanes, &policy.head, market, num_steps, message.mode, acted, memory, rng, scratch)?;
        let pushed = ask("buffer", &self.push_block, PushBlock { block: block.into() })
            .await?
            .map_err(|error| AgentsError::Actor { actor: "buffer", cause: error.to_string() })?;
        Ok(Collected {
            policy_version: policy.policy_version,
            stats,
            pushed,
            rows_embedded: if policy.mixer.is_some() { index.len() } else { 0 },
        })
    }
}

fn no_lanes() -> AgentsError {
    AgentsError::Actor { actor: "agent", cause: "it has no lanes, or they are in a rollout".into() }
}

impl Handler<Collect> for Agent {
    type Result = ResponseActFuture<Self, Result<Collected, AgentsError>>;

    fn handle(&mut self, message: Collect, _: &mut Context<Self>) -> Self::Result {
        // The lanes travel through the future and come back with its answer, so no second rollout can begin meanwhile.
        let ready = self.installed.clone().and_then(|policy| Some((policy, self.lanes.take()?)));
        let embedders = self.trading.as_ref().and_then(|(_, links)| links.embedders.clone());
        let rollout = async move {
            let Some((policy, mut lanes)) = ready else { return (None, Err(no_lanes())) };
            let collected = lanes.rollout(message, embedders, policy).await;
            (Some(lanes), collected)
        };
        Box::pin(rollout.into_actor(self).map(|(lanes, collected), agent, _| {
            agent.lanes = lanes.or(agent.lanes.take());
            collected
        }))
    }
}

impl Handler<TakeLanes> for Agent {
    type Result = Result<LaneGroupState, AgentsError>;

    fn handle(&mut self, _: TakeLanes, _: &mut Context<Self>) -> Self::Result {
        self.lanes.as_ref().map(LaneGroup::state).ok_or_else(no_lanes)
    }
}

impl Handler<RestoreLanes> for Agent {
    type Result = Result<(), AgentsError>;

    fn handle(&mut self, message: RestoreLanes, _: &mut Context<Self>) -> Self::Result {
        self.lanes.as_mut().ok_or_else(no_lanes)?.restore(&message.state)
    }
}

impl Handler<Evaluate> for Agent {
    type Result = Result<Vec<EpisodeStats>, AgentsError>;

    fn handle(&mut self, message: Evaluate, _: &mut Context<Self>) -> Self::Result {
        let no_policy = || AgentsError::Actor { actor: "agent", cause: "no policy is installed".into() };
        let head = &self.installed.as_ref().ok_or_else(no_policy)?.head;
        let normalizer = self.lanes.as_ref().and_then(|group| group.lanes.normalizer());
        evaluate(head, &message.control, normalizer, message.num_episodes as usize, message.seed)
    }
}
