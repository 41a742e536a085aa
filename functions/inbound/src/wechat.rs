//! The webhook of seed 004 that forwards to WeCom.

use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Error, Result,
    app::AppState,
    domain::{
        access::{Caller, Scope},
        forward::{self, Message},
    },
    edge::{Allocated, Json, Reject},
};

/// The one event that is forwarded.
const NEW_MESSAGE: &str = "new_message";
/// Characters of a name, and of a text; bytes of a text.
const LONGEST_NAME: usize = 200;
const LONGEST_TEXT: usize = 10_000;
const LARGEST_TEXT: usize = 30_000;

#[derive(Debug, Deserialize)]
pub(crate) struct Call {
    event: String,
    #[serde(default)]
    data: Value,
}

/// `POST /api/webhook/wechat {event, data}`: a `new_message` goes to the caller's WeCom robot, as a delivery with everything
/// that deliveries have. Nothing else is sent anywhere.
pub(crate) async fn forward_to_wecom(
    State(app): State<AppState>,
    caller: Caller,
    allocated: Allocated,
    Json(call): Json<Call>,
) -> Result<axum::Json<Value>, Reject> {
    caller.require(Scope::MessagesSend)?;
    let data = if call.event == NEW_MESSAGE {
        let message = message(&call.data)?;
        let target = forward::to_wecom(&app, &caller).await?;
        json!({ "deliveryId": forward::hand_over(&app, &target, &allocated.0, &message).await? })
    } else if call.event.is_empty() {
        return Err(Error::invalid("event", "event is required").into());
    } else {
        Value::Null
    };
    Ok(axum::Json(json!({ "code": 200, "msg": "ok", "data": data })))
}

fn message(data: &Value) -> Result<Message> {
    if !data.is_object() {
        return Err(Error::invalid("data", "data must be an object"));
    }
    let text = |field: &'static str, name: &str, longest: usize| {
        let text = data[name].as_str().filter(|text| !text.trim().is_empty());
        let text = text.ok_or_else(|| Error::invalid(field, format!("{field} must be a text that is not empty")))?;
        if text.chars().count() > longest || text.len() > LARGEST_TEXT {
            let limit = format!("{field} must have at most {longest} characters and {LARGEST_TEXT} bytes");
            return Err(Error::invalid(field, limit));
        }
        Ok(text.to_owned())
    };
    Ok(Message {
        from_name: text("data.fromName", "fromName", LONGEST_NAME)?,
        content: text("data.content", "content", LONGEST_TEXT)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_a_sender_and_a_text() {
        let good = message(&json!({ "fromName": "爱丽丝", "content": "你好", "toId": 7 })).expect("a message");
        assert_eq!(good, Message { from_name: "爱丽丝".into(), content: "你好".into() });
        for (data, field) in [
            (Value::Null, "data"),
            (json!([1]), "data"),
            (json!({ "content": "x" }), "data.fromName"),
            (json!({ "fromName": "a", "content": " " }), "data.content"),
            (json!({ "fromName": 7, "content": "x" }), "data.fromName"),
            (json!({ "fromName": "a", "content": "x".repeat(LONGEST_TEXT + 1) }), "data.content"),
            (json!({ "fromName": "a", "content": "𝕳".repeat(LARGEST_TEXT / 4 + 1) }), "data.content"),
        ] {
            assert_eq!(message(&data).expect_err("refused").field.as_deref(), Some(field), "{data}");
        }
    }
}
