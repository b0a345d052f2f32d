//! Golden values of the specification, an independent simulation, and what must hold for any market.

use proptest::prelude::*;

use super::*;
use crate::synth::generate_path;

fn solved(market: SynthMarket) -> OptimalPolicy {
    OptimalPolicy::solve(&SynthConfig::of(market), ProportionalCosts::benchmark(market)).unwrap()
}

fn close(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected} +- {tolerance}");
}

#[test]
fn regime_has_the_known_values() {
    let policy = solved(SynthMarket::Regime);
    close(policy.gain_in_sigma(), 0.1653, 0.0002);
    close(policy.gain_bp(), 1.653, 0.002);
    close(policy.exposure(), 0.957, 0.002);
    let Thresholds { flat_to_long, long_to_flat, long_to_short } = policy.thresholds().unwrap();
    // the specification's grid was coarser (0.86, -0.22, -0.86); these do not move when the grid is made 8 times finer
    close(flat_to_long, 0.892, 0.002);
    close(long_to_flat, -0.233, 0.002);
    close(long_to_short, -0.892, 0.002);
    // knows the drift: 0.3 - 0.05 holding - 2 x 0.2 for a reversal once in 120 bars = 0.2467, 1.49 times the optimum
    close(policy.oracle_gain_in_sigma(), 0.3 - 0.05 - 0.4 / 120.0, 1e-6);
}

#[test]
fn ou_has_the_known_values() {
    let policy = solved(SynthMarket::Ou);
    close(policy.gain_in_sigma(), 0.1097, 0.0002);
    // a plain simulation of 4,000,000 bars under these thresholds was in the market 0.86196 of the time
    close(policy.exposure(), 0.862, 0.001);
    let Thresholds { flat_to_long, long_to_flat, long_to_short } = policy.thresholds().unwrap();
    // the specification's grid was coarser (-1.39, 0.58, 1.41)
    close(flat_to_long, -1.426, 0.002);
    close(long_to_flat, 0.610, 0.002);
    close(long_to_short, 1.426, 0.002);
    // with the holding cost of 0.5 bp that the text names for both markets it would be 0.0934, in the market 0.775 of the time
    let dearer = ProportionalCosts { change_bp: 2.0, holding_bp: 0.5 };
    close(OptimalPolicy::solve(&SynthConfig::of(SynthMarket::Ou), dearer).unwrap().gain_in_sigma(), 0.0934, 0.0002);
}

/// Average reward a bar in sigma of a target series on a path, straight from the definition.
fn reward(closes: &[f64], targets: &[i8], config: &SynthConfig, costs: ProportionalCosts) -> f64 {
    let mut total = 0.0;
    let mut previous = 0.0;
    for t in 0..closes.len() - 1 {
        let target = f64::from(targets[t]);
        total += target * (closes[t + 1] / closes[t]).ln() / config.sigma();
        total -= (costs.change_bp * (target - previous).abs() + costs.holding_bp * target.abs()) / config.sigma_bp;
        previous = target;
    }
    total / (closes.len() - 1) as f64
}

#[test]
fn the_policy_earns_its_gain_on_generated_paths() {
    for market in [SynthMarket::Regime, SynthMarket::Ou] {
        let policy = solved(market);
        let (mut earned, mut oracle, mut exposed) = (0.0, 0.0, 0.0);
        for path_index in 0..4 {
            let config = SynthConfig { sub_steps: 1, ..SynthConfig::of(market) };
            let path = generate_path(&config, 99, path_index, 50_000).unwrap();
            let closes: Vec<f64> = path.series.bars.iter().map(|bar| bar.close).collect();
            let targets = policy.targets(closes.iter().copied());
            earned += reward(&closes, &targets, &config, policy.costs()) / 4.0;
            oracle += reward(&closes, &policy.oracle_targets(&path.hidden), &config, policy.costs()) / 4.0;
            exposed += targets.iter().filter(|&&a| a != 0).count() as f64 / 200_000.0;
        }
        // standard error of a mean of 200,000 rewards of deviation 1: 0.0022
        close(earned, policy.gain_in_sigma(), 0.008);
        close(oracle, policy.oracle_gain_in_sigma(), 0.008);
        close(exposed, policy.exposure(), 0.01);
    }
}

