//! Control tasks through every actor, and all three algorithms: same seed, same bytes, also when the run was interrupted; several seeds at once; errors of an
//! environment. And the canaries on a small market.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{
    process::{Finished, grandmodel},
    runs::{copy_folder, entries, only_run},
    walks::{assert_same_learned, learned},
};

/// Steps of a run, and between its two checkpoints.
const STEPS: u64 = 2048;
const HALF: u64 = 1024;

fn config(runs: &Path, seed: u64, rest: &str) -> String {
    format!(
        "name = \"small\"\nseed = {seed}\nruns = \"{}\"\n[train]\neval_every = {HALF}\neval_episodes = 4\ncheckpoint_every = {HALF}\nlog_every = 512\n{rest}",
        runs.display()
    )
}

const PPO: &str = "[control]\nid = \"CartPole-v1\"\n[ppo]\ntotal_timesteps = 2048\nnum_envs = 4\nnum_steps = 128\nnum_minibatches = 4\n";
const LSTM: &str = "[control]\nid = \"CartPole-v1\"\nwithout_velocities = true\n[model]\nlstm = 8\nhidden = [8]\nnormalize_observation = true\nnormalize_reward = true\n[ppo]\ntotal_timesteps = 2048\nnum_envs = 4\nnum_steps = 128\nnum_minibatches = 2\n";
const QRDQN: &str = "[control]\nid = \"Acrobot-v1\"\n[model]\nhidden = [16]\n[qrdqn]\ntotal_timesteps = 2048\nnum_envs = 2\ntrain_frequency = 4\ngradient_steps = 2\nbatch_size = 32\nbuffer_size = 1024\nlearning_starts = 128\nn_step = 3\nnum_quantiles = 5\n[replay]\nsampling = { prioritised = {} }\n";
const SAC: &str = "[control]\nid = \"Pendulum-v1\"\n[model]\nhidden = [16, 16]\nactivation = \"relu\"\n[sac]\ntotal_timesteps = 2048\nbatch_size = 32\nbuffer_size = 1024\nlearning_starts = 128\n";
const SDE: &str = "[control]\nid = \"MountainCarContinuous-v0\"\n[model]\nhidden = [16, 16]\nactivation = \"relu\"\n[sac]\ntotal_timesteps = 2048\nbatch_size = 32\nbuffer_size = 1024\nlearning_starts = 128\ntrain_frequency = 32\ngradient_steps = 8\nuse_sde = true\n";

fn train(folder: &Path, seed: u64, rest: &str) -> PathBuf {
    let path = folder.join(format!("{seed}.toml"));
    let runs = folder.join(format!("runs-{seed}"));
    fs::write(&path, config(&runs, seed, rest)).unwrap();
    grandmodel(&["train", path.to_str().unwrap()]).expect_success("train");
    only_run(&runs)
}

fn checkpoint(run: &Path, step: u64) -> PathBuf {
    run.join(format!("checkpoints/step-{step:012}"))
}

/// Same seed, same bytes; another seed, others; resumed from half way, the same.
fn repeats_and_resumes(rest: &str) {
    let [first, second] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let (one, again) = (train(first.path(), 1, rest), train(second.path(), 1, rest));
    for name in ["episodes.csv", "results.json"] {
        assert_eq!(fs::read_to_string(one.join(name)).unwrap(), fs::read_to_string(again.join(name)).unwrap(), "{name}");
    }
    assert_same_learned(&checkpoint(&one, STEPS), &checkpoint(&again, STEPS));
    let other = train(first.path(), 2, rest);
    assert!(learned(&checkpoint(&one, STEPS)) != learned(&checkpoint(&other, STEPS)), "seeds are ignored");

    let resumed = second.path().join("resumed");
    copy_folder(&one, &resumed);
    fs::remove_dir_all(checkpoint(&resumed, STEPS)).unwrap();
    grandmodel(&["train", "--resume", resumed.to_str().unwrap()]).expect_success("train --resume");
    assert_same_learned(&checkpoint(&one, STEPS), &checkpoint(&resumed, STEPS));
    assert_eq!(fs::read_to_string(one.join("episodes.csv")).unwrap(), fs::read_to_string(resumed.join("episodes.csv")).unwrap());
}

#[test]
fn ppo_repeats_and_resumes() {
    repeats_and_resumes(PPO);
}

#[test]
fn recurrent_ppo_repeats_and_resumes() {
    repeats_and_resumes(LSTM);
}

#[test]
fn qrdqn_with_priorities_repeats_and_resumes() {
    repeats_and_resumes(QRDQN);
}

#[test]
fn sac_repeats_and_resumes() {
    repeats_and_resumes(SAC);
}

#[test]
fn sac_with_state_dependent_exploration_repeats_and_resumes() {
    repeats_and_resumes(SDE);
}

