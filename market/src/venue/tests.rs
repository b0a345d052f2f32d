//! Golden fills with the arithmetic beside them, and conservation of money over random streams of orders.

use super::*;
use crate::{Instrument, MarketError, session::Session};
use proptest::prelude::*;

/// Tick 0.25, multiplier 50, as the E-mini: one tick of one lot is 12.5 units of money.
fn es() -> Instrument {
    Instrument { symbol: "ES".into(), tick_size: 0.25, lot_size: 1.0, multiplier: 50.0, session: Session::Always }
}

fn venue(costs: &CostConfig) -> SimVenue {
    let model = CostModel::new(Some(costs), &es()).expect("costs");
    SimVenue::new(1_000_000_000_000, model).expect("cash")
}

fn bar(open: i64, high: i64, low: i64, close: i64) -> BarTicks {
    BarTicks { row: 1, ts_open: 100, ts_close: 200, open, high, low, close }
}

fn market(delta: i64, stop: Option<i64>) -> Order {
    Order::market(OrderId(1), delta, stop.map(|distance_ticks| StopSpec { distance_ticks }), OrderReason::Target)
}

#[test]
fn market_order_fills_at_the_open_with_slippage() {
    let mut venue = venue(&CostConfig {
        commission_per_lot: Some(2.25),
        half_spread_ticks: Some(0.5),
        slippage_ticks: Some(1.0),
        ..CostConfig::default()
    });
    venue.submit(market(2, None)).expect("order");
    let report = venue.on_bar(&bar(7200, 7210, 7190, 7205)).expect("bar");
    let fill = *report.fills.iter().next().expect("a fill");
    // half-spread 0.5 + slippage 1 = 1.5 ticks: 1 moves the price, 0.5 is paid in cash: 2 lots x 0.5 x 12.5 = 12.5; commission 2 x 2.25 = 4.5.
    assert_eq!((fill.price_ticks, fill.cost_micros, fill.ts), (7201, 17_000_000, 100));
    // equity = 1,000,000 - 17 + 2 x (7205 - 7201) x 12.5 = 1,000,083.
    assert_eq!(report.account.equity_micros(7205), 1_000_083_000_000);
    // A sell pays the other way: 7200 - 1.
    venue.submit(market(-2, None)).expect("order");
    let report = venue.on_bar(&bar(7200, 7210, 7190, 7205)).expect("bar");
    assert_eq!(report.fills.iter().next().expect("a fill").price_ticks, 7199);
    // Round trip: 2 lots x -2 ticks x 12.5 = -50, costs 2 x 17 = 34.
    assert_eq!(report.account.cash_micros, 1_000_000_000_000 - 84_000_000);
}

#[test]
fn reversal_pays_twice() {
    let mut venue = venue(&CostConfig { commission_bp: Some(2.0), ..CostConfig::default() });
    venue.submit(market(3, None)).expect("order");
    venue.on_bar(&bar(8000, 8000, 8000, 8000)).expect("bar");
    // 3 lots x 8000 x 12.5 = 300,000; 2 bp = 60.
    assert_eq!(venue.account().fees_paid_micros, 60_000_000);
    venue.submit(market(-6, None)).expect("order");
    venue.on_bar(&bar(8000, 8000, 8000, 8000)).expect("bar");
    assert_eq!(venue.account().fees_paid_micros, 180_000_000);
    assert_eq!(venue.account().position_lots, -3);
}

#[test]
fn stop_gaps_through_at_the_open() {
    let mut venue = venue(&CostConfig { slippage_ticks: Some(1.0), ..CostConfig::default() });
    venue.submit(market(1, Some(10))).expect("order");
    let report = venue.on_bar(&bar(1000, 1005, 995, 1000)).expect("bar");
    // Entry 1000 + 1 = 1001, stop 991; low 995 does not touch it.
    assert_eq!(report.stop_ticks, Some(991));
    let report = venue.on_bar(&bar(980, 985, 970, 975)).expect("bar");
    let fill = *report.fills.iter().next().expect("a fill");
    // The bar opens below the stop: 980 - 1, not 991 - 1.
    assert_eq!((fill.price_ticks, fill.kind, fill.ts), (979, FillKind::Stop, 100));
    assert_eq!((report.account.position_lots, report.stop_ticks), (0, None));
}

