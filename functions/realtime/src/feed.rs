//! What flows to one connection: messages of its user's chats, pushed or read from the store, and the events of its user's
//! instances, read from their logs. Pages of bounded size, one at a time; the next one when the client has taken the last.

mod chats;
mod events;

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use shared::{
    Error, Kind, Result,
    app::{App, AppState},
    domain::{
        access::{Caller, Scope},
        im::{self, ChannelKey, Type},
    },
    id::InstanceId,
    realtime::Frame,
};

use self::{chats::Chats, events::Events};
use crate::frame::{self, After};

/// Names of an `after` that are looked up at the same time.
pub(crate) const AT_ONCE: usize = 16;
/// Stands for everything that an `after` does not name.
pub(crate) const EVERYTHING_ELSE: &str = "*";

#[derive(Default)]
pub(crate) struct Feed {
    chats: Chats,
    events: Events,
    /// The client waits for word that it has caught up.
    catching_up: bool,
    /// Whether the credential may read the account's messages.
    reads: bool,
}

/// What a name of an `after` means.
pub(crate) enum Named {
    Chat { key: ChannelKey, tail: u64 },
    Instance(InstanceId),
}

impl Feed {
    /// Finds out what the caller may follow: messages, and, if `events`, those of its instances from now on. To be called again
    /// when that may have changed.
    pub(crate) async fn follow(&mut self, app: &AppState, caller: &Caller, events: bool) -> Result<()> {
        self.reads = caller.require_account(Scope::MessagesRead).is_ok();
        self.events.follow(app, caller, events && caller.require(Scope::MessagesRead).is_ok()).await
    }

    /// Goes on where the client says that it is. Answers what was wrong with single names; the rest is done all the same.
    pub(crate) async fn resume(&mut self, app: &AppState, caller: &Caller, mut after: After) -> Result<Vec<Error>> {
        let else_after = after.remove(EVERYTHING_ELSE);
        let followed: HashSet<InstanceId> = self.events.ids().into_iter().collect();
        let followed = &followed;
        let found: Vec<(String, u64, Result<Named>)> = stream::iter(after)
            .map(|(name, seq)| async move {
                let meant = lookup(app, caller, followed, &name).await;
                (name, seq, meant)
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let (mut wrong, mut instances, mut chats) = (Vec::new(), HashSet::new(), HashSet::new());
        for (name, seq, meant) in found {
            match meant {
                Ok(Named::Chat { key, tail }) => {
                    self.chats.resume(&key, seq, tail);
                    chats.insert(key);
                }
                Ok(Named::Instance(id)) => {
                    if let Err(error) = self.events.resume(app, &id, Some(seq)).await {
                        wrong.push(owned_up(error, &name)?);
                    }
                    instances.insert(id);
                }
                Err(error) => wrong.push(owned_up(error, &name)?),
            }
        }
        if let Some(seq) = else_after {
            if self.reads {
                self.chats.resume_others(chats, seq);
            }
            for id in self.events.ids() {
                if !instances.contains(&id)
                    && let Err(error) = self.events.resume(app, &id, Some(seq).filter(|seq| *seq > 0)).await
                {
                    wrong.push(owned_up(error, id.as_str())?);
                }
            }
        }
        self.catching_up = true;
        Ok(wrong)
    }

    /// A frame was pushed; what of it goes out now.
    pub(crate) fn pushed(&mut self, frame: Frame) -> Option<Bytes> {
        if self.reads { self.chats.pushed(frame) } else { None }
    }

    /// This connection's own message lies there.
    pub(crate) fn posted(&mut self, place: shared::realtime::Place) {
        self.chats.posted(place);
    }

    /// Returns when [`Feed::page`] has something to do. May be dropped at any time.
    pub(crate) async fn ready(&mut self) {
        if self.chats.behind() || (self.catching_up && !self.events.behind()) {
            return;
        }
        self.events.ready().await;
    }

    /// Reads on, a page at the most.
    ///
    /// Errors: the store does not answer, or what is read was taken from the caller.
    pub(crate) async fn page(&mut self, app: &AppState, caller: &Caller) -> Result<Vec<Bytes>> {
        let mut out = Vec::new();
        if self.chats.behind() {
            out = self.chats.page(app, caller).await?;
        }
        out.extend(self.events.page(app).await?);
        if self.catching_up && !self.chats.behind() && !self.events.behind() {
            self.catching_up = false;
            out.push(frame::synced().into());
        }
        Ok(out)
    }
}

/// An error that the client is told of, with the name that it is about; others end the connection.
pub(crate) fn owned_up(error: Error, name: &str) -> Result<Error> {
    if matches!(error.kind, Kind::Unavailable | Kind::Internal) {
        return Err(error);
    }
    Ok(error.field(format!("after.{name}")))
}

/// What a name of an `after` means to the caller, who follows these instances.
///
/// Errors: there is nothing of this name, or not for the caller.
pub(crate) async fn lookup(app: &App, caller: &Caller, followed: &HashSet<InstanceId>, name: &str) -> Result<Named> {
    if let Some(id) = name.strip_prefix("single:") {
        return chat(app, caller, Some(Type::Person), id).await;
    }
    if let Some(id) = name.strip_prefix("group:") {
        return chat(app, caller, Some(Type::Group), id).await;
    }
    let id = InstanceId::new(name.strip_prefix("instance:").unwrap_or(name));
    if followed.contains(&id) {
        return Ok(Named::Instance(id));
    }
    if name.starts_with("instance:") {
        return Err(shared::domain::instance::unknown());
    }
    chat(app, caller, None, name).await
}

async fn chat(app: &App, caller: &Caller, kind: Option<Type>, id: &str) -> Result<Named> {
    caller.require_account(Scope::MessagesRead)?;
    let key = im::channel_of_any_kind(app, &caller.user, kind, id).await?.key;
    let tail = app.im.tail(app, &key).await?;
    Ok(Named::Chat { key, tail })
}
