//! Equity before and after a bar in, reward out. Nothing here scales by running deviations; that is the trainer's.

use crate::config::Reward;

/// What a reward remembers within one episode.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RewardState {
    mean: f64,
    mean_square: f64,
}

/// One step seen by a reward.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Equity at the close of the decision.
    pub equity_t: f64,
    /// Equity one close later.
    pub equity_tp1: f64,
    /// Fall from the highest equity before and after, as fractions.
    pub drawdown: [f64; 2],
    /// Initial risk in account currency: stop distance (1 ATR where stops are off) on a position of the whole equity.
    pub risk_unit: f64,
}

/// Equity is not taken below this fraction of the equity before: a log return stays above -4.7 even where an account is wiped out.
const EQUITY_FLOOR_FRACTION: f64 = 0.01;
/// A differential Sharpe ratio divides by a variance; below this it is 0.
const VARIANCE_MIN: f64 = 1e-12;
/// Bound of the differential Sharpe ratio and of the R-multiple.
const REWARD_ABS_MAX: f64 = 100.0;

impl Reward {
    /// Reward of one step; always finite.
    ///
    /// - log return: `ln(E_{t+1} / E_t)`
    /// - differential Sharpe: `(B dA - A dB / 2) / (B - A^2)^{3/2}`, `dA = R - A`, `dB = R^2 - B`, then `A += eta dA`, `B += eta dB`
    ///   with `R = E_{t+1} / E_t - 1`
    /// - R-multiple: `(E_{t+1} - E_t) / risk_unit - penalty * max(0, D_{t+1} - D_t)`
    ///
    /// # Source
    /// Moody and Saffell, Learning to trade via direct reinforcement (2001), equation 15.
    pub fn of(&self, state: &mut RewardState, step: &Step) -> f64 {
        match *self {
            Self::LogReturn => ln(growth(step.equity_t, step.equity_tp1)),
            Self::DifferentialSharpe { eta } => {
                let ret = floored(step.equity_t, step.equity_tp1) / step.equity_t - 1.0;
                let (d_mean, d_square) = (ret - state.mean, ret * ret - state.mean_square);
                let variance = state.mean_square - state.mean * state.mean;
                let reward = match variance > VARIANCE_MIN {
                    true => (state.mean_square * d_mean - 0.5 * state.mean * d_square) / variance.powf(1.5),
                    false => 0.0,
                };
                state.mean += eta * d_mean;
                state.mean_square += eta * d_square;
                reward.clamp(-REWARD_ABS_MAX, REWARD_ABS_MAX)
            }
            Self::RMultiple { drawdown_penalty } => {
                let profit = (step.equity_tp1 - step.equity_t) / step.risk_unit.max(f64::MIN_POSITIVE);
                let deeper = (step.drawdown[1] - step.drawdown[0]).max(0.0);
                (profit - drawdown_penalty * deeper).clamp(-REWARD_ABS_MAX, REWARD_ABS_MAX)
            }
        }
    }
}

#[inline(always)]
fn floored(equity_t: f64, equity_tp1: f64) -> f64 {
    equity_tp1.max(equity_t * EQUITY_FLOOR_FRACTION)
}

/// `E_{t+1} / E_t`, floored.
#[inline(always)]
pub(crate) fn growth(equity_t: f64, equity_tp1: f64) -> f64 {
    floored(equity_t, equity_tp1) / equity_t
}

/// Natural logarithm of a normal positive number, to one unit in the last place: without a branch or a table, so that loops over it
/// vectorise, and the same bits on every platform, which the C library's is not.
///
/// `x = 2^e (1 + f)` with `1 + f` in `[sqrt(1/2), sqrt(2))` and `s = f / (2 + f)`: `ln(1 + f) = f - (f^2/2 - s (f^2/2 + R))`,
/// `R = 2 (s^2/3 + s^4/5 + ...)`; the terms left out are below 3e-17.
#[inline(always)]
fn ln(x: f64) -> f64 {
    let [e, f, s] = ln_parts(x);
    ln_of_parts(e, f, s, ln_series(s * s))
}

