//! The supervisor: an embedder's failure in; four re-created from their factory, or the order to save and stop, out.
//!
//! actix's own `Supervisor` starts the same value again and does not catch panics; ours makes new actors from published weights, so a broken value cannot come
//! back. Embedders hold nothing but published weights and are re-created while the run goes on; whoever holds state that only a checkpoint has (agent, buffer,
//! learner) comes back with all others from the newest one (`session.rs`), as often as the same intensity allows.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, Addr, Arbiter, Context, Handler, ResponseFuture};
use grandmodel_agents::{
    actors::{Agent, EmbedderLinks},
    messages::RewireEmbedders,
};
use grandmodel_embedders::{EmbedderKind, EmbeddersError, Published, messages::InstallWeights};
use grandmodel_trainer::{actor::LearnerActor, messages::RewireInstalls};
use tracing::warn;

use crate::messages::{EmbedderFailed, Verdict};

/// How often children may be re-created before the run is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartIntensity {
    /// Restarts allowed within the window.
    pub max_restarts: usize,
    /// The window.
    pub within: Duration,
}

impl Default for RestartIntensity {
    fn default() -> Self {
        Self { max_restarts: 3, within: Duration::from_secs(60) }
    }
}

/// Restarts so far; the pure core of the supervisor.
#[derive(Debug, Default)]
pub struct RestartLog {
    intensity: RestartIntensity,
    restarts: VecDeque<Duration>,
}

impl RestartLog {
    /// An empty log.
    pub fn new(intensity: RestartIntensity) -> Self {
        Self { intensity, restarts: VecDeque::new() }
    }

    /// Whether one more restart at time `now` (since any fixed moment) is within the intensity; if so, it is counted.
    pub fn allow(&mut self, now: Duration) -> bool {
        while self.restarts.front().is_some_and(|at| now.saturating_sub(*at) > self.intensity.within) {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= self.intensity.max_restarts {
            return false;
        }
        self.restarts.push_back(now);
        true
    }
}

/// Recipients of the four embedders: those who ask and those who install.
pub struct EmbedderChildren {
    /// Asked by agents.
    pub links: EmbedderLinks,
    /// Told by the learner, in the order of [`EmbedderKind::ALL`].
    pub installs: Vec<actix::Recipient<InstallWeights>>,
}

/// Makes four new embedders on a thread of their own, with the published weights.
pub type EmbedderFactory = fn(&actix::ArbiterHandle, &Arc<Published>) -> Result<EmbedderChildren, EmbeddersError>;

/// Owns factories and the restart intensity.
pub struct Supervisor {
    factory: EmbedderFactory,
    published: Arc<Published>,
    agent: Addr<Agent>,
    learner: Option<Addr<LearnerActor>>,
    log: RestartLog,
    started: Instant,
    arbiters: Vec<Arbiter>,
}

impl Supervisor {
    /// A supervisor of these actors.
    pub fn new(
        factory: EmbedderFactory,
        published: Arc<Published>,
        agent: Addr<Agent>,
        learner: Option<Addr<LearnerActor>>,
        intensity: RestartIntensity,
    ) -> Self {
        // The shell is where the clock enters; the log takes the time as an argument.
        #[allow(clippy::disallowed_methods)]
        let started = Instant::now();
        Self { factory, published, agent, learner, log: RestartLog::new(intensity), started, arbiters: Vec::new() }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;
}

impl Handler<EmbedderFailed> for Supervisor {
    type Result = ResponseFuture<Verdict>;

    fn handle(&mut self, failed: EmbedderFailed, _: &mut Context<Self>) -> Self::Result {
        let stop = |reason: String| -> Self::Result { Box::pin(std::future::ready(Verdict::Stop { reason })) };
        if !self.log.allow(self.started.elapsed()) {
            let RestartIntensity { max_restarts, within } = self.log.intensity;
            return stop(format!("{max_restarts} restarts within {} s were not enough: {}", within.as_secs(), failed.cause));
        }
        let arbiter = Arbiter::new();
        let children = match (self.factory)(&arbiter.handle(), &self.published) {
            Ok(children) => children,
            Err(error) => return stop(format!("embedders could not be re-created: {error}")),
        };
        self.arbiters.push(arbiter);
        warn!(cause = %failed.cause, version = ?self.published.policy_version(EmbedderKind::Structure), "embedders re-created");
        let (agent, learner) = (self.agent.clone(), self.learner.clone());
        Box::pin(async move {
            let rewired = agent.send(RewireEmbedders { links: children.links }).await;
            let learner = match learner {
                Some(learner) => learner.send(RewireInstalls { embedders: children.installs }).await,
                None => Ok(()),
            };
            match rewired.and(learner) {
                Ok(()) => Verdict::Restarted,
                Err(error) => Verdict::Stop { reason: format!("an actor did not take its new links: {error}") },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_beyond_the_intensity_are_refused_until_the_window_has_passed() {
        let mut log = RestartLog::new(RestartIntensity { max_restarts: 2, within: Duration::from_secs(10) });
        let at = |log: &mut RestartLog, s| log.allow(Duration::from_secs(s));
        assert!(at(&mut log, 0) && at(&mut log, 5));
        assert!(!at(&mut log, 10));
        assert!(at(&mut log, 11)); // the one of second 0 is out of the window
        assert!(!at(&mut log, 12));
    }
}
