//! Dynamics against transitions that Gymnasium itself recorded, and against numbers by hand.

mod lanes;
mod probes;

use std::path::{Path, PathBuf};

use super::*;

/// The five tasks that Gymnasium has.
const TASKS: [Task; 5] = [Task::CartPole, Task::Acrobot, Task::Pendulum, Task::MountainCar, Task::MountainCarContinuous];
const TOLERANCE: f64 = 1e-6;

fn env(id: Task, num_envs: usize, seed: u64) -> VecControlEnv {
    VecControlEnv::new(&ControlConfig::new(id), num_envs, seed).expect("env")
}

/// Columns of a recording; their format is told in `tests/gymnasium_golden.py`.
struct Recording {
    header: Vec<String>,
    /// One vector a column.
    columns: Vec<Vec<f64>>,
}

impl Recording {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut lines = text.lines();
        let header: Vec<String> = lines.next().expect("header").split(',').map(String::from).collect();
        let mut columns = vec![Vec::new(); header.len()];
        for line in lines {
            let mut fields = line.split(',');
            for column in &mut columns {
                column.push(fields.next().expect("a field").parse().expect("a number"));
            }
            assert_eq!(fields.next(), None, "{line}");
        }
        Self { header, columns }
    }

    fn len(&self) -> usize {
        self.columns[0].len()
    }

    fn column(&self, name: &str) -> &[f64] {
        let index = self.header.iter().position(|header| header == name).unwrap_or_else(|| panic!("no column {name}"));
        &self.columns[index]
    }

    /// Columns `prefix0`, `prefix1` and so on.
    fn group(&self, prefix: &str) -> Vec<&[f64]> {
        let name = |index: &usize| format!("{prefix}{index}");
        (0..).map(|index| name(&index)).take_while(|name| self.header.contains(name)).map(|name| self.column(&name)).collect()
    }
}

/// Puts every transition into a lane of its own, steps all once; returns the largest deviation of a state, an observation or a reward.
fn largest_deviation(id: Task, recording: &Recording) -> f64 {
    let num_envs = recording.len();
    let mut env = env(id, num_envs, 0);
    let mut state = env.state();
    state.lanes.state = recording.group("state_").concat();
    state.lanes.episodic_length = recording.column("step").iter().map(|step| *step as u32).collect();
    env.restore(&state).expect("a recorded state");
    let actions: Vec<f32> = recording.column("action").iter().map(|action| *action as f32).collect();
    let step = env.step(&actions).expect("recorded actions").clone();
    let lanes = env.state().lanes;

    let mut rewards = lanes.episodic_return.clone();
    let ended: Vec<bool> = (0..num_envs).map(|lane| step.terminated[lane] || step.truncated[lane]).collect();
    for stats in &step.finished {
        rewards[stats.lane as usize] = stats.episodic_return;
    }
    let (terminated, truncated) = (recording.column("terminated"), recording.column("truncated"));
    let mut largest = 0.0_f64;
    let mut compare = |lane: usize, what: &str, found: f64, expected: f64| {
        let deviation = (found - expected).abs();
        assert!(deviation <= TOLERANCE, "{id} transition {lane}: {what} was {found}, Gymnasium gave {expected}");
        largest = largest.max(deviation);
    };
    let (next_state, observation, reward) = (recording.group("next_state_"), recording.group("observation_"), recording.column("reward"));
    let width = env.observation_width();
    assert_eq!((observation.len(), next_state.len() * num_envs), (width, lanes.state.len()), "{id}: columns of the recording");
    for lane in 0..num_envs {
        assert_eq!(step.terminated[lane], terminated[lane] == 1.0, "{id} transition {lane}");
        assert_eq!(step.truncated[lane], truncated[lane] == 1.0 && terminated[lane] == 0.0, "{id} transition {lane}");
        compare(lane, "reward", rewards[lane], reward[lane]);
        assert_eq!(step.rewards[lane], rewards[lane] as f32);
        let seen = if ended[lane] { &step.terminal_observation } else { env.observation() };
        for (index, column) in observation.iter().enumerate() {
            // Recorded as the shortest text of an f32, so it is one only after rounding.
            compare(lane, "observation", f64::from(seen[lane * width + index]), f64::from(column[lane] as f32));
        }
        for (index, column) in next_state.iter().enumerate().filter(|_| !ended[lane]) {
            compare(lane, "state", lanes.state[index * num_envs + lane], column[lane]);
        }
    }
    largest
}

