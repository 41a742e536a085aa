//! Lanes: a chat of an endpoint that is blocked by an event which could not be delivered. The row is there only while the
//! chat is blocked, and says from where to where the chat's events in the log are still to be delivered.
//!
//! This file: the row, and how dispatch messages join it. Working it off is [`super::run`].

use serde::{Deserialize, Serialize};

use super::health::{OVERDUE_MS, took_place};
use crate::{
    app::App,
    clock::Millis,
    domain::timer::{self, Timer},
    error::Result,
    id::InstanceId,
    store::{Change, Cond, Item, Key, Query, Read, Unit, Write, keys},
};

/// The row (`keys::lane`). Every change of it adds one to `rev`, and is made only to the `rev` that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lane {
    pub(super) v: u32,
    pub(super) chat: String,
    /// The event that blocks.
    pub(super) head: u64,
    /// When that event was: its record's key follows from it.
    pub(super) at: Millis,
    /// The last event that is known to wait.
    pub(super) upto: u64,
    /// The lowest event that is to be looked at again (replayed), though the lane may have passed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) again: Option<u64>,
    /// When the next attempt is due.
    pub(super) due: Millis,
    /// Somebody works on it until then, unless they have died.
    pub(super) lease: Millis,
    /// How often it was put off because too much was waiting for the endpoint already.
    #[serde(default)]
    pub(super) parks: u32,
    pub(super) rev: u64,
}

/// Names the lane of a chat.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(super) instance: InstanceId,
    pub(super) endpoint: String,
    pub(super) chat: String,
}

impl Place {
    pub(crate) fn new(instance: &InstanceId, endpoint: &str, chat: &str) -> Self {
        Self { instance: instance.clone(), endpoint: endpoint.to_owned(), chat: chat.to_owned() }
    }

    /// `{instance}/{endpoint}`: what lanes and slots go by.
    pub(crate) fn full_endpoint(&self) -> String {
        full_endpoint(&self.instance, &self.endpoint)
    }

    pub(crate) fn key(&self) -> Key {
        keys::lane(&self.full_endpoint(), &self.chat)
    }

    pub(super) fn timer(&self, attempt: u32) -> Timer {
        Timer::Lane {
            instance: self.instance.clone(),
            endpoint: self.endpoint.clone(),
            chat: self.chat.clone(),
            attempt,
        }
    }
}

pub(crate) fn full_endpoint(instance: &InstanceId, endpoint: &str) -> String {
    format!("{instance}/{endpoint}")
}

/// A change that the owner of this view of the row may make.
pub(super) fn update(place: &Place, lane: &Lane, change: Change) -> Write {
    Write::update(place.key(), change.add("rev", 1)).only_if(Cond::eq("rev", lane.rev))
}

pub(crate) async fn load(app: &App, place: &Place) -> Result<Option<Lane>> {
    app.store.get(&place.key(), Read::Strong).await?.map(Item::into).transpose()
}

impl Lane {
    pub(crate) fn new(chat: &str, seq: u64, at: Millis, due: Millis) -> Self {
        let chat = chat.to_owned();
        Self { v: 1, chat, head: seq, at, upto: seq, again: None, due, lease: Millis(0), parks: 0, rev: 1 }
    }

    pub(super) fn create(&self, place: &Place) -> Result<Write> {
        Ok(Write::create(Item::new(place.key(), self)?))
    }

    /// The first event to look at.
    pub(super) fn start(&self) -> u64 {
        self.again.map_or(self.head, |again| again.min(self.head))
    }

    /// Makes the lane deliver `seq`, too. `open`: the event is known to be undelivered, whatever the lane has passed.
    /// `redelivered`: who received the message before may have made the lane and died before it set the timer.
    /// `false`: the row has changed or gone, look again.
    pub(crate) async fn join(&self, app: &App, place: &Place, seq: u64, open: bool, redelivered: bool) -> Result<bool> {
        let mut change = Change::default();
        if seq > self.upto {
            change = change.set("upto", seq);
        } else if open {
            change = change.set("again", self.again.map_or(seq, |again| again.min(seq)));
        }
        let now = app.clock.now();
        let mut unit = Unit::default();
        if now.0 > self.due.0.max(self.lease.0) + OVERDUE_MS {
            // Its timer is lost, or its endpoint is down: then this one is dropped when it comes.
            change = change.set("due", now.0);
            timer::schedule(app, &mut unit, now, place.timer(0))?;
        } else if redelivered {
            timer::schedule(app, &mut unit, self.due, place.timer(0))?;
        }
        if change != Change::default() {
            unit.writes.insert(0, update(place, self, change));
        }
        if unit == Unit::default() {
            return Ok(true);
        }
        took_place(app.store.commit(unit).await)
    }

    /// Whether the lane delivers `seq` without being told.
    pub(crate) fn holds(&self, seq: u64) -> bool {
        self.head <= seq && seq <= self.upto
    }
}

/// Makes the lane due now. Nothing happens if there is none.
pub(crate) async fn wake(app: &App, place: &Place) -> Result<()> {
    let now = app.clock.now();
    while let Some(lane) = load(app, place).await? {
        let mut unit = Unit::write(update(place, &lane, Change::default().set("due", now.0)));
        timer::schedule(app, &mut unit, now, place.timer(0))?;
        if took_place(app.store.commit(unit).await)? {
            break;
        }
    }
    Ok(())
}

/// Wakes all lanes of an endpoint.
pub(crate) async fn wake_all(app: &App, instance: &InstanceId, endpoint: &str) -> Result<()> {
    let mut query = Query::table(keys::lanes(&full_endpoint(instance, endpoint))).limit(100);
    loop {
        let page = app.store.query(query.clone()).await?;
        for item in page.items {
            wake(app, &Place::new(instance, endpoint, &item.key.sk)).await?;
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(()),
        }
    }
}

/// The lane that has waited longest for an attempt, among the first hundred.
pub(super) async fn longest_waiting(app: &App, instance: &InstanceId, endpoint: &str) -> Result<Option<Lane>> {
    let query = Query::table(keys::lanes(&full_endpoint(instance, endpoint))).limit(100);
    let page = app.store.query(query).await?;
    let lanes = page.items.into_iter().map(Item::into::<Lane>).collect::<Result<Vec<_>>>()?;
    Ok(lanes.into_iter().min_by_key(|lane| lane.due))
}
