//! Bytes instead of time: what a training step holds at most, with each lever that makes it smaller; what it costs in time; the monitor; idle workers.
//!
//! A peak is the largest number of bytes that the allocator had handed out during the work, read some ten thousand times a second by a thread of its own,
//! less what was handed out before.

use std::{
    cell::RefCell,
    hint::black_box,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::{Context, Result};
use burn::{
    optim::GradientsParams,
    tensor::{Tensor, TensorData},
};
use grandmodel_agents::encoder::{AheadWidths, MarketEncoder};
use grandmodel_embedders::{
    EmbedderKind, EmbedderModule, EmbedderStack, Preset, StructureWidths,
    device::{self, Infer, Train},
    embedding::AUX_WIDTH,
    parameters,
    plain::{Keep, OutputGradient, Plain, Structure, StructureTape},
};
use grandmodel_market::TableSpan;
use grandmodel_memory::{GaugeRoots, Gauges};
use grandmodel_trainer::{adam::Adam, blocks::Blocks, encoder::EncoderLearner};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rayon::prelude::*;

use super::{Bench, market};
use crate::heap;

/// Samples of one optimiser step, and of one gradient block.
const EFFECTIVE_BATCH: usize = 128;
const BLOCK: usize = 16;
/// Blocks worked on side by side.
const THREADS: usize = 2;
/// Resident bytes beside which the monitor is timed.
const BALLAST: usize = 2 << 30;
/// Workers that are counted idle.
const IDLE_WORKERS: usize = 63;

/// Rows of this group.
///
/// # Errors
/// Tables that cannot be made; gauges that say nothing.
pub fn rows(bench: &mut Bench) -> Result<()> {
    if bench.wants_all_of("memory: monitor") {
        monitor(bench)?;
    }
    if bench.wants_all_of("memory: resident bytes of one idle worker") {
        workers(bench)?;
    }
    if bench.wants_all_of("memory: full") {
        let stack = EmbedderStack::<Infer>::new(Preset::Full, &mut ChaCha8Rng::seed_from_u64(1), &device::cpu());
        step(bench, &stack.structure)?;
        step(bench, &stack.tactical)?;
        step(bench, &stack.regime)?;
        step(bench, &stack.lvn)?;
    }
    if bench.wants_all_of("memory: transformer of 24 layers") {
        deep(bench);
    }
    if bench.wants_all_of("memory: encoder") {
        encoder(bench)?;
    }
    Ok(())
}

/// Most live bytes during the work beyond those before it.
fn peak_of(work: impl FnOnce()) -> Result<u64> {
    let watch = Watch::begin()?;
    work();
    Ok(watch.end())
}

/// Looks at live bytes all the time.
pub(super) struct Watch {
    before: u64,
    running: Arc<AtomicBool>,
    watcher: JoinHandle<u64>,
}

impl Watch {
    pub(super) fn begin() -> Result<Self> {
        let before = heap::reading().context("the allocator does not say what is live")?.live_bytes;
        let running = Arc::new(AtomicBool::new(true));
        let goes_on = running.clone();
        let watcher = std::thread::spawn(move || {
            let mut most = before;
            while goes_on.load(Ordering::Relaxed) {
                most = most.max(heap::reading().map_or(0, |reading| reading.live_bytes));
            }
            most
        });
        Ok(Self { before, running, watcher })
    }

    /// Most live bytes since it began beyond those at its beginning.
    pub(super) fn end(self) -> u64 {
        self.running.store(false, Ordering::Relaxed);
        self.watcher.join().map_or(0, |most| most - self.before)
    }
}

fn monitor(bench: &mut Bench) -> Result<()> {
    let gauges = Gauges::open(&GaugeRoots::default())?;
    bench.row("memory: monitor, one reading", "readings", 1, || drop(black_box(gauges.read())));
    if bench.wants_row("memory: monitor, one reading beside 2 GiB") {
        let ballast = vec![1_u8; BALLAST];
        bench.row("memory: monitor, one reading beside 2 GiB", "readings", 1, || drop(black_box(gauges.read())));
        black_box(ballast);
    }
    Ok(())
}

fn workers(bench: &mut Bench) -> Result<()> {
    let name = "memory: resident bytes of one idle worker of 63";
    if !bench.wants_row(name) {
        return Ok(());
    }
    let gauges = Gauges::open(&GaugeRoots::default())?;
    let resident = || -> Result<u64> { gauges.read()?.resident_bytes.context("no resident bytes") };
    let before = resident()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(IDLE_WORKERS).stack_size(1 << 20).build()?;
    pool.broadcast(|_| black_box(0));
    let after = resident()?;
    bench.bytes(name, after.saturating_sub(before) / IDLE_WORKERS as u64, None);
    Ok(())
}

/// Repetitions that last long enough to be seen.
fn repeats(kind: EmbedderKind) -> usize {
    match kind {
        EmbedderKind::Structure | EmbedderKind::Tactical => 1,
        EmbedderKind::Regime | EmbedderKind::Lvn => 300,
    }
}

/// Inputs of any windows.
fn windows(count: usize, width: usize) -> Vec<f32> {
    (0..count * width).map(|i| ((i * 37 % 101) as f32 / 50.0) - 1.0).collect()
}

/// Forward and backward of one embedder over the effective batch, in every way.
fn step<M: EmbedderModule<Infer>>(bench: &mut Bench, module: &M) -> Result<()> {
    let kind = M::KIND;
    let name = |way: &str| format!("memory: full {kind} training step, {way}").to_lowercase();
    let inputs = windows(EFFECTIVE_BATCH, kind.input_len());
    let composed = burn_step(kind, &inputs)?;
    bench.bytes(&name("burn's composition, whole batch"), composed, None);
    let net = module.plain();
    let parameters = parameters::to_flat(module);
    for (way, block, threads, keep) in [
        ("fused, whole batch", EFFECTIVE_BATCH, 1, Keep::Everything),
        ("fused, blocks of 16 on two threads", BLOCK, THREADS, Keep::Everything),
        ("the same, selective", BLOCK, THREADS, Keep::Selected),
        ("the same, segments of one layer", BLOCK, THREADS, Keep::Segments(1)),
    ] {
        let work = || plain_step(&net, &parameters, &inputs, block, threads, keep);
        let bytes = peak_of(|| (0..repeats(kind)).for_each(|_| work()))?;
        bench.bytes(&name(way), bytes, Some(composed));
    }
    Ok(())
}

/// The composed module on Burn's tape.
fn burn_step(kind: EmbedderKind, inputs: &[f32]) -> Result<u64> {
    let cpu = device::cpu();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let stack: EmbedderStack<Train> = parameters::training_copy(&EmbedderStack::<Infer>::new(Preset::Full, &mut rng, &cpu));
    let data = TensorData::new(inputs.to_vec(), [EFFECTIVE_BATCH, kind.input_len()]);
    let run = || {
        let inputs = Tensor::<Train, 2>::from_data(data.clone(), &cpu);
        let embedded = match kind {
            EmbedderKind::Structure => stack.structure.embed(inputs),
            EmbedderKind::Tactical => stack.tactical.embed(inputs),
            EmbedderKind::Regime => stack.regime.embed(inputs),
            EmbedderKind::Lvn => stack.lvn.embed(inputs),
        };
        let loss = embedded.mean.mean() + embedded.aux.mean();
        black_box(GradientsParams::from_grads(loss.backward(), &stack));
    };
    run();
    peak_of(|| (0..repeats(kind)).for_each(|_| run()))
}

fn plain_step<P: Plain>(net: &P, parameters: &[f32], inputs: &[f32], block: usize, threads: usize, keep: Keep) {
    let (width, dim) = (P::KIND.input_len(), P::KIND.dim());
    let work = |part: &[f32]| {
        let (mut tape, mut gradient) = (P::Tape::default(), vec![0.0; parameters.len()]);
        let (d_mean, d_aux) = (vec![1e-3; block * dim], vec![1e-3; block * AUX_WIDTH]);
        for inputs in part.chunks(block * width) {
            net.forward(parameters, inputs, keep, &mut tape);
            net.backward(parameters, &mut tape, &OutputGradient { mean: &d_mean, aux: Some(&d_aux) }, &mut gradient);
        }
        gradient
    };
    if threads == 1 {
        black_box(work(inputs));
    } else {
        black_box(inputs.par_chunks(inputs.len() / threads).map(work).collect::<Vec<_>>());
    }
}

/// A transformer deep enough that what lies between its layers is what counts.
fn deep(bench: &mut Bench) {
    let name = |way: &str| format!("memory: transformer of 24 layers, {way}");
    let net = Structure::new(StructureWidths { d_model: 64, num_heads: 4, d_feed_forward: 256, num_blocks: 24 });
    let parameters: Vec<f32> = (0..net.num_parameters()).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) * 0.1).collect();
    let inputs = windows(BLOCK, Structure::KIND.input_len());
    let (d_mean, d_aux) = (vec![1e-3; BLOCK * Structure::KIND.dim()], vec![1e-3; BLOCK * AUX_WIDTH]);
    let ways = [
        ("everything kept", Keep::Everything),
        ("selective", Keep::Selected),
        ("segments of 6", Keep::Segments(6)),
        ("segments of 4", Keep::Segments(4)),
        ("segments of 1", Keep::Segments(1)),
    ];
    let rooms = ways.map(|_| RefCell::new((StructureTape::default(), vec![0.0; parameters.len()])));
    let step = |way: usize| {
        let (tape, gradient) = &mut *rooms[way].borrow_mut();
        net.forward(&parameters, &inputs, ways[way].1, tape);
        net.backward(&parameters, tape, &OutputGradient { mean: &d_mean, aux: Some(&d_aux) }, gradient);
    };
    let seconds = bench.seconds_by_turns([&|| step(0), &|| step(1), &|| step(2), &|| step(3), &|| step(4)]);
    let bytes = rooms.map(|room| net.bytes(&room.borrow().0));
    bench.bytes(&name(ways[0].0), bytes[0], None);
    for way in 1..ways.len() {
        let time = (seconds[way] / seconds[0] - 1.0) * 100.0;
        bench.bytes(&name(&format!("{}, time {time:+.1} %", ways[way].0)), bytes[way], Some(bytes[0]));
    }
}

