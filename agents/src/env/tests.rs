//! The environment against its promises: rows known ahead, money that adds up, restarts that change nothing.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::*;
use crate::{
    config::{Reward, Sizing, StopDistance},
    testing,
};

const NUM_ENVS: usize = 8;

fn costs() -> CostConfig {
    CostConfig { commission_bp: Some(2.0), financing_bp_per_bar: Some(0.5), ..CostConfig::default() }
}

fn config() -> EnvConfig {
    EnvConfig { episode_len: 100, ..EnvConfig::with_cash(100_000.0) }
}

fn env(config: &EnvConfig, risk: &RiskConfig, seed: u64) -> VecMarketEnv {
    let spans = vec![testing::span(1, 1500, Some(1000)), testing::span(2, 1200, None)];
    VecMarketEnv::new(spans, config, risk, Some(&costs()), NUM_ENVS, seed).expect("env")
}

/// Targets of {-1, 0, 1}, drawn.
fn drawn(rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..NUM_ENVS).map(|_| (rng.next_u32() % 3) as f32 - 1.0).collect()
}

#[test]
fn rows_visited_are_the_rows_planned_whatever_the_actions() {
    // Fifty times leverage: many lanes are ruined on the way.
    let wild = EnvConfig { sizing: Sizing::Equity(50.0), max_leverage: 50.0, ..config() };
    for (config, ruins) in [(config(), false), (wild, true)] {
        for seed in 0..2 {
            let mut env = env(&config, &RiskConfig::default(), 5);
            let plan = env.plan(400);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut terminal = plan.terminal.iter().peekable();
            let mut num_terminated = 0;
            for t in 0..=400 {
                let range = t * NUM_ENVS..(t + 1) * NUM_ENVS;
                assert_eq!(env.observation().table, plan.table[range.clone()], "step {t}");
                assert_eq!(env.observation().row, plan.row[range], "step {t}");
                if t == 400 {
                    break;
                }
                let result = env.step(&drawn(&mut rng)).expect("step");
                assert!(result.rewards.iter().all(|reward| reward.is_finite()));
                for lane in 0..NUM_ENVS {
                    let scheduled = terminal.next_if(|row| row.index as usize == t * NUM_ENVS + lane);
                    assert!(!(result.terminated[lane] && result.truncated[lane]));
                    assert_eq!(scheduled.is_some(), result.truncated[lane] || (result.terminated[lane] && scheduled.is_some()));
                    let from = plan.row[t * NUM_ENVS + lane];
                    if let Some(row) = scheduled {
                        assert_eq!(row.row, from + 1);
                    } else {
                        assert_eq!(plan.row[(t + 1) * NUM_ENVS + lane], from + 1);
                    }
                    num_terminated += usize::from(result.terminated[lane]);
                }
            }
            assert_eq!(num_terminated > 0, ruins, "{num_terminated} ruins");
        }
    }
}

#[test]
fn no_step_leaves_its_segment_or_a_ready_row() {
    let env = env(&config(), &RiskConfig::default(), 9);
    let plan = env.plan(1000);
    let mut terminal = plan.terminal.iter().peekable();
    let mut lengths = std::collections::BTreeSet::new();
    for t in 0..1000 {
        for lane in 0..NUM_ENVS {
            let at = t * NUM_ENVS + lane;
            let (table, from) = (plan.table[at], plan.row[at] as usize);
            let to = terminal.next_if(|row| row.index as usize == at).map_or(plan.row[at + NUM_ENVS], |row| row.row) as usize;
            let table = &env.spans()[usize::from(table)].table;
            assert_eq!(to, from + 1);
            assert!(table.is_ready(from) && table.is_ready(to));
            assert_eq!(table.segment()[from], table.segment()[to]);
            assert!(table.ts_open()[to] - table.ts_close()[from] < testing::BAR_NS);
        }
    }
    for pair in plan.terminal.iter() {
        let lane = pair.index as usize % NUM_ENVS;
        lengths.insert((lane, pair.index));
    }
    assert!(!lengths.is_empty());
}

#[test]
fn log_rewards_sum_to_the_log_of_equity() {
    let mut env = env(&config(), &RiskConfig { stop_atr: StopDistance::Atr(1.0), ..RiskConfig::default() }, 3);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut num_finished = 0;
    let mut sums = [0.0_f64; NUM_ENVS];
    for _ in 0..600 {
        let targets = drawn(&mut rng);
        let before: Vec<i64> = env.equity_micros().collect();
        let result = env.step(&targets).expect("step").clone();
        for (lane, (before, after)) in before.iter().zip(env.equity_micros()).enumerate() {
            if !(result.terminated[lane] || result.truncated[lane]) {
                let expected = (after as f64 / *before as f64).ln();
                assert!((f64::from(result.rewards[lane]) - expected).abs() < 1e-9 + 1e-6 * expected.abs(), "lane {lane}");
            }
        }
        for (sum, reward) in sums.iter_mut().zip(&result.rewards) {
            *sum += f64::from(*reward);
        }
        for episode in &result.finished {
            let sum = std::mem::take(&mut sums[episode.lane as usize]);
            assert!((sum - episode.episodic_return).abs() < 1e-5, "{sum} {episode:?}");
            assert!((64..=100).contains(&episode.episodic_length), "{episode:?}");
            num_finished += 1;
        }
    }
    assert!(num_finished > 30, "{num_finished}");
}

