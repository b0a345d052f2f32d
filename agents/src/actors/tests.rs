//! Real actors on one arbiter against the pure pass: one row at a time, in blocks, and all at once must be the same walk.

use std::sync::Arc;

use actix::{Actor, Addr};
use grandmodel_embedders::{
    EMBEDDING_DIM, EmbedderKind, LvnEmbedder, PolicyVersion, Preset, Published, RegimeEmbedder, StructureEmbedder, TacticalEmbedder,
    device::{DeviceChoice, Infer, resolve},
};
use grandmodel_market::{TableSpan, venue::CostConfig};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::*;
use crate::{
    AgentsError,
    backtest::{BacktestResult, run_agent, visited_rows},
    config::{DecisionConfig, EnvConfig, RiskConfig, StopDistance},
    decision::Decider,
    desk::ACCOUNT_WIDTH,
    encoder::{ActingMixer, AheadWidths, MarketEncoder},
    head::{Head, HeadShape},
    heads::{ActorCritic, ActorCriticConfig},
    messages::{InstallPolicy, RunBacktest, SetKillSwitch},
    net::{Activation, Init},
    space::ActionSpace,
    testing,
};

const VERSION: PolicyVersion = PolicyVersion(3);

struct House {
    config: AgentConfig,
    links: EmbedderLinks,
    mixer: ActingMixer,
    head: Head,
    agent: Addr<Agent>,
}

fn head(observation_width: usize, rng: &mut ChaCha8Rng) -> Head {
    let shape = ActorCritic::new(&ActorCriticConfig {
        space: ActionSpace::Discrete { num_actions: 3 },
        observation_width,
        ahead: true,
        shared: true,
        hidden: vec![64, 64],
        activation: Activation::Tanh,
        lstm: None,
    });
    let parameters = shape.init(Init::Orthogonal, 0.0, rng).into();
    Head { shape: HeadShape::ActorCritic(shape), parameters }
}

fn house(decision: DecisionConfig) -> House {
    let device = resolve(DeviceChoice::Cpu, 0).expect("a CPU");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let widths = AheadWidths { detached: Vec::new(), attached: vec![64] };
    let encoder = MarketEncoder::<Infer>::new(Preset::Tiny, &widths, &mut rng, &device);
    let head = head(ACCOUNT_WIDTH, &mut rng);
    let published = Arc::new(Published::new());
    published.publish(VERSION, &encoder.embedders);
    let links = EmbedderLinks([
        StructureEmbedder::new(VERSION, published.clone()).expect("published").start().recipient(),
        TacticalEmbedder::new(VERSION, published.clone()).expect("published").start().recipient(),
        RegimeEmbedder::new(VERSION, published.clone()).expect("published").start().recipient(),
        LvnEmbedder::new(VERSION, published).expect("published").start().recipient(),
    ]);
    let config = AgentConfig {
        env: EnvConfig::with_cash(100_000.0),
        risk: RiskConfig { stop_atr: StopDistance::Atr(2.0), ..RiskConfig::default() },
        costs: Some(CostConfig { commission_bp: Some(1.0), slippage_ticks: Some(1.0), ..CostConfig::default() }),
        decision,
        seed: 9,
    };
    let (feed, venue) = (Feed::default().start(), Venue::default().start());
    let agent_links = AgentLinks {
        embedders: Some(links.clone()),
        open_span: feed.clone().recipient(),
        next_rows: feed.recipient(),
        open_account: venue.clone().recipient(),
        submit_order: venue.clone().recipient(),
        pass_bar: venue.clone().recipient(),
        close_position: venue.recipient(),
    };
    let agent = Agent::trading(config.clone(), agent_links).start();
    House { config, links, mixer: ActingMixer::of(encoder.mixer, &device), head, agent }
}

impl House {
    async fn walk(&self, span: &TableSpan, block_len: u32) -> Result<BacktestResult, AgentsError> {
        self.agent.send(RunBacktest { span: span.clone(), block_len, gated: true }).await.expect("an answer")
    }

    async fn install(&self, policy_version: PolicyVersion) {
        let install = InstallPolicy { policy_version, mixer: Some(self.mixer.clone()), head: self.head.clone() };
        self.agent.send(install).await.expect("an answer");
    }

