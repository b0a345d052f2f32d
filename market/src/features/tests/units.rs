//! Golden numbers, each with its arithmetic, and the corners: first values, ties, segments, missing volume, nonsense.

use super::{MINUTE_NS, instrument, sample};
use crate::{
    Bar, FeatureTable, MarketError,
    features::{
        FeatureConfig, FeatureStream, Interval, Readiness, Scaling,
        fvg::Fvg,
        heikin_ashi::HeikinAshi,
        lvn::{LowVolumeNodes, NearestNode},
        mlmi::Mlmi,
        mmd::{MmdWorkspace, mmd_squared},
        nwrqk::NwRqk,
        profile::{SpreadBar, point_of_control, runs},
        regime::Regime,
        ta::{Atr, Ema, Rsi, Wma},
    },
};

fn bar(index: i64, open: f64, high: f64, low: f64, close: f64, volume: f64) -> Bar {
    let ts_open = index * 5 * MINUTE_NS;
    Bar::new_checked(ts_open, ts_open + 5 * MINUTE_NS, open, high, low, close, volume).unwrap()
}

fn flat(index: i64, price: f64) -> Bar {
    bar(index, price, price, price, price, 1.0)
}

#[test]
fn indicators_open_after_their_warm_up_and_equal_the_batch() {
    let values: Vec<f64> = (0..300).map(|i| 100.0 + (0.3 * f64::from(i)).sin() * 5.0 + f64::from(i % 7)).collect();
    let core = ta_lib::Core::new();
    let mut out = vec![0.0; values.len()];
    let check = |name: &str, streamed: Vec<Option<f64>>, range: ta_lib::OutRange, out: &[f64]| {
        for (t, value) in streamed.iter().enumerate() {
            let expected = t.checked_sub(range.beg_idx).map(|index| out[index].to_bits());
            assert_eq!(value.map(f64::to_bits), expected, "{name} at {t}");
        }
    };
    let last = values.len() - 1;
    let (mut rsi, mut wma, mut ema) = (Rsi::new(5), Wma::new(20), Ema::new(99));
    let range = core.rsi(0, last, &values, 5, &mut out).unwrap();
    check("rsi", values.iter().map(|value| rsi.update(*value)).collect(), range, &out);
    let range = core.wma(0, last, &values, 20, &mut out).unwrap();
    check("wma", values.iter().map(|value| wma.update(*value)).collect(), range, &out);
    let range = core.ema(0, last, &values, 99, &mut out).unwrap();
    check("ema", values.iter().map(|value| ema.update(*value)).collect(), range, &out);
    let bars = sample(4, 300).bars;
    let column = |get: fn(&Bar) -> f64| bars.iter().map(get).collect::<Vec<f64>>();
    let (high, low, close) = (column(|bar| bar.high), column(|bar| bar.low), column(|bar| bar.close));
    let range = core.atr(0, last, &high, &low, &close, 14, &mut out).unwrap();
    let mut atr = Atr::new(1e-9);
    check("atr", bars.iter().map(|bar| atr.update(bar)).collect(), range, &out);
}

#[test]
fn atr_is_never_below_a_tick() {
    let mut atr = Atr::new(0.25);
    let values: Vec<Option<f64>> = (0..20).map(|index| atr.update(&flat(index, 100.0))).collect();
    assert_eq!(values[13], None);
    assert_eq!(values[14..], [Some(0.25); 6]);
}

#[test]
fn heikin_ashi_of_two_bars() {
    let mut smooth = HeikinAshi::default();
    // c' = (10 + 14 + 8 + 12) / 4 = 11, o' = (10 + 12) / 2 = 11, h' = 14, l' = 8
    let first = smooth.update(&bar(0, 10.0, 14.0, 8.0, 12.0, 1.0));
    assert_eq!((first.open, first.high, first.low, first.close), (11.0, 14.0, 8.0, 11.0));
    // c' = (20 + 21 + 19 + 20) / 4 = 20, o' = (11 + 11) / 2 = 11, l' = min(19, 11, 20) = 11
    let second = smooth.update(&bar(1, 20.0, 21.0, 19.0, 20.0, 1.0));
    assert_eq!((second.open, second.high, second.low, second.close), (11.0, 21.0, 11.0, 20.0));
}

#[test]
fn kernel_regression_of_a_line_lags_by_its_mean_age() {
    // Closes t: y_t = t - sum w_i i / sum w_i, so the slope is exactly 1.
    let mut regression = NwRqk::default();
    let values: Vec<_> = (0..140).map(|t| regression.update(f64::from(t))).collect();
    assert!(values[126].is_none());
    assert_eq!(values[127].unwrap().slope, None);
    let weight = |i: f64| (1.0 + i * i / 1024.0).powi(-8);
    let (total, moment) = (0..128).map(f64::from).fold((0.0, 0.0), |(w, m), i| (w + weight(i), m + weight(i) * i));
    let value = values[139].unwrap();
    assert!((value.level - (139.0 - moment / total)).abs() < 1e-9);
    assert!((value.slope.unwrap() - 1.0).abs() < 1e-9);
}

