//! What one sent and one received message cost, with and without a webhook, and what an idle deployment does: counted by
//! [`Counter`] between the program and the emulator, time by the harness' runtime API, beside the program's own meter.

use super::counter::{Count, Counter, Counts, since};
use super::prices;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use suite::harness::bundle::Spans;
use suite::harness::{Instance, Receiver, Server, Tenant, ministack};

/// Messages of a phase, one after the other.
const MESSAGES: u32 = 20;
/// Statuses, webhooks and what is written behind a single message are done by then.
const SETTLE: Duration = Duration::from_secs(14);
/// Nothing is left of what was done before: marks are saved after a minute, dead letters are looked for until five minutes after
/// the last command.
const REST: Duration = Duration::from_secs(380);
const IDLE: Duration = Duration::from_secs(60);

/// Rows that belong to no message: the simulated phone network in place of a platform, jobs of the commands that play it, and
/// the fleet's heartbeats, which are counted while idle.
const NOT_OURS: [&str; 4] = ["SB", "J", "W", "S"];
/// Rows that are written behind, at most once in a while for an instance or a chat, however much happens: when a chat was last
/// written in (10 s), how far dispatching has come (a minute), when the line was last alive (a minute). They are part of what a
/// message costs, less the more of them there are; so they are shown apart.
const BEHIND: [&str; 3] = ["C", "I/owner", "I/meta"];
/// Functions with events, and their memory in GB as in the template.
const FUNCTIONS: [(&str, f64); 4] =
    [("whatsapp", 0.5), ("deliver-webhooks", 0.5), ("run-jobs", 0.5), ("instances", 1.0)];

struct Bench {
    server: Server,
    counter: Counter,
    receiver: Receiver,
}

/// What a phase took, for each message.
struct Phase {
    counts: Counts,
    spans: BTreeMap<&'static str, Spans>,
}

/// What messages cost.
pub(crate) async fn messages() {
    println!("cost per message: {MESSAGES} each, one after the other");
    let mut bench = Bench::start().await;
    let tenant = Tenant::of(&bench.server).await;
    let quiet = Instance::paired(&tenant.client, &json!({})).await;
    let given =
        json!({"webhookUrl": bench.receiver.url("/hook"), "webhookEvents": ["message_received", "message_sent"]});
    let told = Instance::paired(&tenant.client, &given).await;
    // Everything is known once: chats exist, connections are open.
    for instance in [&quiet, &told] {
        bench.send(instance, 2).await;
        bench.receive(instance, 2).await;
    }
    let sent = bench.phase(async |bench| bench.send(&quiet, MESSAGES).await).await;
    let sent_told = bench.phase(async |bench| bench.send(&told, MESSAGES).await).await;
    let received = bench.phase(async |bench| bench.receive(&quiet, MESSAGES).await).await;
    let received_told = bench.phase(async |bench| bench.receive(&told, MESSAGES).await).await;
    show("a sent message, no webhook", &sent, &["whatsapp"]);
    show("a sent message, one webhook", &sent_told, &["whatsapp", "deliver-webhooks"]);
    show("a received message, no webhook", &received, &[]);
    show("a received message, one webhook", &received_told, &["deliver-webhooks"]);
    let ((sends, sends_behind), (receives, receives_behind)) = (writes(&sent), writes(&received));
    let webhook = (writes(&sent_told).0 - sends).max(writes(&received_told).0 - receives);
    aim("write units for a sent message", sends, 8.0);
    aim("write units for a received message", receives, 4.0);
    aim("more write units for a webhook", webhook, 3.0);
    println!("  written behind, at this rate, beside: {sends_behind:.2} and {receives_behind:.2} a message");
    println!();
    bench.cross_check();
}

/// What a deployment with one connected account does while nobody asks for anything.
pub(crate) async fn idle() {
    let mut bench = Bench::start().await;
    let tenant = Tenant::of(&bench.server).await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    bench.send(&instance, 1).await;
    tokio::time::sleep(REST).await;
    bench.idle().await;
    bench.cross_check();
}

impl Bench {
    async fn start() -> Bench {
        let counter = Counter::start(ministack::endpoint()).await;
        let env = [("AWS_ENDPOINT_URL", counter.url.as_str()), ("RUST_LOG", "info,shared_aws::report=debug")];
        let server = tokio::task::block_in_place(|| Server::start_bundle(&env));
        Bench { receiver: Receiver::start().await, server, counter }
    }

