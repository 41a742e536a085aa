//! The shared edge: envelopes, limits, request ids, idempotency.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{
    extract::{Extension, Path},
    middleware::from_fn,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use futures_util::future::join_all;
use shared::{
    Error,
    domain::access::Caller,
    edge::{Allocated, Reject, idempotent},
};

use super::*;

/// How often `/test/do/{how}` ran.
#[derive(Clone, Default)]
struct Runs(Arc<AtomicUsize>);

/// Routes that misbehave on demand.
pub(super) fn routes() -> Router<AppState> {
    let once = Router::new()
        .route("/test/do/{how}", post(work))
        .route_layer(from_fn(idempotent::once))
        .layer(Extension(Runs::default()));
    Router::new()
        .route("/test/panic", get(async || -> Response { panic!("secret details") }))
        .route("/api/im/broken", get(async || Reject::from(Error::unavailable("the database is on fire"))))
        .route("/api/juhe-like/{id}", get(async |Path(id): Path<u32>| id.to_string()))
        .merge(once)
}

/// Answers how it was asked to; `flaky` fails at its first run. 201: `{id, run}`.
async fn work(
    Extension(runs): Extension<Runs>,
    Path(how): Path<String>,
    _: Caller,
    Allocated(id): Allocated,
) -> Result<Response, Reject> {
    let run = runs.0.fetch_add(1, Ordering::SeqCst);
    match how.as_str() {
        "reject" => return Err(Error::conflict("NOT_READY", "not ready").into()),
        "flaky" if run == 0 => return Err(Error::unavailable("lost").into()),
        "slow" => tokio::time::sleep(Duration::from_millis(200)).await,
        "late" => {
            let mut response = Reject::from(Error::conflict("LATE", "too late")).into_response();
            response.extensions_mut().insert(idempotent::Accepted);
            return Ok(response);
        }
        _ => {}
    }
    Ok((StatusCode::CREATED, axum::Json(json!({ "id": id, "run": run }))).into_response())
}

#[tokio::test]
async fn unknown_paths_and_methods_answer_in_their_groups_envelope() {
    let server = Server::start("").await;
    let answer = server.call("GET", "/api/nothing", &[], None).await;
    assert_eq!((answer.status.as_u16(), &answer.body), (404, &json!({ "error": "Not found", "code": "NOT_FOUND" })));
    assert_eq!(answer.header("content-type"), "application/json");
    let answer = server.call("GET", "/third-party/nothing", &[], None).await;
    let error = json!({ "code": "NOT_FOUND", "message": "Not found", "details": {} });
    assert_eq!(answer.body, json!({ "success": false, "error": error }));
    let answer = server.call("GET", "/api/admin/nothing", &[], None).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body),
        (404, &json!({ "code": 404, "msg": "Not found", "data": null }))
    );

    let answer = server.call("GET", "/api/auth/login", &[], None).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST"));
    assert_eq!(answer.body, json!({ "error": "Method not allowed", "code": "METHOD_NOT_ALLOWED" }));
    let answer = server.call("POST", "/api/im/broken", &[], None).await;
    assert_eq!(answer.body, json!({ "success": false, "message": "Method not allowed" }));
    assert_eq!(answer.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn faults_of_ours_show_nothing() {
    let server = Server::start("").await;
    let answer = server.call("GET", "/test/panic", &[], None).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body),
        (500, &json!({ "error": "Internal server error", "code": "INTERNAL_ERROR" }))
    );
    assert_eq!(answer.header("content-length"), answer.body.to_string().len().to_string());
    let answer = server.call("GET", "/api/im/broken", &[], None).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
    assert_eq!(answer.body, json!({ "success": false, "message": "Temporarily unavailable, please try again" }));
    let answer = server.call("GET", "/api/juhe-like/x", &[], None).await;
    assert_eq!(
        (answer.status.as_u16(), answer.body["code"].as_str()),
        (400, Some("BAD_REQUEST")),
        "the framework's own"
    );
}

#[tokio::test]
async fn bodies_are_bounded_json_objects() {
    let server = Server::start("").await;
    for body in ["", "not json", "[]", "\"text\"", "{\"email\": \"\u{1}\"}"] {
        let answer = server.send(request("POST", "/api/auth/login", &[], Body::from(body))).await;
        assert_eq!((answer.status.as_u16(), answer.body["code"].as_str()), (400, Some("BAD_REQUEST")), "{body}");
    }
    let large = format!("{{\"email\": \"{}\"}}", "x".repeat(1024 * 1024));
    let answer = server.send(request("POST", "/api/auth/login", &[], Body::from(large))).await;
    assert_eq!((answer.status.as_u16(), answer.body["code"].as_str()), (413, Some("PAYLOAD_TOO_LARGE")));
    let login = json!({ "email": ADMIN, "password": PASSWORD }).to_string();
    let plain = [("content-type", "text/plain")];
    assert_eq!(server.send(request("POST", "/api/auth/login", &plain, Body::from(login))).await.status, 200);
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let server = Server::start("").await;
    let answer = server.call("GET", "/health", &[("x-request-id", "my.own-1")], None).await;
    assert_eq!((answer.header("x-request-id"), answer.body["status"].as_str()), ("my.own-1", Some("ok")));
    let answer = server.call("GET", "/nowhere", &[("x-request-id", "bad id")], None).await;
    assert_eq!(answer.header("x-request-id").len(), 26);
    let answer = server.call("GET", "/ready", &[], None).await;
    assert_eq!((answer.status.as_u16(), &answer.body["parts"]), (200, &json!({ "store": "ok", "queues": "ok" })));
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn browsers_come_from_configured_origins_only() {
    let server = Server::start("CORS_ORIGINS = 'https://a.example, https://b.example/'").await;
    let ask = async |origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        server.call("OPTIONS", "/api/auth/login", &headers, None).await
    };
    assert_eq!(ask("https://b.example").await.header("access-control-allow-origin"), "https://b.example");
    assert_eq!(ask("https://c.example").await.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn credentials_have_a_rate() {
    let server = Server::start("RATE_LIMIT = '2/60'").await;
    let key = server.admin_key().await;
    server.get("/api/auth/me", &key).await.ok(200);
    server.get("/api/auth/me", &key).await.ok(200);
    let answer = server.get("/api/auth/me", &key).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "30"));
    server.turn(Duration::from_secs(30));
    server.get("/api/auth/me", &key).await.ok(200);
}

