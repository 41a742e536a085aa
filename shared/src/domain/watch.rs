//! Instances whose events somebody follows on a socket that a gateway holds. Nobody waits there for logs to grow, so whoever
//! appends says so, by one queue message per event; but only while the instance's row says that it is watched, so that events
//! which nobody follows cost nothing.
//!
//! A socket that signs on has the instances of its user watched for the time that it may last. The mark is removed by the first
//! event after that time which nobody follows.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    app::App,
    clock::Millis,
    connector::{Action, Command},
    domain::{
        instance::{self, Instance},
        job,
    },
    error::Result,
    id::InstanceId,
    realtime::{
        mailbox::{self, Note},
        remote,
    },
    store::{Change, CommitError, Cond, Doc, Enqueue, Queue, Stamp, Unit, Write, keys},
};

/// How long an instance is watched, at least, once somebody signs on.
const AT_LEAST: Duration = remote::LIFE;
/// How long it is watched when that is written: so that of many who sign on few have to write.
pub const WRITTEN: Duration = Duration::from_secs(remote::LIFE.as_secs() + 3600);
/// Rows that are written at the same time.
const AT_ONCE: usize = 16;

/// Sees to it that those who append to these logs tell of it. Whether any of them was not watched before: then some events of
/// this moment may go untold.
pub async fn begin(app: &App, instances: &[Instance]) -> Result<bool> {
    let now = app.clock.now();
    let (least, until) = (now.plus(AT_LEAST), now.plus(WRITTEN));
    let due = instances.iter().filter(|instance| instance.watched_until.is_none_or(|at| at < least));
    let write = async |instance: &Instance| {
        let change = Change::default().set("watchedUntil", until.0);
        let there = Cond::All(vec![Cond::Exists, Cond::lacks("deleting")]);
        tell(app, instance, change, there, until).await?;
        Ok::<_, crate::Error>(instance.watched_until.is_none())
    };
    let writes: Vec<_> = due.map(write).collect();
    let news: Vec<bool> = stream::iter(writes).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(news.contains(&true))
}

/// Changes the mark, and has the owner learn of it.
async fn tell(app: &App, instance: &Instance, change: Change, cond: Cond, tag: Millis) -> Result<()> {
    let command = Command::new(instance.id.clone(), Action::Reconfigure);
    let unit = Unit {
        writes: vec![Write::update(keys::instance(&instance.id), change).only_if(cond)],
        enqueue: vec![job::command_message(instance, &command, &format!("watch/{}/{}", instance.id, tag.0))?],
        ..Unit::default()
    };
    match app.store.commit(unit).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The queue message that says that the instance's log has grown. `stamp`: see [`Enqueue`].
pub fn grown(id: &InstanceId, tag: &str, stamp: Option<Stamp>) -> Enqueue {
    // `job::Body` with `Work::SocketEvents`.
    let mut body = Doc::new();
    body.insert("v".into(), 1.into());
    body.insert("work".into(), "socket_events".into());
    body.insert("instance".into(), id.as_str().into());
    body.insert("seq".into(), 0.into());
    let group = format!("ws-events/{id}");
    let dedup = if tag.is_empty() { group.clone() } else { format!("{group}/{tag}") };
    Enqueue { queue: Queue::Jobs, group, dedup, body, delay: Duration::ZERO, stamp }
}

/// Tells the sockets that follow the instance that its log has grown.
pub async fn relay(app: &App, id: &InstanceId) -> Result<()> {
    let Some(instance) = instance::find(app, id).await? else { return Ok(()) };
    let Some(until) = instance.watched_until else { return Ok(()) };
    let now = app.clock.now();
    let sockets = remote::open(&app.store, now, &instance.user_id).await?;
    let notes = sockets
        .into_iter()
        .filter(|socket| socket.events)
        .map(|socket| {
            let dedup = format!("{}/grew/{}", socket.id, app.ids.ulid());
            mailbox::message(&socket.id, dedup, Note::Grew { instance: id.clone() })
        })
        .collect::<Result<Vec<_>>>()?;
    if !notes.is_empty() {
        return app.queues.send(notes).await;
    }
    if until < now {
        let same = Cond::All(vec![Cond::Exists, Cond::eq("watchedUntil", until.0)]);
        tell(app, &instance, Change::default().remove("watchedUntil"), same, now).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::{Body, Work};

    #[test]
    fn the_message_is_work_of_the_job_queue() {
        let id = InstanceId::new("0123456789abcdef");
        let body = serde_json::Value::Object(grown(&id, "x", None).body);
        let body: Body = serde_json::from_value(body).expect("decodes");
        assert_eq!(body, Body { v: 1, job: None, work: Work::SocketEvents { instance: id, seq: 0 } });
    }
}
