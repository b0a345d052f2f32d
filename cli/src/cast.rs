//! The cast of a run: every actor of the design started on its thread, with the addresses that the others need.
//!
//! Threads: on a market one for memory and buffer, one for the four embedders, one for agent, venue and feed, one for the learner. A control task steps and
//! learns in microseconds, less than a message takes between threads: there all share the thread of the loop that asks them. Numbers never depend on it:
//! bulk work is cut into fixed pieces that the worker pool shares.

use std::sync::Arc;

use actix::{Actor, Addr, Arbiter};
use anyhow::Result;
use grandmodel_agents::encoder::MarketEncoder;
use grandmodel_agents::{
    actors::{Agent, AgentConfig, AgentLinks, EmbedderLinks, Feed, LaneGroup, Venue},
    backtest::BacktestResult,
    head::Head,
    messages::RunBacktest,
};
use grandmodel_buffers::{Buffer, replay::ReplayStore};
use grandmodel_embedders::{
    Embed, Embedder, EmbedderModule, EmbeddersError, InstallWeights, LvnModule, PolicyVersion, Published, RegimeModule, StructureModule,
    TacticalModule, device::Infer,
};
use grandmodel_market::TableSpan;
use grandmodel_memory::{
    GaugeRoots, Memory, Subsystem,
    messages::{PlanBatch, RegisterRelief, ReportBytes},
};
use grandmodel_trainer::actor::{LearnerActor, LearnerLinks, publish_to};

use crate::{
    admission::Learning,
    config::RunConfig,
    heap,
    model::Model,
    profile::Taps,
    supervisor::{EmbedderChildren, RestartIntensity, Supervisor},
};

/// Addresses of the actors of one run.
pub struct Cast {
    /// Budget and plans.
    pub memory: Addr<Memory>,
    /// Experience.
    pub buffer: Addr<Buffer>,
    /// Acts.
    pub agent: Addr<Agent>,
    /// Learns; absent in a backtest.
    pub learner: Option<Addr<LearnerActor>>,
    /// Re-creates embedders, or says that the run must stop.
    pub supervisor: Addr<Supervisor>,
    published: Arc<Published>,
    installs: Vec<actix::Recipient<InstallWeights>>,
    arbiters: Vec<Arbiter>,
}

/// Streams of one seed; a number is part of a run's bits and must not change.
#[derive(Clone, Copy)]
pub enum Stream {
    /// First weights.
    Weights = 1,
    /// Episodes of the lanes.
    Lanes = 2,
    /// Actions of the lanes.
    Actions = 3,
    /// Order of samples.
    Shuffle = 4,
    /// Consensus masks.
    Consensus = 5,
    /// Bootstrap intervals.
    Bootstrap = 6,
    /// Random baseline.
    Baseline = 7,
    /// Samples of the replay.
    Replay = 8,
    /// Starts of evaluation episodes.
    Evaluation = 9,
}