/// Ten quiet bars with bodies of 1, then a rise that leaves the gap `[101, 104]`.
fn bars_with_a_gap() -> Vec<Bar> {
    let mut bars: Vec<Bar> = (0..10).map(|index| bar(index, 100.0, 101.0, 99.0, if index % 2 == 0 { 101.0 } else { 99.0 }, 1.0)).collect();
    bars.push(bar(10, 100.0, 106.0, 100.0, 105.0, 1.0));
    bars.push(bar(11, 105.0, 107.0, 104.0, 106.0, 1.0));
    bars
}

#[test]
fn a_gap_is_found_ages_and_is_filled() {
    let mut fvg = Fvg::new(50, 1.5);
    let mut values: Vec<_> = bars_with_a_gap().iter().map(|bar| fvg.update(bar)).collect();
    assert!(values[..11].iter().all(Option::is_none), "twelve bars are needed");
    let gap = values.pop().unwrap().unwrap().nearest.unwrap();
    assert_eq!((gap.bullish, gap.bottom, gap.top, gap.age, gap.centre()), (true, 101.0, 104.0, 0, 102.5));
    // Down to 101.5: into the gap, not to its far edge.
    let value = fvg.update(&bar(12, 106.0, 106.0, 101.5, 105.0, 1.0)).unwrap();
    assert_eq!((value.bullish_age, value.mitigated), (Some(1), false));
    // Down to 101: the far edge.
    let value = fvg.update(&bar(13, 105.0, 105.0, 101.0, 103.0, 1.0)).unwrap();
    assert_eq!((value.bullish_age, value.nearest, value.mitigated), (None, None, true));
    assert!(!fvg.update(&bar(14, 103.0, 104.0, 102.0, 103.0, 1.0)).unwrap().mitigated);
}

#[test]
fn a_gap_expires_at_its_age_and_is_dropped_with_its_segment() {
    let mut fvg = Fvg::new(50, 1.5);
    for bar in bars_with_a_gap() {
        fvg.update(&bar);
    }
    let mut dropped = fvg.clone();
    for age in 1..60 {
        let value = fvg.update(&bar(11 + age, 106.0, 107.0, 105.5, 106.0, 1.0)).unwrap();
        assert_eq!(value.bullish_age, (age < 50).then_some(age as u32), "age {age}");
        assert!(!value.mitigated);
    }
    dropped.drop_open_gaps();
    assert_eq!(dropped.update(&bar(12, 106.0, 107.0, 105.5, 106.0, 1.0)).unwrap().bullish_age, None);
}

#[test]
fn a_small_middle_body_makes_no_gap() {
    let mut bars = bars_with_a_gap();
    // Body 1.5: not above 1.5 x the mean body of 1 of the ten bars before it.
    bars[10] = bar(10, 103.5, 106.0, 100.0, 105.0, 1.0);
    let mut fvg = Fvg::new(50, 1.5);
    assert_eq!(bars.iter().filter_map(|bar| fvg.update(bar)).next_back().unwrap().nearest, None);
}

#[test]
fn momentum_votes_stay_within_their_bounds_and_wait_for_eight_labels() {
    let mut index = Mlmi::default();
    let values: Vec<_> =
        (0..1_000).map(|t| index.update(100.0 + (f64::from(t) * 0.4).sin() * 3.0 + (f64::from(t) * 0.03).sin() * 9.0)).collect();
    let first = values.iter().position(Option::is_some).unwrap();
    assert!(first > 39, "WMA_20 of RSI_20 exists from bar 39, eight crossings later at the earliest: {first}");
    assert!(values[first..].iter().flatten().all(|value| value.value.abs() <= 1.0 && [-1.0, 0.0, 1.0].contains(&value.signal)));
    assert!(values[first..].iter().all(Option::is_some));
}

#[test]
fn profile_of_two_bars() {
    // Bar A: ticks 10..=19, 100 in all, 10 a tick. Bar B: ticks 15..=24, 50 in all, 5 a tick.
    let bars = [SpreadBar::new(10, 19, 100.0), SpreadBar::new(15, 24, 50.0)];
    let (mut edges, mut out) = (Vec::new(), Vec::new());
    runs(&bars, &mut edges, &mut out);
    let found: Vec<(i64, i64, f64)> = out.iter().map(|run| (run.start, run.end, run.per_tick)).collect();
    assert_eq!(found, [(10, 15, 10.0), (15, 20, 15.0), (20, 25, 5.0)]);
    let fullest = point_of_control(&out, 12).unwrap();
    assert_eq!((fullest.per_tick, fullest.middle()), (15.0, 17));
}

