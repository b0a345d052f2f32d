//! Round trips: fills and holding costs in, finished trades out. The sum of their profits is the change of equity, to the micro-unit.

use super::{BarReport, Fill, FillKind, Fills, Side};

/// One round trip, from flat (or a flip) to flat (or a flip).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Trade {
    /// Direction.
    pub side: Side,
    /// Largest position it reached.
    pub lots: i64,
    /// First fill.
    pub entry_ts: i64,
    /// Last fill.
    pub exit_ts: i64,
    /// Row of the first fill.
    pub entry_row: u32,
    /// Row of the last fill.
    pub exit_row: u32,
    /// Average entry price.
    pub entry_ticks: f64,
    /// Average exit price.
    pub exit_ticks: f64,
    /// Commission, slippage and holding costs.
    pub cost_micros: i64,
    /// Profit after all costs.
    pub pnl_micros: i64,
    /// How it ended.
    pub exit: FillKind,
}

/// Collects fills into trades for one account.
#[derive(Clone, Debug, Default)]
pub struct TradeBook {
    open: Option<OpenTrade>,
    micros_per_tick_lot: i64,
}

#[derive(Clone, Copy, Debug)]
struct OpenTrade {
    side: Side,
    entry_ts: i64,
    entry_row: u32,
    position: i64,
    lots_max: i64,
    entry_lots: i64,
    entry_sum: i128,
    exit_lots: i64,
    exit_sum: i128,
    cost: i64,
}

impl TradeBook {
    /// An empty book.
    pub fn new(micros_per_tick_lot: i64) -> Self {
        Self { open: None, micros_per_tick_lot }
    }

    /// Takes what one bar did and appends the trades it finished. The holding cost of a bar belongs to the last position it held.
    pub fn on_bar(&mut self, report: &BarReport, out: &mut Vec<Trade>) {
        self.on_fills(&report.fills, report.financing_micros, out);
    }

    /// [`TradeBook::on_bar`] for a venue that made no report.
    #[inline]
    pub fn on_fills(&mut self, fills: &Fills, financing_micros: i64, out: &mut Vec<Trade>) {
        for fill in fills.iter() {
            self.on_fill(fill, out);
        }
        if financing_micros > 0 {
            if let Some(open) = &mut self.open {
                open.cost += financing_micros;
            } else if let Some(last) = out.last_mut() {
                last.cost_micros += financing_micros;
                last.pnl_micros -= financing_micros;
            }
        }
    }

    fn on_fill(&mut self, fill: &Fill, out: &mut Vec<Trade>) {
        let mut lots = fill.lots;
        let mut cost = fill.cost_micros;
        if let Some(mut open) = self.open.take() {
            if open.side == fill.side {
                open.enter(lots, fill.price_ticks, cost);
                self.open = Some(open);
                return;
            }
            let closed = lots.min(open.position);
            // A flip pays for its exit and its entry: the fee is divided by lots, the remainder stays with the exit.
            let entry_cost = (i128::from(cost) * i128::from(lots - closed) / i128::from(lots)) as i64;
            open.exit(closed, fill.price_ticks, cost - entry_cost);
            lots -= closed;
            cost = entry_cost;
            if open.position > 0 {
                self.open = Some(open);
                return;
            }
            out.push(open.finish(fill, self.micros_per_tick_lot));
        }
        if lots > 0 {
            let mut open = OpenTrade::at(fill);
            open.enter(lots, fill.price_ticks, cost);
            self.open = Some(open);
        }
    }
}

impl OpenTrade {
    fn at(fill: &Fill) -> Self {
        Self {
            side: fill.side,
            entry_ts: fill.ts,
            entry_row: fill.row,
            position: 0,
            lots_max: 0,
            entry_lots: 0,
            entry_sum: 0,
            exit_lots: 0,
            exit_sum: 0,
            cost: 0,
        }
    }

    fn enter(&mut self, lots: i64, ticks: i64, cost: i64) {
        self.position += lots;
        self.lots_max = self.lots_max.max(self.position);
        self.entry_lots += lots;
        self.entry_sum += i128::from(lots) * i128::from(ticks);
        self.cost += cost;
    }

    fn exit(&mut self, lots: i64, ticks: i64, cost: i64) {
        self.position -= lots;
        self.exit_lots += lots;
        self.exit_sum += i128::from(lots) * i128::from(ticks);
        self.cost += cost;
    }

    fn finish(self, fill: &Fill, micros_per_tick_lot: i64) -> Trade {
        let gross = i128::from(self.side.sign()) * (self.exit_sum - self.entry_sum) * i128::from(micros_per_tick_lot);
        Trade {
            side: self.side,
            lots: self.lots_max,
            entry_ts: self.entry_ts,
            exit_ts: fill.ts,
            entry_row: self.entry_row,
            exit_row: fill.row,
            entry_ticks: self.entry_sum as f64 / self.entry_lots as f64,
            exit_ticks: self.exit_sum as f64 / self.exit_lots as f64,
            cost_micros: self.cost,
            pnl_micros: (gross - i128::from(self.cost)) as i64,
            exit: fill.kind,
        }
    }
}
