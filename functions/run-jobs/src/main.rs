//! The Lambda function `run-jobs`.

use std::time::{Duration, SystemTime};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use shared_aws::report::Report;
use tokio::time::Instant;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let app = shared_aws::lambda::app().await?;
    let report = Report::of(&app)?;
    let (app, report) = (&app, &report);
    let handler = service_fn(async move |event: LambdaEvent<SqsEvent>| {
        let left = event.context.deadline().duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
        let until = Some(Instant::now() + left);
        let answer = run_jobs::lambda::handle(app, event.payload, until).await;
        report.invocation();
        Ok::<SqsBatchResponse, Error>(answer)
    });
    lambda_runtime::run(handler).await
}
