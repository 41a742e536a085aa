//! `GET /metrics`: what the process counts, in Prometheus' text form.

use std::sync::Arc;

use axum::{Router, extract::State, response::Response, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use shared::{
    Error, Result,
    app::AppState,
    domain::access::Caller,
    edge::{OpenMode, Reject},
};
use shared_local::Sqlite;
use worker::process::{metrics_page, prometheus};

/// Starts collecting.
pub(crate) fn start() -> Result<PrometheusHandle> {
    let recorder = prometheus()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(Error::internal)?;
    Ok(handle)
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
        Ok(metrics_page(&handle))
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
