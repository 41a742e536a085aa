//! Holds the platform sockets: one supervisor a connected account, under the lease of the account's shard.
//!
//! * [`Worker::start`] follows the lease (`follow`): for every shard that it owns it starts the shard's instances and receives
//!   its command queue ([`shard`]).
//! * A lease is the local home's lock, or a place in a [`Fleet`] of workers that share one store.
//! * A supervisor takes its instance over, opens the line, and lets commands and updates happen in their order
//!   (`supervisor`, `traffic`, `commands`, `sending`, `emitter`).
//! * [`serve`] is a fleet's worker as a process of its own.
//! * What is durable, and how, is the domain's business: `shared::domain::owner`.
//!
//! What must not live here: anything about one platform (those are connectors), and how things are stored.

mod backoff;
mod busy;
mod callbacks;
mod commands;
mod control;
mod dead;
mod emitter;
mod fleet;
mod follow;
mod gauges;
mod in_hand;
mod lanes;
mod lease;
mod lines;
mod locks;
mod moving;
mod parking;
mod port;
pub mod process;
mod registry;
mod sending;
mod serve;
mod shard;
mod supervisor;
mod traffic;

#[cfg(test)]
mod tests;

use std::{process::ExitCode, sync::Arc, time::Duration};

use shared::app::AppState;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    dead::bury_dead,
    fleet::{BootTime, Fleet, Setup, Time, Timing},
    lease::{Hold, Lease, LocalLease, Shards},
    registry::{Connectors, connectors},
    serve::{health, serve},
};

/// The program. `worker` holds its part of the fleet's accounts until SIGTERM; `worker health` asks the running one whether it is up,
/// for a container that has no other program to ask with, and says so by its exit status.
#[tokio::main]
pub async fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        None => serve().await,
        Some("health") => health().await,
        Some(_) => Err(shared::Error::invalid("command", "worker takes no argument but `health`")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, cause = ?error.source, "the worker has ended");
            ExitCode::FAILURE
        }
    }
}

/// How a worker behaves. The defaults are for the local home.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Instances that are taken over and opened at the same time.
    pub starts_at_once: usize,
    /// Commands received at once: at most 10 on SQS.
    pub batch: usize,
    /// How long a receive waits.
    pub poll: Duration,
    /// A line whose platform gives signs of life and then none for that long is closed and opened anew.
    pub watchdog: Duration,
    /// How long the platform may take to answer a question.
    pub ask: Duration,
    /// How long a send may take beyond the typing that it shows.
    pub send: Duration,
    /// How long opening, closing and logging out may take.
    pub open: Duration,
    /// At the start of a paired instance, how long its sends wait for the line before they are parked.
    pub first_open: Duration,
    /// First and longest pause before a line is opened again.
    pub reopen: (Duration, Duration),
    /// How long work in hand may take when the worker stops.
    pub stop: Duration,
    /// How often dead letters are looked for, where commands have come lately.
    pub bury: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            starts_at_once: 50,
            batch: 64,
            poll: Duration::from_secs(20),
            watchdog: Duration::from_secs(60),
            ask: Duration::from_secs(20),
            send: Duration::from_secs(60),
            open: Duration::from_secs(15),
            first_open: Duration::from_secs(3),
            reopen: (Duration::from_secs(1), Duration::from_secs(300)),
            stop: Duration::from_secs(10),
            bury: Duration::from_secs(60),
        }
    }
}

impl Settings {
    /// For a worker of a fleet, on SQS.
    pub fn fleet() -> Self {
        Self { batch: 10, ..Self::default() }
    }
}

/// What all supervisors share.
pub(crate) struct Context {
    pub(crate) app: AppState,
    pub(crate) connectors: Connectors,
    pub(crate) lease: Arc<dyn Lease>,
    pub(crate) settings: Settings,
    pub(crate) starts: Semaphore,
    pub(crate) busy: busy::Busy,
    /// Receives of shards that are no longer ours.
    pub(crate) lingering: TaskTracker,
}

/// A running worker.
pub struct Worker {
    stop: CancellationToken,
    lingering: TaskTracker,
    task: JoinHandle<()>,
}

impl Worker {
    /// Starts to hold the instances of the shards that `lease` owns.
    pub fn start(app: AppState, connectors: Connectors, lease: Arc<dyn Lease>, settings: Settings) -> Self {
        let stop = CancellationToken::new();
        let starts = Semaphore::new(settings.starts_at_once.max(1));
        let (busy, lingering) = (busy::Busy::default(), TaskTracker::new());
        let tracker = lingering.clone();
        let context = Arc::new(Context { app, connectors, lease, settings, starts, busy, lingering });
        let task = tokio::spawn(follow::follow(context, stop.clone()));
        Self { stop, lingering: tracker, task }
    }

    /// Stops in good order: receives nothing more, finishes what is in hand (bounded), closes the lines without logging out.
    /// What was not finished is in the queues as before.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the worker ended badly");
        }
    }

    /// [`Worker::stop`], and waits for receives that the queue still holds open, so that what they are handed goes back at once and
    /// does not stay out of sight: another process receives from the same queue. At most as long as one receive.
    pub async fn stop_and_linger(self) {
        let lingering = self.lingering.clone();
        self.stop().await;
        lingering.close();
        lingering.wait().await;
    }
}
