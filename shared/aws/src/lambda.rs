//! Starting a Lambda function: log, configuration, clients, app; and serving HTTP groups behind API Gateway. What a function's
//! `main.rs` calls, so that none of it is done twice.

use std::{net::IpAddr, sync::Arc};

use axum::{Router, body::Body, http::Request, routing::get};
use lambda_http::{RequestExt as _, request::RequestContext, service_fn, tower::ServiceExt as _};
use object_store::{aws::AmazonS3Builder, path::Path, prefix::PrefixStore};
use shared::{
    Error, Result,
    app::{App, AppState, Parts},
    clock::{Clock, SystemClock},
    config::{Config, LogFormat},
    domain::{
        calls,
        rotation::{self, Secrets},
        user,
    },
    edge::{self, PeerIp, Reject, WholeAnswers},
    media::Media,
    realtime::{Realtime, remote::Remote},
    store::meter::Meter,
};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{Aws, Settings, report::Report, sdk, secrets};

/// What a function's `main` may end with.
pub type Failure = lambda_http::Error;

/// Where a function's media is. What is not named is not linked: most functions have nothing to do with media.
type MediaOf = fn(&Config) -> Result<Media>;

/// Serves route groups behind API Gateway's HTTP API until the runtime ends the process.
pub async fn serve(groups: Router<AppState>) -> Result<(), Failure> {
    serve_groups(groups, |_| Ok(Media::none())).await
}

/// The same for groups that read or write media.
pub async fn serve_with_media(groups: Router<AppState>) -> Result<(), Failure> {
    serve_groups(groups, media).await
}

async fn serve_groups(groups: Router<AppState>, media: MediaOf) -> Result<(), Failure> {
    let app = start(sdk::environment, media, IsFirst::Perhaps).await?;
    let report = Report::of(&app)?;
    let groups = groups.route("/metrics", get(elsewhere));
    let router = edge::finish(groups, Arc::clone(&app))?;
    let handler = service_fn(move |request: lambda_http::Request| {
        let (app, router, report) = (Arc::clone(&app), router.clone(), report.clone());
        async move {
            rotation::look_if_due(&app).await;
            let response = router.oneshot(through_gateway(request)).await;
            // The process may be frozen from the answer on.
            if let Err(error) = calls::flush(&app).await {
                tracing::warn!(code = %error.code, cause = ?error.source, "API calls are not counted yet");
            }
            report.invocation();
            response
        }
    });
    lambda_http::run(handler).await
}

/// `GET /metrics`: there is no one process to ask.
async fn elsewhere() -> Reject {
    Error::not_found("Metrics are in CloudWatch, namespace Trunkline").code("METRICS_ELSEWHERE").into()
}

/// The app from the environment, its connections open, without media: for queue consumers.
///
/// Errors: a setting is wrong or missing, or a service does not answer; the function then fails to start, and says why.
pub async fn app() -> Result<AppState> {
    start(sdk::environment, |_| Ok(Media::none()), IsFirst::No).await
}

/// The same for a worker: it has media, and its credentials are the container's.
pub async fn worker_app() -> Result<AppState> {
    start(sdk::anywhere, media, IsFirst::No).await
}

/// Whether a process may be the first of its deployment, which makes the first administrator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IsFirst {
    Perhaps,
    No,
}

/// Somebody waits for the start of a function. So the reads of the store warm its connection, and all that must be asked is
/// asked at the same time.
async fn start(load: sdk::Load, media: MediaOf, first: IsFirst) -> Result<AppState> {
    let secrets = secrets::stored(load).await;
    let config = Config::load(&secrets::source(secrets.as_ref()).await?)?;
    log_to_stdout(&config);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let meter = Arc::new(Meter::default());
    let media = media(&config)?;
    let aws = Aws::over(&load().await, settings(&config), Arc::clone(&clock), Arc::clone(&meter));
    let settled = async {
        match first {
            IsFirst::Perhaps => user::is_settled(aws.as_ref(), &config).await,
            IsFirst::No => Ok(true),
        }
    };
    let realtime = Some(Remote::new(aws.clone(), aws.clone(), Arc::clone(&clock)) as Arc<dyn Realtime>);
    let secrets = secrets.map(|stored| stored as Arc<dyn Secrets>);
    let parts = Parts { store: aws.clone(), queues: aws.clone(), media, clock, meter, realtime, secrets };
    let (app, settled, ()) = tokio::try_join!(App::build(config.clone(), parts), settled, aws.warm())?;
    if !settled {
        first_start(&app).await?;
    }
    Ok(app)
}

