//! Which connector holds an account.

use std::{collections::HashMap, sync::Arc};

use connector_im::ImConnector;
use connector_sandbox::SandboxConnector;
use connector_whatsapp_cloud::CloudConnector;
use shared::{
    Result,
    address::Platform,
    app::AppState,
    capability::Transport,
    connector::Connector,
    domain::instance::{Instance, Mode},
};

/// Connectors by platform and transport, and the sandbox for instances of every platform.
pub struct Connectors {
    live: HashMap<(Platform, Transport), Arc<dyn Connector>>,
    sandbox: Arc<dyn Connector>,
}

impl Connectors {
    pub fn new(sandbox: Arc<dyn Connector>) -> Self {
        Self { live: HashMap::new(), sandbox }
    }

    /// Adds a connector under what its capability record says that it is.
    #[must_use]
    pub fn with(mut self, connector: Arc<dyn Connector>) -> Self {
        let capability = connector.capability();
        self.live.insert((capability.platform, capability.transport), connector);
        self
    }

    pub(crate) fn of(&self, instance: &Instance) -> Option<Arc<dyn Connector>> {
        match instance.mode {
            Mode::Sandbox => Some(Arc::clone(&self.sandbox)),
            Mode::Live => self.live.get(&(instance.platform, instance.transport)).cloned(),
        }
    }
}

/// All connectors that a worker links.
pub fn connectors(app: &AppState) -> Result<Connectors> {
    let sandbox = SandboxConnector::new(Arc::clone(&app.store), Arc::clone(&app.clock))?;
    let all = Connectors::new(Arc::new(sandbox))
        .with(Arc::new(ImConnector::new(Arc::clone(app))?))
        .with(Arc::new(CloudConnector::new(Arc::clone(app))?));
    #[cfg(feature = "whatsapp-web")]
    let all = all.with(Arc::new(connector_whatsapp::WhatsappConnector::new(
        app.config.whatsapp.clone(),
        app.guard.clone(),
        app.media.clone(),
    )?));
    Ok(all)
}
