//! Passwords: hashing them a few at a time, the login, its throttle, and invitations to register.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use serde::Deserialize;
use tokio::{sync::Semaphore, task::spawn_blocking, time};

use super::{
    access::allow_list,
    user::{self, NewUser, User},
};
use crate::{
    app::App,
    clock::Millis,
    config::Registration,
    crypto,
    error::{Error, Kind, Result},
    id::UserId,
    redact::Secret,
    store::{Change, CommitError, Cond, Item, Key, Read, Unit, Write, keys},
};

/// argon2 runs at once: each takes 19 MiB and a processor.
const AT_ONCE: usize = 2;
/// How long a request waits for its turn to hash.
const PATIENCE: Duration = Duration::from_secs(10);
/// Verified in place of an account that does not exist, so that both take the same time. Of a random password, with the
/// parameters that [`crypto::hash_password`] uses.
const DUMMY: &str = "$argon2id$v=19$m=19456,t=2,p=1$UoqhYrSugL5dOPSOA459+g$ODBiDbcK0pOxGDfJ4VpTLXMTE5lT7CLGWRR/3G8Mmlk";

/// Hashes and verifies passwords off the event loop, [`AT_ONCE`] at a time.
pub struct Passwords(Semaphore);

impl Default for Passwords {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

impl Passwords {
    pub async fn hash(&self, password: &Secret) -> Result<Secret> {
        let password = password.clone();
        self.run(move || crypto::hash_password(password.reveal())).await?.map(Secret::new)
    }

