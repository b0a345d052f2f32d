//! `candles.json`: bars of a few windows of the test part with the fills in them. Bars and fills in, a file the report draws out.

use serde::{Deserialize, Serialize};

/// Most windows a report draws; the most recent are kept.
pub const MAX_WINDOWS: usize = 8;
/// Most bars of a window; the most recent are kept.
pub const MAX_BARS: usize = 300;

/// `candles.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CandlesFile {
    /// Oldest first; the last one is shown first.
    pub windows: Vec<CandleWindow>,
}

/// A stretch of bars without a gap in the file (weekends may lie within: bars are drawn at equal distances).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CandleWindow {
    /// Path it belongs to, 0 on real bars.
    pub path: u32,
    /// Bars, oldest first.
    pub bars: Vec<CandleBar>,
    /// Fills whose bars are in `bars`.
    pub fills: Vec<FillMark>,
    /// Protective stops while they rested; may be empty.
    #[serde(default)]
    pub stops: Vec<StopLine>,
}

/// A bar: `[ts_open, open, high, low, close]` in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "(i64, f64, f64, f64, f64)", into = "(i64, f64, f64, f64, f64)")]
pub struct CandleBar {
    /// First instant.
    pub ts_open: i64,
    /// First price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
}

impl From<(i64, f64, f64, f64, f64)> for CandleBar {
    fn from((ts_open, open, high, low, close): (i64, f64, f64, f64, f64)) -> Self {
        Self { ts_open, open, high, low, close }
    }
}

impl From<CandleBar> for (i64, f64, f64, f64, f64) {
    fn from(bar: CandleBar) -> Self {
        (bar.ts_open, bar.open, bar.high, bar.low, bar.close)
    }
}

/// A fill to be marked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FillMark {
    /// Open of the bar it happened in.
    pub ts_open: i64,
    /// Bought, else sold.
    pub buy: bool,
    /// Price paid.
    pub price: f64,
    /// Lots.
    pub lots: i64,
    /// Signed position after it.
    pub position_after: i64,
    /// `open`, `limit`, `stop`, `segment_end`, `liquidation`.
    pub kind: String,
}

/// A protective stop while it rested.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopLine {
    /// Open of the first bar it rested in.
    pub from_ts: i64,
    /// Open of the last.
    pub to_ts: i64,
    /// Trigger.
    pub price: f64,
}

impl CandlesFile {
    /// Windows around fills: walks back from the last fill and cuts stretches of at most [`MAX_BARS`] bars that end a few bars after a
    /// fill, at most [`MAX_WINDOWS`] of them. `bars` and `fills` rise in time and belong to one path.
    pub fn around_fills(path: u32, bars: &[CandleBar], fills: &[FillMark], stops: &[StopLine]) -> Self {
        const AFTER: usize = 12;
        let mut windows = Vec::new();
        let mut end = bars.len();
        while windows.len() < MAX_WINDOWS && end > 0 {
            let Some(last) = fills.iter().rfind(|fill| fill.ts_open < bars[end - 1].ts_open.saturating_add(1)) else { break };
            let at = bars[..end].partition_point(|bar| bar.ts_open <= last.ts_open);
            let to = (at + AFTER).min(end).max(1);
            let from = to.saturating_sub(MAX_BARS);
            windows.push(CandleWindow::cut(path, &bars[from..to], fills, stops));
            end = from;
        }
        if windows.is_empty() && !bars.is_empty() {
            windows.push(CandleWindow::cut(path, &bars[bars.len().saturating_sub(MAX_BARS)..], fills, stops));
        }
        windows.reverse();
        Self { windows }
    }
}

impl CandleWindow {
    fn cut(path: u32, bars: &[CandleBar], fills: &[FillMark], stops: &[StopLine]) -> Self {
        let (first, last) = (bars[0].ts_open, bars[bars.len() - 1].ts_open);
        Self {
            path,
            bars: bars.to_vec(),
            fills: fills.iter().filter(|fill| (first..=last).contains(&fill.ts_open)).cloned().collect(),
            stops: stops.iter().filter(|stop| stop.to_ts >= first && stop.from_ts <= last).copied().collect(),
        }
    }
}
