//! The guard against servers that misbehave, on loopback. Each server is a thread-free script: it reads the request's head,
//! writes what it is told to, and keeps or closes the connection.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::TryStreamExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::Kind;

fn policy(text: &str) -> Policy {
    text.parse().expect("a policy")
}

fn guard(text: &str) -> Guard {
    Guard::new(policy(text))
}

/// A guard for which every name resolves to these.
fn resolving(text: &str, addresses: &[&str]) -> Guard {
    let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().expect("an address")).collect();
    Guard::with_lookup(policy(text), Arc::new(move |_| Ok(addresses.clone())))
}

/// A server that runs `script` on each connection, after the head of the request was read.
async fn serve<F, Fut>(script: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
                head.push(byte[0]);
            }
            // A client that hangs up in the middle is what some of the tests are about.
            tokio::spawn(script(stream));
        }
    });
    address
}

/// A server that says this, and closes.
async fn saying(text: impl Into<String>) -> SocketAddr {
    let text: Arc<str> = text.into().into();
    serve(move |mut stream| {
        let text = Arc::clone(&text);
        async move {
            stream.write_all(text.as_bytes()).await?;
            // The client's body is still unread: closing would reset the connection under the answer.
            stream.shutdown().await?;
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
        }
    })
    .await
}

fn request(url: &str) -> Request {
    Request {
        url: url.parse().expect("a URL"),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        deadline: Duration::from_secs(5),
        max_answer: 64 * 1024,
        keep: 16,
    }
}

fn http(address: SocketAddr) -> String {
    format!("http://{address}/hook")
}

async fn post(address: SocketAddr) -> Result<Answer, Failure> {
    guard("loopback").post(request(&http(address))).await
}

#[test]
fn addresses_have_their_class() {
    for (address, class) in [
        ("8.8.8.8", Class::Public),
        ("127.8.8.8", Class::Loopback),
        ("10.0.0.1", Class::Private),
        ("172.15.0.1", Class::Public),
        ("172.16.0.1", Class::Private),
        ("172.31.255.255", Class::Private),
        ("172.32.0.1", Class::Public),
        ("192.168.1.1", Class::Private),
        ("100.63.0.1", Class::Public),
        ("100.64.0.1", Class::SharedNat),
        ("100.100.100.200", Class::Metadata),
        ("168.63.129.16", Class::Metadata),
        ("169.254.1.1", Class::LinkLocal),
        ("169.254.169.254", Class::Metadata),
        ("224.0.0.1", Class::Multicast),
        ("0.0.0.0", Class::Unspecified),
        ("0.1.2.3", Class::Unspecified),
        ("255.255.255.255", Class::Unspecified),
        ("192.0.2.1", Class::Documentation),
        ("198.51.100.1", Class::Documentation),
        ("203.0.113.1", Class::Documentation),
        ("198.18.0.1", Class::Benchmarking),
        ("240.0.0.1", Class::Reserved),
        ("192.0.0.8", Class::Reserved),
        ("2606:4700::1111", Class::Public),
        ("::1", Class::Loopback),
        ("::", Class::Unspecified),
        ("::2", Class::Reserved),
        ("::127.0.0.1", Class::Reserved),
        ("::ffff:127.0.0.1", Class::Loopback),
        ("::ffff:169.254.169.254", Class::Metadata),
        ("::ffff:8.8.8.8", Class::Public),
        ("64:ff9b::10.0.0.1", Class::Private),
        ("64:ff9b::808:808", Class::Public),
        ("64:ff9b:1::1", Class::Reserved),
        ("2002:7f00:1::1", Class::Loopback),
        ("2002:c0a8:101::", Class::Private),
        ("fc00::1", Class::Private),
        ("fd00:ec2::254", Class::Metadata),
        ("fe80::1", Class::LinkLocal),
        ("fec0::1", Class::Reserved),
        ("ff02::1", Class::Multicast),
        ("2001:db8::1", Class::Documentation),
        ("3fff::1", Class::Documentation),
        ("2001:2::1", Class::Benchmarking),
        ("2001::1", Class::Reserved),
        ("4000::1", Class::Reserved),
    ] {
        assert_eq!(classify(address.parse().expect(address)), class, "{address}");
    }
}

