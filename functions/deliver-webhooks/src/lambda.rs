//! A batch that SQS hands to the Lambda function. What is not named in the answer is deleted by SQS.

use std::collections::HashMap;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::join_all;
use shared::{
    domain::rotation,
    store::{Doc, GROUP, Queue, Receipt},
    webhook::Courier,
};
use tokio::time::Instant;

use crate::batch::{self, Record, Rest};

/// Works off the batch. `until`: when the invocation ends; what cannot be begun in time is given back.
///
/// The function's event sources must report batch item failures (`FunctionResponseTypes`).
pub async fn handle(courier: &Courier, event: SqsEvent, until: Option<Instant>) -> SqsBatchResponse {
    rotation::look_if_due(courier.app()).await;
    let receipts: HashMap<String, Receipt> = event.records.iter().filter_map(receipt).collect();
    let records = event.records.into_iter().map(record).collect();
    let groups = batch::groups(records);
    let rests = join_all(groups.into_iter().map(|group| batch::work_off(courier, group, until, || {}))).await;
    join_all(rests.iter().map(|rest| give_back(courier, rest, &receipts))).await;
    let mut response = SqsBatchResponse::default();
    for record in rests.into_iter().flat_map(|rest| rest.records) {
        response.add_failure(record.id);
    }
    response
}

/// What is not done comes again after its pause, and not when the queue's visibility ends, which must be several times as long
/// as an invocation. The failed one last: as long as it is in flight its group is closed, so nothing overtakes it.
async fn give_back(courier: &Courier, rest: &Rest, receipts: &HashMap<String, Receipt>) {
    for (place, record) in rest.records.iter().enumerate().rev() {
        let Some(receipt) = receipts.get(&record.id) else { continue };
        let pause = if place == 0 { rest.pause } else { std::time::Duration::ZERO };
        if let Err(error) = courier.app().queues.release(receipt, pause).await {
            tracing::debug!(record = %record.id, %error, "a record comes back when its visibility ends");
        }
    }
}

/// A message's id, and what it is given back with.
fn receipt(message: &SqsMessage) -> Option<(String, Receipt)> {
    let queue = if message.attributes.contains_key(FIFO) { Queue::Dispatch } else { Queue::Timers };
    Some((message.message_id.clone()?, Receipt { queue, handle: message.receipt_handle.clone()? }))
}

/// The attribute that only messages of FIFO queues have.
const FIFO: &str = "MessageGroupId";

fn record(message: SqsMessage) -> Record {
    let body: Option<Doc> = message.body.as_deref().and_then(|body| serde_json::from_str(body).ok());
    let carried = message.message_attributes.get(GROUP).and_then(|group| group.string_value.as_ref());
    // Timers need not wait for each other.
    let group = message.attributes.get(FIFO).map(|group| carried.unwrap_or(group).clone());
    Record {
        group: group.unwrap_or_default(),
        receives: message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1),
        id: message.message_id.unwrap_or_default(),
        // A body that is not ours decodes to no work: it is given back until it is a dead letter.
        body: body.unwrap_or_default(),
        receipt: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_becomes_a_record() {
        let event: SqsEvent = serde_json::from_str(
            r#"{"Records":[{"messageId":"m1","body":"{\"v\":1,\"seq\":7}",
                "attributes":{"ApproximateReceiveCount":"3","MessageGroupId":"i/webhook/c"}},
                {"messageId":"m2","body":"not json","attributes":{}}]}"#,
        )
        .expect("an event");
        let records: Vec<Record> = event.records.into_iter().map(record).collect();
        assert_eq!((records[0].id.as_str(), records[0].group.as_str(), records[0].receives), ("m1", "i/webhook/c", 3));
        assert_eq!(records[0].body["seq"], 7);
        assert_eq!((records[1].receives, records[1].body.len()), (1, 0));
    }
}