    /// Whether the password belongs to the hash; `None`, an account that does not exist, takes as long and is never right.
    pub async fn verify(&self, password: &Secret, hash: Option<&Secret>) -> Result<bool> {
        let password = password.clone();
        let exists = hash.is_some();
        let hash = hash.map_or_else(|| DUMMY.to_owned(), |hash| hash.reveal().to_owned());
        let right = self.run(move || crypto::verify_password(password.reveal(), &hash)).await?;
        Ok(right && exists)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let busy = || Error::unavailable("too many passwords to hash").after(Duration::from_secs(2));
        let _turn = time::timeout(PATIENCE, self.0.acquire())
            .await
            .map_err(|_| busy())?
            .map_err(|_| Error::internal("the password semaphore is closed"))?;
        spawn_blocking(work).await.map_err(Error::internal)
    }
}

/// The user with this name (e-mail or username) and password, logging in from `peer`.
///
/// Errors: `Unauthenticated` (`Invalid credentials`) whether the account does not exist, is disabled, or has another password;
/// `RateLimited` after [`FAILURES`] failures within a minute; `Forbidden` outside the user's allow-list.
pub async fn login(app: &App, name: &str, password: &Secret, peer: Option<IpAddr>) -> Result<User> {
    let attempt = Attempt::begin(app, name, peer).await?;
    let outcome = find_with_password(app, name, password).await;
    let user = attempt.settle(app, outcome).await?;
    allow_list::check(&user.allowed_ips, peer)?;
    Ok(user)
}

async fn find_with_password(app: &App, name: &str, password: &Secret) -> Result<Option<User>> {
    let mut user = user::find_by_name(app, name).await?;
    if user.is_none() {
        // A name that exists is followed by a second read; so is one that does not.
        user = user::find(app, &UserId::new("-")).await?;
    }
    let right = app.passwords.verify(password, user.as_ref().map(|user| &user.password_hash)).await?;
    Ok(user.filter(|user| right && !user.disabled))
}

/// Checks the password of a user who is logged in already, as strictly throttled as a login.
pub async fn confirm(app: &App, user: &User, password: &Secret, peer: Option<IpAddr>) -> Result<()> {
    let attempt = Attempt::begin(app, user.id.as_str(), peer).await?;
    let outcome = app.passwords.verify(password, Some(&user.password_hash)).await;
    attempt.settle(app, outcome.map(|right| right.then_some(()))).await
}

fn invalid_credentials() -> Error {
    Error::unauthenticated("Invalid credentials").code("INVALID_CREDENTIALS")
}

/// Failures that an address and account pair may have in [`WINDOW`].
pub const FAILURES: i64 = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// One attempt to log in. It is counted before the password is looked at, so that many attempts at once get no more guesses
/// than one after the other; a right password takes it back.
///
/// `charged` counts attempts under way and failures, `failures` those known to have failed.
struct Attempt {
    key: Key,
    /// End of the window that the attempt was counted in.
    until: Millis,
}

/// The throttle's row, `keys::login_throttle`.
#[derive(Deserialize)]
struct Throttle {
    until: Millis,
    charged: i64,
    failures: i64,
}

impl Attempt {
    async fn begin(app: &App, name: &str, peer: Option<IpAddr>) -> Result<Self> {
        let pair = app.keyring.index2("login", &network_of(peer), &name.trim().to_lowercase());
        let key = keys::login_throttle(&pair);
        let patience = app.clock.monotonic() + PATIENCE;
        loop {
            let row = app.store.get(&key, Read::Strong).await?.map(Item::into::<Throttle>).transpose()?;
            let now = app.clock.now();
            let Some(row) = row.filter(|row| row.until > now) else {
                let until = now.plus(WINDOW);
                let fresh = serde_json::json!({ "until": until, "charged": 1, "failures": 0 });
                let write = Write::put(Item::new(key.clone(), &fresh)?.expires(until))
                    .only_if(Cond::Any(vec![Cond::Absent, Cond::Le("until".into(), now.0)]));
                if done(app, write).await? {
                    return Ok(Self { key, until });
                }
                continue;
            };
            if row.charged < FAILURES {
                let open = Cond::All(vec![Cond::eq("until", row.until.0), Cond::lt("charged", FAILURES)]);
                let write = Write::update(key.clone(), Change::default().add("charged", 1)).only_if(open);
                if done(app, write).await? {
                    return Ok(Self { key, until: row.until });
                }
            } else if row.failures >= FAILURES || app.clock.monotonic() > patience {
                return Err(too_many(now.until(row.until)));
            } else {
                // Others are trying right now: wait for what becomes of them.
                time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Records how the attempt ended. `None` is a wrong name or password; an error, where nothing was found out, and a right
    /// password take the attempt back.
    async fn settle<T>(self, app: &App, outcome: Result<Option<T>>) -> Result<T> {
        let wrong = matches!(outcome, Ok(None));
        let change = Change::default();
        let change = if wrong { change.add("failures", 1) } else { change.add("charged", -1) };
        // In another window there is nothing to count any more.
        let write = Write::update(self.key, change).only_if(Cond::eq("until", self.until.0));
        let recorded = done(app, write).await;
        let found = outcome?.ok_or_else(invalid_credentials)?;
        recorded?;
        Ok(found)
    }
}

/// Does the write; `false` if its condition does not hold.
async fn done(app: &App, write: Write) -> Result<bool> {
    match app.store.commit(Unit::write(write)).await {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn too_many(wait: Duration) -> Error {
    Error::new(Kind::RateLimited, "TOO_MANY_ATTEMPTS", "Too many failed attempts, please try again later").after(wait)
}

/// The address as far as it tells one customer from another: IPv6 users have a /64 to themselves.
fn network_of(peer: Option<IpAddr>) -> String {
    match peer.map(|peer| peer.to_canonical()) {
        None => "-".into(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).to_string(),
    }
}

/// Registers a user by the deployment's rules. `open_mode`: whether the request came in open mode; `invitation`: the code that
/// came with it.
///
/// Errors: `Forbidden` when registration is closed or the invitation is not valid; else as [`user::create`].
pub async fn register(app: &App, open_mode: bool, invitation: Option<&str>, new: NewUser) -> Result<User> {
    let default = if open_mode { Registration::Open } else { Registration::Closed };
    let also = match app.config.registration.unwrap_or(default) {
        Registration::Open => Vec::new(),
        Registration::Closed => {
            return Err(Error::forbidden("Registration is closed").code("REGISTRATION_CLOSED"));
        }
        Registration::Invite => vec![use_invitation(app, invitation.ok_or_else(invitation_required)?)],
    };
    match user::create(app, new, also).await {
        Ok(user) => Ok(user),
        Err(CommitError::Conflict { .. }) => Err(invitation_required()),
        Err(error) => Err(error.into()),
    }
}

fn invitation_required() -> Error {
    Error::forbidden("A valid invitation is required").code("INVITATION_REQUIRED").field("invitation")
}

/// How long an invitation can be used.
const INVITATION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Makes an invitation to register, for one use within a week: (code, its end).
pub async fn invite(app: &App, by: &User) -> Result<(Secret, Millis)> {
    let code = crypto::random_text()?;
    let until = app.clock.now().plus(INVITATION);
    let row = serde_json::json!({ "by": by.id, "until": until });
    let item = Item::new(keys::invite(&crypto::sha256_hex(&code)), &row)?.expires(until);
    app.store.commit(Unit::write(Write::create(item))).await?;
    Ok((Secret::new(code), until))
}

/// The write that uses an invitation up, for the transaction that creates the user. It conflicts when there is no such
/// invitation, or not any more.
fn use_invitation(app: &App, code: &str) -> Write {
    let valid = Cond::Gt("until".into(), app.clock.now().0);
    Write::delete(keys::invite(&crypto::sha256_hex(code))).only_if(valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dummy_is_as_expensive_as_a_real_hash() {
        let parameters = |hash: &str| hash.split('$').take(4).collect::<Vec<_>>().join("$");
        let real = crypto::hash_password("hunter42").expect("hashes");
        assert_eq!(parameters(DUMMY), parameters(&real));
        assert_eq!(DUMMY.len(), real.len());
        assert!(!crypto::verify_password("hunter42", DUMMY));
    }

    #[test]
    fn ipv6_counts_by_network() {
        let network = |text: &str| network_of(text.parse().ok());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }
}