/// The slow oracle: one lane, one long episode, cash counted by hand with the specification's timing.
#[test]
fn a_step_fills_at_the_next_open_and_is_paid_to_the_next_close() {
    let config = EnvConfig { episode_len: 300, min_bars_left: 300, ..EnvConfig::with_cash(100_000.0) };
    let span = testing::span(4, 1200, None);
    let mut env = VecMarketEnv::new(vec![span.clone()], &config, &RiskConfig::default(), Some(&costs()), 1, 11).expect("env");
    let table = &span.table;
    let (open, close) = (table.open_ticks(), table.close_ticks());
    let micros = 10_i128;
    let mut row = env.observation().row[0] as usize;
    let side = env.observation().account[0];
    let full = |equity: i128, row: usize| equity / (i128::from(close[row]) * micros);
    let mut cash = 100_000_000_000_i128;
    let mut position = full(cash, row) * side as i128;
    cash -= position * i128::from(close[row]) * micros;
    let mut held = side;
    let mut equity = 100_000_000_000_i128;
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..299 {
        let target = (rng.next_u32() % 3) as f32 - 1.0;
        let result = env.step(&[target]).expect("step");
        if target != held {
            let delta = full(equity, row) * target as i128 - position;
            let value = delta * i128::from(open[row + 1]) * micros;
            // 2 bp of the notional, rounded up.
            cash -= value + (value.abs() * 2 + 9_999) / 10_000;
            position += delta;
            held = target;
        }
        row += 1;
        let marked = (position * i128::from(close[row]) * micros).abs();
        cash -= (marked + 19_999) / 20_000; // 0.5 bp
        let after = cash + position * i128::from(close[row]) * micros;
        let expected = (after as f64 / equity as f64).ln() as f32;
        assert_eq!(result.rewards[0], expected, "row {row}");
        equity = after;
        assert_eq!(env.equity_micros().next(), Some(equity as i64));
    }
}

#[test]
fn a_restart_changes_nothing() {
    let config = EnvConfig { reward: Reward::DifferentialSharpe { eta: 0.01 }, ..config() };
    let risk = RiskConfig { stop_atr: StopDistance::Atr(1.5), max_loss_per_day: Some(0.01), ..RiskConfig::default() };
    let mut one = env(&config, &risk, 7);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    for _ in 0..150 {
        one.step(&drawn(&mut rng)).expect("step");
    }
    let text = serde_json::to_string(&one.state()).expect("state to text");
    let mut two = env(&config, &risk, 7);
    two.restore(&serde_json::from_str(&text).expect("text to state")).expect("restore");
    assert_eq!(one.observation(), two.observation());
    for step in 0..200 {
        let targets = drawn(&mut rng);
        let expected = one.step(&targets).expect("step").clone();
        assert_eq!(&expected, two.step(&targets).expect("step"), "step {step}");
        assert_eq!(one.observation(), two.observation(), "step {step}");
    }
    assert_eq!(one.state(), two.state());
}

#[test]
fn a_state_of_another_environment_is_refused() {
    let mut other = env(&config(), &RiskConfig::default(), 8);
    let state = env(&config(), &RiskConfig::default(), 7).state();
    assert!(matches!(other.restore(&state), Err(AgentsError::Setting { key: "seed", .. })));
    let spans = vec![testing::span(1, 1500, None)];
    let mut fewer = VecMarketEnv::new(spans, &config(), &RiskConfig::default(), Some(&costs()), 3, 7).expect("env");
    assert!(matches!(fewer.restore(&state), Err(AgentsError::Shape { found: 8, expected: 3, .. })));
}

#[test]
fn seeds_and_lanes_differ() {
    let rows = |seed| env(&config(), &RiskConfig::default(), seed).plan(500).row;
    assert_eq!(rows(1), rows(1));
    assert_ne!(rows(1), rows(2));
    let plan = rows(1);
    assert!((1..NUM_ENVS).all(|lane| plan[lane] != plan[0]), "lanes start apart: {:?}", &plan[..NUM_ENVS]);
}

