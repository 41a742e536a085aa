//! WeCom and personal WeChat accounts ("devices") behind the aggregation service that seed 003 synchronises with: what its
//! notifications mean, what they change, and what is asked about it.
//!
//! A notification is stored when it arrives ([`intake`]) and applied by a job ([`apply`]). Nothing depends on the order in which
//! notifications come, nor on how often: a message is created once, what happens to a message is kept until the message is
//! there ([`marks`]), and of every fact about a person or a room the newest counts ([`fact`]). The state of the connection
//! alone, which carries no time of its own, goes by arrival.
//!
//! A device is an instance of platform `wecom`, transport `juhe`, whatever the account behind it: the service tells the two
//! sorts apart per notification, and so do we. Its GUID is a claim on one instance ([`device`]).
//!
//! Reading what a notification says (`notice`, `wecom`, `personal`, `facts`) knows no store.

pub mod apply;
pub mod device;
mod fact;
mod facts;
pub mod intake;
mod marks;
mod messages;
mod notice;
mod people;
mod personal;
pub mod query;
mod rooms;
mod said;
mod status;
mod wecom;
mod wire;

pub use notice::{Callback, Notice};
