//! Edits, revocations and reactions: messages that only change another one. The change is applied to the other's row before
//! its own row or status is written, so that a repeat finds either both or none, and applying twice is the same as once.

use serde_json::{Map, Value};

use super::author::Author;
use crate::{
    clock::Millis,
    domain::{
        content::Content,
        event::Kind,
        message::{self, BodyRow, Message},
    },
    error::Result,
    id::ChatKey,
    store::{Change, CommitError, Cond, Unit, Write},
};

/// The event that tells of such a change; `None` for messages of their own.
pub(super) fn kind_of(content: &Content) -> Option<Kind> {
    match content {
        Content::Edit { .. } => Some(Kind::MessageEdited),
        Content::Revoke { .. } => Some(Kind::MessageRevoked),
        Content::Reaction { .. } => Some(Kind::MessageReaction),
        _ => None,
    }
}

impl Author<'_> {
    /// Applies `content`, written by `by` (`me` or an address) at `at`, to the message that it is about. A message that is not
    /// known here is nobody's fault: then there is nothing to change.
    pub(super) async fn apply_change(
        &self,
        chat: &ChatKey,
        content: &Content,
        by: &str,
        at: Millis,
    ) -> Result<(), CommitError> {
        let Some(target) = content.target() else { return Ok(()) };
        let known = message::by_platform_id(self.app, &self.instance.id, target).await?;
        let mine = by == "me";
        let reaction = matches!(content, Content::Reaction { .. });
        // Ids are unique within (chat, sender) only. A reaction is by anybody, an edit by the author, a revocation by the author or
        // by an administrator of the group, which the platform has checked.
        let revoke = matches!(content, Content::Revoke { .. });
        let is_author = |m: &Message| if mine { m.from_me } else { !m.from_me && (!m.is_group || m.sender == by) };
        let best = known
            .iter()
            .filter(|m| m.chat == *chat && (reaction || is_author(m) || (revoke && m.is_group)))
            .max_by_key(|m| !reaction && is_author(m));
        let Some(target) = best else { return Ok(()) };
        let (before, change, cond) = match content {
            Content::Edit { text, .. } => edited(target, text, at)?,
            Content::Revoke { .. } => (None, Change::default().set("revoked", true), Cond::Exists),
            Content::Reaction { emoji, .. } => {
                let reactions = reacted(target.reactions.clone(), by, emoji);
                (None, Change::default().set("reactions", Value::Object(reactions)), Cond::Exists)
            }
            _ => return Ok(()),
        };
        let change = change.set("updatedAt", self.app.clock.now().0);
        let is_edit = matches!(content, Content::Edit { .. });
        let same = before.as_ref().map(|(digest, _)| digest) == target.body.as_ref();
        let old = target.body_key().filter(|_| is_edit && !same);
        let writes = before.into_iter().map(|(_, body)| body).collect();
        let mut unit = Unit { writes, ..Unit::default() };
        unit.writes.push(Write::update(target.key(), change).only_if(cond));
        match self.app.store.commit(unit).await {
            Ok(_) => {}
            // Gone, or edited later than this.
            Err(CommitError::Conflict { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        // The body before the edit, unless it is the same one: nothing names it any more.
        if let Some(old) = old {
            let unit = Unit { writes: vec![Write::delete(old)], ..Unit::default() };
            self.app.store.commit(unit).await?;
        }
        Ok(())
    }
}

/// The new content, unless a later edit is there already: edits may be repeated out of order.
fn edited(target: &Message, text: &str, at: Millis) -> Result<(Option<BodyRow>, Change, Cond)> {
    let content = match &target.content {
        Content::Media { media_kind, media } => {
            let mut media = media.clone();
            media.caption = Some(text.to_owned());
            Content::Media { media_kind: *media_kind, media }
        }
        _ => Content::Text { text: text.to_owned() },
    };
    let full = serde_json::to_value(&content)?;
    let as_sent = target.as_sent.as_ref().map(serde_json::to_value).transpose()?;
    let change = Change::default().set("edited", true).set("editedAt", at.0).set("kind", content.kind());
    let (body, change) = match message::body(&target.key(), &content, target.as_sent.as_ref())? {
        Some((digest, row)) => {
            let short = serde_json::to_value(Content::Other { name: content.kind().to_owned() })?;
            let change = change.set("content", short).remove("asSent").set("body", digest.clone());
            (Some((digest, row)), change)
        }
        None => (None, change.set("content", full).set_or_remove("asSent", as_sent).remove("body")),
    };
    let newest = Cond::Any(vec![Cond::lacks("editedAt"), Cond::Le("editedAt".into(), at.0)]);
    Ok((body, change, Cond::All(vec![Cond::Exists, newest])))
}

/// One reaction a sender; an empty one takes it back.
fn reacted(mut reactions: Map<String, Value>, by: &str, emoji: &str) -> Map<String, Value> {
    if emoji.is_empty() {
        reactions.remove(by);
    } else {
        reactions.insert(by.to_owned(), emoji.into());
    }
    reactions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_reaction_takes_the_one_before_back() {
        let one = reacted(Map::new(), "a", "👍");
        assert_eq!(one["a"], "👍");
        assert!(reacted(one, "a", "").is_empty());
    }
}
