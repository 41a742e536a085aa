//! The Lambda function `whatsapp`.

#[tokio::main]
async fn main() -> Result<(), shared_aws::lambda::Failure> {
    shared_aws::lambda::serve_with_media(whatsapp::router()).await
}
