//! The Lambda function `sweep`: called by a schedule, every quarter of an hour.

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use shared_aws::report::Report;

#[tokio::main]
async fn main() -> Result<(), shared_aws::lambda::Failure> {
    let app = shared_aws::lambda::app().await?;
    let report = Report::of(&app)?;
    let (app, report) = (&app, &report);
    lambda_runtime::run(service_fn(async move |_event: LambdaEvent<Value>| {
        let swept = sweep::sweep(app).await;
        report.invocation();
        // A failed invocation is repeated by the platform, and seen in its metrics.
        if swept { Ok(()) } else { Err(lambda_runtime::Error::from("the sweep failed")) }
    }))
    .await
}
