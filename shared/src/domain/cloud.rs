//! Accounts of WhatsApp's Cloud API (transport `cloud`): their credentials, and the callbacks that come for them over HTTP.
//!
//! A callback is checked, taken apart by conversation and queued for the instance's owner before it is answered: one commit.
//! What it means is for the owner's connector to say. Facts: `X-Hub-Signature-256` is the HMAC-SHA256 of the raw body under the
//! app's secret; one callback may hold messages and statuses of several numbers of a business account, come again for up to seven
//! days, and out of order.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    address::Platform,
    app::App,
    capability::Transport,
    connector::{Action, Command},
    crypto,
    domain::{
        instance::{Instance, Mode},
        job,
    },
    error::{Error, Result},
    redact::Secret,
    sign,
    store::{Doc, Unit},
};

/// Bytes of the parts of one queue message, as JSON, at the most: a queue takes 256 KiB.
const MAX_PARTS: usize = 192 * 1024;
/// Groups of the command queue that an instance's callbacks are spread over. A conversation always has the same.
const GROUPS: u32 = 8;
/// The version of the Graph API that is asked where the account names none.
const VERSION: &str = "v24.0";

/// What an account of the Cloud API is reached with. Stored sealed, as the user gave it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    pub access_token: Secret,
    pub phone_number_id: String,
    /// Signs the callbacks.
    pub app_secret: Secret,
    /// Shown by the platform when a callback URL is entered there.
    pub verify_token: Secret,
    /// `v24.0`.
    #[serde(default = "version")]
    pub api_version: String,
}

fn version() -> String {
    VERSION.to_owned()
}

/// Whether an instance is such an account.
pub fn is_cloud(platform: Platform, transport: Transport, mode: Mode) -> bool {
    mode == Mode::Live && platform == Platform::Whatsapp && transport == Transport::Cloud
}

impl Credentials {
    /// Reads and checks what a user gives.
    ///
    /// Errors: 400 on the field that is missing or wrong.
    pub fn read(given: Option<&Value>) -> Result<Self> {
        let text =
            |name: &str| given.and_then(|given| given.get(name)).and_then(Value::as_str).unwrap_or_default().trim();
        let wrong = |name: &str, want: &str| {
            let field = format!("credentials.{name}");
            Error::invalid(field.clone(), format!("{field} must be {want} for transport cloud"))
        };
        let secret = |name: &str| match text(name) {
            text if text.is_empty() || text.len() > 4096 || !text.bytes().all(|b| b.is_ascii_graphic()) => {
                Err(wrong(name, "a text of ASCII characters without spaces"))
            }
            text => Ok(Secret::new(text)),
        };
        let phone_number_id = text("phoneNumberId");
        if !(1..=32).contains(&phone_number_id.len()) || !phone_number_id.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong("phoneNumberId", "the digits of the number's id, not of the number,"));
        }
        let api_version = match text("apiVersion") {
            "" => VERSION,
            text => text,
        };
        let is_version = api_version
            .strip_prefix('v')
            .and_then(|rest| rest.split_once('.'))
            .is_some_and(|(major, minor)| major.parse::<u8>().is_ok() && minor.parse::<u8>().is_ok());
        if !is_version {
            return Err(wrong("apiVersion", "a version such as v24.0"));
        }
        Ok(Self {
            access_token: secret("accessToken")?,
            phone_number_id: phone_number_id.to_owned(),
            app_secret: secret("appSecret")?,
            verify_token: secret("verifyToken")?,
            api_version: api_version.to_owned(),
        })
    }

    /// Those of an instance, from its row.
    pub fn of(app: &App, instance: &Instance) -> Result<Self> {
        let sealed = instance.credentials.as_ref().ok_or_else(|| Error::invalid("credentials", "There are none"))?;
        let text = app.keyring.open_text(&format!("{}/credentials", instance.id), sealed)?;
        Self::parse(&text)
    }

    /// From the JSON that was checked when it was stored.
    pub fn parse(text: &Secret) -> Result<Self> {
        Self::read(Some(&serde_json::from_str(text.reveal())?))
    }

    /// Whether this is the token that was agreed on.
    pub fn verifies(&self, token: &str) -> bool {
        crypto::same(crypto::sha256_hex(self.verify_token.reveal()), crypto::sha256_hex(token))
    }

    /// Whether the value of `X-Hub-Signature-256` fits the body.
    pub fn signed(&self, body: &[u8], header: &str) -> bool {
        let right = sign::signature(&self.app_secret, body);
        header.strip_prefix("sha256=").is_some_and(|shown| crypto::same(right, shown.to_ascii_lowercase()))
    }
}

/// What a callback holds for one number: a message, a status, or the echo of what was written on the account's own phone, with
/// what belongs to it; and whose conversation it is of.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    /// The other side; empty where there is none.
    whose: String,
    body: Value,
}