#[test]
fn an_interior_empty_run_is_a_node_at_its_middle_tick_rounded_down() {
    let tick = instrument(1.0);
    let mut nodes = LowVolumeNodes::default();
    // 50 bars, half on ticks 100..=109 and half on 120..=129: ticks 110..=119 are empty, middle (110 + 119) / 2 = 114.5, down to 114.
    for index in 0..50 {
        let low = if index % 2 == 0 { 100.0 } else { 120.0 };
        assert_eq!(nodes.update(&bar(index, low, low + 9.0, low, low + 4.0, 10.0), &tick), index == 49);
    }
    assert_eq!(nodes.nodes().iter().map(|node| node.ticks).collect::<Vec<_>>(), [114]);
    // Mean range 9, reach 4.5. Low bars end at 109, 5 away: no test. High bars begin at 120, 6 away: no test.
    // Strength = 40 (1 - 0) + 0 + 0 + 0 + 10 (1 - |124 - 114| / 9, at least 0) = 40 at the close 124, 50 at the level.
    assert_eq!(nodes.nearest(124.0), Some(NearestNode { price: 114.0, strength: 40.0 }));
    assert_eq!(nodes.nearest(114.0), Some(NearestNode { price: 114.0, strength: 50.0 }));
}

#[test]
fn tests_of_a_level_count_with_rejection_and_recency() {
    let tick = instrument(1.0);
    let mut nodes = LowVolumeNodes::default();
    for index in 0..50 {
        let low = if index % 2 == 0 { 100.0 } else { 120.0 };
        nodes.update(&bar(index, low, low + 9.0, low, low + 4.0, 10.0), &tick);
    }
    // One bar from above to 118: 4 from the level 114. Low range now: ticks 118 and 119 hold volume, empty 110..=117, middle 113.
    nodes.update(&bar(50, 126.0, 127.0, 118.0, 124.0, 10.0), &tick);
    let node = nodes.nearest(1_000.0).unwrap();
    // 113: lows reach 109 (4 away) = the 25 - 1 even bars of the last 50 and bar 50 is 5 away, reach = mean range / 2 = 4.5.
    // tests = 24, min(72, 15) = 15. Even bars come from below (open 100..): given back (109 - 104) / 9 = 5/9.
    // Newest even bar is 48, two bars before 50: recency 1 - 2/50. Strength = 40 + 15 + 15 x 5/9 + 20 x 0.96 + 0.
    assert_eq!(node.price, 113.0);
    assert!((node.strength - (40.0 + 15.0 + 15.0 * 5.0 / 9.0 + 20.0 * 0.96)).abs() < 1e-9, "{}", node.strength);
}

#[test]
fn regime_of_a_dead_market_is_all_zero_over_zero() {
    let mut regime = Regime::new(true);
    let rows: Vec<_> = (0..120).map(|index| regime.update(&Bar { volume: 0.0, ..flat(index, 100.0) })).collect();
    assert_eq!(rows[95], None);
    assert_eq!(rows[96], Some([0.0; 7]));
}

#[test]
fn regime_of_a_straight_rise() {
    let mut regime = Regime::new(true);
    let mut last = None;
    for index in 0..97 {
        let price = 100.0 + index as f64;
        last = regime.update(&bar(index, price - 1.0, price, price - 1.0, price, 5.0));
    }
    let row = last.unwrap();
    // trend: 96 / 96 x 0.5 sqrt(96) = 4.899; path = range = 96, so smoothness 6 x 0.5 = 3; bodies fill their bars: 10 x 0.53.
    assert!((f64::from(row[0]) - 4.898_979_f64.tanh()).abs() < 1e-6);
    assert!((f64::from(row[3]) - 3.0_f64.tanh()).abs() < 1e-6);
    assert!((f64::from(row[5]) - 5.3_f64.tanh()).abs() < 1e-6);
    assert_eq!(row[4], 0.0, "equal volumes");
}

#[test]
fn mmd_of_a_shift_is_large_of_a_copy_small_and_of_no_spread_absent() {
    let wave = |count: usize, shift: f64| (0..count).map(|i| (i as f64 * 1.7).sin() + shift).collect::<Vec<f64>>();
    let mut workspace = MmdWorkspace::default();
    let mut squared = |shift: f64| {
        let x = [wave(100, 0.0), wave(40, shift)].concat();
        mmd_squared(&x, &x, 100, &mut workspace)
    };
    assert!(squared(0.0).unwrap().abs() < 0.02);
    assert!(squared(3.0).unwrap() > 0.5);
    assert_eq!(mmd_squared(&[1.0; 30], &[2.0; 30], 20, &mut MmdWorkspace::default()), None);
}

