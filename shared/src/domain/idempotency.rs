//! `Idempotency-Key`: the first answer to a request, kept for whoever asks again (spec/http.md, "Everywhere").
//!
//! A claim is taken before the work and holds the id that the work allocates, so that a retry after a crash or an unknown
//! outcome creates the same message and not a second one. What was answered after acceptance is kept for a day; what was
//! rejected leaves no trace.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    clock::Millis,
    config::StoreKind,
    crypto,
    error::{Error, Kind, Result},
    id::UserId,
    store::{Change, CommitError, Cond, Item, Key, Unit, Write, keys},
};

/// How long answers are kept.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long a claim keeps others out: longer than any request takes.
const LEASE: Duration = Duration::from_secs(30);
/// Bytes of an answer's body at the most; a larger one is not kept (a repeat then runs again, under the same id).
const MAX_BODY: usize = 128 * 1024;

/// The first answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub status: u16,
    /// Those that belong to the answer: its type, and extras of ours.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// How a request with a key begins.
#[derive(Debug)]
pub enum Begin {
    /// Do the work, then [`Claim::end`].
    Run(Claim),
    /// It was done.
    Replay(Answer),
}

/// The right to do the work of a key.
#[derive(Debug)]
pub struct Claim {
    key: Key,
    /// Tells this claim from others of the same key.
    token: String,
    context: String,
    /// The id to give to what is created: the same in every attempt.
    pub allocated: String,
    /// Whether an earlier attempt may have got somewhere.
    retried: bool,
}

/// How the work ended.
#[derive(Debug)]
pub enum End {
    /// Accepted: this is the answer from now on.
    Answered(Answer),
    /// Refused before anything was accepted.
    Rejected,
    /// Failed, perhaps half-way: the next attempt goes on under the same id.
    Unknown,
}

/// The claim's row, `keys::idempotency`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    v: u32,
    body_hash: String,
    allocated: String,
    token: String,
    /// The run of the program that does the work.
    #[serde(default)]
    run: String,
    /// Others stay out until then.
    lease: Millis,
    until: Millis,
    /// Sealed: answers can hold keys and contents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

/// 1–255 printable ASCII characters.
pub fn check_key(key: &str) -> Result<()> {
    if (1..=255).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        Ok(())
    } else {
        Err(Error::invalid("Idempotency-Key", "Idempotency-Key must have 1 to 255 printable ASCII characters"))
    }
}

/// Claims the key for a request of `user` (`-` for nobody) to `route` with a body of this hash.
///
/// Errors: `Unprocessable` if the key was used with another body, `Conflict` while the first request is running.
pub async fn begin(app: &App, user: &UserId, route: &str, key: &str, body_hash: &str) -> Result<Begin> {
    check_key(key)?;
    let hash = app.keyring.index2("idempotency", route, key);
    let key = keys::idempotency(user, &hash);
    // Keyed: a plain hash of a small body could be guessed.
    let body_hash = app.keyring.index("idempotency-body", body_hash);
    let now = app.clock.now();
    let context = format!("{user}/{hash}/idempotency");
    let row = Row {
        v: 1,
        body_hash,
        allocated: app.ids.ulid(),
        token: app.ids.ulid(),
        run: app.run.clone(),
        lease: now.plus(LEASE),
        until: now.plus(LIFE),
        answer: None,
    };
    let fresh = Write::put(Item::new(key.clone(), &row)?.expires(row.until))
        .only_if(Cond::Any(vec![Cond::Absent, Cond::Le("until".into(), now.0)]));
    let Row { body_hash, allocated, token, .. } = row;
    let old: Row = match app.store.commit(Unit::write(fresh)).await {
        Ok(_) => return Ok(Begin::Run(Claim { key, token, context, allocated, retried: false })),
        Err(CommitError::Conflict { old: Some(old), .. }) => (*old).into()?,
        Err(error) => return Err(error.into()),
    };
    if old.token == token {
        // Our own write, reported as a conflict by a retry below us.
        return Ok(Begin::Run(Claim { key, token, context, allocated, retried: false }));
    }
    if old.body_hash != body_hash {
        return Err(Error::new(
            Kind::Unprocessable,
            "IDEMPOTENCY_KEY_REUSED",
            "This Idempotency-Key was used with another request body",
        ));
    }
    if let Some(answer) = &old.answer {
        return Ok(Begin::Replay(serde_json::from_slice(&app.keyring.open(&context, answer)?)?));
    }
    // On SQLite there is one process at a time: who began in an earlier run is dead, and need not be waited for.
    let alive = app.config.store != StoreKind::Sqlite || old.run == app.run;
    if old.lease > now && alive {
        return Err(in_use(now.until(old.lease)));
    }
    let change =
        Change::default().set("token", token.as_str()).set("run", app.run.as_str()).set("lease", now.plus(LEASE).0);
    let unclaimed = Cond::All(vec![Cond::eq("token", old.token), Cond::lacks("answer")]);
    match app.store.commit(Unit::write(Write::update(key.clone(), change).only_if(unclaimed))).await {
        Ok(_) => Ok(Begin::Run(Claim { key, token, context, allocated: old.allocated, retried: true })),
        Err(CommitError::Conflict { .. }) => Err(in_use(Duration::from_secs(1))),
        Err(error) => Err(error.into()),
    }
}

fn in_use(wait: Duration) -> Error {
    Error::conflict("IDEMPOTENCY_KEY_IN_USE", "The first request with this Idempotency-Key is still running")
        .after(wait)
}

impl Claim {
    /// Records how the work ended. A claim that was taken over in the meantime (this attempt outlived its lease) is left alone.
    pub async fn end(self, app: &App, end: End) -> Result<()> {
        let write = match end {
            End::Answered(answer) if answer.body.len() <= MAX_BODY => {
                let sealed = app.keyring.seal(&self.context, serde_json::to_vec(&answer)?)?;
                Write::update(self.key, Change::default().set("answer", sealed))
            }
            // An earlier attempt may have created something under the allocated id: keep that.
            End::Rejected if !self.retried => Write::delete(self.key),
            End::Answered(_) | End::Rejected | End::Unknown => {
                Write::update(self.key, Change::default().set("lease", 0))
            }
        };
        match app.store.commit(Unit::write(write.only_if(Cond::eq("token", self.token)))).await {
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The hash of a body, as [`begin`] wants it.
pub fn body_hash(body: &[u8]) -> String {
    crypto::sha256_hex(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_printable_and_bounded() {
        assert!(check_key("a").is_ok() && check_key(&"x".repeat(255)).is_ok() && check_key("order 7/2").is_ok());
        for bad in ["", &"x".repeat(256), "a\nb", "ключ"] {
            assert!(check_key(bad).is_err(), "{bad}");
        }
    }
}
