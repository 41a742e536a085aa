//! Reads a piece of history in a thread of its own, one conversation ahead of whoever stores it: reading is work, and what is read
//! borrows from the reader, which no task may hold while it waits.

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle};
use whatsapp_rust::{
    wacore::history_sync::{HistorySyncError, HistorySyncStream, MAX_DECOMPRESSED},
    waproto::whatsapp as wa,
};

pub(super) struct Reader {
    conversations: mpsc::Receiver<wa::Conversation>,
    rest: JoinHandle<Result<Vec<wa::Pushname>, HistorySyncError>>,
}

impl Reader {
    pub(super) fn of(compressed: Bytes) -> Self {
        let (found, conversations) = mpsc::channel(1);
        let rest = tokio::task::spawn_blocking(move || {
            let mut stream = HistorySyncStream::new(&compressed, MAX_DECOMPRESSED);
            while let Some(conversation) = stream.next_conversation()? {
                if found.blocking_send(conversation).is_err() {
                    // Nobody stores it any more.
                    return Ok(Vec::new());
                }
            }
            drop(found);
            Ok(stream.remainder()?.pushnames)
        });
        Self { conversations, rest }
    }

    pub(super) async fn conversation(&mut self) -> Option<wa::Conversation> {
        self.conversations.recv().await
    }

    /// The names that people have given themselves; after the last conversation.
    pub(super) async fn names(self) -> Vec<wa::Pushname> {
        drop(self.conversations);
        match self.rest.await {
            Ok(Ok(names)) => names,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a piece of history is broken");
                Vec::new()
            }
            Err(error) => {
                tracing::warn!(%error, "a piece of history was not read to its end");
                Vec::new()
            }
        }
    }
}