#[test]
fn a_dead_market_is_not_ready_for_want_of_spread() {
    let mut series = sample(1, 4_000);
    for bar in &mut series.bars[1_500..] {
        (bar.open, bar.high, bar.low, bar.close) = (2_000.0, 2_000.0, 2_000.0, 2_000.0);
    }
    let table = FeatureTable::build(&series, &FeatureConfig::default()).unwrap();
    assert!(table.reasons(0..table.len()).of(Readiness::MmdSpread) > 500, "{}", table.reasons(0..table.len()));
}

#[test]
fn without_volume_the_columns_made_of_it_are_zero() {
    let mut series = sample(2, 2_200);
    series.has_volume = false;
    series.bars.iter_mut().for_each(|bar| bar.volume = 0.0);
    let table = FeatureTable::build(&series, &FeatureConfig::default()).unwrap();
    assert!(table.reasons(0..table.len()).ready() > 300);
    for t in (0..table.len()).filter(|row| table.is_ready(*row)) {
        assert_eq!(table.tactical()[t * 7 + 6], 0.0);
        let regime = table.regime_row(table.structure_row()[t] as usize);
        assert_eq!((regime[2], regime[4]), (0.0, 0.0));
        assert_eq!(table.lvn_row(t), [0.0, 1.0, 0.0, 0.0, 0.0]);
    }
    assert!(table.report().to_string().contains("no volume"));
}

#[test]
fn bars_out_of_order_or_broken_are_refused_and_change_nothing() {
    let series = sample(6, 200);
    let config = FeatureConfig::default();
    let mut stream = FeatureStream::new(&series.instrument, series.interval_ns, true, &config).unwrap();
    let mut control = stream.clone();
    for bar in &series.bars {
        stream.push(bar).unwrap();
        control.push(bar).unwrap();
        assert!(matches!(stream.push(bar), Err(MarketError::BarOrder { .. })));
        let later = Bar { ts_open: bar.ts_close, ts_close: bar.ts_close + 5 * MINUTE_NS, close: f64::NAN, ..*bar };
        assert!(matches!(stream.push(&later), Err(MarketError::Bar { .. })));
    }
    assert_eq!(format!("{stream:?}"), format!("{control:?}"));
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let five = 5 * MINUTE_NS;
    let of = |text: &str| Some(text.parse::<Interval>().unwrap());
    let default = FeatureConfig::default();
    for config in [
        FeatureConfig { structure: of("7m"), ..default.clone() },
        FeatureConfig { structure: of("5m"), ..default.clone() },
        FeatureConfig { base: of("1m"), ..default.clone() },
        FeatureConfig { base: of("7m"), ..default.clone() },
        FeatureConfig { mmd_test: 1, ..default.clone() },
        FeatureConfig { mmd_stride: 0, ..default.clone() },
        FeatureConfig { fvg_expiry: 65, ..default.clone() },
        FeatureConfig { fvg_body_ratio: f64::NAN, ..default.clone() },
    ] {
        assert!(matches!(config.validate(five), Err(MarketError::Setting { .. })), "{config:?}");
    }
    assert_eq!(default.structure_ns(five), 30 * MINUTE_NS);
    assert_eq!(default.structure_ns(1_440 * MINUTE_NS), 7 * 1_440 * MINUTE_NS);
    assert_eq!(default.max_gap_ns(1_440 * MINUTE_NS), 6 * 1_440 * MINUTE_NS);
    assert!(serde_json::from_str::<FeatureConfig>(r#"{"scaling": "fixed", "structure": "1h"}"#).is_ok());
    assert!(serde_json::from_str::<FeatureConfig>(r#"{"scalling": "fixed"}"#).is_err());
}

#[test]
fn finer_bars_are_resampled_to_the_base() {
    let series = sample(12, 2_400);
    let config = FeatureConfig { base: Some("15m".parse().unwrap()), ..FeatureConfig::default() };
    let table = FeatureTable::build(&series, &config).unwrap();
    assert_eq!((table.interval_ns(), table.structure_ns()), (15 * MINUTE_NS, 90 * MINUTE_NS));
    let own = crate::resample::resample(&series, 15 * MINUTE_NS).unwrap();
    assert_eq!((0..table.len()).map(|row| table.bar(row)).collect::<Vec<_>>(), own.bars);
}

#[test]
fn fixed_scaling_marks_open_gaps_with_one() {
    let series = sample(13, 600);
    let table = FeatureTable::build(&series, &FeatureConfig { scaling: Scaling::Fixed, ..FeatureConfig::default() }).unwrap();
    let values: Vec<f32> = table.tactical().chunks(7).filter(|row| row[0].is_finite()).map(|row| row[0]).collect();
    assert!(values.iter().all(|value| *value == 0.0 || *value == 1.0) && values.contains(&1.0));
}
