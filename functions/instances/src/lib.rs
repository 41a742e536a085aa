//! HTTP route group: instances.