#[test]
fn a_policy_opens_what_it_names_and_no_more() {
    let permits = |text: &str, host: Option<&str>, address: &str| {
        policy(text).permits(host, address.parse().expect("an address")).is_ok()
    };
    assert!(permits("", None, "8.8.8.8") && !permits("", None, "127.0.0.1") && !permits("public", None, "10.0.0.1"));
    assert!(permits("loopback", None, "::1") && permits("loopback", None, "::ffff:127.0.0.1"));
    assert!(!permits("loopback", None, "10.0.0.1") && permits("private", None, "10.0.0.1"));
    assert!(permits("private", None, "fd12::1") && !permits("private", None, "fd00:ec2::254"));
    assert!(!permits("private", None, "100.64.0.1") && permits("100.64.0.0/10", None, "100.64.0.1"));
    assert!(!permits("100.64.0.0/10", None, "100.100.100.200") && permits("100.100.100.200", None, "100.100.100.200"));
    assert!(permits("10.1.2.3/8", None, "10.9.9.9"));
    assert!(!permits("10.0.0.0/8", None, "192.168.0.1"));
    for open in ["0.0.0.0/0", "loopback, private", "169.0.0.0/8", "hooks.internal"] {
        assert!(!permits(open, Some("hooks.internal"), "169.254.169.254"), "{open}");
    }
    assert!(permits("169.254.169.254/32", None, "169.254.169.254"));
    assert!(!permits("169.254.169.254/32", None, "169.254.1.1"));
    assert!(permits("fe80::/10", None, "fe80::1") && !permits("::/0", None, "fe80::1"));
    assert!(permits("hooks.internal", Some("Hooks.Internal."), "10.0.0.1"));
    assert!(!permits("hooks.internal", Some("x.hooks.internal"), "10.0.0.1"));
    assert!(!permits("hooks.internal", None, "10.0.0.1"));
    assert!(!permits("0.0.0.0/0", None, "0.0.0.0") && !permits("224.0.0.0/4", None, "224.0.0.1"));
}

