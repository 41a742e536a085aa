//! Callbacks as the platform makes and signs them, and who they are about.

use crate::harness::client::{Answer, Client, Credential};
use crate::harness::instance::merge;
use crate::harness::tenant::fresh_phone;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

/// One number of a business account.
#[derive(Clone, Debug)]
pub struct Number {
    /// What paths name it by.
    pub id: String,
    /// The number itself, digits only.
    pub phone: String,
    /// What requests carry.
    pub token: String,
    /// What callbacks are signed with.
    pub app_secret: String,
    /// What the receiver of callbacks shows it knows.
    pub verify_token: String,
}

impl Number {
    /// As an instance's `credentials`.
    #[must_use]
    pub fn credentials(&self) -> Value {
        json!({"accessToken": self.token, "phoneNumberId": self.id, "appSecret": self.app_secret,
               "verifyToken": self.verify_token})
    }

    /// `sha256=…` of a body.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn signature(&self, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.app_secret.as_bytes()).expect("a key of any length");
        mac.update(body);
        format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
    }

    /// A whole callback with these contacts, messages, statuses.
    #[must_use]
    pub fn callback(&self, value: &Value) -> Value {
        let mut whole = json!({
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": self.phone, "phone_number_id": self.id},
        });
        merge(&mut whole, value);
        json!({"object": "whatsapp_business_account",
               "entry": [{"id": "102290129340398", "changes": [{"value": whole, "field": "messages"}]}]})
    }

    /// The callback of a message: `content` holds what is under its type.
    #[must_use]
    pub fn message(&self, from: &Sender, id: &str, kind: &str, content: &Value) -> Value {
        let message = json!({"from": from.phone, "from_user_id": from.user_id(), "id": id, "timestamp": from.at.to_string(), "type": kind, kind: content});
        self.callback(&json!({"contacts": [from.contact()], "messages": [message]}))
    }

    /// The callback of a status of a message that was sent.
    #[must_use]
    pub fn status(&self, sent: &Sent, status: &str, more: &Value) -> Value {
        let mut body =
            json!({"id": sent.id, "status": status, "timestamp": (sent.at + 1).to_string(), "recipient_id": sent.to});
        if let Some(ours) = sent.body.get("biz_opaque_callback_data") {
            body["biz_opaque_callback_data"] = ours.clone();
        }
        body["recipient_user_id"] = json!(user_id(&sent.to));
        merge(&mut body, more);
        let contact = json!({"wa_id": sent.to, "user_id": user_id(&sent.to)});
        self.callback(&json!({"contacts": [contact], "statuses": [body]}))
    }

    /// Posts a callback as the platform does.
    pub async fn post(&self, server: &Client, instance: &str, callback: &Value) -> Answer {
        let body = serde_json::to_vec(callback).expect("JSON");
        let signature = self.signature(&body);
        self.post_raw(server, instance, body, Some(&signature)).await
    }

    /// Posts any body with any signature.
    pub async fn post_raw(&self, server: &Client, instance: &str, body: Vec<u8>, signature: Option<&str>) -> Answer {
        let server = server.with(Credential::None);
        let mut request = server.request(http::Method::POST, &format!("/inbound/whatsapp/{instance}"));
        request = request.header("content-type", "application/json").body(body);
        if let Some(signature) = signature {
            request = request.header("x-hub-signature-256", signature);
        }
        server.send(request).await
    }
}

/// Somebody who writes to a number.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Digits only.
    pub phone: String,
    /// The profile's name.
    pub name: String,
    /// Seconds since 1970 of what is written.
    pub at: i64,
}

impl Sender {
    /// Somebody whom nobody has met in this run, writing now.
    #[must_use]
    pub fn new(name: &str) -> Sender {
        Sender { phone: fresh_phone(), name: name.to_owned(), at: chrono::Utc::now().timestamp() }
    }

    /// The id under which the business knows him, whether it sees the number or not.
    #[must_use]
    pub fn user_id(&self) -> String {
        user_id(&self.phone)
    }

    /// As callbacks describe him.
    #[must_use]
    pub fn contact(&self) -> Value {
        json!({"profile": {"name": self.name}, "wa_id": self.phone, "user_id": self.user_id()})
    }
}

fn user_id(phone: &str) -> String {
    format!("US.{phone}77")
}

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The platform's id.
    pub id: String,
    /// Digits, or the id of somebody whose number is hidden.
    pub to: String,
    /// What was posted.
    pub body: Value,
    /// Seconds since 1970.
    pub at: i64,
}
