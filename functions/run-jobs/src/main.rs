//! The Lambda function `run-jobs`.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let app = shared_aws::lambda::app().await?;
    let handler = service_fn(|event: LambdaEvent<SqsEvent>| async {
        Ok::<SqsBatchResponse, Error>(run_jobs::lambda::handle(&app, event.payload).await)
    });
    lambda_runtime::run(handler).await
}
