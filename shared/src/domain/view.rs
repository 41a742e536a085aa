//! How users see instances and messages: shapes that several route groups share.

use serde_json::{Value, json};

use crate::{
    app::App,
    domain::{instance::Instance, message::Message},
    store::Doc,
};

/// An instance as the answer of a creation shows it (seed 001), with `webhookSettings`.
pub fn instance(instance: &Instance) -> Doc {
    let value = json!({
        "id": instance.id,
        "name": instance.name,
        "description": instance.description,
        "userId": instance.user_id,
        "status": instance.status.name(),
        "platform": instance.platform,
        "transport": instance.transport,
        "mode": instance.mode,
        "address": instance.address,
        "webhookUrl": instance.webhook.url,
        "webhookEnabled": instance.webhook.enabled,
        "webhookSettings": webhook_settings(instance),
        "limits": instance.limits,
        "hasCredentials": instance.credentials.is_some(),
        "hasProxy": instance.proxy.is_some(),
        "createdAt": instance.created_at.iso(),
        "updatedAt": instance.updated_at.iso(),
    });
    object(value)
}

/// The same with `connectionStatus`, as lists and single reads show it.
pub fn instance_with_status(app: &App, of: &Instance) -> Doc {
    let mut doc = instance(of);
    doc.insert("connectionStatus".into(), of.connection_status(app.clock.now()));
    if let Some(sync) = &of.history_sync {
        let shown = json!({
            "status": if sync.done { "done" } else { "running" },
            "progress": sync.progress,
            "messages": sync.messages,
            "updatedAt": sync.at.iso(),
        });
        doc.insert("historySync".into(), shown);
    }
    doc
}

/// Never the secret; `hasSecret` says that there is one.
fn webhook_settings(instance: &Instance) -> Value {
    let webhook = &instance.webhook;
    json!({
        "notifyReceived": webhook.notify_received,
        "notifySent": webhook.notify_sent,
        "notifyDelivery": webhook.notify_delivery,
        "notifyRead": webhook.notify_read,
        "maxRetries": webhook.max_retries,
        "retryInterval": webhook.retry_interval,
        "hasSecret": !webhook.secrets.is_empty(),
        "events": webhook.events,
        "disabledReason": webhook.disabled_reason,
    })
}

/// A message in a chat's history (seed 001).
pub fn history_message(app: &App, instance: &Instance, message: &Message) -> Doc {
    let now = app.clock.now();
    let media = message.content.media();
    let mut doc = object(json!({
        "id": message.id,
        "instanceId": message.instance_id,
        "remoteJid": message.remote_jid,
        "fromMe": message.from_me,
        "platform": instance.platform,
        "messageType": message.wire_type(instance.platform),
        // The same word on every platform.
        "contentType": message.content.kind(),
        // What was taken back is not shown any more.
        "content": if message.revoked { "" } else { message.content.text() },
        "messageId": message.platform_id(),
        "hasMedia": media.is_some(),
        "caption": media.and_then(|media| media.caption.as_deref()),
        "mimeType": media.map(|media| media.mime.as_str()),
        "fileName": media.and_then(|media| media.filename.as_deref()),
        "status": message.status_now(now).name(),
        "statusUpdatedAt": message.status_at.iso(),
        "reason": message.reason_now(now),
        "pushName": message.push_name,
        "sender": if message.from_me { None } else { Some(&message.sender) },
        "edited": message.edited,
        "revoked": message.revoked,
        "reactions": message.reactions,
        "metadata": message.as_sent.as_ref().map(|sent| &sent.metadata),
        "createdAt": message.at.iso(),
        "updatedAt": message.updated_at.iso(),
    }));
    if let Some(extra) = message.extra(instance) {
        doc.extend(extra);
    }
    doc
}

/// The `ThirdPartyMessage` of seed 000, with `instanceId`: what platform-neutral sends answer.
pub fn neutral_message(app: &App, instance: &Instance, message: &Message) -> Doc {
    let now = app.clock.now();
    let sent = message.as_sent.as_ref();
    let to = sent.map_or(message.remote_jid.as_str(), |sent| sent.to.as_str());
    let own = instance.address.as_deref().unwrap_or(instance.id.as_str());
    let from = match sent {
        Some(sent) => sent.from.as_str(),
        None if message.from_me => own,
        None => message.sender.as_str(),
    };
    let mut doc = object(json!({
        "id": message.id,
        "platform": instance.platform,
        "to": if message.from_me { to } else { own },
        "from": from,
        "content": sent.and_then(|sent| sent.content.as_deref()).unwrap_or_else(|| message.content.text()),
        "type": sent.map_or(message.content.kind(), |sent| sent.kind.as_str()),
        "status": message.status_now(now).name(),
        "metadata": sent.map_or_else(Doc::new, |sent| sent.metadata.clone()),
        "createdAt": message.at.iso(),
        "updatedAt": message.updated_at.iso(),
        "instanceId": message.instance_id,
        "messageId": message.platform_id(),
        "chatId": message.remote_jid,
    }));
    if let Some(reason) = message.reason_now(now) {
        doc.insert("reason".into(), reason.into());
    }
    if let Some(at) = message.send_at {
        doc.insert("sendAt".into(), at.iso().into());
    }
    if let Some(extra) = message.extra(instance) {
        doc.extend(extra);
    }
    doc
}

fn object(value: Value) -> Doc {
    match value {
        Value::Object(doc) => doc,
        _ => Doc::new(),
    }
}
