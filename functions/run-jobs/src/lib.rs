//! Consumer of the job queue: background work that users can watch under `/api/jobs/{id}`.
//!
//! A job notes its progress and where it would go on, so a run that was cut off is resumed by the redelivery of its message.

pub mod lambda;

use std::{sync::Arc, time::Duration};

use realtime::gateway::Gateway;
use serde_json::json;
use shared::{
    app::AppState,
    domain::{
        contact,
        im::{self, ChannelKey},
        instance,
        job::{self, Body, Status, Work},
        juhe::{
            self,
            intake::{Delivery, GROUP},
        },
    },
    error::{Error, Result},
    id::{JobId, SocketId},
    realtime::mailbox::Note,
    store::{Queue, Received},
    webhook::{self, Wanted},
};
use tokio::time::Instant;

/// How long a receive waits for messages.
const POLL: Duration = Duration::from_secs(20);
/// How long to wait after the queue failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Messages that are received at once, at the most: what is of one group, or of one device, is worked off together. SQS gives
/// ten.
const AT_ONCE: usize = 64;
/// Receives at a time: while some groups are worked off, others are not kept waiting.
const CONSUMERS: usize = 4;

/// Before an invocation ends, a long job is put down, to be taken up by the next one.
const ROOM: Duration = Duration::from_secs(20);

/// How a batch is held.
#[derive(Debug, Clone, Copy)]
pub struct Hand {
    /// When the process is taken away; `None`: not foreseeably.
    pub until: Option<Instant>,
    /// Whether finished messages are deleted here. A Lambda's answer does that for them.
    pub acknowledge: bool,
}

impl Hand {
    fn is_short(self) -> bool {
        self.until.is_some_and(|until| Instant::now() + ROOM > until)
    }
}

/// What became of a piece of work.
enum Run {
    Over,
    /// It is to go on where it noted.
    PutDown,
}

/// What jobs are done with. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    pub app: AppState,
    /// Serves the sockets that a gateway holds; `None` where the process holds them itself.
    pub gateway: Option<Arc<Gateway>>,
}

/// The local loops: work until the app closes.
pub async fn run(app: AppState) {
    let desk = Desk { app, gateway: None };
    futures_util::future::join_all((0..CONSUMERS).map(|_| consume(&desk))).await;
}

