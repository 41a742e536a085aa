//! What the group says when its store does not answer.

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

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path).header("x-api-key", &self.key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_string())).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&bytes).expect("JSON"))
    }
}

#[tokio::test]
async fn faults_are_said_in_the_seeds_words() {
    let server = Server::start().await;
    let message = json!({ "channelId": "x", "channelType": 2, "payload": "aGk=" });
    let channel = json!({ "channelId": "x", "channelType": 2, "subscribers": ["y"] });
    let routes = [
        ("POST", "/token", "获取Token失败", &message),
        ("POST", "/message/send", "发送消息失败", &message),
        ("POST", "/message/sendbatch", "批量发送消息失败", &json!([message.clone()])),
        ("POST", "/channel/create", "创建频道失败", &channel),
        ("POST", "/channel/delete", "删除频道失败", &channel),
        ("POST", "/channel/subscriber/add", "添加订阅者失败", &channel),
        ("POST", "/channel/subscriber/remove", "移除订阅者失败", &channel),
        ("GET", "/system/info", "获取系统信息失败", &message),
    ];
    for prefix in ["/api/v1/im", "/api/im"] {
        for (method, path, words, body) in &routes {
            let path = format!("{prefix}{path}");
            // Without the store, and when it goes away after the first change: that of the `Idempotency-Key`.
            for changes in [0, 1] {
                for headers in [&[][..], &[("idempotency-key", path.as_str())]] {
                    server.chaos.stop_after(Some(changes));
                    let (status, answer) = server.ask(method, &path, headers, body).await;
                    if status >= 500 {
                        assert_eq!(answer, json!({ "success": false, "message": words }), "{path}");
                        assert_eq!(status, 503, "{path}");
                    } else {
                        assert!(changes > 0, "{path} works without its store: {answer}");
                    }
                    server.chaos.resume();
                }
            }
        }
        let health = format!("{prefix}/health");
        assert_eq!(server.ask("GET", &health, &[], &json!({})).await.1["data"]["status"], "healthy");
        server.chaos.stop_after(Some(0));
        let (status, answer) = server.ask("GET", &health, &[], &json!({})).await;
        assert_eq!((status, &answer["success"], &answer["data"]["status"]), (503, &json!(false), &json!("unhealthy")));
        server.chaos.resume();
        // What the caller does wrong is said in our own words.
        let (status, answer) = server.ask("POST", &format!("{prefix}/message/send"), &[], &message).await;
        assert_eq!((status, answer["message"].as_str()), (404, Some("Group not found")));
    }
}
