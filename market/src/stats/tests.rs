//! Numbers of empyrical's own tests, hand-computed ones, and what must hold for any curve.

use proptest::prelude::*;

use super::*;
use crate::venue::{FillKind, Side};

/// empyrical's `mixed_returns` without the leading NaN.
const MIXED: [f64; 8] = [0.01, 0.10, -0.04, 0.02, 0.03, 0.02, 0.01, -0.10];
const DAY_NS: i64 = 86_400_000_000_000;

fn close(found: impl Into<Option<f64>>, expected: f64) {
    let found = found.into().expect("a value");
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{found} is not {expected}");
}

#[test]
fn mixed_returns_have_empyricals_numbers() {
    // tests/test_stats.py of empyrical 0.5.5: test_cum_returns_final, _annual_ret, _annual_volatility, _sharpe_ratio, _sortino, _max_drawdown, _calmar
    let total = total_return(&MIXED);
    assert!((total - 0.03893).abs() < 5e-6);
    // empyrical counts the leading NaN as a period: 9 of them
    close(annual_return(total, 9, 252.0), 1.913592537319458);
    close(annual_volatility(&MIXED, 252.0), 0.9136465399704637);
    close(sharpe(&MIXED, 252.0), 1.7238613961706866);
    close(sortino(&MIXED, 252.0), 2.605531251673693);
    let equity = growth(&MIXED);
    // 1.01 x 1.1 x .96 x 1.02 x 1.03 x 1.02 x 1.01 is the peak, the last day takes 10 %
    close(max_drawdown(1.0, &equity).depth, 0.10);
    close(calmar(1.913592537319458, 0.10), 19.13592537319458);
    // sorted -.10 -.04 .01 ...: 5 % of 7 steps is 0.35 between -.10 and -.04: -.10 + .35 x .06 = -.079
    close(value_at_risk(&MIXED, 0.05), -0.079);
    // floor(7 x .05) + 1 = 1 return; at 30 %: floor(2.1) + 1 = 3: (-.10 - .04 + .01) / 3
    close(conditional_value_at_risk(&MIXED, 0.05), -0.10);
    close(conditional_value_at_risk(&MIXED, 0.30), -0.13 / 3.0);
}

fn growth(returns: &[f64]) -> Vec<f64> {
    let mut value = 1.0;
    returns
        .iter()
        .map(|r| {
            value *= 1.0 + r;
            value
        })
        .collect()
}

#[test]
fn figures_that_mean_nothing_are_absent() {
    assert_eq!(sharpe(&[0.01; 50], 252.0), None);
    assert_eq!(sharpe(&[0.01], 252.0), None);
    assert_eq!(sortino(&[0.01, 0.02], 252.0), None);
    assert_eq!(calmar(0.1, 0.0), None);
    assert_eq!(value_at_risk(&[], 0.05), None);
    assert_eq!(annual_return(0.1, 0, 252.0), None);
    // 300 % in a day, 365 days: overflows
    assert_eq!(annual_return(3.0, 1, 1e6), None);
    close(annual_return(-1.5, 10, 252.0), -1.0);
}

#[test]
fn drawdown_finds_depth_and_duration() {
    // 100 -> 110 (peak, 1) 99 (-10 %) 104 111 (peak, 4) 100 (-9.91 %) 105 106 107
    let found = max_drawdown(100.0, &[110.0, 99.0, 104.0, 111.0, 100.0, 105.0, 106.0, 107.0]);
    close(found.depth, 0.10);
    assert_eq!((found.peak, found.trough, found.longest), (1, 2, (4, 8)));
    assert_eq!(max_drawdown(100.0, &[100.0, 101.0]), Drawdown::default());
    let curve = drawdown_curve(100.0, &[110.0, 99.0, 121.0]);
    close(curve[1], -0.1);
    assert_eq!((curve[0], curve[2]), (-0.0, -0.0));
}

#[test]
fn days_end_at_midnight_or_where_the_shift_says() {
    let hour = DAY_NS / 24;
    // closes at 23:00, 24:00 (still day 0), 25:00
    let ts = [23 * hour, 24 * hour, 25 * hour];
    let returns = daily_returns(&ts, &[101.0, 102.0, 103.02], 100.0, 0);
    assert_eq!(returns.len(), 2);
    close(returns[0], 0.02);
    close(returns[1], 0.01);
    // two hours on, 23:00 is 25:00 and all three belong to one day
    assert_eq!(daily_returns(&ts, &[101.0, 102.0, 103.02], 100.0, 2 * hour).len(), 1);
}

