//! The Lambda function `run-jobs`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use realtime::gateway::Gateway;
use run_jobs::Desk;
use shared_aws::{report::Report, sockets::Management};
use tokio::time::Instant;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let app = shared_aws::lambda::app().await?;
    let gateway = match &app.config.websocket_management_url {
        Some(url) => Some(Arc::new(Gateway::new(Arc::clone(&app), Management::connect(url).await))),
        None => None,
    };
    let report = &Report::of(&app)?;
    let desk = &Desk { app, gateway };
    let handler = service_fn(async move |event: LambdaEvent<SqsEvent>| {
        let left = event.context.deadline().duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
        let until = Some(Instant::now() + left);
        let answer = run_jobs::lambda::handle(desk, event.payload, until).await;
        report.invocation();
        Ok::<SqsBatchResponse, Error>(answer)
    });
    lambda_runtime::run(handler).await
}
