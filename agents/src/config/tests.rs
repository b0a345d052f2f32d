//! What a user writes, and what a user is told.

use super::*;

#[test]
fn a_stated_cash_and_defaults() {
    let config: EnvConfig = toml::from_str("initial_cash = 100000").expect("config");
    assert_eq!(config, EnvConfig::with_cash(100_000.0));
    config.validate().expect("valid");
    assert_eq!((config.num_actions(), config.initial_cash_micros()), (3, 100_000_000_000));
    assert_eq!([0, 1, 2].map(|action| config.action_target(action)), [-1.0, 0.0, 1.0]);
    let missing = toml::from_str::<EnvConfig>("levels = 1").expect_err("no cash").to_string();
    assert!(missing.contains("initial_cash"), "{missing}");
}

#[test]
fn sizing_reward_and_stop_in_toml() {
    let config: EnvConfig =
        toml::from_str("initial_cash = 1e6\nsizing = { contracts = 2 }\nlevels = 2\nreward = { differential_sharpe = { eta = 0.01 } }")
            .expect("config");
    assert_eq!((config.sizing, config.num_actions()), (Sizing::Contracts(2), 5));
    assert_eq!(config.reward, Reward::DifferentialSharpe { eta: 0.01 });
    let plain: EnvConfig = toml::from_str("initial_cash = 1e6\nreward = \"log_return\"\nsizing.notional = 5e4").expect("config");
    assert_eq!((plain.reward, plain.sizing), (Reward::LogReturn, Sizing::Notional(50_000.0)));
    for (text, expected) in [("stop_atr = \"off\"", None), ("stop_atr = 2", Some(2.0)), ("stop_atr = 0.5", Some(0.5)), ("", None)] {
        let risk: RiskConfig = toml::from_str(text).expect("risk");
        assert_eq!(risk.stop_atr.atr(), expected);
        risk.validate().expect("valid");
        let again: RiskConfig = toml::from_str(&toml::to_string(&risk).expect("text")).expect("risk");
        assert_eq!(again, risk);
    }
}

#[test]
fn unknown_keys_and_bad_values_are_named() {
    let error = toml::from_str::<EnvConfig>("initial_cash = 1.0\nleverage = 3").expect_err("unknown").to_string();
    assert!(error.contains("leverage"), "{error}");
    let bad = |change: fn(&mut EnvConfig)| {
        let mut config = EnvConfig::with_cash(1e5);
        change(&mut config);
        config.validate().expect_err("a bad value").to_string()
    };
    for (error, key) in [
        (bad(|c| c.initial_cash = f64::NAN), "env.initial_cash was NaN"),
        (bad(|c| c.levels = 0), "env.levels was 0"),
        (bad(|c| c.episode_len = 0), "env.episode_len was 0"),
        (bad(|c| c.min_bars_left = 0), "env.min_bars_left was 0"),
        (bad(|c| c.ruin_fraction = 0.0), "env.ruin_fraction was 0"),
        (bad(|c| c.sizing = Sizing::Equity(2.0)), "env.sizing.equity was 2"),
        (bad(|c| c.sizing = Sizing::Contracts(0)), "env.sizing.contracts was 0"),
        (bad(|c| c.max_leverage = -1.0), "env.max_leverage was -1"),
        (bad(|c| c.reward = Reward::DifferentialSharpe { eta: 0.0 }), "eta was 0"),
    ] {
        assert!(error.contains(key) && error.contains("expected"), "{error}");
    }
    let risk = RiskConfig { stop_atr: StopDistance::Atr(0.1), ..RiskConfig::default() };
    assert!(risk.validate().expect_err("too near").to_string().contains("risk.stop_atr was 0.1"));
    let decision: DecisionConfig = toml::from_str("consensus_passes = 4096").expect("decision");
    assert!(decision.validate().expect_err("too many").to_string().contains("decision.consensus_passes"));
    DecisionConfig::off().validate().expect("valid");
}
