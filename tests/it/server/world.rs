//! A server on a free port, with its engine, a clock that the test sets, and everything that it told.

use super::client::{Client, PATIENCE, Response};
use bytes::Bytes;
use rolegate::audit::MemoryAudit;
use rolegate::engine::{Answer, Engine, Permit};
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::request::{Malformed, Request};
use rolegate::server::{Clock, Limits, Observe, Server};
use rolegate::store::memory::MemoryStore;
use rolegate::store::{Insertion, Names, Store as _};
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, Secret, SecretKind, TokenDigest, TokenId, TokenRecord};
use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use warp::Filter as _;

/// What time it is when a world begins.
pub(super) const BEGINNING: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const DAY_MS: i64 = 86_400_000;

/// A running server.
pub(super) struct World {
    pub address: SocketAddr,
    pub record: Arc<Record>,
    now: Arc<AtomicI64>,
    log: Log,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Ends when a world does.
pub(super) type Told = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What stands behind the guard.
#[derive(Clone, Copy)]
pub(super) enum Behind {
    /// The API of rolegate.
    Api,
    /// A filter of the test's own that takes every request, reads its body, and answers 200.
    Upstream,
}

/// A live token, or one that was.
pub(super) struct Token {
    pub id: TokenId,
    pub secret: Secret,
}

/// Which requests were decided how, and which reached the upstream.
#[derive(Default)]
pub(super) struct Record {
    decided: Mutex<Vec<Decided>>,
    upstream: Mutex<Vec<Reached>>,
    malformed: Mutex<Vec<Malformed>>,
}

/// How many handlers may wait for a disk at once: few, so that a test can have all of them wait.
pub(super) const BLOCKING_THREADS: usize = 8;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub answer: &'static str,
    pub verdict: String,
    pub path: String,
    pub token: Option<TokenId>,
}

/// A request at the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    pub method: String,
    pub target: String,
    pub headers: http::HeaderMap,
    pub body: Bytes,
    pub token: Option<TokenId>,
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl World {
    /// A server around this engine.
    pub(super) fn start_with(engine: Engine, behind: Behind, limits: Limits) -> Self {
        Self::start_server(Server::new(Arc::new(engine)).with_limits(limits), behind)
    }

    /// This server, with a clock that the test sets.
    pub(super) fn start_server(server: Server, behind: Behind) -> Self {
        Self::start_listening(server, behind, "127.0.0.1:0")
    }

    /// The same on another address of this machine.
    pub(super) fn start_listening(server: Server, behind: Behind, address: &str) -> Self {
        Self::start_serving(address, move |listener, record, clock, told| async move {
            let observer: Arc<dyn Observe> = Arc::clone(&record) as _;
            let server = server.with_clock(clock).with_observer(observer);
            match behind {
                Behind::Api => server.run(listener, told).await,
                Behind::Upstream => {
                    let routes = upstream(record, warp::ext::get::<Permit>());
                    server.serve(listener, warp::service(routes), told).await;
                }
            }
        })
    }

    /// Whatever serves, on this address of this machine.
    pub(super) fn start_serving<F: Future<Output = ()>>(
        address: &str,
        serve: impl FnOnce(TcpListener, Arc<Record>, Clock, Told) -> F + Send + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (record, log) = (Arc::<Record>::default(), Log::default());
        let now = Arc::new(AtomicI64::new(BEGINNING.as_millis()));
        let clock = Arc::clone(&now);
        let clock: Clock = Arc::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst)));
        let (shutdown, told) = oneshot::channel::<()>();
        let told: Told = Box::pin(async {
            let _told = told.await;
        });
        let (seen, writer) = (Arc::clone(&record), log.clone());
        let thread = std::thread::spawn(move || {
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .finish();
            let _logging = tracing::subscriber::set_default(subscriber);
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.max_blocking_threads(BLOCKING_THREADS).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                serve(listener, seen, clock, told).await;
            });
        });
        Self { address, record, now, log, shutdown: Some(shutdown), thread: Some(thread) }
    }

    pub(super) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// The answer to one request on a connection of its own.
    pub(super) fn ask(&self, method: &str, target: &str, token: Option<&Token>, body: &str) -> Response {
        let mut client = self.connect();
        client.send(request(method, target, token, body));
        client.response_to(method).unwrap_or_else(|| panic!("no answer to {method} {target}"))
    }

    pub(super) fn get(&self, target: &str, token: Option<&Token>) -> Response {
        self.ask("GET", target, token, "")
    }

    pub(super) fn set_now(&self, now: Timestamp) {
        self.now.store(now.as_millis(), Ordering::SeqCst);
    }

    /// Everything that was logged so far.
    pub(super) fn logged(&self) -> String {
        String::from_utf8_lossy(&lock(&self.log.0)).into_owned()
    }

    /// Tells the server to shut down; it has ended when the world is dropped.
    pub(super) fn shut_down(&mut self) {
        if let Some(shutdown) = self.shutdown.take() {
            let _ended = shutdown.send(());
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shut_down();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok(), "the server panicked");
        }
    }
}

