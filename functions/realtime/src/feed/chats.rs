//! Messages: live ones as they are pushed, missed ones from the store.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use shared::{
    Result,
    app::App,
    domain::{
        access::Caller,
        im::{ChannelKey, conversation, frames, group},
    },
    realtime::{Frame, Place},
    store::Cursor,
};

use crate::tracker::{Tracker, Verdict};

/// Messages that are read at once.
const PAGE: usize = 100;
/// Channels of a user that are looked through at once.
const CHANNELS: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Chats {
    tracker: Tracker,
    /// Channels to read, the one that is being read first.
    queue: VecDeque<Arc<str>>,
    others: Option<Others>,
}

/// The search for channels that the client did not name.
#[derive(Debug)]
struct Others {
    cursor: Option<Cursor>,
    /// The client's number for them.
    seq: u64,
    named: HashSet<ChannelKey>,
}

impl Chats {
    pub(super) fn pushed(&mut self, frame: Frame) -> Option<Bytes> {
        let Some(place) = &frame.place else { return Some(frame.text) };
        match self.tracker.pushed(&place.channel, place.seq) {
            Verdict::Send => Some(frame.text),
            Verdict::Drop => None,
            Verdict::Read => {
                self.queue.push_back(Arc::clone(&place.channel));
                None
            }
        }
    }

    pub(super) fn posted(&mut self, place: Place) {
        self.tracker.posted(place.channel, place.seq);
    }

    pub(super) fn resume(&mut self, key: &ChannelKey, seq: u64, tail: u64) {
        let log: Arc<str> = key.as_str().into();
        if self.tracker.resume(&log, seq, tail) {
            self.queue.push_back(log);
        }
    }

    /// The client has seen the channels that are not among `named` up to `seq`.
    pub(super) fn resume_others(&mut self, named: HashSet<ChannelKey>, seq: u64) {
        self.tracker.set_floor(Some(seq));
        self.others = Some(Others { cursor: None, seq, named });
    }

    /// Whether there is something to read.
    pub(super) fn behind(&self) -> bool {
        !self.queue.is_empty() || self.others.is_some()
    }

    /// Reads a page of one channel, or looks through some of the user's channels.
    pub(super) async fn page(&mut self, app: &App, caller: &Caller) -> Result<Vec<Bytes>> {
        match self.queue.front().cloned() {
            Some(log) => self.read(app, caller, &log).await,
            None => self.look_through(app, caller).await.map(|()| Vec::new()),
        }
    }

    async fn read(&mut self, app: &App, caller: &Caller, log: &Arc<str>) -> Result<Vec<Bytes>> {
        let key = ChannelKey::stored(log);
        // Membership may have ended since the channel was named.
        if key.pair().is_none() && !group::is_member(app, &key, caller.id()).await? {
            self.tracker.give_up(log);
            self.queue.pop_front();
            return Ok(Vec::new());
        }
        let after = self.tracker.seen(log);
        let messages = app.im.after(app, &key, after, PAGE).await?;
        let frames = frames::messages(app, &key, &messages).await?;
        // Nothing below waits: what is counted as sent is handed out.
        let mut texts = frames.into_iter().filter_map(|frame| Some((frame.place?.seq, frame.text))).peekable();
        let mut out = Vec::with_capacity(messages.len());
        for message in &messages {
            let goes_out = self.tracker.read(log, message.seq);
            // A message whose sender is gone has no frame.
            if let Some((_, text)) = texts.next_if(|(seq, _)| *seq == message.seq)
                && goes_out
            {
                out.push(text);
            }
        }
        // An empty page ends it, too: a push that the store does not show yet comes again.
        let end = messages.is_empty() || (messages.len() < PAGE && self.tracker.caught_up(log));
        if end {
            self.tracker.give_up(log);
            self.queue.pop_front();
        }
        Ok(out)
    }

    /// Finds channels with something new among those that the client did not name.
    async fn look_through(&mut self, app: &App, caller: &Caller) -> Result<()> {
        let Some(Others { cursor, seq, named }) = self.others.take() else { return Ok(()) };
        let (keys, next) = conversation::channels(app, caller.id(), CHANNELS, cursor).await?;
        for key in keys {
            if named.contains(&key) {
                continue;
            }
            let tail = app.im.tail(app, &key).await?;
            if tail > seq {
                self.resume(&key, seq, tail);
            }
        }
        match next {
            Some(next) => self.others = Some(Others { cursor: Some(next), seq, named }),
            None => self.tracker.set_floor(None),
        }
        Ok(())
    }
}
