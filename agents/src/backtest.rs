//! One pass over a span: target positions in, equity curve, fills and trades out. Each run of ready rows starts flat and is closed at
//! its last close with costs. Every strategy, learned or a rule, goes through this one pass: same venue, same sizing, same risk.

use crate::{
    AgentsError,
    config::{EnvConfig, RiskConfig},
    decision::{Conditions, Decider, Seen},
    desk::{ACCOUNT_WIDTH, Desk, DeskState, RowView},
    gate::KeptCounts,
    priced::PriceColumns,
    risk::{Approved, Refusals},
    schedule::ready_runs,
};
use grandmodel_market::{
    FeatureTable, TableSpan,
    venue::{Account, BarReport, CostConfig, CostModel, Fill, FillKind, Order, SimVenue, Trade, TradeBook},
};

/// What a strategy may look at when it decides at the close of a row. Rows after `row` are the future: a rule that reads them lies.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The market.
    pub table: &'a FeatureTable,
    /// The row just closed.
    pub row: usize,
    /// Account vector and context.
    pub account: &'a [f32],
    /// Target position in force.
    pub held: f32,
}

/// One pass over a span.
#[derive(Clone, Debug, PartialEq)]
pub struct BacktestResult {
    /// One point per visited row.
    pub equity: Vec<EquityPoint>,
    /// Every execution, in order.
    pub fills: Vec<Fill>,
    /// Every round trip, in order.
    pub trades: Vec<Trade>,
    /// Refusals of risk by reason.
    pub refusals: Refusals,
    /// Decisions to keep of consensus and gate, by reason; zero for rules.
    pub kept: KeptCounts,
    /// The account at the end, flat.
    pub account: Account,
    /// Cash at the start.
    pub initial_cash_micros: i64,
    /// The account was ruined and the pass stopped there.
    pub terminated: bool,
}

/// Equity at the close of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EquityPoint {
    /// Row.
    pub row: u32,
    /// Close of the row.
    pub ts: i64,
    /// Cash plus position at the close.
    pub equity_micros: i64,
    /// Signed position after the bar, before a close-out at the end of a run.
    pub position_lots: i64,
}

/// What a rule that does not look at its account decides on.
#[derive(Clone, Copy, Debug)]
pub struct RuleView<'a> {
    /// The market.
    pub table: &'a FeatureTable,
    /// The row just closed.
    pub row: usize,
    /// Target position in force.
    pub held: f32,
}

