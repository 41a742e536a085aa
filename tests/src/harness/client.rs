//! A thin HTTP client: one credential, short calls, answers that say what was wrong with them.

use super::envelope;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;
use std::time::Duration;

/// What a client shows of itself.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nothing.
    None,
    /// `x-api-key`.
    ApiKey(String),
    /// `Authorization: Bearer`: a JWT, or an API key.
    Bearer(String),
}

/// A caller of one server.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    credential: Credential,
}

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `METHOD path`, for messages.
    pub asked: String,
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, unparsed.
    pub body: Bytes,
}

/// What an error envelope says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The text.
    pub error: String,
    /// `UPPER_SNAKE`; `""` where the group's envelope has none.
    pub code: String,
}

impl Client {
    /// A client of the server at `base`, without a proxy, that follows no redirect.
    ///
    /// # Panics
    /// When the TLS library cannot be set up.
    #[must_use]
    pub fn new(base: &str, credential: Credential) -> Client {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // A kept connection may end with the server that is killed and started again behind our back.
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(40))
            .build()
            .expect("a client without special wishes");
        Client { http, base: base.to_owned(), credential }
    }

    /// The same connections with another credential.
    #[must_use]
    pub fn with(&self, credential: Credential) -> Client {
        Client { credential, ..self.clone() }
    }

    /// The server's address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request to be completed by the caller, credential included.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.credential {
            Credential::None => request,
            Credential::ApiKey(key) => request.header("x-api-key", key),
            Credential::Bearer(token) => request.header("authorization", format!("Bearer {token}")),
        }
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// `POST` of a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    /// `PUT` of a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// `POST` without a body.
    pub async fn order(&self, path: &str) -> Answer {
        self.send(self.request(Method::POST, path)).await
    }

    /// Any method, with or without a JSON body.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send(request).await
    }

    /// `POST` of a form with one file, as browsers send it. `fields` come before the file.
    pub async fn upload(&self, path: &str, fields: &[(&str, &str)], file: Option<(&str, &str, &[u8])>) -> Answer {
        const BOUNDARY: &str = "suite-7f3a9c";
        let mut body = Vec::new();
        for (name, value) in fields {
            let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(head.as_bytes());
        }
        if let Some((filename, mime, content)) = file {
            let head = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{filename}\"\r\n\
                 Content-Type: {mime}\r\n\r\n"
            );
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        let mime = format!("multipart/form-data; boundary={BOUNDARY}");
        self.send(self.request(Method::POST, path).header("content-type", mime).body(body)).await
    }

    /// Sends and reads to the end.
    ///
    /// # Panics
    /// When there is no complete answer; [`Client::try_send`] does not.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// Sends and reads to the end.
    ///
    /// # Errors
    /// When the connection fails or breaks before the end of the answer.
    pub async fn try_send(&self, request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let request = request.build()?;
        let asked = format!("{} {}", request.method(), request.url());
        let answer = self.http.execute(request).await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { asked, status, headers, body: answer.bytes().await? })
    }
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{self}: not JSON: {error}"))
    }

    /// A header as text, `""` when absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Asserts the status; gives the JSON.
    ///
    /// # Panics
    /// When the status is another.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self}");
        self.json()
    }

    /// Asserts a refusal with this status, in the envelope of the path's group.
    ///
    /// # Panics
    /// When the status is another or the envelope is broken.
    #[track_caller]
    pub fn refused(&self, status: u16) -> Refusal {
        assert_eq!(self.status, status, "{self}");
        self.envelope()
    }

    /// [`Answer::refused`] with the exact text.
    ///
    /// # Panics
    /// When the status or the text is another.
    #[track_caller]
    pub fn refused_with(&self, status: u16, text: &str) -> Refusal {
        let refusal = self.refused(status);
        assert_eq!(refusal.error, text, "{self}");
        refusal
    }

    /// A 400 that names the field.
    ///
    /// # Panics
    /// When it is no 400, or the text does not hold the name.
    #[track_caller]
    pub fn names(&self, field: &str) {
        let refusal = self.refused(400);
        let named = refusal.error.to_lowercase().contains(&field.to_lowercase());
        assert!(named, "the text does not name {field}: {self}");
    }

    /// The error envelope, whatever the status.
    ///
    /// # Panics
    /// When it is not the one of the path's group.
    #[track_caller]
    pub fn envelope(&self) -> Refusal {
        self.try_envelope().unwrap_or_else(|wrong| panic!("{self}: {wrong}"))
    }

    /// The error envelope, whatever the status.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn try_envelope(&self) -> Result<Refusal, String> {
        let body: Value = serde_json::from_slice(&self.body).map_err(|error| format!("not JSON: {error}"))?;
        envelope::read(&self.path(), self.status, &body)
    }

    /// The path that was asked, without its query.
    fn path(&self) -> String {
        let url = self.asked.split_once(' ').map_or("", |(_, url)| url);
        reqwest::Url::parse(url).map(|url| url.path().to_owned()).unwrap_or_default()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(2000).collect();
        write!(formatter, "{} answered {}: {body}", self.asked, self.status)
    }
}
