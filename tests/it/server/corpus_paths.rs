//! Every row of `tests/corpora/paths.tsv`, over a raw socket. Its header says what the columns mean.

use super::client::{Client, Response};
use super::corpus::{expand, is_refusal, rows, unescape};
use super::world::{BEGINNING, Behind, Decided, Reached, Token, World, add_token, limits, policies};
use rolegate::audit::MemoryAudit;
use rolegate::engine::Engine;
use rolegate::store::memory::MemoryStore;
use rolegate::token::Secret;

const CORPUS: &str = include_str!("../../corpora/paths.tsv");
/// Statuses of a denial.
const DENIALS: [u16; 4] = [401, 403, 405, 501];
/// These rows go to the forward-auth endpoint, which the server does not have yet: a proxy in front of
/// another program asks it about the request that it holds.
const WAITING: [&str; 20] = [
    "P568", "P570", "P572", "P574", "P576", "P578", "P580", "P582", "P584", "P586", "P588", "P590", "P592",
    "P594", "P596", "P598", "P600", "P602", "P604", "P606",
];

struct Row {
    id: &'static str,
    method: String,
    target: Vec<u8>,
    items: Vec<String>,
    expected: &'static str,
    why: &'static str,
}

struct Fixture {
    world: World,
    user: Token,
    admin: Token,
    expired: Token,
    unknown: Secret,
}

/// What a request came to.
#[derive(Debug)]
struct Seen {
    response: Option<Response>,
    decided: Vec<Decided>,
    reached: Vec<Reached>,
    /// What came after the answer, when the connection was read to its end.
    rest: Option<Vec<u8>>,
}

impl Row {
    fn parse(cells: &[&'static str]) -> Self {
        let [id, method, target, items, expected, why] = *cells else { panic!("{cells:?}") };
        let items = expand(items);
        let items = items.split(" || ").filter(|item| !item.is_empty()).map(str::to_owned).collect();
        Self { id, method: expand(method), target: unescape(&expand(target)), items, expected, why }
    }

    fn directive(&self, name: &str) -> Option<&str> {
        self.items.iter().find_map(|item| {
            let rest = item.strip_prefix('@')?.strip_prefix(name)?;
            if rest.is_empty() { Some(rest) } else { rest.strip_prefix('=') }
        })
    }

    fn is_waiting(&self) -> bool {
        self.directive("via").is_some()
    }

    fn has_tag(&self, tag: &str) -> bool {
        self.why.starts_with(&format!("[{tag}]"))
    }
}

impl Fixture {
    fn new() -> Self {
        let store = MemoryStore::new();
        let user = add_token(&store, "user", None);
        let admin = add_token(&store, "admin", None);
        let expired = add_token(&store, "admin", Some(BEGINNING));
        let policies = policies(include_str!("../../corpora/fixture.rhai"));
        let audit = Box::new(MemoryAudit::new());
        let engine = Engine::open(Box::new(store), audit, policies, BEGINNING).unwrap();
        let world = World::start_with(engine, Behind::Upstream, limits());
        Self { world, user, admin, expired, unknown: Secret::generate().unwrap() }
    }

    /// The bytes of a row's request.
    fn request(&self, row: &Row) -> Vec<u8> {
        let mut bytes = row.directive("leading").map(unescape).unwrap_or_default();
        let version = if row.directive("http") == Some("1.0") { "1.0" } else { "1.1" };
        match row.directive("rawline") {
            Some(line) => bytes.extend(unescape(line)),
            None => {
                bytes.extend(unescape(&row.method));
                bytes.push(b' ');
                bytes.extend(&row.target);
                bytes.extend(format!(" HTTP/{version}").bytes());
            }
        }
        bytes.extend(b"\r\n");
        if row.directive("nohost").is_none() {
            bytes.extend(b"Host: ");
            bytes.extend(unescape(row.directive("host").unwrap_or("localhost")));
            bytes.extend(b"\r\n");
        }
        if let Some(token) = self.token(row) {
            bytes.extend(format!("Authorization: ApiKey {token}\r\n").bytes());
        }
        for item in row.items.iter().filter(|item| !item.starts_with('@')) {
            bytes.extend(unescape(&self.name_tokens(item)));
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"\r\n");
        for more in ["body", "pipeline"] {
            bytes.extend(
                row.directive(more).map(|text| unescape(&self.name_tokens(text))).unwrap_or_default(),
            );
        }
        bytes
    }

    /// The token that the row sends on its own.
    fn token(&self, row: &Row) -> Option<&str> {
        match row.directive("token") {
            None => Some(self.user.secret.expose()),
            Some("none") => None,
            Some("expired") => Some(self.expired.secret.expose()),
            Some("unknown") => Some(self.unknown.expose()),
            Some(other) => panic!("`@token={other}` in {}", row.id),
        }
    }

    fn name_tokens(&self, text: &str) -> String {
        text.replace("USER", self.user.secret.expose()).replace("ADMIN", self.admin.secret.expose())
    }

