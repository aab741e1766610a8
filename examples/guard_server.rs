//! Routes of your own, written with warp, in the server of rolegate. A route never runs for a request that the policies
//! do not permit, and finds the permit among the request's extensions.
//!
//! `cargo run --example guard_server`, then `curl -H "X-API-Key: a-token-that-this-program-chose" localhost:8081/hello`

use rolegate::audit::MemoryAudit;
use rolegate::bootstrap::{BootstrapBlock, Provision};
use rolegate::engine::{Engine, Permit};
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::server::{Server, wall_clock};
use rolegate::store::memory::MemoryStore;
use rolegate::token::{RoleName, Secret};
use std::error::Error;
use std::io::{Write as _, stdout};
use std::sync::Arc;
use tokio::net::TcpListener;
use warp::Filter as _;

const POLICY: &str = r#"role("greeter").allow("GET /hello");"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let source = Source { name: Arc::from("guard.rhai"), text: POLICY.to_owned() };
    let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())?;
    let now = wall_clock()();
    let engine = Engine::open(Box::new(MemoryStore::new()), Box::new(MemoryAudit::new()), policies, now)?;
    let (secret, kind) = Secret::parse("a-token-that-this-program-chose")?;
    let roles = vec![RoleName::parse("greeter")?];
    let bootstrap = Some(BootstrapBlock { digest: secret.digest(), kind, roles, ttl: None });
    engine.provision(&Provision { bootstrap, declared: Vec::new() }, now)?;

    let hello = warp::path!("hello").and(warp::ext::get::<Permit>()).map(|permit: Permit| {
        let name = permit.principal().map_or("nobody", |principal| &principal.name);
        format!("hello, {name}\n")
    });

    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_owned());
    let listener = TcpListener::bind(address).await?;
    writeln!(stdout(), "listening  http://{}", listener.local_addr()?)?;
    let stop = async {
        // Without a signal handler the program still serves; it then ends without draining.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    Server::new(Arc::new(engine)).serve(listener, warp::service(hello), stop).await;
    Ok(())
}