impl Record {
    /// Forgets what was, and returns it.
    pub(super) fn take(&self) -> (Vec<Decided>, Vec<Reached>) {
        lock(&self.malformed).clear();
        (std::mem::take(&mut *lock(&self.decided)), std::mem::take(&mut *lock(&self.upstream)))
    }
}

impl Observe for Record {
    fn decided(&self, request: &Request, answer: &Answer, _: &Arc<PolicySet>) {
        let (name, decision, principal) = match answer {
            Answer::Permitted(permit) => ("permitted", permit.decision(), permit.principal()),
            Answer::Forbidden(forbidden) => ("forbidden", &forbidden.decision, Some(&forbidden.principal)),
            Answer::Unauthenticated(challenge) => ("unauthenticated", &challenge.decision, None),
        };
        lock(&self.decided).push(Decided {
            answer: name,
            verdict: format!("{:?}", decision.verdict),
            path: request.path().to_string(),
            token: principal.and_then(|principal| principal.id.token()),
        });
    }

    fn refused(&self, cause: &Malformed) {
        lock(&self.malformed).push(*cause);
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The limits of a server as they are by default, but that it waits for slow clients, and these for it, as long as a
/// test may take.
pub(super) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.header_read_timeout = PATIENCE;
    limits.body_read_timeout = PATIENCE;
    limits.request_timeout = PATIENCE;
    limits.write_timeout = PATIENCE;
    limits.drain_timeout = PATIENCE;
    limits
}

/// A request on a connection that stays open.
pub(super) fn request(method: &str, target: &str, token: Option<&Token>, body: &str) -> String {
    let credential =
        token.map(|token| format!("X-API-Key: {}\r\n", token.secret.expose())).unwrap_or_default();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{credential}{length}\r\n{body}")
}

/// The policies of one script.
pub(super) fn policies(script: &str) -> PolicySet {
    let source = Source { name: Arc::from("fixture.rhai"), text: script.to_owned() };
    PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap()
}

/// An engine with these policies and a token for each of these roles.
pub(super) fn engine(policies: PolicySet, roles: &[&str]) -> (Engine, Vec<Token>) {
    let store = MemoryStore::new();
    let tokens = roles.iter().map(|role| add_token(&store, role, None)).collect();
    let audit = Box::new(MemoryAudit::new());
    (Engine::open(Box::new(store), audit, policies, BEGINNING).unwrap(), tokens)
}

/// Puts a token with this role into the store.
pub(super) fn add_token(store: &MemoryStore, role: &str, expires: Option<Timestamp>) -> Token {
    let secret = Secret::generate().unwrap();
    Token { id: add_digest(store, role, expires, secret.digest(), SecretKind::Generated), secret }
}

/// Puts a token with this digest into the store.
pub(super) fn add_digest(
    store: &MemoryStore,
    role: &str,
    expires: Option<Timestamp>,
    digest: TokenDigest,
    kind: SecretKind,
) -> TokenId {
    let id = TokenId::generate().unwrap();
    let created = Timestamp::from_millis(BEGINNING.as_millis() - DAY_MS);
    let record = TokenRecord {
        name: format!("token of {role}"),
        roles: vec![RoleName::parse(role).unwrap()],
        created,
        updated: created,
        expires,
        ..crate::store::bare(id, digest, kind)
    };
    assert_eq!(store.insert(&record, Names::MayRepeat).unwrap(), Insertion::Inserted);
    id
}

/// Takes every request that reaches it with a permit.
pub(super) fn upstream(
    record: Arc<Record>,
    permit: impl warp::Filter<Extract = (Permit,), Error = warp::Rejection> + Clone + Send + Sync + 'static,
) -> impl warp::Filter<Extract = (impl warp::Reply,), Error = warp::Rejection> + Clone + Send + Sync + 'static
{
    let special = warp::path::full().then(|path: warp::path::FullPath| async move {
        match path.as_str() {
            "/api/panic" => panic!("a route panics"),
            "/api/never" => std::future::pending().await,
            _ => {}
        }
    });
    special
        .untuple_one()
        .and(warp::method())
        .and(warp::path::full())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .and(permit)
        .and(warp::body::bytes())
        .map(
            move |method: http::Method,
                  path: warp::path::FullPath,
                  query: String,
                  headers,
                  permit: Permit,
                  body| {
                let target = if query.is_empty() {
                    path.as_str().to_owned()
                } else {
                    format!("{}?{query}", path.as_str())
                };
                let token = permit.principal().and_then(|principal| principal.id.token());
                lock(&record.upstream).push(Reached {
                    method: method.to_string(),
                    target,
                    headers,
                    body,
                    token,
                });
                "reached"
            },
        )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
