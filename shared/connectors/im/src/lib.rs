//! Instances of platform `im`: a user of this system as an account of the gateway.
//!
//! There is no socket: the IM is our own domain ([`shared::domain::im`]). So a line is open as soon as it is asked for, and a send
//! is a post into the channel under the message's id as client number: a repeat finds the first. What comes in does not come
//! through here: the fan-out of a channel brings it to the instances of its members.
//!
//! The one connector that works on the domain instead of a session, since the domain is its platform.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use shared::{
    Error, Result,
    address::Platform,
    app::AppState,
    capability::{Capability, Transport, capability},
    connector::{Account, Connector, Emit, Line, Outgoing, Request, Sent, SessionStore, Update, unsupported},
    domain::{
        content::Content,
        im::{
            self, NewMessage, Numbers, Type, account,
            content::{Chat, Said},
            people,
        },
        instance,
        user::{self, User},
    },
    error::Kind,
    id::{InstanceId, UserId},
};

/// How soon a send is tried again when our own store did not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// Opens lines of `im` instances.
pub struct ImConnector {
    app: AppState,
    capability: Capability,
}

impl ImConnector {
    /// Errors: none but a broken capability table.
    pub fn new(app: AppState) -> Result<Self> {
        Ok(Self { app, capability: capability(Platform::Im, Transport::Embedded)? })
    }
}

#[async_trait]
impl Connector for ImConnector {
    fn capability(&self) -> Capability {
        self.capability.clone()
    }

    async fn open(&self, account: Account, _: Arc<dyn SessionStore>, emit: Arc<dyn Emit>) -> Result<Arc<dyn Line>> {
        let instance = instance::find(&self.app, &account.instance).await?.ok_or_else(instance::unknown)?;
        let user = user::find(&self.app, &instance.user_id).await?.ok_or_else(people::unknown)?;
        let opened = Update::Opened {
            address: user.id.to_string(),
            aliases: user.username.iter().cloned().collect(),
            name: people::display_name(&user),
        };
        tokio::spawn(async move {
            if let Err(error) = emit.emit(opened).await {
                tracing::warn!(instance = %account.instance, %error, "an im instance is not open yet");
            }
        });
        Ok(Arc::new(ImLine { app: Arc::clone(&self.app), instance: instance.id, user: user.id }))
    }
}

struct ImLine {
    app: AppState,
    instance: InstanceId,
    user: UserId,
}

impl ImLine {
    async fn post(&self, outgoing: &Outgoing) -> Result<im::Posted> {
        let user = self.user().await?;
        let (kind, id) = match outgoing.to.strip_prefix(account::GROUP) {
            Some(group) => (Type::Group, group),
            None => (Type::Person, outgoing.to.as_str()),
        };
        let channel = im::channel(&self.app, &user, kind, id).await?;
        let Content::Text { text } = &outgoing.content else {
            return Err(unsupported(outgoing.content.kind()));
        };
        let chat =
            Chat { said: Said::Text { content: text.clone() }, reply_to: outgoing.quoted.clone().unwrap_or_default() };
        let new = NewMessage {
            from: user.id,
            client_no: Some(outgoing.id.clone()),
            numbers: Numbers::OfChannel,
            payload: chat.payload(),
            via: Some(self.instance.clone()),
        };
        self.app.im.post(&self.app, &channel, new).await
    }

    async fn user(&self) -> Result<User> {
        user::find(&self.app, &self.user).await?.ok_or_else(people::unknown)
    }
}

#[async_trait]
impl Line for ImLine {
    async fn send(&self, outgoing: &Outgoing) -> Sent {
        match self.post(outgoing).await {
            Ok(posted) => Sent::Accepted { id: Some(posted.message_id), at: posted.at },
            Err(error) if error.is_temporary() => Sent::Later { after: AGAIN },
            Err(Error { kind: Kind::Internal, source, .. }) => {
                tracing::error!(instance = %self.instance, ?source, "a message was not posted");
                Sent::Rejected { reason: "internal error".into() }
            }
            Err(error) => Sent::Rejected { reason: error.message.to_string() },
        }
    }

    async fn ask(&self, _: Request) -> Result<Value> {
        Err(unsupported("This"))
    }

    /// Nobody else knows of the line.
    async fn logout(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) {}
}
