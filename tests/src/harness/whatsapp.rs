//! A WhatsApp of the tests' own: `tests/peers/whatsapp`, a process with a socket for linked devices and an HTTP control for its phones,
//! and servers that talk to it.

use super::client::{Answer, Client, Credential};
use super::instance::Instance;
use super::process::{binary, unwatch, watch};
use super::server::Server;
use super::tenant::fresh_phone;
use super::wait::{eventually, eventually_within};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The running fake. It ends when this is dropped.
pub struct Whatsapp {
    child: Child,
    socket: String,
    control: Client,
}

impl Whatsapp {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start, or is not built.
    #[must_use]
    pub fn start() -> Whatsapp {
        let mut command = Command::new(binary("fake-whatsapp"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("fake-whatsapp starts");
        watch(child.id());
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("it says where it is");
        let places: Value = serde_json::from_str(&line).expect("a line of JSON");
        let control = format!("http://{}", places["control"].as_str().expect("control"));
        Whatsapp {
            child,
            socket: places["socket"].as_str().expect("socket").to_owned(),
            control: Client::new(&control, Credential::None),
        }
    }

    /// A server whose WhatsApp this is, without pacing.
    #[must_use]
    pub fn server(&self, more: &[(&str, &str)]) -> Server {
        let url = self.url();
        let mut env = vec![("WHATSAPP_WEB_URL", url.as_str()), ("WHATSAPP_PACE", "off")];
        env.extend(more);
        Server::start_program("trunkline-with-fake", &env)
    }

    /// The same on the other home: a bundle.
    #[must_use]
    pub fn bundle(&self) -> Server {
        Server::start_bundle_of("worker-with-fake", &[("WHATSAPP_WEB_URL", &self.url()), ("WHATSAPP_PACE", "off")])
    }

    /// `127.0.0.1:<port>`, where linked devices connect.
    #[must_use]
    pub fn socket(&self) -> &str {
        &self.socket
    }

    fn url(&self) -> String {
        format!("ws://{}/ws/chat", self.socket)
    }

    /// A new phone with a number of its own.
    pub async fn phone(&self, name: &str) -> Phone {
        let number = fresh_phone();
        let phone = self.ask(Method::POST, "/phones", Some(&json!({"phone": number, "name": name}))).await;
        let lid = phone["lid"].as_str().expect("a LID").to_owned();
        Phone { control: self.control.clone(), number, lid }
    }

    /// A group of `creator` and others; gives its address.
    ///
    /// # Panics
    /// When the fake refuses.
    pub async fn group(&self, subject: &str, creator: &Phone, members: &[&Phone]) -> String {
        let members: Vec<&str> = members.iter().map(|phone| phone.number.as_str()).collect();
        let new = json!({"creator": creator.number, "subject": subject, "members": members});
        let group = self.ask(Method::POST, "/groups", Some(&new)).await;
        group["id"].as_str().expect("an id").to_owned()
    }

    /// What it counted so far.
    pub async fn stats(&self) -> Value {
        self.ask(Method::GET, "/stats", None).await
    }

    /// Waits until so many clients are connected.
    pub async fn until_connected(&self, clients: usize, deadline: Duration) {
        eventually_within(deadline, &format!("{clients} connections"), async || {
            (self.stats().await["connections"] == clients).then_some(())
        })
        .await;
    }

    /// Anything of the control API, which must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        ask(&self.control, method, path, body).await
    }
}

impl Drop for Whatsapp {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        unwatch(self.child.id());
    }
}

async fn ask(control: &Client, method: Method, path: &str, body: Option<&Value>) -> Value {
    let answer = control.call(method, path, body).await;
    assert!((200..300).contains(&answer.status), "{answer}");
    if answer.body.is_empty() { Value::Null } else { answer.json() }
}

/// A phone of the fake: somebody to write to, and what an instance is linked with.
#[derive(Clone, Debug)]
pub struct Phone {
    control: Client,
    /// Digits.
    pub number: String,
    /// Digits, too.
    pub lid: String,
}

impl Phone {
    /// `{number}@s.whatsapp.net`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}@s.whatsapp.net", self.number)
    }

    /// Something that the phone does.
    pub async fn does(&self, what: &str, body: &Value) -> Value {
        ask(&self.control, Method::POST, &format!("/phones/{}/{what}", self.number), Some(body)).await
    }

    /// The same, which may be refused.
    pub async fn tries(&self, what: &str, body: &Value) -> Answer {
        self.control.post(&format!("/phones/{}/{what}", self.number), body).await
    }

    /// Something that the phone knows.
    pub async fn get(&self, what: &str) -> Value {
        ask(&self.control, Method::GET, &format!("/phones/{}{what}", self.number), None).await
    }

    /// A file that the phone has.
    ///
    /// # Panics
    /// When it does not.
    pub async fn file(&self, what: &str) -> Bytes {
        let answer = self.control.get(&format!("/phones/{}{what}", self.number)).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.body
    }

    /// Writes to somebody; gives the message's id.
    ///
    /// # Panics
    /// When the fake refuses.
    pub async fn writes(&self, to: &str, message: &Value) -> String {
        let sent = self.does("send", &json!({"to": to, "message": message})).await;
        sent["id"].as_str().expect("an id").to_owned()
    }

    /// Waits for a message to arrive; gives it, decrypted.
    ///
    /// # Panics
    /// When it does not arrive in time.
    pub async fn receives(&self, id: &str) -> Value {
        let found = self.get(&format!("/inbox?wait=15&id={id}")).await;
        found["messages"]
            .as_array()
            .and_then(|all| all.first().cloned())
            .unwrap_or_else(|| panic!("{id} did not arrive"))
    }

    /// Creates an instance and links it with this phone by QR.
    pub async fn links(&self, client: &Client, more: &Value) -> Instance {
        let mut body = json!({"mode": "live"});
        super::instance::merge(&mut body, more);
        let instance = Instance { phone: self.number.clone(), ..Instance::create(client, &body).await };
        self.scans(&instance).await;
        instance
    }

    /// Scans the QR code that an instance shows, and waits until it is connected.
    pub async fn scans(&self, instance: &Instance) {
        // A code that was replaced meanwhile is refused: then the next one.
        eventually("a scanned code", async || {
            let qr = instance.qr().await;
            (self.tries("scan", &json!({"qr": qr})).await.status == 200).then_some(())
        })
        .await;
        instance.wait_status("connected").await;
    }

    /// The same in a crowd, where everything takes its time: an account is linked at all within `limit`.
    pub async fn scans_within(&self, instance: &Instance, limit: Duration) {
        eventually_within(limit, "linked", async || {
            let shown = instance.client.get(&instance.at("/qr")).await;
            match shown.status {
                200 => drop(self.tries("scan", &json!({"qr": shown.json()["qrCode"]})).await),
                202 => {}
                _ => return (instance.get("").await["connectionStatus"]["ready"] == true).then_some(()),
            }
            None
        })
        .await;
    }
}
