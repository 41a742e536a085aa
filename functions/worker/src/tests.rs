//! The worker over SQLite: what a crash leaves behind is healed, and a sandbox account lives through a day.

mod bed;
mod counting;
mod fence;
mod flow;
mod history;
mod lease;
mod more;
mod moving;
mod order;
mod past;
mod redelivery;
mod reports;
mod traffic;
