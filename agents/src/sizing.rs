//! Target position and equity in, whole lots out. Rounds down, so that what is bought never exceeds what was allowed.

use crate::config::Sizing;
use grandmodel_market::instrument::MICROS;

/// Fractions are kept as integers of this many parts: `2^6 x 5^6`.
const PARTS: f64 = 1e6;
const PARTS_TWOS: u32 = 6;
const PARTS_ODD: u64 = 15_625;
const _: () = assert!((PARTS_ODD << PARTS_TWOS) as f64 == PARTS);

/// Signed lots of a target position in [-1, 1] at a price.
///
/// `contracts(n)`: `n |target|`; `notional(x)`: `x |target| / lot value`; `equity(f)`: `f |target| equity / lot value`.
///
/// # Units
/// `equity_micros` micro-units of account currency, `price_ticks` ticks of the instrument.
pub fn target_lots(sizing: Sizing, target: f32, equity_micros: i64, price_ticks: i64, micros_per_tick_lot: i64) -> i64 {
    // The product is exact, and so is the sum: this is the nearest whole number.
    let target_parts = u128::from((f64::from(target.abs()) * PARTS + 0.5) as u64);
    let lot_value = i128::from(price_ticks) * i128::from(micros_per_tick_lot);
    if lot_value <= 0 {
        return 0;
    }
    let lots = match sizing {
        Sizing::Contracts(lots) => shifted_div::<PARTS_TWOS, PARTS_ODD>(lots.max(0) as u128 * target_parts),
        Sizing::Notional(amount) => div(shifted_div::<PARTS_TWOS, PARTS_ODD>((amount * MICROS) as u128 * target_parts), lot_value as u128),
        Sizing::Equity(fraction) => {
            let fraction_parts = u128::from((fraction * PARTS).round() as u64);
            div(share(equity_micros.max(0) as u128, fraction_parts * target_parts), lot_value as u128)
        }
    };
    // A count of lots beyond 62 bits is refused by the account anyway; here it must only not wrap.
    let lots = lots.min(i64::MAX as u128 / 2) as i64;
    if target < 0.0 { -lots } else { lots }
}

/// `value parts / PARTS^2`, rounded down; most shares are whole in fewer parts.
fn share(value: u128, parts: u128) -> u128 {
    const ONE: u128 = (PARTS_ODD << PARTS_TWOS) as u128;
    match parts.is_multiple_of(ONE) {
        true => shifted_div::<PARTS_TWOS, PARTS_ODD>(value * (parts / ONE)),
        false => shifted_div::<{ 2 * PARTS_TWOS }, { PARTS_ODD * PARTS_ODD }>(value * parts),
    }
}

/// `value / (2^TWOS ODD)`, rounded down. A division of 128 bits costs ten times one of 64, and without the twos nearly all fit.
fn shifted_div<const TWOS: u32, const ODD: u64>(value: u128) -> u128 {
    div(value >> TWOS, u128::from(ODD))
}

fn div(value: u128, divisor: u128) -> u128 {
    match (u64::try_from(value), u64::try_from(divisor)) {
        (Ok(value), Ok(divisor)) => u128::from(value / divisor),
        _ => value / divisor,
    }
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
