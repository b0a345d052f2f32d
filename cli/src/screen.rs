//! Where the numbers of a run go while it runs: metrics file, event file, progress bar.

use std::time::Instant;

use anyhow::Result;
use grandmodel_agents::{episode::EpisodeStats, messages::Collected};
use grandmodel_memory::messages::MemorySample;
use grandmodel_trainer::learner::LearnReport;

use crate::{
    config::RunConfig,
    machine,
    progress::{Progress, Standing},
    report::MetricsRecord,
    run_folder::{MetricsWriter, RunFolder},
    tensorboard::EventWriter,
    train::mean_return,
};

/// A line for people, on standard output; nothing in a quiet run.
pub fn say(config: &RunConfig, line: impl std::fmt::Display) {
    if !config.train.quiet {
        println!("{line}");
    }
}

/// Where the numbers of a run go while it runs: metrics file, event file, progress bar.
pub struct Screen {
    metrics: MetricsWriter,
    events: EventWriter,
    progress: Progress,
    started: Instant,
    first_step: u64,
    episodic_return: Option<f64>,
    /// Since the last line.
    finished: Vec<EpisodeStats>,
    report: Option<LearnReport>,
}

impl Screen {
    /// Opens the files of a run that stands at `step`.
    ///
    /// # Errors
    /// A file that cannot be written.
    #[allow(clippy::disallowed_methods, reason = "a shell: seconds and speed for the screen, kept apart from what the seed decides")]
    pub fn open(folder: &RunFolder, config: &RunConfig, step: u64) -> Result<Self> {
        let algorithm = config.algorithm();
        Ok(Self {
            metrics: folder.metrics(step)?,
            events: EventWriter::create(folder.path(), machine::unix_seconds(), "grandmodel")?,
            progress: Progress::new(step, algorithm.num_rounds() * algorithm.steps_per_round(), config.train.quiet),
            started: Instant::now(),
            first_step: step,
            episodic_return: None,
            finished: Vec::new(),
            report: None,
        })
    }

    /// Takes the episodes of a rollout.
    pub fn take(&mut self, collected: &Collected) {
        self.finished.extend_from_slice(&collected.stats.finished);
    }

    /// Takes what a round of learning said; the last one before a line counts.
    pub fn learned(&mut self, report: LearnReport) {
        self.report = Some(report);
    }

    /// Writes a line of everything since the last one.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&mut self, step: u64, score: Option<f64>, score_name: &str, memory: &MemorySample) -> Result<()> {
        let mut record = MetricsRecord { step, ..MetricsRecord::default() };
        let mut put = |name: &str, value: f64| {
            record.values.insert(name.to_owned(), value);
        };
        if !self.finished.is_empty() {
            let n = self.finished.len() as f64;
            let episodic_return = mean_return(&self.finished);
            self.episodic_return = Some(episodic_return);
            put("charts/episodic_return", episodic_return);
            put("charts/episodic_length", self.finished.iter().map(|e| f64::from(e.episodic_length)).sum::<f64>() / n);
            self.finished.clear();
        }
        if let Some(report) = self.report.take() {
            if report.learning_rate.is_finite() {
                put("charts/learning_rate", report.learning_rate);
            }
            put("charts/reward_deviation", report.reward_deviation);
            report.losses.iter().for_each(|(name, value)| put(&format!("losses/{name}"), *value));
        }
        if let Some(score) = score {
            put(score_name, score);
        }
        let elapsed = self.started.elapsed().as_secs_f64();
        let steps_per_second = (step - self.first_step) as f64 / elapsed.max(1e-9);
        let mut put = |name: &str, value: f64| {
            record.time.insert(name.to_owned(), value);
        };
        put("elapsed_s", elapsed);
        put("charts/SPS", steps_per_second);
        put("memory/used_bytes", memory.used_bytes as f64);
        put("memory/budget_bytes", memory.budget_bytes as f64);
        self.metrics.write(&record)?;
        let scalars = record.values.iter().chain(&record.time).map(|(name, value)| (name.as_str(), *value));
        self.events.scalars(step, machine::unix_seconds(), scalars)?;
        self.progress.update(&Standing {
            step,
            elapsed_s: elapsed,
            steps_per_s: steps_per_second,
            episodic_return: self.episodic_return,
            used_bytes: memory.used_bytes,
            budget_bytes: memory.budget_bytes,
        });
        Ok(())
    }

    /// Clears the progress bar.
    pub fn finish(&mut self) {
        self.progress.finish();
    }
}
