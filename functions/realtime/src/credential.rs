//! Whose a token is: a JWT, an API key, or a token of `POST /im/token`.

use std::{collections::BTreeSet, net::IpAddr};

use shared::{
    Error, Kind, Result,
    app::App,
    domain::{
        access::{self, Caller, Grant, Presented, Scope, allow_list},
        im::token,
    },
    id::{KeyId, SocketId},
    redact::Secret,
};

/// First characters of sealed credentials.
const BEARER: &str = "b";
const API_KEY: &str = "k";

fn context(socket: &SocketId) -> String {
    format!("socket/{socket}")
}

/// What a connection showed last, to be looked at again.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    presented: Presented,
    peer: Option<IpAddr>,
}

impl Credential {
    pub(crate) fn new(presented: Presented, peer: Option<IpAddr>) -> Self {
        Self { presented, peer }
    }

    /// A token as frames and query strings have it: whatever a bearer token may be.
    pub(crate) fn token(token: Secret, peer: Option<IpAddr>) -> Self {
        Self::new(Presented::Bearer(token), peer)
    }

    /// As it may be kept: sealed for this socket.
    pub(crate) fn seal(&self, app: &App, socket: &SocketId) -> Result<String> {
        let kind = match self.presented {
            Presented::Bearer(_) => BEARER,
            Presented::ApiKey(_) => API_KEY,
        };
        app.keyring.seal(&context(socket), format!("{kind}{}", self.text()))
    }

    /// What [`Credential::seal`] made.
    pub(crate) fn open(app: &App, socket: &SocketId, sealed: &str, peer: Option<IpAddr>) -> Result<Self> {
        let text = app.keyring.open_text(&context(socket), sealed)?;
        let presented = match text.reveal().split_at_checked(1) {
            Some((BEARER, text)) => Presented::Bearer(Secret::new(text)),
            Some((API_KEY, text)) => Presented::ApiKey(Secret::new(text)),
            _ => return Err(Error::internal("a sealed credential is of no kind")),
        };
        Ok(Self { presented, peer })
    }

    /// Who shows it, read strongly; `None` if it is nobody, or may not be used from here.
    ///
    /// Errors: the store does not answer.
    pub(crate) async fn caller(&self, app: &App) -> Result<Option<Caller>> {
        if self.is_of_im_client() {
            return self.im_client(app).await;
        }
        match access::authenticate(app, &self.presented, self.peer).await {
            Ok(caller) => Ok(Some(caller)),
            Err(error) if matches!(error.kind, Kind::Unauthenticated | Kind::Forbidden) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn text(&self) -> &str {
        let (Presented::Bearer(text) | Presented::ApiKey(text)) = &self.presented;
        text.reveal()
    }

    /// Whether it is a token of `POST /im/token`: for messages, not for events.
    pub(crate) fn is_of_im_client(&self) -> bool {
        token::is_token(self.text())
    }

    /// IM clients read and send messages of their account, and are nobody's administrators.
    async fn im_client(&self, app: &App) -> Result<Option<Caller>> {
        let Some(user) = token::verify(app, self.text()).await? else { return Ok(None) };
        if allow_list::check(&user.allowed_ips, self.peer).is_err() {
            return Ok(None);
        }
        let grant = Grant::Scoped {
            key: KeyId::new("im-token"),
            scopes: Some(BTreeSet::from([Scope::MessagesSend, Scope::MessagesRead])),
            instances: None,
        };
        let credential = format!("u:{}", user.id);
        Ok(Some(Caller { user, grant, credential }))
    }
}
