//! Logging in, who am I, registering, rotating the key, changing the password.

use super::{answer_of, request_of};
use crate::harness::server::{ADMIN_EMAIL, ADMIN_PASSWORD};
use crate::harness::tenant::fresh_email;
use crate::harness::{Client, Credential, Server, Tenant, shape, shared};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn login(client: &Client, email: &str, password: &str) -> crate::harness::Answer {
    client.post("/api/auth/login", &json!({"email": email, "password": password})).await
}

#[tokio::test]
async fn login_answers_as_the_seed_shows() {
    let client = shared().anonymous();
    let mut body = request_of("POST /api/auth/login");
    body["email"] = ADMIN_EMAIL.into();
    body["password"] = ADMIN_PASSWORD.into();
    let answer = client.post("/api/auth/login", &body).await.expect(200);
    shape(answer_of("POST /api/auth/login"), &answer);
    assert_eq!(answer["user"]["email"], ADMIN_EMAIL);
}

#[tokio::test]
async fn login_refuses_a_missing_field_a_wrong_pair_and_what_is_not_json() {
    let tenant = Tenant::new().await;
    let client = tenant.anonymous();
    for body in [json!({}), json!({"email": tenant.email}), json!({"password": "x"})] {
        client.post("/api/auth/login", &body).await.refused_with(400, "Email and password are required");
    }
    login(&client, &tenant.email, "wrong password").await.refused_with(401, "Invalid credentials");
    login(&client, &fresh_email(), "wrong password").await.refused_with(401, "Invalid credentials");
    client.post("/api/auth/login", &json!({"email": 5, "password": "x"})).await.names("email");
    let broken = client.request(http::Method::POST, "/api/auth/login").header("content-type", "application/json");
    client.send(broken.body("{\"email\":")).await.refused(400);
}

#[tokio::test]
async fn a_login_takes_as_long_whether_the_account_exists_or_not() {
    let server = Server::start();
    let client = server.anonymous();
    let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
    // The fastest of each counts, taken in turns: a machine that is busy for a while is busy for both. The fifth failure of an
    // account would close its login, so every round has its own.
    for round in 0..10 {
        let tenant = Tenant::of(&server).await;
        let nobody = format!("nobody{round}@example.com");
        for _ in 0..4 {
            for (email, fastest) in [(&tenant.email, &mut known), (&nobody, &mut unknown)] {
                let start = Instant::now();
                login(&client, email, "wrong password").await.refused(401);
                *fastest = start.elapsed().min(*fastest);
            }
        }
        if unknown * 2 > known && known * 2 > unknown {
            return;
        }
    }
    panic!("known {known:?}, unknown {unknown:?}");
}

#[tokio::test]
async fn me_is_the_same_by_key_by_token_and_by_key_as_bearer() {
    let tenant = Tenant::new().await;
    for client in [&tenant.client, &tenant.jwt, &tenant.client.with(Credential::Bearer(tenant.api_key.clone()))] {
        let me = client.get("/api/auth/me").await.expect(200);
        shape(answer_of("GET /api/auth/me"), &me);
        assert_eq!((&me["id"], &me["email"]), (&json!(tenant.id), &json!(tenant.email)));
        assert_eq!((&me["firstName"], &me["lastName"]), (&json!("John"), &json!("Doe")));
        assert!(me.get("apiKey").is_none(), "{me}");
        assert!(!me.to_string().to_lowercase().contains("password"), "{me}");
    }
}

#[tokio::test]
async fn missing_and_bad_credentials_are_401_and_the_token_decides_over_the_key() {
    let tenant = Tenant::new().await;
    let anonymous = tenant.anonymous();
    anonymous.get("/api/auth/me").await.refused(401);
    let bad_key = anonymous.with(Credential::ApiKey("no such key".into()));
    bad_key.get("/api/auth/me").await.refused_with(401, "Invalid API key");
    anonymous.with(Credential::Bearer("no.such.token".into())).get("/api/auth/me").await.refused(401);
    anonymous.with(Credential::ApiKey(String::new())).get("/api/auth/me").await.refused(401);

    let both = tenant.jwt.request(http::Method::GET, "/api/auth/me").header("x-api-key", "no such key");
    tenant.jwt.send(both).await.expect(200);
    let both = bad_key.with(Credential::ApiKey(tenant.api_key.clone())).request(http::Method::GET, "/api/auth/me");
    tenant.client.send(both.header("authorization", "Bearer no.such.token")).await.refused(401);
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let tenant = Tenant::new().await;
    let answer = login(&tenant.anonymous(), &tenant.email, &tenant.password).await.expect(200);
    let token = answer["token"].as_str().unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let decode = |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let (header, claims) = (decode(parts[0]), decode(parts[1]));
    assert_eq!(header["alg"], "HS256");
    for claim in ["sub", "email", "role", "iat", "exp", "iss", "jti"] {
        assert!(claims.get(claim).is_some(), "no {claim} in {claims}");
    }
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 24 * 3600);

    let mut none = header.clone();
    none["alg"] = "none".into();
    let mut admin = claims.clone();
    admin["role"] = "admin".into();
    let forged = [
        format!("{}.{}.", encode(&none), parts[1]),
        format!("{}.{}.{}", encode(&none), parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], encode(&admin), parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode([0_u8; 32])),
    ];
    for token in forged {
        tenant.client.with(Credential::Bearer(token)).get("/api/auth/me").await.refused(401);
    }
}

