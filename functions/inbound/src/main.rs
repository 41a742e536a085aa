//! The Lambda function `inbound`.

#[tokio::main]
async fn main() -> Result<(), shared_aws::lambda::Failure> {
    shared_aws::lambda::serve(inbound::router()).await
}
