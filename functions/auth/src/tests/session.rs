//! Login, its throttle, tokens, registration.

use futures_util::future::join_all;
use jsonwebtoken::{EncodingKey, Header};

use super::*;

#[tokio::test]
async fn the_first_start_makes_an_administrator_once() {
    let server = Server::start("ADMIN_FIRST_NAME = 'Ada'").await;
    let first = server.first_start.as_ref().expect("the first start");
    assert_eq!((first.email.as_str(), first.password.is_none()), (ADMIN, true));
    let key = first.api_key.reveal().to_owned();
    let me = server.get("/api/auth/me", &key).await.ok(200);
    assert_eq!((me["firstName"].as_str(), me["role"].as_str()), (Some("Ada"), Some("admin")));

    let server = server.restart("").await;
    assert!(server.first_start.is_none());
    assert_eq!(server.admin_key().await, key, "the same key until it is rotated");
}

#[tokio::test]
async fn several_processes_make_one_administrator() {
    let folder = tempfile::tempdir().expect("a folder");
    let config =
        Config::load(&Source::new(Some("ENCRYPTION_KEY = 'only for this test'")).expect("reads")).expect("loads");
    let config = Config { data_dir: folder.path().to_owned(), ..config };
    let clock = Arc::new(ManualClock::at(Millis(1_672_574_400_000)));
    let meter = Arc::new(Meter::default());
    let sqlite = shared_local::Sqlite::open(folder.path(), clock.clone(), meter.clone()).expect("opens");
    let starts = (0..4).map(async |_| {
        let media = app::local_media(&config).expect("a folder");
        let parts = Parts {
            store: sqlite.clone(),
            queues: sqlite.clone(),
            media,
            clock: clock.clone(),
            meter: meter.clone(),
            realtime: None,
            secrets: None,
        };
        let app = App::build(config.clone(), parts).await.expect("builds");
        let first = user::bootstrap(&app).await.expect("starts");
        (app, first)
    });
    let started = join_all(starts).await;
    let firsts: Vec<_> = started.iter().filter_map(|(_, first)| first.as_ref()).collect();
    assert_eq!(firsts.len(), 1);
    let password = firsts[0].password.as_ref().expect("generated");
    assert_eq!(password.reveal().len(), 20);
    for (app, _) in &started {
        let admin = user::find_by_name(app, ADMIN).await.expect("reads").expect("is there");
        assert_eq!(admin.api_key(app).reveal(), firsts[0].api_key.reveal(), "all share one keyring");
    }
}

#[tokio::test]
async fn another_encryption_key_is_refused_at_start() {
    let server = Server::start("").await;
    let Server { app, router, folder, clock, .. } = server;
    let mut config = app.config.clone();
    config.encryption_key = Some(secret("some other key entirely"));
    drop((app, router));
    let meter = Arc::new(Meter::default());
    let sqlite = shared_local::Sqlite::open(folder.path(), clock.clone(), meter.clone()).expect("opens");
    let media = app::local_media(&config).expect("a folder");
    let parts = Parts { store: sqlite.clone(), queues: sqlite, media, clock, meter, realtime: None, secrets: None };
    let error = App::build(config, parts).await.err().expect("refused");
    assert_eq!(error.field.as_deref(), Some("ENCRYPTION_KEY"));
}

#[tokio::test]
async fn a_login_answers_as_the_seed_has_it() {
    let server = Server::start("PUBLIC_URL = 'https://api.example.com/'").await;
    let body = server.login(ADMIN, PASSWORD).await.ok(200);
    assert_eq!(body["realtimeUrl"], "wss://api.example.com/ws");
    let user = &body["user"];
    assert_eq!(
        (user["email"].as_str(), user["firstName"].as_str(), user["lastName"].as_str()),
        (Some(ADMIN), Some(""), Some(""))
    );
    let (token, key) = (text(&body["token"]), text(&user["apiKey"]));

    for headers in
        [[("authorization", bearer(&token))], [("authorization", bearer(&key))], [("x-api-key", key.clone())]]
    {
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let me = server.call("GET", "/api/auth/me", &headers, None).await.ok(200);
        assert_eq!(me["id"], user["id"]);
        assert!(me.get("apiKey").is_none());
    }
    let both = [("authorization", "Bearer a.b.c"), ("x-api-key", key.as_str())];
    server.call("GET", "/api/auth/me", &both, None).await.refused(401, "Unauthorized");
    let answer = server.call("GET", "/api/auth/me", &[], None).await;
    answer.refused(401, "Unauthorized");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    server.get("/api/auth/me", "nonsense").await.refused(401, "Invalid API key");
    let wrong = format!("{}x", &key[..key.len() - 1]);
    server.get("/api/auth/me", &wrong).await.refused(401, "Invalid API key");
}

