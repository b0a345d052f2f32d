//! The agent: blocks of rows from the feed in, approved orders to the venue out. It holds the policy of one version, asks the embedders
//! for whole blocks, and steps through their rows with the same book as the pure backtest.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use actix::{Actor, Context, Handler, Recipient, ResponseFuture};
use grandmodel_embedders::{
    PolicyVersion,
    device::{Device, Infer},
};
use grandmodel_market::venue::{BarReport, CostConfig, CostModel};

use super::{
    collect::LaneGroup,
    gather::{EmbedderLinks, ask, embed_rows, market_parts},
};
use crate::{
    AgentsError,
    backtest::{BacktestResult, Book},
    config::{DecisionConfig, EnvConfig, RiskConfig},
    decision::{Conditions, Decider, Seen},
    desk::{ACCOUNT_WIDTH, RowView, bar_ticks},
    messages::{
        ClosePosition, InstallPolicy, NextRows, OpenAccount, OpenSpan, PassBar, RewireEmbedders, RowBlock, RunBacktest, SetKillSwitch,
        SubmitOrder,
    },
    policy::PolicyNet,
};

/// How an agent decides and trades.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Environment: cash, sizing, levels.
    pub env: EnvConfig,
    /// Limits.
    pub risk: RiskConfig,
    /// Costs; none stated is refused when trading begins.
    pub costs: Option<CostConfig>,
    /// Consensus and gate.
    pub decision: DecisionConfig,
    /// Seed of the consensus masks.
    pub seed: u64,
    /// Where the policy's market part is computed.
    pub device: Device,
}

/// Whom an agent asks.
#[derive(Clone)]
pub struct AgentLinks {
    /// The four embedders.
    pub embedders: EmbedderLinks,
    /// Opens a span.
    pub open_span: Recipient<OpenSpan>,
    /// Gives rows.
    pub next_rows: Recipient<NextRows>,
    /// Opens an account.
    pub open_account: Recipient<OpenAccount>,
    /// Takes orders.
    pub submit_order: Recipient<SubmitOrder>,
    /// Takes bars.
    pub pass_bar: Recipient<PassBar>,
    /// Closes positions.
    pub close_position: Recipient<ClosePosition>,
}

/// Trades one instrument or one group of lanes.
pub struct Agent {
    pub(crate) config: AgentConfig,
    pub(crate) links: AgentLinks,
    pub(crate) installed: Option<Installed>,
    /// Lanes of a training rollout; an agent that only trades has none.
    pub(crate) lanes: Option<LaneGroup>,
    killed: Arc<AtomicBool>,
}

/// A policy at its version.
#[derive(Clone)]
pub(crate) struct Installed {
    pub policy_version: PolicyVersion,
    pub policy: PolicyNet<Infer>,
}

impl Agent {
    /// An agent without a policy yet.
    pub fn new(config: AgentConfig, links: AgentLinks) -> Self {
        let killed = Arc::new(AtomicBool::new(config.risk.kill_switch));
        Self { config, links, installed: None, lanes: None, killed }
    }

    /// The same agent with lanes to collect in.
    pub fn with_lanes(self, lanes: LaneGroup) -> Self {
        Self { lanes: Some(lanes), ..self }
    }

    fn walk(&self, message: &RunBacktest) -> Result<Walk, AgentsError> {
        let no_policy = || AgentsError::Actor { actor: "agent", cause: "no policy is installed".into() };
        let installed = self.installed.clone().ok_or_else(no_policy)?;
        let AgentConfig { env, risk, costs, decision, seed, device } = &self.config;
        let consensus_passes = if message.gated { decision.consensus_passes } else { 0 };
        let decision = &DecisionConfig { consensus_passes, ..decision.clone() };
        let decider = Decider::new(installed.policy.head(), env, decision, *seed)?;
        decider.check_input_width(ACCOUNT_WIDTH + message.span.table.context_width())?;
        Ok(Walk {
            links: self.links.clone(),
            book: Book::new(&message.span, env, risk)?,
            decider,
            costs: CostModel::new(costs.as_ref(), message.span.table.instrument())?,
            cash_micros: env.initial_cash_micros(),
            installed,
            device: device.clone(),
            killed: self.killed.clone(),
        })
    }
}

