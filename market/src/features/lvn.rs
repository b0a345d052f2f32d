//! LVN, low-volume nodes: structure bars in; prices that were traded little between prices that were traded much, with their strength, out.

use super::{
    LVN_FEATURES, Scaling,
    profile::{PROFILE_BARS, Run, SpreadBar, point_of_control, runs},
    window::Window,
};
use crate::{Bar, Instrument};

/// Bars in which tests of a level are counted, and over which recency fades.
const TEST_BARS: usize = 50;
/// A node holds less than this share of the fullest run.
const MAX_SHARE: f64 = 0.3;

/// A node of the profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node {
    /// Middle tick of the run, rounded down.
    pub ticks: i64,
    /// The same as a price.
    pub price: f64,
    /// Strength without its part for the distance, 0 to 90.
    pub strength_at_rest: f64,
}

/// The node nearest to a close.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NearestNode {
    /// Its price.
    pub price: f64,
    /// Strength seen from that close, 0 to 100.
    pub strength: f64,
}

/// Nodes of the last 20 structure bars, rebuilt at each close.
#[derive(Clone, Debug)]
pub struct LowVolumeNodes {
    bars: Window<Bar>,
    spread: Window<SpreadBar>,
    nodes: Vec<Node>,
    mean_range: f64,
    edges: Vec<i64>,
    runs: Vec<Run>,
}

impl Default for LowVolumeNodes {
    fn default() -> Self {
        Self {
            bars: Window::new(TEST_BARS),
            spread: Window::new(PROFILE_BARS),
            nodes: Vec::new(),
            mean_range: 0.0,
            edges: Vec::new(),
            runs: Vec::new(),
        }
    }
}

impl LowVolumeNodes {
    /// Takes the next structure bar and rebuilds the nodes; false until 50 bars are there.
    pub fn update(&mut self, bar: &Bar, instrument: &Instrument) -> bool {
        self.bars.push(*bar);
        self.spread.push(SpreadBar::new(instrument.to_ticks(bar.low), instrument.to_ticks(bar.high), bar.volume));
        self.nodes.clear();
        if !self.bars.is_full() {
            return false;
        }
        let bars = self.bars.as_slice();
        self.mean_range = bars.iter().map(|bar| bar.high - bar.low).sum::<f64>() / bars.len() as f64;
        runs(self.spread.as_slice(), &mut self.edges, &mut self.runs);
        let Some(poc) = point_of_control(&self.runs, instrument.to_ticks(bar.close)) else { return true };
        for triple in self.runs.windows(3) {
            let [below, run, above] = [triple[0], triple[1], triple[2]];
            let lower_than_both = run.per_tick < below.per_tick && run.per_tick < above.per_tick;
            if lower_than_both && run.per_tick < MAX_SHARE * poc.per_tick {
                let ticks = run.middle();
                let price = instrument.to_price(ticks);
                let emptiness = 40.0 * (1.0 - run.per_tick / poc.per_tick);
                self.nodes.push(Node { ticks, price, strength_at_rest: emptiness + history_strength(bars, price, self.mean_range) });
            }
        }
        true
    }

    /// Whether 50 bars have been seen.
    pub fn is_defined(&self) -> bool {
        self.bars.is_full()
    }

    /// The nodes, lowest first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node nearest to a close; of equals the lower.
    pub fn nearest(&self, close: f64) -> Option<NearestNode> {
        let nearer = |best: &'_ Node, node: &'_ Node| (node.price - close).abs() < (best.price - close).abs();
        let node = self.nodes.iter().reduce(|best, node| if nearer(best, node) { node } else { best })?;
        let distance = (node.price - close).abs();
        // Bars without any range give 0/0 at the level itself: it is as near as can be.
        let share = if distance == 0.0 { 0.0 } else { (distance / self.mean_range).min(1.0) };
        Some(NearestNode { price: node.price, strength: node.strength_at_rest + 10.0 * (1.0 - share) })
    }
}

/// `min(3 tests, 15) + 15 mean rejection + 20 recency` of a level over the last bars.
///
/// A test is a bar that came within half a mean range. It comes from the side of its open; its rejection is the share of its range that lies
/// between its close and the extreme on the level's side.
fn history_strength(bars: &[Bar], level: f64, mean_range: f64) -> f64 {
    let reach = mean_range / 2.0;
    let (mut tests, mut rejection, mut bars_since) = (0_u32, 0.0, 0);
    for (index, bar) in bars.iter().enumerate() {
        if bar.low - level > reach || level - bar.high > reach {
            continue;
        }
        tests += 1;
        bars_since = bars.len() - 1 - index;
        let given_back = if bar.open >= level { bar.close - bar.low } else { bar.high - bar.close };
        let range = bar.high - bar.low;
        rejection += if range > 0.0 { given_back / range } else { 0.0 };
    }
    if tests == 0 {
        return 0.0;
    }
    let recency = 1.0 - bars_since as f64 / TEST_BARS as f64;
    f64::from(3 * tests).min(15.0) + 15.0 * rejection / f64::from(tests) + 20.0 * recency
}

/// `lvn_distance` and `lvn_strength` of the structure row; both 0 where no node exists.
pub(super) fn structure_columns(nearest: Option<NearestNode>, close: f64, atr: f64, scaling: Scaling) -> [f64; 2] {
    let Some(node) = nearest else { return [0.0, 0.0] };
    let distance = (close - node.price).abs();
    match scaling {
        Scaling::Volatility => [(-distance / (2.0 * atr)).exp(), excess_strength(node.strength)],
        Scaling::Fixed => [(-100.0 * distance / close).exp(), node.strength / 100.0],
    }
}

/// The LVN context `[s, d, r, a, c]` of a base row; `[0, 1, 0, 0, 0]` where no node exists.
///
/// ```text
/// s = clip((strength - 50) / 50, 0, 1);  d = min(|price - lvn| / (4 ATR), 1);  r = tanh((price - lvn) / (2 ATR));
/// a = 1 if price > lvn else 0;  c = s (1 - d)
/// ```
pub(super) fn context(nearest: Option<NearestNode>, price: f64, structure_atr: f64) -> [f32; LVN_FEATURES] {
    let Some(node) = nearest else { return [0.0, 1.0, 0.0, 0.0, 0.0] };
    let offset = price - node.price;
    let s = excess_strength(node.strength);
    let d = (offset.abs() / (4.0 * structure_atr)).min(1.0);
    let above = if offset > 0.0 { 1.0 } else { 0.0 };
    [s, d, (offset / (2.0 * structure_atr)).tanh(), above, s * (1.0 - d)].map(|value| value as f32)
}

fn excess_strength(strength: f64) -> f64 {
    ((strength - 50.0) / 50.0).clamp(0.0, 1.0)
}
