//! The Lambda function `realtime`: what API Gateway's WebSocket API tells of connections.

use aws_lambda_events::event::apigw::ApiGatewayWebsocketProxyRequest;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use realtime::gateway::{self, Gateway};
use shared_aws::sockets::Management;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let app = shared_aws::lambda::app().await?;
    let url = app.config.websocket_management_url.clone().ok_or("WEBSOCKET_MANAGEMENT_URL is required")?;
    let gateway = &Gateway::new(app, Management::connect(&url).await);
    lambda_runtime::run(service_fn(async |event: LambdaEvent<ApiGatewayWebsocketProxyRequest>| {
        Ok::<_, Error>(gateway::handle(gateway, event.payload).await)
    }))
    .await
}
