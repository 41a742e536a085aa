//! The activity log.

use axum::extract::State;
use serde_json::json;
use shared::{
    Error,
    app::AppState,
    clock::Millis,
    domain::activity::{self, Action},
    edge::{Owned, query::Params},
};

use crate::Answer;

/// Later than anything.
pub(crate) const END_OF_TIME: Millis = Millis(9_999_999_999_999);

/// `GET /api/instances/{instanceId}/activity`: newest first.
pub(crate) async fn list_activity(
    State(app): State<AppState>,
    Owned { instance, .. }: Owned,
    params: Params,
) -> Answer {
    let (limit, skip) = (params.limit(1000, 100)?, params.skip()?);
    let (from, to) = params.dates()?;
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or(END_OF_TIME));
    let mut actions = Vec::new();
    for name in params.list("actions") {
        actions.push(Action::parse(name).ok_or_else(|| {
            Error::invalid(
                "actions",
                format!("actions: {} is not an activity", name.chars().take(50).collect::<String>()),
            )
        })?);
    }
    let (rows, total) = activity::list(&app, &instance.id, &actions, from, to, limit, skip).await?;
    let has_more = (skip + rows.len()) < usize::try_from(total).unwrap_or(usize::MAX);
    let logs: Vec<_> = rows
        .into_iter()
        .map(|row| {
            json!({
                "id": row.id,
                "instanceId": row.instance_id,
                "action": row.action,
                "details": row.details,
                "createdAt": row.at.iso(),
            })
        })
        .collect();
    let pagination = json!({ "total": total, "limit": limit, "skip": skip, "hasMore": has_more });
    Ok(axum::Json(json!({ "logs": logs, "pagination": pagination })))
}
