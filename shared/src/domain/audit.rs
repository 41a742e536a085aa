//! What administrators have changed: who, what, whose, when, by which request. Never passwords, keys or contents.
//!
//! A change is noted before it is made, so none goes unnoted whatever breaks; the note says afterwards how it ended. One that
//! was refused leaves none. Nothing about a change can be said for certain while its outcome is [`Outcome::Unknown`].

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    app::App,
    clock::{DAY_MS, Millis},
    domain::access::Caller,
    error::{Error, Kind, Result},
    id::UserId,
    store::{Change, CommitError, Cond, Cursor, Item, Key, Query, Unit, Write, keys},
};

/// Notes live that long: 400 days.
const LIFE_MS: i64 = 400 * DAY_MS;
/// Rows that one request looks at for its filters, at the most.
const LOOK: usize = 5_000;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    #[serde(rename = "user.create")]
    UserCreate,
    #[serde(rename = "user.update")]
    UserUpdate,
    #[serde(rename = "user.disable")]
    UserDisable,
    #[serde(rename = "user.enable")]
    UserEnable,
    #[serde(rename = "group.create")]
    GroupCreate,
    #[serde(rename = "group.delete")]
    GroupDelete,
    #[serde(rename = "group.members.add")]
    MembersAdd,
    #[serde(rename = "group.members.remove")]
    MembersRemove,
    #[serde(rename = "invite.create")]
    InviteCreate,
}

impl Action {
    const ALL: &[(&'static str, Self)] = &[
        ("user.create", Self::UserCreate),
        ("user.update", Self::UserUpdate),
        ("user.disable", Self::UserDisable),
        ("user.enable", Self::UserEnable),
        ("group.create", Self::GroupCreate),
        ("group.delete", Self::GroupDelete),
        ("group.members.add", Self::MembersAdd),
        ("group.members.remove", Self::MembersRemove),
        ("invite.create", Self::InviteCreate),
    ];

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, action)| *action)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Under way, or it broke off: it may have happened or not.
    Unknown,
    Done,
}

/// The row, `keys::audit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub v: u32,
    pub id: String,
    pub at: Millis,
    pub actor: UserId,
    /// Names the credential without revealing it.
    pub credential: String,
    pub action: Action,
    /// Id of the user or the group.
    pub target: String,
    /// Names of changed fields, ids of members.
    pub details: Value,
    pub request_id: String,
    pub outcome: Outcome,
}

/// A change that is to be noted.
#[derive(Debug, Clone)]
pub struct Note {
    pub action: Action,
    pub target: String,
    pub details: Value,
}

/// Makes a change and notes it. The answer is the change's.
///
/// Errors: those of the change; `Unavailable` if it could not be noted, and then it was not made.
pub async fn during<T>(
    app: &App,
    by: &Caller,
    request_id: &str,
    note: Note,
    change: impl Future<Output = Result<T>>,
) -> Result<T> {
    let (id, at) = (app.ids.ulid(), app.clock.now());
    let key = keys::audit(at, &id);
    let Note { action, target, details } = note;
    let entry = Entry {
        v: 1,
        id,
        at,
        actor: by.id().clone(),
        credential: by.credential.clone(),
        action,
        target,
        details,
        request_id: request_id.to_owned(),
        outcome: Outcome::Unknown,
    };
    let item = Item::new(key.clone(), &entry)?.expires(Millis(at.0 + LIFE_MS));
    app.store.commit(Unit::write(Write::put(item))).await?;
    let outcome = change.await;
    let settled = match &outcome {
        Ok(_) => end(app, key, Some(Outcome::Done)).await,
        Err(error) if matches!(error.kind, Kind::Unavailable | Kind::Internal) => Ok(()),
        Err(_) => end(app, key, None).await,
    };
    if let Err(error) = settled {
        // The change is made, or refused, all the same, and its note is there.
        tracing::warn!(%error, action = ?action, "how a change ended was not noted");
    }
    outcome
}

/// `None`: it was refused.
async fn end(app: &App, key: Key, outcome: Option<Outcome>) -> Result<()> {
    let write = match outcome {
        Some(outcome) => Write::update(key, Change::default().set("outcome", serde_json::to_value(outcome)?)),
        None => Write::delete(key),
    };
    match app.store.commit(Unit::write(write.only_if(Cond::Exists))).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Which notes are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub actor: Option<UserId>,
    pub action: Option<Action>,
    pub target: Option<String>,
    pub from: Option<Millis>,
    pub to: Option<Millis>,
}

impl Filter {
    fn wants(&self, entry: &Entry) -> bool {
        self.actor.as_ref().is_none_or(|actor| *actor == entry.actor)
            && self.action.is_none_or(|action| action == entry.action)
            && self.target.as_ref().is_none_or(|target| *target == entry.target)
    }
}

/// A page, newest first. With filters it may be short and still have a cursor: a request looks at [`LOOK`] rows at the most.
pub async fn list(
    app: &App,
    filter: &Filter,
    limit: usize,
    cursor: Option<Cursor>,
) -> Result<(Vec<Entry>, Option<Cursor>)> {
    let from = filter.from.unwrap_or_default().digits();
    let to = filter.to.map_or_else(|| "~".into(), |to| format!("{}~", to.digits()));
    let mut query = Query::table(keys::AUDIT).between(from, to).newest_first().limit(limit).after(cursor);
    let (mut found, mut looked) = (Vec::new(), 0);
    loop {
        let page = app.store.query(query.clone()).await?;
        for item in page.items {
            looked += 1;
            let here = Cursor { sort: item.key.sk.clone(), key: item.key.clone() };
            let entry: Entry = item.into()?;
            if filter.wants(&entry) {
                found.push(entry);
                if found.len() == limit {
                    return Ok((found, Some(here)));
                }
            }
        }
        match page.next {
            Some(next) if looked < LOOK => query.after = Some(next),
            next => return Ok((found, next)),
        }
    }
}

/// What an unknown name of an action is answered with.
pub fn unknown_action(name: &str) -> Error {
    let name: String = name.chars().take(50).collect();
    Error::invalid("action", format!("action: {name} is not an action"))
}
