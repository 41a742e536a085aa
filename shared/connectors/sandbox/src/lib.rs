//! A simulated phone network.