#[tokio::test]
async fn a_wrong_pair_is_refused_alike() {
    let server = Server::start("").await;
    let wrong = server.login(ADMIN, "wrong password").await;
    let unknown = server.login("nobody@example.com", "wrong password").await;
    wrong.refused(401, "Invalid credentials");
    assert_eq!(wrong.body, unknown.body);
    for body in
        [json!({}), json!({ "email": ADMIN }), json!({ "password": "x" }), json!({ "email": "", "password": "x" })]
    {
        let answer = server.call("POST", "/api/auth/login", &[], Some(body)).await;
        answer.refused(400, "Email and password are required");
        assert_eq!(answer.body["code"], "VALIDATION_ERROR");
    }
    let answer = server.call("POST", "/api/auth/login", &[], Some(json!({ "email": 7, "password": "x" }))).await;
    assert_eq!((answer.status.as_u16(), answer.body["field"].as_str()), (400, Some("email")));
}

#[tokio::test]
async fn five_failures_a_minute_even_all_at_once() {
    let server = Server::start("").await;
    let answers = join_all((0..12).map(|_| server.login(ADMIN, "wrong password"))).await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status.as_u16() == status).count();
    assert_eq!((count(401), count(429)), (5, 7));
    let refused = server.login(&ADMIN.to_uppercase(), PASSWORD).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "60"));
    server.login("other@example.com", "wrong password").await.refused(401, "Invalid credentials");
    server.turn(Duration::from_secs(60));
    server.login(ADMIN, PASSWORD).await.ok(200);
}

#[tokio::test]
async fn right_logins_are_not_throttled() {
    let server = Server::start("").await;
    for answer in join_all((0..12).map(|_| server.login(ADMIN, PASSWORD))).await {
        answer.ok(200);
    }
}

#[tokio::test]
async fn tokens_are_validated_strictly() {
    let server = Server::start("JWT_SECRET = 'a secret of the old days'").await;
    let token = text(&server.login(ADMIN, PASSWORD).await.ok(200)["token"]);
    let me = async |server: &Server, token: &str| {
        server.call("GET", "/api/auth/me", &[("authorization", &bearer(token))], None).await.status.as_u16()
    };
    assert_eq!(me(&server, &token).await, 200);

    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(&token).expect("a token");
    let kid = claims.header.kid.expect("a key id");
    let admin = &claims.claims;
    assert_eq!((admin["iss"].as_str(), admin["role"].as_str()), (Some("trunkline"), Some("admin")));
    assert_eq!(admin["exp"].as_i64().expect("a time") - admin["iat"].as_i64().expect("a time"), 24 * 3600);
    let forged = |algorithm, kid: &str, claims: &Value, key: &[u8]| {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(key)).expect("encodes")
    };
    let key = server.app.keyring.jwt_key(&kid).expect("a key");
    let hs256 = jsonwebtoken::Algorithm::HS256;
    assert_eq!(me(&server, &forged(hs256, &kid, admin, &key)).await, 200, "the forge works");
    assert_eq!(me(&server, &forged(hs256, &kid, admin, b"another key")).await, 401);
    assert_eq!(me(&server, &forged(hs256, "none", admin, &key)).await, 401);
    assert_eq!(me(&server, &forged(jsonwebtoken::Algorithm::HS512, &kid, admin, &key)).await, 401);
    for (claim, value) in
        [("iss", json!("other")), ("exp", json!(1)), ("tv", json!(2)), ("sub", json!("0123456789abcdef"))]
    {
        let mut claims = admin.clone();
        claims[claim] = value;
        assert_eq!(me(&server, &forged(hs256, &kid, &claims, &key)).await, 401, "{claim}");
    }
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", token.split('.').nth(1).expect("claims"));
    assert_eq!(me(&server, &unsigned).await, 401);

    // A new secret signs; the old one still verifies while it is listed.
    let Server { app, router, folder, settings, .. } = server;
    drop((app, router));
    let settings = settings.replace("'a secret of", "'a secret of our own, a secret of");
    let server = Server::start_in(folder, settings).await;
    assert_eq!(me(&server, &token).await, 200);
    server.turn(Duration::from_secs(24 * 3600));
    assert_eq!(me(&server, &token).await, 401, "expired");
}

