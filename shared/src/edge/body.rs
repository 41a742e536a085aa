//! JSON bodies, in and out.

use axum::{
    body::Body,
    extract::{FromRequest, OptionalFromRequest, Request},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Serialize, de::DeserializeOwned};

use super::{BODY_LIMIT, Reject};
use crate::error::{Error, Kind};

/// As an extractor: a JSON object of at most 1 MiB, whatever its `Content-Type`; errors name the field. `Option<Json<T>>` is
/// `None` for an empty body. As an answer: JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Reject;

    async fn from_request(request: Request, _: &S) -> Result<Self, Reject> {
        let body = read(request.into_body(), BODY_LIMIT).await?;
        Ok(Self(decode(&body)?))
    }
}

impl<T: DeserializeOwned, S: Sync> OptionalFromRequest<S> for Json<T> {
    type Rejection = Reject;

    async fn from_request(request: Request, _: &S) -> Result<Option<Self>, Reject> {
        let body = read(request.into_body(), BODY_LIMIT).await?;
        if body.trim_ascii().is_empty() { Ok(None) } else { Ok(Some(Self(decode(&body)?))) }
    }
}

/// A body that is read as two structures, each taking its own fields: what `#[serde(flatten)]` would do, with errors that
/// still name the field.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json2<A, B>(pub A, pub B);

impl<A: DeserializeOwned, B: DeserializeOwned, S: Sync> FromRequest<S> for Json2<A, B> {
    type Rejection = Reject;

    async fn from_request(request: Request, _: &S) -> Result<Self, Reject> {
        let body = read(request.into_body(), BODY_LIMIT).await?;
        Ok(Self(decode(&body)?, decode(&body)?))
    }
}

/// The same with three structures.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json3<A, B, C>(pub A, pub B, pub C);

impl<A: DeserializeOwned, B: DeserializeOwned, C: DeserializeOwned, S: Sync> FromRequest<S> for Json3<A, B, C> {
    type Rejection = Reject;

    async fn from_request(request: Request, _: &S) -> Result<Self, Reject> {
        let body = read(request.into_body(), BODY_LIMIT).await?;
        Ok(Self(decode(&body)?, decode(&body)?, decode(&body)?))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A body that is a JSON array of objects; errors name the element and its field, as in `[3].payload`.
#[derive(Debug, Clone, Default)]
pub struct JsonList<T>(pub Vec<T>);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for JsonList<T> {
    type Rejection = Reject;

    async fn from_request(request: Request, _: &S) -> Result<Self, Reject> {
        let body = read(request.into_body(), BODY_LIMIT).await?;
        if body.trim_ascii().first() != Some(&b'[') {
            return Err(bad_request("The request body must be a JSON array").into());
        }
        let elements: Vec<Element<T>> = parse(&body)?;
        Ok(Self(elements.into_iter().map(|Element(element)| element).collect()))
    }
}

/// A list of the right length would pass for a structure.
#[derive(serde::Deserialize)]
#[serde(transparent, bound = "T: DeserializeOwned")]
struct Element<T>(#[serde(deserialize_with = "super::object::required")] T);

/// The whole body. Errors: `TooLarge` beyond `limit` bytes; `Invalid` if it breaks off.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, Error> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if is_too_long(error.as_ref()) => {
            Err(Error::too_large(format!("The request body must not be larger than {limit} bytes")))
        }
        Err(error) => Err(bad_request("The request body could not be read").source(error)),
    }
}

fn is_too_long(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Decodes a JSON object. Errors say which field is wrong.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    // A list of the right length would pass for a structure.
    if body.trim_ascii().first() != Some(&b'{') {
        return Err(bad_request("The request body must be a JSON object"));
    }
    parse(body)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        // A value of a wrong type can look like a syntax error to whoever reads an enum: what is JSON is wrong in a field.
        match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
            Ok(_) => wrong_field(&path, &error.to_string()),
            Err(_) => bad_request("The request body is not valid JSON"),
        }
    })?;
    deserializer.end().map_err(|_| bad_request("The request body is not valid JSON"))?;
    Ok(value)
}

fn bad_request(message: &'static str) -> Error {
    Error::new(Kind::Invalid, "BAD_REQUEST", message)
}

/// What serde says about the value at `path`, for a person: without its position, and without a value that fills a screen.
pub(super) fn wrong_field(path: &str, text: &str) -> Error {
    let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    // For an absent field serde reports the path of the object that it is absent from.
    if let Some(name) = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        let field = if path == "." { name.to_owned() } else { format!("{path}.{name}") };
        return Error::invalid(field.clone(), format!("{field} is required"));
    }
    let text: String = text.chars().take(160).collect();
    match path {
        "." | "" => bad_request("The request body has a wrong type").field("body"),
        path => Error::invalid(path.to_owned(), format!("{path}: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Settings {
        name: String,
        #[serde(default)]
        webhook: Option<Webhook>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Webhook {
        max_retries: u32,
    }

    fn field(body: &str) -> Option<String> {
        let error = decode::<Settings>(body.as_bytes()).expect_err(body);
        assert_eq!(error.kind, Kind::Invalid);
        error.field.map(std::borrow::Cow::into_owned)
    }

    #[test]
    fn errors_name_the_field() {
        assert_eq!(field(r#"{"name": 7}"#).as_deref(), Some("name"));
        assert_eq!(field("{}").as_deref(), Some("name"));
        let nested = r#"{"name": "x", "webhook": {"maxRetries": "many"}}"#;
        assert_eq!(field(nested).as_deref(), Some("webhook.maxRetries"));
        assert_eq!(field(r#"{"name": "x", "webhook": {}}"#).as_deref(), Some("webhook.maxRetries"));
        for other in ["", "[\"x\"]", "\"x\"", "{", "{\"name\": \"x\"} y", "{\"name\": \"\u{1}\"}"] {
            assert_eq!(field(other), None, "{other}");
        }
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let body = br#" {"name": "x", "colour": "red", "webhook": {"maxRetries": 3}}"#;
        let settings: Settings = decode(body).expect("decodes");
        assert_eq!((settings.name.as_str(), settings.webhook.map(|w| w.max_retries)), ("x", Some(3)));
    }

    #[tokio::test]
    async fn lists_hold_objects() {
        let read = async |body: &'static str| {
            let request = Request::builder().body(Body::from(body)).expect("a request");
            let list = <JsonList<Webhook> as FromRequest<()>>::from_request(request, &()).await;
            list.map(|JsonList(list)| list.into_iter().map(|one| one.max_retries).collect::<Vec<_>>())
                .map_err(|reject| reject.error.field.map(std::borrow::Cow::into_owned))
        };
        assert_eq!(read(r#" [{"maxRetries": 1}, {"maxRetries": 2}]"#).await.expect("reads"), [1, 2]);
        assert_eq!(read(r#"[{"maxRetries": 1}, {"maxRetries": "x"}]"#).await, Err(Some("[1].maxRetries".into())));
        assert_eq!(read(r#"[[1]]"#).await, Err(Some("[0]".into())));
        assert_eq!(read(r#"{"maxRetries": 1}"#).await, Err(None));
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        let error = read(Body::from(vec![b' '; 11]), 10).await.expect_err("too long");
        assert_eq!(error.kind, Kind::TooLarge);
        assert_eq!(read(Body::from("0123456789"), 10).await.expect("fits").len(), 10);
    }
}
