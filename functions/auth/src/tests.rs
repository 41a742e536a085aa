//! The group behind the shared edge, on the SQLite store.

mod account;
mod edge;
mod keys;
mod rotation;
mod session;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Request, StatusCode},
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use shared::{
    app::{self, App, AppState, Parts},
    clock::{ManualClock, Millis},
    config::{Config, Source},
    domain::user::{self, FirstStart},
    redact::Secret,
    store::meter::Meter,
};
use tower::ServiceExt as _;

const ADMIN: &str = "admin@example.com";
const PASSWORD: &str = "correct horse";

/// A server without a socket, whose clock stands still until it is turned.
struct Server {
    app: AppState,
    router: Router,
    clock: Arc<ManualClock>,
    first_start: Option<FirstStart>,
    folder: tempfile::TempDir,
    settings: String,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    #[track_caller]
    fn ok(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    #[track_caller]
    fn refused(&self, status: u16, text: &str) {
        assert_eq!((self.status.as_u16(), self.body["error"].as_str()), (status, Some(text)), "{}", self.body);
    }
}

impl Server {
    async fn start(settings: &str) -> Self {
        let settings = format!("ENCRYPTION_KEY = 'only for this test'\nADMIN_PASSWORD = '{PASSWORD}'\n{settings}");
        Self::start_in(tempfile::tempdir().expect("a folder"), settings).await
    }

    /// The same data under other settings, which come after the old ones.
    async fn restart(self, settings: &str) -> Self {
        let Self { app, router, folder, settings: old, .. } = self;
        drop((app, router));
        Self::start_in(folder, format!("{old}\n{settings}")).await
    }

    async fn start_in(folder: tempfile::TempDir, settings: String) -> Self {
        let mut config = Config::load(&Source::new(Some(&settings)).expect("reads")).expect("loads");
        config.data_dir = folder.path().to_owned();
        let clock = Arc::new(ManualClock::at(Millis(1_672_574_400_000)));
        let meter = Arc::new(Meter::default());
        let sqlite = shared_local::Sqlite::open(folder.path(), clock.clone(), meter.clone()).expect("opens");
        let media = app::local_media(&config).expect("a folder");
        let parts = Parts {
            store: sqlite.clone(),
            queues: sqlite,
            media,
            clock: clock.clone(),
            meter,
            realtime: None,
            secrets: None,
        };
        let app = App::build(config, parts).await.expect("builds");
        let first_start = user::bootstrap(&app).await.expect("starts");
        let groups = crate::router().merge(edge::routes());
        let router = shared::edge::finish(groups, app.clone()).expect("valid settings");
        Self { app, router, clock, first_start, folder, settings }
    }

    fn turn(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// `headers` override the usual ones of a request from the same machine.
    async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request(method, path, headers, body)).await
    }

    async fn get(&self, path: &str, key: &str) -> Answer {
        self.call("GET", path, &[("x-api-key", key)], None).await
    }

    async fn post(&self, path: &str, key: &str, body: Value) -> Answer {
        self.call("POST", path, &[("x-api-key", key)], Some(body)).await
    }

    async fn put(&self, path: &str, key: &str, body: Value) -> Answer {
        self.call("PUT", path, &[("x-api-key", key)], Some(body)).await
    }

    async fn login(&self, email: &str, password: &str) -> Answer {
        self.call("POST", "/api/auth/login", &[], Some(json!({ "email": email, "password": password }))).await
    }

    async fn admin_key(&self) -> String {
        let admin = user::find_by_name(&self.app, ADMIN).await.expect("reads").expect("is there");
        admin.api_key(&self.app).reveal().to_owned()
    }

    /// A registered user: (API key, id).
    async fn user(&self, email: &str) -> (String, String) {
        let body = json!({ "email": email, "password": PASSWORD });
        let user = self.call("POST", "/api/auth/register", &[], Some(body)).await.ok(201)["user"].take();
        (text(&user["apiKey"]), text(&user["id"]))
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "127.0.0.1:8070");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let peer: SocketAddr = "127.0.0.1:40000".parse().expect("an address");
    request.extension(ConnectInfo(peer)).body(body).expect("a request")
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn secret(text: &str) -> Secret {
    Secret::new(text)
}
