//! A proxy between the program and the emulator that counts: requests, write units as the emulator computes them, read units
//! from the sizes of what goes by (emulators count reads wrongly). It is the second opinion beside the program's own meter.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// What was asked: service and operation, and the rows (the first part of the partition key) or the queue that it was about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct What {
    pub(crate) operation: String,
    pub(crate) about: String,
}

/// How much.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Count {
    pub(crate) requests: u64,
    pub(crate) write_units: f64,
    pub(crate) read_units: f64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.requests += other.requests;
        self.write_units += other.write_units;
        self.read_units += other.read_units;
    }
}

/// Counts by what was asked.
pub(crate) type Counts = BTreeMap<What, Count>;

/// What was counted between two snapshots.
pub(crate) fn since(before: &Counts, after: &Counts) -> Counts {
    let minus = |what: &What, count: &Count| {
        let old = before.get(what).copied().unwrap_or_default();
        Count {
            requests: count.requests - old.requests,
            write_units: count.write_units - old.write_units,
            read_units: count.read_units - old.read_units,
        }
    };
    let all = after.iter().map(|(what, count)| (what.clone(), minus(what, count)));
    all.filter(|(_, count)| count.requests > 0).collect()
}

struct Shared {
    emulator: String,
    client: reqwest::Client,
    counts: Mutex<Counts>,
    /// Answers to what only reads, once [`Counter::remember`] was called.
    memory: Mutex<Option<Memory>>,
}

/// What was asked, word for word, and what was answered.
type Memory = HashMap<(String, Bytes), (StatusCode, HeaderMap, Bytes)>;

/// The listening proxy.
pub(crate) struct Counter {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

impl Counter {
    /// Listens on a free loopback port, in front of `emulator`.
    pub(crate) async fn start(emulator: &str) -> Counter {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let url = format!("http://{}", listener.local_addr().expect("a bound address"));
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let (counts, memory) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { emulator: emulator.to_owned(), client, counts, memory });
        let routes = axum::Router::new().fallback(pass).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Counter { url, shared }
    }

    /// Answers what only reads from memory from now on, so that the emulator's pace is in no time that is measured. For rows that
    /// do not change.
    pub(crate) fn remember(&self) {
        *self.shared.memory.lock().unwrap_or_else(PoisonError::into_inner) = Some(Memory::new());
    }