/// A seed of its own for one purpose (SplitMix64's finaliser).
pub fn seed_of(seed: u64, stream: Stream) -> u64 {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(stream as u64);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl Cast {
    /// Starts memory, buffer and agent; on a market embedders, venue and feed, too; with `learning` a learner.
    ///
    /// # Errors
    /// Settings that cannot work; a budget that cannot hold the run.
    pub async fn start(config: &RunConfig, model: Model, learning: Option<Learning>, table_bytes: u64) -> Result<Self> {
        Self::start_watched(config, model, learning, table_bytes, &Taps::none()).await
    }

    /// As [`Cast::start`], with taps on the links.
    ///
    /// # Errors
    /// As [`Cast::start`].
    pub async fn start_watched(
        config: &RunConfig,
        model: Model,
        learning: Option<Learning>,
        table_bytes: u64,
        taps: &Taps,
    ) -> Result<Self> {
        let arbiters: Vec<Arbiter> = (0..if config.is_market() { 4 } else { 0 }).map(|_| Arbiter::new()).collect();
        let [store, embed, act, learn] = threads(&arbiters);

        let memory = Memory::new(config.memory, &GaugeRoots::default())?
            .with_allocator(Arc::new(heap::reading))
            .with_free_heap(Arc::new(heap::purge));
        let memory = Memory::start_in_arbiter(&store, |_| memory);
        let buffer = buffer(config, learning.as_ref())?.with_reports(taps.tap("memory", &store, memory.clone().recipient()));
        let buffer = Buffer::start_in_arbiter(&store, |_| buffer);
        memory.send(RegisterRelief { subsystem: Subsystem::BuffersHot, recipient: buffer.clone().recipient() }).await??;
        memory.send(ReportBytes { subsystem: Subsystem::MarketTable, bytes: table_bytes }).await?;

        let published = Arc::new(Published::new());
        let (mut embedders, mut installs) = (None, Vec::new());
        if let Some(encoder) = &model.encoder {
            published.publish(FIRST_VERSION, &encoder.embedders);
            let children = embedders_anew(&embed, &published)?.watched(&embed, taps);
            (embedders, installs) = (Some(children.links), children.installs);
        }
        let mut agent = if config.is_market() {
            let (settings, links) = trading(config, embedders, &act, taps);
            Agent::trading(settings, links)
        } else {
            Agent::without_market()
        };
        let mut request = None;
        if let Some(Learning { lanes, encoder, request: of_batch, .. }) = learning {
            request = Some((of_batch, encoder));
            agent = agent.with_lanes(LaneGroup::new(
                lanes,
                seed_of(config.seed, Stream::Actions),
                taps.tap("buffer", &store, buffer.clone().recipient()),
            ));
        }
        let agent = Agent::start_in_arbiter(&act, |_| agent);

        let mut learner = None;
        if let Some((request, encoder)) = request {
            let granted = memory.send(PlanBatch(request)).await??;
            let (core, head) = model.into_core(config, granted, encoder);
            let links = LearnerLinks {
                take_rollout: taps.tap("buffer", &store, buffer.clone().recipient()),
                sample: taps.tap("buffer", &store, buffer.clone().recipient()),
                update_priorities: taps.tap("buffer", &store, buffer.clone().recipient()),
                published: published.clone(),
                embedders: installs.clone(),
                agents: vec![taps.tap("agent", &act, agent.clone().recipient())],
                memory: taps.tap("memory", &store, memory.clone().recipient()),
            };
            let actor = LearnerActor::start_in_arbiter(&learn, |_| LearnerActor::new(core, head, links));
            memory.send(RegisterRelief { subsystem: Subsystem::Activations, recipient: actor.clone().recipient() }).await??;
            learner = Some(actor);
        }
        let intensity = RestartIntensity::default();
        let supervisor = Supervisor::new(embedders_anew, published.clone(), agent.clone(), learner.clone(), intensity).start();
        Ok(Self { memory, buffer, agent, learner, supervisor, published, installs, arbiters })
    }

    /// Publishes and installs weights where there is no learner: a backtest.
    ///
    /// # Errors
    /// An actor that does not answer.
    pub async fn install(&self, encoder: Option<MarketEncoder<Infer>>, head: Head) -> Result<()> {
        let agents = [self.agent.clone().recipient()];
        Ok(publish_to(&self.published, &self.installs, &agents, encoder, head, FIRST_VERSION).await?)
    }

    /// Installs an encoder's embedders with large matrices in int8, in place of those of [`Cast::install`]; gives their bytes.
    ///
    /// # Errors
    /// An actor that does not answer.
    pub async fn install_rounded(&self, encoder: &MarketEncoder<Infer>) -> Result<u64> {
        let bytes = self.published.publish_rounded(FIRST_VERSION, &encoder.embedders);
        for embedder in &self.installs {
            embedder.send(InstallWeights { policy_version: FIRST_VERSION }).await??;
        }
        Ok(bytes)
    }

    /// The agent over spans, one after the other.
    ///
    /// # Errors
    /// A backtest that could not run.
    pub async fn backtest(&self, spans: &[TableSpan], block_len: u32, gated: bool) -> Result<Vec<BacktestResult>> {
        let mut results = Vec::with_capacity(spans.len());
        for span in spans {
            results.push(self.agent.send(RunBacktest { span: span.clone(), block_len, gated }).await??);
        }
        Ok(results)
    }

    /// Threads of the agent and of the learner, for taps in front of them.
    pub fn threads(&self) -> [actix::ArbiterHandle; 2] {
        let [_, _, act, learn] = threads(&self.arbiters);
        [act, learn]
    }

    /// One thread's actors are gone, as after a panic.
    #[cfg(test)]
    pub(crate) fn lose(&self, thread: usize) {
        self.arbiters[thread].stop();
    }

    /// Stops the threads; actors end with them.
    pub fn stop(self) {
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        for arbiter in self.arbiters {
            // An arbiter that panicked has said so already.
            let _ = arbiter.join();
        }
    }
}

/// Threads of stores, embedders, agent and learner: without a market there are none of their own.
fn threads(arbiters: &[Arbiter]) -> [actix::ArbiterHandle; 4] {
    [0, 1, 2, 3].map(|i| arbiters.get(i).map_or_else(Arbiter::current, Arbiter::handle))
}

/// The four embedders with the weights that were published last: what the supervisor makes anew, too.
fn embedders_anew(arbiter: &actix::ArbiterHandle, published: &Arc<Published>) -> Result<EmbedderChildren, EmbeddersError> {
    let (structure, install_structure) = embedder::<StructureModule<Infer>>(arbiter, published)?;
    let (tactical, install_tactical) = embedder::<TacticalModule<Infer>>(arbiter, published)?;
    let (regime, install_regime) = embedder::<RegimeModule<Infer>>(arbiter, published)?;
    let (lvn, install_lvn) = embedder::<LvnModule<Infer>>(arbiter, published)?;
    Ok(EmbedderChildren {
        links: EmbedderLinks([structure, tactical, regime, lvn]),
        installs: vec![install_structure, install_tactical, install_regime, install_lvn],
    })
}

impl EmbedderChildren {
    /// With taps on the links of each embedder, named as it is.
    fn watched(self, thread: &actix::ArbiterHandle, taps: &Taps) -> Self {
        let mut names = EMBEDDERS.into_iter();
        let links = self.links.0.map(|link| taps.tap(names.next().unwrap_or("embedder"), thread, link));
        let installs = EMBEDDERS.into_iter().zip(self.installs).map(|(name, install)| taps.tap(name, thread, install)).collect();
        Self { links: EmbedderLinks(links), installs }
    }
}

/// Names of the embedders' actors, in the order of [`EmbedderLinks`].
const EMBEDDERS: [&str; 4] = ["structure", "tactical", "regime", "lvn"];

fn embedder<M: EmbedderModule<Infer> + Sync + 'static>(
    arbiter: &actix::ArbiterHandle,
    published: &Arc<Published>,
) -> Result<(actix::Recipient<Embed>, actix::Recipient<InstallWeights>), EmbeddersError> {
    let version = published.policy_version(M::KIND).unwrap_or(FIRST_VERSION);
    let shell = Embedder::<M>::new(version, published.clone())?;
    let address = Embedder::start_in_arbiter(arbiter, |_| shell);
    Ok((address.clone().recipient(), address.recipient()))
}

