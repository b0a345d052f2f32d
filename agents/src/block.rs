//! Rewards and account vectors of a block of lanes at once: columns of money and prices in, the numbers of [`Desk::observe`] and of the log
//! return out, to the bit. Divisions are most of an observation, and a vector unit does four or eight in the time of one.
//!
//! [`Desk::observe`]: crate::desk::Desk::observe

use grandmodel_embedders::simd_fn;

use crate::{
    desk::{ACCOUNT_WIDTH, HELD_HALF_BARS, PROFIT_HALF_ATR, STOP_FULL_ATR},
    hold::Hold,
    priced::PricedRow,
    reward::{growth, ln_of_parts, ln_parts, ln_series},
};

/// Lanes of a block: columns that stay in the first cache, and enough of them for any vector unit.
pub(crate) const LANES: usize = 64;

/// One value a lane.
pub(crate) type Column<T> = [T; LANES];

/// What the vector units read of a block of lanes at one close, and what they make of it.
pub(crate) struct Block {
    equity_t: Column<i64>,
    equity_tp1: Column<i64>,
    equity: Column<i64>,
    equity_max: Column<i64>,
    /// Signed value of the position.
    value: Column<i64>,
    close: Column<i64>,
    /// -1, 0 or 1.
    side: Column<f64>,
    /// NaN without a stop.
    stop: Column<f64>,
    entry: Column<f64>,
    atr: Column<f64>,
    bars_held: Column<u32>,
    target: Column<f32>,
    /// A lane has had a stop: until then the distances to stops are known.
    has_stops: bool,
    /// Log returns.
    pub rewards: Column<f64>,
    account: [Column<f32>; ACCOUNT_WIDTH],
}

impl Default for Block {
    fn default() -> Self {
        // Places beyond the last lane of an environment are worked out like all others: they hold numbers that do no harm.
        Self {
            equity_t: [1; LANES],
            equity_tp1: [1; LANES],
            equity: [1; LANES],
            equity_max: [1; LANES],
            value: [0; LANES],
            close: [1; LANES],
            side: [0.0; LANES],
            stop: [f64::NAN; LANES],
            entry: [0.0; LANES],
            atr: [1.0; LANES],
            bars_held: [0; LANES],
            target: [0.0; LANES],
            has_stops: false,
            rewards: [0.0; LANES],
            account: [[0.0; LANES], [0.0; LANES], [0.0; LANES], [0.0; LANES], [0.0; LANES], [1.0; LANES]],
        }
    }
}

impl Block {
    /// Takes note that lanes have stops.
    pub fn expect_stops(&mut self) {
        self.has_stops = true;
    }

    /// Takes the equity of a lane before and after a bar.
    #[inline(always)]
    pub fn earn(&mut self, lane: usize, equity_t: i64, equity_tp1: i64) {
        self.equity_t[lane] = equity_t;
        self.equity_tp1[lane] = equity_tp1;
    }

    /// Takes where a lane stands.
    #[inline(always)]
    pub fn stand(&mut self, lane: usize, hold: &Hold, row: &PricedRow) {
        self.equity[lane] = hold.equity_micros;
        self.equity_max[lane] = hold.equity_micros_max;
        self.value[lane] = hold.micros_per_tick.saturating_mul(row.close);
        self.close[lane] = row.close;
        self.side[lane] = hold.side;
        self.entry[lane] = hold.entry_ticks;
        self.atr[lane] = row.atr_ticks;
        self.bars_held[lane] = hold.bars_held;
        self.target[lane] = hold.target;
        if self.has_stops {
            self.stop[lane] = hold.stop_ticks();
        }
    }

    /// Works out the log returns.
    pub fn log_returns(&mut self) {
        log_returns(&self.equity_t, &self.equity_tp1, &mut self.rewards);
    }

    /// Works out the account vectors and writes those of the first lanes into rows of `width`.
    pub fn observe(&mut self, max_leverage: f64, width: usize, out: &mut [f32]) {
        account_columns(self, max_leverage);
        if self.has_stops {
            stop_column(self);
        }
        let [c0, c1, c2, c3, c4, c5] = &self.account;
        for (lane, row) in out.chunks_exact_mut(width).enumerate().take(LANES) {
            row[..ACCOUNT_WIDTH].copy_from_slice(&[c0[lane], c1[lane], c2[lane], c3[lane], c4[lane], c5[lane]]);
        }
    }
}

/// Nearest float to an integer; vector units up to AVX2 have no such instruction. The halves are exact, so there is one rounding.
#[inline(always)]
fn float(value: i64) -> f64 {
    // 2^52 + low half, and 2^84 + 2^63 + high half; the last is signed.
    let low = f64::from_bits((value as u64 & 0xffff_ffff) | 0x4330_0000_0000_0000);
    let high = f64::from_bits((value as u64 >> 32) ^ 0x4530_0000_8000_0000);
    (high - f64::from_bits(0x4530_0000_8010_0000)) + low
}

simd_fn! {
    /// `ln(E_{t+1} / E_t)` of each lane, in passes: operations of one logarithm wait for one another, those of many do not.
    pub fn log_returns(equity_t: &Column<i64>, equity_tp1: &Column<i64>, out: &mut Column<f64>) {
        let (mut e, mut f, mut s) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for lane in 0..LANES {
            [e[lane], f[lane], s[lane]] = ln_parts(growth(float(equity_t[lane]), float(equity_tp1[lane])));
        }
        for lane in 0..LANES {
            out[lane] = ln_series(s[lane] * s[lane]);
        }
        for lane in 0..LANES {
            out[lane] = ln_of_parts(e[lane], f[lane], s[lane], out[lane]);
        }
    }
}

simd_fn! {
    /// All columns but the distance to the stop.
    pub fn account_columns(block: &mut Block, max_leverage: f64) {
        let [target, profit, held, drawdown, exposure, _] = &mut block.account;
        for lane in 0..LANES {
            let value = float(block.value[lane]);
            let equity = float(block.equity[lane]);
            let highest = float(block.equity_max[lane]);
            let atr = block.atr[lane].max(f64::MIN_POSITIVE);
            let gain = block.side[lane] * (float(block.close[lane]) - block.entry[lane]) / atr;
            let bars = f64::from(block.bars_held[lane]);
            let lost = ((highest - equity) / highest).max(0.0);
            let lost = if highest <= 0.0 { 0.0 } else { lost };
            target[lane] = if block.side[lane] == 0.0 { 0.0 } else { block.target[lane] };
            profit[lane] = (gain / (gain.abs() + PROFIT_HALF_ATR)) as f32;
            held[lane] = (bars / (bars + HELD_HALF_BARS)) as f32;
            drawdown[lane] = lost.min(1.0) as f32;
            exposure[lane] = (value / (equity.max(1.0) * max_leverage)).clamp(-1.0, 1.0) as f32;
        }
    }
}

simd_fn! {
    /// The distance to the stop.
    pub fn stop_column(block: &mut Block) {
        for lane in 0..LANES {
            let atr = block.atr[lane].max(f64::MIN_POSITIVE);
            let stop = block.stop[lane];
            let distance = block.side[lane] * (float(block.close[lane]) - stop) / atr / STOP_FULL_ATR;
            let distance = if stop.is_nan() { 1.0 } else { distance };
            block.account[5][lane] = distance.clamp(0.0, 1.0) as f32;
        }
    }
}
