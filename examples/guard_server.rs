//! Routes of your own, written with warp, in the server of rolegate. A route never runs for a request that the policies
//! do not permit, and finds the permit among the request's extensions.
//!
//! `cargo run --example guard_server`, then `curl -H "X-API-Key: a-token-that-this-program-chose" localhost:8081/hello`

#[path = "guarded/opening.rs"]
mod opening;
#[path = "guarded/terminal.rs"]
mod terminal;

use rolegate::engine::Permit;
use rolegate::server::{Server, wall_clock};
use std::error::Error;
use std::sync::Arc;
use warp::Filter as _;

const POLICY: &str = r#"role("greeter").allow("GET /hello");"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let engine = opening::open(POLICY, wall_clock()())?;
    let hello = warp::path!("hello").and(warp::ext::get::<Permit>()).map(|permit: Permit| {
        let name = permit.principal().map_or("nobody", |principal| &principal.name);
        format!("hello, {name}\n")
    });

    let listener = terminal::listen().await?;
    Server::new(Arc::new(engine)).serve(listener, warp::service(hello), terminal::interrupted()).await;
    Ok(())
}
