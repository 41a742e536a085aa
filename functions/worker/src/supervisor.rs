//! One connected account: a task that takes the instance over, keeps its line, and lets commands and updates happen.
//!
//! The task sleeps unless something happens: it has a timer only while a line is watched, a reopening is due, commands are in
//! hand, or a mark is to be saved.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use shared::{
    Error, Result,
    connector::{Closed, Update},
    domain::{
        instance::{Instance, Status},
        owner::{Owner, PAIRING_EXPIRED, SAVE_AFTER},
    },
    id::InstanceId,
    store::{CommitError, Received},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Context,
    backoff::{Backoff, chance},
    callbacks::Callbacks,
    commands::Commands,
    control,
    gauges::{self, Counted},
    in_hand::EXTEND_EVERY,
    lanes::Lanes,
    lines::{self, Open},
    moving::is_moving,
    parking,
    port::Port,
    traffic::{Traffic, Work},
};

/// A line that was up for that long has recovered: the next pause is the shortest again.
const STEADY: Duration = Duration::from_secs(60);

/// What comes to a supervisor.
#[derive(Debug)]
pub(crate) enum Mail {
    Commands(Vec<Received>),
    Update {
        generation: u64,
        update: Update,
        reply: oneshot::Sender<Result<()>>,
    },
    /// The line gives signs of life: watch it from now on.
    Watch,
    /// Dispatches went out: the mark is to be saved in a while.
    Mark,
    /// Somebody else owns the instance.
    Fenced,
}

/// How a worker asks its supervisors to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending {
    /// In good order.
    pub(crate) stop: CancellationToken,
    /// At once: the lease is lost.
    pub(crate) lost: CancellationToken,
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    pub(crate) reopen: Option<Instant>,
    watchdog: Option<Instant>,
    extend: Option<Instant>,
    save: Option<Instant>,
    /// Sends wait until then for the first line.
    pub(crate) hold: Option<Instant>,
    /// Then it is looked for sends that wait for long.
    pub(crate) count: Option<Instant>,
}

impl Timers {
    fn next(&self) -> Option<Instant> {
        [self.reopen, self.watchdog, self.extend, self.save, self.hold, self.count].into_iter().flatten().min()
    }
}

/// Whether a timer is due; if so it is off.
fn due(timer: &mut Option<Instant>, now: Instant) -> bool {
    timer.take_if(|at| *at <= now).is_some()
}

pub(crate) struct Supervisor {
    pub(crate) port: Arc<Port>,
    pub(crate) ending: Ending,
    mail: mpsc::Receiver<Mail>,
    pub(crate) sender: mpsc::Sender<Mail>,
    pub(crate) open: Option<Open>,
    generation: u64,
    pub(crate) wanted: bool,
    pub(crate) backoff: Backoff,
    pub(crate) timers: Timers,
    pub(crate) commands: Commands,
    pub(crate) lanes: Lanes,
    pub(crate) callbacks: Callbacks,
    pub(crate) traffic: Traffic,
    pub(crate) work: FuturesUnordered<Work>,
    pub(crate) gone: bool,
    counted: Counted,
}

/// Runs until the worker ends, the instance is deleted, or another owner takes it.
///
/// What is needed once is boxed and dropped, so that a thousand idle tasks do not keep room for it.
pub(crate) async fn run(
    context: Arc<Context>,
    place: (u16, u64),
    id: InstanceId,
    (sender, mail): (mpsc::Sender<Mail>, mpsc::Receiver<Mail>),
    ending: Ending,
) {
    let stop = ending.stop.clone();
    let begun = Box::pin(begin(&context, place, &id, sender, mail, ending));
    let begun = tokio::select! {
        biased;
        () = stop.cancelled() => return,
        begun = begun => begun,
    };
    match begun {
        Begun::Supervised(supervisor) => Box::pin(supervisor.keep()).await,
        Begun::Gone(mail) => Box::pin(control::answer_for_nobody(&context, &id, mail)).await,
        Begun::NotOurs(mail) => Box::pin(control::give_back(&context, &id, mail)).await,
    }
}

