//! Reading what a client missed, or what was not pushed with its text: channels and event logs, each from where the connection
//! is to its end. Who is far behind is served in portions, between which others have their turn.

use std::time::Duration;

use shared::{
    Result,
    domain::{
        event,
        im::{ChannelKey, conversation, frames, group},
        instance,
    },
    id::{InstanceId, UserId},
    realtime::mailbox::{self, Note, Others, Reading},
    store::{keys, log},
};
use tokio::time::Instant;

use super::{Gateway, Row, Stop};
use crate::frame;

/// Messages or events that are read at once.
const PAGE: usize = 100;
/// Channels of a user that are looked through at once.
const CHANNELS: usize = 100;
/// How long one portion takes, a page aside: what came to the function in one batch with it waits for its end.
const PORTION: Duration = Duration::from_secs(3);

impl Gateway {
    /// Reads on, and queues what is left when the time is over. Positions are durable, so live pushes that come in between
    /// find what is missing before them, and whatever was read already is not read again.
    pub(super) async fn read(&self, row: &mut Row, mut reading: Reading) -> Result<(), Stop> {
        let until = Instant::now() + PORTION;
        loop {
            if Instant::now() > until {
                let dedup = format!("{}/{}", row.id, self.app.ids.ulid());
                let rest = mailbox::message(&row.id, dedup, Note::Read(reading))?;
                return Ok(self.app.queues.send(vec![rest]).await?);
            }
            if let Some(channel) = reading.chats.last() {
                if self.read_channel(row, channel).await? {
                    reading.chats.pop();
                }
            } else if let Some(id) = reading.instances.last() {
                if self.read_events(row, id).await? {
                    reading.instances.pop();
                }
            } else if let Some(others) = reading.others.take() {
                reading.others = self.look_through(row, others, &mut reading.chats).await?;
                if reading.others.is_none() {
                    row.floor = None;
                    row.save(&self.app).await?;
                }
            } else {
                break;
            }
        }
        if reading.told { self.send(&row.id, &frame::synced()).await } else { Ok(()) }
    }

    /// A page of a channel; whether that was all.
    async fn read_channel(&self, row: &Row, channel: &str) -> Result<bool, Stop> {
        let app = &self.app;
        let (key, Some(user)) = (ChannelKey::stored(channel), &row.user) else { return Ok(true) };
        // Membership may have ended since the channel was named.
        if !row.reads || (key.pair().is_none() && !group::is_member(app, &key, user).await?) {
            return Ok(true);
        }
        let place = keys::socket_channel(&row.id, channel);
        let Some(mut position) = row.position(app, &place).await? else { return Ok(true) };
        let messages = app.im.after(app, &key, position.seen(), PAGE).await?;
        let frames = frames::messages(app, &key, &messages).await?;
        let writers: Vec<(&UserId, &str)> =
            messages.iter().map(|message| (&message.body.from, message.client_id())).collect();
        let own = row.sent_here(app, &writers).await?;
        let mut frames = frames.into_iter().filter_map(|frame| Some((frame.place?.seq, frame.text))).peekable();
        let mut texts = Vec::with_capacity(messages.len());
        for (message, own) in messages.iter().zip(own) {
            let goes_out = position.advance(message.seq) && !own;
            // A message whose sender is gone has no frame.
            if let Some((_, text)) = frames.next_if(|(seq, _)| *seq == message.seq)
                && goes_out
            {
                texts.push(String::from_utf8_lossy(&text).into_owned());
            }
        }
        self.send_all(&row.id, &texts).await?;
        if !messages.is_empty() {
            row.set_position(app, &place, position).await?;
        }
        Ok(messages.len() < PAGE)
    }

    /// A page of the events of an instance that the connection follows; whether that was all.
    async fn read_events(&self, row: &Row, id: &InstanceId) -> Result<bool, Stop> {
        let app = &self.app;
        let place = keys::socket_events(&row.id, id);
        let Some(mut position) = row.position(app, &place).await? else { return Ok(true) };
        let instance = instance::find(app, id).await?;
        let Some(instance) = instance.filter(|instance| Some(&instance.user_id) == row.user.as_ref()) else {
            return Ok(true);
        };
        let entries = log::read(app.store.as_ref(), id.as_str(), position.seen(), PAGE).await?;
        let mut texts = Vec::with_capacity(entries.len());
        for mut event in event::materialise(app, &instance, &entries).await? {
            if !row.may_pair {
                event.hide_codes();
            }
            if position.advance(event.seq) {
                texts.push(frame::event(id, &event));
            }
        }
        self.send_all(&row.id, &texts).await?;
        if !entries.is_empty() {
            row.set_position(app, &place, position).await?;
        }
        Ok(entries.len() < PAGE)
    }

    /// Finds channels with something new among those that the client did not name; `None`: that were all.
    async fn look_through(&self, row: &Row, others: Others, found: &mut Vec<String>) -> Result<Option<Others>> {
        let Others { cursor, seq, named } = others;
        let Some(user) = row.user.as_ref().filter(|_| row.reads) else { return Ok(None) };
        let (keys, next) = conversation::channels(&self.app, user, CHANNELS, cursor).await?;
        for key in keys {
            if named.contains(key.as_str()) {
                continue;
            }
            let tail = self.app.im.tail(&self.app, &key).await?;
            if tail > seq && self.go_back(row, key.as_str(), seq, tail).await? {
                found.push(key.as_str().to_owned());
            }
        }
        Ok(next.map(|next| Others { cursor: Some(next), seq, named }))
    }
}
