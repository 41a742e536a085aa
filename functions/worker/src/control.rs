//! Commands that change the line or the instance as a whole.

use std::{future::Future, sync::Arc, time::Duration};

use serde_json::json;
use shared::{
    Error, Result,
    connector::{Action, Closed, Command, SessionStore as _},
    domain::{
        instance::{self, Status},
        job, owner,
    },
    id::{InstanceId, JobId},
    store::Receipt,
};
use tokio::sync::mpsc;

use crate::{
    Context,
    commands::Control,
    in_hand::EXTEND_EVERY,
    moving::is_moving,
    parking,
    port::Port,
    supervisor::{Mail, Supervisor},
};

/// How long a task whose instance does not exist waits for more commands of it.
const NOBODY: Duration = Duration::from_secs(1);
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Does it, acknowledges it; or gives it back if it could not be done.
    pub(crate) async fn control(&mut self, receipt: Receipt, control: Control) {
        let port = Arc::clone(&self.port);
        let result = extending(&port, self.act(control)).await;
        match result {
            Ok(()) => port.acknowledge(&receipt).await,
            Err(error) => {
                tracing::warn!(instance = %port.owner.id(), %error, "a command is tried again");
                port.release(&receipt, AGAIN_AFTER).await;
            }
        }
    }

    async fn act(&mut self, control: Control) -> Result<()> {
        let known = self.port.owner.instance();
        let Some(instance) = self.port.owner.reload().await? else {
            self.drop_line().await;
            self.gone = true;
            return match control {
                Control::Delete(job) => deleted(&self.port.context, self.port.owner.id(), &job).await,
                Control::ExportSession(job) | Control::ImportSession { job, .. } => {
                    job::finish(self.port.app(), &job, Err(instance::unknown())).await
                }
                Control::Start | Control::Reconfigure | Control::Reconnect | Control::Logout => Ok(()),
            };
        };
        match control {
            // Somebody else holds the line of a reported one.
            Control::Start | Control::Reconnect if instance.is_reported() => Ok(()),
            Control::Start if instance.deleting || is_moving(&instance) => Ok(()),
            Control::Start => {
                self.wanted = true;
                if self.open.is_none() {
                    self.port.check(self.port.owner.connecting().await)?;
                    self.open_line().await;
                }
                Ok(())
            }
            Control::Reconfigure => {
                let same = known.credentials == instance.credentials && known.proxy == instance.proxy;
                // Others may be what a line waits for that was refused, or could not be opened.
                let mends = matches!(known.status, Status::AuthExpired | Status::Error) && !instance.deleting;
                if !same && (self.open.is_some() || mends) {
                    self.break_line().await?;
                    self.wanted = true;
                    self.backoff.reset();
                    self.port.check(self.port.owner.connecting().await)?;
                    self.open_line().await;
                }
                Ok(())
            }
            Control::Reconnect if instance.deleting => Ok(()),
            Control::Reconnect => {
                self.break_line().await?;
                if !self.port.owner.instance().paired {
                    // Pairing starts anew: nothing of an earlier link may get in its way.
                    self.port.owner.session().clear().await?;
                }
                self.wanted = true;
                self.backoff.reset();
                self.port.check(self.port.owner.connecting().await)?;
                self.open_line().await;
                Ok(())
            }
            Control::Logout => {
                self.log_out().await;
                self.port.check(self.port.owner.logged_out().await)?;
                parking::fail_all(&self.port).await;
                Ok(())
            }
            Control::ExportSession(job) => self.export_session(&instance, &job).await,
            Control::ImportSession { job, parcel } => self.import_session(&instance, &job, &parcel).await,
            Control::Delete(job) => {
                self.log_out().await;
                self.gone = true;
                let erased = deleted(&self.port.context, self.port.owner.id(), &job).await;
                self.gone = erased.is_ok();
                erased
            }
        }
    }

    /// Drops the line and tells so, if it was up.
    async fn break_line(&mut self) -> Result<()> {
        let was_up = self.port.line_up().is_some();
        self.drop_line().await;
        if was_up {
            self.port.check(self.port.owner.closed(Closed::Restart, true).await)?;
        }
        Ok(())
    }

    /// The platform is told if there is a line to tell it on; forgetting does not depend on that.
    async fn log_out(&mut self) {
        self.wanted = false;
        self.timers.reopen = None;
        self.timers.hold = None;
        self.port.set_line(None, false);
        if let Some(open) = self.open.take()
            && let Err(error) = open.log_out(self.port.context.settings.ask).await
        {
            tracing::warn!(instance = %self.port.owner.id(), %error, "the platform was not told of a logout");
        }
    }
}

async fn deleted(context: &Context, id: &InstanceId, job: &JobId) -> Result<()> {
    owner::erase(&context.app, id).await?;
    job::finish(&context.app, job, Ok(json!({ "deleted": true }))).await?;
    tracing::info!(instance = %id, "an instance was deleted");
    Ok(())
}

/// Lets something long happen without losing the commands in hand.
async fn extending<T>(port: &Port, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(EXTEND_EVERY) => port.in_hand.extend(port.app()).await,
        }
    }
}

/// Commands for an instance that is not there: deleted, or never was.
pub(crate) async fn answer_for_nobody(context: &Context, id: &InstanceId, mut mail: mpsc::Receiver<Mail>) {
    while let Some(mail) = last_mail(&mut mail).await {
        answer(context, id, mail).await;
    }
}

/// Commands for an instance that somebody else owns, or will own: they are theirs to do.
pub(crate) async fn give_back(context: &Context, id: &InstanceId, mut mail: mpsc::Receiver<Mail>) {
    while let Some(mail) = last_mail(&mut mail).await {
        let Mail::Commands(received) = mail else { continue };
        for message in received {
            if let Err(error) = context.app.queues.release(&message.receipt, AGAIN_AFTER).await {
                tracing::debug!(instance = %id, %error, "a command was not given back");
            }
        }
    }
}

/// The next mail for a task that ends soon. What comes in at the last moment is not left to time out.
async fn last_mail(mail: &mut mpsc::Receiver<Mail>) -> Option<Mail> {
    if let Ok(next) = tokio::time::timeout(NOBODY, mail.recv()).await {
        return next;
    }
    mail.close();
    mail.recv().await
}

async fn answer(context: &Context, id: &InstanceId, mail: Mail) {
    let Mail::Commands(received) = mail else { return };
    for message in received {
        let answered = match message.decode::<Command>().map(|command| command.action) {
            Ok(Action::Ask { job, .. } | Action::ExportSession { job } | Action::ImportSession { job, .. }) => {
                job::finish(&context.app, &job, Err(instance::unknown())).await
            }
            Ok(Action::Delete { job }) => deleted(context, id, &job).await,
            Ok(_) => Ok(()),
            Err(error) => Err(Error::internal(error)),
        };
        let settled = match answered {
            Ok(()) => context.app.queues.delete(&message.receipt).await,
            Err(error) => {
                tracing::warn!(instance = %id, %error, "a command for an unknown instance is tried again");
                context.app.queues.release(&message.receipt, AGAIN_AFTER).await
            }
        };
        if let Err(error) = settled {
            tracing::debug!(instance = %id, %error, "a command was not settled");
        }
    }
}
