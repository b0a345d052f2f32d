//! FVG, fair value gaps: base bars in; the gaps that price left open and has not filled yet out.

use super::{MAX_FVG_EXPIRY, window::Window};
use crate::Bar;

/// Bars whose mean body the middle bar must exceed.
const BODY_BARS: usize = 10;
/// Bars needed to find a gap: three of its own and the ten before its middle one, which include its first.
const BARS: usize = BODY_BARS + 2;

/// An open gap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gap {
    /// Left by a rise: price came from below.
    pub bullish: bool,
    /// Lower edge.
    pub bottom: f64,
    /// Upper edge.
    pub top: f64,
    /// Bars since the bar whose close made it known, which is 0.
    pub age: u32,
}

impl Gap {
    /// Middle of the gap.
    pub fn centre(&self) -> f64 {
        (self.bottom + self.top) / 2.0
    }
}

/// What is known about gaps at one bar.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FvgValue {
    /// Age of the youngest open gap of a rise.
    pub bullish_age: Option<u32>,
    /// Age of the youngest open gap of a fall.
    pub bearish_age: Option<u32>,
    /// The open gap whose centre is nearest to the close; of equals the newer.
    pub nearest: Option<Gap>,
    /// A gap was filled on this bar.
    pub mitigated: bool,
}

/// The streaming detector.
///
/// Bullish at bar i: `low_i > high_{i-2}` and `body_{i-1} > ratio x mean(body_{i-11 ..= i-2})`; the gap is `[high_{i-2}, low_i]`. Bearish
/// mirrored. Within a bar: fill (price trades to the far edge), expire, add.
#[derive(Clone, Debug)]
pub struct Fvg {
    expiry: u32,
    body_ratio: f64,
    bars: Window<Bar>,
    /// Oldest first; at most one is added a bar and each lives `expiry` bars.
    open: Vec<Gap>,
}

impl Fvg {
    /// Gaps expire at age `expiry` (at most 64).
    pub fn new(expiry: u32, body_ratio: f64) -> Self {
        let expiry = expiry.min(MAX_FVG_EXPIRY);
        Self { expiry, body_ratio, bars: Window::new(BARS), open: Vec::with_capacity(expiry as usize + 1) }
    }

    /// Forgets all open gaps: a new segment begins with the next bar.
    pub fn drop_open_gaps(&mut self) {
        self.open.clear();
    }

    /// Takes the next bar; nothing before the twelfth.
    pub fn update(&mut self, bar: &Bar) -> Option<FvgValue> {
        let open_before = self.open.len();
        self.open.retain(|gap| if gap.bullish { bar.low > gap.bottom } else { bar.high < gap.top });
        let mitigated = self.open.len() < open_before;
        let expiry = self.expiry;
        self.open.retain_mut(|gap| {
            gap.age += 1;
            gap.age < expiry
        });
        self.bars.push(*bar);
        let bars = self.bars.last_chunk::<BARS>()?;
        self.open.extend(find(bars, self.body_ratio));
        let mut value = FvgValue { mitigated, ..FvgValue::default() };
        let mut nearest = f64::INFINITY;
        for gap in &self.open {
            let youngest = if gap.bullish { &mut value.bullish_age } else { &mut value.bearish_age };
            *youngest = Some(gap.age);
            let distance = (gap.centre() - bar.close).abs();
            if distance <= nearest {
                (nearest, value.nearest) = (distance, Some(*gap));
            }
        }
        Some(value)
    }
}

fn find(bars: &[Bar; BARS], body_ratio: f64) -> Option<Gap> {
    let [first, middle, last] = [&bars[BARS - 3], &bars[BARS - 2], &bars[BARS - 1]];
    let body = |bar: &Bar| (bar.close - bar.open).abs();
    let mean_body = bars[..BODY_BARS].iter().map(body).sum::<f64>() / BODY_BARS as f64;
    if body(middle) <= body_ratio * mean_body {
        return None;
    }
    if last.low > first.high {
        Some(Gap { bullish: true, bottom: first.high, top: last.low, age: 0 })
    } else if last.high < first.low {
        Some(Gap { bullish: false, bottom: last.high, top: first.low, age: 0 })
    } else {
        None
    }
}