/// The whole encoder: four embedders and the token mixer.
fn encoder(bench: &mut Bench) -> Result<()> {
    let table = market::table()?;
    let cpu = device::cpu();
    let widths = AheadWidths { detached: Vec::new(), attached: vec![256, 256] };
    let net = MarketEncoder::<Infer>::new(Preset::Full, &widths, &mut ChaCha8Rng::seed_from_u64(1), &cpu);
    let learner = EncoderLearner::new(net, vec![TableSpan::whole(table)], cpu);
    let samples = learner.ready_rows(EFFECTIVE_BATCH);
    let blocks = Mutex::new(Blocks::new(learner.num_parameters()));
    let gradient = |learner: &EncoderLearner, earlier: Vec<f32>, alive: usize, keep: Keep| {
        let mut blocks = blocks.lock().expect("Invariant: steps do not panic");
        let mut sum = blocks.sum(earlier, samples.len().div_ceil(BLOCK));
        for alive in samples.chunks(alive * BLOCK) {
            let block = |rows: &[_], gradient: &mut [f32]| learner.gradient(rows, 1e-3, keep, gradient, |ahead| vec![1e-3; ahead.len()]);
            drop(black_box(sum.add(alive.par_chunks(BLOCK), block)));
        }
        sum.finish()
    };
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let (one, two) = (pool(1)?, pool(THREADS)?);
    let fresh = |alive, keep, pool: &rayon::ThreadPool| pool.install(|| gradient(&learner, Vec::new(), alive, keep));
    let whole = fresh(8, Keep::Everything, &two);
    let composed = burn_encoder(&learner, &samples)?;
    bench.bytes("memory: encoder, full gradient of 128, burn's composition, whole batch", composed, None);
    for (way, alive, keep) in [
        ("8 blocks alive", 8, Keep::Everything),
        ("2 blocks alive", 2, Keep::Everything),
        ("2 blocks alive, segments of 1", 2, Keep::Segments(1)),
    ] {
        learner.shed();
        blocks.lock().expect("Invariant: steps do not panic").shed();
        let bytes = peak_of(|| drop(black_box(fresh(alive, keep, &two))))?;
        bench.bytes(&format!("memory: encoder, full gradient of 128, {way}"), bytes, Some(composed));
        anyhow::ensure!(whole == fresh(alive, keep, &one), "{way}: another gradient than with everything alive");
    }
    // From here on as learners do: everything of a step, the gradient of the step before given back.
    let state = (learner.parameters().to_vec(), Adam::new(whole.len()), learner.clone(), whole);
    let state = Mutex::new(state);
    let step = |alive: usize, pool: &rayon::ThreadPool| {
        let mut state = state.lock().expect("Invariant: steps do not panic");
        let (parameters, adam, learner, last) = &mut *state;
        pool.install(|| {
            *last = gradient(learner, std::mem::take(last), alive, Keep::Everything);
            adam.step(parameters, last, 1e-6, 1e-5, 0.5);
            learner.install(parameters)
        })
        .expect("Invariant: small steps stay finite");
    };
    let [all, accumulated] = bench.seconds_by_turns([&|| step(8, &two), &|| step(2, &two)]);
    println!("{:<72} {:>+11.1} %", "memory: encoder, 4 micro-batches against one, time", (accumulated / all - 1.0) * 100.0);
    let [single, both] = bench.seconds_by_turns([&|| step(8, &one), &|| step(8, &two)]);
    let times = format!("{:.1} and {:.1} ms", single * 1e3, both * 1e3);
    println!("{:<72} {:>11.2} x {times:>9}", "memory: encoder, two workers against one, a whole step", single / both);
    Ok(())
}

fn burn_encoder(learner: &EncoderLearner, samples: &[(u16, u32)]) -> Result<u64> {
    let run = || {
        let mut gradient = vec![0.0; learner.num_parameters()];
        drop(black_box(learner.composed_gradient(samples, 1e-3, &mut gradient, |ahead| vec![1e-3; ahead.len()])));
    };
    run();
    peak_of(run)
}