/// How a supervisor begins; the mailbox, where there is nothing to supervise.
enum Begun {
    Supervised(Box<Supervisor>),
    /// There is no such instance.
    Gone(mpsc::Receiver<Mail>),
    /// It is somebody else's, or the lease is over.
    NotOurs(mpsc::Receiver<Mail>),
}

/// Takes over and opens the line, few instances at a time.
async fn begin(
    context: &Arc<Context>,
    (shard, floor): (u16, u64),
    id: &InstanceId,
    sender: mpsc::Sender<Mail>,
    mail: mpsc::Receiver<Mail>,
    ending: Ending,
) -> Begun {
    let _permit = context.starts.acquire().await;
    let owner = match take_over(context, (shard, floor), id).await {
        Taken::Owned(owner) => *owner,
        Taken::Gone => return Begun::Gone(mail),
        Taken::NotOurs => return Begun::NotOurs(mail),
    };
    let instance = owner.instance();
    let mut supervisor = Box::new(Supervisor {
        port: Arc::new(Port::new(Arc::clone(context), shard, owner)),
        ending,
        mail,
        sender,
        open: None,
        generation: 0,
        wanted: is_wanted(&instance),
        backoff: Backoff::new(context.settings.reopen),
        timers: Timers::default(),
        commands: Commands::default(),
        lanes: Lanes::default(),
        callbacks: Callbacks::default(),
        traffic: Traffic::new(),
        work: FuturesUnordered::new(),
        gone: false,
        counted: Counted::new(instance.status),
    });
    if supervisor.wanted {
        if instance.paired {
            supervisor.timers.hold = Some(Instant::now() + context.settings.first_open);
        }
        supervisor.open_line().await;
    }
    Begun::Supervised(supervisor)
}

/// Whose an instance is.
enum Taken {
    Owned(Box<Owner>),
    Gone,
    NotOurs,
}

/// Takes over, however long the store needs.
async fn take_over(context: &Context, (shard, floor): (u16, u64), id: &InstanceId) -> Taken {
    let mut backoff = Backoff::new(context.settings.reopen);
    while context.lease.valid(shard) {
        match Owner::take_over(Arc::clone(&context.app), id, floor).await {
            Ok(Some(owner)) => return Taken::Owned(Box::new(owner)),
            Ok(None) => return Taken::Gone,
            Err(CommitError::Store(error)) => {
                tracing::warn!(instance = %id, %error, "an instance is not taken over yet");
                tokio::time::sleep(backoff.next(chance())).await;
            }
            Err(error) => {
                tracing::warn!(instance = %id, %error, "an instance was not taken over");
                return Taken::NotOurs;
            }
        }
    }
    Taken::NotOurs
}

/// Whether a start of the worker opens the line. What only a user can mend waits for a `Reconnect`.
fn is_wanted(instance: &Instance) -> bool {
    let ended = [PAIRING_EXPIRED, Closed::Banned.name(), Closed::Replaced.name()];
    // Every other reason of ours is one of `Closed`: what is not was given by a platform that refuses to pair.
    let refused = |reason: &str| !instance.paired && Closed::of(reason).is_none();
    !instance.deleting
        && !instance.is_reported()
        && !is_moving(instance)
        && !matches!(instance.status, Status::LoggedOut | Status::AuthExpired)
        && !instance.reason.as_deref().is_some_and(|reason| ended.contains(&reason) || refused(reason))
}

