//! Holds the platform sockets.
