//! The transport `web` of WhatsApp against `tests/peers/whatsapp`: a fake of the server with a simulated phone an account. The fake is
//! held to the client library that the connector stands on; what the real server does beyond that is not shown here.

mod asks;
mod beside;
mod fleet;
mod groups;
mod history;
mod kinds;
mod lines;
mod moving;
mod pacing;
mod proxies;
mod traffic;

use crate::harness::{
    Instance, Server, Tenant,
    whatsapp::{Phone, Whatsapp},
};
use serde_json::{Value, json};

/// The smallest picture.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/// A fake, a server that talks to it, a linked instance, and somebody to write to.
struct Stage {
    whatsapp: Whatsapp,
    server: Server,
    instance: Instance,
    own: Phone,
    other: Phone,
}

impl Stage {
    async fn set() -> Stage {
        Stage::set_with(&[], &json!({})).await
    }

    async fn set_with(env: &[(&str, &str)], more: &Value) -> Stage {
        let whatsapp = Whatsapp::start();
        let server = whatsapp.server(env);
        let tenant = Tenant::of(&server).await;
        let (own, other) = (whatsapp.phone("Alice").await, whatsapp.phone("Bob").await);
        let instance = own.links(&tenant.client, more).await;
        Stage { whatsapp, server, instance, own, other }
    }

    /// The server is killed and started again.
    async fn restarted(self) -> Stage {
        Stage { server: self.server.killed_and_restarted().await, ..self }
    }

    /// Bob writes; gives the event.
    async fn hears(&self, message: &Value) -> Value {
        let id = self.other.writes(&self.own.number, message).await;
        self.instance.wait_event_of(&id).await
    }

    /// A send of any kind to Bob; gives what arrives at his phone.
    async fn tells(&self, path: &str, mut body: Value) -> Value {
        body["phone"] = self.other.number.as_str().into();
        let sent = self.instance.wa_post(path, &body).await.expect(200);
        self.other.receives(sent["id"].as_str().expect("an id")).await
    }
}
