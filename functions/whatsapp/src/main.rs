//! The Lambda function `whatsapp`.

#[tokio::main]
async fn main() -> Result<(), shared_aws::lambda::Failure> {
    shared_aws::lambda::serve(whatsapp::router()).await
}
