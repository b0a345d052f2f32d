//! How well a run did: its equity curve, exposures and trades in, one serialisable record of statistics out.
//!
//! The convention is named in the record. The default is empyrical's: simple daily returns, no risk-free rate, sample deviation
//! (n - 1), downside deviation over all days, and a stated number of days a year (252, or 365 for a market that never closes). Drawdowns
//! are measured on every bar, not on days: differs from empyrical because a loss within a day is a loss. Figures that mean nothing are
//! absent, never 0. It draws nothing and it writes no file.

mod bootstrap;
mod drawdown;
mod returns;
mod tables;

pub use bootstrap::{Interval, MAX_RESAMPLES, NUM_RESAMPLES, Share, mean_interval, rank, share_interval, sharpe_interval};
pub use drawdown::{Drawdown, drawdown_curve, max_drawdown};
pub use returns::{
    annual_return, annual_volatility, calmar, conditional_value_at_risk, daily_returns, percentile, sharpe, simple_returns, sortino,
    total_return, value_at_risk,
};
pub use tables::{Histogram, MonthReturn, histogram, monthly_returns};

use crate::{MarketError, instrument::MICROS, session::Session, venue::Trade};

/// Fewer daily returns than this give no annualised figure.
pub const MIN_DAYS: usize = 30;
/// Tail of VaR and CVaR.
pub const TAIL: f64 = 0.05;

/// Which definitions a record of statistics uses.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Convention {
    /// Name of the source of the definitions.
    pub name: String,
    /// Daily returns in a year.
    pub periods_per_year: f64,
    /// Added to UTC before it is cut into days, for a trading day that does not end at midnight.
    pub day_shift_hours: f64,
    /// False on synthetic markets: their years mean nothing, so no figure is annualised.
    pub annualised: bool,
}

impl Default for Convention {
    fn default() -> Self {
        Self { name: "empyrical".into(), periods_per_year: 252.0, day_shift_hours: 0.0, annualised: true }
    }
}

impl Convention {
    /// 365 days a year for a market that never closes, 252 for one with a calendar.
    pub fn of(session: &Session) -> Self {
        let periods_per_year = if *session == Session::Always { 365.0 } else { 252.0 };
        Self { periods_per_year, ..Self::default() }
    }

    /// For the markets of [`crate::synth`]: nothing annualised.
    pub fn synthetic() -> Self {
        Self { periods_per_year: 365.0, annualised: false, ..Self::default() }
    }
}

/// What a run leaves behind, one entry a bar, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct Track<'a> {
    /// Closing times of the bars, strictly increasing.
    pub ts_close: &'a [i64],
    /// Equity at each close, net of all costs.
    pub equity_micros: &'a [i64],
    /// Signed notional over equity after each close.
    pub exposure: &'a [f64],
    /// Finished round trips.
    pub trades: &'a [Trade],
    /// Equity before the first bar.
    pub initial_micros: i64,
    /// Commission and slippage paid.
    pub fees_paid_micros: i64,
    /// Holding costs paid.
    pub financing_paid_micros: i64,
    /// Sum of the notional of all fills.
    pub turnover_micros: i64,
}

/// Performance statistics of one run. Ratios are fractions (0.1 is 10 %); money is in units of account currency.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Statistics {
    /// Definitions used.
    pub convention: Convention,
    /// Bars in the run.
    pub num_bars: usize,
    /// Daily returns in the run.
    pub num_days: usize,
    /// Equity before the first bar.
    pub initial_equity: f64,
    /// Equity at the last close.
    pub final_equity: f64,
    /// `final / initial - 1`.
    pub total_return: f64,
    /// `(final / initial)^(periods_per_year / num_days) - 1`.
    pub annual_return: Option<f64>,
    /// Sample deviation of the daily returns x sqrt(periods_per_year).
    pub annual_volatility: Option<f64>,
    /// Mean over sample deviation of the daily returns x sqrt(periods_per_year).
    pub sharpe: Option<f64>,
    /// 95 % interval of the Sharpe ratio by stationary block bootstrap.
    pub sharpe_interval: Option<Interval>,
    /// Mean x periods_per_year over the annualised downside deviation.
    pub sortino: Option<f64>,
    /// Annual return over maximum drawdown.
    pub calmar: Option<f64>,
    /// Deepest fall from a peak, on bars, as a positive fraction.
    pub max_drawdown: f64,
    /// Longest stretch below a peak, in bars.
    pub max_drawdown_bars: usize,
    /// The same in days of 24 hours.
    pub max_drawdown_days: f64,
    /// 5 % quantile of the daily returns; negative is a loss.
    pub value_at_risk: Option<f64>,
    /// Mean of the daily returns at or below that quantile.
    pub conditional_value_at_risk: Option<f64>,
    /// Finished round trips.
    pub num_trades: usize,
    /// Share of trades with a profit after costs.
    pub win_rate: Option<f64>,
    /// Profits over losses of the trades, after costs; absent without a loss.
    pub profit_factor: Option<f64>,
    /// Mean profit of a trade after costs.
    pub expectancy: Option<f64>,
    /// Mean bars from entry to exit.
    pub bars_held: Option<f64>,
    /// Notional traded over mean equity.
    pub turnover: f64,
    /// Mean of the absolute exposure.
    pub exposure: f64,
    /// Share of bars in a position.
    pub time_in_market: f64,
    /// Commission and slippage paid.
    pub fees_paid: f64,
    /// Holding costs paid.
    pub financing_paid: f64,
}

