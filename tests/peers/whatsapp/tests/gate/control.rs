//! A running fake, and its control API as a test uses it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fake_whatsapp::Fake;
use serde_json::{Value, json};

/// A fake of one's own for each test.
pub(crate) struct Server {
    socket: SocketAddr,
    control: SocketAddr,
    /// Ends with the test.
    _runs: Runs,
    agent: ureq::Agent,
}

/// Where the fake runs: here, or as the process that the binary is.
enum Runs {
    Here { _fake: Fake },
    Process(Child),
}

impl Drop for Runs {
    fn drop(&mut self) {
        if let Self::Process(child) = self {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let fake = Fake::start(any, any).await.expect("the fake starts");
        Self { socket: fake.socket, control: fake.control, _runs: Runs::Here { _fake: fake }, agent: agent() }
    }

    /// The same as a process of its own; also returns the process's id.
    pub(crate) fn process() -> (Self, u32) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fake-whatsapp"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("one line of JSON");
        let address = |name: &str| {
            let text = ready[name].as_str().expect("an address");
            text.parse().expect("an address")
        };
        let id = child.id();
        let (socket, control) = (address("socket"), address("control"));
        (Self { socket, control, _runs: Runs::Process(child), agent: agent() }, id)
    }

    pub(crate) fn socket_url(&self) -> String {
        format!("ws://{}/ws/chat", self.socket)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.control)
    }

    /// Makes a phone with default settings.
    pub(crate) async fn phone(&self, phone: &str, name: &str) -> Value {
        self.post("/phones", json!({"phone": phone, "name": name})).await
    }

    /// Posts, and expects success.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.try_post(path, body).await;
        assert!((200..300).contains(&status), "POST {path}: {status} {answer}");
        answer
    }

    pub(crate) async fn try_post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send("POST", path, body).await
    }

    /// Any request; the status and the answer, JSON or text.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (agent, url, method) = (self.agent.clone(), self.url(path), method.to_owned());
        tokio::task::spawn_blocking(move || {
            let mut answer = match method.as_str() {
                "POST" => agent.post(&url).send_json(body),
                "PATCH" => agent.patch(&url).send_json(body),
                "DELETE" => agent.delete(&url).call(),
                _ => agent.get(&url).call(),
            }
            .expect("the control API answers");
            let text = answer.body_mut().read_to_string().expect("a body");
            let parsed = serde_json::from_str(&text).unwrap_or(Value::String(text));
            (answer.status().as_u16(), parsed)
        })
        .await
        .expect("the request runs")
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get_bytes(path).await).expect("JSON")
    }

    pub(crate) async fn get_bytes(&self, path: &str) -> Vec<u8> {
        let (agent, url) = (self.agent.clone(), self.url(path));
        tokio::task::spawn_blocking(move || {
            let mut answer = agent.get(&url).call().expect("the control API answers");
            assert_eq!(answer.status().as_u16(), 200, "GET {url}");
            answer.body_mut().read_to_vec().expect("a body")
        })
        .await
        .expect("the request runs")
    }

    /// The first message of a kind that arrives at a phone.
    pub(crate) async fn arrived(&self, phone: &str, kind: &str) -> Value {
        let answer = self.get(&format!("/phones/{phone}/inbox?kind={kind}&wait=20")).await;
        answer["messages"].get(0).cloned().unwrap_or_else(|| panic!("no {kind} arrived at {phone}"))
    }
}

/// An HTTP client that takes every status as an answer.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(120)))
        .build()
        .into()
}
