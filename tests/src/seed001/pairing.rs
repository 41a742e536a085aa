//! The QR code in all its forms, scanning, the pairing code, the status.

use super::answer_of;
use crate::harness::{Instance, Tenant, eventually, shape};
use http::Method;
use serde_json::json;

#[tokio::test]
async fn a_qr_code_is_a_string_a_png_and_an_svg() {
    let tenant = Tenant::new().await;
    let instance = Instance::create(&tenant.client, &json!({})).await;
    assert!(instance.qr().await.contains(','), "WhatsApp's codes are comma separated");
    for path in [instance.at("/qr"), instance.wa("/qr")] {
        let json = tenant.client.get(&path).await.expect(200);
        shape(answer_of("GET /api/instances/{instanceId}/qr"), &json);
    }
    for (query, accept, mime, magic) in [
        ("", "image/png", "image/png", b"\x89PNG".as_slice()),
        ("?format=png", "*/*", "image/png", b"\x89PNG"),
        ("", "image/svg+xml", "image/svg+xml", b"<"),
        ("?format=svg", "*/*", "image/svg+xml", b"<"),
    ] {
        let request = tenant.client.request(Method::GET, &instance.at(&format!("/qr{query}"))).header("accept", accept);
        let answer = tenant.client.send(request).await;
        assert_eq!(answer.status, 200, "{answer}");
        assert!(answer.header("content-type").starts_with(mime), "{:?}", answer.headers);
        assert!(answer.body.starts_with(magic), "{answer}");
    }
    tenant.client.get(&instance.at("/qr?format=gif")).await.names("format");
    assert_eq!(instance.get("").await["connectionStatus"]["hasQr"], true);
    let status = tenant.client.get(&instance.wa("/status")).await.expect(200);
    shape(answer_of("GET /api/whatsapp/{instanceId}/status"), &status);
    assert_eq!((&status["ready"], &status["hasQr"]), (&json!(false), &json!(true)));
}

#[tokio::test]
async fn while_there_is_no_qr_code_yet_the_answer_is_202() {
    let tenant = Tenant::new().await;
    // Somewhere between creation and the first code: whoever asks at once may meet it.
    for _ in 0..20 {
        let instance = Instance::create(&tenant.client, &json!({})).await;
        let answer = tenant.client.get(&instance.at("/qr")).await;
        if answer.status == 202 {
            let waiting = answer.json();
            assert_eq!(waiting["status"], "generating", "{waiting}");
            assert!(waiting["message"].as_str().is_some_and(|text| !text.is_empty()), "{waiting}");
        } else {
            shape(answer_of("GET /api/instances/{instanceId}/qr"), &answer.expect(200));
        }
    }
}

#[tokio::test]
async fn a_connected_instance_has_no_qr_code() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    tenant.client.get(&instance.at("/qr")).await.refused(409);
    tenant.client.get(&instance.wa("/qr")).await.refused_with(404, "QR code not available");
    let status = tenant.client.get(&instance.wa("/status")).await.expect(200);
    assert_eq!((&status["ready"], &status["status"]), (&json!(true), &json!("connected")));
    let again = instance.post("/sandbox/scan", &json!({"phone": "79001112233"})).await;
    again.refused(409);
}

#[tokio::test]
async fn a_scan_gives_the_instance_the_phones_number() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let address = instance.get("").await["address"].as_str().expect("an address").to_owned();
    assert!(address.contains(&instance.phone), "{address} is not {}", instance.phone);
}

#[tokio::test]
async fn a_pairing_code_can_be_asked_for() {
    let tenant = Tenant::new().await;
    let instance = Instance::create(&tenant.client, &json!({})).await;
    instance.qr().await;
    let code = eventually("a pairing code", async || {
        let answer = instance.post("/pairing-code", &json!({"phone": "79001234567"})).await;
        (answer.status != 202).then(|| answer.expect(200))
    })
    .await;
    assert!(code["code"].as_str().is_some_and(|code| code.len() >= 8), "{code}");
    instance.post("/pairing-code", &json!({})).await.names("phone");
    instance.post("/pairing-code", &json!({"phone": "abc"})).await.names("phone");
}

#[tokio::test]
async fn the_seeds_logout_of_the_whatsapp_group() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let answer = tenant.client.order(&instance.wa("/logout")).await.expect(200);
    shape(answer_of("POST /api/whatsapp/{instanceId}/logout"), &answer);
    assert_eq!(answer["success"], true);
    instance.wait_status("logged_out").await;
    tenant.client.get(&instance.wa("/qr")).await.refused_with(404, "QR code not available");
}

#[tokio::test]
async fn a_live_whatsapp_instance_refuses_the_sandbox_commands() {
    let tenant = Tenant::new().await;
    let created = tenant.client.post("/api/instances", &json!({"name": "live"})).await.expect(201);
    let path = format!("/api/instances/{}/sandbox", created["id"].as_str().unwrap());
    for (command, body) in [("scan", json!({})), ("receive", json!({"from": "79001234567", "text": "x"}))] {
        let answer = tenant.client.post(&format!("{path}/{command}"), &body).await;
        assert!((400..500).contains(&answer.status), "{answer}");
        answer.envelope();
    }
    let answer = tenant.client.get(&format!("{path}/outbox")).await;
    assert!((400..500).contains(&answer.status), "{answer}");
}
