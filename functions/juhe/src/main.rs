//! The Lambda function `juhe`.

#[tokio::main]
async fn main() -> Result<(), shared_aws::lambda::Failure> {
    shared_aws::lambda::serve(juhe::router()).await
}