#[tokio::test]
async fn registration_answers_like_a_login_and_refuses_what_is_taken_or_bad() {
    let client = shared().anonymous();
    let email = fresh_email();
    let created = client.post("/api/auth/register", &json!({"email": email, "password": "12345678"})).await.expect(201);
    shape(answer_of("POST /api/auth/login"), &created);
    assert_eq!((&created["user"]["firstName"], &created["user"]["lastName"]), (&json!(""), &json!("")));
    login(&client, &email, "12345678").await.expect(200);

    let again = json!({"email": email, "password": "another password"});
    client.post("/api/auth/register", &again).await.refused(409);
    client
        .post("/api/auth/register", &json!({"email": email.to_uppercase(), "password": "12345678"}))
        .await
        .refused(409);
    for (field, body) in [
        ("email", json!({"password": "12345678"})),
        ("password", json!({"email": fresh_email()})),
        ("password", json!({"email": fresh_email(), "password": "1234567"})),
        ("password", json!({"email": fresh_email(), "password": "x".repeat(201)})),
        ("email", json!({"email": "no address", "password": "12345678"})),
        ("username", json!({"email": fresh_email(), "password": "12345678", "username": "a@b"})),
        ("username", json!({"email": fresh_email(), "password": "12345678", "username": "bot_a"})),
        ("username", json!({"email": fresh_email(), "password": "12345678", "username": "x"})),
    ] {
        client.post("/api/auth/register", &body).await.names(field);
    }
}

#[tokio::test]
async fn registration_is_closed_when_configured_and_to_what_comes_through_a_proxy() {
    let body = || json!({"email": fresh_email(), "password": "12345678"});
    let server = Server::start_with(&[("REGISTRATION", "closed")]);
    server.anonymous().post("/api/auth/register", &body()).await.refused(403);

    let client = shared().anonymous();
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9"),
        ("host", "trunkline.example.com"),
        ("origin", "https://evil.example.com"),
    ] {
        let request = client.request(http::Method::POST, "/api/auth/register").header(name, value).json(&body());
        client.send(request).await.refused(403);
    }
}

#[tokio::test]
async fn the_key_stays_until_it_is_rotated() {
    let tenant = Tenant::new().await;
    for _ in 0..2 {
        let answer = login(&tenant.anonymous(), &tenant.email, &tenant.password).await.expect(200);
        assert_eq!(answer["user"]["apiKey"], tenant.api_key.as_str());
    }
    let rotated = tenant.client.order("/api/auth/api-key/rotate").await.expect(200);
    let key = rotated["apiKey"].as_str().unwrap();
    assert_ne!(key, tenant.api_key);
    tenant.client.get("/api/auth/me").await.refused_with(401, "Invalid API key");
    tenant.client.with(Credential::ApiKey(key.into())).get("/api/auth/me").await.expect(200);
    let answer = login(&tenant.anonymous(), &tenant.email, &tenant.password).await.expect(200);
    assert_eq!(answer["user"]["apiKey"], key);
    tenant.jwt.get("/api/auth/me").await.expect(200);
}

#[tokio::test]
async fn a_new_password_ends_every_token_before_it() {
    let tenant = Tenant::new().await;
    let path = "/api/auth/password";
    let wrong = tenant.jwt.put(path, &json!({"oldPassword": "wrong one", "newPassword": "a new password"})).await;
    assert!(matches!(wrong.status, 400 | 401 | 403), "{wrong}");
    wrong.envelope();
    tenant.jwt.put(path, &json!({"oldPassword": tenant.password, "newPassword": "short"})).await.names("newPassword");
    tenant.jwt.get("/api/auth/me").await.expect(200);

    let changed = tenant.jwt.put(path, &json!({"oldPassword": tenant.password, "newPassword": "a new password"})).await;
    assert!((200..300).contains(&changed.status), "{changed}");
    tenant.jwt.get("/api/auth/me").await.refused(401);
    login(&tenant.anonymous(), &tenant.email, &tenant.password).await.refused(401);
    let answer = login(&tenant.anonymous(), &tenant.email, "a new password").await.expect(200);
    let token = answer["token"].as_str().unwrap().to_owned();
    tenant.client.with(Credential::Bearer(token)).get("/api/auth/me").await.expect(200);
    tenant.client.get("/api/auth/me").await.expect(200);
}

#[tokio::test]
async fn five_failures_a_minute_close_the_login_of_that_account_only() {
    let (tenant, other) = (Tenant::new().await, Tenant::new().await);
    let client = tenant.anonymous();
    for _ in 0..5 {
        login(&client, &tenant.email, "wrong password").await.refused(401);
    }
    let closed = login(&client, &tenant.email, &tenant.password).await;
    closed.refused(429);
    let seconds: u64 = closed.header("retry-after").parse().expect("Retry-After in seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    login(&client, &other.email, &other.password).await.expect(200);
    tenant.client.get("/api/auth/me").await.expect(200);
}