#[tokio::test]
async fn registration_is_open_on_the_developers_machine_only() {
    let server = Server::start("").await;
    let body = json!({ "email": "Ann@example.com", "password": PASSWORD, "firstName": "Ann", "username": "ann" });
    let session = server.call("POST", "/api/auth/register", &[], Some(body.clone())).await.ok(201);
    assert_eq!((session["user"]["firstName"].as_str(), session["user"]["role"].as_str()), (Some("Ann"), Some("user")));
    assert!(session["token"].is_string());
    server.login("ann@EXAMPLE.com", PASSWORD).await.ok(200);
    server.login("ANN", PASSWORD).await.ok(200);

    let answer = server.call("POST", "/api/auth/register", &[], Some(body)).await;
    assert_eq!((answer.status.as_u16(), answer.body["code"].as_str()), (409, Some("EMAIL_TAKEN")));
    let taken = json!({ "email": "b@example.com", "password": PASSWORD, "username": "Ann" });
    let answer = server.call("POST", "/api/auth/register", &[], Some(taken)).await;
    assert_eq!((answer.status.as_u16(), answer.body["code"].as_str()), (409, Some("USERNAME_TAKEN")));
    for (field, value) in [("email", "b"), ("password", "short"), ("username", "a@b")] {
        let mut body = json!({ "email": "b@example.com", "password": PASSWORD, "username": "bob" });
        body[field] = value.into();
        let answer = server.call("POST", "/api/auth/register", &[], Some(body)).await;
        assert_eq!((answer.status.as_u16(), answer.body["field"].as_str()), (400, Some(field)));
    }
    let body = json!({ "email": "c@example.com", "password": PASSWORD });
    for header in [("x-forwarded-for", "127.0.0.1"), ("host", "example.com"), ("origin", "https://example.com")] {
        let answer = server.call("POST", "/api/auth/register", &[header], Some(body.clone())).await;
        answer.refused(403, "Registration is closed");
    }
}

#[tokio::test]
async fn an_invitation_lets_one_in() {
    let server = Server::start("REGISTRATION = 'invite'").await;
    let register = async |email: &str, invitation: Value| {
        let body = json!({ "email": email, "password": PASSWORD, "invitation": invitation });
        server.call("POST", "/api/auth/register", &[], Some(body)).await
    };
    register("a@example.com", Value::Null).await.refused(403, "A valid invitation is required");
    register("a@example.com", json!("nonsense")).await.refused(403, "A valid invitation is required");
    let key = server.admin_key().await;
    let invite = async || server.post("/api/auth/invites", &key, json!({})).await.ok(201)["code"].take();
    let code = invite().await;
    let session = register("a@example.com", code.clone()).await.ok(201);
    register("b@example.com", code).await.refused(403, "A valid invitation is required");
    let user_key = text(&session["user"]["apiKey"]);
    server.post("/api/auth/invites", &user_key, json!({})).await.refused(403, "Access denied");
    let late = invite().await;
    server.turn(Duration::from_secs(7 * 24 * 3600));
    register("b@example.com", late).await.refused(403, "A valid invitation is required");
}
