//! Reconnect, log out, delete.

use std::time::Duration;

use axum::extract::State;
use serde_json::json;
use shared::{
    Error,
    app::{App, AppState},
    connector::{Action, Command},
    domain::{
        access::Scope,
        activity::{self, Action as Noted},
        instance::{self, Instance},
        job,
    },
    edge::Owned,
    store::{Change, CommitError, Cond, Unit, Write, keys},
};

use crate::Answer;

/// How long an answer waits for the owner to have done it.
const SHORTLY: Duration = Duration::from_secs(5);

/// `POST /api/instances/{instanceId}/reconnect`: a logged-out instance starts pairing anew.
pub(crate) async fn reconnect_instance(State(app): State<AppState>, owned: Owned) -> Answer {
    let Owned { instance, .. } = owned.with(Scope::InstancesManage)?;
    let note = activity::note(&app, &instance.id, Noted::InstanceReconnected, json!({}))?;
    let asked = Change::default().set("reconnectAskedAt", app.clock.now().0);
    let asked = Write::update(keys::instance(&instance.id), asked).only_if(Cond::Exists);
    match command(&app, &instance, Action::Reconnect, vec![asked, note]).await {
        Ok(()) => {}
        Err(CommitError::Conflict { which: 0, .. }) => return Err(instance::unknown().into()),
        Err(error) => return Err(Error::from(error).into()),
    }
    Ok(axum::Json(json!({ "success": true, "message": format!("Instance {} reconnected", instance.id) })))
}

/// `POST /api/instances/{instanceId}/logout`.
pub(crate) async fn logout_instance(State(app): State<AppState>, owned: Owned) -> Answer {
    let Owned { instance, .. } = owned.with(Scope::InstancesManage)?;
    logout(&app, &instance).await?;
    Ok(axum::Json(json!({ "success": true, "message": format!("Instance {} logged out", instance.id) })))
}

async fn logout(app: &App, instance: &Instance) -> shared::Result<()> {
    command(app, instance, Action::Logout, Vec::new()).await?;
    instance::settled(app, &instance.id, SHORTLY, |now| !now.paired && !now.ready()).await
}

/// `DELETE /api/instances/{instanceId}`: gone for users at once; the rest is a job.
pub(crate) async fn delete_instance(State(app): State<AppState>, owned: Owned) -> Answer {
    let Owned { instance, caller } = owned.with(Scope::InstancesManage)?;
    let (job, job_row) = job::new(&app, "delete_instance", caller.id(), Some(&instance.id))?;
    let gone = Change { index: Some(None), ..Change::default() }.set("deleting", true);
    let delete = Command::new(instance.id.clone(), Action::Delete { job: job.id.clone() });
    let unit = Unit {
        writes: vec![
            Write::update(keys::instance(&instance.id), gone)
                .only_if(Cond::All(vec![Cond::Exists, Cond::lacks("deleting")])),
            job_row,
        ],
        enqueue: vec![job::command_message(&instance, &delete, job.id.as_str())?],
        ..Unit::default()
    };
    match app.store.commit(unit).await {
        Ok(_) => app.realtime.look(&instance.user_id).await,
        Err(CommitError::Conflict { which: 0, .. }) => return Err(instance::unknown().into()),
        Err(error) => return Err(Error::from(error).into()),
    }
    Ok(axum::Json(json!({
        "success": true,
        "message": format!("Instance {} deleted successfully", instance.id),
        "jobId": job.id,
    })))
}

async fn command(app: &App, instance: &Instance, action: Action, writes: Vec<Write>) -> Result<(), CommitError> {
    let command = Command::new(instance.id.clone(), action);
    let enqueue = vec![job::command_message(instance, &command, &app.ids.ulid())?];
    app.store.commit(Unit { writes, enqueue, ..Unit::default() }).await?;
    Ok(())
}
