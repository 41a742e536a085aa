//! The audit, where changes break off: none goes unnoted, and none is called done that may not be.

use std::sync::Arc;

use axum::{Router, body::Body, http::Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use shared::{
    app::{self, App, Parts},
    clock::SystemClock,
    config::{Config, Source},
    domain::user,
    edge,
    store::{
        chaos::{Chaos, Faults},
        meter::Meter,
    },
};
use tower::ServiceExt as _;

struct Server {
    router: Router,
    chaos: Arc<Chaos>,
    key: String,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = "ENCRYPTION_KEY = 'only for this test'\nADMIN_PASSWORD = 'correct horse'";
        let mut config = Config::load(&Source::new(Some(settings)).expect("reads")).expect("loads");
        config.data_dir = folder.path().to_owned();
        let (clock, meter) = (Arc::new(SystemClock::default()), Arc::new(Meter::default()));
        let sqlite = shared_local::Sqlite::open(folder.path(), clock.clone(), meter.clone()).expect("opens");
        let chaos = Chaos::new(sqlite.clone(), sqlite, Faults::none(), 1);
        let media = app::local_media(&config).expect("a folder");
        let parts =
            Parts { store: chaos.clone(), queues: chaos.clone(), media, clock, meter, realtime: None, secrets: None };
        let app = App::build(config, parts).await.expect("builds");
        let key = user::bootstrap(&app).await.expect("starts").expect("for the first time").api_key;
        let router = edge::finish(crate::router(), app).expect("valid settings");
        Self { router, chaos, key: key.reveal().to_owned(), _folder: folder }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).header("x-api-key", &self.key);
        let request = request.body(Body::from(body.to_string())).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&bytes).expect("JSON"))
    }

    /// Outcomes of what is noted, oldest first.
    async fn outcomes(&self) -> Vec<String> {
        let (_, audit) = self.ask("GET", "/api/admin/audit", &json!({})).await;
        let entries = audit["data"]["entries"].as_array().expect("entries");
        entries.iter().rev().map(|entry| entry["outcome"].as_str().expect("an outcome").to_owned()).collect()
    }
}

#[tokio::test]
async fn what_broke_off_is_noted_as_unknown() {
    let server = Server::start().await;
    let body = |name: &str| json!({ "username": name, "password": "a password" });
    let mut wanted = Vec::new();
    // Stopped before the note, after it, after the change, and after the note of its end.
    for k in 0..=3 {
        server.chaos.stop_after(Some(k));
        let (status, answer) = server.ask("POST", "/api/admin/user/create", &body(&format!("user {k}"))).await;
        server.chaos.resume();
        // How it ended is noted behind the change: the answer does not wait for it to be right.
        assert_eq!(status, if k < 3 { 503 } else { 200 }, "stopped after {k}: {answer}");
        wanted.extend(match k {
            0 => None,
            1 | 2 => Some("unknown"),
            _ => Some("done"),
        });
        assert_eq!(server.outcomes().await, wanted, "stopped after {k}");
    }
    let (_, users) = server.ask("GET", "/api/admin/users", &json!({})).await;
    assert_eq!(users["data"]["users"].as_array().expect("users").len(), 3, "the administrator, user 2 and user 3");
    // Refused: no change, no note.
    assert_eq!(server.ask("POST", "/api/admin/user/create", &body("user 3")).await.0, 409);
    assert_eq!(server.outcomes().await, wanted);
}
