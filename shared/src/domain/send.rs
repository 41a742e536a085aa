//! Accepting a message: one write and one queue message, and the caller has an id that will not change.
//!
//! The row is created under the condition that it is absent. A repeat — the same idempotency key, the same client message id —
//! finds the row, and queues its command once more if it is still pending: a worker that gets a command twice sees by the row's
//! status that there is nothing left to do.

use std::time::Duration;

use crate::{
    address::Platform,
    app::App,
    capability::Ids,
    clock::Millis,
    connector::{Action, Command, Outgoing},
    domain::{
        chat,
        content::Content,
        event::{self, Kind},
        instance::{Instance, Status as InstanceStatus},
        job,
        limits::{self, OfUser},
        message::{self, AsSent, DEADLINE_MS, Message, Status},
        timer::{self, Timer},
    },
    error::{Error, Result},
    id::{InstanceId, MessageId},
    store::{Append, Change, CommitError, Cond, Read, Unit, Write, keys, log::Writer},
};

/// What a caller wants sent, checked in itself.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Canonical address (`shared::address::canonical`).
    pub to: String,
    pub content: Content,
    /// The caller's own id: the same one again is the same message.
    pub client_id: Option<String>,
    pub quoted: Option<String>,
    pub mentions: Vec<String>,
    pub typing: Duration,
    pub link_preview: Option<bool>,
    pub view_once: bool,
    pub send_at: Option<Millis>,
    pub as_sent: Option<AsSent>,
    /// Whether it came through `/api/whatsapp/*`.
    pub api_call: bool,
    pub user_limits: OfUser,
}

impl Draft {
    pub fn new(to: String, content: Content) -> Self {
        Self {
            to,
            content,
            client_id: None,
            quoted: None,
            mentions: Vec::new(),
            typing: Duration::ZERO,
            link_preview: None,
            view_once: false,
            send_at: None,
            as_sent: None,
            api_call: false,
            user_limits: OfUser::Unread,
        }
    }
}

/// Why a row that was written could not be queued: such a send reads as failed.
const NOT_ACCEPTED: &str = "not_accepted";

/// Errors with `INSTANCE_NOT_READY` (409) for an instance that cannot send, now or later: it was never paired, or logged out.
pub fn require_session(instance: &Instance) -> Result<()> {
    if instance.paired && !matches!(instance.status, InstanceStatus::LoggedOut | InstanceStatus::AuthExpired) {
        return Ok(());
    }
    Err(Error::conflict("INSTANCE_NOT_READY", format!("Instance {} not ready", instance.id)))
}

/// Accepts a message. `ulid` is fresh, or what an idempotency key was given before.
///
/// Errors: `INSTANCE_NOT_READY` (409) if the instance has no session, `NOT_SUPPORTED` (400) if the platform cannot send this,
/// 429 over a quota, `CLIENT_MESSAGE_ID_REUSED` (422) for another message under the same client id, 503 if it could not be
/// made durable: then nothing is sent.
pub async fn accept(app: &App, instance: &Instance, mut draft: Draft, ulid: &str) -> Result<Message> {
    require_session(instance)?;
    let capability = instance.capability()?;
    if !capability.sends.contains(&draft.content.kind()) {
        return Err(Error::invalid("type", format!("{} cannot send {}", instance.platform, draft.content.kind()))
            .code("NOT_SUPPORTED"));
    }
    if draft.content.text().chars().count() > capability.max_text {
        return Err(Error::invalid("message", format!("must have at most {} characters", capability.max_text)));
    }
    // A client's own id names one message, whoever it goes to: look before anything is counted.
    if draft.client_id.is_some() {
        let message = row(app, instance, &draft, ulid).await?;
        if let Some(found) = message::by_platform_id(app, &instance.id, &message.pmid).await?.into_iter().next() {
            return repeated(app, instance, &message, found, outgoing(&message, draft)).await;
        }
    }
    let of_user = std::mem::take(&mut draft.user_limits);
    let reserved = limits::reserve_send(app, instance, of_user, &draft.content).await?;
    let accepted = store(app, instance, draft, ulid).await;
    if !matches!(accepted, Ok((_, true))) {
        limits::give_back(app, reserved).await;
    }
    accepted.map(|(message, _)| message)
}