impl Supervisor {
    async fn keep(mut self: Box<Self>) {
        let ending = self.ending.clone();
        loop {
            self.begin_work().await;
            self.counted.change(self.port.owner.instance().status);
            if self.gone || self.port.is_fenced() {
                break;
            }
            let timer =
                [self.timers.next(), self.lanes.next_wake(), self.traffic.next_wake()].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = ending.lost.cancelled() => break,
                () = ending.stop.cancelled() => return Box::pin(self.stop()).await,
                Some(done) = self.work.next(), if !self.work.is_empty() => self.finished(done).await,
                Some(mail) = self.mail.recv() => Box::pin(self.read(mail)).await,
                () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => Box::pin(self.tick()).await,
            }
        }
        // Not the owner any more, or nothing left to own: nothing is written.
        self.work.clear();
        self.drop_line().await;
        if self.gone {
            self.port.in_hand.give_back(self.port.app()).await;
        }
    }

    async fn read(&mut self, mail: Mail) {
        match mail {
            Mail::Commands(received) => {
                let port = Arc::clone(&self.port);
                self.commands.take(&port, received).await;
                if !port.in_hand.is_empty() {
                    self.timers.extend.get_or_insert(Instant::now() + EXTEND_EVERY);
                }
            }
            Mail::Update { generation, update, reply } => {
                let current = self.open.as_ref().is_some_and(|open| open.generation == generation);
                let (result, closes) = if current {
                    self.update(update).await
                } else {
                    (Err(Error::unavailable("this line is closed")), false)
                };
                // Nobody waits for it any more: then nobody needs to know.
                drop(reply.send(result));
                if closes {
                    self.drop_line().await;
                }
            }
            Mail::Watch => self.timers.watchdog = Some(Instant::now() + self.port.context.settings.watchdog),
            Mail::Mark => self.save_soon(),
            Mail::Fenced => {}
        }
    }

    pub(crate) fn save_soon(&mut self) {
        self.timers.save.get_or_insert(Instant::now() + SAVE_AFTER);
    }

    /// An update that changes the line's state: its answer, and whether the line is over with it.
    async fn update(&mut self, update: Update) -> (Result<()>, bool) {
        let port = Arc::clone(&self.port);
        let up = port.line_up().is_some();
        let result = match &update {
            // A code that was under way when somebody scanned the one before.
            Update::Qr { .. } if up => Ok(()),
            Update::Qr { code } => port.owner.qr(code).await,
            Update::PairingExpired => port.owner.pairing_expired().await,
            Update::PairingRefused { reason } => port.owner.pairing_ended(reason).await,
            Update::Opened { address, aliases, name } => port.owner.opened(address, aliases, name).await,
            Update::Closed { reason } => port.owner.closed(*reason, reason.will_reconnect()).await,
            Update::Unauthorized { reason, detail } => port.owner.unauthorized(reason, detail).await,
            Update::Received(_)
            | Update::Receipt { .. }
            | Update::Reported(_)
            | Update::Contacts(_)
            | Update::SameChat { .. }
            | Update::Happened(_)
            | Update::History(_)
            | Update::Restricted { .. } => Err(Error::internal("facts do not go through the supervisor").into()),
        };
        if let Err(error) = port.check(result) {
            return (Err(error.into()), false);
        }
        self.save_soon();
        match update {
            Update::Opened { .. } => {
                port.set_up();
                self.timers.hold = None;
                self.traffic.forget();
                if let Some(open) = &mut self.open {
                    open.up_since = Some(Instant::now());
                }
                (Ok(()), false)
            }
            Update::Closed { reason } => {
                if reason == Closed::Logout {
                    parking::fail_all(&port).await;
                }
                self.plan_reopening(reason.will_reconnect());
                (Ok(()), true)
            }
            Update::PairingExpired | Update::PairingRefused { .. } | Update::Unauthorized { .. } => {
                self.plan_reopening(false);
                (Ok(()), true)
            }
            _ => (Ok(()), false),
        }
    }

    fn plan_reopening(&mut self, again: bool) {
        self.wanted = again;
        let up_since = self.open.as_ref().and_then(|open| open.up_since);
        if up_since.is_some_and(|since| since.elapsed() >= STEADY) {
            self.backoff.reset();
        }
        self.timers.hold = None;
        self.timers.reopen = again.then(|| Instant::now() + self.backoff.next(chance()));
    }

    /// Opens the line; if that fails, later again, or not before somebody mends what is wrong.
    pub(crate) async fn open_line(&mut self) {
        self.drop_line().await;
        self.timers.reopen = None;
        self.generation += 1;
        match lines::open(&self.port, self.sender.clone(), self.generation).await {
            Ok(open) => {
                self.port.set_line(Some(Arc::clone(&open.line)), false);
                self.open = Some(open);
            }
            Err(error) => {
                let again = error.is_temporary();
                tracing::warn!(instance = %self.port.owner.id(), %error, again, "a line was not opened");
                let reason = if again { Closed::Unreachable } else { Closed::Error };
                let told = self.port.owner.closed(reason, again).await;
                if let Err(error) = self.port.check(told) {
                    tracing::warn!(instance = %self.port.owner.id(), %error, "a status was not written");
                }
                self.plan_reopening(again);
            }
        }
    }

    pub(crate) async fn drop_line(&mut self) {
        self.port.set_line(None, false);
        self.timers.watchdog = None;
        if let Some(open) = self.open.take() {
            open.close(self.port.context.settings.open).await;
        }
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        if due(&mut self.timers.extend, now) {
            self.port.in_hand.extend(self.port.app()).await;
            if !self.port.in_hand.is_empty() {
                self.timers.extend = Some(Instant::now() + EXTEND_EVERY);
            }
        }
        if due(&mut self.timers.save, now) {
            if let Some(open) = &self.open {
                open.emitter.noted.store(false, std::sync::atomic::Ordering::Release);
            }
            self.callbacks.mark_is_saved();
            let saved = self.port.owner.save_mark().await;
            if let Err(error) = self.port.check(saved) {
                tracing::debug!(instance = %self.port.owner.id(), %error, "the dispatch mark was not saved");
            }
        }
        due(&mut self.timers.hold, now);
        if due(&mut self.timers.count, now) && self.timers.hold.is_none() {
            self.park_late();
        }
        if due(&mut self.timers.watchdog, now) {
            self.watch().await;
        }
        if due(&mut self.timers.reopen, now) && self.wanted && self.open.is_none() {
            gauges::reconnect();
            self.open_line().await;
        }
    }

    async fn watch(&mut self) {
        let limit = self.port.context.settings.watchdog;
        let Some(silent) = self.open.as_ref().and_then(|open| open.emitter.silent_for()) else { return };
        if silent < limit {
            self.timers.watchdog = Some(Instant::now() + (limit - silent));
            return;
        }
        tracing::warn!(instance = %self.port.owner.id(), "the platform is silent: the line is opened anew");
        let told = self.port.owner.closed(Closed::Unreachable, true).await;
        if let Err(error) = self.port.check(told) {
            tracing::warn!(instance = %self.port.owner.id(), %error, "a status was not written");
        }
        self.plan_reopening(true);
        self.drop_line().await;
    }

    /// Finishes what is in hand, within bounds, and closes without logging out.
    async fn stop(mut self: Box<Self>) {
        let deadline = Instant::now() + self.port.context.settings.stop;
        let lost = self.ending.lost.clone();
        while !self.work.is_empty() {
            tokio::select! {
                biased;
                () = lost.cancelled() => break,
                () = sleep_until(deadline) => break,
                Some(done) = self.work.next() => self.finished(done).await,
                Some(mail) = self.mail.recv() => match mail {
                    // Received while we were asked to stop: for whoever comes next.
                    Mail::Commands(received) => {
                        for message in received {
                            self.port.release(&message.receipt, Duration::ZERO).await;
                        }
                    }
                    other => self.read(other).await,
                },
            }
        }
        self.work.clear();
        self.mail.close();
        let was_up = self.port.line_up().is_some();
        self.drop_line().await;
        if lost.is_cancelled() || self.port.is_fenced() {
            return;
        }
        self.port.in_hand.give_back(self.port.app()).await;
        if was_up && let Err(error) = self.port.owner.closed(Closed::Restart, true).await {
            tracing::debug!(instance = %self.port.owner.id(), %error, "the closing was not told");
        }
        if let Err(error) = self.port.owner.save_mark().await {
            tracing::debug!(instance = %self.port.owner.id(), %error, "the dispatch mark was not saved");
        }
    }
}
