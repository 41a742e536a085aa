//! Media by URL, by base64, by form, by upload.

use super::{answer_of, request_of};
use crate::harness::{Behaviour, Instance, Receiver, Tenant, shape};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The smallest PNG there is, more or less.
const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, 0x49, 0x48, 0x44, 0x52, 0, 0, 0, 1, 0, 0, 0, 1, 8, 6,
    0, 0, 0, 0x1f, 0x15, 0xc4, 0x89, 0, 0, 0, 13, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0xf8, 0xcf, 0xc0, 0xf0,
    0x1f, 0, 5, 0, 1, 0xff, 0x89, 0x99, 0x3d, 0x1d, 0, 0, 0, 0, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];

async fn phone() -> Instance {
    Instance::paired(&Tenant::new().await.client, &json!({})).await
}

async fn row(instance: &Instance, id: &Value) -> Value {
    instance.wait_outbox(id.as_str().expect("a message id")).await;
    instance.wait_message("79001234567", id.as_str().unwrap(), "read").await
}

#[tokio::test]
async fn media_by_url_is_fetched_stored_and_sent() {
    let (instance, web) = (phone().await, Receiver::start().await);
    for (path, mime, content, kind) in [
        ("/image.png", "image/png", PNG, "image"),
        ("/clip.mp4", "video/mp4", b"moving".as_slice(), "video"),
        ("/paper.pdf", "application/pdf", b"%PDF-1.4 text", "document"),
    ] {
        web.behave(path, Behaviour::File(mime, content.into()));
        let mut body = request_of("POST /api/whatsapp/{instanceId}/send-media");
        body["url"] = web.url(path).into();
        body["filename"] = path[1..].into();
        let sent = instance.wa_post("/send-media", &body).await.expect(200);
        shape(answer_of("POST /api/whatsapp/{instanceId}/send-media"), &sent);
        let row = row(&instance, &sent["id"]).await;
        assert_eq!((&row["messageType"], &row["hasMedia"]), (&json!(kind), &json!(true)), "{row}");
        assert_eq!(row["caption"], "图片描述", "{row}");
        assert_eq!(row["mimeType"], mime, "{row}");
        assert_eq!(web.count(path), 1);
    }
}

#[tokio::test]
async fn base64_works_instead_of_a_url() {
    let instance = phone().await;
    let body = json!({"phone": "79001234567", "base64": "aGVsbG8=", "filename": "hello.txt"});
    let sent = instance.wa_post("/send-media", &body).await.expect(200);
    assert_eq!(row(&instance, &sent["id"]).await["messageType"], "document");
    let bad = json!({"phone": "79001234567", "base64": "not base64!", "filename": "x"});
    instance.wa_post("/send-media", &bad).await.names("base64");
}

#[tokio::test]
async fn a_url_that_cannot_be_had_is_400_before_anything_is_accepted() {
    let (instance, web) = (phone().await, Receiver::start().await);
    web.behave("/gone", Behaviour::Status(404));
    web.behave("/away", Behaviour::Redirect("http://169.254.169.254/latest/meta-data".into()));
    web.behave("/lies", Behaviour::LyingLength);
    web.behave("/huge", Behaviour::Huge);
    web.behave("/broken", Behaviour::Close);
    let closed = format!("http://127.0.0.1:{}/x", crate::harness::server::free_port());
    let mut urls: Vec<String> =
        ["/gone", "/away", "/lies", "/huge", "/broken"].iter().map(|path| web.url(path)).collect();
    urls.extend([
        closed,
        "ftp://127.0.0.1/x".into(),
        "http://10.1.2.3/x".into(),
        "file:///etc/passwd".into(),
        "nonsense".into(),
    ]);
    for url in urls {
        let answer = instance.wa_post("/send-media", &json!({"phone": "79001234567", "url": url})).await;
        let refusal = answer.refused(400);
        assert!(!refusal.error.contains("169.254"), "no map of the inside: {answer}");
    }
    assert!(web.endless_bytes("/huge") <= 80 << 20, "{} bytes read", web.endless_bytes("/huge"));
    assert!(instance.outbox().await.is_empty());
    assert_eq!(instance.get("/chats/79001234567/messages").await["pagination"]["total"], 0);
}

#[tokio::test]
async fn a_slow_url_is_given_up_in_time() {
    let (instance, web) = (phone().await, Receiver::start().await);
    web.behave("/drip", Behaviour::Drip);
    let start = Instant::now();
    instance.wa_post("/send-media", &json!({"phone": "79001234567", "url": web.url("/drip")})).await.refused(400);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_file_is_sent_from_a_form() {
    let instance = phone().await;
    let path = instance.wa("/send-file");
    let fields = [("phone", "79001234567"), ("caption", "a picture")];
    let sent = instance.client.upload(&path, &fields, Some(("image.png", "image/png", PNG))).await.expect(200);
    shape(answer_of("POST /api/whatsapp/{instanceId}/send-file"), &sent);
    let found = row(&instance, &sent["id"]).await;
    assert_eq!((&found["messageType"], &found["caption"]), (&json!("image"), &json!("a picture")), "{found}");
    assert_eq!((&found["fileName"], &found["mimeType"]), (&json!("image.png"), &json!("image/png")), "{found}");

    // A file of some size, whose type only its name tells.
    let big = vec![b'a'; 3 << 20];
    let file = Some(("notes.txt", "application/octet-stream", big.as_slice()));
    let sent = instance.client.upload(&path, &[("phone", "79001234567")], file).await.expect(200);
    assert_eq!(row(&instance, &sent["id"]).await["messageType"], "document");

    instance.client.upload(&path, &[("phone", "79001234567")], None).await.refused_with(400, "File is required");
    let file = Some(("x.txt", "text/plain", b"x".as_slice()));
    instance.client.upload(&path, &[("caption", "x")], file).await.refused_with(400, "Phone is required");
    instance.wa_post("/send-file", &json!({"phone": "79001234567"})).await.refused(400);
}

#[tokio::test]
async fn an_upload_of_its_own_can_be_sent() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let asked = json!({"filename": "hello.txt", "mimeType": "text/plain", "size": 5});
    let upload = tenant.client.post("/api/media/uploads", &asked).await.expect(201);
    shape(&json!({"mediaId": "x", "uploadUrl": "x", "expiresAt": "2024-01-01T00:00:00.000Z"}), &upload);
    let url = upload["uploadUrl"].as_str().unwrap();
    let path = url.strip_prefix(tenant.client.base()).unwrap_or(url);
    let put = tenant.client.request(http::Method::PUT, path).header("content-type", "text/plain").body("hello");
    let stored = tenant.client.send(put).await;
    assert!((200..300).contains(&stored.status), "{stored}");
    let body = json!({"phone": "79001234567", "mediaId": upload["mediaId"]});
    let sent = instance.wa_post("/send-media", &body).await.expect(200);
    assert_eq!(row(&instance, &sent["id"]).await["messageType"], "document");

    let stranger = Instance::paired(&Tenant::new().await.client, &json!({})).await;
    let stolen = stranger.wa_post("/send-media", &body).await;
    assert!(matches!(stolen.status, 400 | 403 | 404), "{stolen}");
    tenant.client.post("/api/media/uploads", &json!({"filename": "x"})).await.refused(400);
    let unknown = json!({"phone": "79001234567", "mediaId": "no-such-media"});
    let answer = instance.wa_post("/send-media", &unknown).await;
    assert!(matches!(answer.status, 400 | 404), "{answer}");
}
