//! A session moves: out of an instance into an encrypted file, and from there into another instance, perhaps of another home.
//!
//! What both ends encrypt with their home's own keys travels in a file that a passphrase opens ([`file`]). The passphrase stays in the
//! function that was asked; between it and the owner of the instance the session lies in a *parcel*: put aside in media storage,
//! sealed with the home's keys, deleted by whoever took it.
//!
//! A ratchet must not run in two places. So an export stops the instance first, durably, and then reads; an import writes into an
//! instance that is stopped, and says that there is a session when the last row is written (`owner/moving.rs`). Each step may be
//! repeated; a crash leaves the instance stopped, and the command in the queue.

mod file;

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    address::Platform,
    app::App,
    capability::Transport,
    clock::Millis,
    config::{Config, StoreKind},
    connector::{Action, Command},
    domain::{
        instance::{Instance, Mode},
        job,
    },
    error::{Error, Kind, Result},
    id::JobId,
    redact::Secret,
    store::Unit,
};

/// Bytes of a file at the most.
const MAX_FILE: usize = 16 * 1024 * 1024;
/// The same on AWS: a function behind API Gateway takes and gives 6 MiB, in base64, with the headers.
const MAX_FILE_AWS: usize = 4_400_000;
/// Bytes that a row has in a file beside its key and its value, and a session beside its rows; and what it may grow by while its
/// line is being closed.
const ROW: usize = 64;
const REST: usize = 64 * 1024;
/// Characters of a passphrase.
const PASSPHRASE: std::ops::RangeInclusive<usize> = 12..=256;

/// The session of one instance, as it travels.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub platform: Platform,
    pub transport: Transport,
    pub mode: Mode,
    /// The account's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    pub exported_at: Millis,
    pub rows: Vec<Row>,
}

/// A key and its value, as the connector's [`crate::connector::SessionStore`] has them.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub key: String,
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub value: Vec<u8>,
    /// From then on the value may disappear by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

fn to_base64<S: Serializer>(value: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(value))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

/// A passphrase that can also be a header: printable ASCII, no space at its ends.
///
/// Errors: 400 that names `field`.
pub fn passphrase(field: &'static str, text: Option<&str>) -> Result<Secret> {
    let text = text.ok_or_else(|| Error::invalid(field, format!("{field} is required")))?;
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.trim() == text;
    if !PASSPHRASE.contains(&text.len()) || !printable {
        let wanted = "must be 12 to 256 printable ASCII characters, without spaces around them";
        return Err(Error::invalid(field, format!("{field} {wanted}")));
    }
    Ok(Secret::new(text))
}

/// Errors: 400 `NOT_SUPPORTED` for an account that has no session to move: one that is connected with credentials, or by others.
pub fn check_supported(instance: &Instance) -> Result<()> {
    let linked = instance.mode == Mode::Sandbox || (instance.capability()?.qr_pairing && !instance.is_reported());
    if linked {
        return Ok(());
    }
    let text = "This account has no session to move: it is connected with credentials";
    Err(Error::invalid("instanceId", text).code("NOT_SUPPORTED"))
}

/// Bytes of a file at the most, in this home.
pub fn max_file(config: &Config) -> usize {
    match config.store {
        StoreKind::Sqlite => MAX_FILE,
        StoreKind::DynamoDb => MAX_FILE_AWS,
    }
}

/// The bytes that these rows have in a file, and some to spare.
pub(crate) fn bytes_of(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.key.len() + row.value.len().div_ceil(3) * 4 + ROW).sum::<usize>() + REST
}

/// What no answer could carry.
pub fn too_large(most: usize) -> Error {
    Error::too_large(format!("The session is larger than the {most} bytes that an answer carries here"))
        .code("SESSION_TOO_LARGE")
}

/// What there is no export of.
pub fn not_paired() -> Error {
    Error::conflict("NOT_PAIRED", "The instance has no session: it was never paired, or was logged out")
}

/// What nothing is imported into.
pub fn already_paired() -> Error {
    Error::conflict("ALREADY_PAIRED", "The instance has a session of its own: log out first")
}

