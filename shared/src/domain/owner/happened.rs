//! What platforms tell of beside messages: calls, changes of groups, who comes and goes. The event is all that is kept.

use serde_json::{Map, Value, json};

use super::{
    Owner,
    author::{Settle, Step},
};
use crate::{
    clock::{DAY_MS, Millis},
    connector::{Happening, What},
    domain::event,
    store::{CommitError, Item, Write, keys},
};

/// How long it is known that something was told of. Platforms tell again what was not acknowledged, at the latest when the account
/// comes back.
const KNOWN_MS: i64 = 7 * DAY_MS;

impl Owner {
    /// Tells of something that happened; of the same once. Presence, which comes by the second, has no row to know it again by.
    pub async fn happened(&self, happening: &Happening) -> Result<(), CommitError> {
        let chat = self.chat_of(&happening.chat).await?;
        let kind = happening.what.event();
        let named = format!("{}/{}", kind.name(), happening.id);
        let name = self.app.keyring.index2("happened", self.id.as_str(), &named);
        let now = self.app.clock.now();
        let mut entry = event::entry(kind, format!("happened/{name}"), now);
        entry.chat = Some(chat.to_string());
        let mut data = match &happening.data {
            Value::Object(data) => data.clone(),
            _ => Map::new(),
        };
        data.insert("chatId".into(), happening.chat.as_str().into());
        entry.data = data.into();
        let author = self.author();
        if happening.what == What::PresenceUpdated {
            // Nothing to look back on: it is of the moment, nobody tells of it again, and those who read it count nothing.
            return author.commit(author.unit(Vec::new(), &[entry], None, Settle::Nothing)).await.map(drop);
        }
        let gate = Item::new(keys::happened(&self.id, &name), &json!({ "v": 1 }))?.expires(Millis(now.0 + KNOWN_MS));
        let step = Step {
            gate: Write::create(gate),
            stamp: "seq",
            before: Vec::new(),
            after: Vec::new(),
            entries: vec![entry],
            settle: Settle::Nothing,
        };
        author.step(step).await.map(drop)
    }
}
