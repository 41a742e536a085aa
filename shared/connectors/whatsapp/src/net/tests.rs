//! Proxies and media hosts: small ones on this machine that write down what they were asked.

use std::sync::Arc;

use shared::{
    guard::{Guard, Policy},
    redact::Secret,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use whatsapp_rust::wacore::net::{HttpClient as _, HttpRequest, HttpResponse};

use super::{Http, Proxy, Road, tls};

#[test]
fn proxies_have_their_usual_ports() {
    for (text, port) in [
        ("http://proxy.example.com", 80),
        ("https://user:secret@proxy.example.com", 443),
        ("socks5://10.0.0.1", 1080),
        ("socks5h://10.0.0.1:9050", 9050),
    ] {
        assert_eq!(Proxy::read(text).expect(text).port(), port);
    }
    for text in ["ftp://proxy.example.com", "nonsense", "http://"] {
        assert!(Proxy::read(text).is_err(), "{text}");
    }
}

fn road(allow: &str, proxy: &str) -> Road {
    let guard = Guard::new(allow.parse::<Policy>().expect("a policy"));
    Road::new(guard, Some(&Secret::new(proxy)), tls().expect("certificates")).expect("a proxy")
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

/// Answers on the connection that it is asked for, in place of whoever is meant. Neither TLS nor a websocket has a server
/// that speaks first, and the tunnels take what comes with the proxy's answer for a part of it.
async fn greets(mut stream: TcpStream) {
    assert_eq!(stream.read_u8().await.expect("reads"), b'?');
    stream.write_all(b"hello").await.expect("writes");
}

async fn hello(road: &Road) -> String {
    let mut stream = road.connect("web.example.com", 5222, false).await.expect("connects");
    stream.write_all(b"?").await.expect("writes");
    let mut text = vec![0; 5];
    stream.read_exact(&mut text).await.expect("reads");
    String::from_utf8(text).expect("text")
}

#[tokio::test]
async fn a_tunnel_is_asked_for_by_name_and_with_credentials() {
    let (listener, port) = listener().await;
    let proxy = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await.expect("reads"));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("writes");
        greets(stream).await;
        String::from_utf8(asked).expect("text")
    });
    assert_eq!(hello(&road("loopback", &format!("http://us%40er:secret@127.0.0.1:{port}"))).await, "hello");
    let asked = proxy.await.expect("it ran");
    assert!(asked.starts_with("CONNECT web.example.com:5222 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.to_ascii_lowercase().contains("proxy-authorization: basic "), "{asked}");
    // us@er:secret
    assert!(asked.contains("dXNAZXI6c2VjcmV0"), "{asked}");
}

#[tokio::test]
async fn socks_is_asked_for_by_name() {
    let (listener, port) = listener().await;
    let proxy = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        let mut greeting = [0; 2];
        stream.read_exact(&mut greeting).await.expect("reads");
        let mut methods = vec![0; greeting[1].into()];
        stream.read_exact(&mut methods).await.expect("reads");
        stream.write_all(&[5, 0]).await.expect("writes");
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.expect("reads");
        assert_eq!(&head[..4], [5, 1, 0, 3], "connect, by name");
        let mut name = vec![0; usize::from(head[4]) + 2];
        stream.read_exact(&mut name).await.expect("reads");
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.expect("writes");
        greets(stream).await;
        name
    });
    assert_eq!(hello(&road("loopback", &format!("socks5://127.0.0.1:{port}"))).await, "hello");
    let name = proxy.await.expect("it ran");
    assert_eq!(&name[..15], b"web.example.com");
    assert_eq!(u16::from_be_bytes([name[15], name[16]]), 5222);
}

#[tokio::test]
async fn a_proxy_may_not_be_where_users_may_not_reach() {
    let refused = road("", "http://127.0.0.1:9").connect("web.example.com", 443, false).await;
    assert!(refused.err().is_some_and(|error| error.to_string().contains("may not be used")));
    let shared = Arc::new(road("", "socks5://169.254.169.254:80"));
    assert!(shared.connect("web.example.com", 443, true).await.is_err());
}

/// A media host that answers every request with this.
async fn host(answer: &'static str) -> u16 {
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.expect("reads"));
            }
            stream.write_all(answer.as_bytes()).await.expect("writes");
        }
    });
    port
}

async fn get(url: String) -> anyhow::Result<HttpResponse> {
    let guard = Guard::new("loopback".parse::<Policy>().expect("a policy"));
    let road = Road::new(guard, None, tls().expect("certificates")).expect("a way");
    let web = "ws://127.0.0.1/ws/chat".parse().expect("a URL");
    Http::new(road, &web).execute(HttpRequest::get(url)).await
}

#[tokio::test]
async fn what_a_message_says_leads_to_no_other_host() {
    let port = host("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(get(format!("https://127.0.0.1:{port}/x?auth=secret")).await.expect("an answer").body, b"ok");
    let refused = get(format!("https://mmg.whatsapp.net@127.0.0.1:{port}/x?auth=secret")).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("another host")));
    let away = host("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/x\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(get(format!("https://127.0.0.1:{away}/x")).await.expect("an answer").status_code, 302);
}

#[tokio::test]
async fn errors_do_not_say_what_urls_carry() {
    let (listener, port) = listener().await;
    drop(listener);
    let error = get(format!("https://127.0.0.1:{port}/x?auth=secret")).await.expect_err("nobody is there");
    assert!(!format!("{error:#} {error:?}").contains("secret"), "{error:?}");
}
