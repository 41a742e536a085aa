//! The Lambda function `admin`.

#[tokio::main]
async fn main() -> Result<(), shared_aws::lambda::Failure> {
    shared_aws::lambda::serve(admin::router()).await
}
