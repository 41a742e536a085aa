//! The Lambda function `deliver-webhooks`: batches of the dispatch queue and of the timer queue.

use std::time::{Duration, SystemTime};

use aws_lambda_events::event::sqs::SqsEvent;
use lambda_runtime::{LambdaEvent, service_fn};
use shared::webhook::Courier;
use shared_aws::report::Report;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), shared_aws::lambda::Failure> {
    let app = shared_aws::lambda::app().await?;
    // It posts in every invocation, and the start has more of the processor than those have.
    app.guard.warm()?;
    let report = Report::of(&app)?;
    let report = &report;
    let courier = Courier::new(app, CancellationToken::new());
    let courier = &courier;
    lambda_runtime::run(service_fn(async move |event: LambdaEvent<SqsEvent>| {
        let left = event.context.deadline().duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
        let answer = deliver_webhooks::handle(courier, event.payload, Some(Instant::now() + left)).await;
        report.invocation();
        Ok::<_, lambda_runtime::Error>(answer)
    }))
    .await
}
