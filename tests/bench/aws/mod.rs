//! The home on AWS: what a message costs, what an idle deployment does, how functions start.
//!
//! `cargo run -p suite --bin bench -- aws` measures the functions in `TRUNKLINE_BINS` (`cargo build --profile bundle` makes those
//! that are deployed). DynamoDB and SQS are the emulator's: requests and units are true, times are those of this machine.

mod cost;
mod counter;
mod prices;
mod starts;

pub(crate) async fn run(part: Option<&str>) {
    prices::print();
    if part.is_none_or(|part| part == "starts") {
        starts::run().await;
    }
    if part.is_none_or(|part| part == "cost") {
        cost::messages().await;
    }
    if part.is_none_or(|part| part == "idle") {
        cost::idle().await;
    }
}
