//! Runs whose actors are lost on the way: they end with the weights of one that was left alone, or stop when it happens too often.

use std::{cell::RefCell, path::Path};

use clap::Parser;

use super::*;
use crate::args::Args;

thread_local! {
    /// After which step which thread of actors is lost, the next strike last.
    static STRIKES: RefCell<Vec<(u64, usize)>> = const { RefCell::new(Vec::new()) };
}

/// Called by the loop of a run between two rounds.
pub(crate) fn strike(step: u64, cast: &Cast) {
    STRIKES.with_borrow_mut(|strikes| {
        if let Some((_, thread)) = strikes.pop_if(|(after, _)| step >= *after) {
            cast.lose(thread);
        }
    });
}

/// Threads of [`Cast`].
const STORE: usize = 0;
const EMBED: usize = 1;
const ACT: usize = 2;
const LEARN: usize = 3;

const CONFIG: &str = r#"
name = "struck"
[costs]
commission_bp = 2.0
[env]
initial_cash = 100000.0
episode_len = 64
[decision]
consensus_passes = 0
[qrdqn]
total_timesteps = 768
num_envs = 8
train_frequency = 16
gradient_steps = 1
learning_starts = 64
buffer_size = 1024
batch_size = 16
[train]
eval_every = 0
checkpoint_every = 128
keep_checkpoints = 8
quiet = true
"#;

/// Runs with the strikes; the last weights, or what stopped the run.
fn weights(folder: &Path, strikes: &[(u64, usize)]) -> Result<Vec<u8>> {
    let bars = folder.join("bars.csv");
    if !bars.exists() {
        crate::run(Args::parse_from(["grandmodel", "data", "synth", "regime", bars.to_str().unwrap(), "--bars", "3000"])).unwrap();
    }
    let mut config = RunConfig::parse(CONFIG, &[format!("data.path={:?}", bars.to_str().unwrap())]).unwrap();
    config.runs = folder.join(format!("runs-{}", strikes.len()));
    STRIKES.set(strikes.iter().rev().copied().collect());
    let ended = run(config.clone(), None)?;
    assert!(matches!(ended, Ended::Finished(_)) && STRIKES.with_borrow(Vec::is_empty));
    let last = checkpoint::latest(&config.runs.join("struck-s0-001").join("checkpoints")).unwrap();
    Ok(std::fs::read(last.join("model.safetensors")).unwrap())
}

/// A run as it is started without optimisation wants more room than a test's thread has.
fn on_a_large_stack(work: impl FnOnce() + Send + 'static) {
    let ended = std::thread::Builder::new().stack_size(16 << 20).spawn(work).unwrap().join();
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn actors_that_are_lost_come_back_from_the_newest_checkpoint() {
    on_a_large_stack(come_back);
}

fn come_back() {
    let folder = tempfile::tempdir().unwrap();
    let undisturbed = weights(folder.path(), &[]).unwrap();
    let struck = weights(folder.path(), &[(160, LEARN), (288, EMBED), (320, STORE), (544, ACT)]).unwrap();
    assert!(undisturbed == struck, "another outcome");
}

#[test]
fn actors_that_are_lost_again_and_again_stop_the_run() {
    on_a_large_stack(stop_the_run);
}

fn stop_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let error = weights(folder.path(), &[(160, LEARN), (176, LEARN), (192, LEARN), (208, LEARN), (224, LEARN)]).unwrap_err();
    assert!(is_lost_actor(&error), "{error:#}");
    // Three were forgiven, the fourth was not.
    assert_eq!(STRIKES.take().len(), 1);
    // What there was is kept, and before there was a checkpoint nothing is left behind.
    assert!(checkpoint::latest(&folder.path().join("runs-5/struck-s0-001/checkpoints")).is_ok());
    assert!(weights(folder.path(), &[(32, ACT)]).is_err());
    assert_eq!(std::fs::read_dir(folder.path().join("runs-1")).unwrap().count(), 0);
}
