//! What group commit gains: tokens created a second by 64 creators at once against one alone, through the engine and
//! through the HTTP server, with the embedded store and the audit log on disk. Every creation is durable in both before
//! it counts.
//!
//! A disk that syncs in next to no time leaves little to share: then the processors are what limits. So the same is
//! measured once more through the engine with every sync held up, as a disk of a common cloud does. `strace` does both that
//! and the counting of syncs; where it is not installed, only this disk is measured.
//!
//! `cargo bench --bench commit`; with `-- --only engine` or `-- --only http` for one of both, `-- --rounds N` for other
//! than 15 rounds.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "http/client.rs"]
mod client;
#[path = "commit/measured.rs"]
mod measured;
#[path = "commit/traced.rs"]
mod traced;

use measured::{Round, Run, Runs, median};
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
/// How much faster all creators have to be than one, where a sync takes as long as on a disk of a common cloud.
const LIMIT: f64 = 10.0;

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
    let value = |name| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).map(String::as_str)
    };
    let rounds = value("--rounds").map_or(Ok(ROUNDS), str::parse)?.max(1);
    let parts =
        ["engine", "http"].into_iter().filter(|part| value("--only").is_none_or(|only| only == *part));
    for part in parts {
        if let Some(out) = value(traced::WINDOWS) {
            return measure(part, rounds, |_| Ok(()))?.write_windows(Path::new(out));
        }
        measured::heading(part, CREATORS, rounds)?;
        let plain = measure(part, rounds, |round| round.print("this disk"))?;
        if part != "engine" {
            // Under `strace` a request takes several times the processor time, whatever its syncs take.
            plain.print_medians("this disk", None, None)?;
            continue;
        }
        let counted = traced::run(part, rounds.min(3), Duration::ZERO)?;
        let slow = traced::run(part, rounds.min(7), traced::SYNC_OF_A_CLOUD_DISK)?;
        plain.print_medians("this disk", counted.as_ref(), None)?;
        match slow {
            Some(slow) => slow.runs.print_medians("slow disk", Some(&slow), Some(LIMIT))?,
            None => writeln!(stdout(), "slow disk: not measured, since there is no `strace` here")?,
        }
    }
    Ok(())
}

/// Measures one creator and all of them in turn.
fn measure(part: &str, rounds: usize, each: impl Fn(&Round) -> Outcome<()>) -> Outcome<Runs> {
    let world = World::new()?;
    let mut runs = Runs::default();
    let mut take = |create: &dyn Fn(usize) -> Outcome<()>| -> Outcome<()> {
        for _ in 0..rounds {
            let sync_ms = sync_ms()?;
            let run = |creators| Run::of(creators, || world.engine.token_count(), || create(creators));
            let round = Round { sync_ms, one: run(1)?, all: run(CREATORS)? };
            each(&round)?;
            runs.0.push(round);
        }
        Ok(())
    };
    if part == "engine" {
        take(&|creators| world.by_engine(creators))?;
    } else {
        let servers = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let clients = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let address = world.serve(&servers)?;
        take(&|creators| clients.block_on(by_http(address, creators)))?;
    }
    world.check()?;
    Ok(runs)
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

    /// Creates tokens for a round by so many threads.
    fn by_engine(&self, creators: usize) -> Outcome<()> {
        let permit = self.permit()?;
        let new = NewToken {
            name: "ci".to_owned(),
            roles: vec![RoleName::parse("stackstate-guest")?],
            ..NewToken::default()
        };
        let end = Instant::now() + ROUND;
        let create = || -> Outcome<()> {
            while Instant::now() < end {
                self.engine.create(&permit, new.clone(), now())?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let creators: Vec<_> = (0..creators).map(|_| scope.spawn(create)).collect();
            creators.into_iter().try_for_each(|creator| creator.join().map_err(|_| "a creator panicked")?)
        })
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

/// Creates tokens for a round over so many connections.
async fn by_http(address: SocketAddr, creators: usize) -> Outcome<()> {
    const BODY: &str = r#"{"name":"ci","roles":["stackstate-guest"]}"#;
    let request = format!(
        "POST /api/security/tokens HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {ADMIN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    client::waits(address, creators, &request, ROUND).await?;
    Ok(())
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
