//! `GET /metrics`: what the process counts, in Prometheus' text form.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
    routing::get,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use shared::{
    Error, Result,
    app::AppState,
    domain::access::Caller,
    edge::{OpenMode, Reject},
};
use shared_local::Sqlite;

/// Seconds; from a fast local answer to the longest that one may take.
const BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];

/// Starts collecting.
pub(crate) fn start() -> Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), BUCKETS)
        .map_err(Error::internal)?
        .install_recorder()
        .map_err(Error::internal)
}

/// The route. Open on a developer's machine, for administrators elsewhere.
pub(crate) fn router(handle: PrometheusHandle, sqlite: Option<Arc<Sqlite>>) -> Router<AppState> {
    let get_metrics = async move |State(_): State<AppState>,
                                  OpenMode(open): OpenMode,
                                  caller: Option<Caller>|
                -> Result<Response, Reject> {
        match caller {
            Some(caller) => caller.require_admin()?,
            None if open => {}
            None => return Err(Error::unauthenticated("Unauthorized").into()),
        }
        if let Some(sqlite) = &sqlite {
            measure(sqlite);
        }
        let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
        Ok((kind, handle.render()).into_response())
    };
    Router::new().route("/metrics", get(get_metrics))
}

/// What is only looked at when somebody asks.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
fn measure(sqlite: &Sqlite) {
    metrics::gauge!("trunkline_sqlite_file_bytes").set(sqlite.file_bytes() as f64);
    metrics::gauge!("trunkline_sqlite_wal_bytes").set(sqlite.wal_bytes() as f64);
    for (queue, depth) in sqlite.depths() {
        for (state, count) in [
            ("visible", depth.visible),
            ("delayed", depth.delayed),
            ("in_flight", depth.in_flight),
            ("dead", depth.dead),
        ] {
            metrics::gauge!("trunkline_queue_messages", "queue" => queue.name(), "state" => state).set(count as f64);
        }
    }
}
