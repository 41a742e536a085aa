//! What happens to messages: taken back, read. A message and what happens to it come in any order: each side writes what it
//! knows and then looks for the other's, so that whoever is last applies it.

use serde::Deserialize;

use super::device::Device;
use crate::{
    app::App,
    clock::Millis,
    domain::{
        message::{self, Message},
        owner::Author,
    },
    error::Result,
    store::{Change, CommitError, Cond, Item, Read, Unit, Write, keys, search},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    TakenBack,
    Read(Millis),
}

/// The part of `keys::message_known_as` that says what happened.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Marks {
    revoked: bool,
    read_at: Option<Millis>,
}

/// Notes what happened to the message that goes by this id, and applies it if the message is there.
pub(super) async fn note(
    app: &App,
    author: &Author<'_>,
    device: &Device,
    id: &str,
    mark: Mark,
) -> Result<(), CommitError> {
    let change = match mark {
        Mark::TakenBack => Change::default().set("revoked", true),
        Mark::Read(at) => Change::default().set("readAt", at.0),
    };
    let key = keys::message_known_as(device.id(), id);
    // Of several reports the first counts, but any tells that it was read.
    let write = match mark {
        Mark::TakenBack => Write::update(key, change),
        Mark::Read(at) => {
            let earlier = Cond::Gt("readAt".into(), at.0);
            Write::update(key, change).only_if(Cond::Any(vec![Cond::Absent, Cond::lacks("readAt"), earlier]))
        }
    };
    match app.store.commit(Unit::write(write)).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => {}
        Err(error) => return Err(error),
    }
    for message in message::by_platform_id(app, device.id(), id).await? {
        apply(app, author, &message, mark).await?;
    }
    Ok(())
}

/// Applies what happened to these messages before they came. Each with the id that it goes by.
pub(super) async fn settle(
    app: &App,
    author: &Author<'_>,
    device: &Device,
    messages: &[(&Message, &str)],
) -> Result<(), CommitError> {
    let keys: Vec<_> = messages.iter().map(|(_, id)| keys::message_known_as(device.id(), id)).collect();
    for ((message, _), row) in messages.iter().zip(app.store.batch_get(&keys, Read::Strong).await?) {
        let Some(marks) = row.as_ref().map(Item::decode::<Marks>).transpose()? else { continue };
        if marks.revoked {
            apply(app, author, message, Mark::TakenBack).await?;
        }
        if let Some(at) = marks.read_at {
            apply(app, author, message, Mark::Read(at)).await?;
        }
    }
    Ok(())
}

pub(super) async fn apply(app: &App, author: &Author<'_>, message: &Message, mark: Mark) -> Result<(), CommitError> {
    if message.content.target().is_some() {
        return Ok(());
    }
    match mark {
        Mark::Read(at) if message.from_me => author.read_by_them(message, at).await,
        // That we have read what others wrote is no state of the message.
        Mark::Read(_) => Ok(()),
        Mark::TakenBack => {
            author.taken_back(message).await?;
            unlist(app, message).await
        }
    }
}

/// What was taken back is not found by its words any more.
async fn unlist(app: &App, message: &Message) -> Result<(), CommitError> {
    let Some(head) = app.store.get(&message.key(), Read::Strong).await? else { return Ok(()) };
    let Some(place) = head.index else { return Ok(()) };
    let listed = keys::listed_message(&message.instance_id, &place.hs);
    let write =
        Write::update(listed, Change::default().remove(search::ATTRIBUTE)).only_if(Cond::has(search::ATTRIBUTE));
    match app.store.commit(Unit::write(write)).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
