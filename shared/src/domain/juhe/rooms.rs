//! The rooms of a device.
//!
//! How many members a room has is what the newest notification that states a number says, and whoever came or went after it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    device::Device,
    fact::{Fact, learn, told, value},
    facts::RoomNews,
    people::refused,
};
use crate::{
    app::App,
    clock::Millis,
    domain::chat,
    error::{Error, Result},
    store::{CommitError, Cond, Item, Key, Read, Write, keys},
};

/// Tries against others who learn about the same room.
const TRIES: usize = 20;
/// Comings and goings that are remembered of one member, and members of whom any are: rooms of the service have at most
/// some thousands.
const MAX_MOVES: usize = 16;
const MAX_MOVERS: usize = 3_000;

/// A room's row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Room {
    v: u32,
    /// `R:` and the id.
    pub(super) address: String,
    pub(super) name: String,
    pub(super) owner: String,
    pub(super) avatar: String,
    pub(super) member_count: u64,
    pub(super) dismissed: bool,
    pub(super) synced_at: Millis,
    facts: Facts,
    /// Raised by every change.
    rev: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Fact<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<Fact<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar: Option<Fact<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dismissed: Option<Fact<bool>>,
    /// How many there were.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<Fact<u64>>,
    /// Member → comings (`true`) and goings after that, in order.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    moves: BTreeMap<String, Vec<(Millis, bool)>>,
}

impl Facts {
    fn of(news: &RoomNews, received: Millis) -> Self {
        let at = news.at.unwrap_or(received);
        Self {
            name: told(news.name.clone(), at),
            owner: told(news.owner.clone(), at),
            avatar: told(news.avatar.clone(), at),
            // Whatever else is told of a room says that it is there.
            dismissed: Some(Fact::new(news.dismissed, at)),
            count: news.count.map(|count| Fact::new(count, at)),
            moves: news.moved.iter().map(|(id, came)| (id.clone(), vec![(at, *came)])).collect(),
        }
    }

    fn merge(&mut self, other: &Self) -> bool {
        let before = self.clone();
        learn(&mut self.name, other.name.as_ref());
        learn(&mut self.owner, other.owner.as_ref());
        learn(&mut self.avatar, other.avatar.as_ref());
        learn(&mut self.dismissed, other.dismissed.as_ref());
        learn(&mut self.count, other.count.as_ref());
        for (id, moves) in &other.moves {
            let known = self.moves.entry(id.clone()).or_default();
            known.extend(moves);
            known.sort_unstable();
            known.dedup();
            known.drain(..known.len().saturating_sub(MAX_MOVES));
        }
        // What was counted already is not remembered: a later count only makes more of it irrelevant.
        if let Some(counted) = self.count.as_ref().map(|count| count.at) {
            for moves in self.moves.values_mut() {
                moves.retain(|(at, _)| *at > counted);
            }
        }
        self.moves.retain(|_, moves| !moves.is_empty());
        while self.moves.len() > MAX_MOVERS {
            let oldest = self.moves.iter().min_by_key(|(_, moves)| moves.last().copied()).map(|(id, _)| id.clone());
            self.moves.remove(&oldest.unwrap_or_default());
        }
        *self != before
    }

    /// Who came first was not among those who were counted; who went first was.
    fn members(&self) -> u64 {
        let mut members = self.count.as_ref().map_or(0, |count| i64::try_from(count.value).unwrap_or(i64::MAX));
        for moves in self.moves.values() {
            if let (Some((_, first)), Some((_, last))) = (moves.first(), moves.last()) {
                members = members.saturating_add(i64::from(*last) - i64::from(!*first));
            }
        }
        u64::try_from(members).unwrap_or(0)
    }
}

/// What was told about rooms, together.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<String, Facts>);

impl Told {
    pub(super) fn add(&mut self, news: &RoomNews, received: Millis) {
        self.0.entry(news.id.clone()).or_default().merge(&Facts::of(news, received));
    }

