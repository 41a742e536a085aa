//! What the platform tells of people: contact lists, and that two addresses are of one chat.

use serde_json::json;

use super::{Owner, author::Settle};
use crate::{
    connector::ContactInfo,
    domain::{
        chat, contact,
        event::{self, Kind},
    },
    error::Result,
    store::CommitError,
};

/// Contacts that are compared and written at once.
const PAGE: usize = 100;

impl Owner {
    /// Stores contacts and tells how many there were.
    pub async fn contacts(&self, contacts: &[ContactInfo]) -> Result<(), CommitError> {
        if contacts.is_empty() {
            return Ok(());
        }
        for page in contacts.chunks(PAGE) {
            contact::store(&self.app, &self.id, page).await?;
        }
        let mut entry =
            event::entry(Kind::ContactsUpdated, format!("contacts/{}", self.app.ids.ulid()), self.app.clock.now());
        entry.data = json!({ "count": contacts.len() });
        let author = self.author();
        author.commit(author.unit(Vec::new(), &[entry], None, Settle::Nothing)).await?;
        Ok(())
    }

    /// Two addresses of one chat.
    pub async fn same_chat(&self, address: &str, also: &str) -> Result<(), CommitError> {
        chat::merge(&self.app, &self.instance(), address, also).await?;
        self.seen().chats.clear();
        Ok(())
    }
}