async fn once(server: &Server, how: &str, idempotency_key: &str, body: Value) -> Answer {
    let key = server.admin_key().await;
    let headers = [("x-api-key", key.as_str()), ("idempotency-key", idempotency_key)];
    server.call("POST", &format!("/test/do/{how}"), &headers, Some(body)).await
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer() {
    let server = Server::start("").await;
    let first = once(&server, "work", "k1", json!({ "a": 1 })).await;
    let again = once(&server, "work", "k1", json!({ "a": 1 })).await;
    assert_eq!((first.status.as_u16(), first.header("idempotent-replay")), (201, ""));
    assert_eq!((again.status.as_u16(), again.header("idempotent-replay")), (201, "true"));
    assert_eq!(first.body, again.body);
    assert_eq!(again.header("content-type"), "application/json");

    let other = once(&server, "work", "k1", json!({ "a": 2 })).await;
    assert_eq!((other.status.as_u16(), other.body["code"].as_str()), (422, Some("IDEMPOTENCY_KEY_REUSED")));
    assert_eq!(once(&server, "elsewhere", "k1", json!({ "a": 2 })).await.body["run"], 1, "another route");
    let long = "x".repeat(256);
    assert_eq!(once(&server, "work", &long, json!({})).await.body["field"], "Idempotency-Key");
    server.turn(Duration::from_secs(24 * 3600));
    assert_eq!(once(&server, "work", "k1", json!({ "a": 2 })).await.body["run"], 2, "a day later");
}

#[tokio::test]
async fn at_once_only_one_runs() {
    let server = Server::start("").await;
    let answers = join_all((0..5).map(|_| once(&server, "slow", "k", json!({})))).await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status.as_u16() == status).count();
    assert_eq!((count(201), count(409)), (1, 4));
    let busy = answers.iter().find(|answer| answer.status == 409).expect("one");
    assert_eq!(busy.body["code"], "IDEMPOTENCY_KEY_IN_USE");
    assert_eq!(once(&server, "slow", "k", json!({})).await.header("idempotent-replay"), "true");
}

#[tokio::test]
async fn rejections_are_not_kept_and_failures_keep_their_id() {
    let server = Server::start("").await;
    for _ in 0..2 {
        once(&server, "reject", "k", json!({})).await.refused(409, "not ready");
    }
    let late = once(&server, "late", "k", json!({})).await;
    let again = once(&server, "late", "k", json!({})).await;
    late.refused(409, "too late");
    assert_eq!((again.header("idempotent-replay"), &again.body), ("true", &late.body));

    let server = Server::start("").await;
    assert_eq!(once(&server, "flaky", "k", json!({})).await.status, 503);
    let second = once(&server, "flaky", "k", json!({})).await;
    assert_eq!((second.status.as_u16(), second.body["run"].as_u64()), (201, Some(1)));
}

#[tokio::test]
async fn a_retry_after_a_crash_has_the_same_id() {
    use shared::domain::idempotency::{Begin, begin};

    let server = Server::start("").await;
    let user = shared::id::UserId::new("u");
    let start = async |body: &str| begin(&server.app, &user, "POST /x", "k", body).await;
    let Begin::Run(first) = start("b").await.expect("claims") else { panic!("nothing was answered") };
    assert_eq!(start("b").await.expect_err("running").code, "IDEMPOTENCY_KEY_IN_USE");
    // The process that held the claim is gone.
    server.turn(Duration::from_secs(30));
    assert_eq!(start("c").await.expect_err("another body").code, "IDEMPOTENCY_KEY_REUSED");
    let Begin::Run(second) = start("b").await.expect("claims") else { panic!("nothing was answered") };
    assert_eq!(first.allocated, second.allocated);
}

#[tokio::test]
async fn registering_twice_with_a_key_makes_one_user() {
    let server = Server::start("").await;
    let body = json!({ "email": "ann@example.com", "password": PASSWORD });
    let key = [("idempotency-key", "r1")];
    let first = server.call("POST", "/api/auth/register", &key, Some(body.clone())).await.ok(201);
    let again = server.call("POST", "/api/auth/register", &key, Some(body)).await;
    assert_eq!(again.header("idempotent-replay"), "true");
    assert_eq!(again.ok(201), first);
    let token = text(&first["token"]);
    for file in std::fs::read_dir(server.folder.path()).expect("lists").filter_map(Result::ok) {
        let stored = std::fs::read(file.path()).unwrap_or_default();
        let found = stored.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!found, "answers are sealed, also in {:?}", file.file_name());
    }
}