    /// That a room is there.
    pub(super) fn meet(&mut self, id: &str) {
        self.0.entry(id.to_owned()).or_default();
    }
}

pub(super) fn address(id: &str) -> String {
    format!("R:{id}")
}

/// Merges what was told into the rooms. Returns the names: id → name and when it was told.
pub(super) async fn learn_all(
    app: &App,
    device: &Device,
    told: Told,
) -> Result<BTreeMap<String, Fact<String>>, CommitError> {
    let mut names = BTreeMap::new();
    let mut left: Vec<(String, Facts)> = told.0.into_iter().collect();
    for _ in 0..TRIES {
        let key = |id: &str| keys::room(device.id(), &chat::address_hash(app, device.id(), &address(id)));
        let keys: Vec<Key> = left.iter().map(|(id, _)| key(id)).collect();
        let rows = app.store.batch_get(&keys, Read::Strong).await?;
        let mut writes = Vec::new();
        for (((id, facts), key), row) in left.into_iter().zip(keys).zip(rows) {
            let old: Option<Room> = row.map(Item::into).transpose()?;
            let before = old.as_ref().map(|old| old.rev);
            let mut room = old.unwrap_or_else(|| Room { v: 1, address: address(&id), ..Room::default() });
            let news = room.facts.merge(&facts);
            if let Some(name) = &room.facts.name {
                names.insert(id.clone(), name.clone());
            }
            if news || before.is_none() {
                room.settle(app.clock.now());
                let cond = before.map_or(Cond::Absent, |rev| Cond::eq("rev", Value::from(rev)));
                writes.push(((id, facts), Write::put(Item::new(key, &room)?).only_if(cond)));
            }
        }
        left = refused(app, writes).await?;
        if left.is_empty() {
            return Ok(names);
        }
    }
    Err(Error::unavailable("rooms are changed by many at once").into())
}

impl Room {
    fn settle(&mut self, now: Millis) {
        value(self.facts.name.as_ref()).clone_into(&mut self.name);
        value(self.facts.owner.as_ref()).clone_into(&mut self.owner);
        value(self.facts.avatar.as_ref()).clone_into(&mut self.avatar);
        self.member_count = self.facts.members();
        self.dismissed = self.facts.dismissed.as_ref().is_some_and(|dismissed| dismissed.value);
        self.synced_at = now;
        self.rev += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(at: i64, count: Option<u64>, moved: &[(&str, bool)]) -> RoomNews {
        RoomNews {
            id: "r".into(),
            count,
            moved: moved.iter().map(|(id, came)| ((*id).to_owned(), *came)).collect(),
            at: Some(Millis(at)),
            ..RoomNews::default()
        }
    }

    fn members(all: &[&RoomNews]) -> u64 {
        let mut facts = Facts::default();
        for news in all {
            facts.merge(&Facts::of(news, Millis(0)));
        }
        facts.members()
    }

    #[test]
    fn members_are_the_newest_count_and_who_came_and_went_after_it() {
        let all = [
            news(10, Some(5), &[]),
            news(5, None, &[("before", true)]),
            news(11, None, &[("a", true)]),
            news(12, None, &[("a", false)]),
            news(13, None, &[("b", false)]),
            news(14, None, &[("b", true)]),
            news(15, None, &[("c", true), ("d", true)]),
            news(16, None, &[("e", false)]),
        ];
        let forward: Vec<&RoomNews> = all.iter().collect();
        assert_eq!(members(&forward), 6);
        for seed in 1..200_usize {
            let mut order: Vec<&RoomNews> = all.iter().chain(&all).collect();
            order.sort_by_key(|news| {
                let at = usize::try_from(news.at.map_or(0, |at| at.0)).unwrap_or(0);
                (at * 7919 * seed) % 101
            });
            assert_eq!(members(&order), 6, "{seed}");
        }
        assert_eq!(members(&[&news(1, None, &[("x", false)])]), 0, "never below none");
    }
}
