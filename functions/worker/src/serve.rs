//! The worker as a process of its own: joins the fleet, holds its part, answers probes, and gives everything back at SIGTERM.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, response::Response, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use metrics_util::layers::FanoutBuilder;
use serde_json::json;
use shared::{
    Error, Result,
    app::AppState,
    config::{Config, Source},
    edge,
};
use shared_aws::{emf::Emf, report::Report};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    Fleet, Lease, Settings, Setup, Worker, connectors, gauges,
    process::{metrics_page, prometheus, stopped},
};

/// How often metrics go to CloudWatch.
const FLUSH: Duration = Duration::from_secs(60);
/// How long giving everything back may take.
const LEAVE: Duration = Duration::from_secs(24);
/// When the process ends after SIGTERM: before the 30 s that a container has by default.
const END: Duration = Duration::from_secs(27);
/// How long a probe waits.
const PROBE: Duration = Duration::from_secs(3);

/// What the probes look at.
#[derive(Clone)]
struct Probed {
    app: AppState,
    fleet: Arc<Fleet>,
    metrics: PrometheusHandle,
}

/// Runs a worker of a fleet until SIGTERM. Configuration from the environment.
///
/// Errors: a setting is wrong, the address is taken, a service does not answer at the start.
pub async fn serve() -> Result<()> {
    let app = shared_aws::lambda::worker_app().await?;
    let prometheus = prometheus()?;
    let metrics = prometheus.handle();
    let emf = Emf::new(&app.config.table);
    let both = FanoutBuilder::default().add_recorder(prometheus).add_recorder(emf.clone()).build();
    metrics::set_global_recorder(both).map_err(|_| Error::internal("metrics are collected already"))?;
    let listener = TcpListener::bind(app.config.listen)
        .await
        .map_err(|error| Error::invalid("LISTEN_ADDR", format!("cannot listen on {}: {error}", app.config.listen)))?;

    gauges::begin();
    let fleet = Fleet::new(Setup::of(&app));
    let lease: Arc<dyn Lease> = fleet.clone();
    let worker = Worker::start(Arc::clone(&app), connectors(&app)?, lease, Settings::fleet());
    let mut keeping = tokio::spawn(Arc::clone(&fleet).run());
    let probed = Probed { app: Arc::clone(&app), fleet: Arc::clone(&fleet), metrics };
    let mut serving = tokio::spawn(axum::serve(listener, router(probed)).into_future());
    let report = Report::with(&app, emf);
    let mut flushing = tokio::spawn(flush(report.clone()));
    tracing::info!(address = %app.config.listen, shards = app.config.worker_shards, "the worker runs");

    let ended = tokio::select! {
        () = stopped() => Ok(()),
        ended = &mut keeping => Err(Error::internal(format!("the lease is no longer kept: {ended:?}"))),
        ended = &mut serving => Err(Error::internal(format!("probes are no longer answered: {ended:?}"))),
        ended = &mut flushing => Err(Error::internal(format!("metrics are no longer written: {ended:?}"))),
    };
    tracing::info!("stopping");
    let end = tokio::time::Instant::now() + END;
    app.closing.cancel();
    if ended.is_ok() && tokio::time::timeout(LEAVE, fleet.leave()).await.is_err() {
        tracing::warn!("not everything was given back in time: the others will take it");
    }
    if tokio::time::timeout_at(end, worker.stop_and_linger()).await.is_err() {
        tracing::warn!("not everything came to its end in time: what is left shows again after its visibility");
    }
    serving.abort();
    report.write();
    tracing::info!("stopped");
    ended
}

fn router(probed: Probed) -> Router {
    Router::new()
        .route("/health", get(async || axum::Json(json!({ "status": "ok" }))))
        .route("/ready", get(get_ready))
        .route("/metrics", get(async |State(probed): State<Probed>| metrics_page(&probed.metrics)))
        .fallback(async || StatusCode::NOT_FOUND)
        .with_state(probed)
}

/// `GET /ready`: the stores answer, and the lease was renewed recently.
async fn get_ready(State(probed): State<Probed>) -> Response {
    let lease = match probed.fleet.is_alive() {
        true => Ok(()),
        false => Err(Error::unavailable("the lease was not renewed")),
    };
    edge::readiness(&probed.app, vec![("lease", lease)]).await
}

async fn flush(report: Report) {
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + FLUSH, FLUSH);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        report.write();
    }
}

/// Asks the worker that listens on `LISTEN_ADDR` whether it is up.
///
/// Errors: it does not answer, or not with 200.
pub async fn health() -> Result<()> {
    let config = Config::load(&Source::new(None)?)?;
    let mut address: SocketAddr = config.listen;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head)
    };
    match tokio::time::timeout(PROBE, ask).await {
        Ok(Ok(head)) if &head == b"HTTP/1.1 200" => Ok(()),
        Ok(Ok(_)) => Err(Error::unavailable("the worker is not well")),
        Ok(Err(error)) => Err(Error::unavailable(error)),
        Err(_) => Err(Error::unavailable("the worker does not answer")),
    }
}
