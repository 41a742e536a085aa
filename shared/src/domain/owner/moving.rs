//! The owner's part of moving a session (`domain::moving`): the instance's status while it moves, and all rows at once.

use serde_json::json;

use super::{
    Owner,
    line::{closed_entry, set_status, status},
};
use crate::{
    clock::Millis,
    connector::{Closed, SessionChange, SessionStore as _},
    domain::{
        activity::{self, Action},
        instance::Status,
        moving::{self, Row, Session},
    },
    error::Result,
    id::JobId,
    store::CommitError,
};

/// `reason` of an instance whose session was exported: it may run elsewhere.
pub const SESSION_EXPORTED: &str = "session_exported";
/// `reason` of an instance into which a session is being written.
pub const SESSION_IMPORT: &str = "session_import";

/// Changes in one write (`SessionStore::write`), and the bytes at which it is full: a transaction of DynamoDB has 4 MB, sealed.
const BATCH: usize = 50;
const BATCH_BYTES: usize = 1 << 20;

impl Owner {
    /// The session leaves: the instance stays down, also over restarts, until a person reconnects it.
    pub async fn exported(&self) -> Result<(), CommitError> {
        let now = self.app.clock.now();
        let change = status(now, Status::Disconnected, Some(SESSION_EXPORTED)).remove("qr");
        let (mut more, mut entry) = (Vec::new(), None);
        // Told once: the same session may be asked for again.
        if self.instance().reason.as_deref() != Some(SESSION_EXPORTED) {
            let mut closed = closed_entry(format!("line/{}", self.app.ids.ulid()), now, Closed::Replaced, false);
            closed.data["detail"] = SESSION_EXPORTED.into();
            more.push(activity::note(&self.app, &self.id, Action::ConnectionClosed, closed.data.clone())?);
            entry = Some(closed);
        }
        self.turn(change, more, entry, Some((Action::SessionExported, json!({})))).await?;
        self.edit(|instance| {
            set_status(instance, now, Status::Disconnected, Some(SESSION_EXPORTED));
            instance.qr = None;
        });
        Ok(())
    }

    /// A session is going to be written: until it is whole, nothing connects with it.
    pub async fn importing(&self) -> Result<(), CommitError> {
        let now = self.app.clock.now();
        let change = status(now, Status::Disconnected, Some(SESSION_IMPORT)).remove("qr");
        self.turn(change, Vec::new(), None, None).await?;
        self.edit(|instance| {
            set_status(instance, now, Status::Disconnected, Some(SESSION_IMPORT));
            instance.qr = None;
        });
        Ok(())
    }

    /// The session is whole: from now on the instance is a paired one.
    pub async fn imported(&self, job: &JobId) -> Result<(), CommitError> {
        let now = self.app.clock.now();
        let change = status(now, Status::Connecting, None)
            .set("paired", true)
            .set("importedBy", job.as_str())
            .remove("restriction");
        self.turn(change, Vec::new(), None, Some((Action::SessionImported, json!({})))).await?;
        self.edit(|instance| {
            set_status(instance, now, Status::Connecting, None);
            instance.paired = true;
            instance.imported_by = Some(job.clone());
            instance.restriction = None;
        });
        Ok(())
    }

    /// About how many bytes the session's file would have, and rather more: it may grow until the line is closed.
    pub async fn session_bytes(&self) -> Result<usize> {
        Ok(moving::bytes_of(&self.rows_alive().await?))
    }

    /// The whole session. The line must be closed.
    pub async fn read_session(&self) -> Result<Session> {
        let instance = self.instance();
        let rows = self.rows_alive().await?;
        Ok(Session {
            platform: instance.platform,
            transport: instance.transport,
            mode: instance.mode,
            address: instance.address.clone(),
            exported_at: self.app.clock.now(),
            rows,
        })
    }

    async fn rows_alive(&self) -> Result<Vec<Row>> {
        let now = self.app.clock.now();
        let mut rows = self.session().rows().await?;
        rows.retain(|row| row.until.is_none_or(|until| until > now));
        Ok(rows)
    }

    /// Puts this session in place of what there is. Not at once: what is there until it has returned is no session.
    pub async fn write_session(&self, rows: Vec<Row>) -> Result<()> {
        let session = self.session();
        session.clear().await?;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for Row { key, value, until } in rows {
            if batch.len() == BATCH || (!batch.is_empty() && bytes + value.len() > BATCH_BYTES) {
                session.write(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += value.len();
            batch.push(SessionChange { key, value: Some(value), until: until.map(not_later_each_time) });
        }
        session.write(batch).await
    }
}

/// A row's end is kept in seconds, with one more (`Item::expires`): without this it would grow by one with each move.
fn not_later_each_time(until: Millis) -> Millis {
    Millis(until.0 - 1000)
}
