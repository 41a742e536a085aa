//! What the parts of a callback say, told one after the other.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;
use shared::{
    Result,
    app::App,
    clock::Millis,
    config::IncomingMedia,
    connector::{Account, Emit, Incoming, MessageReport, Reported, Update},
    domain::content::Content,
    id::InstanceId,
};

use crate::{
    failure,
    graph::Graph,
    incoming::{Said, Told, person, scoped},
    media::{self, Attached},
};

/// Pairs of addresses that are remembered.
const REMEMBERED: usize = 10_000;

/// Which two addresses of a person were told of as one chat already: callbacks hold both each time.
#[derive(Debug, Default)]
pub(crate) struct Pairs(Mutex<HashSet<(InstanceId, String, String)>>);

impl Pairs {
    async fn tell(&self, account: &Account, emit: &dyn Emit, address: &str, also: &str) -> Result<()> {
        let pair = (account.instance.clone(), address.to_owned(), also.to_owned());
        let all = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all().contains(&pair) {
            return Ok(());
        }
        emit.emit(Update::SameChat { address: address.to_owned(), also: also.to_owned() }).await?;
        let mut all = all();
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(pair);
        Ok(())
    }
}

/// What callbacks of an account are read with.
pub(crate) struct Reader<'a> {
    pub(crate) app: &'a App,
    pub(crate) account: &'a Account,
    /// Made when media is to be fetched.
    pub(crate) graph: &'a (dyn Fn() -> Result<Graph> + Sync),
    pub(crate) emit: &'a dyn Emit,
    pub(crate) pairs: &'a Pairs,
}

impl Reader<'_> {
    /// Emits what the parts say. A part that says nothing to us is passed over.
    ///
    /// Errors: something is not durable. What is repeated then is the same.
    pub(crate) async fn read(&self, parts: &[Value]) -> Result<()> {
        for part in parts {
            let told = Told::read(&part["message"], &part["contact"]).or_else(|| Told::echo(&part["echo"]));
            if let Some(told) = told {
                self.message(told).await?;
            } else if let Some(report) = report(&part["status"]) {
                self.emit.emit(Update::Reported(Box::new(report))).await?;
            } else {
                tracing::debug!(instance = %self.account.instance, "a part of a callback says nothing");
            }
        }
        Ok(())
    }

    async fn message(&self, told: Told) -> Result<()> {
        if let Some(also) = &told.also {
            self.pairs.tell(self.account, self.emit, &told.sender, also).await?;
        }
        let is_group = told.is_group();
        let Told { id, sender, chat, from_me, name, said, quoted, at, facts, .. } = told;
        let content = match said {
            Said::Content(content) => content,
            Said::Media(attached) => self.fetched(attached).await,
        };
        let incoming = Incoming { id, chat, sender, from_me, push_name: name, is_group, content, quoted, at, facts };
        self.emit.emit(Update::Received(Box::new(incoming))).await
    }

    /// With its bytes, or with where they are.
    async fn fetched(&self, attached: Attached) -> Content {
        if self.app.config.whatsapp.media == IncomingMedia::Lazy {
            return attached.elsewhere();
        }
        let fetched = async {
            let graph = (self.graph)()?;
            media::fetch(self.app, &graph, &self.account.instance, &attached).await
        };
        match fetched.await {
            Ok(media) => Content::Media { media_kind: attached.kind, media },
            Err(error) => {
                tracing::warn!(instance = %self.account.instance, %error, "media of a message was not fetched");
                attached.elsewhere()
            }
        }
    }
}

/// A status of a message of ours. `None`: it says nothing that we know.
fn report(status: &Value) -> Option<MessageReport> {
    let text = |name: &str| status[name].as_str().filter(|text| !text.is_empty());
    let what = match text("status")? {
        "sent" => Reported::Sent,
        "delivered" => Reported::Delivered,
        // A voice message was listened to.
        "read" | "played" => Reported::Read,
        "failed" => Reported::Failed { reason: reason(&status["errors"][0]) },
        _ => return None,
    };
    let chat = [text("recipient_id").and_then(person), text("recipient_user_id").and_then(scoped)];
    let seconds: i64 = text("timestamp")?.parse().ok()?;
    Some(MessageReport {
        id: text("id")?.to_owned(),
        ours: text("biz_opaque_callback_data").map(str::to_owned),
        chat: chat.into_iter().flatten().next().or_else(|| text("recipient_id").map(str::to_owned))?,
        what,
        at: Millis(seconds.saturating_mul(1000)),
    })
}

fn reason(error: &Value) -> String {
    match error["code"].as_i64() {
        Some(code) => failure::told(error, code),
        None => "the platform does not say why".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statuses_are_reports() {
        let status = json!({
            "id": "wamid.x", "status": "delivered", "timestamp": "1700000000", "recipient_id": "15551234567",
            "biz_opaque_callback_data": "~01K", "conversation": { "id": "c" }, "pricing": { "billable": true },
        });
        let found = report(&status).expect("a report");
        assert_eq!((found.what.clone(), found.ours.as_deref()), (Reported::Delivered, Some("~01K")));
        assert_eq!((found.chat.as_str(), found.at.0), ("15551234567@s.whatsapp.net", 1_700_000_000_000));
        let mut failed = status.clone();
        failed["status"] = json!("failed");
        failed["errors"] = json!([{ "code": 131_047, "title": "Re-engagement message" }]);
        let Reported::Failed { reason } = report(&failed).expect("a report").what else { panic!("failed") };
        assert!(reason.starts_with("131047: "), "{reason}");
        for (name, value) in [
            ("status", json!("deleted")),
            ("id", json!("")),
            ("timestamp", json!("soon")),
            ("recipient_id", Value::Null),
        ] {
            let mut bad = status.clone();
            bad[name] = value;
            assert_eq!(report(&bad), None, "{name}");
        }
    }
}
