//! What happens to messages on their way from a queue: held back, in another order, and once more although they were
//! acknowledged.
//!
//! A message of a FIFO queue comes again because its deletion got lost: the proxy says that it is done, and gives the message
//! back instead, which therefore still stands before those behind it. One of a standard queue is sent again as a copy.

use super::{Call, Fault, HangUp, SLOWEST_MS, Sky, lock, refusals, runtime};
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One of so many messages comes again, of so many answers is held back. All are shuffled that can be.
const AGAIN: u64 = 6;
const LATE: u64 = 3;

/// Receipt handles whose deletion gets lost.
#[derive(Default)]
pub(super) struct Deliveries(Mutex<HashSet<String>>);

impl Sky {
    pub(super) async fn receive(self: &Arc<Self>, call: &Call) -> Result<Response<Body>, HangUp> {
        let answer = self.forward(call).await?;
        if !self.is_stormy() || answer.status() != StatusCode::OK {
            return Ok(answer);
        }
        let mut body = refusals::json(answer).await?;
        let Some(messages) = body["Messages"].as_array_mut().filter(|messages| !messages.is_empty()) else {
            return Ok(refusals::answer(&body));
        };
        let asked = call.json().ok_or(HangUp)?;
        let fifo = asked["QueueUrl"].as_str().is_some_and(|url| url.ends_with(".fifo"));
        for message in messages.iter() {
            if !self.one_in(AGAIN) {
                continue;
            }
            if fifo {
                if let Some(handle) = message["ReceiptHandle"].as_str() {
                    lock(&self.deliveries.0).insert(handle.to_owned());
                }
            } else {
                self.note(Fault::Again);
                let copy = json!({"QueueUrl": asked["QueueUrl"], "MessageBody": message["Body"],
                                  "MessageAttributes": message.get("MessageAttributes").cloned().unwrap_or(json!({}))});
                self.later(call, "SendMessage", &copy);
            }
        }
        if shuffle(messages, fifo, |below| self.roll(below)) {
            self.note(Fault::Shuffled);
        }
        if self.one_in(LATE) {
            self.note(Fault::Late);
            tokio::time::sleep(Duration::from_millis(self.roll(SLOWEST_MS))).await;
        }
        Ok(refusals::answer(&body))
    }

    pub(super) async fn delete(self: &Arc<Self>, call: &Call) -> Result<Response<Body>, HangUp> {
        let mut asked = call.json().ok_or(HangUp)?;
        if let Some(handle) = asked["ReceiptHandle"].as_str() {
            return if self.loses(call, &asked, handle) {
                Ok(refusals::answer(&json!({})))
            } else {
                self.forward(call).await
            };
        }
        let entries = asked["Entries"].as_array().cloned().unwrap_or_default();
        let is_lost = |entry: &Value| self.loses(call, &asked, entry["ReceiptHandle"].as_str().unwrap_or_default());
        let (lost, kept): (Vec<Value>, Vec<Value>) = entries.into_iter().partition(is_lost);
        if lost.is_empty() {
            return self.forward(call).await;
        }
        let successful: Vec<Value> = lost.iter().map(|entry| json!({"Id": entry["Id"]})).collect();
        if kept.is_empty() {
            return Ok(refusals::answer(&json!({"Successful": successful, "Failed": []})));
        }
        asked["Entries"] = kept.into();
        let answer = self.forward(&call.with(&asked)).await?;
        refusals::with_rest(answer, [("Successful".to_owned(), successful.into())].into_iter().collect()).await
    }

    /// Whether this deletion gets lost; then the message is given back.
    fn loses(self: &Arc<Self>, call: &Call, asked: &Value, handle: &str) -> bool {
        let lost = lock(&self.deliveries.0).remove(handle) && self.is_stormy();
        if lost {
            self.note(Fault::Again);
            let back = json!({"QueueUrl": asked["QueueUrl"], "ReceiptHandle": handle, "VisibilityTimeout": 0});
            self.later(call, "ChangeMessageVisibility", &back);
        }
        lost
    }

    /// Another operation in the name of the same caller, a little later.
    fn later(self: &Arc<Self>, like: &Call, operation: &str, body: &Value) {
        let mut call = like.with(body);
        let target = HeaderValue::from_str(&format!("AmazonSQS.{operation}")).expect("a name of SQS's");
        call.headers.insert("x-amz-target", target);
        let (sky, pause) = (Arc::clone(self), Duration::from_millis(self.roll(SLOWEST_MS / 2)));
        runtime().spawn(async move {
            tokio::time::sleep(pause).await;
            drop(sky.forward(&call).await);
        });
    }
}

/// Puts messages into another order, those of a FIFO group not among themselves. `false`: nothing changed.
fn shuffle(messages: &mut Vec<Value>, fifo: bool, roll: impl Fn(u64) -> u64) -> bool {
    let group = |message: &Value| match &message["Attributes"]["MessageGroupId"] {
        Value::String(group) if fifo => Some(group.clone()),
        _ => None,
    };
    let before: Vec<Value> = messages.iter().map(|message| message["MessageId"].clone()).collect();
    let mut lines: Vec<(Option<String>, Vec<Value>)> = Vec::new();
    for message in messages.drain(..) {
        let name = group(&message);
        match lines.iter_mut().find(|(line, _)| name.is_some() && *line == name) {
            Some((_, line)) => line.push(message),
            None => lines.push((name, vec![message])),
        }
    }
    for (_, line) in &mut lines {
        line.reverse();
    }
    while !lines.is_empty() {
        let at = usize::try_from(roll(lines.len() as u64)).unwrap_or(0);
        messages.extend(lines[at].1.pop());
        if lines[at].1.is_empty() {
            lines.swap_remove(at);
        }
    }
    before.iter().ne(messages.iter().map(|message| &message["MessageId"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_keep_their_order_when_shuffled() {
        for seed in 1..50_u64 {
            let mut messages: Vec<Value> = (0..9)
                .map(|n| json!({"MessageId": n, "Attributes": {"MessageGroupId": format!("g{}", n % 3)}}))
                .collect();
            let state = std::cell::Cell::new(seed);
            shuffle(&mut messages, true, |below| {
                state.set(state.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
                (state.get() >> 33) % below
            });
            assert_eq!(messages.len(), 9);
            for group in 0..3 {
                let ids = messages.iter().filter_map(|message| message["MessageId"].as_u64());
                let line: Vec<u64> = ids.filter(|id| id % 3 == group).collect();
                assert!(line.is_sorted(), "seed {seed}: {line:?}");
            }
        }
    }
}