impl Statistics {
    /// Computes the record; `seed` feeds the bootstrap only.
    ///
    /// # Errors
    /// [`MarketError::Track`] when the columns differ in length, are empty, out of order, or not finite.
    pub fn of(track: &Track, convention: &Convention, seed: u64) -> Result<Self, MarketError> {
        track.check(convention)?;
        let equity: Vec<f64> = track.equity_micros.iter().map(|&micros| micros as f64 / MICROS).collect();
        let initial_equity = track.initial_micros as f64 / MICROS;
        let shift_ns = (convention.day_shift_hours * 3.6e12) as i64;
        let daily = daily_returns(track.ts_close, &equity, initial_equity, shift_ns);
        let drawdown = max_drawdown(initial_equity, &equity);
        let years = convention.periods_per_year;
        let enough = daily.len() >= MIN_DAYS;
        let annual = enough && convention.annualised;
        let final_equity = equity[equity.len() - 1];
        let total_return = final_equity / initial_equity - 1.0;
        let annual_return = if annual { annual_return(total_return, daily.len(), years) } else { None };
        let num_bars = equity.len();
        let mean_equity = equity.iter().sum::<f64>() / num_bars as f64;
        let in_market = track.exposure.iter().filter(|&&exposure| exposure != 0.0).count();
        let (from, to) = drawdown.longest;
        Ok(Self {
            convention: convention.clone(),
            num_bars,
            num_days: daily.len(),
            initial_equity,
            final_equity,
            total_return,
            annual_return,
            annual_volatility: if annual { annual_volatility(&daily, years) } else { None },
            sharpe: if annual { sharpe(&daily, years) } else { None },
            sharpe_interval: if annual { sharpe_interval(&daily, years, NUM_RESAMPLES, seed) } else { None },
            sortino: if annual { sortino(&daily, years) } else { None },
            calmar: annual_return.and_then(|annual| calmar(annual, drawdown.depth)),
            max_drawdown: drawdown.depth,
            max_drawdown_bars: to - from,
            // a peak at the start (index 0) is the equity before the first bar, which has no closing time of its own
            max_drawdown_days: if to > from {
                (track.ts_close[to - 1] - track.ts_close[from.saturating_sub(1)]) as f64 / 8.64e13
            } else {
                0.0
            },
            value_at_risk: if enough { value_at_risk(&daily, TAIL) } else { None },
            conditional_value_at_risk: if enough { conditional_value_at_risk(&daily, TAIL) } else { None },
            num_trades: track.trades.len(),
            win_rate: mean_of(track.trades, |trade| f64::from(trade.pnl_micros > 0)),
            profit_factor: profit_factor(track.trades),
            expectancy: mean_of(track.trades, |trade| trade.pnl_micros as f64 / MICROS),
            bars_held: mean_of(track.trades, |trade| f64::from(trade.exit_row.saturating_sub(trade.entry_row))),
            turnover: if mean_equity > 0.0 { track.turnover_micros as f64 / MICROS / mean_equity } else { 0.0 },
            exposure: track.exposure.iter().map(|exposure| exposure.abs()).sum::<f64>() / num_bars as f64,
            time_in_market: in_market as f64 / num_bars as f64,
            fees_paid: track.fees_paid_micros as f64 / MICROS,
            financing_paid: track.financing_paid_micros as f64 / MICROS,
        })
    }
}

impl Track<'_> {
    fn check(&self, convention: &Convention) -> Result<(), MarketError> {
        let refuse = |what: String| Err(MarketError::Track { what });
        let len = self.equity_micros.len();
        if len == 0 {
            return refuse("the run has no bars".into());
        }
        if self.ts_close.len() != len || self.exposure.len() != len {
            return refuse(format!(
                "{} times, {len} equities and {} exposures, expected one of each a bar",
                self.ts_close.len(),
                self.exposure.len()
            ));
        }
        if let Some(row) = self.ts_close.windows(2).position(|pair| pair[1] <= pair[0]) {
            return refuse(format!("time {} at row {} does not come after {}", self.ts_close[row + 1], row + 1, self.ts_close[row]));
        }
        if let Some(row) = self.exposure.iter().position(|exposure| !exposure.is_finite()) {
            return refuse(format!("exposure was {} at row {row}, expected a finite number", self.exposure[row]));
        }
        if self.initial_micros <= 0 {
            return refuse(format!("initial equity was {} micro-units, expected more than 0", self.initial_micros));
        }
        if !(1.0..=1e6).contains(&convention.periods_per_year) || !(-24.0..=24.0).contains(&convention.day_shift_hours) {
            return refuse(format!(
                "periods_per_year was {} and day_shift_hours {}, expected 1 to 1e6 and -24 to 24",
                convention.periods_per_year, convention.day_shift_hours
            ));
        }
        Ok(())
    }
}

fn mean_of(trades: &[Trade], value: impl Fn(&Trade) -> f64) -> Option<f64> {
    (!trades.is_empty()).then(|| trades.iter().map(value).sum::<f64>() / trades.len() as f64)
}

fn profit_factor(trades: &[Trade]) -> Option<f64> {
    let sum = |sign: i64| trades.iter().map(|trade| i128::from((sign * trade.pnl_micros).max(0))).sum::<i128>();
    let (profit, loss) = (sum(1), sum(-1));
    (loss > 0).then(|| profit as f64 / loss as f64)
}

#[cfg(test)]
mod tests;
