//! Learning on control tasks: whole rounds of PPO, updates of SAC.

use std::{hint::black_box, sync::Arc};

use anyhow::{Context, Result};
use grandmodel_agents::{
    config::ModelConfig,
    control::{ControlConfig, Task, VecControlEnv},
    head::{Head, HeadShape},
    heads::{ActorCritic, Mode},
    lanes::{LaneEnv, Lanes, Scaling},
    net::Activation,
    rollout::{CollectScratch, LaneMemory, collect},
    space::ActionSpace,
};
use grandmodel_buffers::{PolicyVersion, replay::ReplayBatch};
use grandmodel_memory::{BatchPlan, plan::Checkpointing};
use grandmodel_trainer::{PpoConfig, SacConfig, learner::Learner, offpolicy::OffPolicyLearner, sac::SacLearner};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Bench;

/// Rows of this group.
///
/// # Errors
/// Settings that cannot work.
pub fn rows(bench: &mut Bench) -> Result<()> {
    if !bench.wants("control") {
        return Ok(());
    }
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().context("the worker pool of one thread did not start")?;
    let threads = rayon::current_num_threads();
    ppo(bench, "control: PPO CartPole, one thread", &alone)?;
    let mut rounds = Rounds::new()?;
    bench.row(&format!("control: PPO CartPole, {threads} threads"), "steps", rounds.steps(), || rounds.round());
    let mut updates = Updates::new();
    alone.install(|| bench.row("control: SAC Pendulum, one thread", "updates", 1, || updates.update()));
    let mut updates = Updates::new();
    bench.row(&format!("control: SAC Pendulum, {threads} threads"), "updates", 1, || updates.update());
    Ok(())
}

fn ppo(bench: &mut Bench, name: &str, pool: &rayon::ThreadPool) -> Result<()> {
    let mut rounds = Rounds::new()?;
    let steps = rounds.steps();
    pool.install(|| bench.row(name, "steps", steps, || rounds.round()));
    Ok(())
}

/// CleanRL's settings of `ppo.py`: 4 lanes of 128 steps, 64-64 tanh for policy and value each, 4 passes of 4 optimiser steps.
struct Rounds {
    lanes: Lanes,
    shape: ActorCritic,
    learner: Learner,
    memory: LaneMemory,
    rng: ChaCha8Rng,
    scratch: CollectScratch,
}

impl Rounds {
    fn new() -> Result<Self> {
        let ppo = PpoConfig {
            // Without end: the step size stays.
            total_timesteps: 1 << 40,
            num_envs: 4,
            num_steps: 128,
            num_minibatches: 4,
            learning_rate: 2.5e-4,
            gamma: 0.99,
            gae_lambda: 0.95,
            clip_vloss: true,
            ..PpoConfig::default()
        };
        let env = VecControlEnv::new(&ControlConfig::new(Task::CartPole), ppo.num_envs as usize, 1)?;
        let lanes = Lanes::new(LaneEnv::Control(env), Scaling { rewards: false, observations: false, gamma: ppo.gamma });
        let model = ModelConfig { hidden: Some(vec![64, 64]), ..ModelConfig::default() };
        let shape = ActorCritic::new(&model.actor_critic(lanes.space(), lanes.observation_width(), false));
        let weights = shape.init(model.init, model.log_std_init, &mut ChaCha8Rng::seed_from_u64(1));
        let plan =
            BatchPlan { micro_batch: ppo.effective_batch(), accumulation_steps: 1, checkpointing: Checkpointing::Off, predicted_bytes: 0 };
        let learner = Learner::new(None, shape.clone(), &weights, ppo, plan, 1);
        let (memory, scratch) = (LaneMemory::default(), CollectScratch::default());
        Ok(Self { lanes, shape, learner, memory, rng: ChaCha8Rng::seed_from_u64(2), scratch })
    }

    fn steps(&self) -> usize {
        self.learner.ppo().batch_size() as usize
    }

    fn round(&mut self) {
        let Self { lanes, shape, learner, memory, rng, scratch } = self;
        let head = Head { shape: HeadShape::ActorCritic(shape.clone()), parameters: Arc::from(learner.parameters()) };
        let (num_steps, version) = (learner.ppo().num_steps as usize, PolicyVersion(learner.state().update));
        let collected = collect(lanes, &head, None, num_steps, Mode::Sample, version, memory, rng, scratch);
        let (block, _) = collected.expect("Invariant: CartPole never fails");
        black_box(learner.learn(&block)).expect("Invariant: PPO does not diverge on CartPole");
    }
}

/// rl-baselines3-zoo's settings of SAC on Pendulum: 256-256, batches of 256.
struct Updates {
    learner: SacLearner,
    batch: ReplayBatch,
}

impl Updates {
    fn new() -> Self {
        let config = SacConfig { policy_lr: 1e-3, q_lr: 1e-3, ..SacConfig::default() };
        let shape = config.shape(3, false, &[256, 256], Activation::Relu, ActionSpace::Box { width: 1, low: -2.0, high: 2.0 });
        let (len, mut rng) = (config.batch_size as usize, ChaCha8Rng::seed_from_u64(1));
        let mut draw = |len: usize| (0..len).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f32>>();
        let batch = ReplayBatch {
            batch: len,
            observation_width: 3,
            action_width: 1,
            observation: draw(len * 3),
            action: draw(len),
            reward: draw(len),
            discount: vec![0.99; len],
            next_observation: draw(len * 3),
            weight: vec![1.0; len],
            reward_scale: 1.0,
            ..ReplayBatch::default()
        };
        Self { learner: SacLearner::new(config, shape, 1), batch }
    }

    fn update(&mut self) {
        black_box(self.learner.update(&self.batch, None, 0)).expect("Invariant: SAC does not diverge on bounded rewards");
    }
}
