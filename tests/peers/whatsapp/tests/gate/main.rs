//! The gate of the fake: a foreign client, `whatsapp-rust`, accepts it. What passes here is what that client understands;
//! it says nothing about the real server.

mod account;
mod bed;
mod client;
mod control;
mod groups;
mod kinds;
mod many;
mod messages;
mod pairing;
mod readme;
