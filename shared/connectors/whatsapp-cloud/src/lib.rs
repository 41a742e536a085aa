//! WhatsApp accounts on the official Cloud API (transport `cloud`), which Meta hosts: requests go out over HTTPS, and what happens
//! comes in as callbacks.
//!
//! A line is no socket. It is open once the Graph API has told the account's number and name, and then costs nothing; it goes down
//! when a request shows that the credentials are no longer taken. Callbacks do not need it: they come through
//! `functions/inbound`, which checks and queues them, and are read here ([`callback`]) by the instance's owner.
//!
//! The platform names messages. Each carries our own id as `biz_opaque_callback_data`, which its statuses bring back, so that even
//! an attempt whose answer was lost is known in the end.
//!
//! | file | what |
//! |---|---|
//! | [`graph`] | requests and answers of the Graph API |
//! | [`failure`] | what its errors mean |
//! | [`line`] | the line: opening, sending, asking |
//! | [`message`] | our messages in the platform's form |
//! | [`media`] | uploads and downloads |
//! | [`pace`] | rate limits |
//! | [`callback`], [`incoming`] | what callbacks say |

mod callback;
mod failure;
mod graph;
mod incoming;
mod line;
mod media;
mod message;
mod pace;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use shared::{
    Result,
    address::Platform,
    app::AppState,
    capability::{Capability, Transport, capability},
    connector::{Account, Connector, Emit, Line, SessionStore},
};

use crate::{
    callback::{Pairs, Reader},
    graph::Graph,
    line::CloudLine,
};

/// Opens lines of accounts of the Cloud API, and reads their callbacks.
pub struct CloudConnector {
    app: AppState,
    capability: Capability,
    client: reqwest::Client,
    pairs: Pairs,
}

impl CloudConnector {
    /// Media goes to and comes from the app's storage; the address of the API is its configuration's.
    ///
    /// Errors: there are no certificates to trust; a broken capability table.
    pub fn new(app: AppState) -> Result<Self> {
        let capability = capability(Platform::Whatsapp, Transport::Cloud)?;
        Ok(Self { app, capability, client: graph::client(None)?, pairs: Pairs::default() })
    }

    fn graph(&self, account: &Account) -> Result<Graph> {
        Graph::of(&self.app, account, &self.client)
    }
}

#[async_trait]
impl Connector for CloudConnector {
    fn capability(&self) -> Capability {
        self.capability.clone()
    }

    /// The platform keeps the session: nothing is to be stored.
    async fn open(&self, account: Account, _: Arc<dyn SessionStore>, emit: Arc<dyn Emit>) -> Result<Arc<dyn Line>> {
        let graph = self.graph(&account)?;
        Ok(Arc::new(CloudLine::open(Arc::clone(&self.app), account, graph, emit)))
    }

    async fn callback(&self, account: Account, emit: Arc<dyn Emit>, parts: &[Value]) -> Result<()> {
        // Only media are asked for; what else a callback holds is all there.
        let graph = || self.graph(&account);
        let reader = Reader { app: &self.app, account: &account, graph: &graph, emit: &*emit, pairs: &self.pairs };
        reader.read(parts).await
    }
}