/// Makes the message durable. The flag: whether it is a new one.
async fn store(app: &App, instance: &Instance, draft: Draft, ulid: &str) -> Result<(Message, bool)> {
    let message = row(app, instance, &draft, ulid).await?;
    let outgoing = outgoing(&message, draft);
    let mut unit = Unit { writes: message.creates(ulid)?, ..Unit::default() };
    match message.send_at {
        Some(at) => {
            let head = unit.writes.last_mut().ok_or_else(|| Error::internal("a message has a head"))?;
            if let crate::store::Op::Put(item) = &mut head.op {
                item.doc.insert("scheduled".into(), serde_json::to_value(&outgoing)?);
                item.doc.insert("counted".into(), true.into());
            }
            // Its day is that of its acceptance, however late it goes out.
            let mut entry = event::entry(Kind::MessageQueued, format!("scheduled/{}", message.sort()), message.at);
            entry.chat = Some(message.chat.to_string());
            entry.message = Some(message.sort());
            entry.delta = message.delta();
            let entries = vec![entry];
            unit.enqueue = event::dispatches(instance, &entries, 0);
            unit.append =
                vec![Append { log: instance.id.to_string(), writer: Writer::Foreign, entries, look_from: None }];
            timer::schedule(
                app,
                &mut unit,
                at,
                Timer::Send { instance: instance.id.clone(), message: message.sort() },
            )?;
        }
        None => unit.enqueue.push(job::command_message(
            instance,
            &command(&message, outgoing.clone()),
            &dedup(&message, 0),
        )?),
    }
    match app.store.commit(unit).await {
        Ok(_) => Ok((message, true)),
        Err(CommitError::Conflict { old: Some(old), .. }) => {
            let mut found = message::with_bodies(app, vec![Some(*old)]).await?;
            let found = found.pop().flatten().ok_or_else(|| Error::internal("a conflict shows the old row"))?;
            Ok((repeated(app, instance, &message, found, outgoing).await?, false))
        }
        Err(error) => {
            // Nobody may know whether it was queued: it must not stay pending after the caller was told that it failed.
            let change = Change::default()
                .set("status", Status::Failed.name())
                .set("rank", Status::Failed.rank())
                .set("reason", NOT_ACCEPTED);
            let undo = Write::update(message.key(), change).only_if(Cond::eq("status", Status::Pending.name()));
            if let Err(error) = app.store.commit(Unit::write(undo)).await {
                tracing::warn!(instance = %instance.id, %error, "a refused send stays pending until it expires");
            }
            Err(error.into())
        }
    }
}

/// The same message again: the first row counts.
async fn repeated(
    app: &App,
    instance: &Instance,
    new: &Message,
    found: Message,
    outgoing: Outgoing,
) -> Result<Message> {
    // An edited message shows its newer text: then only the recipient can be compared.
    if (found.content != new.content && !found.edited) || found.remote_jid != new.remote_jid {
        return Err(Error::new(
            crate::Kind::Unprocessable,
            "CLIENT_MESSAGE_ID_REUSED",
            "This clientMessageId was used for another message",
        )
        .field("clientMessageId"));
    }
    let refused = found.status == Status::Failed && found.reason.as_deref() == Some(NOT_ACCEPTED);
    if found.status != Status::Pending && !refused {
        return Ok(found);
    }
    let mut unit = Unit::default();
    if refused {
        let change = Change::default()
            .set("status", Status::Pending.name())
            .set("rank", Status::Pending.rank())
            .remove("reason");
        unit.writes.push(Write::update(found.key(), change).only_if(Cond::eq("reason", NOT_ACCEPTED)));
    }
    match found.send_at {
        // A timer too many does no harm.
        Some(at) => {
            let timer = Timer::Send { instance: instance.id.clone(), message: found.sort() };
            timer::schedule(app, &mut unit, at, timer)?;
        }
        None => {
            let again = u64::try_from(app.clock.now().0).unwrap_or(0);
            unit.enqueue.push(job::command_message(instance, &command(&found, outgoing), &dedup(&found, again))?);
        }
    }
    match app.store.commit(unit).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Message { status: Status::Pending, reason: None, ..found })
}

