//! The record of a delivery: one row for each event and endpoint, written after an attempt. Its status decides whether an
//! event that comes by once more is delivered again.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Outcome;
use crate::{
    app::App,
    clock::{DAY_MS, Millis},
    domain::{endpoint::Endpoint, event, instance::Instance},
    error::Result,
    id::InstanceId,
    store::{Item, Key, Read, Write, keys, log::Entry},
};

/// Attempts that are kept: the last ones.
const ATTEMPTS: usize = 10;
/// Rows are kept that long after the event: a year of statistics, and some.
const LIFE_MS: i64 = 400 * DAY_MS;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Delivered,
    /// Another attempt will be made.
    Retrying,
    /// Given up; can be replayed.
    Dead,
    /// Was to be retried when the settings stopped asking for it.
    Skipped,
}

impl Status {
    /// Those with a list of their own in the index; delivered ones are what is left of a day.
    pub(crate) const LISTED: [Self; 3] = [Self::Retrying, Self::Dead, Self::Skipped];

    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retrying => "retrying",
            Self::Dead => "dead",
            Self::Skipped => "skipped",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Self::Delivered, Self::Retrying, Self::Dead, Self::Skipped].into_iter().find(|status| status.name() == name)
    }
}

/// One POST, or why there was none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    pub at: Millis,
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    pub duration_ms: u64,
    /// The first 4 KiB of the answer's body.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answer: String,
}

/// The row (`keys::delivery`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    pub v: u32,
    /// `{day}-{seq}-{endpoint}`: says where the row is.
    pub id: String,
    pub instance_id: InstanceId,
    pub endpoint: String,
    pub event_id: String,
    /// `None` for a test call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The event's name.
    pub event: String,
    /// When the event was.
    pub event_at: Millis,
    pub status: Status,
    /// The last ten, oldest first.
    pub attempts: Vec<Attempt>,
    /// Attempts since the delivery began, or was replayed.
    pub tries: u32,
    /// When the first of them was.
    pub since: Millis,
    /// Scheme and host.
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Millis>,
    pub created_at: Millis,
    pub updated_at: Millis,
}

fn public_id(instance: &InstanceId, event_at: Millis, number: &str, endpoint: &str) -> String {
    format!("{instance}-{}-{number}-{endpoint}", event_at.yyyymmdd())
}

/// The id that the delivery of this event to this endpoint has, or will have.
pub fn id_of(instance: &InstanceId, event_at: Millis, seq: u64, endpoint: &str) -> String {
    public_id(instance, event_at, &format!("{seq:012}"), endpoint)
}

/// The key behind a public id; `None` for what is none of ours.
pub(crate) fn key_of(instance: &InstanceId, id: &str) -> Option<Key> {
    let (day, rest) = id.strip_prefix(instance.as_str())?.strip_prefix('-')?.split_once('-')?;
    let (number, endpoint) = rest.split_once('-')?;
    if day.len() != 8 || !day.bytes().all(|b| b.is_ascii_digit()) || !number.is_ascii() {
        return None;
    }
    let day = Millis::parse(&format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]))?;
    Some(Key::new(keys::deliveries(instance, day), format!("{number}#{endpoint}")))
}

impl Delivery {
    /// The delivery of an entry, before its first attempt.
    pub(crate) fn of_entry(app: &App, instance: &Instance, endpoint: &str, entry: &Entry) -> Self {
        let number = format!("{:012}", entry.seq);
        let mut row = Self::blank(app, instance, endpoint, &number, entry.body.at);
        row.seq = Some(entry.seq);
        row.event_id = event::event_id(&instance.id, entry.seq);
        row.event.clone_from(&entry.body.kind);
        row
    }

    /// The delivery of an entry that is no longer in the log: all that is known of it is its number.
    pub(crate) fn of_expired(app: &App, instance: &Instance, endpoint: &str, seq: u64, now: Millis) -> Self {
        let mut row = Self::blank(app, instance, endpoint, &format!("{seq:012}"), now);
        row.seq = Some(seq);
        row.event_id = event::event_id(&instance.id, seq);
        row
    }

