//! Every row of `tests/corpora/headers.tsv`, over a raw socket, as a request and as one that a proxy tells of. Its header
//! says what the columns mean.

use super::client::{Client, Response};
use super::corpus::{expand, is_refusal, rows, unescape};
use super::forward_auth::{ENDPOINT, endpoint};
#[cfg(feature = "tower")]
use super::fronts::Front;
use super::world::{BEGINNING, Behind, Token, World, add_token, limits, policies};
use rolegate::audit::MemoryAudit;
use rolegate::engine::Engine;
use rolegate::server::Server;
use rolegate::store::memory::MemoryStore;
use rolegate::token::Secret;
use std::collections::HashMap;
use std::sync::Arc;

const CORPUS: &str = include_str!("../../corpora/headers.tsv");

struct Fixture {
    world: World,
    user: Token,
    /// What stands for each name between percent signs.
    tokens: HashMap<&'static str, String>,
}

impl Fixture {
    fn new() -> Self {
        Self::before(|engine| {
            let mut limits = limits();
            // All of these wrong tokens come from one address.
            limits.failed_authentications = None;
            let server = Server::new(Arc::new(engine)).with_limits(limits).with_forward_auth(endpoint());
            World::start_server(server, Behind::Upstream)
        })
    }

    /// The same before another front.
    fn before(start: impl FnOnce(Engine) -> World) -> Self {
        let store = MemoryStore::new();
        let user = add_token(&store, "user", None);
        let admin = add_token(&store, "admin", None);
        let expired = add_token(&store, "user", Some(BEGINNING));
        let policies = policies(include_str!("../../corpora/fixture.rhai"));
        let audit = Box::new(MemoryAudit::new());
        let engine = Engine::open(Box::new(store), audit, policies, BEGINNING).unwrap();
        let world = start(engine);
        let unknown = Secret::generate().unwrap().expose().to_owned();
        let tokens = HashMap::from([
            ("USER", user.secret.expose().to_owned()),
            ("ADMIN", admin.secret.expose().to_owned()),
            ("EXPIRED", expired.secret.expose().to_owned()),
            ("OTHERENV", unknown.replace("svctok-", "othtok-")),
            ("UNKNOWN", unknown),
        ]);
        Self { world, user, tokens }
    }

    /// Puts tokens and their transformed copies in their places.
    fn name_tokens(&self, text: &str) -> String {
        let mut named = text.to_owned();
        for (name, token) in &self.tokens {
            named = named.replace(&format!("%{name}%"), token);
        }
        let user = self.user.secret.expose();
        for (name, transformed) in [
            ("upper", user.to_uppercase()),
            ("b64", base64(user.as_bytes())),
            ("flip", flip(user)),
            ("hash", self.user.secret.digest().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()),
        ] {
            named = named.replace(&format!("%USER:{name}%"), &transformed);
        }
        assert!(!named.contains("%USER") && !named.contains("%ADMIN"), "{named}");
        named
    }

    /// The answer to a request with these header fields, itself or told by a proxy that hands them on.
    fn send(&self, headers: &str, target: &str, is_told: bool) -> Option<Response> {
        let mut bytes = if is_told {
            format!(
                "GET {ENDPOINT} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Uri: {target}\r\n"
            )
        } else {
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n")
        }
        .into_bytes();
        for line in headers.split(" || ").filter(|line| !line.is_empty()) {
            bytes.extend(unescape(&self.name_tokens(line)));
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"\r\n");
        let mut client = Client::connect(self.world.address);
        client.send(bytes);
        client.response()
    }

    /// Whether a text has a secret in it, or what a row made of one.
    fn leaks(&self, text: &str) -> bool {
        self.tokens.values().any(|token| text.contains(token.as_str()))
            || text.contains(&flip(self.user.secret.expose()))
            || text.contains(&base64(self.user.secret.expose().as_bytes()))
    }
}

fn judge(expected: u16, response: Option<&Response>, is_told: bool) -> Result<(), String> {
    let is_right = match expected {
        // At the endpoint malformed requests have the status that nginx hands on.
        400 => is_refusal(response) || (is_told && response.is_some_and(|response| response.status == 403)),
        status => response.is_some_and(|response| response.status == status),
    };
    if is_right { Ok(()) } else { Err(format!("expected {expected}, got {response:?}")) }
}

#[test]
fn every_row_is_answered_as_it_says() {
    let fixture = Fixture::new();
    let (rows, challenges) = check_all(&fixture, &[false, true]);
    println!("corpus headers: {rows} rows, {rows} run, 0 waiting, each also told by a proxy");
    let log = fixture.world.logged();
    assert!(log.matches("unauthenticated").count() >= challenges, "the log was not caught");
}

#[cfg(feature = "tower")]
#[test]
fn every_row_is_answered_as_it_says_by_the_layer_and_by_the_filters() {
    for front in [Front::Layer, Front::Filters] {
        let (rows, _) = check_all(&Fixture::before(|engine| World::start_before(engine, front)), &[false]);
        println!("corpus headers before {front:?}: {rows} rows, {rows} run");
    }
}

/// Sends each row in these ways. Returns how many rows there are, and how many challenges they were answered with.
fn check_all(fixture: &Fixture, ways: &[bool]) -> (usize, usize) {
    let rows = rows(CORPUS, 6);
    let mut wrong = Vec::new();
    let mut challenges = Vec::new();
    for (row, is_told) in rows.iter().flat_map(|row| ways.iter().map(move |is_told| (row, *is_told))) {
        let [id, headers, target, expected, challenge, why] = row.as_slice() else { panic!("{row:?}") };
        let response = fixture.send(&expand(headers), target, is_told);
        if let Err(complaint) = judge(expected.parse().unwrap(), response.as_ref(), is_told) {
            wrong.push(format!("{id} told={is_told} ({why}): {complaint}"));
        }
        let Some(response) = response else { continue };
        let shown = format!("{response:?}");
        if fixture.leaks(&shown) {
            wrong.push(format!("{id} ({why}): the answer repeats the token"));
        }
        let told = response.header("www-authenticate").map(str::to_owned);
        if told.is_some() != (*challenge != "-") {
            wrong.push(format!("{id} ({why}): WWW-Authenticate is {told:?}"));
        }
        if response.status == 401 {
            challenges.push(response.without_moment());
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    let first = challenges.first().unwrap();
    assert_eq!(first.header("www-authenticate"), Some("ApiKey realm=\"rolegate\""));
    assert!(challenges.len() > 20 && challenges.iter().all(|challenge| challenge == first));
    assert!(!fixture.leaks(&fixture.world.logged()), "the log has a token");
    (rows.len(), challenges.len())
}

/// One bit of one character changed, in the middle.
fn flip(token: &str) -> String {
    let mut bytes = token.as_bytes().to_vec();
    bytes[20] ^= 1;
    String::from_utf8(bytes).unwrap()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * at)) as usize & 63];
            text.push(if at > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[test]
fn base64_of_known_texts() {
    for (text, expected) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), (":%USER%", "OiVVU0VSJQ==")] {
        assert_eq!(base64(text.as_bytes()), expected);
    }
}
