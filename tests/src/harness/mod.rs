//! What every test stands on: the real binary, a client, tenants with simulated phones, a webhook receiver that can
//! misbehave, a comparison with the seeds' examples, waits with deadlines. No test lives here, and nothing here
//! knows more of the server than its HTTP surface and its command line.
#![expect(clippy::print_stderr, reason = "a failed test shows the server's log")]

pub mod bundle;
pub mod client;
pub mod envelope;
pub mod fault_proxy;
pub mod gateway_ws;
pub mod graph;
pub mod instance;
pub mod ministack;
pub mod person;
pub mod process;
pub mod receiver;
pub mod rows;
pub mod server;
pub mod shape;
pub mod socket;
pub mod tenant;
pub mod tools;
pub mod tunnel;
pub mod wait;
pub mod whatsapp;

pub use client::{Answer, Client, Credential};
pub use fault_proxy::FaultProxy;
pub use instance::Instance;
pub use person::Person;
pub use receiver::{Behaviour, Hit, Receiver};
pub use server::{Server, cut_off, shared};
pub use shape::shape;
pub use socket::Socket;
pub use tenant::Tenant;
pub use wait::{eventually, eventually_within, soon, stays};
