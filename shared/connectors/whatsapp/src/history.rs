//! What the phone hands over after pairing: who is known, and under which addresses.
//!
//! A piece of history is read conversation by conversation, so that memory holds one of them and the compressed piece. Its messages
//! are not taken over: they happened before the link, and to whom they matter they are on the phone.

use shared::{
    Result,
    connector::{ContactInfo, Update},
};
use whatsapp_rust::{
    Client, Jid, wacore::types::events::LazyHistorySync, wacore_binary::JidExt as _, waproto::whatsapp as wa,
};

use crate::{hook::tell, line::Inner, people};

/// Contacts that are told of together.
const PAGE: usize = 100;

/// Contacts of a piece of history, and which addresses belong together.
pub(crate) async fn read(inner: &Inner, client: &Client, history: &LazyHistorySync) -> Result<()> {
    let mut page = Vec::with_capacity(PAGE);
    let (mut conversations, mut known) = (0, 0);
    // The stream borrows what it reads, which is not to be held while waiting: so a page at a time is taken out.
    let mut stream = history.stream();
    loop {
        let mut taken = Vec::with_capacity(PAGE);
        while taken.len() < PAGE {
            match stream.next_conversation() {
                Ok(Some(conversation)) => taken.push(Seen::of(conversation)),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(instance = %inner.instance, %error, "a piece of history is broken");
                    break;
                }
            }
        }
        if taken.is_empty() {
            break;
        }
        conversations += taken.len();
        for seen in taken {
            known += usize::from(meet(inner, client, seen, &mut page).await?);
        }
    }
    let names = stream.remainder().map(|rest| rest.pushnames).unwrap_or_default();
    for name in names {
        let (Some(id), Some(name)) = (name.id, name.pushname) else { continue };
        known += usize::from(meet(inner, client, Seen { id, lid: None, pn: None, name }, &mut page).await?);
    }
    flush(inner, &mut page).await?;
    tracing::info!(instance = %inner.instance, conversations, contacts = known, progress = history.progress(), "a piece of history was read");
    Ok(())
}

/// What is of use of a conversation.
struct Seen {
    id: String,
    lid: Option<String>,
    pn: Option<String>,
    name: String,
}

impl Seen {
    fn of(conversation: wa::Conversation) -> Self {
        let name = conversation.name.or(conversation.display_name).unwrap_or_default();
        Self { id: conversation.id, lid: conversation.lid_jid, pn: conversation.pn_jid, name }
    }
}

async fn meet(inner: &Inner, client: &Client, seen: Seen, page: &mut Vec<ContactInfo>) -> Result<bool> {
    let Ok(jid) = seen.id.parse::<Jid>() else { return Ok(false) };
    let alt = if jid.is_lid() { &seen.pn } else { &seen.lid };
    let alt = alt.as_deref().and_then(|text| text.parse::<Jid>().ok());
    let Some(who) = people::who(client, &jid, alt.as_ref()).await else { return Ok(false) };
    if let Some(news) = inner.pairs.news(&who) {
        tell(inner, news).await?;
    }
    if seen.name.is_empty() {
        return Ok(false);
    }
    let is_group = jid.is_group();
    page.push(ContactInfo { address: who.address, name: seen.name, avatar: String::new(), is_group });
    if page.len() >= PAGE {
        flush(inner, page).await?;
    }
    Ok(true)
}

async fn flush(inner: &Inner, page: &mut Vec<ContactInfo>) -> Result<()> {
    if page.is_empty() {
        return Ok(());
    }
    tell(inner, Update::Contacts(std::mem::take(page))).await
}
