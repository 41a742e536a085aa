//! Whose a token is: a JWT, an API key, or a token of `POST /im/token`.

use std::{collections::BTreeSet, net::IpAddr};

use shared::{
    Kind, Result,
    app::App,
    domain::{
        access::{self, Caller, Grant, Presented, Scope, allow_list},
        im::token,
    },
    id::KeyId,
    redact::Secret,
};

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

    /// Who shows it, read strongly; `None` if it is nobody, or may not be used from here.
    ///
    /// Errors: the store does not answer.
    pub(crate) async fn caller(&self, app: &App) -> Result<Option<Caller>> {
        let (Presented::Bearer(text) | Presented::ApiKey(text)) = &self.presented;
        if token::is_token(text.reveal()) {
            return self.im_client(app, text.reveal()).await;
        }
        match access::authenticate(app, &self.presented, self.peer).await {
            Ok(caller) => Ok(Some(caller)),
            Err(error) if matches!(error.kind, Kind::Unauthenticated | Kind::Forbidden) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tokens for IM clients are for messages: they reach no instance, and are nobody's administrator.
    async fn im_client(&self, app: &App, text: &str) -> Result<Option<Caller>> {
        let Some(user) = token::verify(app, text).await? else { return Ok(None) };
        if allow_list::check(&user.allowed_ips, self.peer).is_err() {
            return Ok(None);
        }
        let grant = Grant::Scoped {
            key: KeyId::new("im-token"),
            scopes: Some(BTreeSet::from([Scope::MessagesSend, Scope::MessagesRead])),
            instances: Some(BTreeSet::new()),
        };
        let credential = format!("u:{}", user.id);
        Ok(Some(Caller { user, grant, credential }))
    }
}
