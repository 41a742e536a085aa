//! SQS: sending, in batches.

use std::collections::BTreeMap;

use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use futures_util::future::try_join_all;
use shared::{
    Error, Result,
    crypto::sha256_hex,
    store::{Enqueue, GROUP, Queue},
};

use crate::{
    Aws, error, pause,
    queues::{Side, whole_seconds},
};

/// SQS's limit of messages per request.
const BATCH: usize = 10;
/// Bytes per request: the limit of the services beside SQS that such messages may pass, and of SQS for most of its life.
const BATCH_BYTES: usize = 256 * 1024;
/// SQS's longest delay.
const LONGEST_DELAY: i32 = 900;
/// Rounds for messages of a batch that were not taken.
const ROUNDS: u32 = 6;

/// A message as SQS gets it.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    body: String,
    /// FIFO only.
    ids: Option<Ids>,
    /// The group in full, where `ids` is absent or only has its hash.
    carried: Option<String>,
    delay: i32,
}

#[derive(Debug, Clone)]
struct Ids {
    group: String,
    dedup: String,
}

/// Refuses what SQS cannot carry.
pub(crate) fn check(message: &Enqueue) -> Result<()> {
    let longest = if message.queue.is_fifo() { 0 } else { LONGEST_DELAY };
    if whole_seconds(message.delay) > longest {
        return Err(Error::internal(format!("{} cannot delay for {:?}", message.queue.name(), message.delay)));
    }
    Ok(())
}

impl Outgoing {
    /// `seq` is the number of the entry that the message's stamp points at.
    pub(crate) fn new(message: Enqueue, seq: Option<u64>) -> Result<Self> {
        check(&message)?;
        let Enqueue { queue, group, mut dedup, mut body, delay, .. } = message;
        if let Some(seq) = seq {
            body.insert("seq".into(), seq.into());
            dedup = format!("{dedup}/{seq}");
        }
        let ids = queue.is_fifo().then(|| Ids { group: allowed(&group), dedup: allowed(&dedup) });
        let native = ids.as_ref().is_some_and(|ids| ids.group == group);
        Ok(Self {
            body: serde_json::to_string(&body)?,
            ids,
            carried: Some(group).filter(|group| !native && !group.is_empty()),
            delay: whole_seconds(delay),
        })
    }

    fn bytes(&self) -> usize {
        self.body.len() + self.carried.as_ref().map_or(0, |group| GROUP.len() + group.len() + 6)
    }

    fn entry(&self, id: usize, fifo: bool) -> Result<SendMessageBatchRequestEntry> {
        let mut entry = SendMessageBatchRequestEntry::builder().id(id.to_string()).message_body(&self.body);
        if let Some(ids) = &self.ids {
            entry = entry.message_group_id(&ids.group).message_deduplication_id(&ids.dedup);
        }
        if let Some(group) = &self.carried {
            let value = MessageAttributeValue::builder().data_type("String").string_value(group);
            entry = entry.message_attributes(GROUP, value.build().map_err(Error::internal)?);
        }
        if !fifo {
            entry = entry.delay_seconds(self.delay);
        }
        entry.build().map_err(Error::internal)
    }
}

/// The text if SQS takes it as a group or deduplication id (1 to 128 characters of ASCII without spaces), else its hash.
fn allowed(text: &str) -> String {
    let fits = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { text.to_owned() } else { sha256_hex(text) }
}

