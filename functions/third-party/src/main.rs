//! The Lambda function `third-party`.

#[tokio::main]
async fn main() -> Result<(), shared_aws::lambda::Failure> {
    shared_aws::lambda::serve_with_media(third_party::router()).await
}
