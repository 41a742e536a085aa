//! API Gateway's events.

use std::net::IpAddr;

use aws_lambda_events::event::apigw::ApiGatewayWebsocketProxyRequest;
use serde_json::{Value, json};
use shared::{Error, Kind, Result, domain::rotation, edge::auth, id::SocketId, realtime::Posted, redact::Secret};

use super::{Gateway, Heard, Opening};
use crate::{credential::Credential, frame};

/// Serves one event of the routes `$connect`, `$disconnect` and `$default`. The answer's status decides whether a connection is
/// accepted; it means nothing to the others.
pub async fn handle(gateway: &Gateway, event: ApiGatewayWebsocketProxyRequest) -> Value {
    let context = &event.request_context;
    let Some(socket) = context.connection_id.as_deref().map(SocketId::new) else {
        tracing::error!("an event without a connection");
        return status(400);
    };
    rotation::look_if_due(&gateway.app).await;
    match context.event_type.as_deref() {
        Some("CONNECT") => match connect(gateway, socket, &event).await {
            Ok(()) => status(200),
            Err(error) if error.kind == Kind::Invalid => status(400),
            Err(error) if error.kind == Kind::Unauthenticated => status(401),
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                status(503)
            }
        },
        Some("DISCONNECT") => {
            if let Err(error) = gateway.disconnected(&socket).await {
                // Its rows expire, or the next push meets nobody.
                tracing::warn!(%socket, %error, "a connection was not signed off");
            }
            status(200)
        }
        _ => {
            if let Err(error) = said(gateway, &socket, &event).await {
                tracing::warn!(%socket, %error, "a frame was not answered");
                sorry(gateway, &socket, &error).await;
            }
            status(200)
        }
    }
}

fn status(code: u16) -> Value {
    json!({ "statusCode": code })
}

async fn connect(gateway: &Gateway, socket: SocketId, event: &ApiGatewayWebsocketProxyRequest) -> Result<()> {
    let peer: Option<IpAddr> = event.request_context.identity.source_ip.as_deref().and_then(|text| text.parse().ok());
    let query = |name: &str| event.query_string_parameters.first(name);
    let by_query = || query("token").map(|token| Credential::token(Secret::new(token), peer));
    let shown = auth::presented(&event.headers)?.map(|shown| Credential::new(shown, peer)).or_else(by_query);
    let after = query("after").map(frame::parse_after).transpose()?.flatten();
    gateway.connected(Opening { socket, peer, shown, after }).await
}

async fn said(gateway: &Gateway, socket: &SocketId, event: &ApiGatewayWebsocketProxyRequest) -> Result<()> {
    let heard = match &event.body {
        Some(text) if !event.is_base64_encoded => Heard::Text(text),
        Some(_) => Heard::Binary,
        None => Heard::Text(""),
    };
    gateway.said(socket, heard).await
}

/// Tells the client that its frame was not answered.
async fn sorry(gateway: &Gateway, socket: &SocketId, error: &Error) {
    match gateway.poster.post(socket, &frame::error(error, None)).await {
        Ok(Posted::Done | Posted::Gone | Posted::Busy | Posted::TooLarge) => {}
        Err(error) => tracing::warn!(%socket, %error, "nor was the client told"),
    }
}
