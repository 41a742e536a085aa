//! HTTP route group: auth.