#[test]
fn several_seeds_are_summed_up_and_a_run_is_evaluated_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seeds.toml");
    let runs = folder.path().join("runs");
    fs::write(&path, config(&runs, 5, PPO)).unwrap();
    let stdout = grandmodel(&["train", path.to_str().unwrap(), "--seeds", "2"]).expect_success("train --seeds 2");
    assert!(stdout.contains("interquartile mean") && stdout.contains("P(better than uniform actions)"), "{stdout}");
    let file: serde_json::Value = serde_json::from_str(&fs::read_to_string(runs.join("small-2-seeds.json")).unwrap()).unwrap();
    assert_eq!(serde_json::json!([5, 6]), file["seeds"]);
    assert_eq!(4, file["scores"][1].as_array().unwrap().len());
    let run = entries(&runs).into_iter().find(|path| path.is_dir()).unwrap();
    let results: serde_json::Value = serde_json::from_str(&fs::read_to_string(run.join("results.json")).unwrap()).unwrap();
    let again = grandmodel(&["evaluate", run.to_str().unwrap(), "--episodes", "4"]).expect_success("evaluate");
    let mean = format!("mean return {:.1}", results["mean"]["mean"].as_f64().unwrap());
    assert!(again.contains(&mean), "{mean} is not in {again}");
}

#[test]
fn a_reward_that_is_no_number_ends_the_run_with_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nan.toml");
    let runs = folder.path().join("runs");
    let rest = PPO.replace("CartPole-v1", "probe-nan-reward");
    fs::write(&path, config(&runs, 1, &rest)).unwrap();
    let Finished { code, stderr, .. } = grandmodel(&["train", path.to_str().unwrap()]);
    assert_eq!(Some(1), code, "{stderr}");
    for part in ["probe-nan-reward", "seed", "lane", "reward", "NaN", "step"] {
        assert!(stderr.contains(part), "{part} is not in {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(1, entries(&only_run(&runs).join("checkpoints")).len(), "{stderr}");
}

#[test]
fn a_replay_that_cannot_work_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sac.toml");
    let runs = folder.path().join("runs");
    fs::write(&path, config(&runs, 1, SAC)).unwrap();
    for (setting, expected) in [
        ("sac.batch_size=2048", "sac.buffer_size was 1024"),
        ("sac.buffer_size=512", "buffer_size was 512"),
        ("replay.capacity=8 KiB", "8 KiB"),
        ("replay.rate={ samples_per_insert = 1.0, error_buffer = 1.0 }", "error_buffer"),
        ("replay.sampling={ prioritised = { alpha = 2.0 } }", "alpha"),
        ("qrdqn.gamma=0.9", "more than one"),
    ] {
        let refused = grandmodel(&["train", path.to_str().unwrap(), "--set", setting]);
        assert_eq!(Some(1), refused.code, "{setting}: {}", refused.stdout);
        assert!(refused.stderr.contains(expected) && !refused.stderr.contains("panicked"), "{setting}: {}", refused.stderr);
        assert_eq!(Vec::<PathBuf>::new(), entries(&runs), "{setting} left a run folder");
    }
}

/// A market small enough for canaries in a test.
fn small_market() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("market.toml");
    let text = format!(
        "name = \"canary\"\nseed = 1\nruns = \"{}\"\n[data.synth]\nmarket = \"regime\"\n[costs]\ncommission_bp = 2.0\n[env]\ninitial_cash = 1e5\n[decision]\nconsensus_passes = 0\n[features]\nmmd_test = 8\nmmd_reference = 16\n[model]\npreset = \"tiny\"\ndevice = \"cpu\"\n",
        folder.path().join("runs").display()
    );
    fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn no_decision_knows_a_bar_that_has_not_closed() {
    let (_folder, path) = small_market();
    let stdout = grandmodel(&["check-lookahead", path.to_str().unwrap(), "--bars", "60"]).expect_success("check-lookahead");
    assert!(stdout.contains("none changed by a bit"), "{stdout}");
    // The canary itself sings: with the next return in sight decisions do change.
    let told = grandmodel(&["check-lookahead", path.to_str().unwrap(), "--bars", "60", "--set", "data.observe=next_return"]);
    assert_eq!(Some(1), told.code, "{}", told.stdout);
    assert!(told.stderr.contains("it knows the future"), "{}", told.stderr);
}

#[test]
fn an_agent_that_is_told_the_next_return_gets_rich_and_one_without_any_hope_does_not() {
    let (_folder, path) = small_market();
    let config = path.to_str().unwrap();
    let quick = ["--set", "model.embedders=false", "--set", "ppo.total_timesteps=65536", "--set", "ppo.learning_rate=1e-3"];
    let told = [&["check-oracle", config], &quick[..]].concat();
    let stdout = grandmodel(&told).expect_success("check-oracle");
    assert!(stdout.contains("told the next return"), "{stdout}");
    let shuffled = [&["check-shuffled", config, "--seeds", "2"], &quick[..2], &["--set", "ppo.total_timesteps=8192"]].concat();
    let stdout = grandmodel(&shuffled).expect_success("check-shuffled");
    assert!(stdout.contains("one-sided p"), "{stdout}");
}

#[test]
fn the_profile_of_a_task_names_its_actors() {
    let said = grandmodel(&["bench", "actor profile: pendulum"]).expect_success("bench");
    for actor in ["agent Collect", "buffer Sample", "learner Learn", "memory ReportBytes"] {
        assert!(said.contains(actor), "{actor} is not in {said}");
    }
    let nothing = grandmodel(&["bench", "no such row"]);
    assert!(nothing.code == Some(1) && nothing.stderr.contains("no row's name contains no such row"), "{nothing:?}");
}