#[test]
fn stop_inside_the_bar_fills_at_its_price() {
    let mut venue = venue(&CostConfig::free());
    venue.submit(market(-1, Some(10))).expect("order");
    let report = venue.on_bar(&bar(1000, 1010, 995, 1000)).expect("bar");
    // Short from 1000, stop 1010, touched in the very bar of the entry.
    let fills: Vec<_> = report.fills.iter().map(|fill| (fill.price_ticks, fill.kind)).collect();
    assert_eq!(fills, [(1000, FillKind::Open), (1010, FillKind::Stop)]);
}

#[test]
fn stop_comes_before_limit_and_cancels_it() {
    let mut venue = venue(&CostConfig::free());
    venue.submit(market(1, Some(10))).expect("order");
    venue.on_bar(&bar(1000, 1001, 999, 1000)).expect("bar");
    let limit = Order { kind: OrderKind::Limit { ticks: 1010 }, ..market(-1, None) };
    venue.submit(limit).expect("order");
    let report = venue.on_bar(&bar(1000, 1015, 985, 1000)).expect("bar");
    let fills: Vec<_> = report.fills.iter().map(|fill| (fill.price_ticks, fill.kind)).collect();
    assert_eq!(fills, [(990, FillKind::Stop)]);
    assert_eq!((report.account.position_lots, report.num_expired), (0, 1));
}

#[test]
fn limit_fills_at_its_price_or_better_at_the_open() {
    let costs = CostConfig { half_spread_ticks: Some(3.0), ..CostConfig::default() };
    for (open, expected) in [(1000, 990), (985, 985)] {
        let mut venue = venue(&costs);
        venue.submit(Order { kind: OrderKind::Limit { ticks: 990 }, ..market(1, None) }).expect("order");
        let report = venue.on_bar(&bar(open, 1001, 980, 1000)).expect("bar");
        let fill = report.fills.iter().next().expect("a fill");
        assert_eq!((fill.price_ticks, fill.cost_micros), (expected, 0));
    }
}

#[test]
fn stop_order_enters_with_slippage_and_expires_untouched() {
    let mut venue = venue(&CostConfig { slippage_ticks: Some(1.0), ..CostConfig::default() });
    let order = Order { kind: OrderKind::Stop { ticks: 1010 }, ..market(1, None) };
    venue.submit(order).expect("order");
    let report = venue.on_bar(&bar(1000, 1009, 990, 1000)).expect("bar");
    assert_eq!((report.fills.len(), report.num_expired), (0, 1));
    venue.submit(order).expect("order");
    let report = venue.on_bar(&bar(1000, 1010, 990, 1000)).expect("bar");
    assert_eq!(report.fills.iter().next().map(|fill| (fill.price_ticks, fill.kind)), Some((1011, FillKind::StopOrder)));
}

#[test]
fn adding_keeps_the_stop_of_the_entry() {
    let mut venue = venue(&CostConfig::free());
    venue.submit(market(1, Some(50))).expect("order");
    venue.on_bar(&bar(1000, 1000, 1000, 1000)).expect("bar");
    venue.submit(market(1, Some(5))).expect("order");
    assert_eq!(venue.on_bar(&bar(1000, 1000, 1000, 1000)).expect("bar").stop_ticks, Some(950));
    venue.submit(market(-4, Some(5))).expect("order");
    assert_eq!(venue.on_bar(&bar(1000, 1000, 1000, 1000)).expect("bar").stop_ticks, Some(1005));
}

#[test]
fn holding_cost_is_charged_on_what_was_held() {
    let mut venue = venue(&CostConfig { financing_bp_per_bar: Some(0.5), ..CostConfig::default() });
    venue.submit(market(1, None)).expect("order");
    let report = venue.on_bar(&bar(8000, 8000, 8000, 8000)).expect("bar");
    // 8000 x 12.5 = 100,000; 0.5 bp = 5.
    assert_eq!(report.financing_micros, 5_000_000);
    venue.submit(market(-1, None)).expect("order");
    let report = venue.on_bar(&bar(8000, 8000, 8000, 8000)).expect("bar");
    // Sold at the open: not held in this bar.
    assert_eq!(report.financing_micros, 0);
}

