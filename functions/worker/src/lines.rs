//! Opening and closing the line of a supervised instance.

use std::{sync::Arc, time::Duration};

use shared::{
    Error, Result,
    connector::{Account, Connector, Line},
    domain::instance::Instance,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::{emitter::Emitter, port::Port, supervisor::Mail};

/// A line and where its updates go.
pub(crate) struct Open {
    pub(crate) line: Arc<dyn Line>,
    pub(crate) emitter: Arc<Emitter>,
    pub(crate) generation: u64,
    /// Since when it is up.
    pub(crate) up_since: Option<Instant>,
}

/// Opens a line. What happens on it comes as mail of that generation.
pub(crate) async fn open(port: &Arc<Port>, mail: mpsc::Sender<Mail>, generation: u64) -> Result<Open> {
    let instance = port.owner.instance();
    let connector: Arc<dyn Connector> = port.context.connectors.of(&instance).ok_or_else(|| {
        Error::invalid("transport", format!("{} is not connected by this deployment", instance.platform))
    })?;
    if !port.lease_is_valid() {
        return Err(Error::unavailable("the lease is over"));
    }
    let account = account(port, &instance)?;
    let emitter = Arc::new(Emitter::new(Arc::clone(port), mail, generation));
    let session = Arc::new(port.owner.session());
    let emit: Arc<dyn shared::connector::Emit> = emitter.clone();
    let line = timeout(port.context.settings.open, connector.open(account, session, emit))
        .await
        .map_err(|_| Error::unavailable("the connector did not open a line in time"))??;
    Ok(Open { line, emitter, generation, up_since: None })
}

pub(crate) fn account(port: &Port, instance: &Instance) -> Result<Account> {
    let open = |what: &str, sealed: &Option<String>| {
        let context = format!("{}/{what}", instance.id);
        sealed.as_ref().map(|sealed| port.app().keyring.open_text(&context, sealed)).transpose()
    };
    Ok(Account {
        instance: instance.id.clone(),
        platform: instance.platform,
        transport: instance.transport,
        credentials: open("credentials", &instance.credentials)?,
        proxy: open("proxy", &instance.proxy)?,
        address: instance.address.clone(),
    })
}

impl Open {
    /// Closes in good order: takes no more updates, then ends the socket.
    pub(crate) async fn close(self, limit: Duration) {
        self.emitter.detach().await;
        if timeout(limit, self.line.close()).await.is_err() {
            tracing::warn!("a line did not close in time, and is dropped");
        }
    }

    /// Unlinks at the platform, and closes.
    pub(crate) async fn log_out(self, limit: Duration) -> Result<()> {
        self.emitter.detach().await;
        let told = timeout(limit, self.line.logout()).await;
        if timeout(limit, self.line.close()).await.is_err() {
            tracing::warn!("a line did not close in time, and is dropped");
        }
        told.unwrap_or_else(|_| Err(Error::unavailable("the platform did not answer to the logout")))
    }
}