/// Store and queues as the configuration names them.
pub async fn connect(config: &Config, clock: Arc<dyn Clock>, meter: Arc<Meter>) -> Result<Arc<Aws>> {
    Aws::connect(settings(config), clock, meter).await
}

fn settings(config: &Config) -> Settings {
    Settings {
        table: config.table.clone(),
        queue_prefix: config.queue_prefix.clone(),
        shards: config.worker_shards,
        ..Settings::default()
    }
}

/// Media in the bucket of `MEDIA_URL` (`s3://bucket/prefix`). Region, credentials and endpoint come from the usual environment.
pub fn media(config: &Config) -> Result<Media> {
    let wrong =
        || Error::invalid("MEDIA_URL", "MEDIA_URL must be s3://bucket or s3://bucket/prefix with STORE=dynamodb");
    let url: url::Url = config.media_url.as_deref().ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
    let bucket = url.host_str().filter(|_| url.scheme() == "s3").ok_or_else(wrong)?;
    // Plain HTTP is for emulators, which somebody must have named.
    let emulator = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].iter().find_map(|name| std::env::var(name).ok());
    let plain = emulator.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_allow_http(plain);
    if let Some(endpoint) = emulator {
        builder = builder.with_endpoint(endpoint);
    }
    let prefix = Path::from_url_path(url.path()).map_err(|error| wrong().source(error))?;
    Ok(Media::remote(move || {
        let s3 = builder.clone().build().map_err(|error| wrong().source(error))?;
        Ok(if prefix.as_ref().is_empty() { Arc::new(s3) } else { Arc::new(PrefixStore::new(s3, prefix.clone())) })
    }))
}

/// The first administrator. Nobody reads a generated password here, since logs hold none: so one must be configured.
async fn first_start(app: &App) -> Result<()> {
    if app.config.admin_password.is_none() && user::first_admin(app).await?.is_none() {
        return Err(Error::invalid("ADMIN_PASSWORD", "ADMIN_PASSWORD is required for the first start on AWS"));
    }
    if user::bootstrap(app).await?.is_some() {
        tracing::info!("the first administrator was created");
    }
    Ok(())
}

/// The request with what API Gateway says of it: the caller's address, and that its answer leaves as a whole.
fn through_gateway(request: lambda_http::Request) -> Request<Body> {
    let source = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.as_deref(),
        _ => None,
    };
    let peer: Option<IpAddr> = source.and_then(|text| text.parse().ok());
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(WholeAnswers);
    if let Some(peer) = peer {
        request.extensions_mut().insert(PeerIp(peer));
    }
    request
}

/// One line of JSON per event, unless `LOG_FORMAT` says otherwise. `RUST_LOG` filters by target and level; the default is `info`.
///
/// Not by `EnvFilter`, whose regular expressions would be a tenth of a function.
fn log_to_stdout(config: &Config) {
    let wanted = std::env::var("RUST_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO));
    let layer = tracing_subscriber::fmt::layer().with_ansi(false);
    let log = tracing_subscriber::registry().with(filter);
    // A second start in one process keeps the first one's log.
    let _already_there = match config.log_format {
        Some(LogFormat::Pretty) => log.with(layer).try_init(),
        Some(LogFormat::Json) | None => log.with(layer.json().flatten_event(true)).try_init(),
    };
}
