//! Results of crate `market` into rows of the run folder's files, name by name. No arithmetic beyond units.

use grandmodel_market::{
    Bar, Instrument,
    instrument::MICROS,
    stats::{Interval, Statistics},
    venue::{Fill, FillKind, Side, Trade},
};

use crate::report::{CandleBar, FillMark, IntervalStated, Performance, TradeRow};

impl From<Interval> for IntervalStated {
    fn from(interval: Interval) -> Self {
        Self { estimate: interval.estimate, low: interval.low, high: interval.high }
    }
}

impl From<&Statistics> for Performance {
    fn from(stats: &Statistics) -> Self {
        Self {
            total_return: stats.total_return,
            annual_return: stats.annual_return,
            annual_volatility: stats.annual_volatility,
            sharpe: stats.sharpe,
            sharpe_interval: stats.sharpe_interval.map(IntervalStated::from),
            sortino: stats.sortino,
            calmar: stats.calmar,
            max_drawdown: Some(stats.max_drawdown),
            max_drawdown_bars: Some(stats.max_drawdown_bars as u64),
            value_at_risk: stats.value_at_risk,
            conditional_value_at_risk: stats.conditional_value_at_risk,
            num_trades: Some(stats.num_trades as u64),
            win_rate: stats.win_rate,
            profit_factor: stats.profit_factor,
            expectancy: stats.expectancy,
            bars_held: stats.bars_held,
            turnover: Some(stats.turnover),
            exposure: Some(stats.exposure),
            fees_paid: Some(stats.fees_paid),
            financing_paid: Some(stats.financing_paid),
        }
    }
}

impl From<&Bar> for CandleBar {
    fn from(bar: &Bar) -> Self {
        Self { ts_open: bar.ts_open, open: bar.open, high: bar.high, low: bar.low, close: bar.close }
    }
}

impl TradeRow {
    /// A round trip of the venue as a line of `trades.csv`.
    pub fn of(path: u32, trade: &Trade, instrument: &Instrument) -> Self {
        Self {
            path,
            long: trade.side == Side::Buy,
            lots: trade.lots,
            entry_ts: trade.entry_ts,
            exit_ts: trade.exit_ts,
            entry_price: price(trade.entry_ticks, instrument),
            exit_price: price(trade.exit_ticks, instrument),
            bars_held: trade.exit_row.saturating_sub(trade.entry_row),
            cost_micros: trade.cost_micros,
            pnl_micros: trade.pnl_micros,
            exit: kind_name(trade.exit).into(),
        }
    }
}

impl FillMark {
    /// A fill of the venue as a mark beside the bar it happened in.
    pub fn of(fill: &Fill, ts_open: i64, instrument: &Instrument) -> Self {
        Self {
            ts_open,
            buy: fill.side == Side::Buy,
            price: instrument.to_price(fill.price_ticks),
            lots: fill.lots,
            position_after: fill.position_after_lots,
            kind: kind_name(fill.kind).into(),
        }
    }
}

/// Mean of whole ticks in units of price, cut to what money can show, so that the file holds no digits of rounding.
fn price(ticks: f64, instrument: &Instrument) -> f64 {
    (ticks * instrument.tick_size * MICROS).round() / MICROS
}

fn kind_name(kind: FillKind) -> &'static str {
    match kind {
        FillKind::Open => "open",
        FillKind::Limit => "limit",
        FillKind::StopOrder => "stop_order",
        FillKind::Stop => "stop",
        FillKind::SegmentEnd => "segment_end",
        FillKind::Liquidation => "liquidation",
    }
}