/// Version of the weights that a run starts with.
const FIRST_VERSION: PolicyVersion = PolicyVersion(0);

/// The buffer of a run: rollouts for PPO, replay for the others; a backtest's stays empty.
fn buffer(config: &RunConfig, learning: Option<&Learning>) -> Result<Buffer> {
    match learning.and_then(|learning| Some((learning.replay?, learning.limit))) {
        Some((shape, limit)) => {
            // Memory pressure moves segments into unlinked files beside the runs.
            let mut store = ReplayStore::new(config.replay.clone(), shape)?.with_spill_folder(config.runs.clone());
            if limit.is_some_and(|limit| limit < config.replay.capacity.0) {
                store = store.with_pages_asked_for();
            }
            Ok(Buffer::of_store(store, seed_of(config.seed, Stream::Replay)))
        }
        None => Ok(Buffer::new(config.buffer)?),
    }
}

/// An agent's settings and links on a market; starts its venue and its feed.
fn trading(config: &RunConfig, embedders: Option<EmbedderLinks>, act: &actix::ArbiterHandle, taps: &Taps) -> (AgentConfig, AgentLinks) {
    let venue = Venue::start_in_arbiter(act, |_| Venue::default());
    let feed = Feed::start_in_arbiter(act, |_| Feed::default());
    let links = AgentLinks {
        embedders,
        open_span: taps.tap("feed", act, feed.clone().recipient()),
        next_rows: taps.tap("feed", act, feed.recipient()),
        open_account: taps.tap("venue", act, venue.clone().recipient()),
        submit_order: taps.tap("venue", act, venue.clone().recipient()),
        pass_bar: taps.tap("venue", act, venue.clone().recipient()),
        close_position: taps.tap("venue", act, venue.recipient()),
    };
    let settings = AgentConfig {
        env: config.env().clone(),
        risk: config.risk.clone(),
        costs: config.costs.clone(),
        decision: config.decision.clone(),
        seed: seed_of(config.seed, Stream::Consensus),
    };
    (settings, links)
}