#[test]
fn months_chain() {
    // 2024-01-31T24:00 closes January; 2024-02-01T00:05 is February; 2024-03-01T00:05 March
    let jan = 1_706_745_600_000_000_000;
    let five = 300_000_000_000;
    let mar = 1_709_251_200_000_000_000;
    let table = monthly_returns(&[jan, jan + five, mar + five], &[110.0, 99.0, 99.0], 100.0).unwrap();
    assert_eq!(table.iter().map(|m| (m.year, m.month)).collect::<Vec<_>>(), [(2024, 1), (2024, 2), (2024, 3)]);
    close(table[0].total_return, 0.10);
    close(table[1].total_return, -0.10);
    close(table[2].total_return, 0.0);
}

#[test]
fn histogram_counts_every_finite_value_once() {
    let counted = histogram(&[0.0, 0.1, 0.5, 1.0, f64::NAN], 2).unwrap();
    assert_eq!((counted.edges, counted.counts), (vec![0.0, 0.5, 1.0], vec![2, 2]));
    assert_eq!(histogram(&[3.0; 4], 4).unwrap().counts.iter().sum::<usize>(), 4);
    assert_eq!(histogram(&[], 4), None);
    assert_eq!(histogram(&[1.0], 0), None);
}

fn trade(pnl_micros: i64, entry_row: u32, exit_row: u32) -> Trade {
    Trade {
        side: Side::Buy,
        lots: 1,
        entry_ts: 0,
        exit_ts: 1,
        entry_row,
        exit_row,
        entry_ticks: 100.0,
        exit_ticks: 101.0,
        cost_micros: 0,
        pnl_micros,
        exit: FillKind::Open,
    }
}

#[test]
fn a_record_of_forty_days() {
    // +1 % and -0.5 % by turns, in a position every other day
    let ts: Vec<i64> = (1..=40).map(|day| day * DAY_NS).collect();
    let mut value = 1e9;
    let equity: Vec<i64> = (0..40)
        .map(|day| {
            value *= if day % 2 == 0 { 1.01 } else { 0.995 };
            value as i64
        })
        .collect();
    let exposure: Vec<f64> = (0..40).map(|day| if day % 2 == 0 { -0.5 } else { 0.0 }).collect();
    let trades = [trade(3_000_000, 0, 4), trade(-1_000_000, 4, 6), trade(1_000_000, 6, 9)];
    let track = Track {
        ts_close: &ts,
        equity_micros: &equity,
        exposure: &exposure,
        trades: &trades,
        initial_micros: 1_000_000_000,
        fees_paid_micros: 2_500_000,
        financing_paid_micros: 0,
        turnover_micros: 2_000_000_000,
    };
    let found = Statistics::of(&track, &Convention::default(), 1).unwrap();
    assert_eq!((found.num_days, found.num_trades, found.convention.periods_per_year), (40, 3, 252.0));
    // 1.00495^20 = 1.10378
    assert!((found.total_return - (1.01f64 * 0.995).powi(20) + 1.0).abs() < 1e-6);
    // mean .0025, deviation .0075 x sqrt(40 / 39) = .00759555; .0025 / .00759555 x sqrt(252) = 5.22493
    assert!((found.sharpe.unwrap() - 5.22493).abs() < 1e-3, "{:?}", found.sharpe);
    // downside sqrt(.005^2 / 2) = .00353553; .0025 / .00353553 x 15.8745 = 11.22497
    assert!((found.sortino.unwrap() - 11.22497).abs() < 1e-3);
    assert!((found.max_drawdown - 0.005).abs() < 1e-6);
    // from each peak one day down, recovered the day after: 2 bars
    assert_eq!(found.max_drawdown_bars, 2);
    close(found.max_drawdown_days, 2.0);
    let interval = found.sharpe_interval.unwrap();
    assert!(interval.low < interval.estimate && interval.estimate < interval.high);
    close(found.win_rate, 2.0 / 3.0);
    close(found.profit_factor, 4.0);
    close(found.expectancy, 1.0);
    close(found.bars_held, 3.0);
    close(found.exposure, 0.25);
    close(found.time_in_market, 0.5);
    close(found.fees_paid, 2.5);
    let mean_equity = equity.iter().sum::<i64>() as f64 / 40.0;
    close(found.turnover, 2e9 / mean_equity);

    let short = Track { ts_close: &ts[..29], equity_micros: &equity[..29], exposure: &exposure[..29], ..track };
    let short = Statistics::of(&short, &Convention::default(), 1).unwrap();
    assert_eq!((short.sharpe, short.annual_return, short.value_at_risk), (None, None, None));
    let synthetic = Statistics::of(&track, &Convention::synthetic(), 1).unwrap();
    assert_eq!((synthetic.sharpe, synthetic.calmar), (None, None));
    assert!(serde_json::to_string(&synthetic).unwrap().contains("\"sharpe\":null"));
}

