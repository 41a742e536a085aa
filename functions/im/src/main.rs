//! The Lambda function `im`.

#[tokio::main]
async fn main() -> Result<(), shared_aws::lambda::Failure> {
    shared_aws::lambda::serve(im::router()).await
}
