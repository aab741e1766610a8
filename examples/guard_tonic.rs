//! A gRPC service behind the gate: a method is a route, `POST /package.Service/Method`. No method runs for a call that the
//! policies do not permit; the client is told `Unauthenticated` or `PermissionDenied`.
//!
//! `cargo run --example guard_tonic --features tower` serves the health service, and calls it as three clients do.

#[path = "guarded/opening.rs"]
mod opening;
#[path = "guarded/uses.rs"]
mod uses;

use rolegate::tower::{GuardLayer, wall_clock};
use std::error::Error;
use std::io::{Write as _, stdout};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic::transport::{Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const POLICY: &str = r#"role("greeter").allow("POST /grpc.health.v1.Health/Check");"#;
const TOKEN: &str = "a-token-that-this-program-chose";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, told) = tokio::sync::oneshot::channel::<()>();
    let serving = serve(listener, async {
        let _told = told.await;
    });
    let calling = async {
        for line in call(address).await? {
            writeln!(stdout(), "{line}")?;
        }
        drop(stop);
        Ok(())
    };
    tokio::try_join!(serving, calling)?;
    Ok(())
}

/// Serves until `stop` ends.
pub(crate) async fn serve(
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), Box<dyn Error>> {
    let engine = Arc::new(opening::open(POLICY, wall_clock()())?);
    let guard = GuardLayer::before_routing(Arc::clone(&engine))
        .with_client_ip(|extensions| Some(extensions.get::<TcpConnectInfo>()?.remote_addr()?.ip()));
    let (_reporter, health) = tonic_health::server::health_reporter();

    let writing = tokio::spawn(uses::write_uses(Arc::clone(&engine)));
    Server::builder()
        .layer(guard)
        .add_service(health)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), stop)
        .await?;
    writing.abort();
    engine.flush_uses()?;
    Ok(())
}

/// What three calls come to.
pub(crate) async fn call(address: SocketAddr) -> Result<Vec<String>, Box<dyn Error>> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let mut client = HealthClient::new(channel);
    let mut lines = Vec::new();
    let checked = client.check(request(Some(TOKEN))?).await?;
    lines.push(format!("check with the token: {}", checked.into_inner().status().as_str_name()));
    if let Err(status) = client.check(request(None)?).await {
        lines.push(format!("check without a token: {:?}: {}", status.code(), status.message()));
    }
    if let Err(status) = client.watch(request(Some(TOKEN))?).await {
        lines.push(format!("watch with the token: {:?}: {}", status.code(), status.message()));
    }
    Ok(lines)
}

fn request(token: Option<&'static str>) -> Result<tonic::Request<HealthCheckRequest>, Box<dyn Error>> {
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    if let Some(token) = token {
        request.metadata_mut().insert("x-api-key", token.parse()?);
    }
    Ok(request)
}