    /// `number` is the first part of the sort key.
    pub(crate) fn blank(app: &App, instance: &Instance, endpoint: &str, number: &str, event_at: Millis) -> Self {
        let now = app.clock.now();
        Self {
            v: 1,
            id: public_id(&instance.id, event_at, number, endpoint),
            instance_id: instance.id.clone(),
            endpoint: endpoint.to_owned(),
            event_id: String::new(),
            seq: None,
            event: String::new(),
            event_at,
            status: Status::Retrying,
            attempts: Vec::with_capacity(1),
            tries: 0,
            since: now,
            url: Endpoint::find(app, instance, endpoint).map(Endpoint::shown_url).unwrap_or_default(),
            next_attempt_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether nothing more is to be done about it.
    pub fn is_final(&self) -> bool {
        self.status != Status::Retrying
    }

    /// Adds what a POST came to.
    pub(crate) fn tried(&mut self, app: &App, instance: &Instance, attempt: Attempt) {
        if self.tries == 0 {
            self.since = attempt.at;
        }
        self.tries += 1;
        if let Some(endpoint) = Endpoint::find(app, instance, &self.endpoint) {
            self.url = endpoint.shown_url();
        }
        self.note(attempt);
    }

    /// Ends it without an attempt.
    pub(crate) fn end(&mut self, status: Status, outcome: Outcome, now: Millis) {
        self.status = status;
        self.next_attempt_at = None;
        self.note(Attempt { at: now, outcome, status_code: None, duration_ms: 0, answer: String::new() });
    }

    /// No further attempt, though one would be due.
    pub(crate) fn give_up(&mut self) {
        self.status = Status::Dead;
        self.next_attempt_at = None;
    }

    fn note(&mut self, attempt: Attempt) {
        self.updated_at = attempt.at;
        if self.attempts.len() >= ATTEMPTS {
            self.attempts.drain(..=self.attempts.len() - ATTEMPTS);
        }
        self.attempts.push(attempt);
    }

    /// Starts it over, with all its attempts to come.
    pub(crate) fn reopen(&mut self, now: Millis) {
        self.status = Status::Retrying;
        self.tries = 0;
        self.since = now;
        self.next_attempt_at = Some(now);
        self.updated_at = now;
    }

    /// Puts the row. It is unconditional: whoever writes it has just made the attempt that it tells of.
    pub(crate) fn write(&self) -> Result<Write> {
        let key = key_of(&self.instance_id, &self.id)
            .ok_or_else(|| crate::Error::internal(format!("delivery id {} says no key", self.id)))?;
        let order = format!("{}{}", self.event_at.digits(), key.sk);
        let mut item = Item::new(key, self)?.expires(Millis(self.event_at.0 + LIFE_MS));
        if self.status != Status::Delivered {
            item = item.indexed(keys::deliveries_in(&self.instance_id, self.status.name()), order);
        }
        Ok(Write::put(item))
    }

    /// As users see it: times as ISO 8601.
    pub fn view(&self) -> Value {
        let attempts: Vec<Value> = self
            .attempts
            .iter()
            .map(|attempt| {
                json!({
                    "at": attempt.at.iso(),
                    "outcome": attempt.outcome,
                    "statusCode": attempt.status_code,
                    "durationMs": attempt.duration_ms,
                    "answer": attempt.answer,
                })
            })
            .collect();
        json!({
            "id": self.id,
            "instanceId": self.instance_id,
            "endpoint": self.endpoint,
            "eventId": self.event_id,
            "seq": self.seq,
            "event": self.event,
            "status": self.status,
            "attempts": attempts,
            "url": self.url,
            "nextAttemptAt": self.next_attempt_at.map(Millis::iso),
            "createdAt": self.created_at.iso(),
            "updatedAt": self.updated_at.iso(),
        })
    }
}

/// The row of an event that was at `event_at`, if there is one.
pub(crate) async fn load(
    app: &App,
    instance: &InstanceId,
    endpoint: &str,
    seq: u64,
    event_at: Millis,
) -> Result<Option<Delivery>> {
    let key = keys::delivery(instance, event_at, seq, endpoint);
    app.store.get(&key, Read::Strong).await?.map(Item::into).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_to_its_row() {
        let instance = InstanceId::new("01k0000000abcdef");
        let at = Millis(1_672_574_400_000);
        let id = "01k0000000abcdef-20230101-000000000007-webhook";
        assert_eq!(key_of(&instance, id), Some(keys::delivery(&instance, at, 7, "webhook")));
        assert_eq!(key_of(&InstanceId::new("01k0000000fedcba"), id), None, "another instance's");
        for junk in ["", "-", "20230101", "2023010-1-w", "20231301-1-w", "2023ü01-1-w", "a-b-c"] {
            assert_eq!(key_of(&instance, junk), None, "{junk}");
            assert_eq!(key_of(&instance, &format!("{instance}-{junk}")), None, "{junk}");
        }
    }
}
