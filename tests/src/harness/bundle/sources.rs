//! The event source mappings: batches of SQS messages become events of the functions that consume the queue; what the answer
//! does not name as failed is deleted, the rest becomes visible again by itself.

use super::environments::Environments;
use super::runtime;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName};
use serde_json::{Map, Value, json};
use shared::store::Queue;
use shared_aws::Aws;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Which function consumes which queue, and how many batches of it at once.
const SOURCES: &[(Queue, &str, usize)] =
    &[(Queue::Dispatch, "deliver-webhooks", 2), (Queue::Timers, "deliver-webhooks", 1), (Queue::Jobs, "run-jobs", 2)];

/// The functions' time-out, as in the template.
const LIMIT: Duration = Duration::from_secs(75);

/// A message whose function was killed comes again after that long, so that tests need not wait for as long as a deployment does.
const VISIBILITY_S: u32 = 20;

/// Sets the queues to [`VISIBILITY_S`].
pub(super) async fn be_quick(aws: &Aws) {
    for (queue, ..) in SOURCES {
        let (sqs, url) = aws.raw_queue(*queue).await.expect("the queue");
        let set = sqs.set_queue_attributes().queue_url(url);
        set.attributes(QueueAttributeName::VisibilityTimeout, VISIBILITY_S.to_string()).send().await.expect("is set");
    }
}

/// Connects all queues to their functions, until the tasks are aborted.
pub(super) fn connect(aws: &Arc<Aws>, environments: &Arc<Environments>) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    for (queue, function, at_once) in SOURCES {
        for _ in 0..*at_once {
            let (aws, environments) = (Arc::clone(aws), Arc::clone(environments));
            tasks.push(runtime().spawn(async move {
                let (sqs, url) = aws.raw_queue(*queue).await.expect("the queue");
                let source = Source { sqs, url, function, environments };
                loop {
                    source.turn().await;
                }
            }));
        }
    }
    tasks
}

struct Source {
    sqs: aws_sdk_sqs::Client,
    url: String,
    function: &'static str,
    environments: Arc<Environments>,
}

impl Source {
    async fn turn(&self) {
        let received = self
            .sqs
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(10)
            .wait_time_seconds(20)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .send()
            .await;
        let Ok(messages) = received.map(|got| got.messages.unwrap_or_default()) else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            return;
        };
        if messages.is_empty() {
            return;
        }
        let event = json!({ "Records": messages.iter().map(|message| self.record(message)).collect::<Vec<_>>() });
        // A failed invocation deletes nothing.
        let Ok(answer) = self.environments.invoke(self.function, &event, LIMIT).await else { return };
        let failures = answer["batchItemFailures"].as_array();
        let failed: HashSet<&str> =
            failures.into_iter().flatten().filter_map(|one| one["itemIdentifier"].as_str()).collect();
        let done = messages.iter().filter(|one| !failed.contains(one.message_id().unwrap_or_default()));
        let entries: Vec<_> = done
            .enumerate()
            .filter_map(|(at, message)| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(at.to_string());
                entry.set_receipt_handle(message.receipt_handle.clone()).build().ok()
            })
            .collect();
        if !entries.is_empty() {
            drop(self.sqs.delete_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await);
        }
    }

    fn record(&self, message: &Message) -> Value {
        let attributes: Map<String, Value> = message
            .attributes()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_str().into()))
            .collect();
        let own: Map<String, Value> = message
            .message_attributes()
            .into_iter()
            .flatten()
            .map(|(name, value)| {
                let value = json!({ "stringValue": value.string_value(), "dataType": value.data_type(),
                                    "stringListValues": [], "binaryListValues": [] });
                (name.clone(), value)
            })
            .collect();
        json!({
            "messageId": message.message_id(),
            "receiptHandle": message.receipt_handle(),
            "body": message.body(),
            "attributes": attributes,
            "messageAttributes": own,
            "md5OfBody": message.md5_of_body(),
            "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:eu-west-1:000000000000:{}", self.url.rsplit('/').next().unwrap_or_default()),
            "awsRegion": "eu-west-1",
        })
    }
}
