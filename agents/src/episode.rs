//! What one step of an environment of many lanes did, and what is told of a finished episode. Markets and control tasks answer alike.

/// One step, one column per lane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepResult {
    /// Unscaled rewards, `[num_envs]`.
    pub rewards: Vec<f32>,
    /// The episode ended in the environment's own terms: no bootstrap.
    pub terminated: Vec<bool>,
    /// The episode's time was up: bootstrap from the terminal observation.
    pub truncated: Vec<bool>,
    /// Observations that ended an episode, `[num_envs, observation_width]`; 0 where the lane goes on.
    pub terminal_observation: Vec<f32>,
    /// Episodes that ended in this step.
    pub finished: Vec<EpisodeStats>,
}

impl StepResult {
    /// Room for the lanes.
    pub fn new(num_envs: usize, observation_width: usize) -> Self {
        Self {
            rewards: vec![0.0; num_envs],
            terminated: vec![false; num_envs],
            truncated: vec![false; num_envs],
            terminal_observation: vec![0.0; num_envs * observation_width],
            finished: Vec::with_capacity(num_envs),
        }
    }
}

/// One finished episode.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct EpisodeStats {
    /// Lane it ran in.
    pub lane: u32,
    /// Sum of its unscaled rewards.
    pub episodic_return: f64,
    /// Steps.
    pub episodic_length: u32,
    /// Ended in the environment's own terms, not by a time limit.
    pub terminated: bool,
}
