//! Failed authentications: limited by client address, and never in the way of a live token.

use super::client::{Client, Response};
use super::world::{BEGINNING, Behind, Token, World, add_digest, add_token, limits, policies, request};
use rolegate::audit::MemoryAudit;
use rolegate::engine::Engine;
use rolegate::server::{FailedAuthentications, Server};
use rolegate::store::memory::MemoryStore;
use rolegate::time::Timestamp;
use rolegate::token::{Secret, SecretKind, TokenDigest};
use sha2::{Digest as _, Sha256};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const POLICIES: &str = r#"
role("user").allow("ANY /api/**").except("ANY /api/forbidden");
open("ANY /open/**");
"#;
const LIMIT: FailedAuthentications = FailedAuthentications { burst: 3, per_minute: 6 };
const ONE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// It has the form of a generated token, and another checksum.
const WRONG_CHECKSUM: &str = "svctok-AAAAAAA-AAAAAAA-AAAAAAA-AAAAAAA";

/// A server whose stopwatch the test holds.
struct Limited {
    world: World,
    live: Token,
    expired: Token,
    elapsed_ms: Arc<AtomicU64>,
}

impl Limited {
    fn start(limit: Option<FailedAuthentications>) -> Self {
        let store = MemoryStore::new();
        let live = add_token(&store, "user", None);
        let expired = add_token(&store, "user", Some(Timestamp::from_millis(BEGINNING.as_millis() - 1)));
        Self::start_on(store, limit, live, expired)
    }

    fn start_on(
        store: MemoryStore,
        limit: Option<FailedAuthentications>,
        live: Token,
        expired: Token,
    ) -> Self {
        let audit = Box::new(MemoryAudit::new());
        let engine = Engine::open(Box::new(store), audit, policies(POLICIES), BEGINNING).unwrap();
        let elapsed_ms = Arc::<AtomicU64>::default();
        let stopwatch = Arc::clone(&elapsed_ms);
        let mut limits = limits();
        limits.failed_authentications = limit;
        let server = Server::new(Arc::new(engine))
            .with_limits(limits)
            .with_stopwatch(Arc::new(move || Duration::from_millis(stopwatch.load(Ordering::SeqCst))));
        Self { world: World::start_server(server, Behind::Upstream), live, expired, elapsed_ms }
    }

    /// The answer to a request with this text in the place of a token.
    fn ask(&self, from: Ipv4Addr, target: &str, token: &str) -> Response {
        let mut client = Client::connect_from(from, self.world.address);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {token}\r\n\r\n"));
        client.response().unwrap()
    }

    fn status(&self, from: Ipv4Addr, target: &str, token: &str) -> u16 {
        self.ask(from, target, token).status
    }

    /// Brings wrong tokens from this address until it is over its limit.
    fn exhaust(&self, from: Ipv4Addr) {
        let statuses = [(); 4].map(|()| self.status(from, "/api/a", &unknown()));
        assert_eq!(statuses, [401, 401, 401, 429]);
    }

    fn set_elapsed_ms(&self, elapsed_ms: u64) {
        self.elapsed_ms.store(elapsed_ms, Ordering::SeqCst);
    }
}

fn unknown() -> String {
    Secret::generate().unwrap().expose().to_owned()
}

#[test]
fn address_over_its_limit_gets_429_and_a_live_token_from_it_goes_on() {
    let limited = Limited::start(Some(LIMIT));
    limited.exhaust(ONE);
    let live = limited.live.secret.expose();
    for _ in 0..20 {
        assert_eq!(limited.status(ONE, "/api/a", live), 200);
        assert_eq!(limited.status(ONE, "/api/forbidden", live), 403);
        assert_eq!(limited.status(ONE, "/open/a", live), 200);
    }
    assert_eq!(limited.status(ONE, "/api/a", &unknown()), 429);
}

