//! A service of your own on hyper alone, behind the gate. It is not called for a request that the policies do not
//! permit. What hyper reads before the gate sees anything is limited here as the server of rolegate limits it.
//!
//! `cargo run --example guard_hyper --features tower`, then
//! `curl -H "X-API-Key: a-token-that-this-program-chose" localhost:8081/hello`

#[path = "guarded/opening.rs"]
mod opening;
#[path = "guarded/terminal.rs"]
mod terminal;
#[path = "guarded/uses.rs"]
mod uses;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rolegate::Principal;
use rolegate::tower::{GuardLayer, wall_clock};
use std::convert::Infallible;
use std::error::Error;
use std::io::{Write as _, stderr};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer as _, ServiceBuilder, service_fn};

const POLICY: &str = r#"
    role("greeter").allow("GET /hello");
    open("GET /health");
"#;
/// How long a client may take for the head of a request.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// What hyper reads of a head: the longest target and header fields that the gate lets through, and some.
const BUFFER_MAX_BYTES: usize = 64 * 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    serve(terminal::listen().await?, terminal::interrupted()).await
}

/// Serves until `stop` ends.
pub(crate) async fn serve(
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), Box<dyn Error>> {
    let engine = Arc::new(opening::open(POLICY, wall_clock()())?);
    let guard = GuardLayer::before_routing(Arc::clone(&engine))
        .with_client_ip(|extensions| Some(extensions.get::<SocketAddr>()?.ip()));

    let writing = tokio::spawn(uses::write_uses(Arc::clone(&engine)));
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => {
                let (stream, peer) = accepted?;
                tokio::spawn(serve_one(stream, peer, guard.clone()));
            }
        }
    }
    writing.abort();
    engine.flush_uses()?;
    Ok(())
}

async fn serve_one(stream: TcpStream, peer: SocketAddr, guard: GuardLayer) {
    // What listens knows the address, and tells it to the guard by the extensions.
    let service = ServiceBuilder::new()
        .map_request(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request
        })
        .service(guard.layer(service_fn(answer)));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(BUFFER_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await;
    if let Err(error) = served {
        let _nobody_reads_it = writeln!(stderr(), "{peer}: {error}");
    }
}

async fn answer(request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let name = request.extensions().get::<Principal>().map_or("nobody", |principal| &principal.name);
    Ok(http::Response::new(Full::from(format!("hello, {name}: this is {}\n", request.uri().path()))))
}
