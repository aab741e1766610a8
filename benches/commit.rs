//! What group commit gains: tokens created a second by 64 creators at once against one alone, through the engine and
//! through the HTTP server, with the embedded store and the audit log on disk. Every creation is durable in both before
//! it counts.
//!
//! `cargo bench --bench commit`; with `-- --only engine` or `-- --only http` for one of both.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "http/client.rs"]
mod client;

use rolegate::CanonicalPath;
use rolegate::audit::file::{FileAudit, verify};
use rolegate::bootstrap::{BootstrapBlock, Provision};
use rolegate::engine::{Answer, Engine, NewToken, Permit};
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::request::{Credential, Request};
use rolegate::server::Server;
use rolegate::store::Store as _;
use rolegate::store::embedded::EmbeddedStore;
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, Secret};
use std::error::Error;
use std::fs::File;
use std::io::{self, Write as _, stdout};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

const POLICY: &str = include_str!("../policies/stackstate.rhai");
const ADMIN: &str = "the-admin-token-of-this-benchmark-run";
const CREATORS: usize = 64;
/// One creator and all of them are measured in turn, this many times; the medians are compared.
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_secs(1);
/// How much faster all creators have to be than one.
const LIMIT: f64 = 10.0;
/// What a sync takes at least on a disk that keeps its promise. Below it, the processors are what limits.
const SYNC_MS: f64 = 0.5;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// An engine over files, and where they are.
struct World {
    engine: Arc<Engine>,
    folder: tempfile::TempDir,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--test") {
        // `cargo test --benches` only wants to know that this starts.
        return Ok(());
    }
    let only = arguments.iter().position(|argument| argument == "--only").map(|at| arguments.get(at + 1));
    let wanted = |part| only.flatten().is_none_or(|only| only == part);
    if wanted("engine") {
        let world = World::new()?;
        compare("engine", |creators| world.by_engine(creators))?;
        world.check()?;
    }
    if wanted("http") {
        let world = World::new()?;
        let servers = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let clients = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let address = world.serve(&servers)?;
        compare("http", |creators| clients.block_on(by_http(address, creators)))?;
        drop(servers);
        world.check()?;
    }
    Ok(())
}

/// Measures one creator and all of them in turn, and prints the medians. The ratio is that of each round, since what a
/// sync takes differs much from one second to the next: where it takes next to nothing, there is little to share.
fn compare(part: &str, measure: impl Fn(usize) -> Outcome<f64>) -> Outcome<()> {
    let (mut ones, mut alls, mut ratios, mut syncs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let (sync, one, all) = (sync_ms()?, measure(1)?, measure(CREATORS)?);
        let ratio = all / one;
        writeln!(
            stdout(),
            "{part} round {round}/{ROUNDS}: sync {sync:5.2} ms  1 creator {one:6.0}/s  \
             {CREATORS} creators {all:6.0}/s  ratio {ratio:5.1}"
        )?;
        syncs.push(sync);
        ones.push(one);
        alls.push(all);
        ratios.push(ratio);
    }
    let [sync, one, all, ratio] = [syncs, ones, alls, ratios].map(median);
    writeln!(stdout(), "\ntokens created by {part}, medians of {ROUNDS} rounds")?;
    writeln!(stdout(), "  1 sync     {sync:6.2} ms")?;
    writeln!(stdout(), "  1 creator  {one:6.0}/s")?;
    writeln!(stdout(), " {CREATORS} creators {all:6.0}/s")?;
    writeln!(
        stdout(),
        "ratio        {ratio:6.1}    (limit {LIMIT}, where a sync takes {SYNC_MS} ms or more)\n"
    )?;
    Ok(())
}

impl World {
    fn new() -> Outcome<Self> {
        // In the target folder: what is temporary elsewhere may lie in memory, where nothing is synced.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let source = Source { name: Arc::from("policies/stackstate.rhai"), text: POLICY.to_owned() };
        let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())?;
        let store = EmbeddedStore::open(folder.path())?;
        let audit = FileAudit::open(&folder.path().join("audit.jsonl"))?;
        let engine = Engine::open(Box::new(store), Box::new(audit), policies, now())?;
        let (secret, kind) = Secret::parse(ADMIN)?;
        let roles = vec![RoleName::parse("stackstate-admin")?];
        let bootstrap = Some(BootstrapBlock { digest: secret.digest(), kind, roles, ttl: None });
        engine.provision(&Provision { bootstrap, declared: Vec::new() }, now())?;
        Ok(Self { engine: Arc::new(engine), folder })
    }

    fn permit(&self) -> Outcome<Permit> {
        let path = CanonicalPath::parse("/api/security/tokens")?;
        let mut parts = Request::new(http::Method::POST, path).into_parts();
        parts.credential = Credential::read(ADMIN);
        match self.engine.check(&Request::from(parts), now()) {
            Answer::Permitted(permit) => Ok(permit),
            other => Err(format!("the administrator is not permitted: {other:?}").into()),
        }
    }

    /// Tokens created a second by so many threads.
    fn by_engine(&self, creators: usize) -> Outcome<f64> {
        let permit = self.permit()?;
        let new = NewToken {
            name: "ci".to_owned(),
            roles: vec![RoleName::parse("stackstate-guest")?],
            ..NewToken::default()
        };
        let started = Instant::now();
        let end = started + ROUND;
        let create = || -> Outcome<u32> {
            let mut created = 0;
            while Instant::now() < end {
                self.engine.create(&permit, new.clone(), now())?;
                created += 1;
            }
            Ok(created)
        };
        let created = thread::scope(|scope| {
            let creators: Vec<_> = (0..creators).map(|_| scope.spawn(create)).collect();
            creators
                .into_iter()
                .map(|creator| creator.join().map_err(|_| "a creator panicked")?)
                .sum::<Outcome<u32>>()
        })?;
        Ok(f64::from(created) / started.elapsed().as_secs_f64())
    }

    fn serve(&self, runtime: &Runtime) -> Outcome<SocketAddr> {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        runtime.spawn(Server::new(Arc::clone(&self.engine)).run(listener, std::future::pending()));
        Ok(address)
    }

    /// What was counted is in the files: as many tokens, and an entry for each of them.
    fn check(self) -> Outcome<()> {
        let kept = self.engine.token_count();
        drop(self.engine);
        let mut stored = 0;
        EmbeddedStore::open(self.folder.path())?.load(&mut |_| stored += 1)?;
        let entries = usize::try_from(verify(&self.folder.path().join("audit.jsonl"))?.entries)?;
        // The start has an entry too.
        if stored != kept || entries != kept + 1 {
            return Err(
                format!("{kept} tokens, but {stored} in the store and {entries} audit entries").into()
            );
        }
        Ok(())
    }
}

/// Tokens created a second over so many connections.
async fn by_http(address: SocketAddr, creators: usize) -> Outcome<f64> {
    const BODY: &str = r#"{"name":"ci","roles":["stackstate-guest"]}"#;
    let request = format!(
        "POST /api/security/tokens HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {ADMIN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    client::rate(address, creators, &request, ROUND).await
}

/// What the disk takes for the least that a durable entry needs.
fn sync_ms() -> Outcome<f64> {
    let mut file = tempfile::tempfile_in(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let append = |file: &mut File| -> io::Result<f64> {
        let started = Instant::now();
        file.write_all(&[b'x'; 256])?;
        file.sync_data()?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    };
    Ok(median((0..51).map(|_| append(&mut file)).collect::<io::Result<_>>()?))
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}
