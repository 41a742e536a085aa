//! HTTP route group: seed 002, instant messaging compatible with WuKongIM's integration.
//!
//! Every route is there under `/api/v1/im` and `/api/im`.

mod channel;
mod client;
mod message;
mod target;
#[cfg(test)]
mod tests;

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
    routing::{get, post},
};
use shared::{
    app::AppState,
    edge::{Reject, envelope, idempotent},
};

type Answer = Result<axum::Json<serde_json::Value>, Reject>;

/// What the seed says when a route fails through no fault of the caller, by the path behind the group's prefix.
const FAULTS: &[(&str, &str)] = &[
    ("/token", "获取Token失败"),
    ("/message/send", "发送消息失败"),
    ("/message/sendbatch", "批量发送消息失败"),
    ("/channel/create", "创建频道失败"),
    ("/channel/delete", "删除频道失败"),
    ("/channel/subscriber/add", "添加订阅者失败"),
    ("/channel/subscriber/remove", "移除订阅者失败"),
    ("/system/info", "获取系统信息失败"),
];

/// All routes of the group.
pub fn router() -> Router<AppState> {
    let created = Router::new()
        .route("/api/v1/im/message/send", post(message::send_im_message))
        .route("/api/im/message/send", post(message::send_im_message))
        .route("/api/v1/im/message/sendbatch", post(message::send_im_messages))
        .route("/api/im/message/sendbatch", post(message::send_im_messages))
        .route("/api/v1/im/channel/create", post(channel::create_channel))
        .route("/api/im/channel/create", post(channel::create_channel))
        .route("/api/v1/im/channel/subscriber/add", post(channel::add_subscribers))
        .route("/api/im/channel/subscriber/add", post(channel::add_subscribers))
        .route_layer(from_fn(idempotent::once));
    Router::new()
        .route("/api/v1/im/config", get(client::get_config))
        .route("/api/im/config", get(client::get_config))
        .route("/api/v1/im/token", post(client::create_token))
        .route("/api/im/token", post(client::create_token))
        .route("/api/v1/im/message/sync", get(message::sync_messages))
        .route("/api/im/message/sync", get(message::sync_messages))
        .route("/api/v1/im/channel/delete", post(channel::delete_channel))
        .route("/api/im/channel/delete", post(channel::delete_channel))
        .route("/api/v1/im/channel/subscriber/remove", post(channel::remove_subscribers))
        .route("/api/im/channel/subscriber/remove", post(channel::remove_subscribers))
        .route("/api/v1/im/health", get(client::get_im_health))
        .route("/api/im/health", get(client::get_im_health))
        .route("/api/v1/im/system/info", get(client::get_system_info))
        .route("/api/im/system/info", get(client::get_system_info))
        .merge(created)
        .route_layer(from_fn(in_the_seeds_words))
}

/// Faults in the words that the seed has for the route.
async fn in_the_seeds_words(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix("/api/v1/im").or_else(|| path.strip_prefix("/api/im")).unwrap_or_default();
    let words = FAULTS.iter().find(|(route, _)| *route == path).map(|(_, words)| *words);
    let response = next.run(request).await;
    match words {
        Some(words) => envelope::im_fault(response, words),
        None => response,
    }
}
