//! Requests per second of a guarded route against the same bare warp route, side by side in one run.
//!
//! `cargo bench --bench http`
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "http/client.rs"]
mod client;
#[path = "http/world.rs"]
mod world;

use rolegate::server::Server;
use std::error::Error;
use std::io::{Write as _, stdout};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use warp::Filter as _;

const TOKEN: &str = "the-token-of-this-benchmark-run";
const BODY: &str = r#"{"status":"ready"}"#;
const CONNECTIONS: usize = 32;
/// Both servers are measured in turn, this many times; the medians are compared.
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_secs(2);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    if std::env::args().any(|argument| argument == "--test") {
        // `cargo test --benches` only wants to know that this starts.
        return Ok(());
    }
    let servers = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let clients = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let bare = start_bare(&servers)?;
    let guarded = start_guarded(&servers)?;

    let request = format!("GET /api/server/status HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {TOKEN}\r\n\r\n");
    let mut rates = [Vec::new(), Vec::new()];
    for round in 1..=ROUNDS {
        for (address, rates) in [bare, guarded].into_iter().zip(&mut rates) {
            rates.push(clients.block_on(client::rate(address, CONNECTIONS, &request, ROUND))?);
        }
        let [bare, guarded] = rates.each_ref().map(|rates| rates.last().copied().unwrap_or_default());
        writeln!(stdout(), "round {round}/{ROUNDS}: bare {bare:8.0}/s  guarded {guarded:8.0}/s")?;
    }
    let [bare, guarded] = rates.map(median);
    writeln!(
        stdout(),
        "\nGET /api/server/status, {CONNECTIONS} connections, keep-alive, medians of {ROUNDS} rounds"
    )?;
    writeln!(stdout(), "bare warp route  {bare:8.0} requests/s")?;
    writeln!(stdout(), "guarded route    {guarded:8.0} requests/s")?;
    writeln!(stdout(), "ratio            {:8.2}", guarded / bare)?;
    Ok(())
}

fn route() -> impl warp::Filter<Extract = (impl warp::Reply,), Error = warp::Rejection> + Clone {
    warp::path!("api" / "server" / "status")
        .and(warp::get())
        .map(|| warp::reply::with_header(BODY, "content-type", "application/json"))
}

fn start_bare(runtime: &Runtime) -> Outcome<SocketAddr> {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(warp::serve(route()).incoming(listener).run());
    Ok(address)
}

fn start_guarded(runtime: &Runtime) -> Outcome<SocketAddr> {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    let server = Server::new(Arc::new(world::engine(TOKEN)?));
    runtime.spawn(server.serve(listener, warp::service(route()), std::future::pending()));
    Ok(address)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}
