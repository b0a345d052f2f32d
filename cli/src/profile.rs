//! A profile per actor: where a message waits and where it is worked on. Links go in, links that are watched come out; counts and durations are read at the
//! end. A shell: it reads the clock, and only `grandmodel bench` puts it between actors. A run has no taps and pays nothing.
//!
//! A watched link is two small actors in front of the real one. The *post* lives on a thread of its own that does nothing else: it notes when a message was
//! handed over. The *door* lives on the thread of the real actor: it runs when that thread comes to the message, hands it on, and notes the answer. So
//!
//! - queue: handed over to begun, one change of threads included, as without a tap;
//! - answer: begun to answered, with whatever the actor waits for meanwhile (other actors, the worker pool);
//! - depth: messages handed over and not begun.
//!
//! What a tap adds is one more change of threads, before the clock starts.
#![allow(clippy::disallowed_methods)] // timing is what this room is for

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix::{
    Actor, Addr, Arbiter, ArbiterHandle, Context, Handler, MailboxError, Message, Recipient,
    dev::{MessageResponse, OneshotSender},
};
use serde::Serialize;

/// What one kind of message to one actor took. Durations in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct ProfileRow {
    /// Who answers.
    pub actor: &'static str,
    /// What is asked.
    pub message: &'static str,
    /// Messages that were answered.
    pub count: usize,
    /// Mean time between handing over and beginning.
    pub queue_mean_us: f64,
    /// Mean time between beginning and answering.
    pub answer_mean_us: f64,
    /// 99th percentile of both together.
    pub round_trip_p99_us: f64,
    /// Most messages that waited at once.
    pub depth_max: usize,
}

#[derive(Default)]
struct Meter {
    waiting: usize,
    depth_max: usize,
    /// Queue and answer of each message.
    durations: Vec<(Duration, Duration)>,
}

type Shared = Arc<Mutex<Meter>>;

