//! The common crate of Trunkline: the domain, the traits it stands on, and the HTTP edge.
//!
//! The domain knows neither HTTP nor AWS nor SQLite. `edge` knows HTTP and nothing of stores; `shared/local` and
//! `shared/aws` implement the traits of [`store`]; `shared/connectors/*` those of [`connector`].

pub mod clock;
pub mod error;
pub mod id;
pub mod redact;
pub mod store;

pub use error::{Error, Kind, Result, Retry};
