//! What happens by itself after a message was sent: receipts and echoes. Their rows are written with the message, so a crash
//! in between only delays them; after the line is open again they happen.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use shared::{
    Result,
    clock::Millis,
    connector::{Incoming, Receipt, Update},
    store::Key,
};

use crate::{
    line::Inner,
    network::{Due, Event},
};

/// Events that happen at once.
const BATCH: usize = 500;
/// Pause after a failure: what failed stays.
const PAUSE: Duration = Duration::from_secs(1);

/// What is still to happen, by the sort key of its row, which begins with its time.
#[derive(Default)]
pub(crate) struct Later {
    due: BTreeMap<String, Due>,
    running: bool,
}

/// Adds events; whoever finds nobody at work starts to work. Their rows exist.
pub(crate) fn add(inner: &Arc<Inner>, due: Vec<Due>) {
    let start = {
        let mut later = inner.later();
        later.due.extend(due.into_iter().map(|due| (due.key.sk.clone(), due)));
        let start = !later.running && !later.due.is_empty() && inner.is_up();
        later.running |= start;
        start
    };
    if start {
        inner.spawn(run(Arc::clone(inner)));
    } else {
        inner.wake.notify_one();
    }
}

/// Takes up what waits in rows since before the line was opened, and goes on with what is in memory.
pub(crate) async fn resume(inner: &Arc<Inner>) -> Result<()> {
    add(inner, inner.network.all_waiting().await?);
    Ok(())
}

/// Lets everything happen, each at its time; ends when nothing is left or the line is down.
async fn run(inner: Arc<Inner>) {
    while let Some(ready) = next(&inner).await {
        if let Err(error) = happen(&inner, ready).await {
            tracing::debug!(instance = %inner.network.instance, %error, "receipts wait");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Waits for what is due; `None`: nothing is left, or the line is down, and nobody is at work any more.
async fn next(inner: &Inner) -> Option<Vec<Due>> {
    loop {
        let now = inner.network.clock.now();
        let wait = {
            let mut later = inner.later();
            let first = later.due.first_key_value().map(|(_, due)| due.at);
            match first.filter(|_| inner.is_up()) {
                None => {
                    later.running = false;
                    return None;
                }
                Some(at) if at > now => now.until(at),
                Some(_) => return Some(take_ready(&mut later.due, now)),
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = inner.wake.notified() => {}
        }
    }
}

fn take_ready(due: &mut BTreeMap<String, Due>, now: Millis) -> Vec<Due> {
    let mut ready = Vec::new();
    while ready.len() < BATCH
        && let Some(entry) = due.first_entry().filter(|entry| entry.get().at <= now)
    {
        ready.push(entry.remove());
    }
    ready
}

/// Chats in parallel, in each the events in order; receipts of one kind together.
async fn happen(inner: &Inner, ready: Vec<Due>) -> Result<()> {
    let mut chats: BTreeMap<String, Vec<Due>> = BTreeMap::new();
    for due in ready {
        let chat = match &due.event {
            Event::Delivered { chat, .. } | Event::Read { chat, .. } | Event::Writes { chat, .. } => chat.clone(),
        };
        chats.entry(chat).or_default().push(due);
    }
    let results = join_all(chats.into_values().map(|events| async move {
        let kept = events.clone();
        in_chat(inner, events).await.inspect_err(|_| {
            // All of the chat: what has happened already is dropped by whoever is told of it twice.
            inner.later().due.extend(kept.into_iter().map(|due| (due.key.sk.clone(), due)));
        })
    }))
    .await;
    results.into_iter().collect()
}

async fn in_chat(inner: &Inner, events: Vec<Due>) -> Result<()> {
    let mut batch = Batch::default();
    for due in events {
        match due.event.receipt() {
            Some((receipt, id, chat)) => {
                if batch.receipt != Some(receipt) {
                    batch.flush(inner).await?;
                    batch.at = due.at;
                }
                batch.receipt = Some(receipt);
                chat.clone_into(&mut batch.chat);
                batch.messages.push(id.to_owned());
                batch.keys.push(due.key);
            }
            None => {
                batch.flush(inner).await?;
                if let Event::Writes { id, chat, sender, name, group, content } = due.event {
                    let incoming = Incoming {
                        id,
                        chat,
                        sender,
                        from_me: false,
                        push_name: name,
                        is_group: group,
                        content,
                        quoted: None,
                        at: due.at,
                        facts: serde_json::Value::Null,
                    };
                    inner.emit.emit(Update::Received(Box::new(incoming))).await?;
                    inner.network.happened(vec![due.key]).await?;
                }
            }
        }
    }
    batch.flush(inner).await
}

/// Receipts of one kind in one chat.
#[derive(Default)]
struct Batch {
    receipt: Option<Receipt>,
    chat: String,
    /// Of the first of them.
    at: Millis,
    messages: Vec<String>,
    keys: Vec<Key>,
}

impl Batch {
    async fn flush(&mut self, inner: &Inner) -> Result<()> {
        let Some(receipt) = self.receipt.take() else { return Ok(()) };
        let messages = std::mem::take(&mut self.messages);
        let (chat, at) = (std::mem::take(&mut self.chat), self.at);
        inner.emit.emit(Update::Receipt { messages, chat, receipt, at }).await?;
        inner.network.happened(std::mem::take(&mut self.keys)).await
    }
}
