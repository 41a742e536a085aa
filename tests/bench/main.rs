//! What it costs: start, memory, accepted sends beside a do-nothing route and raw SQLite, webhooks.
//!
//! `cargo run --release -p suite --bin bench [start] [sends] [webhooks] [instances] [search] [juhe] [sockets] [whatsapp]`; without a name, all of them.
//! `… aws [starts|cost|idle]` measures the functions of the home on AWS.
//! It measures `target/release/trunkline` on this machine and prints figures and ratios; it judges nothing.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod aws;
mod instances;
mod juhe;
mod raw;
mod search;
mod sends;
mod sockets;
mod start;
mod summary;
mod webhooks;
mod whatsapp;

#[tokio::main]
async fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|one| one == name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores, load and server on the same machine\n");
    // Of another home, so not among all of them.
    if chosen.first().is_some_and(|one| one == "aws") {
        return aws::run(chosen.get(1).map(String::as_str)).await;
    }
    if wanted("start") {
        start::run().await;
    }
    if wanted("sends") {
        sends::run().await;
    }
    if wanted("webhooks") {
        webhooks::run().await;
    }
    if wanted("instances") {
        instances::run().await;
    }
    if wanted("search") {
        search::run().await;
    }
    if wanted("juhe") {
        juhe::run().await;
    }
    if wanted("sockets") {
        sockets::run().await;
    }
    if wanted("whatsapp") {
        whatsapp::run().await;
    }
}
