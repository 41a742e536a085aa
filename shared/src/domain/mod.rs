//! The domain: what Trunkline is about, written once over the traits of [`crate::store`] and [`crate::connector`].

pub mod access;
pub mod activity;
pub mod calls;
pub mod chat;
pub mod compose;
pub mod contact;
pub mod content;
pub mod endpoint;
pub mod event;
pub mod idempotency;
pub mod im;
pub mod instance;
pub mod job;
pub mod limits;
pub mod login;
pub mod message;
pub mod owner;
pub mod register;
pub mod send;
pub mod stats;
pub mod timer;
pub mod user;
pub mod view;
