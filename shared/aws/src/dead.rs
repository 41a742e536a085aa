//! Dead letters. Looking at them must not hide them from the next reader, so they are given back at once; with that their
//! receipts end. A dead letter is therefore known by its message id, and burying receives it anew.

use std::time::Duration;

use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, Message};
use shared::{
    Error, Result,
    store::{Queue, Receipt, Received},
};

use crate::{
    Aws, error,
    queues::{Side, received},
};

/// In front of the message id in the receipt of a dead letter.
const PREFIX: &str = "dead:";
/// How long one look may take.
const HIDDEN: Duration = Duration::from_secs(30);
/// Messages looked through for one that shall be buried.
const SEARCHED: usize = 1000;

impl Aws {
    pub(crate) async fn list_dead(&self, queue: Queue, max: usize) -> Result<Vec<Received>> {
        let taken = self.take_dead(queue, max, |_| false).await?;
        self.give_back(queue, &taken).await?;
        let mut letters: Vec<Received> = taken
            .iter()
            .filter_map(|message| received(queue, format!("{PREFIX}{}", message.message_id()?), message))
            .collect();
        letters.sort_by_key(|letter| letter.sent_at);
        Ok(letters)
    }

    pub(crate) async fn bury_dead(&self, receipt: &Receipt) -> Result<()> {
        let Some(id) = receipt.handle.strip_prefix(PREFIX) else {
            return Err(Error::internal("this is not the receipt of a dead letter"));
        };
        let is_it = |message: &Message| message.message_id() == Some(id);
        let taken = self.take_dead(receipt.queue, SEARCHED, is_it).await?;
        let (found, others): (Vec<Message>, Vec<Message>) = taken.into_iter().partition(is_it);
        let mut result = Err(error::lost());
        for message in &found {
            if let Some(handle) = message.receipt_handle() {
                result = self.delete_from(receipt.queue, Side::Dead, handle).await;
            }
        }
        self.give_back(receipt.queue, &others).await?;
        result
    }

    /// Receives until there are `max`, or no more, or one that is `enough`.
    async fn take_dead(&self, queue: Queue, max: usize, enough: impl Fn(&Message) -> bool) -> Result<Vec<Message>> {
        let mut taken: Vec<Message> = Vec::new();
        while taken.len() < max {
            // A long poll asks all servers of a queue; a short one may miss messages.
            let batch = self.poll_once(queue, Side::Dead, max - taken.len(), 1, HIDDEN).await?;
            let end = batch.is_empty() || batch.iter().any(&enough);
            taken.extend(batch);
            if end {
                break;
            }
        }
        Ok(taken)
    }

    async fn give_back(&self, queue: Queue, messages: &[Message]) -> Result<()> {
        let url = self.queue_url(queue, Side::Dead).await?;
        for batch in messages.chunks(10) {
            let entries = batch
                .iter()
                .enumerate()
                .map(|(at, message)| {
                    ChangeMessageVisibilityBatchRequestEntry::builder()
                        .id(at.to_string())
                        .receipt_handle(message.receipt_handle().unwrap_or_default())
                        .visibility_timeout(0)
                        .build()
                        .map_err(Error::internal)
                })
                .collect::<Result<_>>()?;
            self.note("sqs.visibility", 0, 0);
            // One that is not given back becomes visible by itself a little later.
            self.sqs
                .change_message_visibility_batch()
                .queue_url(&url)
                .set_entries(Some(entries))
                .send()
                .await
                .map_err(|failed| error::failure("ChangeMessageVisibilityBatch", &failed))?;
        }
        Ok(())
    }
}
