//! Evaluation on control tasks: a head and a task in; finished episodes out. Best actions only, every episode in a lane of its own, nothing is learned from.

use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use crate::{
    AgentsError,
    control::{ControlConfig, VecControlEnv},
    episode::EpisodeStats,
    head::{Head, HeadScratch},
    heads::{Acted, Memory, Mode, Seen},
    normalize::ObservationNormalizer,
    space::ActionSpace,
};

/// Episodes that run side by side.
const LANES_MAX: usize = 1024;

/// Runs `num_episodes` episodes to their ends; the first episode of each lane counts, so short ones are not preferred.
///
/// # Errors
/// Settings that cannot work, a head of another width, the environment's errors.
pub fn evaluate(
    head: &Head,
    control: &ControlConfig,
    normalizer: Option<&ObservationNormalizer>,
    num_episodes: usize,
    seed: u64,
) -> Result<Vec<EpisodeStats>, AgentsError> {
    let (found, expected) = (control.observation_width(), head.shape.observation_width());
    if found != expected {
        return Err(AgentsError::Shape { what: "width of an observation", found, expected });
    }
    let space = control.id.action_space();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut scratch, mut acted, mut scaled) = (HeadScratch::default(), Acted::default(), Vec::new());
    let mut state = vec![0.0; num_episodes * head.shape.state_width()];
    let starts = vec![false; num_episodes];
    episodes(control, num_episodes, seed, |observation, actions| {
        let observation = match normalizer {
            Some(normalizer) => {
                normalizer.scale(observation, &mut scaled);
                &scaled[..]
            }
            None => observation,
        };
        let seen = Seen { lanes: num_episodes, observation, ahead: None };
        let mut memory = Memory { lanes: num_episodes, starts: &starts, state: &mut state };
        head.act(&seen, &mut memory, Mode::Greedy, &mut rng, &mut scratch, &mut acted);
        actions.extend(acted.action.iter().map(|action| match space {
            ActionSpace::Discrete { .. } => *action,
            ActionSpace::Box { low, high, .. } => head.shape.squash().to_space(*action, low, high),
        }));
    })
}

/// As [`evaluate`], with uniform actions: what a policy that knows nothing gets.
///
/// # Errors
/// As [`evaluate`].
pub fn random_policy(control: &ControlConfig, num_episodes: usize, seed: u64) -> Result<Vec<EpisodeStats>, AgentsError> {
    let space = control.id.action_space();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    episodes(control, num_episodes, seed, |_, actions| {
        actions.extend((0..num_episodes * space.width()).map(|_| match space {
            ActionSpace::Discrete { num_actions } => rng.random_range(0..num_actions) as f32,
            ActionSpace::Box { low, high, .. } => rng.random_range(low..=high),
        }));
    })
}

fn episodes(
    control: &ControlConfig,
    num_episodes: usize,
    seed: u64,
    mut act: impl FnMut(&[f32], &mut Vec<f32>),
) -> Result<Vec<EpisodeStats>, AgentsError> {
    if !(1..=LANES_MAX).contains(&num_episodes) {
        let expected = format!("from 1 to {LANES_MAX} episodes");
        return Err(AgentsError::Setting { key: "num_episodes", value: num_episodes.to_string(), expected });
    }
    let mut env = VecControlEnv::new(control, num_episodes, seed)?;
    let mut finished: Vec<Option<EpisodeStats>> = vec![None; num_episodes];
    let mut actions = Vec::new();
    while finished.iter().any(Option::is_none) {
        actions.clear();
        act(env.observation(), &mut actions);
        for episode in &env.step(&actions)?.finished {
            finished[episode.lane as usize].get_or_insert(*episode);
        }
    }
    Ok(finished.into_iter().flatten().collect())
}
