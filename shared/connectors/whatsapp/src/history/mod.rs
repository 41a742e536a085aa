//! Messages from before the link, who is known, and under which addresses: what the phone hands over after pairing, in pieces.
//!
//! A piece is kept in the session first (`store::history`), then read and stored by one task a line, a page of messages at a
//! time, so that nothing else waits for it and a restart goes on where it was. Memory holds one piece, compressed, and two
//! conversations of it. Media stay at WhatsApp; the messages say where, as with `WHATSAPP_MEDIA=lazy`.

mod old;
mod reader;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use shared::{
    Result,
    connector::{ContactInfo, HistoryPage, OldMessage, Update},
};
use whatsapp_rust::{
    Client, Jid,
    wacore::types::events::LazyHistorySync,
    wacore_binary::JidExt as _,
    waproto::whatsapp::{self as wa, message::protocol_message::Type},
};

use self::reader::Reader;
use crate::{
    hook::tell,
    line::Inner,
    people::{self, Who},
    store::Piece,
};

/// Contacts that are told of together.
const CONTACTS: usize = 100;
/// Pause after the store did not answer.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long an announcement waits for its piece, and how often it looks.
const KEPT_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Keeps a piece, until it is stored. As long as the line lives its writing is tried again.
pub(crate) async fn keep(inner: &Inner, history: &LazyHistorySync) -> Result<()> {
    inner.store.keep_piece(history.compressed_bytes(), history.progress())?;
    while let Err(error) = inner.store.flush().await {
        if !error.is_temporary() || inner.ended.is_cancelled() {
            return Err(error);
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    inner.kept.fetch_add(1, Ordering::AcqRel);
    inner.pieces.notify_one();
    Ok(())
}

/// Whether a message of the phone announces a piece. What it says of it is not left in it: the crate has taken that out.
pub(crate) fn is_announced(message: &wa::Message) -> bool {
    let protocol = message.protocol_message.as_option();
    protocol.is_some_and(|protocol| protocol.r#type == Some(Type::HISTORY_SYNC_NOTIFICATION))
}

/// Returns when everything that was announced is kept: only then the announcement is acknowledged, so that a crash before brings it
/// again. A download that takes long is not waited for, since the account's other messages are behind it.
pub(crate) async fn kept(inner: &Inner, client: &Client) {
    let all = async {
        if client.wait_for_startup_sync(KEPT_WITHIN).await.is_ok() {
            while inner.kept.load(Ordering::Acquire) < inner.handed.load(Ordering::Acquire) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    };
    if tokio::time::timeout(KEPT_WITHIN, all).await.is_err() {
        tracing::debug!(instance = %inner.instance, "a piece of history is acknowledged before it is kept");
    }
}

/// Stores what is kept, piece by piece, whenever there is something and the line is up.
pub(crate) async fn store(inner: Arc<Inner>, client: Arc<Client>) {
    loop {
        inner.pieces.notified().await;
        while inner.is_up() {
            match next(&inner, &client).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(instance = %inner.instance, %error, "history was not stored");
                    if !error.is_temporary() {
                        break;
                    }
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            }
        }
    }
}

/// Stores the oldest piece. `false`: there is none.
async fn next(inner: &Inner, client: &Client) -> Result<bool> {
    let Some(piece) = inner.store.first_piece().await? else { return Ok(false) };
    match inner.store.piece_bytes(&piece).await? {
        Some(bytes) => {
            let mut import = Import::new(inner, client, piece.clone());
            import.all(Reader::of(bytes)).await?;
        }
        None => tracing::warn!(instance = %inner.instance, "a piece of history is not complete"),
    }
    inner.store.drop_piece(&piece).await?;
    Ok(true)
}

/// A piece on its way into the log.
struct Import<'a> {
    inner: &'a Inner,
    client: &'a Client,
    /// Our own address.
    own: Option<String>,
    piece: Piece,
    page: Vec<OldMessage>,
    /// Messages that the page was cut of, with those that are none of ours: pages must be cut the same way again.
    looked: usize,
    contacts: Vec<ContactInfo>,
}

impl<'a> Import<'a> {
    fn new(inner: &'a Inner, client: &'a Client, piece: Piece) -> Self {
        let own = client.pn().as_ref().and_then(people::address);
        Self { inner, client, own, piece, page: Vec::new(), looked: 0, contacts: Vec::new() }
    }

    async fn all(&mut self, mut reader: Reader) -> Result<()> {
        let begin = self.piece.at;
        let mut number = 0;
        while let Some(conversation) = reader.conversation().await {
            if number >= begin.conversation {
                let skip = if number == begin.conversation { begin.message } else { 0 };
                self.conversation(number, skip, conversation).await?;
            }
            number += 1;
        }
        for name in reader.names().await {
            let (Some(id), Some(name)) = (name.id, name.pushname) else { continue };
            if let Ok(jid) = id.parse::<Jid>()
                && let Some(who) = people::who(self.client, &jid, None).await
            {
                self.meet(who, name, false).await?;
            }
        }
        if self.looked > 0 || self.piece.at.page > 0 {
            self.tell_page(true).await?;
        } else {
            self.tell_contacts().await?;
        }
        tracing::info!(instance = %self.inner.instance, conversations = number, pages = self.piece.at.page,
            progress = self.piece.progress, "a piece of history was stored");
        Ok(())
    }

    async fn conversation(&mut self, number: u32, skip: u32, conversation: wa::Conversation) -> Result<()> {
        let Ok(jid) = conversation.id.parse::<Jid>() else { return Ok(()) };
        let alt = if jid.is_lid() { &conversation.pn_jid } else { &conversation.lid_jid };
        let alt = alt.as_deref().and_then(|text| text.parse::<Jid>().ok());
        let Some(chat) = people::who(self.client, &jid, alt.as_ref()).await else { return Ok(()) };
        let name = conversation.name.or(conversation.display_name).unwrap_or_default();
        if skip == 0 {
            self.meet(chat.clone(), name.clone(), jid.is_group()).await?;
        }
        let mut known = HashMap::new();
        for (at, message) in (0_u32..).zip(conversation.messages).skip(skip as usize) {
            if let Some(message) = message.message.into_option() {
                let author = self.who(old::author(&message, jid.is_group()), &chat, &mut known).await;
                let mut reactions = Vec::with_capacity(message.reactions.len());
                for (by, emoji) in old::reactions(&message, jid.is_group()) {
                    let mine = by == old::By::Me;
                    let by = self.who(Some(by), &chat, &mut known).await;
                    reactions.extend(by.map(|by| (if mine { "me".to_owned() } else { by }, emoji)));
                }
                if let Some(author) = author {
                    self.page.extend(old::read(message, &chat.address, author, &name, at, reactions));
                }
            }
            self.looked += 1;
            if self.looked >= HistoryPage::MOST {
                self.tell_page(false).await?;
                self.piece.at.conversation = number;
                self.piece.at.message = at + 1;
                self.inner.store.advance_piece(&self.piece);
            }
        }
        Ok(())
    }

    /// The address of somebody in a chat.
    async fn who(
        &self,
        by: Option<old::By>,
        chat: &Who,
        known: &mut HashMap<String, Option<String>>,
    ) -> Option<String> {
        let text = match by? {
            old::By::Me => return self.own.clone(),
            old::By::Chat => return Some(chat.address.clone()),
            old::By::Member(text) => text,
        };
        if let Some(found) = known.get(&text) {
            return found.clone();
        }
        let found = match text.parse::<Jid>() {
            Ok(jid) => people::who(self.client, &jid, None).await.map(|who| who.address),
            Err(_) => None,
        };
        known.insert(text, found.clone());
        found
    }

    async fn tell_page(&mut self, ends: bool) -> Result<()> {
        let page = HistoryPage {
            piece: self.piece.id.clone(),
            number: self.piece.at.page,
            messages: std::mem::take(&mut self.page),
            progress: self.piece.progress.and_then(|progress| u8::try_from(progress.min(100)).ok()),
            ends,
        };
        // Whom the page is about first: behind it the piece goes on.
        self.tell_contacts().await?;
        tell(self.inner, Update::History(Box::new(page))).await?;
        self.looked = 0;
        self.piece.at.page += 1;
        Ok(())
    }

    /// Somebody whom the phone knows.
    async fn meet(&mut self, who: Who, name: String, is_group: bool) -> Result<()> {
        if let Some(news) = self.inner.pairs.news(&who) {
            tell(self.inner, news).await?;
        }
        if !name.is_empty() {
            self.contacts.push(ContactInfo { address: who.address, name, avatar: String::new(), is_group });
            if self.contacts.len() >= CONTACTS {
                self.tell_contacts().await?;
            }
        }
        Ok(())
    }

    async fn tell_contacts(&mut self) -> Result<()> {
        if self.contacts.is_empty() {
            return Ok(());
        }
        tell(self.inner, Update::Contacts(self.contacts.clone())).await?;
        self.contacts.clear();
        Ok(())
    }
}
