//! Background jobs: work that takes longer than an answer may, and questions that only the owner's socket can answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    address::Platform,
    app::App,
    clock::{DAY_MS, Millis},
    connector::{Action, Command, Request},
    domain::{endpoint, im::ChannelKey, instance::Instance, juhe::intake::Delivery},
    error::{Error, Kind, Result},
    id::{InstanceId, JobId, SocketId, UserId},
    realtime::mailbox::Note,
    store::{Change, CommitError, Cond, Cursor, Doc, Enqueue, Item, Queue, Read, Unit, Write, keys},
};

/// Jobs are kept that long.
const LIFE_MS: i64 = 7 * DAY_MS;

/// No request takes longer than 20 s (spec/http.md, "Everywhere"): a little less, for the rest of the answer.
pub const WAIT: Duration = Duration::from_millis(19_000);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Queued,
    Running,
    Done,
    Failed,
}

/// Why a job failed, as users see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: String,
    pub message: String,
    /// Name of the error's kind, so that whoever waits can answer with the right status.
    pub kind: String,
    /// Milliseconds after which to ask again, where that is known.
    #[serde(default, rename = "retryAfterMs", skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    pub v: u32,
    pub id: JobId,
    pub kind: String,
    pub user_id: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<InstanceId>,
    pub status: Status,
    /// 0 to 100.
    pub progress: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Where a resumed run goes on; the job's own business.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Value>,
    pub created_at: Millis,
    pub updated_at: Millis,
}

/// Work for `run-jobs`: the body of a message in [`Queue::Jobs`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Work {
    /// Deliver events to an endpoint again: those of deliveries in `status`, or all, between two moments.
    ReplayDeliveries {
        instance: InstanceId,
        #[serde(default = "webhook")]
        endpoint: String,
        since: Millis,
        until: Millis,
        status: Option<String>,
    },
    /// Refresh the contacts of a user on a platform, over all of the user's instances there.
    SyncContacts { user: UserId, platform: Platform },
    /// Apply notifications of a device (seed 003).
    Juhe(Box<Delivery>),
    /// The account behind a device turned out to be `own`: what it wrote is its own.
    JuheOwn { instance: InstanceId, own: String, after: Option<Cursor> },
    /// Bring message `seq` of an IM channel to its members.
    ImFanOut { channel: ChannelKey, seq: u64 },
    /// Do something for a socket that a gateway holds.
    Socket { socket: SocketId, note: Box<Note> },
    /// Tell the sockets that follow an instance that its log has grown; `seq`: how far.
    SocketEvents { instance: InstanceId, seq: u64 },
    /// Tell the peers of a user that the user is gone, if that is so.
    SocketsGone { user: UserId },
    /// Remove what the members of a deleted group have of it.
    ImDisband { channel: ChannelKey },
}