    fn send(&self, method: &str, request: &[u8], answers: usize, to_the_end: bool) -> Seen {
        self.world.record.take();
        let mut client = Client::connect(self.world.address);
        client.send(request);
        let mut response = None;
        for _ in 0..answers {
            response = client.response_to(method);
        }
        let rest = to_the_end.then(|| client.rest());
        let (decided, reached) = self.world.record.take();
        Seen { response, decided, reached, rest }
    }

    /// A plain request for `path`, with the method and the token of the row.
    fn plain(&self, row: &Row, path: &str) -> Seen {
        // A row without a credential of its own may carry one among its header fields.
        let named = row.items.iter().find(|item| item.to_lowercase().starts_with("x-api-key:"));
        let credential = match (self.token(row), named) {
            (Some(token), _) => format!("Authorization: ApiKey {token}\r\n"),
            (None, Some(item)) => format!("{}\r\n", self.name_tokens(item)),
            (None, None) => String::new(),
        };
        let path = expand(path);
        let request = format!("{} {path} HTTP/1.1\r\nHost: localhost\r\n{credential}\r\n", row.method);
        self.send(&row.method, request.as_bytes(), 1, false)
    }

    /// What is wrong with the answer to a row; nothing when it is as expected.
    fn judge(&self, row: &Row) -> Result<(), String> {
        let is_pipelined = row.directive("pipeline").is_some();
        let is_refused = row.expected == "400";
        // A connection whose framing is in doubt must end with the answer.
        let to_the_end = is_refused && row.why.contains("[smuggle");
        let seen = self.send(&row.method, &self.request(row), if is_pipelined { 2 } else { 1 }, to_the_end);
        let status = seen.response.as_ref().map_or(0, |response| response.status);
        let complaint = |what: &str| Err(format!("{what}: {seen:?}"));
        if status >= 500 && !(status == 501 || status == 505) {
            return complaint("a server error");
        }
        let closing =
            seen.response.as_ref().is_none_or(|response| response.header("connection") == Some("close"));
        if to_the_end && !closing {
            return complaint("a connection with doubtful framing stays open");
        }
        if seen.rest.as_ref().is_some_and(|rest| !rest.is_empty()) {
            return complaint("a second answer after a request with doubtful framing");
        }
        let was_refused =
            is_refusal(seen.response.as_ref()) && seen.reached.is_empty() && seen.decided.is_empty();
        match row.expected {
            "400" if was_refused => Ok(()),
            // The head was fine and decided on. The broken body refuses the request, or ends the connection.
            "400" if row.has_tag("smuggle-body") && seen.rest.is_some() => Ok(()),
            "400" => complaint("not refused before policy"),
            "deny" if DENIALS.contains(&status) && seen.reached.is_empty() => Ok(()),
            "deny" => complaint("not denied"),
            _ if row.has_tag("frag") && was_refused => Ok(()),
            expected => {
                let path = expected.strip_prefix("same-as:").unwrap_or_else(|| panic!("{expected}"));
                let plain = self.plain(row, path);
                let same_status = plain.response.as_ref().map(|response| response.status) == Some(status);
                if same_status && !seen.decided.is_empty() && plain.decided.last() == seen.decided.last() {
                    Ok(())
                } else {
                    Err(format!("{seen:?} is not the same as {plain:?}"))
                }
            }
        }
    }
}

#[test]
fn every_row_is_answered_safely() {
    let rows: Vec<Row> = rows(CORPUS, 6).iter().map(|cells| Row::parse(cells)).collect();
    let waiting: Vec<_> = rows.iter().filter(|row| row.is_waiting()).map(|row| row.id).collect();
    assert_eq!(waiting, WAITING, "the list of waiting rows is not that of the corpus");

    let fixture = Fixture::new();
    let mut wrong = Vec::new();
    let mut run = 0;
    for row in rows.iter().filter(|row| !row.is_waiting()) {
        run += 1;
        if let Err(complaint) = fixture.judge(row) {
            wrong.push(format!("{} ({}): {complaint:.2000}", row.id, row.why));
        }
    }
    println!("corpus paths: {} rows, {run} run, {} waiting", rows.len(), waiting.len());
    assert!(run > 0 && run + waiting.len() == rows.len());
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn permitted_request_reaches_the_upstream_in_canonical_spelling_without_its_token() {
    let fixture = Fixture::new();
    let token = fixture.user.secret.expose();
    let request = format!(
        "POST http://localhost/%61pi/caf%c3%a9?x=%2e%2e HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\
         Authorization: ApiKey {token}\r\nX-Rolegate-Token-Id: 1\r\nX-Other: 2\r\n\r\nhello"
    );
    let seen = fixture.send("POST", request.as_bytes(), 1, false);
    let [reached] = seen.reached.as_slice() else { panic!("{seen:?}") };
    assert_eq!((reached.method.as_str(), reached.target.as_str()), ("POST", "/api/caf%C3%A9?x=%2e%2e"));
    assert_eq!((&*reached.body, reached.token), (&b"hello"[..], Some(fixture.user.id)));
    assert!(!reached.headers.contains_key("authorization"));
    assert!(!reached.headers.contains_key("x-rolegate-token-id"));
    assert_eq!(reached.headers["x-other"], "2");
}
