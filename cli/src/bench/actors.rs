//! Round trips between actors, and the four embedders asked for one row as a live agent does.

use std::{sync::Arc, time::Instant};

use actix::{Actor, Arbiter, Context, Handler, Message};
use anyhow::Result;
use grandmodel_agents::actors::{EmbedderLinks, embed_rows};
use grandmodel_embedders::{
    Embedder, EmbedderStack, LvnModule, PolicyVersion, Preset, Published, RegimeModule, StructureModule, TacticalModule,
    device::{self, Infer},
};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::{Bench, market};

/// Round trips of one repetition, and repetitions.
const TRIPS: usize = 200;
const REPEATS: usize = 100;

struct Echo;

impl Actor for Echo {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "u64")]
struct Ping(u64);

impl Handler<Ping> for Echo {
    type Result = u64;

    fn handle(&mut self, ping: Ping, _: &mut Context<Self>) -> u64 {
        ping.0 + 1
    }
}

/// Rows of this group.
///
/// # Errors
/// Actors that do not answer.
pub fn rows(bench: &mut Bench) -> Result<()> {
    if !bench.wants("actor") {
        return Ok(());
    }
    actix::System::new().block_on(async {
        let arbiter = Arbiter::new();
        for (name, echo) in [
            ("actor: ask on the same thread", Echo.start()),
            ("actor: ask across threads", Echo::start_in_arbiter(&arbiter.handle(), |_| Echo)),
        ] {
            if !bench.wants_row(name) {
                continue;
            }
            let mut durations = Vec::with_capacity(REPEATS);
            for _ in 0..REPEATS {
                let before = Instant::now();
                for i in 0..TRIPS {
                    echo.send(Ping(i as u64)).await?;
                }
                durations.push(before.elapsed().as_secs_f64());
            }
            bench.push(name, "messages", TRIPS, durations);
        }
        for preset in [Preset::Tiny, Preset::Small] {
            let name = format!("actor: four embedders, one row, {preset:?}").to_lowercase();
            if bench.wants_row(&name) {
                bench.push(&name, "rows", 1, one_row(preset, &arbiter).await?);
            }
        }
        arbiter.stop();
        Ok(())
    })
}

async fn one_row(preset: Preset, arbiter: &Arbiter) -> Result<Vec<f64>> {
    let table = market::table()?;
    let ready: Vec<u32> = (0..table.len()).filter(|row| table.is_ready(*row)).map(|row| row as u32).collect();
    let stack = EmbedderStack::<Infer>::new(preset, &mut ChaCha8Rng::seed_from_u64(1), &device::cpu());
    let published = Arc::new(Published::new());
    let version = PolicyVersion(0);
    published.publish(version, &stack);
    let handle = arbiter.handle();
    let structure = Embedder::<StructureModule<Infer>>::new(version, published.clone())?;
    let tactical = Embedder::<TacticalModule<Infer>>::new(version, published.clone())?;
    let regime = Embedder::<RegimeModule<Infer>>::new(version, published.clone())?;
    let lvn = Embedder::<LvnModule<Infer>>::new(version, published)?;
    let links = EmbedderLinks([
        Embedder::start_in_arbiter(&handle, |_| structure).recipient(),
        Embedder::start_in_arbiter(&handle, |_| tactical).recipient(),
        Embedder::start_in_arbiter(&handle, |_| regime).recipient(),
        Embedder::start_in_arbiter(&handle, |_| lvn).recipient(),
    ]);
    let mut durations = Vec::with_capacity(REPEATS);
    for row in ready.into_iter().take(REPEATS) {
        let rows: Arc<[u32]> = vec![row].into();
        let before = Instant::now();
        embed_rows(&links, &table, &rows).await?;
        durations.push(before.elapsed().as_secs_f64());
    }
    Ok(durations)
}
