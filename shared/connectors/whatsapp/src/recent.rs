//! Messages that came in lately, for whoever marks them as read: WhatsApp wants to know who wrote them, where several do.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use whatsapp_rust::{Jid, wacore_binary::JidExt as _};

/// Messages that are remembered, over all chats.
const REMEMBERED: usize = 500;

struct Seen {
    /// Our address of the chat.
    address: String,
    id: String,
    chat: Jid,
    sender: Jid,
}

/// Messages of one writer in one chat.
pub(crate) struct Unread {
    pub(crate) chat: Jid,
    /// Where the chat does not say it.
    pub(crate) sender: Option<Jid>,
    pub(crate) ids: Vec<String>,
}

#[derive(Default)]
pub(crate) struct Recent {
    seen: Mutex<VecDeque<Seen>>,
}

impl Recent {
    fn seen(&self) -> MutexGuard<'_, VecDeque<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, address: &str, id: &str, chat: &Jid, sender: &Jid) {
        let mut seen = self.seen();
        if seen.len() >= REMEMBERED {
            seen.pop_front();
        }
        let (chat, sender) = (chat.to_non_ad(), sender.to_non_ad());
        seen.push_back(Seen { address: address.to_owned(), id: id.to_owned(), chat, sender });
    }

    /// Takes out these messages of a chat, or all of it if none are named. One that is not remembered is taken for the other side's.
    pub(crate) fn take(&self, address: &str, ids: &[String], chat: &Jid) -> Vec<Unread> {
        let mut found: BTreeMap<String, Unread> = BTreeMap::new();
        let mut missing = ids.to_vec();
        self.seen().retain(|one| {
            let wanted = one.address == address && (ids.is_empty() || ids.contains(&one.id));
            if wanted {
                missing.retain(|id| *id != one.id);
                let sender = one.chat.is_group().then(|| one.sender.clone());
                let key = format!("{}/{}", one.chat, one.sender);
                let of = found.entry(key).or_insert_with(|| Unread { chat: one.chat.clone(), sender, ids: Vec::new() });
                of.ids.push(one.id.clone());
            }
            !wanted
        });
        let mut all: Vec<Unread> = found.into_values().collect();
        if !missing.is_empty() {
            all.push(Unread { chat: chat.clone(), sender: None, ids: missing });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_of_a_group_are_told_apart() {
        let recent = Recent::default();
        let (group, person) = (Jid::group("120363"), Jid::pn("1555"));
        for (id, sender) in [("A", "1"), ("B", "2"), ("C", "1")] {
            recent.add("120363@g.us", id, &group, &Jid::pn(sender));
        }
        recent.add("1555@s.whatsapp.net", "D", &person, &person);
        let all = recent.take("120363@g.us", &["A".into(), "C".into(), "X".into()], &group);
        let shown: Vec<_> =
            all.iter().map(|one| (one.sender.as_ref().map(ToString::to_string), one.ids.len())).collect();
        assert_eq!(shown, [(Some("1@s.whatsapp.net".to_owned()), 2), (None, 1)]);
        assert_eq!(recent.take("120363@g.us", &[], &group).len(), 1, "what is left of it");
        assert!(recent.take("120363@g.us", &[], &group).is_empty());
        assert!(recent.take("1555@s.whatsapp.net", &[], &person)[0].sender.is_none());
    }
}