#[test]
fn live_token_is_not_counted() {
    let limited = Limited::start(Some(LIMIT));
    for _ in 0..20 {
        assert_eq!(limited.status(ONE, "/api/a", limited.live.secret.expose()), 200);
        assert_eq!(limited.status(ONE, "/api/forbidden", limited.live.secret.expose()), 403);
    }
    limited.exhaust(ONE);
}

#[test]
fn another_address_has_a_limit_of_its_own() {
    let limited = Limited::start(Some(LIMIT));
    limited.exhaust(ONE);
    limited.exhaust(OTHER);
    assert_eq!(limited.status(ONE, "/api/a", &unknown()), 429);
}

#[test]
fn request_without_a_credential_is_neither_counted_nor_limited() {
    let limited = Limited::start(Some(LIMIT));
    let without = || limited.world.get("/api/a", None).status;
    for _ in 0..20 {
        assert_eq!(without(), 401);
    }
    limited.exhaust(ONE);
    assert_eq!(without(), 401);
}

#[test]
fn open_route_serves_everybody_and_counts_wrong_tokens_too() {
    let limited = Limited::start(Some(LIMIT));
    for _ in 0..3 {
        assert_eq!(limited.status(ONE, "/open/a", &unknown()), 200);
    }
    assert_eq!(limited.status(ONE, "/api/a", &unknown()), 429);
    assert_eq!(limited.status(ONE, "/open/a", &unknown()), 200);
    assert_eq!(limited.world.get("/open/a", None).status, 200);
}

#[test]
fn every_cause_counts_and_is_answered_with_the_same_bytes() {
    let limited = Limited::start(Some(LIMIT));
    let expired = limited.expired.secret.expose();
    let causes = [unknown().as_str(), expired, WRONG_CHECKSUM, "short", "a-token-that-its-operator-chose"]
        .map(|token| format!("X-API-Key: {token}\r\n"));
    let causes = causes.into_iter().chain(["Authorization: Bearer x\r\n".to_owned()]);
    let causes: Vec<String> = causes.collect();
    for (minute, header) in causes.iter().enumerate() {
        limited.set_elapsed_ms(minute as u64 * 60_000);
        let ask = |header: &str| {
            let mut client = limited.world.connect();
            client.send(format!("GET /api/a HTTP/1.1\r\nHost: localhost\r\n{header}\r\n"));
            client.response().unwrap()
        };
        let counted = [(); 4].map(|()| ask(header).status);
        assert_eq!(counted, [401, 401, 401, 429], "{header}");
        let answers: Vec<Response> = causes.iter().map(|header| ask(header).without_moment()).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    let mut answer = limited.ask(ONE, "/api/a", expired).without_moment();
    answer.headers.retain(|(name, _)| name != "x-rolegate-policy");
    let fields: Vec<String> = answer.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    insta::assert_snapshot!(format!("{}\n{}\n\n{}", answer.status, fields.join("\n"), answer.body), @r#"
    429
    content-type: application/json
    retry-after: 10
    cache-control: no-store
    x-content-type-options: nosniff
    content-length: 285

    {"_type":"ErrorsResponse","trackingKey":"too-many-failed-authentications","serverTimestamp":0,"errors":[{"_type":"InternalError","message":"too many requests from this address came with a token that is not live, and so did this one: check the token, and wait before trying it again"}]}
    "#);
}

#[test]
fn wait_is_told_and_counts_down_and_after_it_there_is_401_again() {
    let limited = Limited::start(Some(LIMIT));
    limited.exhaust(ONE);
    for (elapsed_ms, wait) in [(0, "10"), (1, "10"), (1_000, "9"), (8_500, "2"), (9_999, "1")] {
        limited.set_elapsed_ms(elapsed_ms);
        let answer = limited.ask(ONE, "/api/a", &unknown());
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some(wait)), "{elapsed_ms}");
    }
    limited.set_elapsed_ms(10_000);
    let answer = limited.ask(ONE, "/api/a", &unknown());
    assert_eq!((answer.status, answer.header("retry-after")), (401, None));
    assert_eq!(limited.status(ONE, "/api/a", &unknown()), 429);
}

