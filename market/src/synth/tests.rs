//! The generated markets obey the law they promise, and their bytes depend on nothing but seed and path.

use proptest::prelude::*;

use super::*;

fn log_returns(path: &SynthPath) -> Vec<f64> {
    path.series.bars.windows(2).map(|pair| (pair[1].close / pair[0].close).ln()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let centre = mean(values);
    mean(&values.iter().map(|v| (v - centre).powi(2)).collect::<Vec<_>>()).sqrt()
}

#[test]
fn first_bars_of_seed_1_are_these() {
    // Golden: guards the streams' addresses and the samplers behind them; a change here changes every published result.
    let path = generate(&SynthConfig::default(), 1, 3).unwrap();
    let ticks: Vec<[i64; 4]> =
        path.series.bars.iter().map(|b| [b.open, b.high, b.low, b.close].map(|price| path.series.instrument.to_ticks(price))).collect();
    assert_eq!(ticks, GOLDEN_TICKS);
}

const GOLDEN_TICKS: [[i64; 4]; 3] = [[100000, 100200, 99974, 100170], [100170, 100273, 100154, 100201], [100201, 100211, 100131, 100209]];

#[test]
fn bars_join_and_carry_the_clock() {
    let path = generate(&SynthConfig::default(), 7, 500).unwrap();
    let bars = &path.series.bars;
    assert_eq!((bars.len(), path.hidden.len(), path.series.interval_ns), (500, 500, 300_000_000_000));
    assert_eq!(bars[0].open, 1000.0);
    assert_eq!(bars[0].ts_open, START_NS);
    for pair in bars.windows(2) {
        assert_eq!(pair[0].close, pair[1].open);
        assert_eq!(pair[0].ts_close, pair[1].ts_open);
    }
}

#[test]
fn regime_has_its_drift_deviation_and_switches() {
    let config = SynthConfig::default();
    let num_bars = 200_000;
    let path = generate(&config, 3, num_bars).unwrap();
    let returns = log_returns(&path);
    let signed: Vec<f64> = returns.iter().zip(&path.hidden[1..]).map(|(r, s)| r * s / config.sigma()).collect();
    // mean 0.3 sigma; standard error 1 / sqrt(200,000) = 0.0022
    assert!((mean(&signed) - 0.3).abs() < 0.01, "{}", mean(&signed));
    assert!((deviation(&signed) - 1.0).abs() < 0.01, "{}", deviation(&signed));
    // expected 200,000 / 120 = 1,667 switches; deviation about sqrt(1,667) = 41
    let switches = path.hidden.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!((1_460..1_870).contains(&switches), "{switches}");
}

#[test]
fn ou_halves_a_deviation_in_eight_bars() {
    let config = SynthConfig::of(SynthMarket::Ou);
    assert!((config.phi() - 0.917004).abs() < 1e-6);
    let path = generate(&config, 3, 200_000).unwrap();
    let innovations: Vec<f64> = path.hidden.windows(2).map(|pair| pair[1] - config.phi() * pair[0]).collect();
    assert!(mean(&innovations).abs() < 0.01 && (deviation(&innovations) - 1.0).abs() < 0.01);
    // stationary deviation 1 / sqrt(1 - phi^2) = 2.507; phi correlates bars, so about 200,000 (1 - phi) / (1 + phi) independent values
    assert!((deviation(&path.hidden) - 2.507).abs() < 0.08, "{}", deviation(&path.hidden));
    let last = path.series.bars.last().unwrap().close;
    assert!(((last / config.price).ln() / config.sigma() - path.hidden.last().unwrap()).abs() < 0.01);
}

#[test]
fn volume_says_nothing_about_the_hidden_state() {
    let path = generate(&SynthConfig::default(), 5, 100_000).unwrap();
    let log_volume: Vec<f64> = path.series.bars.iter().map(|b| b.volume.ln()).collect();
    let centre = mean(&log_volume);
    let covariance = mean(&log_volume.iter().zip(&path.hidden).map(|(v, s)| (v - centre) * s).collect::<Vec<_>>());
    assert!((deviation(&log_volume) - 0.5).abs() < 0.01 && covariance.abs() < 0.01, "{covariance}");
}

#[test]
fn benchmark_has_the_promised_paths_and_they_differ() {
    let config = SynthConfig { sub_steps: 1, ..SynthConfig::default() };
    let paths = benchmark_paths(&config, 11).unwrap();
    assert_eq!(paths.train.series.bars.len(), 4_032 + 20_000);
    assert_eq!((paths.validation.len(), paths.held_out.len()), (4, 16));
    let mut last_closes: Vec<i64> =
        paths.validation.iter().chain(&paths.held_out).map(|p| p.series.instrument.to_ticks(p.series.bars[9_031].close)).collect();
    last_closes.sort_unstable();
    last_closes.dedup();
    assert_eq!(last_closes.len(), 20, "two paths ended at the same tick: streams overlap?");
}

#[test]
fn bad_parameters_name_the_key() {
    for (config, key) in [
        (SynthConfig { sigma_bp: f64::NAN, ..SynthConfig::default() }, "synth.sigma_bp"),
        (SynthConfig { sub_steps: 0, ..SynthConfig::default() }, "synth.sub_steps"),
        (SynthConfig { tick: 10.0, ..SynthConfig::default() }, "synth.tick"),
        (SynthConfig { switch_probability: 0.5, ..SynthConfig::default() }, "synth.switch_probability"),
        (SynthConfig { lot: 0.00001, ..SynthConfig::default() }, "instrument.lot"),
    ] {
        let message = generate(&config, 1, 10).unwrap_err().to_string();
        assert!(message.contains(key), "{message}");
    }
    assert!(generate(&SynthConfig::default(), 1, 0).is_err());
    assert!(generate(&SynthConfig::default(), 1, MAX_BARS + 1).is_err());
}

#[test]
fn a_price_that_walks_off_is_an_error() {
    let config = SynthConfig { sigma_bp: 1000.0, drift_bp: 3000.0, switch_probability: 1e-5, sub_steps: 1, ..SynthConfig::default() };
    assert!(matches!(generate(&config, 1, 10_000), Err(MarketError::SynthPrice { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_short_path_is_the_beginning_of_a_long_one(seed: u64, path_index: u64, len in 1usize..60, ou: bool) {
        let config = SynthConfig::of(if ou { SynthMarket::Ou } else { SynthMarket::Regime });
        let short = generate_path(&config, seed, path_index, len).unwrap();
        let long = generate_path(&config, seed, path_index, len + 40).unwrap();
        prop_assert_eq!(&short.series.bars[..], &long.series.bars[..len]);
        prop_assert_eq!(&short.hidden[..], &long.hidden[..len]);
        let other = generate_path(&config, seed.wrapping_add(1), path_index, len + 40).unwrap();
        prop_assert_ne!(&long.series.bars, &other.series.bars);
    }
}
