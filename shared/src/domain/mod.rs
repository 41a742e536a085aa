//! The domain: what Trunkline is about, written once over the traits of [`crate::store`] and [`crate::connector`].

pub mod activity;
pub mod chat;
pub mod contact;
pub mod content;
pub mod endpoint;
pub mod event;
pub mod instance;
pub mod message;
pub mod owner;
pub mod timer;
pub mod calls;
pub mod job;
pub mod limits;
pub mod send;
pub mod stats;
pub mod view;
pub mod compose;
pub mod access;
pub mod idempotency;
pub mod login;
pub mod user;
