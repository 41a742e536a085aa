//! What the functions weigh, and how they start, through the Lambda runtime API: from the start of a process to its first question
//! for an event, its first answer, and those after it; beside a function that does nothing, in the same run. What starts ask of
//! the services is answered from memory: the emulator's pace is not the functions', and the services' own is not known here.

use super::cost::aim;
use super::counter::Counter;
use crate::summary::Latencies;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use suite::harness::bundle::{Environments, Spans, wait};
use suite::harness::process::binary_if_built;
use suite::harness::server::ADMIN_API_KEY;
use suite::harness::{Server, eventually, ministack};

/// Starts of each function; one of each in turn, so that whatever else the machine does meets all of them.
const STARTS: usize = 9;
/// Requests to a function that runs.
const WARM: usize = 100;
const LIMIT: Duration = Duration::from_secs(20);
/// The aims.
const TIMES_BARE: f64 = 1.6;
const ZIP_MIB: f64 = 5.0;
/// The measure.
const BARE: &str = "bare";

pub(crate) async fn run() {
    let functions: Vec<(&str, Value)> =
        events().into_iter().filter(|(name, _)| binary_if_built(name).is_some()).collect();
    assert!(functions.iter().any(|(name, _)| *name == BARE), "the function `bare` is not built");
    // Lambda's image has its certificates in one file; a folder of links to hundreds of them would be the machine's own.
    let bundle = ["/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt"];
    let certificates = bundle.into_iter().find(|path| Path::new(path).exists()).map(|path| ("SSL_CERT_FILE", path));
    let counter = Counter::start(ministack::endpoint()).await;
    let env: Vec<_> = certificates.into_iter().chain([("AWS_ENDPOINT_URL", counter.url.as_str())]).collect();
    let mut server = tokio::task::block_in_place(|| Server::start_bundle(&env));
    let environments = Arc::clone(server.bundle().environments());
    for (name, event) in &functions {
        // The very first start of a deployment makes its administrator.
        ask(&environments, name, event).await;
    }
    counter.remember();
    let mut first: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for _ in 0..STARTS {
        for (name, event) in &functions {
            stop(&environments, name).await;
            let before = environments.spans(name).events.len();
            ask(&environments, name, event).await;
            first.entry(name).or_default().extend(environments.spans(name).events.get(before));
        }
    }
    let mut warm: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for (name, event) in &functions {
        let before = environments.spans(name).events.len();
        for _ in 0..WARM {
            ask(&environments, name, event).await;
        }
        warm.insert(name, environments.spans(name).events.split_off(before));
    }
    println!("functions: {STARTS} starts and {WARM} warm requests each; medians in ms, zip in MiB");
    println!(
        "  {:18} {:>6} {:>9} {:>7} {:>9} {:>9} {:>9}",
        "", "zip", "init", "x bare", "first", "warm p50", "warm p99"
    );
    let init = |name: &str| {
        let Spans { inits, .. } = environments.spans(name);
        Latencies::new(inits[inits.len().saturating_sub(STARTS)..].to_vec()).quantile_ms(0.5)
    };
    let bare = init(BARE);
    let (mut slowest, mut largest) = (0.0_f64, 0.0_f64);
    for (name, _) in &functions {
        let path = binary_if_built(name).expect("it was there");
        let (zip, ratio) = (zip_mib(&path), init(name) / bare);
        let (first, warm) = (Latencies::new(first[name].clone()), Latencies::new(warm[name].clone()));
        println!(
            "  {name:18} {zip:6.2} {:9.1} {ratio:7.2} {:9.1} {:9.1} {:9.1}",
            init(name),
            first.quantile_ms(0.5),
            warm.quantile_ms(0.5),
            warm.quantile_ms(0.99)
        );
        slowest = slowest.max(ratio);
        largest = largest.max(zip);
    }
    aim("the slowest init, times bare", slowest, TIMES_BARE);
    aim("the largest zip, MiB", largest, ZIP_MIB);
    println!();
}

