//! `trunkline serve`: start everything, serve, stop everything in good order.

use std::{io::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, serve::ListenerExt as _};
use shared::{
    Error, Result,
    app::AppState,
    config::{Config, ThirdPartyAuth},
    domain::{
        calls,
        user::{self, FirstStart},
    },
    edge,
};
use tokio::{net::TcpListener, task::JoinHandle};
use worker::{LocalLease, Worker, process::stopped};

use crate::{home, logging, telemetry};

/// How often counted API calls are written down.
const FLUSH: Duration = Duration::from_secs(1);
/// How long open requests may take to end.
const DRAIN: Duration = Duration::from_secs(10);
/// How long clients of sockets may take to answer the goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

pub(crate) async fn serve(config: Config) -> Result<()> {
    logging::start(&config);
    let metrics = telemetry::start()?;
    // The port first: who asks too early waits in its queue instead of being refused.
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| Error::invalid("LISTEN_ADDR", format!("cannot listen on {}: {error}", config.listen)))?;
    let address = listener.local_addr().map_err(Error::internal)?;
    let mut config = config;
    config.listen = address;
    let home = home::open(config).await?;
    let app = Arc::clone(&home.app);
    let first = user::bootstrap(&app).await?;

    let worker = Worker::start(
        Arc::clone(&app),
        worker::connectors(&app)?,
        Arc::new(LocalLease::new(app.config.worker_shards)),
        worker::Settings::default(),
    );
    let tasks = [
        tokio::spawn(deliver_webhooks::run(Arc::clone(&app), app.closing.clone())),
        tokio::spawn(run_jobs::run(Arc::clone(&app))),
        tokio::spawn(sweep::run(Arc::clone(&app), app.closing.clone())),
        tokio::spawn(keep_counting(Arc::clone(&app))),
    ];
    let groups = routes().merge(telemetry::router(metrics, home.sqlite.clone()));
    let router = edge::finish(groups, Arc::clone(&app))?;
    announce(&app, address, first.as_ref());

    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was not set");
        }
    });
    let closing = app.closing.clone();
    let server = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async move { closing.cancelled().await });
    let mut server = tokio::spawn(server.into_future());
    tokio::select! {
        () = stopped() => tracing::info!("stopping"),
        ended = &mut server => {
            app.closing.cancel();
            ended.map_err(Error::internal)?.map_err(Error::internal)?;
        }
    }
    app.closing.cancel();
    stop(server, worker, tasks, &app).await;
    Ok(())
}

/// Every route group.
fn routes() -> Router<AppState> {
    Router::new()
        .merge(auth::router())
        .merge(instances::router())
        .merge(whatsapp::router())
        .merge(stats::router())
        .merge(third_party::router())
        .merge(im::router())
        .merge(juhe::router())
        .merge(chat::router())
        .merge(admin::router())
        .merge(inbound::router())
        .merge(realtime::router())
}

async fn stop(server: JoinHandle<std::io::Result<()>>, worker: Worker, tasks: [JoinHandle<()>; 4], app: &AppState) {
    if tokio::time::timeout(DRAIN, server).await.is_err() {
        tracing::warn!("some requests were cut off");
    }
    if tokio::time::timeout(GOODBYE, realtime::closed(app)).await.is_err() {
        tracing::warn!("some sockets were cut off");
    }
    worker.stop().await;
    for task in tasks {
        if let Ok(Err(error)) = tokio::time::timeout(DRAIN, task).await {
            tracing::error!(%error, "a consumer ended badly");
        }
    }
    if let Err(error) = calls::flush(app).await {
        tracing::warn!(%error, "the last API calls were not counted");
    }
    tracing::info!("stopped");
}

async fn keep_counting(app: AppState) {
    while !app.closing.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(FLUSH) => {}
            () = app.closing.cancelled() => {}
        }
        if let Err(error) = calls::flush(&app).await {
            tracing::warn!(%error, "API calls will be counted later");
        }
    }
}

/// Says where the server is; at the first start also the credentials, once, and how to begin.
fn announce(app: &AppState, address: SocketAddr, first: Option<&FirstStart>) {
    let open = app.config.listens_on_loopback();
    tracing::info!(%address, open_mode = open, "listening");
    if !open && app.config.third_party_auth == Some(ThirdPartyAuth::Off) {
        tracing::warn!("THIRD_PARTY_AUTH=off: whoever reaches this address can send from every account");
    }
    let Some(first) = first else { return };
    let url = app.config.public_url();
    let key = first.api_key.reveal();
    let password = first
        .password
        .as_ref()
        .map_or(String::new(), |password| format!("  password       {}   (shown this once)\n", password.reveal()));
    let text = format!(
        "Trunkline is running at {url}

  administrator  {}
{password}  API key        {key}

Try it:

curl {url}/api/auth/me -H 'x-api-key: {key}'
curl {url}/api/instances -H 'x-api-key: {key}' -H 'content-type: application/json' -d '{{\"name\":\"first\",\"mode\":\"sandbox\"}}'
curl {url}/api/instances -H 'x-api-key: {key}'

",
        first.email
    );
    // For the person who started it, not for the log. A closed terminal is no reason to stop.
    if let Err(error) = std::io::stdout().write_all(text.as_bytes()) {
        tracing::warn!(%error, "the first administrator's credentials were not shown; trunkline admin makes new ones");
    }
}
