//! Training rollouts of the agent: plan the rows, ask the embedders once, step the lanes, push one block to the buffer.

use actix::{ActorFutureExt, Context, Handler, Recipient, ResponseActFuture, WrapFuture};
use grandmodel_buffers::{PolicyVersion, messages::PushBlock};
use grandmodel_embedders::device::Device;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::{
    agent::{Agent, Installed},
    gather::{EmbedderLinks, ask, embed_rows, market_parts},
};
use crate::{
    AgentsError,
    env::VecMarketEnv,
    messages::{Collect, Collected, LaneGroupState, RestoreLanes, TakeLanes},
    rollout::{MarketParts, RowIndex, collect},
};

/// Lanes that an agent collects in, and the stream its actions are drawn from.
pub struct LaneGroup {
    env: VecMarketEnv,
    rng: ChaCha8Rng,
    seed: u64,
    push_block: Recipient<PushBlock>,
}

impl LaneGroup {
    /// Lanes at their first observations; blocks go to `push_block`.
    pub fn new(env: VecMarketEnv, seed: u64, push_block: Recipient<PushBlock>) -> Self {
        Self { env, rng: ChaCha8Rng::seed_from_u64(seed), seed, push_block }
    }

    /// For a checkpoint; between rollouts.
    pub fn state(&self) -> LaneGroupState {
        LaneGroupState { env: self.env.state(), seed: self.seed, rng_words: self.rng.get_word_pos() }
    }

    /// Goes on from a checkpoint of the same configuration.
    ///
    /// # Errors
    /// As [`VecMarketEnv::restore`].
    pub fn restore(&mut self, state: &LaneGroupState) -> Result<(), AgentsError> {
        self.env.restore(&state.env)?;
        self.seed = state.seed;
        self.rng = ChaCha8Rng::seed_from_u64(state.seed);
        self.rng.set_word_pos(state.rng_words);
        Ok(())
    }

    async fn rollout(
        &mut self,
        num_steps: u32,
        embedders: EmbedderLinks,
        policy: Installed,
        device: Device,
    ) -> Result<Collected, AgentsError> {
        let plan = self.env.plan(num_steps as usize);
        let index = RowIndex::of_plan(&plan);
        let head = policy.policy.head();
        let mut values = Vec::with_capacity(index.len() * head.hidden());
        for (table, rows) in index.tables() {
            let embeddings = embed_rows(&embedders, &self.env.spans()[usize::from(table)].table, rows).await?;
            if embeddings.policy_version != policy.policy_version {
                return Err(AgentsError::Version { found: embeddings.policy_version.0, expected: policy.policy_version.0 });
            }
            values.extend(market_parts(&policy.policy, &device, &embeddings.values)?);
        }
        let parts = MarketParts { index: &index, values: &values, hidden: head.hidden() };
        let acted = PolicyVersion(policy.policy_version.0);
        let (block, stats) = collect(&mut self.env, &head, &parts, &plan, acted, &mut self.rng)?;
        let pushed = ask("buffer", &self.push_block, PushBlock { block: block.into() })
            .await?
            .map_err(|error| AgentsError::Actor { actor: "buffer", cause: error.to_string() })?;
        Ok(Collected { policy_version: policy.policy_version, stats, pushed, rows_embedded: index.len() })
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
        let (embedders, device) = (self.links.embedders.clone(), self.config.device.clone());
        let rollout = async move {
            let Some((policy, mut lanes)) = ready else { return (None, Err(no_lanes())) };
            let collected = lanes.rollout(message.num_steps, embedders, policy, device).await;
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