#[test]
fn episodes_start_short_flat_or_long_without_cost() {
    let spans = vec![testing::span(1, 1500, None)];
    let env = VecMarketEnv::new(spans, &config(), &RiskConfig::default(), Some(&costs()), 300, 1).expect("env");
    let seen = env.observation();
    let mut counts = [0; 3];
    for account in seen.account.chunks_exact(ACCOUNT_WIDTH) {
        counts[(account[0] + 1.0) as usize] += 1;
        assert!((account[4] - account[0]).abs() < 0.01, "fully invested: {account:?}");
        assert_eq!((account[1], account[2], account[3], account[5]), (0.0, 0.0, 0.0, 1.0));
    }
    // 100 each; 60 is five deviations away.
    assert!(counts.iter().all(|count| *count > 60), "{counts:?}");
    assert!(env.equity_micros().all(|equity| equity == 100_000_000_000));
}

#[test]
fn ruin_closes_the_account_and_the_lane_goes_on_flat() {
    let config = EnvConfig { sizing: Sizing::Equity(80.0), max_leverage: 80.0, episode_len: 400, ..config() };
    let mut env = env(&config, &RiskConfig::default(), 5);
    let mut num_ruined = 0;
    for _ in 0..300 {
        let rows = env.observation().row.clone();
        let result = env.step(&[1.0; NUM_ENVS]).expect("step").clone();
        for lane in (0..NUM_ENVS).filter(|lane| result.terminated[*lane]) {
            let terminal = &result.terminal_observation[lane * ACCOUNT_WIDTH..(lane + 1) * ACCOUNT_WIDTH];
            // Closed: no position, a drawdown of at least 80 %, and a reward of about ln of what was left.
            assert_eq!((terminal[0], terminal[4]), (0.0, 0.0), "{terminal:?}");
            assert!(terminal[3] >= 0.75, "{terminal:?}");
            assert!(result.rewards[lane].is_finite() && result.rewards[lane] < 0.0);
            let after = &env.observation().account[lane * ACCOUNT_WIDTH..(lane + 1) * ACCOUNT_WIDTH];
            if env.observation().row[lane] == rows[lane] + 1 {
                assert_eq!(after, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
            }
            num_ruined += 1;
        }
    }
    assert!(num_ruined > 0);
}

#[test]
fn risk_limits_are_dynamics_of_training_too() {
    let killed = RiskConfig { kill_switch: true, ..RiskConfig::default() };
    let mut env = env(&config(), &killed, 1);
    for _ in 0..20 {
        let result = env.step(&[1.0; NUM_ENVS]).expect("step");
        assert!(result.rewards.iter().all(|reward| *reward == 0.0));
    }
    assert_eq!(env.refusals()[0], 20 * NUM_ENVS as u64);
}

#[test]
fn bad_input_is_refused() {
    let mut good = env(&config(), &RiskConfig::default(), 1);
    let before = good.state();
    for bad in [f32::NAN, 1.5, f32::INFINITY] {
        let mut targets = [0.0; NUM_ENVS];
        targets[3] = bad;
        assert!(matches!(good.step(&targets), Err(AgentsError::Target { lane: 3, .. })));
    }
    assert!(matches!(good.step(&[0.0]), Err(AgentsError::Shape { found: 1, .. })));
    assert_eq!(before, good.state());
    let span = || vec![testing::span(1, 1200, None)];
    let make = |config: &EnvConfig, costs: Option<&CostConfig>, num_envs| {
        VecMarketEnv::new(span(), config, &RiskConfig::default(), costs, num_envs, 1).err()
    };
    assert!(matches!(make(&config(), None, 1), Some(AgentsError::Market(_))));
    assert!(matches!(make(&config(), Some(&costs()), 0), Some(AgentsError::Setting { key: "num_envs", .. })));
    let long = EnvConfig { min_bars_left: 5000, ..config() };
    assert!(matches!(make(&long, Some(&costs()), 1), Some(AgentsError::NoEpisode { bars_left: 5000, .. })));
    // One lot is worth about 1.
    let poor = EnvConfig { max_leverage: 0.5, sizing: Sizing::Equity(0.5), ..EnvConfig::with_cash(1.0) };
    assert!(matches!(make(&poor, Some(&costs()), 1), Some(AgentsError::LotTooLarge { .. })));
}

/// Every bar of every lane through the venue and the desk, one lane at a time: what the environment must equal to the bit.
struct Oracle {
    grounds: Vec<Ground>,
    schedule: Schedule,
    lanes: Vec<Lane>,
    reward: Reward,
}

impl Oracle {
    fn new(env: &VecMarketEnv, risk: &RiskConfig, seed: u64) -> Self {
        let ground = |span: &TableSpan| Ground {
            table: span.table.clone(),
            rows: PricedRows::of(span),
            desk: Desk::new(env.config(), risk, &span.table).expect("desk"),
            venue: SimVenue::new(1, CostModel::new(Some(&costs()), span.table.instrument()).expect("costs")).expect("venue"),
        };
        let schedule = Schedule::new(env.spans(), env.config(), seed).expect("schedule");
        let mut this = Self { grounds: env.spans().iter().map(ground).collect(), schedule, lanes: Vec::new(), reward: env.config().reward };
        this.lanes = (0..env.num_envs()).map(|index| this.begin(index, 0)).collect();
        this
    }

    fn begin(&mut self, index: usize, episode: u64) -> Lane {
        let scheduled = self.schedule.draw(index, episode);
        Lane::start(&mut self.grounds[usize::from(scheduled.table)], episode, scheduled).expect("lane")
    }

    fn vector(&self, index: usize) -> Vec<f32> {
        let mut out = vec![0.0; ACCOUNT_WIDTH];
        let lane = &self.lanes[index];
        lane.observe(&self.grounds[usize::from(lane.scheduled.table)], &mut out);
        out
    }

    /// Reward, flags and terminal observation of one lane's step.
    fn step(&mut self, index: usize, target: f32) -> (f32, bool, bool, Vec<f32>) {
        let ground = &mut self.grounds[usize::from(self.lanes[index].scheduled.table)];
        let step = self.lanes[index].step(ground, target).expect("step");
        let state = &mut self.lanes[index].state;
        let reward = self.reward.of(&mut state.reward, &step.step);
        state.episodic_return += reward;
        let mut terminal = vec![0.0; ACCOUNT_WIDTH];
        if step.terminated || step.scheduled_end {
            terminal = self.vector(index);
            let lane = self.lanes[index];
            self.lanes[index] = if step.scheduled_end {
                self.begin(index, lane.state.episode + 1)
            } else {
                lane.restart(&mut self.grounds[usize::from(lane.scheduled.table)]).expect("lane")
            };
        }
        (reward as f32, step.terminated, step.scheduled_end && !step.terminated, terminal)
    }
}

#[test]
fn a_lane_that_holds_does_what_the_venue_would() {
    let limits =
        RiskConfig { stop_atr: StopDistance::Atr(1.5), max_loss_per_day: Some(0.01), max_drawdown: Some(0.05), ..RiskConfig::default() };
    let stops = RiskConfig { stop_atr: StopDistance::Atr(0.5), ..RiskConfig::default() };
    let wild = EnvConfig { sizing: Sizing::Equity(40.0), max_leverage: 50.0, ..config() };
    let sharpe = EnvConfig { reward: Reward::DifferentialSharpe { eta: 0.01 }, ..config() };
    let multiple = EnvConfig { reward: Reward::RMultiple { drawdown_penalty: 0.5 }, levels: 2, ..config() };
    let cases =
        [(config(), RiskConfig::default()), (config(), limits), (wild, stops.clone()), (sharpe, stops), (multiple, RiskConfig::default())];
    for (number, (config, risk)) in cases.into_iter().enumerate() {
        let spans = vec![testing::span(1, 1500, Some(1000)), testing::span(2, 1200, None)];
        // More lanes than a block, and not a multiple of one.
        let num_envs = LANES + 13;
        let mut env = VecMarketEnv::new(spans, &config, &risk, Some(&costs()), num_envs, 4).expect("env");
        let mut oracle = Oracle::new(&env, &risk, 4);
        let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
        let mut targets = vec![0.0_f32; num_envs];
        let (mut num_held, mut num_stopped) = (0, 0);
        for step in 0..400 {
            for target in &mut targets {
                if rng.next_u32().is_multiple_of(8) {
                    *target = (rng.next_u32() % 3) as f32 - 1.0;
                }
            }
            let before: Vec<f32> = env.holds.iter().map(|hold| hold.target).collect();
            let result = env.step(&targets).expect("step").clone();
            for lane in 0..num_envs {
                let (reward, terminated, truncated, terminal) = oracle.step(lane, targets[lane]);
                let at = lane * ACCOUNT_WIDTH..(lane + 1) * ACCOUNT_WIDTH;
                assert_eq!(result.rewards[lane].to_bits(), reward.to_bits(), "case {number}, step {step}, lane {lane}");
                assert_eq!((result.terminated[lane], result.truncated[lane]), (terminated, truncated));
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&result.terminal_observation[at.clone()]), bits(&terminal));
                assert_eq!(bits(&env.observation().account[at]), bits(&oracle.vector(lane)), "case {number}, step {step}, lane {lane}");
                num_held += usize::from(before[lane] == targets[lane]);
                num_stopped += usize::from(env.holds[lane].target == 0.0 && targets[lane] != 0.0);
            }
            let states: Vec<LaneState> = oracle.lanes.iter().map(|lane| lane.state).collect();
            assert_eq!(env.state().lanes, states, "case {number}, step {step}");
        }
        assert!(num_held > 10_000, "{num_held}");
        assert!(number == 0 || number == 4 || num_stopped > 100, "{num_stopped}");
    }
}
