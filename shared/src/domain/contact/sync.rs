//! Refreshing the contacts of a user on a platform: a job over all of the user's instances there.
//!
//! One instance after the other: where the platform has a contact list, its owner is asked for it; elsewhere everybody counts
//! who was seen in messages. The job's cursor says where it is, so a run that was cut off goes on there. At most one job a user
//! and platform runs: who asks for another joins it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::person;
use crate::{
    address::Platform,
    app::App,
    clock::Millis,
    connector::{ContactInfo, Request},
    domain::{
        chat::Chat,
        instance::Instance,
        job::{self, Job, Status, Work},
    },
    error::{Error, Result},
    id::{InstanceId, JobId, UserId},
    store::{Change, CommitError, Cond, Cursor, Item, Query, Read, Unit, Write, keys},
};

/// `kind` of the job.
pub const KIND: &str = "sync_contacts";
/// Chats that are looked at in one step.
const PAGE: usize = 100;
/// How long one step waits for an owner's answer.
const WAIT: Duration = Duration::from_secs(10);
/// An owner that has not answered by then is passed over.
const GIVE_UP: Duration = Duration::from_secs(120);
/// A job that nobody has worked on for that long has lost its message: longer than a message stays invisible.
const FORGOTTEN: Duration = Duration::from_secs(180);
/// Tries to be the one who starts a job.
const TRIES: usize = 5;

/// The latest sync: `keys::contact_sync`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Latest {
    v: u32,
    job: JobId,
    /// When one was last complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    synced_at: Option<Millis>,
}

/// Where a job is: its cursor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Place {
    /// The last instance that is done; they go by their ids.
    after: Option<InstanceId>,
    /// The question that the next one's owner was asked, and when.
    asked: Option<(JobId, Millis)>,
    /// How far its chats were looked at.
    chats: Option<Cursor>,
    refreshed: u64,
    skipped: Vec<Skipped>,
}

/// An instance that could not be refreshed: what was known of its contacts stays.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Skipped {
    instance_id: InstanceId,
    code: String,
}

/// One step of a job.
#[derive(Debug)]
pub struct Step {
    /// 0 to 100.
    pub progress: u8,
    /// Where to go on; `None`: done.
    pub next: Option<Value>,
    /// What a job that is done says: `{refreshed, skipped: [{instanceId, code}]}`.
    pub result: Value,
}

async fn latest(app: &App, user: &UserId, platform: Platform) -> Result<Option<Latest>> {
    let key = keys::contact_sync(user, platform.as_str());
    app.store.get(&key, Read::Strong).await?.map(Item::into).transpose()
}

/// When the contacts of a user on a platform were last complete.
pub async fn last(app: &App, user: &UserId, platform: Platform) -> Result<Option<Millis>> {
    Ok(latest(app, user, platform).await?.and_then(|latest| latest.synced_at))
}