#[test]
fn clock_on_the_wall_neither_lifts_nor_prolongs_it() {
    let limited = Limited::start(Some(LIMIT));
    limited.exhaust(ONE);
    for now in [0, BEGINNING.as_millis() + 1_000_000_000] {
        limited.world.set_now(Timestamp::from_millis(now));
        assert_eq!(limited.status(ONE, "/api/a", &unknown()), 429);
    }
    limited.set_elapsed_ms(10_000);
    assert_eq!(limited.status(ONE, "/api/a", &unknown()), 401);
}

#[test]
fn limit_can_be_turned_off() {
    let limited = Limited::start(None);
    for _ in 0..100 {
        assert_eq!(limited.status(ONE, "/api/a", &unknown()), 401);
    }
}

#[test]
fn limit_holds_on_one_connection_and_for_pipelined_guesses() {
    let limited = Limited::start(Some(LIMIT));
    let mut client = limited.world.connect();
    let live = request("GET", "/api/a", Some(&limited.live), "");
    for expected in [401, 401, 401, 429, 429] {
        let guess = Token { id: limited.live.id, secret: Secret::generate().unwrap() };
        client.send(request("GET", "/api/a", Some(&guess), ""));
        client.send(&live);
        assert_eq!((client.response().unwrap().status, client.response().unwrap().status), (expected, 200));
    }
}

#[test]
fn log_tells_who_and_why_and_of_many_refusals_in_a_row_the_first() {
    let limited = Limited::start(Some(LIMIT));
    limited.exhaust(ONE);
    for _ in 0..5 {
        assert_eq!(limited.status(ONE, "/api/a", WRONG_CHECKSUM), 429);
    }
    limited.set_elapsed_ms(10_000);
    assert_eq!(limited.status(ONE, "/api/a", "short"), 401);
    let log = limited.world.logged();
    let lines = |level: &str, text: &str| {
        log.lines().filter(|line| line.contains(level) && line.contains(text)).count()
    };
    let refused = "cause=\"too many failed authentications; the token is not known\" client=127.0.0.1";
    assert_eq!(lines(" INFO ", refused), 1, "{log}");
    assert_eq!(lines(" INFO ", "too many"), 1, "{log}");
    assert_eq!(lines("DEBUG ", "too many"), 5, "{log}");
    assert_eq!(lines(" INFO ", "client=127.0.0.1 unlogged=5"), 1, "{log}");
    assert!(!log.contains(WRONG_CHECKSUM));
}

#[test]
fn observers_see_what_is_answered_by_a_decision_and_not_what_is_limited() {
    let limited = Limited::start(Some(LIMIT));
    limited.exhaust(ONE);
    assert_eq!(limited.world.record.take().0.len(), 3);
    assert_eq!(limited.status(ONE, "/api/a", limited.live.secret.expose()), 200);
    assert_eq!(limited.world.record.take().0.len(), 1);
}

/// The store holds a token for each of these texts, which only a look-up could find.
#[test]
fn text_that_is_no_token_is_refused_without_a_look_up() {
    let store = MemoryStore::new();
    let live = add_token(&store, "user", None);
    let refused = [WRONG_CHECKSUM, "short", "nineteen-characters"];
    let chosen = "twenty-characters-it";
    for text in refused.into_iter().chain([chosen]) {
        let digest = TokenDigest::from_bytes(Sha256::digest(text.as_bytes()).into());
        add_digest(&store, "user", None, digest, SecretKind::Chosen);
    }
    let expired = add_token(&store, "user", Some(BEGINNING));
    let limited = Limited::start_on(store, None, live, expired);
    for text in refused {
        assert_eq!(limited.status(ONE, "/api/a", text), 401, "{text}");
    }
    assert_eq!(limited.status(ONE, "/api/a", chosen), 200);
}