#[test]
fn basis_points_round_up() {
    let instrument = Instrument { symbol: "X".into(), tick_size: 0.01, lot_size: 1e-4, multiplier: 1.0, session: Session::Always };
    let model = CostModel::new(Some(&CostConfig { commission_bp: Some(1.0), ..CostConfig::default() }), &instrument).expect("costs");
    // 1 lot x 101 ticks x 1 micro = 101 micros; 1 bp = 0.0101, rounded against the agent to 1.
    assert_eq!(model.take(1, 1, 101).expect("cost"), (101, 1));
}

#[test]
fn costs_must_be_stated_and_never_negative() {
    let missing = CostModel::new(None, &es()).expect_err("no costs");
    assert!(missing.to_string().contains("[costs]\ncommission_bp"), "{missing}");
    assert!(matches!(CostModel::new(Some(&CostConfig::default()), &es()), Err(MarketError::NoCosts)));
    assert!(CostModel::new(Some(&CostConfig::free()), &es()).is_ok());
    for bad in [-1.0, f64::NAN, f64::INFINITY, 1e9] {
        let config = CostConfig { slippage_bp: Some(bad), ..CostConfig::default() };
        let error = CostModel::new(Some(&config), &es()).expect_err("a bad cost").to_string();
        assert!(error.contains("costs.slippage_bp"), "{error}");
    }
}

#[test]
fn bad_orders_are_refused_with_their_number() {
    let mut venue = venue(&CostConfig::free());
    for order in [market(0, None), market(1, Some(0)), Order { kind: OrderKind::Limit { ticks: 0 }, ..market(1, None) }] {
        assert!(matches!(venue.submit(order), Err(MarketError::Order { id: 1, .. })));
    }
    for _ in 0..MAX_PENDING_ORDERS {
        venue.submit(market(1, None)).expect("order");
    }
    assert!(venue.submit(market(1, None)).is_err());
    let mut venue = self::venue(&CostConfig::free());
    venue.submit(market(i64::MAX, None)).expect("order");
    assert!(matches!(venue.on_bar(&bar(8000, 8000, 8000, 8000)), Err(MarketError::Money { .. })));
    assert_eq!(venue.account().position_lots, 0);
}

fn any_order() -> impl Strategy<Value = Order> {
    (0..3u8, any::<bool>(), 1..500i64, -30..30i64, proptest::option::of(1..25i64)).prop_map(|(kind, buy, lots, offset, stop)| {
        let ticks = 1000 + offset;
        let kind = match kind {
            0 => OrderKind::Market,
            1 => OrderKind::Limit { ticks },
            _ => OrderKind::Stop { ticks },
        };
        Order { kind, ..market(if buy { lots } else { -lots }, stop) }
    })
}

fn any_bar() -> impl Strategy<Value = BarTicks> {
    (970..1030i64, 0..20i64, 0..20i64, 0..=20i64).prop_map(|(open, up, down, at)| {
        let (high, low) = (open + up, open - down);
        bar(open, high, low, (low + at).min(high))
    })
}

fn any_costs() -> impl Strategy<Value = CostConfig> {
    (0.0..5.0f64, 0.0..9.0f64, 0.0..3.0f64, 0.0..3.0f64, 0.0..5.0f64, 0.0..2.0f64).prop_map(|(a, b, c, d, e, f)| CostConfig {
        commission_per_lot: Some(a),
        commission_bp: Some(b),
        half_spread_ticks: Some(c),
        slippage_ticks: Some(d),
        slippage_bp: Some(e),
        financing_bp_per_bar: Some(f),
    })
}

