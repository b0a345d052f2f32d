//! Promises of the lanes themselves: starts, ends, restarts, and refusals.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::*;

/// Random actions inside the space.
fn draw(env: &VecControlEnv, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..env.num_envs())
        .map(|_| match env.action_space() {
            ActionSpace::Discrete { num_actions } => (rng.next_u32() as usize % num_actions) as f32,
            ActionSpace::Box { low, high, .. } => low + (high - low) * (rng.next_u32() as f64 / 2_f64.powi(32)) as f32,
        })
        .collect()
}

#[test]
fn names_in_configs_are_the_ids() {
    for id in Task::ALL {
        let config: ControlConfig = toml::from_str(&format!("id = \"{id}\"")).expect("a task");
        assert_eq!(config, ControlConfig::new(id));
        assert_eq!(env(id, 3, 0).observation().len(), 3 * id.observation_width());
    }
    let error = toml::from_str::<ControlConfig>("id = \"CartPole-v0\"").expect_err("no such task").to_string();
    assert!(error.contains("CartPole-v1"), "{error}");
    assert!(toml::from_str::<ControlConfig>("id = \"CartPole-v1\"\nlimit = 3").is_err());
}

#[test]
fn starts_follow_from_seed_lane_and_episode_and_fill_their_range() {
    // Ranges of each value of a start.
    let pi = std::f64::consts::PI;
    let ranges: [(Task, Vec<(f64, f64)>); 5] = [
        (Task::CartPole, vec![(-0.05, 0.05); 4]),
        (Task::Acrobot, vec![(-0.1, 0.1); 4]),
        (Task::Pendulum, vec![(-pi, pi), (-1.0, 1.0)]),
        (Task::MountainCar, vec![(-0.6, -0.4), (0.0, 0.0)]),
        (Task::MountainCarContinuous, vec![(-0.6, -0.4), (0.0, 0.0)]),
    ];
    let num_envs = 2000;
    for (id, ranges) in ranges {
        let start = env(id, num_envs, 7).state().lanes.state;
        for (values, (low, high)) in start.chunks(num_envs).zip(&ranges) {
            let middle = values.iter().sum::<f64>() / num_envs as f64;
            let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(least, most), v| (least.min(*v), most.max(*v)));
            let slack = 0.01 * (high - low) + 1e-8;
            assert!((least - low).abs() <= slack && (most - high).abs() <= slack, "{id}: {least} to {most}, expected {low} to {high}");
            // The mean of 2000 uniform numbers is within five standard deviations, 5 / sqrt(12 * 2000) = 0.032 ranges, of the middle.
            assert!((middle - 0.5 * (low + high)).abs() <= 0.033 * (high - low), "{id}: mean {middle}");
        }
        assert_eq!(start, env(id, num_envs, 7).state().lanes.state);
        let fewer = env(id, 10, 7).state().lanes.state;
        assert!((0..10).all(|lane| fewer[lane] == start[lane]), "{id}: a lane's start depends on the number of lanes");
        let other = env(id, num_envs, 8).state().lanes.state;
        assert!((0..num_envs).all(|lane| other[lane] != start[lane]), "{id}: two seeds share a start");
    }
}

#[test]
fn an_ended_lane_shows_its_next_start_and_keeps_its_true_end() {
    let num_envs = 16;
    let config = ControlConfig { max_episode_steps: Some(30), ..ControlConfig::new(Task::CartPole) };
    let mut env = VecControlEnv::new(&config, num_envs, 3).expect("env");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut lengths = vec![0; num_envs];
    let (mut num_terminated, mut num_truncated) = (0, 0);
    let mut starts = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let before = env.state().lanes;
        let actions = draw(&env, &mut rng);
        let step = env.step(&actions).expect("step").clone();
        let ended: Vec<u32> = step.finished.iter().map(|stats| stats.lane).collect();
        let flagged: Vec<u32> = (0..num_envs as u32).filter(|&n| step.terminated[n as usize] || step.truncated[n as usize]).collect();
        assert_eq!(ended, flagged);
        for (lane, length) in lengths.iter_mut().enumerate() {
            *length += 1;
            let terminal = &step.terminal_observation[lane * 4..(lane + 1) * 4];
            let seen = &env.observation()[lane * 4..(lane + 1) * 4];
            // The cart's next position does not depend on the action: x + 0.02 x'.
            let x = (before.state[lane] + 0.02 * before.state[num_envs + lane]) as f32;
            let Some(stats) = step.finished.iter().find(|stats| stats.lane as usize == lane) else {
                assert_eq!((terminal, seen[0]), (&[0.0; 4][..], x));
                continue;
            };
            assert_eq!((stats.episodic_length, stats.episodic_return), (*length, f64::from(*length)));
            assert_eq!(stats.terminated, terminal[0].abs() > 2.4 || terminal[2].abs() > 0.209_439_5);
            assert_eq!((step.terminated[lane], step.truncated[lane]), (stats.terminated, !stats.terminated));
            assert!(stats.terminated || stats.episodic_length == 30);
            assert_eq!(terminal[0], x);
            assert!(seen.iter().all(|value| value.abs() <= 0.05));
            assert!(starts.insert(seen[0].to_bits()), "a start was met twice");
            *length = 0;
            num_terminated += usize::from(stats.terminated);
            num_truncated += usize::from(!stats.terminated);
        }
    }
    assert!(num_terminated > 20 && num_truncated > 5, "{num_terminated} terminated, {num_truncated} truncated");
}

