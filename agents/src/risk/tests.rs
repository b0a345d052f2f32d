//! Each limit hit on purpose.

use grandmodel_market::venue::{OrderId, OrderReason, SimVenue};

use super::*;

/// Tick value 10 micro-units; 100,000 of cash; price 100,000 ticks, so a lot is worth 1.
fn account(lots: i64) -> Account {
    let mut account = Account::new(100_000_000_000, 10).expect("account");
    account.trade(lots, 100_000, 0).expect("trade");
    account
}

fn mark(ts: i64) -> Mark {
    Mark { ts, ticks: 100_000, session_ends: false }
}

fn order(delta: i64) -> Order {
    Order::market(OrderId(1), delta, None, OrderReason::Target)
}

fn risk(config: RiskConfig) -> Risk {
    Risk::new(&config, &EnvConfig::with_cash(100_000.0)).expect("risk")
}

fn state() -> RiskState {
    RiskState::new(100_000_000_000, 0)
}

#[test]
fn each_limit_refuses_with_its_numbers_and_counts() {
    let cases = [
        (RiskConfig { max_position_lots: Some(5), ..RiskConfig::default() }, 6, Refusal::MaxPosition { found: 6, max: 5 }),
        (
            RiskConfig { max_order_notional: Some(10.0), ..RiskConfig::default() },
            11,
            Refusal::OrderNotional { found: 11_000_000, max: 10_000_000 },
        ),
        (RiskConfig::default(), 100_001, Refusal::Leverage { found: 100_001_000_000, max: 100_000_000_000 }),
        (RiskConfig { kill_switch: true, ..RiskConfig::default() }, 2, Refusal::KillSwitch),
    ];
    for (config, lots, expected) in cases {
        let (risk, mut state) = (risk(config), state());
        assert_eq!(risk.approve(&mut state, order(lots), &account(0), &mark(0)), Err(expected));
        assert_eq!(risk.approve(&mut state, order(-lots), &account(0), &mark(0)), Err(expected));
        assert_eq!(state.refusals[expected.index()], 2, "{}", expected.name());
        // Less is let through, except by the kill switch.
        assert_eq!(risk.approve(&mut state, order(lots - 1), &account(0), &mark(0)).is_ok(), expected != Refusal::KillSwitch);
        // And what reduces always is.
        assert!(risk.approve(&mut state, order(-lots), &account(2 * lots), &mark(0)).is_ok());
    }
}

#[test]
fn orders_are_counted_by_the_minute() {
    let (risk, mut state) = (risk(RiskConfig { max_orders_per_minute: 2, ..RiskConfig::default() }), state());
    for _ in 0..2 {
        risk.approve(&mut state, order(1), &account(0), &mark(MINUTE_NS)).expect("let through");
    }
    let refused = risk.approve(&mut state, order(1), &account(0), &mark(2 * MINUTE_NS - 1));
    assert_eq!(refused, Err(Refusal::OrderRate { found: 2, max: 2 }));
    risk.approve(&mut state, order(-1), &account(1), &mark(2 * MINUTE_NS - 1)).expect("closing is let through");
    risk.approve(&mut state, order(1), &account(0), &mark(2 * MINUTE_NS)).expect("a new minute");
}

#[test]
fn a_lost_day_ends_at_midnight_and_a_drawdown_does_not() {
    let config = RiskConfig { max_loss_per_day: Some(0.02), max_drawdown: Some(0.05), ..RiskConfig::default() };
    let (risk, mut state) = (risk(config), state());
    risk.observe(&mut state, 10, 98_100_000_000);
    assert_eq!(risk.forced_flat(&state, &mark(10), 98_100_000_000), None);
    risk.observe(&mut state, 20, 98_000_000_000);
    let expected = Refusal::DayLoss { found: 0.02, max: 0.02 };
    assert_eq!(risk.forced_flat(&state, &mark(20), 98_000_000_000), Some(expected));
    // Still halted when the loss is won back within the day.
    risk.observe(&mut state, 30, 99_900_000_000);
    assert!(risk.forced_flat(&state, &mark(30), 99_900_000_000).is_some());
    risk.observe(&mut state, DAY_NS, 99_900_000_000);
    assert_eq!(risk.forced_flat(&state, &mark(DAY_NS), 99_900_000_000), None);
    risk.observe(&mut state, 2 * DAY_NS, 95_000_000_000);
    risk.observe(&mut state, 3 * DAY_NS, 100_000_000_000);
    assert!(matches!(risk.forced_flat(&state, &mark(3 * DAY_NS), 100_000_000_000), Some(Refusal::Drawdown { .. })));
}

#[test]
fn the_session_end_forces_flat_only_by_setting() {
    let ends = Mark { session_ends: true, ..mark(0) };
    assert_eq!(risk(RiskConfig::default()).forced_flat(&state(), &ends, 1), None);
    let set = risk(RiskConfig { flat_before_session_end: true, ..RiskConfig::default() });
    assert_eq!(set.forced_flat(&state(), &ends, 1), Some(Refusal::SessionEnd));
    assert_eq!(set.forced_flat(&state(), &mark(0), 1), None);
}

#[test]
fn an_approved_order_is_what_a_venue_takes() {
    let approved = risk(RiskConfig::default()).approve(&mut state(), order(3), &account(0), &mark(0)).expect("let through");
    let costs =
        grandmodel_market::venue::CostModel::new(Some(&grandmodel_market::venue::CostConfig::free()), &crate::testing::instrument());
    let mut venue = SimVenue::new(100_000_000_000, costs.expect("costs")).expect("venue");
    assert_eq!(venue.submit(approved.get()).expect("order"), OrderId(1));
}