proptest! {
    #[test]
    fn money_is_conserved(costs in any_costs(), stream in proptest::collection::vec((proptest::collection::vec(any_order(), 0..4), any_bar()), 1..40)) {
        let mut venue = venue(&costs);
        let mut cash: i128 = 1_000_000_000_000;
        let mut position: i128 = 0;
        let mut book = TradeBook::new(12_500_000);
        let mut trades = Vec::new();
        let mut last = stream[0].1;
        for (orders, bar) in &stream {
            for order in orders {
                venue.submit(*order).expect("order");
            }
            let fees_before = venue.account().fees_paid_micros;
            let report = venue.on_bar(bar).expect("bar");
            let mut fees = 0;
            // The slow oracle: cash is what fills say and nothing else.
            for fill in report.fills.iter() {
                prop_assert!(fill.cost_micros >= 0);
                let signed = i128::from(fill.side.sign() * fill.lots);
                cash -= signed * i128::from(fill.price_ticks) * 12_500_000 + i128::from(fill.cost_micros);
                position += signed;
                fees += fill.cost_micros;
                prop_assert_eq!(i128::from(fill.position_after_lots), position);
            }
            prop_assert!(report.financing_micros >= 0);
            cash -= i128::from(report.financing_micros);
            let account = venue.account();
            prop_assert_eq!(i128::from(account.cash_micros), cash);
            prop_assert_eq!(account.fees_paid_micros - fees_before, fees);
            prop_assert_eq!(i128::from(account.equity_micros(bar.close)), cash + position * i128::from(bar.close) * 12_500_000);
            // Realised + unrealised - what was paid = change of equity, to the micro-unit.
            let profit = account.realised_micros + account.unrealised_micros(bar.close) - account.fees_paid_micros - account.financing_paid_micros;
            prop_assert_eq!(profit, account.equity_micros(bar.close) - 1_000_000_000_000);
            prop_assert!(account.position_lots != 0 || venue.stop_ticks().is_none());
            book.on_bar(&report, &mut trades);
            last = *bar;
        }
        let report = venue.close_out(&last, FillKind::SegmentEnd).expect("close");
        book.on_bar(&report, &mut trades);
        prop_assert_eq!(venue.account().position_lots, 0);
        prop_assert_eq!(venue.account().basis_micros, 0);
        let sum: i64 = trades.iter().map(|trade| trade.pnl_micros).sum();
        prop_assert_eq!(sum, venue.account().cash_micros - 1_000_000_000_000);
    }

    #[test]
    fn costs_only_ever_hurt(stream in proptest::collection::vec((any_order(), any_bar()), 1..20), costs in any_costs()) {
        // The same market orders without stops: what is paid can only lower equity.
        let (mut free, mut paid) = (venue(&CostConfig::free()), venue(&costs));
        for (order, bar) in &stream {
            let order = Order { kind: OrderKind::Market, stop: None, ..*order };
            free.submit(order).expect("order");
            paid.submit(order).expect("order");
            free.on_bar(bar).expect("bar");
            paid.on_bar(bar).expect("bar");
            prop_assert!(paid.account().equity_micros(bar.close) <= free.account().equity_micros(bar.close));
        }
    }
}

proptest! {
    #[test]
    fn the_short_way_to_a_holding_cost_is_the_long_one(bp in 0.0..1_000.0_f64, lots in -100_000..100_000_i64, close in 1..100_000_000_i64) {
        let costs = CostModel::new(Some(&CostConfig { financing_bp_per_bar: Some(bp), ..CostConfig::default() }), &es()).expect("costs");
        let Ok(long) = costs.financing(lots, close) else { return Ok(()) };
        let notional = lots.unsigned_abs() as u128 * close as u128 * costs.micros_per_tick_lot() as u128;
        // By the definition: parts of a millionth of a basis point, rounded up.
        let parts = (bp * 1e6).ceil() as u128;
        prop_assert!((notional * parts).div_ceil(10_000_000_000).abs_diff(long as u128) <= notional.div_ceil(10_000_000_000));
        let short = u64::try_from(notional).ok().and_then(|notional| costs.financing_of(notional));
        prop_assert!(short.is_none_or(|short| short == long));
    }
}