fn with<T>(meter: &Shared, work: impl FnOnce(&mut Meter) -> T) -> T {
    work(&mut meter.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Puts taps on links, or leaves them as they are.
pub struct Taps {
    /// The thread of the posts; none without a profile.
    posts: Option<Arbiter>,
    meters: Mutex<BTreeMap<(&'static str, &'static str), Shared>>,
}

impl Taps {
    /// Links stay as they are.
    pub fn none() -> Self {
        Self { posts: None, meters: Mutex::default() }
    }

    /// Links are watched.
    pub fn watching() -> Self {
        Self { posts: Some(Arbiter::new()), meters: Mutex::default() }
    }

    /// A link to an actor that lives on `thread`.
    pub fn tap<M>(&self, actor: &'static str, thread: &ArbiterHandle, link: Recipient<M>) -> Recipient<M>
    where
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let Some(posts) = &self.posts else { return link };
        let message = std::any::type_name::<M>().rsplit("::").next().unwrap_or_default();
        let meter = self.meters.lock().unwrap_or_else(PoisonError::into_inner).entry((actor, message)).or_default().clone();
        let behind = Door { link, meter: meter.clone() };
        let door = Door::start_in_arbiter(thread, |_| behind);
        Post::start_in_arbiter(&posts.handle(), |_| Post { door, meter }).recipient()
    }

    /// What was seen so far, by actor and message.
    pub fn rows(&self) -> Vec<ProfileRow> {
        let meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        meters.iter().filter_map(|((actor, message), meter)| with(meter, |meter| meter.row(actor, message))).collect()
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        if let Some(posts) = self.posts.take() {
            posts.stop();
            // One that panicked has said so already.
            let _ = posts.join();
        }
    }
}

impl Meter {
    /// None where nothing was answered.
    fn row(&self, actor: &'static str, message: &'static str) -> Option<ProfileRow> {
        let us = |duration: Duration| duration.as_secs_f64() * 1e6;
        let count = self.durations.len();
        let mut trips: Vec<f64> = self.durations.iter().map(|(queue, answer)| us(*queue + *answer)).collect();
        trips.sort_by(f64::total_cmp);
        let p99 = trips.get((count.checked_sub(1)? as f64 * 0.99).round() as usize)?;
        Some(ProfileRow {
            actor,
            message,
            count,
            queue_mean_us: self.durations.iter().map(|(queue, _)| us(*queue)).sum::<f64>() / count as f64,
            answer_mean_us: self.durations.iter().map(|(_, answer)| us(*answer)).sum::<f64>() / count as f64,
            round_trip_p99_us: *p99,
            depth_max: self.depth_max,
        })
    }
}

struct Post<M: Message + Send + 'static>
where
    M::Result: Send,
{
    door: Addr<Door<M>>,
    meter: Shared,
}

struct Door<M: Message + Send + 'static>
where
    M::Result: Send,
{
    link: Recipient<M>,
    meter: Shared,
}

struct Handed<M> {
    message: M,
    at: Instant,
}

impl<M: Message> Message for Handed<M> {
    type Result = M::Result;
}

impl<M: Message + Send + 'static> Actor for Post<M>
where
    M::Result: Send,
{
    type Context = Context<Self>;
}

impl<M: Message + Send + 'static> Actor for Door<M>
where
    M::Result: Send,
{
    type Context = Context<Self>;
}

impl<M: Message + Send + 'static> Handler<M> for Post<M>
where
    M::Result: Send,
{
    type Result = PassedOn<M::Result>;

    fn handle(&mut self, message: M, _: &mut Context<Self>) -> Self::Result {
        with(&self.meter, |meter| {
            meter.waiting += 1;
            meter.depth_max = meter.depth_max.max(meter.waiting);
        });
        PassedOn(Box::pin(self.door.send(Handed { message, at: Instant::now() })))
    }
}

impl<M: Message + Send + 'static> Handler<Handed<M>> for Door<M>
where
    M::Result: Send,
{
    type Result = PassedOn<M::Result>;

    fn handle(&mut self, Handed { message, at }: Handed<M>, _: &mut Context<Self>) -> Self::Result {
        let (begun, meter) = (Instant::now(), self.meter.clone());
        with(&meter, |meter| meter.waiting -= 1);
        let request = self.link.send(message);
        PassedOn(Box::pin(async move {
            let answer = request.await;
            with(&meter, |meter| meter.durations.push((begun - at, begun.elapsed())));
            answer
        }))
    }
}

/// An answer on its way back; of an actor that is gone none, which whoever asked then learns from the mailbox as without a tap.
struct PassedOn<R>(Pin<Box<dyn Future<Output = Result<R, MailboxError>>>>);

impl<A: Actor, M: Message> MessageResponse<A, M> for PassedOn<M::Result>
where
    M::Result: Send,
{
    fn handle(self, _: &mut A::Context, asker: Option<OneshotSender<M::Result>>) {
        actix::spawn(async move {
            if let (Ok(answer), Some(asker)) = (self.0.await, asker) {
                // Who does not wait any longer does not need it.
                let _ = asker.send(answer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Doubler;

    impl Actor for Doubler {
        type Context = Context<Self>;
    }

    struct Number(u64);

    impl Message for Number {
        type Result = u64;
    }

    impl Handler<Number> for Doubler {
        type Result = u64;

        fn handle(&mut self, number: Number, _: &mut Context<Self>) -> u64 {
            2 * number.0
        }
    }

    #[test]
    fn answers_pass_and_are_counted() {
        actix::System::new().block_on(async {
            let taps = Taps::watching();
            let link = taps.tap("doubler", &Arbiter::current(), Doubler.start().recipient());
            let answers = [link.send(Number(1)), link.send(Number(2)), link.send(Number(3))];
            for (answer, expected) in answers.into_iter().zip([2, 4, 6]) {
                assert_eq!(answer.await.expect("answered"), expected);
            }
            let rows = taps.rows();
            assert_eq!((rows.len(), rows[0].actor, rows[0].message, rows[0].count), (1, "doubler", "Number", 3));
            assert!((1..=3).contains(&rows[0].depth_max), "{rows:?}");
            assert!(rows[0].round_trip_p99_us >= rows[0].answer_mean_us.min(rows[0].queue_mean_us), "{rows:?}");
        });
    }

    #[test]
    fn without_a_profile_the_link_is_the_actor_itself() {
        actix::System::new().block_on(async {
            let taps = Taps::none();
            let link = taps.tap("doubler", &Arbiter::current(), Doubler.start().recipient());
            assert_eq!(link.send(Number(4)).await.expect("answered"), 8);
            assert!(taps.rows().is_empty());
        });
    }

    #[test]
    fn an_actor_that_is_gone_is_an_error_for_who_asks() {
        actix::System::new().block_on(async {
            let taps = Taps::watching();
            let gone = Arbiter::new();
            let address = Doubler::start_in_arbiter(&gone.handle(), |_| Doubler);
            assert_eq!(address.send(Number(1)).await.expect("answered"), 2);
            let link = taps.tap("doubler", &Arbiter::current(), address.recipient());
            gone.stop();
            let _ = gone.join();
            assert!(link.send(Number(1)).await.is_err());
        });
    }
}
