//! The agent: blocks of rows from the feed in, approved orders to the venue out. It holds the policy of one version, asks the embedders
//! for whole blocks, and steps through their rows with the same book as the pure backtest. An agent of a control task has lanes and no market.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use actix::{Actor, Context, Handler, Recipient, ResponseFuture};
use grandmodel_embedders::PolicyVersion;
use grandmodel_market::venue::{BarReport, CostConfig, CostModel};

use super::{
    collect::LaneGroup,
    gather::{EmbedderLinks, acting_parts, ask},
};
use crate::{
    AgentsError,
    backtest::{BacktestResult, Book},
    config::{DecisionConfig, EnvConfig, RiskConfig},
    decision::{Conditions, Decider, Seen},
    desk::{ACCOUNT_WIDTH, RowView, bar_ticks},
    encoder::ActingMixer,
    head::Head,
    messages::{
        ClosePosition, InstallPolicy, NextRows, OpenAccount, OpenSpan, PassBar, RewireEmbedders, RowBlock, RunBacktest, SetKillSwitch,
        SubmitOrder,
    },
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
}

/// Whom an agent asks.
#[derive(Clone)]
pub struct AgentLinks {
    /// The four embedders; absent where the head sees the account and the context only.
    pub embedders: Option<EmbedderLinks>,
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

/// Trades one instrument, or acts in one group of lanes.
pub struct Agent {
    pub(crate) trading: Option<(AgentConfig, AgentLinks)>,
    pub(crate) installed: Option<Installed>,
    /// Lanes of a training rollout; an agent that only trades has none.
    pub(crate) lanes: Option<LaneGroup>,
    killed: Arc<AtomicBool>,
}

/// A policy at its version.
#[derive(Clone)]
pub(crate) struct Installed {
    pub policy_version: PolicyVersion,
    pub mixer: Option<ActingMixer>,
    pub head: Head,
}

impl Agent {
    /// An agent of a market without a policy yet.
    pub fn trading(config: AgentConfig, links: AgentLinks) -> Self {
        let killed = Arc::new(AtomicBool::new(config.risk.kill_switch));
        Self { trading: Some((config, links)), installed: None, lanes: None, killed }
    }

    /// An agent without a market: it acts in lanes only.
    pub fn without_market() -> Self {
        Self { trading: None, installed: None, lanes: None, killed: Arc::default() }
    }

    /// The same agent with lanes to collect in.
    pub fn with_lanes(self, lanes: LaneGroup) -> Self {
        Self { lanes: Some(lanes), ..self }
    }

    fn walk(&self, message: &RunBacktest) -> Result<Walk, AgentsError> {
        let no_policy = || AgentsError::Actor { actor: "agent", cause: "no policy is installed".into() };
        let installed = self.installed.clone().ok_or_else(no_policy)?;
        let no_market = || AgentsError::Actor { actor: "agent", cause: "it has no market to trade".into() };
        let (AgentConfig { env, risk, costs, decision, seed }, links) = self.trading.as_ref().ok_or_else(no_market)?;
        let consensus_passes = if message.gated { decision.consensus_passes } else { 0 };
        let decision = &DecisionConfig { consensus_passes, ..decision.clone() };
        let decider = Decider::new(installed.head.clone(), env, decision, *seed)?;
        decider.check_input_width(ACCOUNT_WIDTH + message.span.table.context_width())?;
        Ok(Walk {
            links: links.clone(),
            book: Book::new(&message.span, env, risk)?,
            decider,
            costs: CostModel::new(costs.as_ref(), message.span.table.instrument())?,
            cash_micros: env.initial_cash_micros(),
            installed,
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
        self.installed = Some(Installed { policy_version: message.policy_version, mixer: message.mixer, head: message.head });
    }
}

impl Handler<RewireEmbedders> for Agent {
    type Result = ();

    fn handle(&mut self, message: RewireEmbedders, _: &mut Self::Context) {
        if let Some((_, links)) = &mut self.trading {
            links.embedders = Some(message.links);
        }
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
    killed: Arc<AtomicBool>,
}

impl Walk {
    async fn run(mut self, message: RunBacktest) -> Result<BacktestResult, AgentsError> {
        ask("venue", &self.links.open_account, OpenAccount { cash_micros: self.cash_micros, costs: self.costs }).await??;
        ask("feed", &self.links.open_span, OpenSpan { span: message.span }).await??;
        let next = NextRows { max_rows: message.block_len };
        while let Some(block) = ask("feed", &self.links.next_rows, next).await?? {
            let parts = acting_parts(self.links.embedders.as_ref(), &self.installed, &block.table, &block.rows).await?;
            let width = self.decider.head().shape.ahead_width();
            for index in 0..block.rows.len() {
                self.step(&block, index, &parts[index * width..(index + 1) * width]).await?;
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
        if ends_run {
            self.decider.forget();
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