async fn consume(desk: &Desk) {
    let app = &desk.app;
    while !app.closing.is_cancelled() {
        let received = tokio::select! {
            received = app.queues.receive(Queue::Jobs, AT_ONCE, POLL) => received,
            () = app.closing.cancelled() => return,
        };
        match received {
            Ok(messages) => {
                handle(desk, messages, Hand { until: None, acknowledge: true }).await;
            }
            Err(error) => {
                tracing::warn!(%error, "the job queue does not answer");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Works off a batch: groups side by side, the messages of a group in order. Returns the handles of those that were not
/// finished, for a Lambda's answer; they were given back.
pub async fn handle(desk: &Desk, messages: Vec<Received>, hand: Hand) -> Vec<String> {
    let mut groups: Vec<(String, Vec<Received>)> = Vec::new();
    for message in messages {
        let line = line(&message.group);
        match groups.iter_mut().find(|(group, _)| group == line) {
            Some((_, members)) => members.push(message),
            None => groups.push((line.to_owned(), vec![message])),
        }
    }
    let work = groups.into_iter().map(|(_, messages)| {
        let desk = desk.clone();
        // A task of its own: a panic is caught there, and is a failure of this group only.
        let handles: Vec<String> = messages.iter().map(|message| message.receipt.handle.clone()).collect();
        let task = tokio::spawn(async move { group(&desk, messages, hand).await });
        async move { task.await.unwrap_or(handles) }
    });
    futures_util::future::join_all(work).await.into_iter().flatten().collect()
}

/// What is worked off in order. The conversations of a device need not wait for each other, but what is in hand of them at
/// once is applied together: that is far fewer writes.
fn line(group: &str) -> &str {
    match group.strip_prefix(GROUP).and_then(|rest| rest.find('/')) {
        Some(end) => &group[..GROUP.len() + end],
        None => group,
    }
}

async fn group(desk: &Desk, messages: Vec<Received>, hand: Hand) -> Vec<String> {
    let app = &desk.app;
    let mut left = messages.as_slice();
    while let Some(first) = left.first() {
        let (done, result) = match together(left) {
            _ if hand.is_short() => (0, Ok(Run::PutDown)),
            Together::Deliveries(all) => (all.len(), juhe::apply::run(app, &all).await.map(|()| Run::Over)),
            Together::FanOut(channel, seqs) => {
                (seqs.len(), im::fan_out::run(app, &channel, &seqs).await.map(|()| Run::Over))
            }
            Together::Notes(socket, notes) => {
                let count = notes.len();
                let read = match &desk.gateway {
                    Some(gateway) => gateway.notes(&socket, notes, first.receives).await,
                    None => Err(no_gateway()),
                };
                (count, read.map(|()| Run::Over))
            }
            Together::No => (1, one(desk, first, hand).await),
        };
        let pause = match result {
            Ok(Run::Over) => {
                let (over, rest) = left.split_at(done);
                if hand.acknowledge {
                    acknowledge(app, over).await;
                }
                left = rest;
                continue;
            }
            Ok(Run::PutDown) => Duration::ZERO,
            Err(error) => {
                tracing::warn!(%error, receives = first.receives, "job failed, will be tried again");
                Duration::from_secs(u64::from(first.receives.min(6)) * 5)
            }
        };
        // The first last: as long as it is in flight its group is closed, so nothing overtakes it.
        for message in left.iter().rev() {
            if let Err(error) = app.queues.release(&message.receipt, pause).await {
                tracing::warn!(%error, "a job stays invisible until its time is over");
            }
        }
        return left.iter().map(|message| message.receipt.handle.clone()).collect();
    }
    Vec::new()
}

async fn acknowledge(app: &AppState, over: &[Received]) {
    let deletes = over.iter().map(|message| app.queues.delete(&message.receipt));
    for deleted in futures_util::future::join_all(deletes).await {
        if let Err(error) = deleted {
            tracing::warn!(%error, "a finished job will be looked at again");
        }
    }
}

/// What is done in one go: it costs little more than one message.
enum Together {
    Deliveries(Vec<Delivery>),
    FanOut(ChannelKey, Vec<u64>),
    Notes(SocketId, Vec<Note>),
    No,
}

/// The messages at the front that can be done together. Those that failed before go one by one, so that a bad one does not hold
/// up the others.
fn together(messages: &[Received]) -> Together {
    let fresh = messages.iter().take_while(|message| message.receives == 1);
    let mut works = fresh.map_while(|message| match message.decode::<Body>() {
        Ok(Body { job: None, work, .. }) => Some(work),
        _ => None,
    });
    match works.next() {
        Some(Work::Juhe(first)) => {
            let more = works.map_while(|work| match work {
                Work::Juhe(delivery) => Some(*delivery),
                _ => None,
            });
            Together::Deliveries(std::iter::once(*first).chain(more).collect())
        }
        Some(Work::ImFanOut { channel, seq }) => {
            let more = works.map_while(|work| match work {
                Work::ImFanOut { channel: other, seq } if other == channel => Some(seq),
                _ => None,
            });
            let seqs = std::iter::once(seq).chain(more).collect();
            Together::FanOut(channel, seqs)
        }
        Some(Work::Socket { socket, note }) => {
            let more = works.map_while(|work| match work {
                Work::Socket { socket: other, note } if other == socket => Some(*note),
                _ => None,
            });
            let notes = std::iter::once(*note).chain(more).collect();
            Together::Notes(socket, notes)
        }
        _ => Together::No,
    }
}

/// Does one piece of work. An error is a fault of ours: the message comes back.
async fn one(desk: &Desk, message: &Received, hand: Hand) -> Result<Run> {
    let body: Body = message.decode()?;
    match body.job {
        Some(id) => watched(&desk.app, message, &id, body.work, hand).await,
        None => background(desk, message, body.work).await.map(|()| Run::Over),
    }
}

fn no_gateway() -> Error {
    Error::internal("no gateway holds sockets for this process")
}

/// Work that nobody waits for.
async fn background(desk: &Desk, message: &Received, work: Work) -> Result<()> {
    let app = &desk.app;
    match work {
        Work::Socket { .. } | Work::SocketEvents { .. } | Work::SocketsGone { .. } => match &desk.gateway {
            Some(gateway) => gateway.work(work, message.receives).await,
            None => Err(no_gateway()),
        },
        Work::ImFanOut { channel, seq } => im::fan_out::run(app, &channel, &[seq]).await,
        Work::Juhe(delivery) => juhe::apply::run(app, &[*delivery]).await,
        Work::JuheOwn { instance, own, after } => juhe::apply::claim_own(app, &instance, &own, after).await,
        Work::ImDisband { channel } => im::group::disband(app, &channel).await,
        Work::ReplayDeliveries { .. } | Work::SyncContacts { .. } => Err(Error::internal("this work has a job")),
    }
}

/// Work with a row that users watch: what the job itself cannot do is its result.
async fn watched(app: &AppState, message: &Received, id: &JobId, work: Work, hand: Hand) -> Result<Run> {
    let Some(job) = job::get(app, id).await? else { return Ok(Run::Over) };
    if matches!(job.status, Status::Done | Status::Failed) {
        return Ok(Run::Over);
    }
    let outcome = match work {
        Work::ReplayDeliveries { instance, endpoint, since, until, status } => {
            let Some(instance) = instance::find(app, &instance).await? else {
                return job::finish(app, id, Err(instance::unknown())).await.map(|()| Run::Over);
            };
            let mut cursor = job.cursor;
            loop {
                if hand.is_short() {
                    return Ok(Run::PutDown);
                }
                app.queues.extend(&message.receipt, Queue::Jobs.visibility()).await?;
                let wanted = Wanted { endpoint: &endpoint, since, until, status: status.as_deref() };
                let step = webhook::replay_range(app, &instance, &wanted, cursor.as_ref()).await;
                match step {
                    Ok(step) if step.next.is_some() => {
                        job::progress(app, id, step.progress, step.next.clone()).await?;
                        cursor = step.next;
                    }
                    Ok(step) => break Ok(json!({ "replayed": step.replayed })),
                    Err(error) => break Err(error),
                }
            }
        }
        Work::SyncContacts { user, platform } => {
            let mut cursor = job.cursor;
            loop {
                if hand.is_short() {
                    return Ok(Run::PutDown);
                }
                app.queues.extend(&message.receipt, Queue::Jobs.visibility()).await?;
                match contact::sync::step(app, &user, platform, cursor.as_ref()).await {
                    Ok(step) if step.next.is_some() => {
                        job::progress(app, id, step.progress, step.next.clone()).await?;
                        cursor = step.next;
                    }
                    Ok(step) => break Ok(step.result),
                    Err(error) => break Err(error),
                }
            }
        }
        Work::Juhe(_)
        | Work::JuheOwn { .. }
        | Work::ImFanOut { .. }
        | Work::ImDisband { .. }
        | Work::Socket { .. }
        | Work::SocketEvents { .. }
        | Work::SocketsGone { .. } => Err(Error::internal("nobody waits for this work")),
    };
    match outcome {
        // A fault of ours: the message comes back, and the job goes on where it was.
        Err(error) if error.is_temporary() => Err(error),
        outcome => job::finish(app, id, outcome).await.map(|()| Run::Over),
    }
}