#[test]
fn a_restored_environment_goes_on_bit_for_bit() {
    for id in Task::ALL.into_iter().filter(|id| *id != Task::ProbeNanReward) {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut whole = env(id, 5, 11);
        for _ in 0..230 {
            let actions = draw(&whole, &mut rng);
            whole.step(&actions).expect("step");
        }
        let text = serde_json::to_string(&whole.state()).expect("text");
        let mut resumed = env(id, 5, 11);
        resumed.restore(&serde_json::from_str(&text).expect("state")).expect("restore");
        assert_eq!(resumed.observation(), whole.observation(), "{id}");
        for _ in 0..230 {
            let actions = draw(&whole, &mut rng);
            let expected = whole.step(&actions).expect("step");
            assert_eq!(resumed.step(&actions).expect("step"), expected, "{id}");
            assert_eq!(resumed.observation(), whole.observation(), "{id}");
        }
        assert_eq!(resumed.state(), whole.state(), "{id}");
    }
}

#[test]
fn without_velocities_only_position_and_angle_are_seen() {
    let config = ControlConfig { without_velocities: true, ..ControlConfig::new(Task::CartPole) };
    let (mut part, mut whole) = (VecControlEnv::new(&config, 4, 5).expect("env"), env(Task::CartPole, 4, 5));
    assert_eq!(part.observation_width(), 2);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut num_finished = 0;
    for _ in 0..100 {
        let actions = draw(&whole, &mut rng);
        let (seen, all) = (part.step(&actions).expect("step"), whole.step(&actions).expect("step"));
        let of = |all: &[f32]| -> Vec<f32> { all.chunks(4).flat_map(|row| [row[0], row[2]]).collect() };
        assert_eq!((&seen.finished, &seen.terminal_observation), (&all.finished, &of(&all.terminal_observation)));
        num_finished += all.finished.len();
        assert_eq!(part.observation(), of(whole.observation()));
    }
    assert!(num_finished > 4);
}

#[test]
fn actions_outside_the_space_move_no_lane() {
    for (id, bad) in
        [(Task::CartPole, 2.0), (Task::CartPole, 0.5), (Task::Acrobot, -1.0), (Task::Pendulum, 2.1), (Task::Pendulum, f32::NAN)]
    {
        let mut env = env(id, 3, 0);
        let before = env.state();
        let error = env.step(&[0.0, 0.0, bad]).expect_err("outside");
        assert!(matches!(error, AgentsError::Action { lane: 2, value, .. } if value.to_bits() == bad.to_bits()), "{error}");
        assert!(matches!(env.step(&[0.0; 2]), Err(AgentsError::Shape { found: 2, expected: 3, .. })));
        assert_eq!(env.state(), before);
    }
}

#[test]
fn a_reward_that_is_no_number_is_named_with_its_place() {
    let config = ControlConfig { max_episode_steps: Some(7), ..ControlConfig::new(Task::ProbeNanReward) };
    let mut env = VecControlEnv::new(&config, 2, 42).expect("env");
    for _ in 0..6 {
        env.step(&[0.0, 1.0]).expect("a number");
    }
    let error = env.step(&[0.0, 1.0]).expect_err("not a number");
    assert_eq!(error.to_string(), "probe-nan-reward (seed 42, lane 0) gave reward NaN at step 6 of its episode; the run stops here");
}

#[test]
fn settings_and_checkpoints_that_cannot_work_are_refused() {
    let refused = |config: &ControlConfig, num_envs| match VecControlEnv::new(config, num_envs, 0) {
        Err(AgentsError::Setting { key, .. }) => key,
        other => panic!("expected a refused setting, got {:?}", other.map(|env| env.state())),
    };
    assert_eq!(refused(&ControlConfig::new(Task::CartPole), 0), "num_envs");
    assert_eq!(refused(&ControlConfig { max_episode_steps: Some(0), ..ControlConfig::new(Task::Acrobot) }, 1), "control.max_episode_steps");
    assert_eq!(refused(&ControlConfig { without_velocities: true, ..ControlConfig::new(Task::Pendulum) }, 1), "control.without_velocities");

    let state = env(Task::CartPole, 3, 1).state();
    let broken = |change: &dyn Fn(&mut ControlState)| {
        let mut state = state.clone();
        change(&mut state);
        state
    };
    let cases: [(&str, ControlState); 6] = [
        ("control.id was CartPole-v1", broken(&|state| state.id = Task::Acrobot)),
        ("seed was 1", broken(&|state| state.seed = 2)),
        ("lanes of the checkpoint was 2", broken(&|state| state.lanes.episode.truncate(2))),
        ("state values of the checkpoint was 11", broken(&|state| state.lanes.state.truncate(11))),
        ("state of the checkpoint was inf", broken(&|state| state.lanes.state[5] = f64::INFINITY)),
        ("control.max_episode_steps was 500", broken(&|state| state.lanes.episodic_length[1] = 500)),
    ];
    for (message, broken) in cases {
        let mut env = env(Task::CartPole, 3, 1);
        let error = env.restore(&broken).expect_err("another environment's").to_string();
        assert!(error.contains(message), "{error}");
        assert_eq!(env.state(), state);
    }
}
