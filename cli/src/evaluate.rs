//! `grandmodel evaluate`: a trained agent on its control task again. Best actions, other starts where asked for; nothing is learned or written.

use std::path::Path;

use anyhow::{Context, Result, bail};
use grandmodel_agents::evaluate::evaluate;
use grandmodel_trainer::{actor::split, checkpoint};

use crate::{
    config::RunConfig,
    control_outcome::{describe, final_seed},
    model::Model,
    run_folder::RunFolder,
    train::RunState,
};

/// Runs episodes with the last (or best) weights of a run folder and prints what they got.
///
/// # Errors
/// No checkpoint, a damaged one, or one of a market: that is what `backtest` is for.
pub fn run(run_folder: &Path, num_episodes: u32, seed: Option<u64>, best: bool) -> Result<()> {
    let folder = RunFolder::open(run_folder)?;
    let newest = checkpoint::latest(&folder.checkpoints())?;
    let saved = checkpoint::read::<RunState>(&newest)?;
    let config = RunConfig::parse(&saved.config, &[]).with_context(|| newest.display().to_string())?;
    let Some(control) = &config.control else {
        bail!("{}: it trades a market; run it with: grandmodel backtest {}", newest.display(), run_folder.display())
    };
    let model = Model::new(&config, control.observation_width())?;
    let parameters = if best { saved.best.as_ref().context("the checkpoint holds no best weights")? } else { &saved.parameters };
    let (_, head) = split(None, &model.head.shape, parameters)?;
    let seed = seed.unwrap_or_else(|| final_seed(config.seed));
    let episodes = evaluate(&head, control, saved.state.lanes().lanes.normalizer(), num_episodes as usize, seed)?;
    let returns: Vec<f64> = episodes.iter().map(|episode| episode.episodic_return).collect();
    println!("{}, {}: {}", control.id, newest.display(), describe(&returns));
    Ok(())
}