#[test]
fn a_bad_track_says_what_is_wrong() {
    let good = Track {
        ts_close: &[1, 2],
        equity_micros: &[1, 2],
        exposure: &[0.0, 0.0],
        trades: &[],
        initial_micros: 1,
        fees_paid_micros: 0,
        financing_paid_micros: 0,
        turnover_micros: 0,
    };
    assert!(Statistics::of(&good, &Convention::default(), 0).is_ok());
    for (bad, word) in [
        (Track { ts_close: &[2, 1], ..good }, "after"),
        (Track { exposure: &[0.0], ..good }, "exposures"),
        (Track { exposure: &[0.0, f64::NAN], ..good }, "NaN"),
        (Track { initial_micros: 0, ..good }, "initial"),
        (Track { ts_close: &[], equity_micros: &[], exposure: &[], ..good }, "no bars"),
    ] {
        let message = Statistics::of(&bad, &Convention::default(), 0).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn share_of_the_optimum_is_a_ratio_of_sums() {
    let share = |seed, path, agent, optimum| Share { seed, path, agent, optimum };
    // (0.5 + 1.5) / (1 + 3) = 0.5, not the mean of ratios
    let found = share_interval(&[share(1, 1, 0.5, 1.0), share(1, 2, 1.5, 3.0)], 500, 7).unwrap();
    close(found.estimate, 0.5);
    close(found.low, 0.5);
    let spread = [share(1, 1, 0.8, 1.0), share(1, 2, 0.4, 1.0), share(2, 1, 0.6, 1.0), share(2, 2, 0.2, 1.0)];
    let found = share_interval(&spread, 500, 7).unwrap();
    close(found.estimate, 0.5);
    // the extremes draw one seed twice and one path twice
    assert!(found.low >= 0.2 - 1e-12 && found.high <= 0.8 + 1e-12 && found.low < 0.4 && found.high > 0.6, "{found:?}");
    assert_eq!(share_interval(&spread, 500, 7), share_interval(&spread, 500, 7));
    assert_eq!(share_interval(&[], 500, 7), None);
    assert_eq!(share_interval(&[share(1, 1, 0.5, 0.0)], 500, 7), None);
}

#[test]
fn the_interval_of_a_mean_covers_the_truth_about_as_often_as_it_says() {
    // 200 samples of 60 uniform values of mean 0.5; 95 % intervals should miss about 10 to 15 times
    let mut rng = <rand_chacha::ChaCha12Rng as rand::SeedableRng>::seed_from_u64(5);
    let missed = (0..200)
        .filter(|&seed| {
            let groups: Vec<Vec<f64>> = (0..60).map(|_| vec![rand::RngExt::random(&mut rng)]).collect();
            let found = mean_interval(&groups, 400, seed).unwrap();
            found.low > 0.5 || found.high < 0.5
        })
        .count();
    assert!((2..=26).contains(&missed), "{missed}");
}

#[test]
fn rank_counts_ties_half() {
    assert_eq!(rank(&[1.0, 2.0, 2.0, 3.0], 2.0), Some(0.5));
    assert_eq!(rank(&[1.0, 2.0], 5.0), Some(1.0));
    assert_eq!(rank(&[], 5.0), None);
}

proptest! {
    #[test]
    fn any_curve_obeys_these(returns in prop::collection::vec(-0.2f64..0.2, 2..80)) {
        let equity = growth(&returns);
        for (found, given) in simple_returns(1.0, &equity).iter().zip(&returns) {
            prop_assert!((found - given).abs() < 1e-12);
        }
        prop_assert!((total_return(&returns) - (equity.last().unwrap() - 1.0)).abs() < 1e-9);
        // oracle: the deepest fall over all pairs, slowly
        let mut all = vec![1.0];
        all.extend(&equity);
        let mut deepest = 0.0f64;
        let mut longest = 0;
        for from in 0..all.len() {
            let mut recovered = false;
            for to in from..all.len() {
                deepest = deepest.max(1.0 - all[to] / all[from]);
                recovered |= to > from && all[to] >= all[from];
                let under = to > from && all[from + 1..to].iter().all(|v| *v < all[from]);
                if under && (all[to] < all[from] || (recovered && to > from + 1)) {
                    longest = longest.max(to - from);
                }
            }
        }
        let found = max_drawdown(1.0, &equity);
        prop_assert!((found.depth - deepest).abs() < 1e-12);
        prop_assert_eq!(found.longest.1 - found.longest.0, longest);
        let lowest = drawdown_curve(1.0, &equity).into_iter().fold(0.0, f64::min);
        prop_assert!((lowest + found.depth).abs() < 1e-12);
        let tail = value_at_risk(&returns, 0.05).unwrap();
        prop_assert!(conditional_value_at_risk(&returns, 0.05).unwrap() <= tail + 1e-12);
        let counted = histogram(&returns, 7).unwrap();
        prop_assert_eq!(counted.counts.iter().sum::<usize>(), returns.len());
    }
}
