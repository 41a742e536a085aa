//! The storage traits over a session store in memory: what comes back, what a crash loses, what it costs, and the same answers as
//! the crate's own store gives.

mod bed;
mod crash;
mod model;
mod rows;
