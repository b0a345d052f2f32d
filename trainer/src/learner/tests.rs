//! Learning on tasks whose answer is known beforehand; each fails when the part of the algorithm that its name tells is wrong.

use std::sync::Arc;

use grandmodel_agents::{
    config::ModelConfig,
    control::{ControlConfig, Task, VecControlEnv},
    evaluate::evaluate,
    head::{Head, HeadScratch, HeadShape},
    heads::{Memory, Mode},
    lanes::{LaneEnv, Lanes, Scaling},
    net::Init,
    rollout::{CollectScratch, LaneMemory, collect},
    space::ActionSpace,
};
use grandmodel_buffers::{PolicyVersion, block::flags};

use grandmodel_memory::plan::Checkpointing;

use super::*;
use crate::golden;

const SEEDS: [u64; 3] = [1, 2, 3];

/// Lanes and a learner that take turns.
struct Run {
    control: ControlConfig,
    lanes: Lanes,
    shape: ActorCritic,
    learner: Learner,
    memory: LaneMemory,
    rng: ChaCha8Rng,
    scratch: CollectScratch,
}

impl Run {
    fn new(control: ControlConfig, model: &ModelConfig, ppo: &PpoConfig, seed: u64) -> Self {
        ppo.validate(false).expect("settings that work");
        let env = VecControlEnv::new(&control, ppo.num_envs as usize, seed).expect("a task that works");
        let scaling = Scaling { rewards: model.normalize_reward, observations: model.normalize_observation, gamma: ppo.gamma };
        let lanes = Lanes::new(LaneEnv::Control(env), scaling);
        let shape = ActorCritic::new(&model.actor_critic(lanes.space(), lanes.observation_width(), false));
        let weights = shape.init(model.init, model.log_std_init, &mut ChaCha8Rng::seed_from_u64(seed));
        let plan =
            BatchPlan { micro_batch: ppo.effective_batch(), accumulation_steps: 1, checkpointing: Checkpointing::Off, predicted_bytes: 0 };
        let learner = Learner::new(None, shape.clone(), &weights, ppo.clone(), plan, seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(1);
        Self { control, lanes, shape, learner, memory: LaneMemory::default(), rng, scratch: CollectScratch::default() }
    }

    fn head(&self) -> Head {
        Head { shape: HeadShape::ActorCritic(self.shape.clone()), parameters: Arc::from(self.learner.parameters()) }
    }

    fn collect(&mut self) -> TransitionBlock {
        let (head, steps) = (self.head(), self.learner.ppo.num_steps as usize);
        let version = PolicyVersion(self.learner.state.update);
        let Self { lanes, memory, rng, scratch, .. } = self;
        collect(lanes, &head, None, steps, Mode::Sample, version, memory, rng, scratch).expect("a rollout").0
    }

    fn round(&mut self) -> LearnReport {
        let block = self.collect();
        self.learner.learn(&block).expect("a round of learning")
    }

    /// The whole run.
    fn train(mut self) -> Self {
        (0..self.learner.ppo.num_updates()).for_each(|_| _ = self.round());
        self
    }

    /// Value of one observation at the start of an episode.
    fn value(&self, observation: f32) -> f32 {
        let mut memory = Memory { lanes: 1, starts: &[true], state: &mut vec![0.0; self.shape.state_width()] };
        self.head().values(&[observation], None, 1, &mut memory, &mut HeadScratch::default())[0]
    }

    /// Mean return of deterministic episodes.
    fn score(&self) -> f64 {
        let episodes = evaluate(&self.head(), &self.control, self.lanes.normalizer(), 100, 1000).expect("an evaluation");
        episodes.iter().map(|episode| episode.episodic_return).sum::<f64>() / episodes.len() as f64
    }
}

/// A small network.
fn model() -> ModelConfig {
    ModelConfig { hidden: Some(vec![16]), ..ModelConfig::default() }
}

/// Settings for tasks of a few steps: large steps, short rollouts.
fn ppo(total_timesteps: u64) -> PpoConfig {
    PpoConfig {
        total_timesteps,
        num_envs: 8,
        num_steps: 16,
        num_minibatches: 2,
        learning_rate: 1e-2,
        gamma: 0.9,
        gae_lambda: 0.95,
        ..PpoConfig::default()
    }
}

fn probe(id: Task, seed: u64) -> Run {
    Run::new(ControlConfig::new(id), &model(), &ppo(8_000), seed).train()
}

fn assert_values(id: Task, expected: &[(f32, f32)], tolerance: f32) {
    for seed in SEEDS {
        let run = probe(id, seed);
        for (observation, expected) in expected {
            let found = run.value(*observation);
            assert!((found - expected).abs() < tolerance, "{id}, seed {seed}: value of {observation} is {found}, expected {expected}");
        }
    }
}

fn assert_score(id: Task, least: f64) {
    for seed in SEEDS {
        let found = probe(id, seed).score();
        assert!(found >= least, "{id}, seed {seed}: mean return {found}, expected at least {least}");
    }
}

#[test]
fn the_value_of_a_constant_reward_is_that_reward() {
    assert_values(Task::ProbeConstantReward, &[(0.0, 1.0)], 0.05);
    assert_values(Task::ProbeConstantRewardContinuous, &[(0.0, 1.0)], 0.05);
}

#[test]
fn values_follow_the_observation() {
    assert_values(Task::ProbeRewardByObservation, &[(-1.0, -1.0), (1.0, 1.0)], 0.1);
}

#[test]
fn a_later_reward_is_discounted() {
    // gamma 0.9
    assert_values(Task::ProbeDelayedReward, &[(0.0, 0.9), (1.0, 1.0)], 0.05);
    assert_values(Task::ProbeDelayedRewardContinuous, &[(0.0, 0.9), (1.0, 1.0)], 0.05);
}

#[test]
fn a_time_limit_is_no_end() {
    // 1 / (1 - 0.9) = 10; taken for an end it would be the mean of 1, 1.9, 2.71 and 3.439: 2.26.
    assert_values(Task::ProbeTimeLimit, &[(0.0, 10.0)], 0.7);
}

#[test]
fn the_better_action_is_found() {
    assert_score(Task::ProbeRewardByAction, 1.0);
    // Within 0.14 of the best action.
    assert_score(Task::ProbeRewardByActionContinuous, -0.02);
}

#[test]
fn the_better_action_of_each_observation_is_found() {
    assert_score(Task::ProbeActionByObservation, 1.0);
    assert_score(Task::ProbeActionByObservationContinuous, -0.02);
}

#[test]
fn an_lstm_recalls_what_a_network_without_one_cannot() {
    let score = |lstm, seed| {
        let model = ModelConfig { lstm, ..model() };
        Run::new(ControlConfig::new(Task::ProbeRecall), &model, &ppo(12_000), seed).train().score()
    };
    for seed in SEEDS {
        let found = score(Some(8), seed);
        assert!(found >= 1.0, "seed {seed}: mean return {found}, expected 1");
        // The last observation is always 0, so one action meets 100 fair cues: standard deviation 0.1.
        let found = score(None, seed);
        assert!(found.abs() < 0.5, "seed {seed}: mean return {found} without memory, expected about 0");
    }
}

#[test]
fn the_policy_that_acted_is_the_policy_that_learns() {
    // Before the first step of a rollout every ratio is 1, also over ends of episodes, time limits and states carried from rollout to rollout.
    let ppo = PpoConfig { num_minibatches: 1, update_epochs: 1, ..ppo(2_000) };
    let control = ControlConfig { without_velocities: true, max_episode_steps: Some(20), ..ControlConfig::new(Task::CartPole) };
    for lstm in [None, Some(8)] {
        for shared in [false, true] {
            let model = ModelConfig { lstm, shared: Some(shared), init: Init::Uniform, normalize_observation: true, ..model() };
            let mut run = Run::new(control.clone(), &model, &ppo, 1);
            for _ in 0..10 {
                let losses = run.round().losses;
                let loss = |name: &str| losses.iter().find(|(found, _)| *found == name).expect("a loss").1;
                assert!(loss("approx_kl").abs() < 1e-6 && loss("clipfrac") == 0.0, "{losses:?}");
            }
        }
    }
}

/// The settings of rl-baselines3-zoo for CartPole, in larger steps over a shorter run.
fn cart_pole(total_timesteps: u64, seed: u64) -> Run {
    let ppo = PpoConfig {
        total_timesteps,
        num_envs: 8,
        num_steps: 32,
        update_epochs: 20,
        num_minibatches: 1,
        learning_rate: 2e-3,
        gamma: 0.98,
        gae_lambda: 0.8,
        anneal_clip_coef: true,
        ent_coef: 0.0,
        vf_coef: 1.0,
        ..PpoConfig::default()
    };
    Run::new(ControlConfig::new(Task::CartPole), &ModelConfig { hidden: Some(vec![32, 32]), ..model() }, &ppo, seed)
}

#[test]
fn a_short_run_keeps_the_pole_up() {
    // Random actions keep it up for about 22 steps; the limit is 500.
    let (mut before, mut after) = (0.0, 0.0);
    for seed in SEEDS {
        before += cart_pole(20_000, seed).score() / SEEDS.len() as f64;
        let score = cart_pole(20_000, seed).train().score();
        assert!(score > 100.0, "seed {seed}: mean return {score}");
        after += score / SEEDS.len() as f64;
    }
    assert!(before < 80.0 && after > 250.0, "mean return {before} before learning, {after} after");
}

#[test]
fn three_passes_over_a_rollout_end_where_those_of_stable_baselines3_do() {
    for (name, space) in [
        ("ppo_discrete", ActionSpace::Discrete { num_actions: 3 }),
        ("ppo_continuous", ActionSpace::Box { width: 2, low: -1.0, high: 1.0 }),
    ] {
        let file = golden::read(name);
        let column = |name: &str| golden::floats(&file["batch"][name]);
        // Episodes of one step: the advantage is reward - value, the return is the reward.
        let block = TransitionBlock {
            num_steps: 8,
            num_envs: 4,
            observation_width: 4,
            action_width: space.width() as u16,
            observation: column("observation"),
            action: column("action"),
            log_prob: column("log_prob"),
            value: column("value"),
            reward: column("return"),
            flags: vec![flags::TERMINATED; 32],
            last_value: vec![0.0; 4],
            reward_scale: 1.0,
            ..TransitionBlock::default()
        };
        // The reference's value loss is the squared error, ours half of it, so the weight is 1 for its 0.5.
        let ppo = PpoConfig { num_minibatches: 1, update_epochs: 3, anneal_lr: false, vf_coef: 1.0, ..ppo(32) };
        let ppo = PpoConfig { learning_rate: file["settings"]["learning_rate"].as_f64().expect("a number"), ..ppo };
        let model = ModelConfig { hidden: Some(vec![16, 16]), ..model() };
        let shape = ActorCritic::new(&model.actor_critic(space, 4, false));
        let plan = BatchPlan { micro_batch: 32, accumulation_steps: 1, checkpointing: Checkpointing::Off, predicted_bytes: 0 };
        let mut learner = Learner::new(None, shape, &golden::actor_critic(&file["before"]), ppo, plan, 1);
        learner.learn(&block).expect("a round of learning");
        golden::assert_close(name, learner.parameters(), &golden::actor_critic(&file["steps"][2]["after"]), 1e-5);
    }
}

#[test]
fn the_seed_alone_decides() {
    let bits = |seed| cart_pole(1_024, seed).train().learner.parameters().iter().map(|p| p.to_bits()).collect::<Vec<u32>>();
    assert_eq!(bits(1), bits(1));
    assert_ne!(bits(1), bits(2));
}

#[test]
fn a_restored_learner_goes_on_bit_by_bit() {
    let mut run = cart_pole(2_048, 4);
    run.round();
    let (snapshot, block) = (run.learner.snapshot(), run.collect());
    let mut other = cart_pole(2_048, 5).learner;
    other.restore(snapshot).expect("the same network");
    assert_eq!(run.learner.learn(&block).expect("a round"), other.learn(&block).expect("a round"));
    assert_eq!(run.learner.snapshot(), other.snapshot());
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_the_weights_stay() {
    let mut run = cart_pole(2_048, 6);
    let mut block = run.collect();
    block.reward[3] = f32::NAN;
    let before = run.learner.parameters().to_vec();
    let error = run.learner.learn(&block).expect_err("no number").to_string();
    assert!(error.contains("the loss") && error.contains("update 0"), "{error}");
    assert_eq!(before, run.learner.parameters());
}

#[test]
fn a_shuffle_keeps_every_index_and_depends_on_the_seed() {
    let shuffled = |seed| {
        let mut order: Vec<u32> = (0..100).collect();
        shuffle(&mut order, &mut ChaCha8Rng::seed_from_u64(seed));
        order
    };
    let mut sorted = shuffled(1);
    sorted.sort_unstable();
    assert_eq!((0..100).collect::<Vec<u32>>(), sorted);
    assert_eq!(shuffled(1), shuffled(1));
    assert_ne!(shuffled(1), shuffled(2));
}

#[test]
fn explained_variance_is_1_for_the_returns_themselves_and_0_for_a_constant() {
    assert_eq!(1.0, explained_variance(&[1.0, 2.0], &[1.0, 2.0]));
    assert_eq!(0.0, explained_variance(&[5.0, 5.0], &[1.0, 2.0]));
}

#[test]
fn rounds_are_the_same_bytes_in_one_thread_and_in_two() {
    let rounds = || {
        let mut run = Run::new(ControlConfig::new(Task::CartPole), &model(), &PpoConfig { num_envs: 4, num_steps: 150, ..ppo(3_000) }, 3);
        let reports: Vec<LearnReport> = (0..3).map(|_| run.round()).collect();
        (run.learner.parameters().to_vec(), reports)
    };
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(rounds);
    assert_eq!(alone, rounds());
}
