//! A batch that SQS hands to the Lambda function. What is not named in the answer is deleted by SQS.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use shared::{
    clock::Millis,
    domain::rotation,
    store::{GROUP, Queue, Receipt, Received},
};
use tokio::time::Instant;

use crate::{Desk, Hand};

/// Works off the batch. `until`: when the invocation ends; a job that takes longer goes on in a later one. The function's event
/// source must report batch item failures (`FunctionResponseTypes`).
pub async fn handle(desk: &Desk, event: SqsEvent, until: Option<Instant>) -> SqsBatchResponse {
    rotation::look_if_due(&desk.app).await;
    let ids: Vec<(String, String)> = event
        .records
        .iter()
        .map(|record| {
            (record.receipt_handle.clone().unwrap_or_default(), record.message_id.clone().unwrap_or_default())
        })
        .collect();
    let hand = Hand { until, acknowledge: false };
    let unfinished = crate::handle(desk, event.records.into_iter().map(received).collect(), hand).await;
    let mut response = SqsBatchResponse::default();
    for (handle, id) in ids {
        if unfinished.contains(&handle) {
            response.add_failure(id);
        }
    }
    response
}

fn received(record: SqsMessage) -> Received {
    let attribute = |name: &str| record.attributes.get(name).cloned();
    let carried = record.message_attributes.get(GROUP).and_then(|group| group.string_value.clone());
    let body = record.body.as_deref().and_then(|body| serde_json::from_str(body).ok());
    Received {
        // A body that is not ours decodes to no job: it is given back until it is a dead letter.
        body: body.unwrap_or_default(),
        group: carried.or_else(|| attribute("MessageGroupId")).unwrap_or_default(),
        receives: attribute("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1),
        sent_at: Millis(attribute("SentTimestamp").and_then(|at| at.parse().ok()).unwrap_or(0)),
        receipt: Receipt { queue: Queue::Jobs, handle: record.receipt_handle.unwrap_or_default() },
    }
}