impl Actor for Agent {
    type Context = Context<Self>;
}

impl Handler<InstallPolicy> for Agent {
    type Result = ();

    fn handle(&mut self, message: InstallPolicy, _: &mut Self::Context) {
        self.installed = Some(Installed { policy_version: message.policy_version, policy: message.policy });
    }
}

impl Handler<RewireEmbedders> for Agent {
    type Result = ();

    fn handle(&mut self, message: RewireEmbedders, _: &mut Self::Context) {
        self.links.embedders = message.links;
    }
}

impl Handler<SetKillSwitch> for Agent {
    type Result = ();

    fn handle(&mut self, message: SetKillSwitch, _: &mut Self::Context) {
        self.killed.store(message.on, Ordering::Relaxed);
    }
}

impl Handler<RunBacktest> for Agent {
    type Result = ResponseFuture<Result<BacktestResult, AgentsError>>;

    fn handle(&mut self, message: RunBacktest, _: &mut Self::Context) -> Self::Result {
        let walk = self.walk(&message);
        Box::pin(async move { walk?.run(message).await })
    }
}

/// One walk over a span: everything it changes is its own.
struct Walk {
    links: AgentLinks,
    book: Book,
    decider: Decider,
    costs: CostModel,
    cash_micros: i64,
    installed: Installed,
    device: Device,
    killed: Arc<AtomicBool>,
}

impl Walk {
    async fn run(mut self, message: RunBacktest) -> Result<BacktestResult, AgentsError> {
        ask("venue", &self.links.open_account, OpenAccount { cash_micros: self.cash_micros, costs: self.costs }).await??;
        ask("feed", &self.links.open_span, OpenSpan { span: message.span }).await??;
        let next = NextRows { max_rows: message.block_len };
        while let Some(block) = ask("feed", &self.links.next_rows, next).await?? {
            let embeddings = embed_rows(&self.links.embedders, &block.table, &block.rows).await?;
            let expected = self.installed.policy_version;
            if embeddings.policy_version != expected {
                return Err(AgentsError::Version { found: embeddings.policy_version.0, expected: expected.0 });
            }
            let parts = market_parts(&self.installed.policy, &self.device, &embeddings.values)?;
            let hidden = self.decider.head().hidden();
            for (index, market) in parts.chunks_exact(hidden).enumerate() {
                self.step(&block, index, market).await?;
                if self.book.is_ruined() {
                    return Ok(self.finish());
                }
            }
        }
        Ok(self.finish())
    }

    async fn step(&mut self, block: &RowBlock, index: usize, market: &[f32]) -> Result<(), AgentsError> {
        let row = block.rows[index] as usize;
        let ends_run = block.ends_run && index + 1 == block.rows.len();
        let bar = bar_ticks(&block.table, row);
        let report: BarReport = ask("venue", &self.links.pass_bar, PassBar { bar }).await??;
        if let Some(kind) = self.book.on_bar(row, &report, ends_run) {
            let report = ask("venue", &self.links.close_position, ClosePosition { bar, kind }).await??;
            self.book.on_close_out(row, &report);
        }
        if ends_run || self.book.is_ruined() {
            return Ok(());
        }
        self.book.desk_mut().risk_mut().set_kill_switch(self.killed.load(Ordering::Relaxed));
        let conditions = Conditions::of(&block.table, &RowView::of(&block.table, row), &self.costs);
        let seen = self.book.observe(row);
        let verdict = self.decider.decide(&Seen { market, account: seen.account, held: seen.held, conditions });
        if let Some(order) = self.book.decide(row, verdict.target)? {
            ask("venue", &self.links.submit_order, SubmitOrder { order }).await??;
        }
        Ok(())
    }

    fn finish(self) -> BacktestResult {
        BacktestResult { kept: self.decider.kept(), ..self.book.finish() }
    }
}