/// Takes a callback apart: what is in it for this number. What is for other numbers of the business account, and fields that no
/// message is in, is left out.
fn parts(body: &Value, phone_number_id: &str) -> Vec<Part> {
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let mut parts = Vec::new();
    for change in list(body, "entry").iter().flat_map(|entry| list(entry, "changes")) {
        let value = &change["value"];
        if value["metadata"]["phone_number_id"] != phone_number_id {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if change["field"] == "smb_message_echoes" {
            let echoes = list(value, "message_echoes").into_iter();
            parts.extend(echoes.map(|echo| Part { whose: text(&echo["to"]), body: json!({ "echo": echo }) }));
            continue;
        }
        if change["field"] != "messages" {
            continue;
        }
        let contacts = list(value, "contacts");
        for message in list(value, "messages") {
            let whose = ["from", "from_user_id"].iter().find_map(|name| message[*name].as_str()).unwrap_or_default();
            let is_theirs = |contact: &&Value| contact["wa_id"] == whose || contact["user_id"] == whose;
            let contact = contacts.iter().find(is_theirs).or_else(|| contacts.first().filter(|_| contacts.len() == 1));
            let whose = whose.to_owned();
            parts.push(Part { whose, body: json!({ "message": message, "contact": contact }) });
        }
        for status in list(value, "statuses") {
            parts.push(Part { whose: text(&status["recipient_id"]), body: json!({ "status": status }) });
        }
    }
    parts
}

/// A message without its contents.
fn bare(part: &Value) -> Value {
    let of =
        |name: &str| part["message"].get(name).filter(|value| value.as_str().is_some_and(|text| text.len() < 1024));
    let kept = ["from", "from_user_id", "id", "timestamp", "type"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), of(name)?.clone())));
    json!({ "message": kept.collect::<Doc>(), "contact": null })
}

/// Parts that belong together, in batches that a queue takes.
type Batches = Vec<Vec<Value>>;

/// The parts by group, in their order.
fn batches(instance: &str, parts: Vec<Part>, group: impl Fn(&str) -> u32) -> Result<Vec<(u32, Batches)>> {
    let mut groups: Vec<(u32, Batches, usize)> = Vec::new();
    for Part { whose, mut body } in parts {
        let mut bytes = serde_json::to_string(&body)?.len();
        if bytes > MAX_PARTS {
            // Refused, it would come again for a week, and with it all that it came with.
            tracing::warn!(instance, bytes, "a message is taken without its contents: no queue takes them");
            body = bare(&body);
            bytes = serde_json::to_string(&body)?.len();
        }
        let group = group(&whose);
        let place = groups.iter().position(|(known, ..)| *known == group).unwrap_or_else(|| {
            groups.push((group, vec![Vec::new()], 0));
            groups.len() - 1
        });
        let (_, batches, filled) = &mut groups[place];
        if *filled + bytes > MAX_PARTS {
            batches.push(Vec::new());
            *filled = 0;
        }
        *filled += bytes;
        if let Some(batch) = batches.last_mut() {
            batch.push(body);
        }
    }
    Ok(groups.into_iter().map(|(group, batches, _)| (group, batches)).collect())
}

/// Queues what the callback holds for this instance. Durable when it returns; how many parts it were.
pub async fn accept(app: &App, instance: &Instance, credentials: &Credentials, body: &Value) -> Result<usize> {
    let parts = parts(body, &credentials.phone_number_id);
    let count = parts.len();
    let groups = batches(instance.id.as_str(), parts, |whose| group(app, instance, whose))?;
    let mut enqueue = Vec::new();
    for (group, batches) in groups {
        for parts in batches {
            // The platform repeats what it does not see answered in time: what is queued already need not be queued again.
            let dedup = format!("{}/{}", instance.id, crypto::sha256_hex(serde_json::to_string(&parts)?));
            let command = Command::new(instance.id.clone(), Action::Callback { parts });
            let mut message = job::command_message(instance, &command, &dedup)?;
            message.group = format!("{}/{group}", instance.id);
            enqueue.push(message);
        }
    }
    if !enqueue.is_empty() {
        app.store.commit(Unit { enqueue, ..Unit::default() }).await?;
    }
    Ok(count)
}