/// `e`, `f` and `s` of [`ln`].
#[inline(always)]
pub(crate) fn ln_parts(x: f64) -> [f64; 3] {
    const SQRT_HALF_BITS: u64 = 0x3fe6_a09e_667f_3bcd;
    const EXPONENT_OF_1: u64 = 1023 << 52;
    const MANTISSA: u64 = (1 << 52) - 1;
    let shifted = x.to_bits().wrapping_sub(SQRT_HALF_BITS).wrapping_add(EXPONENT_OF_1);
    // 2^52 + 1023 + e as bits, so that no conversion is needed.
    let e = f64::from_bits((shifted >> 52) | 0x4330_0000_0000_0000) - (4_503_599_627_370_496.0 + 1023.0);
    let m = f64::from_bits((shifted & MANTISSA).wrapping_add(SQRT_HALF_BITS));
    let f = m - 1.0;
    [e, f, f / (2.0 + f)]
}

/// `R / s^2` of [`ln`], from `s^2`.
#[inline(always)]
pub(crate) fn ln_series(z: f64) -> f64 {
    let mut p = 2.0 / 21.0;
    for odd in [19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        p = p * z + 2.0 / odd;
    }
    p
}

/// [`ln`] from its parts and its series.
#[inline(always)]
pub(crate) fn ln_of_parts(e: f64, f: f64, s: f64, p: f64) -> f64 {
    /// `ln 2` in two parts: the first has zeros enough at its end to be multiplied by any exponent exactly.
    const LN_2: [f64; 2] = [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10];
    let half = 0.5 * f * f;
    e * LN_2[0] - ((half - (s * (half + p * (s * s)) + e * LN_2[1])) - f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(equity_t: f64, equity_tp1: f64) -> Step {
        Step { equity_t, equity_tp1, drawdown: [0.0, 0.1], risk_unit: 20.0 }
    }

    #[test]
    fn golden_rewards() {
        let mut state = RewardState::default();
        // ln(1.1) = 0.0953101798
        assert!((Reward::LogReturn.of(&mut state, &step(100.0, 110.0)) - 0.095_310_179_8).abs() < 1e-9);
        // A wiped-out account is floored at 1 %: ln(0.01) = -4.605170186
        assert!((Reward::LogReturn.of(&mut state, &step(100.0, -50.0)) + 4.605_170_186).abs() < 1e-9);
        // 10 / 20 - 2 x 0.1 = 0.3
        assert!((Reward::RMultiple { drawdown_penalty: 2.0 }.of(&mut state, &step(100.0, 110.0)) - 0.3).abs() < 1e-12);
    }

    #[test]
    fn the_logarithm_is_good_to_a_unit_in_the_last_place() {
        let ulps = |x: f64| (ln(x) - x.ln()).abs() / (x.ln().abs() * f64::EPSILON).max(f64::MIN_POSITIVE);
        let mut x = 0.01;
        while x < 100.0 {
            assert!(ulps(x) <= 1.0, "ln({x}) = {:e}, not {:e}", ln(x), x.ln());
            x *= 1.000_037;
        }
        // Where rewards lie: a thousandth of a basis point and more around 1.
        for step in 1..20_000 {
            let near = 1.0 + f64::from(step) * 1.3e-7;
            assert!(ulps(near) <= 1.0 && ulps(1.0 / near) <= 1.0, "{near}");
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn differential_sharpe_follows_its_recursion() {
        let reward = Reward::DifferentialSharpe { eta: 0.1 };
        let mut state = RewardState::default();
        // First step: no variance yet; then A = 0.1 x 0.1 = 0.01, B = 0.1 x 0.01 = 0.001.
        assert_eq!(reward.of(&mut state, &step(100.0, 110.0)), 0.0);
        // R = -0.05: dA = -0.06, dB = 0.0025 - 0.001 = 0.0015; variance = 0.001 - 0.0001 = 0.0009, ^1.5 = 2.7e-5;
        // (0.001 x -0.06 - 0.5 x 0.01 x 0.0015) / 2.7e-5 = -6.75e-5 / 2.7e-5 = -2.5.
        assert!((reward.of(&mut state, &step(100.0, 95.0)) + 2.5).abs() < 1e-9);
    }
}
