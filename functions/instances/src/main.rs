//! The Lambda function `instances`.

#[tokio::main]
async fn main() -> Result<(), shared_aws::lambda::Failure> {
    shared_aws::lambda::serve_with_media(instances::router()).await
}