#[test]
fn a_bar_of_news_moves_the_belief_by_bayes() {
    let config = SynthConfig::default();
    let mut filter = Filter::new(&config);
    assert_eq!(filter.update(1000.0), 0.0);
    // even odds stay even under switching; a return of +1 sigma adds 2 x 0.3 x 1 = 0.6
    close(filter.update(1000.0 * (0.001f64).exp()), 0.6, 1e-9);
    // p = 1 / (1 + e^-0.6) = 0.645656; after switching 0.645656 (119/120) + 0.354344 / 120 = 0.643228; log-odds 0.589406; r = 0 adds nothing
    close(filter.update(1000.0 * (0.001f64).exp()), 0.589406, 1e-5);
    // belief 2 p - 1 = tanh(0.589406 / 2) = 0.286457
    close(f64::from(filter.context()), 0.286457, 1e-5);
    assert_eq!(filter.update(f64::NAN), filter.state());
}

#[test]
fn ou_filter_reads_the_deviation() {
    let config = SynthConfig::of(SynthMarket::Ou);
    let mut filter = Filter::new(&config);
    close(filter.update(1000.0 * (-0.002f64).exp()), -2.0, 1e-9);
    // long-run deviation 1 / sqrt(1 - 0.917004^2) = 2.5071
    close(f64::from(filter.context()), -2.0 / 2.5071, 1e-4);
}

#[test]
fn without_costs_the_optimum_is_always_in_the_market() {
    let free = ProportionalCosts { change_bp: 0.0, holding_bp: 0.0 };
    let config = SynthConfig::of(SynthMarket::Ou);
    let policy = OptimalPolicy::solve(&config, free).unwrap();
    // gain = (1 - phi) E|x| = 0.082996 x 2.5071 x sqrt(2 / pi) = 0.16602
    close(policy.gain_in_sigma(), 0.16602, 0.0005);
}

#[test]
fn costs_above_any_profit_leave_it_flat() {
    let dear = ProportionalCosts { change_bp: 2.0, holding_bp: 50.0 };
    let policy = OptimalPolicy::solve(&SynthConfig::default(), dear).unwrap();
    close(policy.gain_in_sigma(), 0.0, 1e-9);
    close(policy.exposure(), 0.0, 1e-9);
    assert_eq!(policy.target(5.0, 0), 0);
}

#[test]
fn bad_costs_and_grids_are_refused() {
    let costs = ProportionalCosts { change_bp: -1.0, holding_bp: 0.5 };
    assert!(OptimalPolicy::solve(&SynthConfig::default(), costs).unwrap_err().to_string().contains("costs.change_bp"));
    let faint = SynthConfig { drift_bp: 0.1, switch_probability: 1e-5, ..SynthConfig::default() };
    assert!(OptimalPolicy::solve(&faint, ProportionalCosts::default()).unwrap_err().to_string().contains("grid"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn dearer_trading_never_pays_and_the_policy_is_its_own_mirror(
        ou: bool, change in 0.0f64..6.0, holding in 0.0f64..1.5, state in -4.0f64..4.0, previous in -1i8..=1,
    ) {
        let config = SynthConfig::of(if ou { SynthMarket::Ou } else { SynthMarket::Regime });
        let costs = ProportionalCosts { change_bp: change, holding_bp: holding };
        let policy = OptimalPolicy::solve(&config, costs).unwrap();
        let dearer = OptimalPolicy::solve(&config, ProportionalCosts { change_bp: change + 0.5, ..costs }).unwrap();
        prop_assert!(policy.gain_in_sigma() >= -1e-9);
        prop_assert!(policy.gain_in_sigma() <= policy.oracle_gain_in_sigma() + 1e-9);
        prop_assert!(dearer.gain_in_sigma() <= policy.gain_in_sigma() + 1e-9);
        prop_assert_eq!(policy.target(state, previous), -policy.target(-state, -previous));
    }
}