async fn ask(environments: &Arc<Environments>, name: &str, event: &Value) {
    let (environments, name, event) = (Arc::clone(environments), name.to_owned(), event.clone());
    let answered =
        tokio::task::block_in_place(|| wait(async move { (environments.invoke(&name, &event, LIMIT).await, name) }));
    let (answer, name) = answered;
    answer.unwrap_or_else(|failed| panic!("{name}: {failed:?}"));
}

async fn stop(environments: &Environments, name: &str) {
    environments.kill_all();
    eventually("the processes have ended", async || environments.pids(name).is_empty().then_some(())).await;
}

/// As it is packed for Lambda: one file `bootstrap`, as small as deflate makes it.
#[expect(clippy::cast_precision_loss, reason = "a few million bytes")]
fn zip_mib(binary: &Path) -> f64 {
    let program = "import io,sys,zipfile\nout=io.BytesIO()\n\
        with zipfile.ZipFile(out,'w',zipfile.ZIP_DEFLATED,compresslevel=9) as z: z.write(sys.argv[1],'bootstrap')\n\
        print(len(out.getvalue()))";
    let output = Command::new("python3").args(["-c", program]).arg(binary).output().expect("python3 runs");
    let size = String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().expect("a size");
    size as f64 / f64::from(1 << 20)
}

/// A request that every group has something to do for: the caller is known, something is looked for.
fn events() -> Vec<(&'static str, Value)> {
    let instance = "0000000000000000";
    let queue = json!({ "Records": [] });
    vec![
        (BARE, request("GET", "/", None)),
        ("auth", request("GET", "/api/auth/me", None)),
        ("instances", request("GET", "/api/instances", None)),
        (
            "whatsapp",
            request(
                "POST",
                &format!("/api/whatsapp/{instance}/send"),
                Some(json!({"phone": "79005550001", "message": "hello"})),
            ),
        ),
        ("stats", request("GET", "/api/stats/user", None)),
        ("third-party", request("GET", "/third-party/whatsapp/contacts", None)),
        ("im", request("GET", "/api/v1/im/channel/list", None)),
        ("juhe", request("GET", "/api/contacts", None)),
        ("chat", request("GET", "/api/conversations", None)),
        ("admin", request("GET", "/api/admin/users", None)),
        ("inbound", request("POST", "/api/webhook/wechat", Some(json!({})))),
        ("deliver-webhooks", queue.clone()),
        ("run-jobs", queue),
        ("realtime", socket()),
        ("sweep", json!({})),
    ]
}

/// A frame as the WebSocket API hands it over, of a connection that is not known.
fn socket() -> Value {
    json!({
        "requestContext": {
            "routeKey": "$default",
            "eventType": "MESSAGE",
            "messageId": "bench",
            "requestId": "bench",
            "connectionId": "bench",
            "apiId": "bench",
            "domainName": "localhost",
            "stage": "bench",
            "requestTimeEpoch": 1_767_225_600_000_u64,
            "connectedAt": 1_767_225_600_000_u64,
            "identity": { "sourceIp": "127.0.0.1" },
        },
        "isBase64Encoded": false,
        "body": "{\"type\":\"ping\"}",
    })
}

/// A request as the HTTP API hands it over.
fn request(method: &str, path: &str, body: Option<Value>) -> Value {
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "host": "localhost",
            "x-api-key": ADMIN_API_KEY,
            "content-type": "application/json",
            "x-forwarded-proto": "https",
            "x-forwarded-port": "443",
        },
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "bench",
            "domainName": "localhost",
            "domainPrefix": "bench",
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "bench" },
            "requestId": "bench",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1_767_225_600_000_u64,
        },
        "isBase64Encoded": false,
    });
    if let Some(body) = body {
        event["body"] = body.to_string().into();
    }
    event
}