fn compare_with(folder: &Path) {
    for id in TASKS {
        let recording = Recording::read(&folder.join(format!("{id}.csv")));
        let ends = |name| recording.column(name).contains(&1.0);
        assert!(id == Task::Pendulum || ends("terminated"), "{id}: the recording holds no end");
        assert!(ends("truncated") || id == Task::MountainCarContinuous || id == Task::Acrobot, "{id}: the recording reaches no time limit");
        let largest = largest_deviation(id, &recording);
        println!("{id}: {} transitions, largest deviation {largest:.1e}", recording.len());
    }
}

#[test]
fn committed_transitions_equal_gymnasiums() {
    compare_with(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gymnasium")));
}

#[test]
fn a_hundred_thousand_transitions_a_task_equal_gymnasiums() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/gymnasium"));
    if folder.is_dir() {
        compare_with(&folder);
    } else {
        println!("not compared: no folder target/gymnasium; agents/tests/gymnasium_golden.py makes it with --transitions 100000");
    }
}

/// One step of one lane from a given state; the next state and the reward.
fn step_from(id: Task, state: &[f64], action: f32) -> (Vec<f64>, f64) {
    let mut env = env(id, 1, 0);
    let mut at = env.state();
    at.lanes.state = state.to_vec();
    env.restore(&at).expect("a state");
    env.step(&[action]).expect("an action");
    let lanes = env.state().lanes;
    (lanes.state, lanes.episodic_return[0])
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < TOLERANCE), "{found:?}, by hand {expected:?}");
}

#[test]
fn a_step_of_each_task_by_hand() {
    // Upright and still, pushed right: temp = 10 / 1.1 = 9.090909; the pole turns by -temp / (0.5 (4/3 - 0.1 / 1.1)) = -14.634146, the cart
    // by temp + 0.05 * 14.634146 / 1.1 = 9.756098; both times 0.02 s; x and the angle move with the velocities before, which were 0.
    let (state, reward) = step_from(Task::CartPole, &[0.0; 4], 1.0);
    assert_close(&state, &[0.0, 0.195_122, 0.0, -0.292_683]);
    assert_close(&[reward], &[1.0]);

    // Hanging still without torque is an equilibrium.
    let (state, reward) = step_from(Task::Acrobot, &[0.0; 4], 1.0);
    assert_close(&state, &[0.0; 4]);
    assert_close(&[reward], &[-1.0]);

    // Level (pi/2) at speed 7.5, torque 2: cost 1.570796^2 + 0.1 * 56.25 + 0.001 * 4 = 8.096401 from before the step; speed 7.5 + (15 + 6)
    // 0.05 = 8.55, held to 8; angle 1.570796 + 8 * 0.05 = 1.970796.
    let (state, reward) = step_from(Task::Pendulum, &[std::f64::consts::FRAC_PI_2, 7.5], 2.0);
    assert_close(&state, &[1.970_796, 8.0]);
    assert_close(&[reward], &[-8.096_401]);

    // Left wall, pushed left at full speed: the car stops there.
    let (state, reward) = step_from(Task::MountainCar, &[-1.19, -0.07], 0.0);
    assert_close(&state, &[-1.2, 0.0]);
    assert_close(&[reward], &[-1.0]);

    // Force 0.5 at the bottom, cos(3 * -0.5) = 0.070737: velocity 0.5 * 0.0015 - 0.0025 * 0.070737 = 0.000573; price 0.1 * 0.25.
    let (state, reward) = step_from(Task::MountainCarContinuous, &[-0.5, 0.0], 0.5);
    assert_close(&state, &[-0.499_427, 0.000_573]);
    assert_close(&[reward], &[-0.025]);
}

#[test]
fn an_acrobot_turns_no_faster_than_its_limits() {
    let limits = [4.0 * std::f64::consts::PI, 9.0 * std::f64::consts::PI];
    let mut num_held = [0; 2];
    for turn in 0..64 {
        let (theta1, theta2) = (f64::from(turn % 8) * 0.7 - 2.5, f64::from(turn / 8) * 0.7 - 2.5);
        let (state, _) = step_from(Task::Acrobot, &[theta1, theta2, limits[0], limits[1]], 2.0);
        for (velocity, (limit, held)) in state[2..].iter().zip(limits.iter().zip(&mut num_held)) {
            assert!(velocity.abs() <= *limit, "{state:?}");
            *held += usize::from(velocity.abs() == *limit);
        }
    }
    assert!(num_held.iter().all(|held| *held > 0 && *held < 64), "{num_held:?}");
}
