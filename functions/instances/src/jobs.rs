//! Background jobs, as whoever started them sees them.

use axum::extract::{Path, State};
use serde_json::json;
use shared::{
    Error,
    app::AppState,
    domain::{access::Caller, job},
    id::JobId,
};

use crate::Answer;

/// `GET /api/jobs/{jobId}` → `{id, kind, status, progress, result?, error?}`. Another user's job does not exist.
pub(crate) async fn get_job(State(app): State<AppState>, caller: Caller, Path(id): Path<String>) -> Answer {
    let job = job::get(&app, &JobId::new(id)).await?;
    let job = job.filter(|job| {
        let reach = job.instance_id.as_ref().is_none_or(|instance| caller.covers(instance));
        reach && (job.user_id == *caller.id() || caller.is_admin())
    });
    let job = job.ok_or_else(|| Error::not_found("Job not found").code("JOB_NOT_FOUND"))?;
    let mut body = json!({
        "id": job.id,
        "kind": job.kind,
        "status": job.status,
        "progress": job.progress,
        "instanceId": job.instance_id,
        "createdAt": job.created_at.iso(),
        "updatedAt": job.updated_at.iso(),
    });
    if let Some(result) = job.result {
        body["result"] = result;
    }
    if let Some(error) = job.error {
        body["error"] = json!({ "code": error.code, "message": error.message });
    }
    Ok(axum::Json(body))
}
