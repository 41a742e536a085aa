//! HTTP route group: stats.