/// The group of a conversation, hashed with the deployment's key: numbers are in no key.
fn group(app: &App, instance: &Instance, whose: &str) -> u32 {
    let digest = app.keyring.index2("conversation", instance.id.as_str(), whose);
    digest.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % GROUPS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Value {
        json!({ "accessToken": "EAA", "phoneNumberId": "106540352242922", "appSecret": "s", "verifyToken": "v" })
    }

    #[test]
    fn credentials_are_checked_field_by_field() {
        let read = Credentials::read(Some(&credentials())).expect("are good");
        assert_eq!((read.api_version.as_str(), read.phone_number_id.as_str()), (VERSION, "106540352242922"));
        for (name, value) in [
            ("accessToken", json!("")),
            ("accessToken", json!("two words")),
            ("accessToken", json!(7)),
            ("phoneNumberId", json!("+4915")),
            ("phoneNumberId", Value::Null),
            ("appSecret", Value::Null),
            ("verifyToken", json!("line\nbreak")),
            ("apiVersion", json!("23")),
            ("apiVersion", json!("v24.0/../x")),
        ] {
            let mut given = credentials();
            given[name] = value;
            let error = Credentials::read(Some(&given)).expect_err(name);
            assert_eq!(error.field.as_deref(), Some(format!("credentials.{name}").as_str()));
        }
        assert!(Credentials::read(None).is_err());
    }

    #[test]
    fn a_signature_is_of_the_raw_body() {
        let read = Credentials::read(Some(&credentials())).expect("are good");
        let right = format!("sha256={}", sign::signature(&Secret::new("s"), b"{}"));
        assert!(read.signed(b"{}", &right));
        for wrong in ["", "sha256=", &right[7..], &right.replace("sha256", "sha1"), "sha256=zz"] {
            assert!(!read.signed(b"{}", wrong), "{wrong}");
        }
        assert!(!read.signed(b"{ }", &right));
        assert!(read.verifies("v"));
        assert!(!read.verifies("V"));
        assert!(!read.verifies(""));
    }

    #[test]
    fn a_callback_is_taken_apart_by_conversation() {
        let value = |number: &str| {
            json!({
                "metadata": { "phone_number_id": number },
                "contacts": [{ "wa_id": "1", "profile": { "name": "A" } }, { "wa_id": "2", "profile": { "name": "B" } }],
                "messages": [{ "from": "2", "id": "wamid.b" }, { "from": "1", "id": "wamid.a" }, { "from_user_id": "US.3" }],
                "statuses": [{ "id": "wamid.c", "recipient_id": "1" }],
            })
        };
        let change = |field: &str, number: &str| json!({ "field": field, "value": value(number) });
        let echoes = json!({ "metadata": { "phone_number_id": "7" }, "message_echoes": [{ "from": "9", "to": "2" }] });
        let echoes = json!({ "field": "smb_message_echoes", "value": echoes });
        let body = json!({ "entry": [
            { "changes": [change("messages", "7"), change("account_update", "7"), change("messages", "8"), echoes] },
            { "changes": null },
        ] });
        let found = parts(&body, "7");
        let whose: Vec<_> = found.iter().map(|part| part.whose.as_str()).collect();
        assert_eq!(whose, ["2", "1", "US.3", "1", "2"]);
        assert_eq!(found[4].body["echo"]["from"], "9");
        assert_eq!(found[0].body["contact"]["profile"]["name"], "B");
        assert_eq!(found[2].body["contact"], Value::Null);
        assert_eq!(found[3].body["status"]["id"], "wamid.c");
        for junk in [json!(null), json!([]), json!({ "entry": 7 }), json!({ "entry": [{ "changes": [7, null] }] })] {
            assert!(parts(&junk, "7").is_empty(), "{junk}");
        }
    }

    #[test]
    fn what_no_queue_takes_comes_without_its_contents() {
        let message = json!({
            "from": "1", "from_user_id": "x".repeat(1024), "id": "wamid.a", "timestamp": "7", "type": "text",
            "text": { "body": "x".repeat(MAX_PARTS) }, "context": { "id": "wamid.q" },
        });
        let part = json!({ "message": message, "contact": { "wa_id": "1", "profile": { "name": "A" } } });
        let rest =
            json!({ "message": { "from": "1", "id": "wamid.a", "timestamp": "7", "type": "text" }, "contact": null });
        assert_eq!(bare(&part), rest, "what says who wrote when, unless it is absurd itself");
        let found = batches("i", vec![Part { whose: "1".into(), body: part }], |_| 3).expect("are made");
        assert_eq!(found, [(3, vec![vec![rest]])]);
        assert_eq!(bare(&json!({ "status": {} })), json!({ "message": {}, "contact": null }));
    }

    #[test]
    fn batches_are_as_large_as_a_queue_takes_and_keep_their_order() {
        let part = |whose: &str, id: usize| Part {
            whose: whose.into(),
            body: json!({ "id": id, "x": "x".repeat(MAX_PARTS / 3) }),
        };
        let parts: Vec<Part> = (0..7).map(|id| part(if id % 2 == 0 { "even" } else { "odd" }, id)).collect();
        let found = batches("i", parts, |whose| u32::from(whose == "odd")).expect("are made");
        let ids: Vec<(u32, Vec<Vec<u64>>)> = found
            .iter()
            .map(|(group, all)| {
                let of = |batch: &Vec<Value>| batch.iter().filter_map(|body| body["id"].as_u64()).collect();
                (*group, all.iter().map(of).collect())
            })
            .collect();
        assert_eq!(ids, [(0, vec![vec![0, 2], vec![4, 6]]), (1, vec![vec![1, 3], vec![5]])]);
        for batch in found.iter().flat_map(|(_, all)| all) {
            let bytes: usize = batch.iter().map(|body| body.to_string().len()).sum();
            assert!(bytes <= MAX_PARTS, "{bytes}");
        }
    }
}
