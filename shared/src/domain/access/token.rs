//! JWTs: HS256 only, signed with the deployment's newest key, bound to the user's token version.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{Caller, Grant};
use crate::{
    app::App,
    domain::{
        rotation,
        user::{self, Role, User},
    },
    error::{Error, Result},
    id::UserId,
    redact::Secret,
};

/// `iss` of every token.
const ISSUER: &str = "trunkline";
/// How long a token is valid.
pub const LIFE: Duration = Duration::from_secs(24 * 3600);

/// What a token says. Times are seconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: UserId,
    email: String,
    role: Role,
    iat: i64,
    exp: i64,
    iss: String,
    jti: String,
    /// Token version of the user at issue.
    tv: u64,
}

/// Issues a token for the user.
pub fn issue(app: &App, user: &User) -> Result<Secret> {
    let (kid, key) = app.keyring.jwt_newest().ok_or_else(|| Error::internal("there is no key to sign tokens with"))?;
    let now = app.clock.now();
    let claims = Claims {
        sub: user.id.clone(),
        email: user.email.clone(),
        role: user.role,
        iat: now.seconds(),
        exp: now.plus(LIFE).seconds(),
        iss: ISSUER.into(),
        jti: app.ids.ulid(),
        tv: user.token_version,
    };
    let header = Header { kid: Some(kid), ..Header::new(Algorithm::HS256) };
    let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&key)).map_err(Error::internal)?;
    Ok(Secret::new(token))
}

/// The caller that a token stands for; `None` if it is not valid, whatever the reason.
pub(super) async fn verify(app: &App, token: &str) -> Result<Option<Caller>> {
    // Another process may sign with a key already that this one has not heard of.
    let stranger = jsonwebtoken::decode_header(token).ok().and_then(|header| header.kid);
    if stranger.is_some_and(|kid| app.keyring.jwt_key(&kid).is_none()) {
        rotation::look(app).await;
    }
    let Some(claims) = read(app, token) else { return Ok(None) };
    let Some(user) = user::find(app, &claims.sub).await? else { return Ok(None) };
    let credential = format!("u:{}", user.id);
    Ok((user.token_version == claims.tv).then_some(Caller { user, grant: Grant::Full, credential }))
}

fn read(app: &App, token: &str) -> Option<Claims> {
    let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
    let key = DecodingKey::from_secret(&app.keyring.jwt_key(&kid)?);
    // The algorithm is ours, whatever the token's header says.
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    // By our clock, which tests can turn, below.
    validation.validate_exp = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).ok()?.claims;
    (app.clock.now().seconds() < claims.exp).then_some(claims)
}
