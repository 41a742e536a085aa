//! Consumer of the job queue: background work that users can watch under `/api/jobs/{id}`.
//!
//! A job notes its progress and where it would go on, so a run that was cut off is resumed by the redelivery of its message.

pub mod lambda;

use std::time::Duration;

use serde_json::json;
use shared::{
    app::AppState,
    domain::{
        im, instance,
        job::{self, Body, Status, Work},
    },
    error::{Error, Result},
    id::JobId,
    store::{Queue, Received},
    webhook,
};

/// How long a receive waits for messages.
const POLL: Duration = Duration::from_secs(20);
/// How long to wait after the queue failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The local loop: works until the app closes.
pub async fn run(app: AppState) {
    while !app.closing.is_cancelled() {
        let received = tokio::select! {
            received = app.queues.receive(Queue::Jobs, 10, POLL) => received,
            () = app.closing.cancelled() => return,
        };
        match received {
            Ok(messages) => {
                handle(&app, messages).await;
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
pub async fn handle(app: &AppState, messages: Vec<Received>) -> Vec<String> {
    let mut groups: Vec<(String, Vec<Received>)> = Vec::new();
    for message in messages {
        match groups.iter_mut().find(|(group, _)| *group == message.group) {
            Some((_, members)) => members.push(message),
            None => groups.push((message.group.clone(), vec![message])),
        }
    }
    let work = groups.into_iter().map(|(_, messages)| {
        let app = app.clone();
        // A task of its own: a panic is caught there, and is a failure of this group only.
        let handles: Vec<String> = messages.iter().map(|message| message.receipt.handle.clone()).collect();
        let task = tokio::spawn(async move { group(&app, messages).await });
        async move { task.await.unwrap_or(handles) }
    });
    futures_util::future::join_all(work).await.into_iter().flatten().collect()
}

async fn group(app: &AppState, messages: Vec<Received>) -> Vec<String> {
    let mut left = messages.into_iter();
    for message in left.by_ref() {
        match one(app, &message).await {
            Ok(()) => {
                if let Err(error) = app.queues.delete(&message.receipt).await {
                    tracing::warn!(%error, "a finished job will be looked at again");
                }
            }
            Err(error) => {
                tracing::warn!(%error, receives = message.receives, "job failed, will be tried again");
                let mut back = vec![message];
                back.extend(left);
                let delay = Duration::from_secs(u64::from(back[0].receives.min(6)) * 5);
                for message in &back {
                    if let Err(error) = app.queues.release(&message.receipt, delay).await {
                        tracing::warn!(%error, "a job stays invisible until its time is over");
                    }
                }
                return back.into_iter().map(|message| message.receipt.handle).collect();
            }
        }
    }
    Vec::new()
}

/// Does one piece of work. An error is a fault of ours: the message comes back.
async fn one(app: &AppState, message: &Received) -> Result<()> {
    let body: Body = message.decode()?;
    match body.job {
        Some(id) => watched(app, message, &id, body.work).await,
        None => background(app, message, body.work).await,
    }
}

/// Work that nobody waits for.
async fn background(app: &AppState, _message: &Received, work: Work) -> Result<()> {
    match work {
        Work::ImFanOut { channel, seq } => im::fan_out::run(app, &channel, seq).await,
        Work::ImDisband { channel } => im::group::disband(app, &channel).await,
        Work::ReplayDeliveries { .. } => Err(Error::internal("this work has a job")),
    }
}

/// Work with a row that users watch: what the job itself cannot do is its result.
async fn watched(app: &AppState, message: &Received, id: &JobId, work: Work) -> Result<()> {
    let Some(job) = job::get(app, id).await? else { return Ok(()) };
    if matches!(job.status, Status::Done | Status::Failed) {
        return Ok(());
    }
    let outcome = match work {
        Work::ReplayDeliveries { instance, since, until, status } => {
            let Some(instance) = instance::find(app, &instance).await? else {
                return job::finish(app, id, Err(instance::unknown())).await;
            };
            let mut cursor = job.cursor;
            loop {
                app.queues.extend(&message.receipt, Queue::Jobs.visibility()).await?;
                let step =
                    webhook::replay_range(app, &instance, since, until, status.as_deref(), cursor.as_ref()).await;
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
        Work::ImFanOut { .. } | Work::ImDisband { .. } => Err(Error::internal("nobody waits for this work")),
    };
    match outcome {
        // A fault of ours: the message comes back, and the job goes on where it was.
        Err(error) if error.is_temporary() => Err(error),
        outcome => job::finish(app, id, outcome).await,
    }
}
