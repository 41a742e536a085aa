//! Seed 004: the integration guide of the IM.

mod forward;
mod forwarders;