    pub(crate) fn snapshot(&self) -> Counts {
        self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 64 << 20).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let (service, operation) = target.split_once('.').unwrap_or_default();
    let is_store = service.starts_with("DynamoDB");
    let only_reads = ["GetItem", "BatchGetItem", "Query", "GetQueueUrl"].contains(&operation);
    let question = only_reads.then(|| (target.to_owned(), body.clone()));
    if let Some(question) = &question
        && let Some(memory) = shared.memory.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
        && let Some((status, headers, bytes)) = memory.get(question)
    {
        return (*status, headers.clone(), Body::from(bytes.clone())).into_response();
    }
    let mut asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut sent = body;
    if is_store && asked.is_object() {
        asked["ReturnConsumedCapacity"] = "TOTAL".into();
        sent = Bytes::from(asked.to_string());
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = parts.headers.clone();
    for name in [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let url = format!("{}{path}", shared.emulator);
    let answer = shared.client.request(parts.method.clone(), url).headers(headers).body(sent).send().await;
    let Ok(answer) = answer else { return StatusCode::BAD_GATEWAY.into_response() };
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    let Ok(bytes) = answer.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let told: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let (about, count) = match service {
        _ if is_store => (rows(operation, &asked), store_count(operation, &asked, &told, status.is_success())),
        "AmazonSQS" => (queue(operation, &asked, &told), Count { requests: 1, ..Count::default() }),
        _ => (String::new(), Count { requests: 1, ..Count::default() }),
    };
    let operation = if operation.is_empty() { format!("S3 {}", parts.method) } else { operation.to_owned() };
    let mut counts = shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(What { operation, about }).or_default() += count;
    drop(counts);
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
        headers.remove(name);
    }
    if let Some(question) = question
        && let Some(memory) = shared.memory.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
    {
        memory.insert(question, (status, headers.clone(), bytes.clone()));
    }
    (status, headers, Body::from(bytes)).into_response()
}

/// The queue's name without the deployment's prefix; an empty receive is told apart.
fn queue(operation: &str, asked: &Value, told: &Value) -> String {
    let url = asked["QueueUrl"].as_str().or(asked["QueueName"].as_str()).unwrap_or_default();
    let name = url.rsplit('/').next().unwrap_or_default();
    let name = name.splitn(3, '-').last().unwrap_or_default();
    let none = operation == "ReceiveMessage" && told["Messages"].as_array().is_none_or(Vec::is_empty);
    if none { format!("{name} (nothing)") } else { name.to_owned() }
}

/// `M` of `M#{instance}#…`.
fn rows(operation: &str, asked: &Value) -> String {
    let key = match operation {
        "PutItem" => asked["Item"]["pk"]["S"].as_str(),
        "Query" => {
            let values = asked["ExpressionAttributeValues"].as_object();
            let mut texts = values.into_iter().flatten().filter_map(|(_, value)| value["S"].as_str());
            texts.find(|text| text.contains('#') || text.len() <= 2)
        }
        "BatchGetItem" => {
            let first = asked["RequestItems"].as_object().and_then(|tables| tables.values().next());
            first.and_then(|table| table["Keys"][0]["pk"]["S"].as_str())
        }
        "BatchWriteItem" => {
            let first = asked["RequestItems"].as_object().and_then(|tables| tables.values().next());
            first.and_then(|writes| {
                let write = &writes[0];
                write["PutRequest"]["Item"]["pk"]["S"].as_str().or(write["DeleteRequest"]["Key"]["pk"]["S"].as_str())
            })
        }
        "TransactWriteItems" => {
            let first = asked["TransactItems"][0].as_object().and_then(|item| item.values().next());
            first.and_then(|item| item["Item"]["pk"]["S"].as_str().or(item["Key"]["pk"]["S"].as_str()))
        }
        _ => asked["Key"]["pk"]["S"].as_str(),
    };
    let key = key.unwrap_or_default();
    let name = key.split('#').next().unwrap_or_default();
    // An instance has several kinds of rows in one partition.
    let sort = asked["Key"]["sk"]["S"].as_str().or(asked["Item"]["sk"]["S"].as_str());
    match sort.filter(|_| name == "I") {
        Some(sort) => format!("I/{}", sort.split('#').next().unwrap_or_default()),
        None => name.to_owned(),
    }
}

fn store_count(operation: &str, asked: &Value, told: &Value, done: bool) -> Count {
    let read_units = match operation {
        "GetItem" => read_units(size(&told["Item"]), asked["ConsistentRead"] == true),
        "Query" | "Scan" => {
            let items = told["Items"].as_array();
            let size = items.into_iter().flatten().map(size).sum();
            read_units(size, asked["ConsistentRead"] == true)
        }
        "BatchGetItem" => batch_read_units(asked, told),
        // A refused condition costs a write, which no answer tells; of an item of a started KiB, as those of all hot paths are.
        "PutItem" | "UpdateItem" | "DeleteItem" if !done => {
            return Count { requests: 1, write_units: 1.0, read_units: 0.0 };
        }
        _ => {
            let consumed = match &told["ConsumedCapacity"] {
                Value::Array(all) => all.iter().filter_map(|one| one["CapacityUnits"].as_f64()).sum(),
                one => one["CapacityUnits"].as_f64().unwrap_or(0.0),
            };
            return Count { requests: 1, write_units: consumed, read_units: 0.0 };
        }
    };
    Count { requests: 1, write_units: 0.0, read_units }
}

fn batch_read_units(asked: &Value, told: &Value) -> f64 {
    let mut units = 0.0;
    for (table, request) in asked["RequestItems"].as_object().into_iter().flatten() {
        let strong = request["ConsistentRead"] == true;
        let keys = request["Keys"].as_array().map_or(0, Vec::len);
        let found = told["Responses"][table].as_array().map(Vec::as_slice).unwrap_or_default();
        units += found.iter().map(|item| read_units(size(item), strong)).sum::<f64>();
        units += (found.len()..keys).map(|_| read_units(0, strong)).sum::<f64>();
    }
    units
}

/// One unit a started 4 KiB, half of that if the read is eventual.
#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn read_units(size: usize, strong: bool) -> f64 {
    let blocks = size.max(1).div_ceil(4096) as f64;
    if strong { blocks } else { blocks / 2.0 }
}

/// Bytes of an item, or of a value, in DynamoDB's JSON.
fn size(item: &Value) -> usize {
    let attributes = item.as_object().into_iter().flatten();
    attributes.map(|(name, value)| name.len() + value_size(value)).sum()
}

fn value_size(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else { return 0 };
    match kind.as_str() {
        "S" => value.as_str().map_or(0, str::len),
        "N" => value.as_str().map_or(0, |digits| digits.len().div_ceil(2) + 1),
        "M" => 3 + size(value) + value.as_object().map_or(0, serde_json::Map::len),
        "L" => 3 + value.as_array().into_iter().flatten().map(|value| 1 + value_size(value)).sum::<usize>(),
        _ => 1,
    }
}
