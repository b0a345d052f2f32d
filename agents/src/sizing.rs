//! Target position and equity in, whole lots out. Rounds down, so that what is bought never exceeds what was allowed.

use crate::config::Sizing;
use grandmodel_market::instrument::MICROS;

/// Fractions are kept as integers of this many parts.
const PARTS: f64 = 1e6;

/// Signed lots of a target position in [-1, 1] at a price.
///
/// `contracts(n)`: `n |target|`; `notional(x)`: `x |target| / lot value`; `equity(f)`: `f |target| equity / lot value`.
///
/// # Units
/// `equity_micros` micro-units of account currency, `price_ticks` ticks of the instrument.
pub fn target_lots(sizing: Sizing, target: f32, equity_micros: i64, price_ticks: i64, micros_per_tick_lot: i64) -> i64 {
    let target_parts = (f64::from(target.abs()) * PARTS).round() as i128;
    let parts = PARTS as i128;
    let lot_value = i128::from(price_ticks) * i128::from(micros_per_tick_lot);
    if lot_value <= 0 {
        return 0;
    }
    let lots = match sizing {
        Sizing::Contracts(lots) => i128::from(lots) * target_parts / parts,
        Sizing::Notional(amount) => (amount * MICROS) as i128 * target_parts / parts / lot_value,
        Sizing::Equity(fraction) => {
            let fraction_parts = (fraction * PARTS).round() as i128;
            i128::from(equity_micros.max(0)) * fraction_parts * target_parts / (parts * parts) / lot_value
        }
    };
    // A count of lots beyond 62 bits is refused by the account anyway; here it must only not wrap.
    let lots = lots.min(i128::from(i64::MAX / 2)) as i64;
    if target < 0.0 { -lots } else { lots }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_down_to_the_lot() {
        // 100,000 of equity, one lot = 7200 x 12.5 = 90,000: one lot, and none at 0.8 of equity (80,000).
        let equity = 100_000_000_000;
        assert_eq!(target_lots(Sizing::Equity(1.0), 1.0, equity, 7200, 12_500_000), 1);
        assert_eq!(target_lots(Sizing::Equity(0.8), 1.0, equity, 7200, 12_500_000), 0);
        assert_eq!(target_lots(Sizing::Equity(1.0), -1.0, 2 * equity, 7200, 12_500_000), -2);
        assert_eq!(target_lots(Sizing::Contracts(4), -0.5, equity, 7200, 12_500_000), -2);
        // 250,000 / 90,000 = 2.78.
        assert_eq!(target_lots(Sizing::Notional(250_000.0), 1.0, equity, 7200, 12_500_000), 2);
        assert_eq!(target_lots(Sizing::Equity(1.0), 1.0, -5, 7200, 12_500_000), 0);
        assert_eq!(target_lots(Sizing::Equity(1.0), 1.0, equity, 0, 12_500_000), 0);
    }
}
