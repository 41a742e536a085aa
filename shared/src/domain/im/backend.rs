//! What channels lie in: the embedded IM, or (its place is here) a WuKongIM server.

use async_trait::async_trait;

use super::{Channel, ChannelKey, Group, Message, NewMessage, Posted, message, token};
use crate::{app::App, domain::user::User, error::Result, id::UserId, redact::Secret};

/// Addresses that clients connect to (`GET /im/config`); `""` where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    pub ws_url: String,
    pub tcp_addr: String,
    pub api_url: String,
    pub manager_url: String,
}

/// `GET /im/system/info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    pub version: String,
    /// Seconds.
    pub uptime: u64,
    pub connections: u64,
}

/// Keeps channels' messages and numbers them without gaps. Whether a user may is decided before; group rows, members and
/// names are kept by the domain, and told here so that a server of its own can follow.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    fn addresses(&self, app: &App) -> Addresses;

    /// A token that the user's clients connect with.
    async fn token(&self, app: &App, user: &User) -> Result<Secret>;

    /// Makes the message durable; a repeat of (channel, sender, client number) answers what the first did.
    async fn post(&self, app: &App, channel: &Channel, new: NewMessage) -> Result<Posted>;

    /// Up to `limit` messages after number `after`, in order.
    async fn after(&self, app: &App, channel: &ChannelKey, after: u64, limit: usize) -> Result<Vec<Message>>;

    /// The number of the newest message; 0 in an empty channel.
    async fn tail(&self, app: &App, channel: &ChannelKey) -> Result<u64>;

    async fn group_saved(&self, app: &App, group: &Group) -> Result<()>;
    async fn group_deleted(&self, app: &App, group: &Group) -> Result<()>;
    async fn members_added(&self, app: &App, group: &Group, users: &[UserId]) -> Result<()>;
    async fn members_removed(&self, app: &App, group: &Group, users: &[UserId]) -> Result<()>;

    /// Whether it can be reached.
    async fn health(&self, app: &App) -> Result<()>;

    async fn info(&self, app: &App) -> Result<Info>;
}

/// The embedded IM: channels in our own store.
#[derive(Debug, Clone, Copy, Default)]
pub struct Embedded;

#[async_trait]
impl Backend for Embedded {
    fn addresses(&self, app: &App) -> Addresses {
        let url = app.config.public_url();
        Addresses { ws_url: String::new(), tcp_addr: String::new(), api_url: url.clone(), manager_url: url }
    }

    async fn token(&self, app: &App, user: &User) -> Result<Secret> {
        Ok(token::issue(app, user))
    }

    async fn post(&self, app: &App, channel: &Channel, new: NewMessage) -> Result<Posted> {
        message::post(app, &channel.key, new).await
    }

    async fn after(&self, app: &App, channel: &ChannelKey, after: u64, limit: usize) -> Result<Vec<Message>> {
        message::after(app, channel, after, limit).await
    }

    async fn tail(&self, app: &App, channel: &ChannelKey) -> Result<u64> {
        message::tail(app, channel).await
    }

    async fn group_saved(&self, _: &App, _: &Group) -> Result<()> {
        Ok(())
    }

    async fn group_deleted(&self, _: &App, _: &Group) -> Result<()> {
        Ok(())
    }

    async fn members_added(&self, _: &App, _: &Group, _: &[UserId]) -> Result<()> {
        Ok(())
    }

    async fn members_removed(&self, _: &App, _: &Group, _: &[UserId]) -> Result<()> {
        Ok(())
    }

    async fn health(&self, app: &App) -> Result<()> {
        app.store.ready().await
    }

    async fn info(&self, app: &App) -> Result<Info> {
        let uptime = app.clock.monotonic().saturating_sub(app.started).as_secs();
        Ok(Info { version: env!("CARGO_PKG_VERSION").into(), uptime, connections: app.realtime.connections().await? })
    }
}
