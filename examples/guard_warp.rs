//! Routes of your own, written with warp, behind filters. A guarded route does not run for a request that the policies do
//! not permit, and has the proof as an argument.
//!
//! `cargo run --example guard_warp --features warp`, then
//! `curl -H "X-API-Key: a-token-that-this-program-chose" localhost:8081/hello`

use rolegate::audit::MemoryAudit;
use rolegate::bootstrap::{BootstrapBlock, Provision};
use rolegate::filters::{self, Authenticated, wall_clock};
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::store::memory::MemoryStore;
use rolegate::{Engine, Permit, RoleName, Secret};
use std::error::Error;
use std::io::{Write as _, stderr, stdout};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use warp::{Filter, Rejection, Reply};

const POLICY: &str = r#"role("greeter").allow("GET /hello");"#;
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
    let writing = tokio::spawn(write_uses(Arc::clone(&engine)));
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