/// What messages mean that do not name an endpoint.
fn webhook() -> String {
    endpoint::WEBHOOK.to_owned()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Body {
    pub v: u32,
    /// The row that users watch; `None` for work that nobody waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    #[serde(flatten)]
    pub work: Work,
}

/// A new job's row.
pub fn new(app: &App, kind: &str, user: &UserId, instance: Option<&InstanceId>) -> Result<(Job, Write)> {
    let now = app.clock.now();
    let job = Job {
        v: 1,
        id: JobId::new(app.ids.ulid()),
        kind: kind.into(),
        user_id: user.clone(),
        instance_id: instance.cloned(),
        status: Status::Queued,
        progress: 0,
        result: None,
        error: None,
        cursor: None,
        created_at: now,
        updated_at: now,
    };
    let item = Item::new(keys::job(&job.id), &job)?.expires(Millis(now.0 + LIFE_MS));
    Ok((job, Write::create(item)))
}

/// Starts work in the background. `group`: jobs of one group run one after the other.
pub async fn start(app: &App, kind: &str, user: &UserId, instance: &InstanceId, work: Work) -> Result<JobId> {
    let (job, write) = new(app, kind, user, Some(instance))?;
    let enqueue = watched(instance.to_string(), job.id.to_string(), &job.id, work)?;
    app.store.commit(Unit { writes: vec![write], enqueue: vec![enqueue], ..Unit::default() }).await?;
    Ok(job.id)
}

/// The queue message of work that has a row. `group`, `dedup`: see [`background`].
pub fn watched(group: String, dedup: String, job: &JobId, work: Work) -> Result<Enqueue> {
    let body = object(&Body { v: 1, job: Some(job.clone()), work })?;
    Ok(Enqueue { queue: Queue::Jobs, group, dedup, body, delay: Duration::ZERO, stamp: None })
}

/// The queue message of work that nobody waits for, to be enqueued in the unit that gives rise to it. It is repeated until it
/// succeeds. `group`: such work runs one after the other; `dedup`: the same is queued once within five minutes.
pub fn background(group: String, dedup: String, work: Work) -> Result<Enqueue> {
    let body = object(&Body { v: 1, job: None, work })?;
    Ok(Enqueue { queue: Queue::Jobs, group, dedup, body, delay: Duration::ZERO, stamp: None })
}

pub async fn get(app: &App, id: &JobId) -> Result<Option<Job>> {
    app.store.get(&keys::job(id), Read::Strong).await?.map(Item::into).transpose()
}

/// Notes how far a job is, and where it would go on.
pub async fn progress(app: &App, id: &JobId, progress: u8, cursor: Option<Value>) -> Result<()> {
    let change = Change::default()
        .set("status", "running")
        .set("progress", progress)
        .set_or_remove("cursor", cursor)
        .set("updatedAt", app.clock.now().0);
    finish_write(app, id, change).await
}

/// Ends a job. A second end changes nothing.
pub async fn finish(app: &App, id: &JobId, outcome: Result<Value, Error>) -> Result<()> {
    let change = Change::default().set("updatedAt", app.clock.now().0).remove("cursor");
    let change = match outcome {
        Ok(result) => change.set("status", "done").set("progress", 100).set("result", result),
        Err(error) => {
            if let Some(source) = &error.source {
                tracing::warn!(job = %id, code = %error.code, %source, "job failed");
            }
            let failure = Failure {
                code: error.code.to_string(),
                message: error.message.to_string(),
                kind: format!("{:?}", error.kind),
                retry_after_ms: error.retry_after.and_then(|wait| u64::try_from(wait.as_millis()).ok()),
            };
            change.set("status", "failed").set("error", serde_json::to_value(failure)?)
        }
    };
    finish_write(app, id, change).await
}

async fn finish_write(app: &App, id: &JobId, change: Change) -> Result<()> {
    let open = Cond::All(vec![Cond::Exists, Cond::ne("status", "done"), Cond::ne("status", "failed")]);
    match app.store.commit(Unit::write(Write::update(keys::job(id), change).only_if(open))).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What became of a question within the time that an answer may take.
#[derive(Debug)]
pub enum Answer {
    Done(Value),
    /// Still running: 202 with the job's id.
    Later(JobId),
}

/// Asks the instance's owner something and waits for the answer, at most `wait`.
pub async fn ask(app: &App, instance: &Instance, kind: &str, request: Request, wait: Duration) -> Result<Answer> {
    let id = question(app, instance, kind, request).await?;
    answer(app, id, wait).await
}

/// Waits for what a job answers, at most `wait`.
///
/// Errors: the job's own.
pub async fn answer(app: &App, id: JobId, wait: Duration) -> Result<Answer> {
    match ended(app, &id, wait).await? {
        Some(Ok(value)) => Ok(Answer::Done(value)),
        Some(Err(failure)) => Err(failure.into_error()),
        None => Ok(Answer::Later(id)),
    }
}

/// Asks the instance's owner something; the answer comes into the job.
pub async fn question(app: &App, instance: &Instance, kind: &str, request: Request) -> Result<JobId> {
    let (job, write) = new(app, kind, &instance.user_id, Some(&instance.id))?;
    let command = Command::new(instance.id.clone(), Action::Ask { job: job.id.clone(), request });
    let enqueue = command_message(instance, &command, job.id.as_str())?;
    app.store.commit(Unit { writes: vec![write], enqueue: vec![enqueue], ..Unit::default() }).await?;
    Ok(job.id)
}

/// Waits for the end of a job, at most `wait`. `None`: it has not ended.
pub async fn ended(app: &App, id: &JobId, wait: Duration) -> Result<Option<Result<Value, Failure>>> {
    let deadline = app.clock.monotonic() + wait;
    let mut pause = Duration::from_millis(4);
    loop {
        tokio::time::sleep(pause).await;
        if let Some(job) = get(app, id).await? {
            match (job.status, job.result, job.error) {
                (Status::Done, result, _) => return Ok(Some(Ok(result.unwrap_or(Value::Null)))),
                (Status::Failed, _, Some(failure)) => return Ok(Some(Err(failure))),
                _ => {}
            }
        }
        if app.clock.monotonic() >= deadline {
            return Ok(None);
        }
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

impl Failure {
    /// What whoever waited for the job answers.
    pub fn into_error(self) -> Error {
        let kind = match self.kind.as_str() {
            "Invalid" => Kind::Invalid,
            "Forbidden" => Kind::Forbidden,
            "NotFound" => Kind::NotFound,
            "Conflict" => Kind::Conflict,
            "RateLimited" => Kind::RateLimited,
            "TooLarge" => Kind::TooLarge,
            "Internal" => Kind::Internal,
            _ => Kind::Unavailable,
        };
        let error = Error::new(kind, self.code, self.message);
        match self.retry_after_ms {
            Some(wait) => error.after(Duration::from_millis(wait)),
            None => error,
        }
    }
}

/// A message in the command queue of the instance's shard.
pub fn command_message(instance: &Instance, command: &Command, dedup: &str) -> Result<Enqueue> {
    Ok(Enqueue {
        queue: Queue::Commands(instance.shard),
        group: instance.id.to_string(),
        dedup: dedup.to_owned(),
        body: object(command)?,
        delay: Duration::ZERO,
        stamp: None,
    })
}

/// Anything that serialises to an object, as a queue body.
pub fn object(body: &impl Serialize) -> Result<Doc> {
    match serde_json::to_value(body)? {
        Value::Object(doc) => Ok(doc),
        other => Err(Error::internal(format!("a queue body must be an object, not {other}"))),
    }
}
