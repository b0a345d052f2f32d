//! Prices in, the grid on which all of them lie out: exactly, from their decimal digits.

use super::number;

/// Most ticks a price may have: well inside the 2^53 up to which floats hold every whole number.
pub(super) const MAX_PRICE_TICKS: f64 = 1e13;
/// Different prices from which a grid coarser than their last decimal is believed: that 16 random whole numbers share a factor happens
/// once in 65,536 files, that three do happens all the time.
const MIN_DISTINCT: usize = 16;
/// Significant digits kept where prices carry the noise of binary fractions: what a 32-bit float can hold.
const NOISY_DIGITS: i32 = 7;

/// A price step of `step / 10^decimals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    step: i64,
    decimals: u32,
}

impl Grid {
    /// The grid of a stated tick; none when it has more digits than can be exact.
    pub fn of_tick(tick: f64) -> Option<Self> {
        let (step, decimals) = number::digits(tick)?;
        (step > 0).then_some(Self { step, decimals })
    }

    /// The tick as the nearest float.
    pub fn tick(self) -> f64 {
        self.price(1)
    }

    /// Nearest tick to a price.
    pub fn ticks(self, price: f64) -> i64 {
        (price / self.tick()).round() as i64
    }

    /// The float nearest to a number of ticks: up to 10^22, a power of ten is an exact float and the division rounds once.
    pub fn price(self, ticks: i64) -> f64 {
        let units = i128::from(ticks) * i128::from(self.step);
        units as f64 / 10_f64.powi(self.decimals as i32)
    }

    /// Whether a price lies on the grid, up to a millionth of a tick.
    pub fn holds(self, price: f64) -> bool {
        let ticks = price / self.tick();
        (ticks - ticks.round()).abs() <= 1e-6
    }
}

/// Finds the grid of a stream of prices.
#[derive(Clone, Debug)]
pub(super) struct GridFinder {
    /// Most decimals of a price so far.
    decimals: u32,
    /// Greatest common divisor of the prices in units of the last decimal.
    gcd: u64,
    distinct: Vec<u64>,
    min: f64,
    max: f64,
    /// Whether every price so far is a decimal number that fits.
    exact: bool,
}

impl Default for GridFinder {
    fn default() -> Self {
        Self { decimals: 0, gcd: 0, distinct: Vec::new(), min: f64::INFINITY, max: 0.0, exact: true }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    /// The grid.
    pub grid: Grid,
    /// Whether every price lies on it; otherwise prices are to be rounded.
    pub exact: bool,
}

impl GridFinder {
    /// Takes a price above 0.
    pub fn push(&mut self, price: f64) {
        self.min = self.min.min(price);
        self.max = self.max.max(price);
        if self.exact {
            self.exact = number::digits(price).and_then(|digits| self.push_digits(digits)).is_some();
        }
    }

    fn push_digits(&mut self, (mantissa, decimals): (i64, u32)) -> Option<()> {
        let mut mantissa = u64::try_from(mantissa).ok()?;
        if decimals > self.decimals {
            let factor = 10_u64.checked_pow(decimals - self.decimals)?;
            self.gcd = self.gcd.checked_mul(factor)?;
            for value in &mut self.distinct {
                *value = value.checked_mul(factor)?;
            }
            self.decimals = decimals;
        } else {
            mantissa = mantissa.checked_mul(10_u64.checked_pow(self.decimals - decimals)?)?;
        }
        if self.distinct.len() < MIN_DISTINCT && !self.distinct.contains(&mantissa) {
            self.distinct.push(mantissa);
        }
        self.gcd = gcd(mantissa, self.gcd);
        Some(())
    }

    /// The grid of all prices so far.
    pub fn found(&self) -> Found {
        let step = if self.distinct.len() < MIN_DISTINCT { 1 } else { self.gcd.max(1) };
        if let Ok(step) = i64::try_from(step)
            && self.exact
        {
            let grid = Grid { step, decimals: self.decimals };
            if self.max / grid.tick() <= MAX_PRICE_TICKS {
                return Found { grid, exact: true };
            }
        }
        // Seven digits of the lowest price, but no more than the highest has room for.
        let decimals = (NOISY_DIGITS - 1 - floor_log10(self.min)).min(12 - floor_log10(self.max)).clamp(0, 18);
        Found { grid: Grid { step: 1, decimals: decimals as u32 }, exact: false }
    }
}

fn floor_log10(value: f64) -> i32 {
    if value.is_normal() { value.log10().floor() as i32 } else { 0 }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn find(prices: impl IntoIterator<Item = f64>) -> Found {
        let mut finder = GridFinder::default();
        prices.into_iter().for_each(|price| finder.push(price));
        finder.found()
    }

    #[test]
    fn grids_are_found_exactly() {
        // Quarters: 167675, 167700, 167350 ... in cents share the factor 25.
        let quarters = find((0..40).map(|i| 1676.75 + 0.25 * f64::from(i)));
        assert_eq!((quarters.grid.tick(), quarters.exact), (0.25, true));
        assert_eq!(find((0..40).map(|i| f64::from(105_236 + i) / 1e5)).grid.tick(), 0.00001);
        assert_eq!(find((0..40).map(|i| f64::from(20_000 + 5 * i))).grid.tick(), 5.0);
        // Two prices that happen to be even are no proof of a tick of 2.
        assert_eq!(find([100.0, 102.0]).grid.tick(), 1.0);
    }

    #[test]
    fn noise_is_rounded_and_said() {
        // A 32-bit float written with the digits of a 64-bit one.
        let noisy = find((0..40).map(|i| f64::from(198.528_53_f32 + i as f32 / 7.0)));
        assert_eq!((noisy.exact, noisy.grid.tick()), (false, 0.0001));
        assert!(!find([0.1 + 0.2, 0.7, f64::MIN_POSITIVE]).exact);
        assert!(find([f64::MAX, 1e300]).grid.tick() >= 1.0);
    }

    proptest! {
        #[test]
        fn prices_on_a_grid_are_the_nearest_floats(ticks in 1_i64..1_000_000_000, decimals in 0_u32..9) {
            let grid = Grid { step: 1, decimals };
            let price: f64 = format!("{ticks}e-{decimals}").parse().unwrap();
            prop_assert_eq!(grid.price(ticks).to_bits(), price.to_bits());
            prop_assert!(grid.holds(price));
            prop_assert_eq!(grid.ticks(price), ticks);
        }

        #[test]
        fn every_price_lies_on_the_grid_found(prices in prop::collection::vec((1_i64..10_000_000, 0_u32..6), 1..50)) {
            let prices: Vec<f64> = prices.into_iter().map(|(mantissa, decimals)| format!("{mantissa}e-{decimals}").parse().unwrap()).collect();
            let found = find(prices.iter().copied());
            prop_assert!(found.exact);
            for price in prices {
                prop_assert_eq!(found.grid.price(found.grid.ticks(price)).to_bits(), price.to_bits());
            }
        }
    }
}
