//! A server that speaks just enough of DynamoDB and SQS for these tests, and gets into trouble on demand.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// What happens to one request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trouble {
    /// It is applied, and the connection breaks.
    LoseAnswer,
    /// The connection breaks before it is applied.
    LoseRequest,
    /// 500.
    Fail,
    /// 400 with this code.
    Refuse(&'static str),
    /// A batch is answered with all of its messages as failed.
    LeaveOut,
}

type Attributes = Map<String, Value>;

#[derive(Default)]
struct State {
    items: BTreeMap<(String, String), Attributes>,
    sent: Vec<String>,
    plans: BTreeMap<String, VecDeque<Trouble>>,
    calls: BTreeMap<String, usize>,
}

#[derive(Clone)]
pub(crate) struct Peer {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl Peer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let peer = Self { state: Arc::default(), address: listener.local_addr().expect("bound") };
        let server = peer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                // A client that goes away ends its connection, nothing else.
                tokio::spawn(async move { server.serve(stream).await.ok() });
            }
        });
        peer
    }

    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What happens to the next requests of that name; replaces what was planned before.
    pub(crate) fn plan(&self, call: &str, troubles: impl Into<VecDeque<Trouble>>) {
        self.state().plans.insert(call.into(), troubles.into());
    }

    pub(crate) fn calls(&self, call: &str) -> usize {
        self.state().calls.get(call).copied().unwrap_or(0)
    }

    pub(crate) fn item(&self, pk: &str, sk: &str) -> Option<Attributes> {
        self.state().items.get(&(pk.into(), sk.into())).cloned()
    }

    /// Bodies of the messages sent so far.
    pub(crate) fn sent(&self) -> Vec<String> {
        self.state().sent.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests of one connection until it ends.
    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut call, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                match line.trim_end().split_once(": ") {
                    Some((name, value)) if name.eq_ignore_ascii_case("x-amz-target") => {
                        call = value.rsplit('.').next().unwrap_or_default().to_owned();
                    }
                    Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                        length = value.parse().unwrap_or(0);
                    }
                    _ if line.trim().is_empty() => break,
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            let request: Value = serde_json::from_slice(&body).unwrap_or_default();
            let Some((status, answer)) = self.answer(&call, &request) else { return Ok(()) };
            let answer = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            stream.write_all(format!("{head}{answer}").as_bytes()).await?;
            stream.flush().await?;
        }
    }

    /// `None`: the connection breaks.
    fn answer(&self, call: &str, request: &Value) -> Option<(u16, Value)> {
        let mut state = self.state();
        *state.calls.entry(call.into()).or_default() += 1;
        match state.plans.get_mut(call).and_then(VecDeque::pop_front) {
            None => Some(state.apply(call, request)),
            Some(Trouble::LoseAnswer) => {
                state.apply(call, request);
                None
            }
            Some(Trouble::LoseRequest) => None,
            Some(Trouble::Fail) => Some((500, json!({ "__type": "InternalServerError", "message": "" }))),
            Some(Trouble::Refuse(code)) => Some((400, json!({ "__type": code, "message": "" }))),
            Some(Trouble::LeaveOut) => {
                let failed: Vec<Value> = entries(request)
                    .map(|entry| json!({ "Id": entry["Id"], "Code": "InternalError", "SenderFault": false }))
                    .collect();
                Some((200, json!({ "Successful": [], "Failed": failed })))
            }
        }
    }
}

impl State {
    fn apply(&mut self, call: &str, request: &Value) -> (u16, Value) {
        match call {
            "PutItem" => self.put(request),
            "GetItem" => {
                let found = self.items.get(&key(&request["Key"]));
                (200, found.map_or_else(|| json!({}), |item| json!({ "Item": item })))
            }
            "Query" => {
                let partition = request["ExpressionAttributeValues"][":0"]["S"].as_str();
                let mut items: Vec<&Attributes> = self
                    .items
                    .iter()
                    .filter(|((pk, _), _)| Some(pk.as_str()) == partition)
                    .map(|(_, item)| item)
                    .collect();
                if request["ScanIndexForward"] == json!(false) {
                    items.reverse();
                }
                (200, json!({ "Count": items.len(), "Items": items }))
            }
            "GetQueueUrl" => (200, json!({ "QueueUrl": "http://queue.example/q" })),
            "SendMessageBatch" => {
                let taken: Vec<Value> = entries(request)
                    .map(|entry| json!({ "Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "" }))
                    .collect();
                self.sent.extend(entries(request).filter_map(|entry| entry["MessageBody"].as_str().map(str::to_owned)));
                (200, json!({ "Successful": taken, "Failed": [] }))
            }
            other => (400, json!({ "__type": "UnknownOperationException", "message": other })),
        }
    }

    /// Knows two conditions: that there is no item, and that one attribute has a value.
    fn put(&mut self, request: &Value) -> (u16, Value) {
        let new = request["Item"].as_object().cloned().unwrap_or_default();
        let key = key(&request["Item"]);
        let old = self.items.get(&key);
        let holds = match request["ConditionExpression"].as_str() {
            None => true,
            Some(text) if text.starts_with("attribute_not_exists") => old.is_none(),
            Some(_) => {
                let name = request["ExpressionAttributeNames"]["#0"].as_str().unwrap_or_default();
                old.and_then(|old| old.get(name)) == Some(&request["ExpressionAttributeValues"][":0"])
            }
        };
        if !holds {
            let refused = json!({ "__type": "ConditionalCheckFailedException", "message": "", "Item": old });
            return (400, refused);
        }
        let before = old.map_or_else(|| json!({}), |old| json!({ "Attributes": old }));
        self.items.insert(key, new);
        (200, before)
    }
}

fn key(attributes: &Value) -> (String, String) {
    let part = |name: &str| attributes[name]["S"].as_str().unwrap_or_default().to_owned();
    (part("pk"), part("sk"))
}

fn entries(request: &Value) -> impl Iterator<Item = &Value> {
    request["Entries"].as_array().into_iter().flatten()
}