/// Asks the owner for the session, and makes a file of it. `Later`: the owner has not come to it; the request may be repeated.
///
/// Errors: 409 without a session; 413 `SESSION_TOO_LARGE` for one that an answer does not carry: it stays as it is.
pub async fn export(app: &App, instance: &Instance, passphrase: Secret) -> Result<Exported> {
    check_supported(instance)?;
    if !instance.paired {
        return Err(not_paired());
    }
    let answer = ask(app, instance, "export_session", |job| Action::ExportSession { job }).await?;
    let job = match answer {
        job::Answer::Later(job) => return Ok(Exported::Later(job)),
        job::Answer::Done(answer) => answer,
    };
    let parcel = job["parcel"].as_str().ok_or_else(|| Error::internal("an export without a parcel"))?;
    let session = open_parcel(app, instance, parcel).await?;
    let file = off_loop(move || file::write(&session, &passphrase)).await;
    // Whatever became of the file: nobody comes for the parcel again.
    drop_parcel(app, instance, parcel).await;
    let (file, most) = (file?, max_file(&app.config));
    if file.len() > most {
        return Err(too_large(most));
    }
    Ok(Exported::File(file))
}

/// What became of an export.
pub enum Exported {
    File(Vec<u8>),
    Later(JobId),
}

/// Opens a file, and lets the owner connect with what is in it.
///
/// Errors: 400 for a file that does not open; 409 for one of another platform, transport or mode, and for an instance that has a
/// session.
pub async fn import(app: &App, instance: &Instance, content: Bytes, passphrase: Secret) -> Result<job::Answer> {
    check_supported(instance)?;
    if instance.paired {
        return Err(already_paired());
    }
    let session = off_loop(move || file::read(&content, &passphrase)).await?;
    let (here, there) =
        ((instance.platform, instance.transport, instance.mode), (session.platform, session.transport, session.mode));
    if here != there {
        let text = "The file is of another platform, transport or mode than the instance";
        return Err(Error::conflict("OTHER_PLATFORM", text));
    }
    let parcel = make_parcel(app, instance, &session).await?;
    ask(app, instance, "import_session", |job| Action::ImportSession { job, parcel }).await
}

async fn ask(app: &App, instance: &Instance, kind: &str, action: impl FnOnce(JobId) -> Action) -> Result<job::Answer> {
    let (job, row) = job::new(app, kind, &instance.user_id, Some(&instance.id))?;
    let command = Command::new(instance.id.clone(), action(job.id.clone()));
    let enqueue = vec![job::command_message(instance, &command, job.id.as_str())?];
    app.store.commit(Unit { writes: vec![row], enqueue, ..Unit::default() }).await?;
    job::answer(app, job.id, job::WAIT).await
}

/// Files that a process writes or opens at a time: each takes 64 MiB meanwhile.
static FILES: Semaphore = Semaphore::const_new(2);

/// Argon2 would hold up everybody else.
async fn off_loop<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let _turn = FILES.acquire().await.map_err(Error::internal)?;
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}

fn context(instance: &Instance) -> String {
    format!("{}/parcel", instance.id)
}

/// Puts a session aside, sealed; gives the parcel's name.
pub async fn make_parcel(app: &App, instance: &Instance, session: &Session) -> Result<String> {
    let sealed = app.keyring.seal(&context(instance), serde_json::to_vec(session)?)?;
    app.media.put_aside(sealed.into()).await
}

/// The session in a parcel.
///
/// Errors: `SESSION_GONE` if nobody has it any more.
pub async fn open_parcel(app: &App, instance: &Instance, parcel: &str) -> Result<Session> {
    let sealed = app.media.aside(parcel).await.map_err(|error| match error.kind {
        Kind::NotFound => Error::conflict("SESSION_GONE", "The session is not kept any more: repeat the request"),
        _ => error,
    })?;
    let sealed = std::str::from_utf8(&sealed).map_err(Error::internal)?;
    Ok(serde_json::from_slice(&app.keyring.open(&context(instance), sealed)?)?)
}

/// Deletes a parcel. What could not be deleted goes with the temporary objects.
pub async fn drop_parcel(app: &App, instance: &Instance, parcel: &str) {
    if let Err(error) = app.media.drop_aside(parcel).await {
        tracing::warn!(instance = %instance.id, %error, "a session that was put aside was not deleted");
    }
}

/// What the job of an export ends with.
pub fn exported(parcel: &str) -> Value {
    json!({ "parcel": parcel })
}
