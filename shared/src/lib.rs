//! The common crate of Trunkline: the domain, the traits it stands on, and the HTTP edge.
//!
//! The domain knows neither HTTP nor AWS nor SQLite. `edge` knows HTTP and nothing of stores; `shared/local` and
//! `shared/aws` implement the traits of [`store`]; `shared/connectors/*` those of [`connector`].

pub mod address;
pub mod app;
pub mod capability;
pub mod clock;
pub mod config;
pub mod connector;
pub mod crypto;
pub mod domain;
pub mod edge;
pub mod error;
pub mod guard;
pub mod id;
pub mod media;
pub mod qr;
pub mod realtime;
pub mod redact;
pub mod sign;
pub mod store;
pub mod uploads;
pub mod webhook;

pub use error::{Error, Kind, Result, Retry};
