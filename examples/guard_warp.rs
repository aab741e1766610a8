//! Routes of your own, written with warp, behind filters. A guarded route does not run for a request that the policies do
//! not permit, and has the proof as an argument.
//!
//! `cargo run --example guard_warp --features warp`, then
//! `curl -H "X-API-Key: a-token-that-this-program-chose" localhost:8081/hello`

#[path = "guarded/opening.rs"]
mod opening;
#[path = "guarded/terminal.rs"]
mod terminal;
#[path = "guarded/uses.rs"]
mod uses;

use rolegate::filters::{self, Authenticated, wall_clock};
use rolegate::{Engine, Permit};
use std::error::Error;
use std::sync::Arc;
use tokio::net::TcpListener;
use warp::{Filter, Rejection, Reply};

const POLICY: &str = r#"role("greeter").allow("GET /hello");"#;

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
    let writing = tokio::spawn(uses::write_uses(Arc::clone(&engine)));
    warp::serve(routes(Arc::clone(&engine))).incoming(listener).graceful(stop).run().await;
    writing.abort();
    engine.flush_uses()?;
    Ok(())
}

fn routes(engine: Arc<Engine>) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    let permitted = filters::permitted(Arc::clone(&engine));
    // Each is answered before the next route gets its turn: a rejection would have warp try that.
    let hello = warp::path!("hello").and(permitted.clone()).map(hello).recover(filters::answer);
    let secrets =
        warp::path!("secrets").and(permitted).map(|_| "nobody gets here\n").recover(filters::answer);
    // Any live token will do here, and no policy is asked.
    let whoami =
        warp::path!("whoami").and(filters::authenticated(engine)).map(whoami).recover(filters::answer);
    let health = warp::path!("health").map(|| "up\n");
    hello.or(secrets).or(whoami).or(health)
}

fn hello(permit: Permit) -> String {
    format!("hello, {}\n", permit.principal().map_or("nobody", |principal| &principal.name))
}

fn whoami(who: Authenticated) -> String {
    format!("{}\n", who.principal().name)
}