    /// Sends; each is read before the next.
    async fn send(&self, instance: &Instance, count: u32) {
        let phone = "79005550001";
        for number in 0..count {
            instance.send(phone, &format!("message {number} of the benchmark")).await;
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        tokio::time::sleep(SETTLE).await;
    }

    async fn receive(&self, instance: &Instance, count: u32) {
        for number in 0..count {
            instance.receive("79005550002", &format!("message {number} of the benchmark")).await;
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        tokio::time::sleep(SETTLE).await;
    }

    fn spans(&mut self) -> BTreeMap<&'static str, Spans> {
        let environments = self.server.bundle().environments();
        FUNCTIONS.iter().map(|(name, _)| (*name, environments.spans(name))).collect()
    }

    async fn phase(&mut self, work: impl AsyncFnOnce(&Bench)) -> Phase {
        let (counts, before) = (self.counter.snapshot(), self.spans());
        work(self).await;
        let counts = since(&counts, &self.counter.snapshot());
        let mut spans = self.spans();
        for (name, spans) in &mut spans {
            spans.inits.drain(..before[name].inits.len());
            spans.events.drain(..before[name].events.len());
        }
        Phase { counts, spans }
    }

    /// Nobody asks for anything: what goes on?
    async fn idle(&mut self) {
        let idle = self.phase(async |_| tokio::time::sleep(IDLE).await).await;
        println!("{} s idle, two workers", IDLE.as_secs());
        for (what, count) in &idle.counts {
            let Count { requests, write_units, read_units } = count;
            println!(
                "  {:20} {:34} {requests:5} requests {write_units:6.1} write units {read_units:6.1} read units",
                what.operation, what.about
            );
        }
        let work: usize = idle.spans.values().map(|spans| spans.events.len()).sum();
        let poll = |operation: &str| operation == "ReceiveMessage";
        let other =
            idle.counts.iter().filter(|(what, _)| !poll(&what.operation) && !["W", "S"].contains(&what.about.as_str()));
        let other: u64 = other.map(|(_, count)| count.requests).sum();
        println!("  {work} invocations, {other} requests that are neither of the fleet nor long polls\n");
    }

    /// What the program says of itself, and what was counted; after its end, since workers tell once a minute.
    fn cross_check(&mut self) {
        let ended = tokio::task::block_in_place(|| self.server.stop());
        assert!(ended.success(), "a worker ended badly: {ended}");
        let log = self.server.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut told = Count::default();
        for line in lines.filter(|line| line["_aws"].is_object()) {
            let number = |name: &str| line[name].as_f64().unwrap_or(0.0);
            told.write_units += number("WriteUnits");
            told.read_units += number("ReadUnits");
        }
        let mut counted = Count::default();
        for count in since(&Counts::new(), &self.counter.snapshot()).values() {
            counted += *count;
        }
        println!("in all, the program's own meter beside what was counted outside of it");
        println!("  write units {:8.1} beside {:8.1}", told.write_units, counted.write_units);
        println!("  read units  {:8.1} beside {:8.1}\n", told.read_units, counted.read_units);
    }
}

fn is_ours(about: &str) -> bool {
    !NOT_OURS.contains(&about)
}

fn per_message(value: f64) -> f64 {
    value / f64::from(MESSAGES)
}

/// Write units a message: its own, and those written behind.
fn writes(phase: &Phase) -> (f64, f64) {
    let ours = phase.counts.iter().filter(|(what, _)| is_ours(&what.about));
    let (behind, own): (Vec<_>, Vec<_>) = ours.partition(|(what, _)| BEHIND.contains(&what.about.as_str()));
    let sum = |all: Vec<(_, &Count)>| per_message(all.into_iter().map(|(_, count)| count.write_units).sum());
    (sum(own), sum(behind))
}

/// Prints what a message took. `functions`: those that run for it, and not only for the simulation.
#[expect(clippy::cast_precision_loss, reason = "a few hundred requests")]
fn show(title: &str, phase: &Phase, functions: &[&str]) {
    println!("{title}");
    let (mut sum, mut queues) = (Count::default(), 0.0);
    for (what, count) in phase.counts.iter().filter(|(what, _)| is_ours(&what.about)) {
        let requests = per_message(count.requests as f64);
        let is_queue = what.operation.contains("Message") || what.operation.contains("Queue");
        let idle = what.about.ends_with("(nothing)");
        println!(
            "  {:20} {:34} {requests:6.2} requests {:5.2} write units {:5.2} read units",
            what.operation,
            what.about,
            per_message(count.write_units),
            per_message(count.read_units)
        );
        if is_queue && !idle {
            queues += requests;
        }
        sum += *count;
    }
    let (write_units, read_units) = (per_message(sum.write_units), per_message(sum.read_units));
    let mut dollars =
        prices::WRITE_UNIT.of(write_units) + prices::READ_UNIT.of(read_units) + prices::QUEUE_REQUEST.of(queues);
    println!("  {write_units:.2} write units, {read_units:.2} read units, {queues:.2} queue requests");
    for (function, memory) in FUNCTIONS {
        let Some(spans) = phase.spans.get(function).filter(|spans| !spans.events.is_empty()) else { continue };
        let calls = per_message(spans.events.len() as f64);
        // Lambda bills started milliseconds.
        let billed: f64 = spans.events.iter().map(|span| (span.as_secs_f64() * 1000.0).ceil()).sum();
        let milliseconds = per_message(billed);
        let counts = functions.contains(&function);
        let note = if counts { "" } else { " (for the simulation)" };
        println!("  {function}: {calls:.2} invocations, {milliseconds:.1} ms, {memory} GB{note}");
        if counts {
            dollars += prices::INVOCATION.of(calls) + prices::GB_SECOND.of(milliseconds / 1000.0 * memory);
            if function == "whatsapp" {
                dollars += prices::HTTP_CALL.of(calls);
            }
        }
    }
    println!("  {:.2} $ a million\n", dollars * 1e6);
}

pub(crate) fn aim(what: &str, is: f64, most: f64) {
    println!("  {what:44} {is:6.2}  aim {most:.2}: {}", if is <= most { "yes" } else { "NO" });
}