/// Takes a message back before its time has come: it reads as failed, `cancelled`. `false`: it is on its way already.
pub async fn cancel(app: &App, message: &Message) -> Result<bool> {
    let now = app.clock.now().0;
    let change = Change::default()
        .set("status", Status::Failed.name())
        .set("rank", Status::Failed.rank())
        .set("reason", "cancelled")
        .set("revoked", true)
        .set("statusAt", now)
        .set("updatedAt", now);
    let waiting =
        Cond::All(vec![Cond::eq("status", Status::Pending.name()), Cond::has("scheduled"), Cond::lacks("released")]);
    match app.store.commit(Unit::write(Write::update(message.key(), change).only_if(waiting))).await {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Queues a message that was to be sent at a later time. A message that is no longer pending is left alone.
pub async fn release(app: &App, instance: &InstanceId, sort: &str) -> Result<()> {
    let Some(item) = app.store.get(&keys::message_by_sort(instance, sort), Read::Strong).await? else { return Ok(()) };
    let scheduled = item.doc.get("scheduled").cloned();
    let message: Message = item.into()?;
    let Some(row) = crate::domain::instance::find(app, instance).await? else { return Ok(()) };
    let (Status::Pending, Some(outgoing)) = (message.status, scheduled) else { return Ok(()) };
    let command = command(&message, serde_json::from_value(outgoing)?);
    // From here on it is on its way: it cannot be cancelled any more.
    let unit = Unit {
        writes: vec![
            Write::update(message.key(), Change::default().set("released", true))
                .only_if(Cond::eq("status", Status::Pending.name())),
        ],
        enqueue: vec![job::command_message(&row, &command, &dedup(&message, 1))?],
        ..Unit::default()
    };
    match app.store.commit(unit).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn row(app: &App, instance: &Instance, draft: &Draft, ulid: &str) -> Result<Message> {
    let now = app.clock.now();
    let (pmid, id) = names(app, instance, draft, ulid, now)?;
    let send_at = draft.send_at.filter(|at| *at > now);
    Ok(Message {
        v: 1,
        id,
        instance_id: instance.id.clone(),
        chat: chat::key_of(app, &instance.id, &draft.to).await?,
        sender_hash: "me".into(),
        pmid,
        platform_id: None,
        remote_jid: draft.to.clone(),
        from_me: true,
        is_group: chat::is_group(instance.platform, &draft.to),
        sender: String::new(),
        push_name: None,
        quoted: draft.quoted.clone(),
        kind: draft.content.kind().to_owned(),
        content: draft.content.clone(),
        body: None,
        status: Status::Pending,
        rank: Status::Pending.rank(),
        status_at: now,
        reason: None,
        at: now,
        updated_at: now,
        as_sent: draft.as_sent.clone(),
        send_at,
        api_call: draft.api_call,
        counted: false,
        attempting: None,
        edited: false,
        revoked: false,
        reactions: serde_json::Map::new(),
    })
}

/// The row's id and the public id. A client id decides both, so that its repeat meets the first row.
fn names(app: &App, instance: &Instance, draft: &Draft, ulid: &str, now: Millis) -> Result<(String, MessageId)> {
    let Some(client_id) = &draft.client_id else {
        let pmid = message::outgoing_pmid(&app.keyring, instance, ulid)?;
        return Ok((pmid, message::public_id(ulid, &instance.id)));
    };
    let tail = app.keyring.message_id_tail(instance.id.as_str(), &format!("client/{client_id}"));
    let pmid = match (instance.capability()?.message_ids, instance.platform) {
        (Ids::Client, Platform::Whatsapp) => format!("3EB0{tail}"),
        (Ids::Client, _) => tail,
        (Ids::Platform, _) => format!("~{tail}"),
    };
    let id = message::foreign_public_id(now, &instance.id, &pmid);
    Ok((pmid, id))
}

fn outgoing(message: &Message, draft: Draft) -> Outgoing {
    Outgoing {
        id: message.pmid.clone(),
        to: draft.to,
        content: draft.content,
        quoted: draft.quoted,
        mentions: draft.mentions,
        typing_ms: u64::try_from(draft.typing.as_millis()).unwrap_or(0),
        link_preview: draft.link_preview,
        view_once: draft.view_once,
        about: None,
    }
}

fn command(message: &Message, outgoing: Outgoing) -> Command {
    let due = message.send_at.unwrap_or(message.at);
    Command::new(
        message.instance_id.clone(),
        Action::Send {
            message: message.sort(),
            accepted: message.at,
            deadline: Millis(due.0 + DEADLINE_MS),
            outgoing: Box::new(outgoing),
        },
    )
}

/// Queues drop a repeated id within five minutes, so every attempt to queue has a number of its own.
fn dedup(message: &Message, attempt: u64) -> String {
    format!("{}:{attempt}", message.sort())
}
