//! Addresses, tokens, health, information.

use super::example;
use crate::harness::{Credential, Person, Server, Tenant, shape, shared};
use serde_json::json;

#[tokio::test]
async fn the_config_says_where_the_im_is() {
    let person = Person::of(shared(), "config").await;
    for prefix in ["/api/v1/im", "/api/im"] {
        let config = person.client.get(&format!("{prefix}/config")).await.expect(200);
        shape(example("GET /api/v1/im/config", "answer"), &config);
        assert_eq!(config["data"]["uid"], person.id);
        assert!(config["data"]["apiUrl"].as_str().unwrap().starts_with("http"), "{config}");
    }
    shared().anonymous().get("/api/im/config").await.refused_with(401, "Unauthorized");
}

#[tokio::test]
async fn a_token_is_given_to_whole_accounts_only() {
    let tenant = Tenant::new().await;
    let answer = tenant.client.order("/api/v1/im/token").await.expect(200);
    shape(example("POST /api/v1/im/token", "answer"), &answer);
    assert_eq!(answer["data"]["uid"], tenant.id);
    let token = answer["data"]["token"].as_str().unwrap();
    assert!(token.len() > 20, "{token}");
    // It opens sockets; it is no credential here.
    let holder = tenant.client.with(Credential::Bearer(token.to_owned()));
    holder.get("/api/v1/im/config").await.refused(401);
    let key = tenant.client.post("/api/auth/keys", &json!({"name": "part"})).await.expect(201);
    let part = tenant.client.with(Credential::ApiKey(key["key"].as_str().unwrap().to_owned()));
    part.order("/api/v1/im/token").await.refused(403);
}

#[tokio::test]
async fn the_health_needs_no_credentials() {
    for path in ["/api/v1/im/health", "/api/im/health"] {
        let answer = shared().anonymous().get(path).await.expect(200);
        shape(
            &json!({"success": true, "data": {"status": "healthy", "timestamp": "2024-01-15T10:30:00.000Z"}}),
            &answer,
        );
        assert_eq!(answer["data"]["status"], example("GET /api/v1/im/health", "answer")["data"]["status"]);
    }
}

#[tokio::test]
async fn the_system_info_counts() {
    let server = Server::start();
    let person = Person::of(&server, "info").await;
    let answer = person.client.get("/api/v1/im/system/info").await.expect(200);
    shape(example("GET /api/v1/im/system/info", "answer"), &answer);
    assert!(answer["data"]["uptime"].as_u64().unwrap() < 60, "{answer}");
    assert_eq!(answer["data"]["connections"], 0);
    server.anonymous().get("/api/v1/im/system/info").await.refused(401);
}

#[tokio::test]
async fn unknown_paths_and_methods_have_the_envelope() {
    let person = Person::of(shared(), "paths").await;
    person.client.get("/api/v1/im/nothing").await.refused(404);
    let wrong = person.client.get("/api/v1/im/message/send").await;
    wrong.refused(405);
    assert!(wrong.header("allow").contains("POST"), "{:?}", wrong.headers);
}