#[test]
fn a_policy_is_read_and_shown() {
    let read = policy("loopback,10.0.0.0/8 hooks.Internal, 169.254.169.254/32,[::1],public");
    assert_eq!(read.to_string(), "public,loopback,10.0.0.0/8,hooks.internal,169.254.169.254/32,::1/128");
    assert_eq!(policy(" "), Policy::default());
    for wrong in ["10.0.0.0/33", "http://x", "a b/c", "300.1.2.3", "x:80"] {
        assert!(wrong.parse::<Policy>().is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn urls_are_checked_when_they_are_saved() {
    let guard = guard("10.0.0.0/8");
    for good in
        ["https://example.com/a?b=c", "http://localhost:3000", "http://10.1.2.3/", "http://[2606:4700::1]:8080/"]
    {
        assert!(guard.check_url(good, "webhookUrl").is_ok(), "{good}");
    }
    for bad in [
        "",
        "example.com/hook",
        "/hook",
        "ftp://example.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://",
        "http://user@example.com",
        "http://user:pw@example.com",
        "http://127.0.0.1",
        "http://127.0.0.1./",
        "http://127.1",
        "http://2130706433",
        "http://0x7f000001",
        "http://0177.0.0.1",
        "http://0x7f.1",
        "http://%31%32%37.0.0.1",
        "http://１２７.0.0.1",
        "http://0/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[fd00::1]",
        "http://192.168.0.1",
    ] {
        let error = guard.check_url(bad, "webhookUrl").expect_err(bad);
        assert_eq!((error.kind, error.field.as_deref()), (Kind::Invalid, Some("webhookUrl")), "{bad}");
    }
    assert!(guard.check_url(&format!("http://example.com/{}", "x".repeat(MAX_URL)), "url").is_err());
}

#[tokio::test]
async fn an_answer_comes_back() {
    let address = saying("HTTP/1.1 200 OK\r\nRetry-After: 7\r\nContent-Length: 20\r\n\r\n0123456789abcdefghij").await;
    let answer = post(address).await.expect("an answer");
    assert_eq!((answer.status, &answer.body[..], answer.cut_off), (200, &b"0123456789abcdef"[..], false));
    assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
    assert!(answer.duration < Duration::from_secs(5));

    let answer = post(saying("HTTP/1.1 204 No Content\r\n\r\n").await).await.expect("an answer");
    assert_eq!((answer.status, answer.body.len()), (204, 0));
}

#[tokio::test]
async fn a_redirect_of_a_post_is_an_answer() {
    let address = saying("HTTP/1.1 307 Go\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(post(address).await.expect("an answer").status, 307);
}

#[tokio::test]
async fn forbidden_addresses_are_not_connected_to() {
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&connections);
    let address = serve(move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }
    })
    .await;
    let localhost = format!("http://localhost:{}/", address.port());
    for url in [http(address), format!("http://[::ffff:127.0.0.1]:{}/", address.port()), localhost] {
        let failure = guard("").post(request(&url)).await.expect_err("refused");
        assert!(matches!(failure, Failure::Forbidden(Class::Loopback)), "{url} {failure:?}");
        let failure = guard("").fetch(&url, 10, Duration::from_secs(5)).await.expect_err("refused");
        assert!(matches!(failure, Failure::Forbidden(Class::Loopback)), "{url} {failure:?}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_resolves_to() {
    let address = saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let localhost = format!("http://localhost:{}/", address.port());
    assert_eq!(guard("loopback").post(request(&localhost)).await.expect("allowed").status, 200);
    assert_eq!(guard("localhost").post(request(&localhost)).await.expect("allowed by name").status, 200);

    // Forbidden addresses of a name are left out; the others are still used.
    let url = format!("http://hooks.example:{}/", address.port());
    let mixed = resolving("loopback", &["10.0.0.1", "127.0.0.1"]);
    assert_eq!(mixed.post(request(&url)).await.expect("the allowed one").status, 200);
    let refused = resolving("", &["10.0.0.1", "127.0.0.1"]).post(request(&url)).await.expect_err("refused");
    assert!(matches!(refused, Failure::Forbidden(Class::Private)), "{refused:?}");
    assert_eq!(mixed.resolve("hooks.example").await.expect("addresses"), ["127.0.0.1".parse::<IpAddr>().expect("one")]);
    assert!(mixed.resolve("10.0.0.1").await.is_err());
}

#[tokio::test]
async fn a_name_without_an_address_is_a_dns_failure() {
    let failure = resolving("", &[]).post(request("http://hooks.example/")).await.expect_err("no address");
    assert!(matches!(failure, Failure::Dns(_)), "{failure:?}");
    let broken = Guard::with_lookup(Policy::default(), Arc::new(|_| Err(io::Error::other("no such name"))));
    let failure = broken.post(request("http://hooks.example/")).await.expect_err("no such name");
    assert!(matches!(failure, Failure::Dns(_)), "{failure:?}");
}

#[tokio::test]
async fn the_deadline_covers_everything() {
    let forever = || async {
        std::future::pending::<()>().await;
        Ok(())
    };
    let silent = serve(move |stream| async move {
        let _open = stream;
        forever().await
    })
    .await;
    let drip = serve(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await?;
        loop {
            stream.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let slow_headers = serve(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
        loop {
            stream.write_all(b"X-A: b\r\n").await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let guard = guard("loopback");
    for address in [silent, drip, slow_headers] {
        let start = Instant::now();
        let short = Request { deadline: Duration::from_millis(400), ..request(&http(address)) };
        let failure = guard.post(short).await.expect_err("too slow");
        assert!(matches!(failure, Failure::Timeout), "{failure:?}");
        assert!(start.elapsed() < Duration::from_secs(3));
    }
    let fetched = guard.fetch(&http(drip), 10_000, Duration::from_millis(400)).await.expect("a start");
    let failure = fetched.content.try_collect::<Vec<_>>().await.expect_err("too slow");
    assert!(matches!(failure, Failure::Timeout), "{failure:?}");

    let hanging: Lookup = Arc::new(|_| {
        std::thread::sleep(Duration::from_secs(1));
        Ok(Vec::new())
    });
    let guard = Guard::with_lookup(Policy::default(), hanging);
    let short = Request { deadline: Duration::from_millis(100), ..request("http://hooks.example/") };
    assert!(matches!(guard.post(short).await.expect_err("too slow"), Failure::Timeout));
}

#[tokio::test]
async fn a_huge_answer_is_cut_off_and_the_connection_dropped() {
    let (dropped, mut was_dropped) = tokio::sync::mpsc::channel(1);
    let address = serve(move |mut stream| {
        let dropped = dropped.clone();
        async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            let chunk = format!("1000\r\n{}\r\n", "y".repeat(0x1000));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
            dropped.send(()).await.map_err(io::Error::other)
        }
    })
    .await;
    let answer = post(address).await.expect("an answer");
    assert!(answer.cut_off && answer.body.len() == 16 && answer.status == 200);
    tokio::time::timeout(Duration::from_secs(5), was_dropped.recv()).await.expect("the connection was dropped");
}

#[tokio::test]
async fn lengths_that_lie() {
    let longer = saying("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort").await;
    assert!(matches!(post(longer).await.expect_err("cut"), Failure::Cut(_)));
    let shorter = saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, and more").await;
    assert_eq!(&post(shorter).await.expect("an answer").body[..], b"ok");
    let both = saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc").await;
    assert!(matches!(post(both).await.expect_err("nonsense"), Failure::Protocol(_)));
}

#[tokio::test]
async fn failures_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let closed = listener.local_addr().expect("its address");
    drop(listener);
    assert!(matches!(post(closed).await.expect_err("refused"), Failure::Connect(_)));
    assert!(matches!(post(saying("").await).await.expect_err("closed"), Failure::Cut(_)));
    assert!(matches!(post(saying("SSH-2.0-x\r\n\r\n").await).await.expect_err("not HTTP"), Failure::Protocol(_)));
    let many = "X-A: b\r\n".repeat(MAX_HEADERS + 1);
    let many = saying(format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n")).await;
    assert!(matches!(post(many).await.expect_err("too many"), Failure::Protocol(_)));
    let large = saying(format!("HTTP/1.1 200 OK\r\nX-A: {}\r\n\r\n", "x".repeat(MAX_HEADER_BYTES))).await;
    assert!(matches!(post(large).await.expect_err("too large"), Failure::Protocol(_)));

    let plain = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/", plain.local_addr().expect("its address"));
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await?;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await
    });
    let failure = guard("loopback").post(request(&url)).await.expect_err("no TLS there");
    assert!(matches!(failure, Failure::Tls(_)), "{failure:?}");
}

#[tokio::test]
async fn failures_become_errors_of_a_field() {
    let error = Failure::Forbidden(Class::Private).into_error("url");
    assert_eq!((error.kind, error.field.as_deref()), (Kind::Invalid, Some("url")));
    assert_eq!(error.message, "url: the address is forbidden: it is private");
    assert_eq!(Failure::Local("none left".into()).into_error("url").kind, Kind::Unavailable);
}

async fn fetch(address: SocketAddr, max_bytes: u64) -> Result<(Option<String>, Vec<u8>), Failure> {
    let fetched = guard("loopback").fetch(&http(address), max_bytes, Duration::from_secs(5)).await?;
    let parts: Vec<Bytes> = fetched.content.try_collect().await?;
    Ok((fetched.content_type, parts.concat()))
}

#[tokio::test]
async fn fetch_streams_up_to_a_cap() {
    let good = "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 5\r\n\r\nhello";
    let (content_type, content) = fetch(saying(good).await, 5).await.expect("content");
    assert_eq!((content_type.as_deref(), &content[..]), (Some("image/png"), &b"hello"[..]));
    let failure = fetch(saying(good).await, 4).await.expect_err("declared too large");
    assert!(matches!(failure, Failure::TooLarge { limit: 4 }), "{failure:?}");
    let undeclared = saying("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello").await;
    assert!(matches!(fetch(undeclared, 4).await.expect_err("too large"), Failure::TooLarge { .. }));
    assert_eq!(fetch(undeclared, 5).await.expect("content").1, b"hello");
    let missing = saying("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    assert!(matches!(fetch(missing, 5).await.expect_err("missing"), Failure::Status(404)));
    let cut = saying("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello").await;
    assert!(matches!(fetch(cut, 1000).await.expect_err("cut"), Failure::Cut(_)));
}

#[tokio::test]
async fn fetch_checks_each_redirect() {
    let redirect = |to: String| saying(format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"));
    let target = saying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(fetch(redirect(http(target)).await, 10).await.expect("followed").1, b"hello");
    for (to, why) in [
        ("http://169.254.169.254/latest", "forbidden_address"),
        ("http://0x0a000001/", "forbidden_address"),
        ("file:///etc/passwd", "invalid_url"),
        ("http://u:p@127.0.0.1/", "invalid_url"),
        ("/again", "invalid_url"),
    ] {
        let failure = fetch(redirect(to.to_owned()).await, 10).await.expect_err(to);
        assert_eq!(failure.name(), why, "{to}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = Millis::parse("2015-10-21T07:28:00Z").expect("a time");
    assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
    assert_eq!(retry_after("Wed, 21 Oct 2015 07:29:00 GMT", now), Some(Duration::from_secs(60)));
    assert_eq!(retry_after("Wed, 21 Oct 2015 07:27:00 GMT", now), Some(Duration::ZERO));
    assert_eq!(retry_after("soon", now), None);
}
