//! The error envelopes of the groups, as our specification lists them.

use super::client::Refusal;
use serde_json::Value;

/// Reads the envelope that errors under `path` have.
///
/// # Errors
/// Says what is wrong with it.
pub fn read(path: &str, status: u16, body: &Value) -> Result<Refusal, String> {
    let under = |prefixes: &[&str]| {
        prefixes
            .iter()
            .any(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    if under(&["/third-party", "/api/third-party", "/api/v1/third-party"]) {
        is(body, "success", &false.into())?;
        let error = &body["error"];
        if !error["details"].is_object() {
            return Err("no object in `error.details`".into());
        }
        return refusal(text(error, "message")?, code(error)?);
    }
    if under(&["/api/im", "/api/v1/im"]) {
        is(body, "success", &false.into())?;
        return refusal(text(body, "message")?, String::new());
    }
    if under(&["/callback", "/api/contacts", "/api/messages", "/api/rooms", "/api/sync-status"]) {
        is(body, "success", &false.into())?;
        return refusal(text(body, "error")?, code(body)?);
    }
    if under(&["/api/login", "/api/register", "/api/message", "/api/conversations", "/api/webhook", "/api/admin"]) {
        is(body, "code", &status.into())?;
        is(body, "data", &Value::Null)?;
        return refusal(text(body, "msg")?, String::new());
    }
    refusal(text(body, "error")?, code(body)?)
}

fn refusal(error: String, code: String) -> Result<Refusal, String> {
    if error.is_empty() { Err("an empty text".into()) } else { Ok(Refusal { error, code }) }
}

fn is(body: &Value, name: &str, value: &Value) -> Result<(), String> {
    if body.get(name) == Some(value) { Ok(()) } else { Err(format!("`{name}` is not {value}")) }
}

fn text(body: &Value, name: &str) -> Result<String, String> {
    body[name].as_str().map(str::to_owned).ok_or_else(|| format!("no text in `{name}`"))
}

fn code(body: &Value) -> Result<String, String> {
    let code = text(body, "code")?;
    let upper_snake = code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if upper_snake && !code.is_empty() { Ok(code) } else { Err("`code` is not UPPER_SNAKE".into()) }
}
