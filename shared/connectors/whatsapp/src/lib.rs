//! WhatsApp as a linked device (transport `web`), on `whatsapp-rust`.
//!
//! * `line`: one account, one client, one login; `events` and `hook` tell what happens, `outgoing` sends, `asks` and `groups` ask.
//! * `history`: messages from before the link; `happenings`: calls, groups, presence.
//! * `account`: what outlives a line: its pace (`pacing`), whom it watches (`watched`), a time-lock (`timelock`).
//! * `store`: session state through the crate's storage traits.
//! * `net`: sockets, proxies, HTTP.
//!
//! Messages that come in are acknowledged to WhatsApp when they are durable here (`hook`). Ids of messages are chosen by the caller.
//!
//! What must not live here: anything about other platforms; stores beyond `SessionStore`.

mod account;
mod acks;
mod asks;
mod events;
mod groups;
mod happenings;
mod history;
mod hook;
mod incoming;
mod line;
mod net;
mod outgoing;
mod pacing;
mod people;
mod recent;
mod store;
mod timelock;
mod told;
mod watched;

use std::sync::Arc;

use async_trait::async_trait;
use shared::{
    Error, Result,
    address::Platform,
    capability::{Capability, Transport, capability},
    config::Whatsapp,
    connector::{Account, Connector, Emit, Line, SessionStore},
    guard::Guard,
    media::Media,
};

use crate::line::{Common, WhatsappLine};

/// Opens lines to WhatsApp.
pub struct WhatsappConnector {
    common: Common,
    capability: Capability,
}

impl WhatsappConnector {
    /// `guard` is asked for the hosts of proxies, `media` keeps what comes in and gives what goes out.
    ///
    /// Errors: the system has no certificates to trust.
    pub fn new(settings: Whatsapp, guard: Guard, media: Media) -> Result<Self> {
        silence();
        let tls = net::tls().map_err(Error::internal)?;
        Ok(Self {
            common: Common::new(settings, guard, media, tls),
            capability: capability(Platform::Whatsapp, Transport::Web)?,
        })
    }
}

/// The crate writes addresses, codes, numbers and key material into its log, on every level and under many targets; ours carries ids
/// only. It is the only one here that uses the facade `log`, which is therefore off, unless somebody asks for the crate by name.
fn silence() {
    let asked =
        std::env::var("RUST_LOG").is_ok_and(|filter| filter.contains("whatsapp_rust") || filter.contains("wacore"));
    if !asked {
        log::set_max_level(log::LevelFilter::Off);
    }
}

#[async_trait]
impl Connector for WhatsappConnector {
    fn capability(&self) -> Capability {
        self.capability.clone()
    }

    async fn open(
        &self,
        account: Account,
        session: Arc<dyn SessionStore>,
        emit: Arc<dyn Emit>,
    ) -> Result<Arc<dyn Line>> {
        Ok(Arc::new(WhatsappLine::open(&self.common, &account, session, emit).await?))
    }
}
