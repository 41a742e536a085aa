//! Errors as DynamoDB and SQS phrase them, and batches of which a part is not carried out.

use super::{Call, HangUp};
use axum::body::Body;
use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde_json::{Map, Value, json};

const DYNAMODB: &str = "com.amazonaws.dynamodb.v20120810";
const SQS: &str = "com.amazonaws.sqs";
/// What the front of both services says by itself.
const FRONT: &str = "com.amazon.coral.availability";

fn is_sqs(service: &str) -> bool {
    service == "AmazonSQS"
}

/// Too much at the moment; in one of three wordings.
pub(super) fn throttled(service: &str, wording: u64) -> Response<Body> {
    let (space, code) = match (is_sqs(service), wording) {
        (_, 0) => (FRONT, "ThrottlingException"),
        (true, _) => (SQS, "RequestThrottled"),
        (false, 1) => (DYNAMODB, "ProvisionedThroughputExceededException"),
        (false, _) => (DYNAMODB, "RequestLimitExceeded"),
    };
    refusal(StatusCode::BAD_REQUEST, space, code)
}

/// A fault of the service; in one of two wordings.
pub(super) fn failed(service: &str, wording: u64) -> Response<Body> {
    match (is_sqs(service), wording) {
        (true, 0) => refusal(StatusCode::INTERNAL_SERVER_ERROR, SQS, "InternalFailure"),
        (false, 0) => refusal(StatusCode::INTERNAL_SERVER_ERROR, DYNAMODB, "InternalServerError"),
        _ => refusal(StatusCode::SERVICE_UNAVAILABLE, FRONT, "ServiceUnavailable"),
    }
}

fn refusal(status: StatusCode, space: &str, code: &str) -> Response<Body> {
    let mut response = answer(&json!({"__type": format!("{space}#{code}"), "message": "by the suite's fault proxy"}));
    *response.status_mut() = status;
    response
}

/// 200 with a body.
pub(super) fn answer(body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-amz-json-1.0"));
    response
}

/// Takes a part out of a batch: what is to be carried out, and the fields that tell of the rest. `None`: it has one entry only,
/// or is no batch.
pub(super) fn divide(call: &Call, roll: impl Fn(u64) -> u64) -> Option<(Call, Map<String, Value>)> {
    let (_, operation) = call.target()?;
    let mut body = call.json()?;
    let mut rest = Map::new();
    match operation {
        "SendMessageBatch" => {
            let entries = body["Entries"].as_array_mut().filter(|entries| entries.len() > 1)?;
            let at = index(&roll, entries.len());
            let group = entries[at]["MessageGroupId"].clone();
            // The last of a FIFO group: what came to stand before it could not be taken back.
            let last = entries.iter().rposition(|entry| !group.is_null() && entry["MessageGroupId"] == group);
            let refused = entries.remove(last.unwrap_or(at));
            let failed = json!({"Id": refused["Id"], "SenderFault": false, "Code": "InternalError"});
            rest.insert("Failed".into(), json!([failed]));
        }
        "BatchWriteItem" => {
            let (table, requests) = body["RequestItems"].as_object_mut()?.iter_mut().next()?;
            let requests = requests.as_array_mut().filter(|requests| requests.len() > 1)?;
            let left = requests.split_off(1 + index(&roll, requests.len() - 1));
            rest.insert("UnprocessedItems".into(), json!({ table: left }));
        }
        "BatchGetItem" => {
            let (table, wanted) = body["RequestItems"].as_object_mut()?.iter_mut().next()?;
            let keys = wanted["Keys"].as_array_mut().filter(|keys| keys.len() > 1)?;
            let left = keys.split_off(1 + index(&roll, keys.len() - 1));
            let mut later = wanted.clone();
            later["Keys"] = left.into();
            rest.insert("UnprocessedKeys".into(), json!({ table: later }));
        }
        _ => return None,
    }
    Some((call.with(&body), rest))
}

fn index(roll: impl Fn(u64) -> u64, length: usize) -> usize {
    usize::try_from(roll(length as u64)).unwrap_or(0)
}

/// The answer to the part that was carried out, with what it says of the rest.
pub(super) async fn with_rest(given: Response<Body>, rest: Map<String, Value>) -> Result<Response<Body>, HangUp> {
    if given.status() != StatusCode::OK {
        return Ok(given);
    }
    let mut body = json(given).await?;
    let fields = body.as_object_mut().ok_or(HangUp)?;
    for (name, value) in rest {
        match (fields.get_mut(&name), value) {
            (Some(Value::Array(there)), Value::Array(more)) => there.extend(more),
            (_, value) => drop(fields.insert(name, value)),
        }
    }
    Ok(answer(&body))
}

/// The body of an answer.
pub(super) async fn json(answer: Response<Body>) -> Result<Value, HangUp> {
    let bytes: Bytes = axum::body::to_bytes(answer.into_body(), super::MOST).await.map_err(|_| HangUp)?;
    serde_json::from_slice(&bytes).map_err(|_| HangUp)
}
