//! SQS: receiving, acknowledging, giving back, counting. The queues are `{prefix}{name}` (standard) or `{prefix}{name}.fifo`,
//! their dead letters `{prefix}{name}-dead(.fifo)`.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use shared::{
    Error, Result,
    clock::Millis,
    store::{Depth, Doc, GROUP, Queue, Receipt, Received},
};

use crate::{Aws, LONGEST_POLL, error};

/// SQS's limit for the visibility of a message.
const LONGEST_VISIBILITY: Duration = Duration::from_secs(12 * 3600);

/// Queue URLs, resolved once.
#[derive(Default)]
pub(crate) struct Urls(Mutex<HashMap<String, String>>);

impl Urls {
    fn get(&self, name: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(crate) fn keep(&self, name: String, url: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, url);
    }

    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A queue, or where its dead letters go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Live,
    Dead,
}

impl Aws {
    pub(crate) fn queue_name(&self, queue: Queue, side: Side) -> String {
        let dead = if side == Side::Dead { "-dead" } else { "" };
        let fifo = if queue.is_fifo() { ".fifo" } else { "" };
        format!("{}{}{dead}{fifo}", self.settings.queue_prefix, queue.name())
    }

    pub(crate) async fn queue_url(&self, queue: Queue, side: Side) -> Result<String> {
        let name = self.queue_name(queue, side);
        if let Some(url) = self.urls.get(&name) {
            return Ok(url);
        }
        self.note("sqs.url", 0, 0);
        let found = self
            .sqs
            .get_queue_url()
            .queue_name(&name)
            .send()
            .await
            .map_err(|failed| error::failure("GetQueueUrl", &failed))?;
        let url = found.queue_url.ok_or_else(|| Error::unavailable("GetQueueUrl: no address in the answer"))?;
        self.urls.keep(name, url.clone());
        Ok(url)
    }

    pub(crate) async fn queues_ready(&self) -> Result<()> {
        self.count_messages(Queue::Dispatch, Side::Live).await.map(|_| ())
    }

    pub(crate) async fn receive_messages(&self, queue: Queue, max: usize, wait: Duration) -> Result<Vec<Received>> {
        let wait = wait.min(LONGEST_POLL);
        let seconds = i32::try_from(wait.as_secs()).unwrap_or(0);
        let visible = queue.visibility();
        let mut messages = self.poll_once(queue, Side::Live, max, seconds, visible).await?;
        if messages.is_empty() && seconds == 0 && !wait.is_zero() {
            // SQS waits whole seconds only.
            tokio::time::sleep(wait).await;
            messages = self.poll_once(queue, Side::Live, max, 0, visible).await?;
        }
        let received = messages.into_iter().filter_map(|message| {
            let handle = message.receipt_handle.clone()?;
            let received = received(queue, handle, &message);
            if received.is_none() {
                // Left alone: it goes to the dead letters after as many receives as any other.
                let id = message.message_id.as_deref().unwrap_or_default();
                tracing::error!(queue = %queue.name(), message = id, "a queue message is not a JSON object");
            }
            received
        });
        Ok(received.collect())
    }

