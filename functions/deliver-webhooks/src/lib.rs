//! Consumer of the dispatch and timer queues: delivers webhooks, retries them, and releases scheduled sends.
//!
//! What a message means is in [`shared::webhook`]; here is how messages come in and go back: [`local`] is a loop over the
//! queues, [`lambda`] a batch that SQS hands over. Both go through [`batch`], so groups run in parallel, the records of a group
//! one after the other, and from the first that fails on a group is given back.

mod batch;
pub mod lambda;
pub mod local;
#[cfg(test)]
mod tests;

pub use lambda::handle;
pub use local::run;
