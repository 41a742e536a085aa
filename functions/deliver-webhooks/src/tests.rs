//! Deliveries over a real store, against a receiver on loopback, with a clock that the tests turn.

mod breaker;
mod crash;
mod delivery;
mod forwarders;
mod neighbours;
mod replay;
mod retry;
mod world;
