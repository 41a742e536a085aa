//! A Lambda function behind an HTTP API that answers `hello`, and nothing else: what the runtime itself costs.

use lambda_http::{Error, Request, run, service_fn};

#[tokio::main]
async fn main() -> Result<(), Error> {
    run(service_fn(async |_request: Request| Ok::<_, Error>("hello"))).await
}
