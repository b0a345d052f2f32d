//! The pass against its promises: the equity follows from the fills, runs end flat, limits hold.

use grandmodel_market::{
    session::{Hours, HoursConfig, Session},
    venue::Side,
};

use super::*;
use crate::{
    config::{Sizing, StopDistance},
    testing,
};

fn costs() -> CostConfig {
    CostConfig { commission_bp: Some(2.0), slippage_ticks: Some(1.0), financing_bp_per_bar: Some(0.1), ..CostConfig::default() }
}

fn run(span: &TableSpan, risk: &RiskConfig, target: impl FnMut(&Observation<'_>) -> Result<f32, AgentsError>) -> BacktestResult {
    run_targets(span, &EnvConfig::with_cash(100_000.0), risk, Some(&costs()), target).expect("backtest")
}

/// A rule that changes its mind now and then: the sign of the last eight bars.
fn trend(seen: &Observation<'_>) -> Result<f32, AgentsError> {
    let close = seen.table.close_ticks();
    Ok((close[seen.row] - close[seen.row - 8]).signum() as f32)
}

#[test]
fn equity_follows_from_the_fills() {
    let span = testing::span(1, 1500, Some(1000));
    for stop_atr in [StopDistance::OFF, StopDistance::Atr(0.5)] {
        let result = run(&span, &RiskConfig { stop_atr, ..RiskConfig::default() }, trend);
        assert!(result.trades.len() > 20, "{}", result.trades.len());
        let pnl: i64 = result.trades.iter().map(|trade| trade.pnl_micros).sum();
        let last = result.equity.last().expect("a point");
        assert_eq!(last.equity_micros, result.initial_cash_micros + pnl);
        assert_eq!(result.account.cash_micros, last.equity_micros);
        // Replayed by hand: cash from fills alone, marked at each close, less what holding cost.
        let mut fills = result.fills.iter().peekable();
        let (mut cash, mut position) = (i128::from(result.initial_cash_micros), 0_i128);
        let mut financing = 0;
        for point in &result.equity {
            while let Some(fill) = fills.next_if(|fill| fill.row <= point.row) {
                let signed = i128::from(if fill.side == Side::Buy { fill.lots } else { -fill.lots });
                cash -= signed * i128::from(fill.price_ticks) * 10 + i128::from(fill.cost_micros);
                position += signed;
            }
            let close = i128::from(span.table.close_ticks()[point.row as usize]);
            let paid = cash + position * close * 10 - i128::from(point.equity_micros);
            assert!(paid >= financing, "holding never pays: {paid} after {financing}");
            financing = paid;
        }
        assert_eq!(financing, i128::from(result.account.financing_paid_micros));
    }
}

#[test]
fn each_run_starts_flat_and_ends_flat_with_costs() {
    let span = testing::span(1, 1500, Some(1000));
    let runs = ready_runs(std::slice::from_ref(&span)).expect("runs");
    assert!(runs.len() >= 2, "the hole splits the table: {runs:?}");
    let result = run(&span, &RiskConfig::default(), |_| Ok(1.0));
    let ends: Vec<_> = result.fills.iter().filter(|fill| fill.kind == FillKind::SegmentEnd).collect();
    let long_enough = runs.iter().filter(|run| run.rows.len() > 1).count();
    assert_eq!(ends.len(), long_enough);
    for (fill, run) in ends.iter().zip(runs.iter().filter(|run| run.rows.len() > 1)) {
        assert_eq!((fill.row, fill.position_after_lots), (run.rows.end - 1, 0));
        assert!(fill.cost_micros > 0);
    }
    // Buy and hold: one entry at the second open of each run.
    assert_eq!(result.trades.len(), long_enough);
    assert_eq!(result.trades[0].entry_row, runs[0].rows.start + 1);
    assert_eq!(result.equity.len(), visited_rows(&span).expect("rows").len());
}

#[test]
fn flat_costs_nothing_and_decides_on_real_positions() {
    let span = testing::span(2, 1200, None);
    let result = run(&span, &RiskConfig::default(), |_| Ok(0.0));
    assert!(result.fills.is_empty());
    assert!(result.equity.iter().all(|point| point.equity_micros == 100_000_000_000));
    // A stopped-out position is seen as flat although long was asked last.
    let mut seen_flat = 0;
    let risk = RiskConfig { stop_atr: StopDistance::Atr(0.5), ..RiskConfig::default() };
    let result = run(&span, &risk, |seen| {
        seen_flat += usize::from(seen.held == 0.0 && seen.account[0] == 0.0);
        Ok(1.0)
    });
    let stops = result.fills.iter().filter(|fill| fill.kind == FillKind::Stop).count();
    assert!(stops > 5, "{stops}");
    // Each time it is seen flat the rule enters anew: at the start of a run and after each stop.
    let entries = result.fills.iter().filter(|fill| fill.kind == FillKind::Open).count();
    assert_eq!(seen_flat, entries);
}

#[test]
fn ruin_ends_the_pass() {
    let span = testing::span(3, 1500, None);
    let env = EnvConfig { sizing: Sizing::Equity(80.0), max_leverage: 80.0, ..EnvConfig::with_cash(100_000.0) };
    let result = run_targets(&span, &env, &RiskConfig::default(), Some(&costs()), |_| Ok(1.0)).expect("backtest");
    assert!(result.terminated);
    assert_eq!(result.fills.last().map(|fill| fill.kind), Some(FillKind::Liquidation));
    assert_eq!(result.account.position_lots, 0);
    assert!(result.equity.len() < visited_rows(&span).expect("rows").len());
}

#[test]
fn a_day_that_lost_too_much_is_over() {
    let span = testing::span(1, 1500, None);
    let free = run(&span, &RiskConfig::default(), trend);
    let risk = RiskConfig { max_loss_per_day: Some(0.003), ..RiskConfig::default() };
    let limited = run(&span, &risk, trend);
    assert!(limited.refusals[2] > 0 && limited.fills.len() < free.fills.len());
    let risk = RiskConfig { max_drawdown: Some(0.005), ..RiskConfig::default() };
    let halted = run(&span, &risk, trend);
    // Flat for good: the last fill is the one that closed.
    assert!(halted.refusals[1] > 0);
    assert_eq!(halted.fills.last().map(|fill| fill.position_after_lots), Some(0));
    assert!(halted.fills.last().map(|fill| fill.kind) == Some(FillKind::Open));
}

#[test]
fn a_rule_may_fail_or_ask_for_nonsense() {
    let span = testing::span(2, 1200, None);
    let run = |target: f32| run_targets(&span, &EnvConfig::with_cash(1e5), &RiskConfig::default(), Some(&costs()), |_| Ok(target));
    assert!(matches!(run(f32::NAN), Err(AgentsError::Target { .. })));
    assert!(matches!(run(-1.01), Err(AgentsError::Target { .. })));
    let none = run_targets(&span, &EnvConfig::with_cash(1e5), &RiskConfig::default(), None, |_| Ok(0.0));
    assert!(none.expect_err("no costs").to_string().contains("[costs]"));
}

#[test]
fn no_position_outlives_its_session_where_the_setting_says_so() {
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].map(String::from).to_vec();
    let hours = HoursConfig { time_zone: "UTC".into(), open: "08:00".into(), close: "16:00".into(), days };
    let mut series = testing::series(1, 1500, None);
    series.instrument.session = Session::Hours(Hours::new(hours).expect("hours"));
    let table = FeatureTable::build(&series, &testing::features()).expect("a table");
    let span = TableSpan::whole(std::sync::Arc::new(table));
    let closes = |result: &BacktestResult| -> Vec<i64> {
        let at_four = |point: &&EquityPoint| point.ts % 86_400_000_000_000 == 16 * 3_600_000_000_000;
        result.equity.iter().filter(at_four).map(|point| point.position_lots).collect()
    };
    let risk = RiskConfig { flat_before_session_end: true, ..RiskConfig::default() };
    let flat = run(&span, &risk, |_| Ok(1.0));
    assert!(closes(&flat).len() > 2 && closes(&flat).iter().all(|lots| *lots == 0), "{:?}", closes(&flat));
    assert!(flat.refusals[3] > 2 && flat.equity.iter().any(|point| point.position_lots > 0));
    assert!(closes(&run(&span, &RiskConfig::default(), |_| Ok(1.0))).iter().skip(1).all(|lots| *lots > 0));
}
