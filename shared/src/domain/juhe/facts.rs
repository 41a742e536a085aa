//! What notifications tell about people and rooms.

use serde_json::Value;

use super::{
    notice::kind,
    wire::{self, Fields},
};
use crate::clock::Millis;

/// Members of a room that one notification may name.
const MAX_MEMBERS: usize = 5_000;

const TIMES: &[&str] = &["sendtime", "update_time", "updatets", "timestamp", "time", "create_time", "createts"];

/// What is told about somebody. Empty texts tell nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Person {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) remark: String,
    pub(super) avatar: String,
    pub(super) corp: String,
    /// `None`: when it arrived.
    pub(super) at: Option<Millis>,
}

impl Person {
    /// `None` if it names nobody.
    pub(super) fn read(fields: Fields<'_>) -> Option<Self> {
        let id = fields.id(&["user_id", "vid", "uin", "username", "wxid", "id"]);
        let person = Self {
            id,
            name: fields.text(&["name", "nickname", "real_name"]),
            remark: fields.text(&["remark", "remark_name"]),
            avatar: fields.text(&["avatar", "iconurl", "avatar_url", "head_url", "small_head_url"]),
            corp: fields.id(&["corp_id"]),
            at: fields.time(TIMES),
        };
        (!person.id.is_empty()).then_some(person)
    }
}

/// What is told about a room.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RoomNews {
    /// Without `R:`.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) owner: String,
    pub(super) avatar: String,
    /// How many members there are.
    pub(super) count: Option<u64>,
    /// Members that came (`true`) or went.
    pub(super) moved: Vec<(String, bool)>,
    /// Everybody who is named.
    pub(super) people: Vec<Person>,
    pub(super) dismissed: bool,
    /// `None`: when it arrived.
    pub(super) at: Option<Millis>,
}

impl RoomNews {
    /// `None` if it names no room.
    pub(super) fn read(notice: i64, fields: Fields<'_>) -> Option<Self> {
        let id = fields.id(&["roomid", "room_id", "room_username", "chatroom", "conversation_id"]);
        let mut news = Self {
            id: id.trim_start_matches("R:").to_owned(),
            name: fields.text(&["room_name", "roomname", "new_name"]),
            owner: fields.id(&["owner_vid", "owner", "room_owner"]),
            avatar: fields.text(&["roomurl", "room_avatar", "avatar"]),
            count: fields.number(&["member_count", "membercount", "total"]).and_then(|count| u64::try_from(count).ok()),
            at: fields.time(TIMES),
            ..Self::default()
        };
        if news.id.is_empty() {
            return None;
        }
        let members = fields.list(&["user_list", "member_list", "members", "vids", "user_ids"]).map(Vec::as_slice);
        news.people = members.unwrap_or_default().iter().take(MAX_MEMBERS).filter_map(member).collect();
        for person in &mut news.people {
            person.at = person.at.or(news.at);
        }
        match notice {
            kind::ROOM_NAME if news.name.is_empty() => news.name = fields.text(&["name", "content"]),
            kind::MEMBERS_ADDED => news.move_members(true, None),
            kind::MEMBERS_REMOVED | kind::KICKED => news.move_members(false, None),
            // Who leaves by himself is who tells of it.
            kind::LEFT => news.move_members(false, Some(fields.id(&["sender", "user_id", "vid"]))),
            kind::ROOM_CREATED | kind::ROOM_INFO => {
                if news.name.is_empty() {
                    news.name = fields.text(&["name"]);
                }
                if notice == kind::ROOM_CREATED && news.owner.is_empty() {
                    news.owner = fields.id(&["creator", "sender"]);
                }
                // A whole list counts by itself.
                if members.is_some() && news.count.is_none() {
                    news.count = Some(news.people.len() as u64);
                }
            }
            kind::ROOM_DISMISSED => {
                news.dismissed = true;
                news.count = Some(0);
            }
            _ => {}
        }
        Some(news)
    }

    fn move_members(&mut self, came: bool, alone: Option<String>) {
        self.moved = self.people.iter().map(|person| (person.id.clone(), came)).collect();
        if let Some(id) = alone.filter(|id| self.moved.is_empty() && !id.is_empty()) {
            self.moved.push((id, came));
        }
    }
}

/// An id, or an object with one.
fn member(value: &Value) -> Option<Person> {
    match Fields::of(value) {
        Some(fields) => Person::read(fields),
        None => wire::text(value)
            .map(|id| id.trim().to_owned())
            .filter(|id| !id.is_empty() && id != "0")
            .map(|id| Person { id, ..Person::default() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn room(notice: i64, data: &Value) -> RoomNews {
        RoomNews::read(notice, Fields::of(data).expect("an object")).expect("a room")
    }

    #[test]
    fn rooms_are_renamed_filled_and_emptied() {
        let renamed = room(kind::ROOM_NAME, &json!({"roomid": 10957014854528966_i64, "content": "new", "sendtime": 5}));
        assert_eq!(
            (renamed.id.as_str(), renamed.name.as_str(), renamed.at),
            ("10957014854528966", "new", Some(Millis(5000)))
        );
        let added = room(
            kind::MEMBERS_ADDED,
            &json!({"room_id": "R:1", "user_list": ["7", 8, {"vid": "9", "name": "n"}, null, "0"]}),
        );
        assert_eq!(added.id, "1");
        assert_eq!(added.moved, [("7".into(), true), ("8".into(), true), ("9".into(), true)]);
        assert_eq!(added.people[2].name, "n");
        let left = room(kind::LEFT, &json!({"roomid": "1", "sender": "7"}));
        assert_eq!(left.moved, [("7".into(), false)]);
        let made = room(kind::ROOM_CREATED, &json!({"roomid": "1", "sender": "7", "name": "n", "member_list": [7, 8]}));
        assert_eq!((made.owner.as_str(), made.count, made.name.as_str()), ("7", Some(2), "n"));
        let gone = room(kind::ROOM_DISMISSED, &json!({"roomid": "1"}));
        assert_eq!((gone.count, gone.dismissed), (Some(0), true));
        assert_eq!(RoomNews::read(kind::ROOM_INFO, Fields::of(&json!({"name": "x"})).expect("an object")), None);
    }

    #[test]
    fn people_have_ids() {
        let data = json!({"user_id": 5, "nickname": "n", "remark": "r", "corp_id": 1, "iconurl": "https://a"});
        let person = Person::read(Fields::of(&data).expect("an object")).expect("a person");
        assert_eq!((person.id.as_str(), person.name.as_str(), person.corp.as_str()), ("5", "n", "1"));
        assert_eq!(Person::read(Fields::of(&json!({"name": "x"})).expect("an object")), None);
    }
}
