//! Routes of your own, written with axum, behind the gate. No route runs for a request that the policies do not permit,
//! and each finds among the extensions who it is from.
//!
//! `cargo run --example guard_axum --features tower`, then
//! `curl -H "X-API-Key: a-token-that-this-program-chose" localhost:8081/hello`

#[path = "guarded/opening.rs"]
mod opening;
#[path = "guarded/terminal.rs"]
mod terminal;
#[path = "guarded/uses.rs"]
mod uses;

use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::{Extension, Router};
use rolegate::tower::{GuardLayer, wall_clock};
use rolegate::{Permit, Principal};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tower::Layer as _;

const POLICY: &str = r#"
    role("greeter").allow("GET /hello");
    open("GET /health");
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    serve(terminal::listen().await?, terminal::interrupted()).await
}

/// Serves until `stop` ends.
pub(crate) async fn serve(
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Box<dyn Error>> {
    let engine = Arc::new(opening::open(POLICY, wall_clock()())?);
    let routes = Router::new()
        .route("/hello", get(hello))
        .route("/secrets", get(|| async { "nobody gets here\n" }))
        .route("/health", get(|| async { "up\n" }));
    let guard = GuardLayer::before_routing(Arc::clone(&engine))
        .with_client_ip(|extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip()));
    // A router without routes of its own, so that every request passes the guard before one is chosen.
    let guarded = Router::new().fallback_service(guard.layer(routes));

    let writing = tokio::spawn(uses::write_uses(Arc::clone(&engine)));
    axum::serve(listener, guarded.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(stop)
        .await?;
    writing.abort();
    engine.flush_uses()?;
    Ok(())
}

async fn hello(Extension(permit): Extension<Permit>, Extension(who): Extension<Principal>) -> String {
    format!("hello, {}: you may {} {}\n", who.name, permit.method(), permit.path())
}
