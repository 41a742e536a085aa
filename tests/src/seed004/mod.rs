//! Seed 004: the integration guide of the IM.

mod admin;
mod chat;
mod forward;
mod forwarders;
mod samples;
mod socket;
