//! A simulated phone network, for instances with `mode: "sandbox"` of any platform: pairing, sending, receipts, groups, and a
//! phone that can be played through [`shared::connector::Play`]. Everybody can try everything, and test a bot of their own,
//! without an account.
//!
//! It behaves the same for every platform, except for what the platform's capability record and its addresses say: which
//! receipts there are, who names messages, how a number is written.
//!
//! # The phone network and the linked device
//!
//! The network has rows of its own (`keys::sandbox`): the phone with its linked device, what was sent ([`outbox`]), what is
//! still to happen (receipts, echoes), groups. The connector's own memory is, as for every connector, its
//! `SessionStore`: there lies the secret of the linked device. A session without a device shows QR codes; one whose device the
//! phone has removed is logged out.
//!
//! # Magic numbers
//!
//! Any number can be written to: its messages are delivered after 100 ms and read 300 ms later, where the platform has such
//! receipts. These behave in another way; more digits may follow each of them:
//!
//! | number begins with | what happens |
//! |---|---|
//! | `9990001` | the send fails: `number does not exist`; a check says so, too |
//! | `9990002` | sent, but never delivered |
//! | `9990003` | slow: a send takes 2 s |
//! | `9990004` | rate-limited: the first attempt of each message is put off by 1 s |
//! | `9990005` | answers with an echo of the message |
//! | `9990006` | delivered, but never read |
//!
//! What must not live here: anything that the rest of the system would need to know about sandboxes.

mod groups;
mod later;
mod line;
mod magic;
mod naming;
mod network;
mod pairing;
mod people;

use std::sync::Arc;

use async_trait::async_trait;
use shared::{
    Result,
    address::Platform,
    capability::{Capability, Transport, capability},
    clock::Clock,
    connector::{Account, Connector, Emit, Line, SessionStore},
    store::DynStore,
};

pub use network::outbox;

use crate::{line::SandboxLine, network::Network};

/// Opens lines into the simulated network, for instances of every platform.
pub struct SandboxConnector {
    store: DynStore,
    clock: Arc<dyn Clock>,
    capability: Capability,
}

impl SandboxConnector {
    /// `store` holds the rows of the simulated network.
    ///
    /// Errors: none but a broken capability table.
    pub fn new(store: DynStore, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self { store, clock, capability: capability(Platform::Whatsapp, Transport::Web)? })
    }
}

#[async_trait]
impl Connector for SandboxConnector {
    /// The record that the network has by default; each line has that of its account's platform.
    fn capability(&self) -> Capability {
        self.capability.clone()
    }

    async fn open(
        &self,
        account: Account,
        session: Arc<dyn SessionStore>,
        emit: Arc<dyn Emit>,
    ) -> Result<Arc<dyn Line>> {
        let capability = capability(account.platform, account.transport)?;
        let network = Network::new(Arc::clone(&self.store), Arc::clone(&self.clock), account.instance, capability);
        let line = SandboxLine::open(network, session, emit).await?;
        Ok(Arc::new(line))
    }
}