/// Cuts into requests, in order.
fn batches(messages: &[Outgoing]) -> Vec<&[Outgoing]> {
    let mut batches = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, message) in messages.iter().enumerate() {
        if at > from && (at - from == BATCH || bytes + message.bytes() > BATCH_BYTES) {
            batches.push(&messages[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += message.bytes();
    }
    if from < messages.len() {
        batches.push(&messages[from..]);
    }
    batches
}

impl Aws {
    pub(crate) async fn send_all(&self, messages: Vec<Enqueue>) -> Result<()> {
        let outgoing = messages
            .into_iter()
            .map(|message| match message.stamp {
                None => Ok((message.queue, Outgoing::new(message, None)?)),
                Some(_) => Err(Error::internal("a message outside a unit has no entry to be stamped with")),
            })
            .collect::<Result<_>>()?;
        self.send_outgoing(outgoing).await
    }

    /// Different queues at once; within one, batch after batch in order.
    pub(crate) async fn send_outgoing(&self, messages: Vec<(Queue, Outgoing)>) -> Result<()> {
        let mut queues: BTreeMap<Queue, Vec<Outgoing>> = BTreeMap::new();
        for (queue, message) in messages {
            queues.entry(queue).or_default().push(message);
        }
        try_join_all(queues.iter().map(async |(queue, messages)| {
            for batch in batches(messages) {
                self.send_batch(*queue, batch).await?;
            }
            Ok(())
        }))
        .await
        .map(|_: Vec<()>| ())
    }

    async fn send_batch(&self, queue: Queue, batch: &[Outgoing]) -> Result<()> {
        let url = self.queue_url(queue, Side::Live).await?;
        let mut left: Vec<usize> = (0..batch.len()).collect();
        for round in 0..ROUNDS {
            let entries = left.iter().map(|at| batch[*at].entry(*at, queue.is_fifo())).collect::<Result<_>>()?;
            self.note("sqs.send", 0, 0);
            let sent = self
                .sqs
                .send_message_batch()
                .queue_url(&url)
                .set_entries(Some(entries))
                .send()
                .await
                .map_err(|failed| error::failure("SendMessageBatch", &failed))?;
            if let Some(refused) = sent.failed().iter().find(|refused| refused.sender_fault()) {
                return Err(Error::internal(format!("SendMessageBatch to {}: {}", queue.name(), refused.code())));
            }
            left.retain(|at| sent.failed().iter().any(|refused| refused.id() == at.to_string()));
            if left.is_empty() {
                return Ok(());
            }
            pause(round + 1).await;
        }
        Err(Error::unavailable(format!("SendMessageBatch to {}: messages are not taken", queue.name())))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use shared::store::Stamp;

    use super::*;

    fn message(queue: Queue, group: &str, body: &serde_json::Value) -> Enqueue {
        Enqueue {
            queue,
            group: group.into(),
            dedup: "d".into(),
            body: body.as_object().expect("an object").clone(),
            delay: Duration::ZERO,
            stamp: None,
        }
    }

    #[test]
    fn ids_are_kept_where_sqs_takes_them_and_hashed_elsewhere() {
        assert_eq!(allowed("inst#chat/1"), "inst#chat/1");
        for odd in ["", "with space", "汉字", &"x".repeat(129)] {
            assert_eq!(allowed(odd).len(), 64, "{odd:?}");
        }
    }

    #[test]
    fn a_group_that_the_queue_cannot_carry_travels_as_an_attribute() {
        let plain = Outgoing::new(message(Queue::Jobs, "g", &json!({})), None).expect("fits");
        assert_eq!(plain.carried, None);
        let hashed = Outgoing::new(message(Queue::Jobs, "汉字", &json!({})), None).expect("fits");
        assert_eq!(hashed.carried.as_deref(), Some("汉字"));
        let standard = Outgoing::new(message(Queue::Timers, "g", &json!({})), None).expect("fits");
        assert!(standard.ids.is_none() && standard.carried.as_deref() == Some("g"));
    }

    #[test]
    fn a_stamp_goes_into_the_body_and_the_deduplication_id() {
        let mut stamped = message(Queue::Dispatch, "g", &json!({"a": 1}));
        stamped.stamp = Some(Stamp::FIRST);
        let sent = Outgoing::new(stamped, Some(7)).expect("fits");
        assert_eq!(sent.body, r#"{"a":1,"seq":7}"#);
        assert_eq!(sent.ids.expect("FIFO").dedup, "d/7");
    }

    #[test]
    fn only_standard_queues_delay_and_no_longer_than_they_can() {
        let delayed = |queue, seconds| {
            let mut message = message(queue, "g", &json!({}));
            message.delay = Duration::from_secs(seconds);
            Outgoing::new(message, None)
        };
        assert_eq!(delayed(Queue::Timers, 900).expect("fits").delay, 900);
        assert!(delayed(Queue::Timers, 901).is_err());
        assert!(delayed(Queue::Jobs, 1).is_err());
    }

    #[test]
    fn batches_keep_to_ten_messages_and_to_the_byte_limit() {
        let of = |length: usize| {
            Outgoing::new(message(Queue::Jobs, "g", &json!({"t": "x".repeat(length)})), None).expect("fits")
        };
        let sizes = |messages: &[Outgoing]| batches(messages).iter().map(|batch| batch.len()).collect::<Vec<_>>();
        assert_eq!(sizes(&vec![of(1); 23]), [10, 10, 3]);
        assert_eq!(sizes(&[of(200_000), of(100_000), of(300_000), of(1)]), [1, 1, 1, 1]);
        assert_eq!(sizes(&[]), [0; 0]);
    }
}
