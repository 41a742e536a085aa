//! The Lambda function `chat`.

#[tokio::main]
async fn main() -> Result<(), shared_aws::lambda::Failure> {
    shared_aws::lambda::serve(chat::router()).await
}
