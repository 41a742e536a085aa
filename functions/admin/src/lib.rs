//! HTTP route group: seed 004, administration. Administrators only; what they change is noted in the audit.

mod audit;
mod groups;
mod history;
mod instances;
mod people;
#[cfg(test)]
mod tests;
mod users;

use axum::{
    Router,
    middleware::from_fn,
    routing::{get, post},
};
use shared::{
    app::AppState,
    edge::{Reject, idempotent},
};

type Answer = Result<axum::Json<serde_json::Value>, Reject>;

/// All routes of the group.
pub fn router() -> Router<AppState> {
    let changes = Router::new()
        .route("/api/admin/user/create", post(users::create_user))
        .route("/api/admin/user/update", post(users::update_user))
        .route("/api/admin/user/disable", post(users::disable_user))
        .route("/api/admin/group/create", post(groups::create_admin_group))
        .route("/api/admin/group/members/add", post(groups::add_members))
        .route("/api/admin/group/members/remove", post(groups::remove_members))
        .route("/api/admin/group/delete", post(groups::delete_group))
        .route_layer(from_fn(idempotent::once));
    Router::new()
        .route("/api/admin/users", get(users::list_users))
        .route("/api/admin/history", get(history::list_history))
        .route("/api/admin/groups", get(groups::list_admin_groups))
        .route("/api/admin/group/members", get(groups::list_members))
        .route("/api/admin/instances", get(instances::list_all_instances))
        .route("/api/admin/audit", get(audit::list_audit))
        .merge(changes)
}
