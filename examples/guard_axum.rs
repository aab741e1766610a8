//! Routes of your own, written with axum, behind the gate. No route runs for a request that the policies do not permit,
//! and each finds among the extensions who it is from.
//!
//! `cargo run --example guard_axum --features tower`, then
//! `curl -H "X-API-Key: a-token-that-this-program-chose" localhost:8081/hello`

use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::{Extension, Router};
use rolegate::audit::MemoryAudit;
use rolegate::bootstrap::{BootstrapBlock, Provision};
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::store::memory::MemoryStore;
use rolegate::tower::{GuardLayer, wall_clock};
use rolegate::{Engine, Permit, Principal, RoleName, Secret};
use std::error::Error;
use std::io::{Write as _, stderr, stdout};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tower::Layer as _;

const POLICY: &str = r#"
    role("greeter").allow("GET /hello");
    open("GET /health");
"#;
/// How often the uses of tokens are written down. What was not written when the program dies is lost.
const USES_WRITTEN_EVERY: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_owned());
    let listener = TcpListener::bind(address).await?;
    writeln!(stdout(), "listening  http://{}", listener.local_addr()?)?;
    serve(listener, async {
        // Without a signal handler the program still serves; it then ends without draining.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
    .await
}

/// Serves until `stop` ends.
pub(crate) async fn serve(
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Box<dyn Error>> {
    let engine = Arc::new(open()?);
    let routes = Router::new()
        .route("/hello", get(hello))
        .route("/secrets", get(|| async { "nobody gets here\n" }))
        .route("/health", get(|| async { "up\n" }));
    let guard = GuardLayer::before_routing(Arc::clone(&engine))
        .with_client_ip(|extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip()));
    // A router without routes of its own, so that every request passes the guard before one is chosen.
    let guarded = Router::new().fallback_service(guard.layer(routes));

    let writing = tokio::spawn(write_uses(Arc::clone(&engine)));
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

fn open() -> Result<Engine, Box<dyn Error>> {
    let source = Source { name: Arc::from("guard.rhai"), text: POLICY.to_owned() };
    let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())?;
    let now = wall_clock()();
    let engine = Engine::open(Box::new(MemoryStore::new()), Box::new(MemoryAudit::new()), policies, now)?;
    let (secret, kind) = Secret::parse("a-token-that-this-program-chose")?;
    let roles = vec![RoleName::parse("greeter")?];
    let bootstrap = Some(BootstrapBlock { digest: secret.digest(), kind, roles, ttl: None });
    engine.provision(&Provision { bootstrap, declared: Vec::new() }, now)?;
    Ok(engine)
}

/// The layer counts uses in memory. Writing them may wait for a disk, and so it has a thread for itself.
async fn write_uses(engine: Arc<Engine>) {
    let mut every = tokio::time::interval(USES_WRITTEN_EVERY);
    loop {
        every.tick().await;
        let engine = Arc::clone(&engine);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || engine.flush_uses()).await {
            let _nobody_reads_it = writeln!(stderr(), "uses wait on: {error}");
        }
    }
}