/// Starts a sync, or joins the one that is running.
pub async fn start(app: &App, user: &UserId, platform: Platform) -> Result<JobId> {
    let work = || Work::SyncContacts { user: user.clone(), platform };
    // Whatever becomes of an earlier one's message, it cannot run beside a later one's.
    let group = format!("{user}/contacts/{platform}");
    for _ in 0..TRIES {
        let old = latest(app, user, platform).await?;
        let running = match &old {
            Some(old) => job::get(app, &old.job).await?.filter(is_open),
            None => None,
        };
        if let Some(job) = running {
            if app.clock.now().0 > job.updated_at.plus(FORGOTTEN).0 {
                let again = format!("{}/{}", job.id, job.updated_at.0);
                app.queues.send(vec![job::watched(group, again, &job.id, work())?]).await?;
            }
            return Ok(job.id);
        }
        let (job, row) = job::new(app, KIND, user, None)?;
        let unchanged = match &old {
            Some(old) => Cond::eq("job", old.job.as_str()),
            None => Cond::Absent,
        };
        let new = Latest { v: 1, job: job.id.clone(), synced_at: old.and_then(|old| old.synced_at) };
        let item = Item::new(keys::contact_sync(user, platform.as_str()), &new)?;
        let unit = Unit {
            writes: vec![Write::put(item).only_if(unchanged), row],
            enqueue: vec![job::watched(group.clone(), job.id.to_string(), &job.id, work())?],
            ..Unit::default()
        };
        match app.store.commit(unit).await {
            Ok(_) => return Ok(job.id),
            // Somebody else starts one.
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::unavailable("contact syncs are being started by several at once"))
}

fn is_open(job: &Job) -> bool {
    matches!(job.status, Status::Queued | Status::Running)
}

/// Does one step of a job, from where the one before ended. Can be repeated.
pub async fn step(app: &App, user: &UserId, platform: Platform, cursor: Option<&Value>) -> Result<Step> {
    let mut place: Place = cursor.map(|cursor| serde_json::from_value(cursor.clone())).transpose()?.unwrap_or_default();
    let mut instances = person::instances(app, user, platform).await?;
    instances.sort_by(|a, b| a.id.cmp(&b.id));
    let done =
        instances.iter().filter(|instance| place.after.as_ref().is_some_and(|after| instance.id <= *after)).count();
    let Some(instance) = instances.get(done) else {
        complete(app, user, platform).await?;
        let result = json!({ "refreshed": place.refreshed, "skipped": place.skipped });
        return Ok(Step { progress: 100, next: None, result });
    };
    if instance.capability()?.contact_list {
        ask(app, instance, &mut place).await?;
    } else {
        meet(app, instance, &mut place).await?;
    }
    let halves = 2 * done + if place.after.as_ref() == Some(&instance.id) { 2 } else { 1 };
    let progress = u8::try_from(halves * 50 / instances.len()).unwrap_or(99).min(99);
    Ok(Step { progress, next: Some(serde_json::to_value(place)?), result: Value::Null })
}

impl Place {
    fn finished(&mut self, instance: &Instance, failure: Option<String>) {
        self.after = Some(instance.id.clone());
        (self.asked, self.chats) = (None, None);
        match failure {
            Some(code) => self.skipped.push(Skipped { instance_id: instance.id.clone(), code }),
            None => self.refreshed += 1,
        }
    }
}

/// Asks for the contact list, or looks for the answer. The owner stores the contacts before it answers.
async fn ask(app: &App, instance: &Instance, place: &mut Place) -> Result<()> {
    let now = app.clock.now();
    let Some((question, asked_at)) = &place.asked else {
        if instance.paired {
            place.asked = Some((job::question(app, instance, KIND, Request::SyncContacts).await?, now));
        } else {
            place.finished(instance, Some("INSTANCE_NOT_READY".into()));
        }
        return Ok(());
    };
    match job::ended(app, question, WAIT).await? {
        Some(outcome) => place.finished(instance, outcome.err().map(|failure| failure.code)),
        None if now.0 > asked_at.plus(GIVE_UP).0 => place.finished(instance, Some("PLATFORM_TIMEOUT".into())),
        None => {}
    }
    Ok(())
}

/// Everybody of the next chats who is no contact yet becomes one.
async fn meet(app: &App, instance: &Instance, place: &mut Place) -> Result<()> {
    let query = Query::table(keys::chats(&instance.id)).limit(PAGE).after(place.chats.take());
    let page = app.store.query(query).await?;
    let mut people = Vec::new();
    for item in page.items {
        let chat: Chat = item.into()?;
        if let Some(address) = chat.addresses.into_iter().next().filter(|_| !chat.is_group) {
            people.push(ContactInfo { address, name: chat.name, avatar: String::new(), is_group: false });
        }
    }
    super::store(app, &instance.id, &people).await?;
    match page.next {
        Some(next) => place.chats = Some(next),
        None => place.finished(instance, None),
    }
    Ok(())
}

async fn complete(app: &App, user: &UserId, platform: Platform) -> Result<()> {
    let change = Change::default().set("syncedAt", app.clock.now().0);
    let write = Write::update(keys::contact_sync(user, platform.as_str()), change).only_if(Cond::Exists);
    match app.store.commit(Unit::write(write)).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