/// Runs a strategy: `target` gives a position in [-1, 1] for each visited row but the last of a run.
///
/// # Errors
/// Settings that cannot work, no cost model, a target outside [-1, 1], whatever `target` returns.
pub fn run_targets(
    span: &TableSpan,
    env: &EnvConfig,
    risk: &RiskConfig,
    costs: Option<&CostConfig>,
    mut target: impl FnMut(&Observation<'_>) -> Result<f32, AgentsError>,
) -> Result<BacktestResult, AgentsError> {
    run(span, env, risk, costs, |book, view| target(&book.observe_view(view)))
}

/// Runs a rule that does not look at its account, and spares it the account vector: the same result as [`run_targets`].
///
/// # Errors
/// As [`run_targets`].
pub fn run_rule(
    span: &TableSpan,
    env: &EnvConfig,
    risk: &RiskConfig,
    costs: Option<&CostConfig>,
    mut target: impl FnMut(&RuleView<'_>) -> f32,
) -> Result<BacktestResult, AgentsError> {
    run(span, env, risk, costs, |book, view| Ok(target(&RuleView { table: &span.table, row: view.row, held: book.state.target })))
}

/// The pass itself: every bar and every order through the venue.
fn run(
    span: &TableSpan,
    env: &EnvConfig,
    risk: &RiskConfig,
    costs: Option<&CostConfig>,
    mut target: impl FnMut(&mut Book, &RowView) -> Result<f32, AgentsError>,
) -> Result<BacktestResult, AgentsError> {
    let runs = ready_runs(std::slice::from_ref(span))?;
    let mut book = Book::before(span, env, risk, runs.first().map(|run| run.rows.start))?;
    let mut venue = SimVenue::new(env.initial_cash_micros(), CostModel::new(costs, span.table.instrument())?)?;
    let columns = PriceColumns::of(&span.table);
    'runs: for run in runs {
        for row in run.rows.clone() {
            let priced = columns.row(row as usize);
            let (view, bar) = (priced.view(row), priced.bar(row));
            let passed = venue.pass(&bar)?;
            let ends_run = row + 1 == run.rows.end;
            if let Some(kind) = book.pass(&view, &venue, passed.financing_micros, ends_run) {
                let report = venue.close_out(&bar, kind)?;
                book.on_close_out(row as usize, &report);
            }
            if book.is_ruined() {
                break 'runs;
            }
            if !ends_run {
                let requested = target(&mut book, &view)?;
                if let Some(order) = book.decide_view(&view, requested)? {
                    venue.submit(order.get())?;
                }
            }
        }
    }
    Ok(book.finish())
}

/// Runs an agent whose market parts were computed ahead: `market` is `[visited_rows(span).len(), ahead_width]`.
///
/// # Errors
/// As [`run_targets`]; [`AgentsError::Shape`] when `market` does not fit the rows.
pub fn run_agent(
    span: &TableSpan,
    env: &EnvConfig,
    risk: &RiskConfig,
    costs: Option<&CostConfig>,
    decider: &mut Decider,
    market: &[f32],
) -> Result<BacktestResult, AgentsError> {
    run_agent_watched(span, env, risk, costs, decider, market, |_| ())
}

/// As [`run_agent`]; `watch` is told each target that is requested.
///
/// # Errors
/// As [`run_agent`].
pub fn run_agent_watched(
    span: &TableSpan,
    env: &EnvConfig,
    risk: &RiskConfig,
    costs: Option<&CostConfig>,
    decider: &mut Decider,
    market: &[f32],
    mut watch: impl FnMut(f32),
) -> Result<BacktestResult, AgentsError> {
    let rows = visited_rows(span)?;
    let width = decider.head().shape.ahead_width();
    if market.len() != rows.len() * width {
        return Err(AgentsError::Shape { what: "market part of the visited rows", found: market.len(), expected: rows.len() * width });
    }
    decider.check_input_width(ACCOUNT_WIDTH + span.table.context_width())?;
    let model = CostModel::new(costs, span.table.instrument())?;
    let before = decider.kept();
    let mut index = 0;
    let mut next_row = None;
    let mut result = run_targets(span, env, risk, costs, |seen| {
        if next_row.replace(seen.row + 1) != Some(seen.row) {
            decider.forget();
        }
        // The last row of a run is visited but not decided on.
        while rows[index] as usize != seen.row {
            index += 1;
        }
        let conditions = Conditions::of(seen.table, &RowView::of(seen.table, seen.row), &model);
        let market = &market[index * width..(index + 1) * width];
        let target = decider.decide(&Seen { market, account: seen.account, held: seen.held, conditions }).target;
        watch(target);
        Ok(target)
    })?;
    for (kept, (after, before)) in result.kept.iter_mut().zip(decider.kept().iter().zip(before)) {
        *kept = after - before;
    }
    Ok(result)
}

/// Rows a backtest of a span visits, in order: what has to be embedded ahead.
///
/// # Errors
/// [`AgentsError::Row`] for a span beyond its table.
pub fn visited_rows(span: &TableSpan) -> Result<Vec<u32>, AgentsError> {
    Ok(ready_runs(std::slice::from_ref(span))?.into_iter().flat_map(|run| run.rows).collect())
}

/// The agent's side of a backtest: reports of the venue in, approved orders and records out. The agent actor holds one too.
pub struct Book {
    desk: Desk,
    state: DeskState,
    span: TableSpan,
    account: Account,
    stop_ticks: Option<i64>,
    account_vector: Vec<f32>,
    ruin_level_micros: i64,
    trade_book: TradeBook,
    result: BacktestResult,
}

impl Book {
    /// An empty book.
    ///
    /// # Errors
    /// Settings that cannot work; one lot above what the account may hold.
    pub fn new(span: &TableSpan, env: &EnvConfig, risk: &RiskConfig) -> Result<Self, AgentsError> {
        Self::before(span, env, risk, ready_runs(std::slice::from_ref(span))?.first().map(|run| run.rows.start))
    }

    /// An empty book before the first row to be visited.
    fn before(span: &TableSpan, env: &EnvConfig, risk: &RiskConfig, first_row: Option<u32>) -> Result<Self, AgentsError> {
        let instrument = span.table.instrument();
        let desk = Desk::new(env, risk, &span.table)?;
        if let Some(row) = first_row {
            desk.check_lot(instrument, span.table.close_ticks()[row as usize])?;
        }
        let cash = env.initial_cash_micros();
        let micros_per_tick_lot = instrument.micros_per_tick_lot()?;
        let account = Account::new(cash, micros_per_tick_lot)?;
        let start = span.table.ts_close().get(span.rows.start).copied().unwrap_or(0);
        Ok(Self {
            desk,
            state: DeskState::new(cash, start),
            account,
            stop_ticks: None,
            account_vector: vec![0.0; ACCOUNT_WIDTH + span.table.context_width()],
            ruin_level_micros: env.ruin_level(cash),
            trade_book: TradeBook::new(micros_per_tick_lot),
            result: BacktestResult {
                equity: Vec::with_capacity(span.rows.len()),
                fills: Vec::new(),
                trades: Vec::new(),
                refusals: Refusals::default(),
                kept: KeptCounts::default(),
                account,
                initial_cash_micros: cash,
                terminated: false,
            },
            span: span.clone(),
        })
    }

    /// Takes what a bar did; says whether and why the position must now be closed at the bar's close.
    pub fn on_bar(&mut self, row: usize, report: &BarReport, ends_run: bool) -> Option<FillKind> {
        let view = self.take(row, report);
        self.mark(&view, self.account.equity_micros(view.close_ticks), self.account.position_lots, ends_run)
    }

    /// [`Book::on_bar`] beside the venue itself: most bars fill nothing, and then there is little to take.
    #[inline(always)]
    fn pass(&mut self, view: &RowView, venue: &SimVenue, financing_micros: i64, ends_run: bool) -> Option<FillKind> {
        let account = venue.account();
        if venue.fills().is_empty() {
            self.account.cash_micros = account.cash_micros;
            self.account.financing_paid_micros = account.financing_paid_micros;
        } else {
            self.account = *account;
            self.stop_ticks = venue.stop_ticks();
            self.result.fills.extend(venue.fills().iter());
        }
        self.trade_book.on_fills(venue.fills(), financing_micros, &mut self.result.trades);
        let equity_micros = account.equity_micros(view.close_ticks);
        self.desk.after_close(&mut self.state, view.ts_close, account.position_lots, equity_micros, venue.stopped_out());
        self.mark(view, equity_micros, account.position_lots, ends_run)
    }

    #[inline(always)]
    fn mark(&mut self, view: &RowView, equity_micros: i64, position_lots: i64, ends_run: bool) -> Option<FillKind> {
        self.result.equity.push(EquityPoint { row: view.row as u32, ts: view.ts_close, equity_micros, position_lots });
        self.result.terminated = equity_micros <= self.ruin_level_micros;
        match (self.result.terminated, ends_run) {
            (true, _) => Some(FillKind::Liquidation),
            (false, true) => Some(FillKind::SegmentEnd),
            (false, false) => None,
        }
    }

    /// Takes the close-out that [`Book::on_bar`] asked for.
    pub fn on_close_out(&mut self, row: usize, report: &BarReport) {
        let view = self.take(row, report);
        self.state.target = 0.0;
        if let Some(point) = self.result.equity.last_mut() {
            point.equity_micros = report.account.equity_micros(view.close_ticks);
        }
    }

    /// What a strategy may look at.
    pub fn observe(&mut self, row: usize) -> Observation<'_> {
        self.observe_view(&RowView::of(&self.span.table, row))
    }

    fn observe_view(&mut self, view: &RowView) -> Observation<'_> {
        let (account, context) = self.account_vector.split_at_mut(ACCOUNT_WIDTH);
        self.desk.observe(&self.state, view, &self.account, self.stop_ticks, account);
        if !context.is_empty() {
            context.copy_from_slice(self.span.table.context(view.row));
        }
        Observation { table: &self.span.table, row: view.row, account: &self.account_vector, held: self.state.target }
    }

    /// Sizing and risk: an order for the venue, or none.
    ///
    /// # Errors
    /// [`AgentsError::Target`] for a target outside [-1, 1].
    pub fn decide(&mut self, row: usize, requested: f32) -> Result<Option<Approved<Order>>, AgentsError> {
        self.decide_view(&RowView::of(&self.span.table, row), requested)
    }

    #[inline(always)]
    fn decide_view(&mut self, view: &RowView, requested: f32) -> Result<Option<Approved<Order>>, AgentsError> {
        if self.desk.keeps(&self.state, view.row, requested) {
            return Ok(None);
        }
        self.change(view, requested)
    }

    fn change(&mut self, view: &RowView, requested: f32) -> Result<Option<Approved<Order>>, AgentsError> {
        if !(-1.0..=1.0).contains(&requested) {
            return Err(AgentsError::Target { lane: 0, value: requested });
        }
        Ok(self.desk.decide(&mut self.state, view, &self.account, requested).order)
    }

    /// The account was ruined.
    pub fn is_ruined(&self) -> bool {
        self.result.terminated
    }

    /// The desk, for the kill switch.
    pub fn desk_mut(&mut self) -> &mut Desk {
        &mut self.desk
    }

    /// Closes the book.
    pub fn finish(mut self) -> BacktestResult {
        self.result.refusals = self.state.risk.refusals;
        self.result.account = self.account;
        self.result
    }

    fn take(&mut self, row: usize, report: &BarReport) -> RowView {
        let view = RowView::of(&self.span.table, row);
        self.desk.after_bar(&mut self.state, &view, &report.account, report.stopped_out());
        self.account = report.account;
        self.stop_ticks = report.stop_ticks;
        self.result.fills.extend(report.fills.iter());
        self.trade_book.on_bar(report, &mut self.result.trades);
        view
    }
}

#[cfg(test)]
mod tests;