    async fn pure(&self, span: &TableSpan) -> BacktestResult {
        let rows: Arc<[u32]> = visited_rows(span).expect("rows").into();
        let all = embed_rows(&self.links, &span.table, &rows).await.expect("embeddings");
        let parts = self.mixer.market_parts(&all.values).expect("parts");
        let AgentConfig { env, risk, costs, decision, seed, .. } = &self.config;
        let mut decider = Decider::new(self.head.clone(), env, decision, *seed).expect("decider");
        run_agent(span, env, risk, costs.as_ref(), &mut decider, &parts).expect("backtest")
    }
}

#[actix::test]
async fn step_by_step_is_in_blocks_is_the_pure_pass() {
    let span = testing::span(1, 1500, Some(1000));
    for decision in [DecisionConfig::off(), DecisionConfig { consensus_passes: 4, confidence_min: 0.3335, ..DecisionConfig::default() }] {
        let house = house(decision);
        house.install(VERSION).await;
        let pure = house.pure(&span).await;
        assert!(pure.trades.len() > 3, "the walk must trade to prove anything: {}", pure.trades.len());
        for block_len in [1, 7, 1024] {
            let walked = house.walk(&span, block_len).await.expect("a walk");
            assert_eq!(walked, pure, "blocks of {block_len}");
        }
    }
}

#[actix::test]
async fn embeddings_of_one_row_are_those_of_many() {
    let span = testing::span(2, 1200, None);
    let house = house(DecisionConfig::off());
    let rows: Arc<[u32]> = visited_rows(&span).expect("rows").into();
    let all = embed_rows(&house.links, &span.table, &rows).await.expect("embeddings");
    assert_eq!((all.policy_version, all.values.len()), (VERSION, rows.len() * EMBEDDING_DIM));
    for index in (0..rows.len()).step_by(97) {
        let one = embed_rows(&house.links, &span.table, &[rows[index]].into()).await.expect("embedding");
        let many = &all.values[index * EMBEDDING_DIM..(index + 1) * EMBEDDING_DIM];
        for (one, many) in one.values.iter().zip(many) {
            assert!((one - many).abs() <= 1e-6, "row {}: {one} {many}", rows[index]);
        }
    }
    // The parts lie in the order of the kinds: a structure embedding does not change within a structure bar, a tactical one does.
    let shared = rows.windows(2).position(|pair| {
        let structure = span.table.structure_row();
        structure[pair[0] as usize] == structure[pair[1] as usize]
    });
    let at = shared.expect("two base rows of one structure bar") * EMBEDDING_DIM;
    let dim = EmbedderKind::Structure.dim();
    assert_eq!(all.values[at..at + dim], all.values[at + EMBEDDING_DIM..at + EMBEDDING_DIM + dim]);
    let (now, next) = (at + dim, at + EMBEDDING_DIM + dim);
    assert_ne!(all.values[now..now + EmbedderKind::Tactical.dim()], all.values[next..next + EmbedderKind::Tactical.dim()]);
}

#[actix::test]
async fn an_agent_refuses_what_does_not_fit() {
    let span = testing::span(2, 1200, None);
    let mut house = house(DecisionConfig::off());
    let no_policy = house.walk(&span, 64).await.expect_err("no policy").to_string();
    assert!(no_policy.contains("no policy"), "{no_policy}");
    house.install(PolicyVersion(4)).await;
    let mixed = house.walk(&span, 64).await;
    assert!(matches!(mixed, Err(AgentsError::Version { found: 3, expected: 4 })), "{mixed:?}");
    house.head = head(ACCOUNT_WIDTH + 2, &mut ChaCha8Rng::seed_from_u64(1));
    house.install(VERSION).await;
    let narrow = house.walk(&span, 64).await;
    assert!(matches!(narrow, Err(AgentsError::Shape { .. })), "{narrow:?}");
}

#[actix::test]
async fn the_kill_switch_keeps_an_agent_flat() {
    let span = testing::span(2, 1200, None);
    let house = house(DecisionConfig::off());
    house.install(VERSION).await;
    house.agent.send(SetKillSwitch { on: true }).await.expect("an answer");
    assert!(house.walk(&span, 64).await.expect("a walk").fills.is_empty());
    house.agent.send(SetKillSwitch { on: false }).await.expect("an answer");
    assert!(!house.walk(&span, 64).await.expect("a walk").fills.is_empty());
}
