//! Everybody's instances.

use axum::extract::State;
use serde_json::json;
use shared::{
    app::AppState,
    domain::{instance, view},
    edge::{Admin, envelope, query::Params},
};

use crate::{Answer, people};

/// `GET /api/admin/instances`: all of the deployment, by shard and id; with `userId` those of one user, oldest first.
pub(crate) async fn list_all_instances(State(app): State<AppState>, Admin(_): Admin, params: Params) -> Answer {
    let (limit, cursor) = (params.limit(500, 100)?, params.cursor("cursor")?);
    let (instances, next) = match params.text("userId") {
        Some(user) => {
            let user = people::find(&app, "userId", user).await?;
            instance::of_user(&app, &user.id, limit, cursor).await?
        }
        None => instance::of_everybody(&app, limit, cursor).await?,
    };
    let instances: Vec<_> = instances.iter().map(|instance| view::instance_with_status(&app, instance)).collect();
    Ok(envelope::chat_ok(json!({ "instances": instances, "nextCursor": next.map(|next| next.encode()) })))
}
