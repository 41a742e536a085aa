//! The worker's part of moving a session (`shared::domain::moving`): the line is closed before anything is read or written.

use serde_json::{Value, json};
use shared::{
    Result,
    connector::SessionStore as _,
    domain::{
        instance::{self, Instance},
        job::{self, Status},
        moving::{self, Session},
        owner::{SESSION_EXPORTED, SESSION_IMPORT},
    },
    id::JobId,
};

use crate::supervisor::Supervisor;

impl Supervisor {
    /// Stops the instance, and puts its session into a parcel. May be repeated.
    ///
    /// Errors: to be tried again.
    pub(crate) async fn export_session(&mut self, instance: &Instance, job: &JobId) -> Result<()> {
        let app = self.port.app().clone();
        if let Some(end) = end_of(&app, job).await? {
            // A command before this one may have come again, too, and opened the line: whoever has the file counts on its being closed.
            if end == Status::Done && instance.paired && !is_moving(instance) {
                self.rest().await;
                self.port.check(self.port.owner.exported().await)?;
            }
            return Ok(());
        }
        if instance.deleting {
            return job::finish(&app, job, Err(instance::unknown())).await;
        }
        if !instance.paired {
            return job::finish(&app, job, Err(moving::not_paired())).await;
        }
        // While the line is up: a session that nobody could be given stays where it is.
        let (bytes, most) = (self.port.owner.session_bytes().await?, moving::max_file(&app.config));
        if bytes > most {
            return job::finish(&app, job, Err(moving::too_large(most))).await;
        }
        self.rest().await;
        self.port.check(self.port.owner.exported().await)?;
        let session = self.port.owner.read_session().await?;
        let parcel = moving::make_parcel(&app, instance, &session).await?;
        tracing::info!(instance = %instance.id, rows = session.rows.len(), "a session was exported");
        job::finish(&app, job, Ok(moving::exported(&parcel))).await
    }

    /// Takes the session of a parcel over, and connects with it. May be repeated.
    ///
    /// Errors: to be tried again.
    pub(crate) async fn import_session(&mut self, instance: &Instance, job: &JobId, parcel: &str) -> Result<()> {
        let app = self.port.app().clone();
        if end_of(&app, job).await?.is_some() {
            return Ok(());
        }
        let outcome = if instance.deleting {
            Err(instance::unknown())
        } else if instance.imported_by.as_ref() == Some(job) && instance.paired {
            // Before a crash, whose start has opened the line; or before an error that hid that it was written.
            if self.open.is_none() && !is_moving(instance) {
                self.connect().await;
            }
            Ok(done(instance))
        } else if instance.paired {
            Err(moving::already_paired())
        } else {
            match moving::open_parcel(&app, instance, parcel).await {
                Ok(session) => self.take_session(instance, job, session).await?,
                Err(error) if error.is_temporary() => return Err(error),
                Err(error) => Err(error),
            }
        };
        job::finish(&app, job, outcome).await?;
        moving::drop_parcel(&app, instance, parcel).await;
        Ok(())
    }

    /// Errors outside: to be tried again; inside: for good, and nothing of the session is left.
    async fn take_session(&mut self, instance: &Instance, job: &JobId, session: Session) -> Result<Result<Value>> {
        self.rest().await;
        self.port.check(self.port.owner.importing().await)?;
        let rows = session.rows.len();
        if let Err(error) = self.port.owner.write_session(session.rows).await {
            if error.is_temporary() || error.code == "FENCED" {
                return Err(error);
            }
            self.port.owner.session().clear().await?;
            return Ok(Err(error));
        }
        self.port.check(self.port.owner.imported(job).await)?;
        tracing::info!(instance = %instance.id, rows, "a session was imported");
        self.connect().await;
        Ok(Ok(done(instance)))
    }

    async fn connect(&mut self) {
        self.wanted = true;
        self.backoff.reset();
        self.open_line().await;
    }

    /// Closes the line, and opens no other.
    async fn rest(&mut self) {
        self.wanted = false;
        self.timers.reopen = None;
        self.timers.hold = None;
        self.drop_line().await;
    }
}

/// Whether its session is on its way, out or in: only a `Reconnect`, or the end of an import, opens a line then.
pub(crate) fn is_moving(instance: &Instance) -> bool {
    matches!(instance.reason.as_deref(), Some(SESSION_EXPORTED | SESSION_IMPORT))
}

/// How the job has ended, if it has. For one that is gone nothing is to be done any more, as for one that failed.
async fn end_of(app: &shared::app::App, job: &JobId) -> Result<Option<Status>> {
    let status = job::get(app, job).await?.map_or(Status::Failed, |job| job.status);
    Ok(Some(status).filter(|status| matches!(status, Status::Done | Status::Failed)))
}

fn done(instance: &Instance) -> Value {
    json!({ "success": true, "message": format!("Instance {} has the session, and connects", instance.id) })
}
