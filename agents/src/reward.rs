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
        let after = step.equity_tp1.max(step.equity_t * EQUITY_FLOOR_FRACTION);
        match *self {
            Self::LogReturn => (after / step.equity_t).ln(),
            Self::DifferentialSharpe { eta } => {
                let ret = after / step.equity_t - 1.0;
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
