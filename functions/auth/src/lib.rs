//! `/api/auth`: logging in, registering, and what belongs to one's own account (seed 001, spec/http.md "auth").

mod account;
mod keys;
mod session;
#[cfg(test)]
mod tests;

use axum::{
    Router,
    middleware::from_fn,
    routing::{delete, get, post, put},
};
use shared::{app::AppState, edge::idempotent};

/// The group's routes; `shared::edge::finish` completes them.
pub fn router() -> Router<AppState> {
    let own = Router::new()
        .route("/api/auth/me", get(account::get_me))
        .route("/api/auth/api-key/rotate", post(account::rotate_api_key))
        .route("/api/auth/password", put(account::put_password))
        .route("/api/auth/allowed-ips", get(account::get_allowed_ips).put(account::put_allowed_ips))
        .route("/api/auth/invites", post(account::create_invite))
        .route("/api/auth/keys", get(keys::list_keys).post(keys::create_key))
        .route("/api/auth/keys/{id}", delete(keys::delete_key))
        .route_layer(from_fn(idempotent::once));
    let open = Router::new()
        .route("/api/auth/register", post(session::register))
        .route_layer(from_fn(idempotent::once_for_anybody));
    Router::new().route("/api/auth/login", post(session::login)).merge(open).merge(own)
}