    /// One receive. Long polls go through the client with the longer time-outs.
    pub(crate) async fn poll_once(
        &self,
        queue: Queue,
        side: Side,
        max: usize,
        seconds: i32,
        visible: Duration,
    ) -> Result<Vec<Message>> {
        let url = self.queue_url(queue, side).await?;
        self.note("sqs.receive", 0, 0);
        let got = self
            .poll
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(i32::try_from(max.clamp(1, 10)).unwrap_or(10))
            .wait_time_seconds(seconds)
            .visibility_timeout(whole_seconds(visible))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId)
            .message_attribute_names(GROUP)
            .send()
            .await
            .map_err(|failed| error::failure("ReceiveMessage", &failed))?;
        Ok(got.messages.unwrap_or_default())
    }

    pub(crate) async fn change_visibility(&self, receipt: &Receipt, visible_in: Duration) -> Result<()> {
        let url = self.queue_url(receipt.queue, Side::Live).await?;
        self.note("sqs.visibility", 0, 0);
        self.sqs
            .change_message_visibility()
            .queue_url(url)
            .receipt_handle(&receipt.handle)
            .visibility_timeout(whole_seconds(visible_in.min(LONGEST_VISIBILITY)))
            .send()
            .await
            .map_err(|failed| error::failure("ChangeMessageVisibility", &failed))?;
        Ok(())
    }

    pub(crate) async fn delete_message(&self, receipt: &Receipt) -> Result<()> {
        self.delete_from(receipt.queue, Side::Live, &receipt.handle).await
    }

    pub(crate) async fn delete_from(&self, queue: Queue, side: Side, handle: &str) -> Result<()> {
        let url = self.queue_url(queue, side).await?;
        self.note("sqs.delete", 0, 0);
        self.sqs
            .delete_message()
            .queue_url(url)
            .receipt_handle(handle)
            .send()
            .await
            .map_err(|failed| error::failure("DeleteMessage", &failed))?;
        Ok(())
    }

    pub(crate) async fn queue_depth(&self, queue: Queue) -> Result<Depth> {
        let (live, dead) =
            tokio::try_join!(self.count_messages(queue, Side::Live), self.count_messages(queue, Side::Dead))?;
        let dead = dead.visible + dead.delayed + dead.in_flight;
        Ok(Depth { dead, ..live })
    }

    async fn count_messages(&self, queue: Queue, side: Side) -> Result<Depth> {
        let url = self.queue_url(queue, side).await?;
        self.note("sqs.depth", 0, 0);
        let got = self
            .sqs
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesDelayed)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            .send()
            .await
            .map_err(|failed| error::failure("GetQueueAttributes", &failed))?;
        let count = |name: QueueAttributeName| {
            got.attributes().and_then(|all| all.get(&name)).and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        Ok(Depth {
            visible: count(QueueAttributeName::ApproximateNumberOfMessages),
            delayed: count(QueueAttributeName::ApproximateNumberOfMessagesDelayed),
            in_flight: count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
            dead: 0,
        })
    }
}

/// The message in our terms. `None` if its body is not a JSON object.
pub(crate) fn received(queue: Queue, handle: String, message: &Message) -> Option<Received> {
    let body: Doc = serde_json::from_str(message.body()?).ok()?;
    let system = |name: MessageSystemAttributeName| message.attributes().and_then(|all| all.get(&name));
    let carried = message.message_attributes().and_then(|all| all.get(GROUP)).and_then(|group| group.string_value());
    let group = carried.or_else(|| system(MessageSystemAttributeName::MessageGroupId).map(String::as_str));
    let number = |name| system(name).and_then(|text| text.parse::<i64>().ok());
    Some(Received {
        receipt: Receipt { queue, handle },
        body,
        group: group.unwrap_or_default().to_owned(),
        receives: number(MessageSystemAttributeName::ApproximateReceiveCount)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(1),
        sent_at: Millis(number(MessageSystemAttributeName::SentTimestamp).unwrap_or(0)),
    })
}

/// SQS counts seconds; rounded up, so that nothing is visible too early.
pub(crate) fn whole_seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::ZERO), 0);
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(20)), 20);
    }

    #[test]
    fn the_carried_group_comes_before_the_hashed_one() {
        let message = Message::builder()
            .body("{\"a\":1}")
            .attributes(MessageSystemAttributeName::MessageGroupId, "hash")
            .attributes(MessageSystemAttributeName::ApproximateReceiveCount, "3")
            .build();
        let plain = received(Queue::Jobs, "r".into(), &message).expect("a document");
        assert_eq!((plain.group.as_str(), plain.receives), ("hash", 3));
        assert!(received(Queue::Jobs, "r".into(), &Message::builder().body("[1]").build()).is_none());
    }
}
