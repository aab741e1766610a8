//! Every row of `tests/corpora/paths.tsv`, over a raw socket. Its header says what the columns mean. All rows that a proxy
//! could have in its hands are also told to the forward-auth endpoint, as each kind of proxy tells them.

use super::client::{Client, Response};
use super::corpus::{expand, is_refusal, rows, unescape};
use super::forward_auth::{ENDPOINT, STRANGER, endpoint};
#[cfg(feature = "tower")]
use super::fronts::Front;
use super::world::{BEGINNING, Behind, Decided, Reached, Token, World, add_token, limits, policies};
use rolegate::audit::MemoryAudit;
use rolegate::engine::Engine;
use rolegate::server::Server;
use rolegate::store::memory::MemoryStore;
use rolegate::token::Secret;
use std::sync::Arc;

const CORPUS: &str = include_str!("../../corpora/paths.tsv");
/// Statuses of a denial.
const DENIALS: [u16; 4] = [401, 403, 405, 501];
/// How malformed requests are answered at the forward-auth endpoint, when nothing was decided.
const UNTOLD: u16 = 403;
/// What these directives are about is between a client and its proxy: it never gets to a server that is asked.
const OF_THE_CONNECTION: [&str; 4] = ["rawline", "leading", "body", "pipeline"];
/// Permitted rows that are refused when a proxy tells of them: their own header fields are a second source of what the
/// proxy tells (P460, P566), or their target is an address, which no proxy appends (P338, P340).
const REFUSED_WHEN_TOLD: [(&str, Way); 6] = [
    ("P460", Way::Forwarded),
    ("P460", Way::Appended),
    ("P566", Way::Forwarded),
    ("P566", Way::Appended),
    ("P338", Way::Appended),
    ("P340", Way::Appended),
];

/// Rows about what warp does not show to filters, each with the status that it comes to and the reason.
#[cfg(feature = "tower")]
const BEYOND_FILTERS: [(&str, Option<u16>, &str); 11] = [
    ("P252", Some(400), "the spelling of its path is refused before any policy sees it"),
    ("P344", Some(200), "the scheme of a target is not shown: it is read as http"),
    ("P424", Some(400), "the version is not shown: a request without a host is taken for HTTP/1.1"),
    ("P482", Some(400), "the end of a connection is up to its loop"),
    ("P484", Some(400), "the end of a connection is up to its loop"),
    ("P486", Some(200), "chunks are read by hyper, and the end of a connection is up to its loop"),
    ("P488", Some(400), "the end of a connection is up to its loop"),
    ("P346", None, "a target that is an authority: warp itself panics, and the connection ends"),
    ("P360", None, "a target that is an authority: warp itself panics, and the connection ends"),
    ("P362", None, "a target that is an authority: warp itself panics, and the connection ends"),
    ("P364", None, "a target that is an authority: warp itself panics, and the connection ends"),
];

/// How a request gets to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Direct,
    /// A proxy tells of it in header fields.
    Forwarded,
    /// A proxy appends its target to the path of the endpoint.
    Appended,
}

pub(super) struct Row {
    pub id: &'static str,
    method: String,
    pub target: Vec<u8>,
    items: Vec<String>,
    pub expected: &'static str,
    pub why: &'static str,
}

pub(super) struct Fixture {
    pub world: World,
    user: Token,
    admin: Token,
    expired: Token,
    unknown: Secret,
    /// Whether paths are handed on in another spelling than they are sent in. What stands behind routes refuses these.
    takes_other_spellings: bool,
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

    pub(super) fn directive(&self, name: &str) -> Option<&str> {
        self.items.iter().find_map(|item| {
            let rest = item.strip_prefix('@')?.strip_prefix(name)?;
            if rest.is_empty() { Some(rest) } else { rest.strip_prefix('=') }
        })
    }

    pub(super) fn way(&self) -> Way {
        match self.directive("via") {
            None => Way::Direct,
            Some("fwd") => Way::Forwarded,
            Some("envoy") => Way::Appended,
            Some(other) => panic!("`@via={other}` in {}", self.id),
        }
    }

    pub(super) fn is_of_the_connection(&self) -> bool {
        OF_THE_CONNECTION.iter().any(|name| self.directive(name).is_some())
    }

    /// Whether the path of a legal request is sent otherwise than policies see it.
    fn is_other_spelling(&self) -> bool {
        let Some(canonical) = self.expected.strip_prefix("same-as:") else { return false };
        let target = String::from_utf8_lossy(&self.target);
        let path = target.split('?').next().unwrap_or_default();
        path.strip_prefix("http://localhost").unwrap_or(path) != expand(canonical)
    }

    pub(super) fn method_bytes(&self) -> Vec<u8> {
        unescape(&self.method)
    }

    pub(super) fn host(&self) -> Vec<u8> {
        unescape(self.directive("host").unwrap_or("localhost"))
    }

    pub(super) fn has_tag(&self, tag: &str) -> bool {
        self.why.starts_with(&format!("[{tag}]"))
    }
}

impl Fixture {
    fn new() -> Self {
        Self::before(|engine| {
            let server = Server::new(Arc::new(engine)).with_limits(limits()).with_forward_auth(endpoint());
            World::start_server(server, Behind::Upstream)
        })
    }

    /// A server that speaks HTTP/2 as well.
    pub(super) fn with_http2() -> Self {
        Self::before(|engine| {
            let server = Server::new(Arc::new(engine)).with_limits(limits()).with_cleartext_http2(true);
            World::start_server(server, Behind::Upstream)
        })
    }

    /// The same before another front.
    fn before(start: impl FnOnce(Engine) -> World) -> Self {
        let store = MemoryStore::new();
        let user = add_token(&store, "user", None);
        let admin = add_token(&store, "admin", None);
        let expired = add_token(&store, "admin", Some(BEGINNING));
        let policies = policies(include_str!("../../corpora/fixture.rhai"));
        let audit = Box::new(MemoryAudit::new());
        let engine = Engine::open(Box::new(store), audit, policies, BEGINNING).unwrap();
        let unknown = Secret::generate().unwrap();
        Self { world: start(engine), user, admin, expired, unknown, takes_other_spellings: true }
    }

    /// The bytes of a row's request.
    fn request(&self, row: &Row, way: Way) -> Vec<u8> {
        let mut bytes = row.directive("leading").map(unescape).unwrap_or_default();
        match way {
            Way::Direct => push_head(&mut bytes, row),
            Way::Forwarded => push_told(&mut bytes, row),
            Way::Appended => push_appended(&mut bytes, row),
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
    pub(super) fn token(&self, row: &Row) -> Option<&str> {
        match row.directive("token") {
            None => Some(self.user.secret.expose()),
            Some("none") => None,
            Some("expired") => Some(self.expired.secret.expose()),
            Some("unknown") => Some(self.unknown.expose()),
            Some(other) => panic!("`@token={other}` in {}", row.id),
        }
    }

    /// The header fields that the row adds.
    pub(super) fn header_items(&self, row: &Row) -> Vec<Vec<u8>> {
        let items = row.items.iter().filter(|item| !item.starts_with('@'));
        items.map(|item| unescape(&self.name_tokens(item))).collect()
    }

    /// What is decided on a plain request for `path`, with the method and the token of the row.
    pub(super) fn plain_decisions(&self, row: &Row, path: &str) -> Vec<Decided> {
        self.plain(row, path).decided
    }

    fn name_tokens(&self, text: &str) -> String {
        text.replace("USER", self.user.secret.expose()).replace("ADMIN", self.admin.secret.expose())
    }

    fn send(&self, method: &str, request: &[u8], answers: usize, to_the_end: bool) -> Seen {
        self.send_over(Client::connect(self.world.address), method, request, answers, to_the_end)
    }

    fn send_over(
        &self,
        mut client: Client,
        method: &str,
        request: &[u8],
        answers: usize,
        to_the_end: bool,
    ) -> Seen {
        self.world.record.take();
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
    fn judge(&self, row: &Row, way: Way) -> Result<(), String> {
        let is_pipelined = row.directive("pipeline").is_some();
        let is_refused = row.expected == "400";
        // A connection whose framing is in doubt must end with the answer.
        let to_the_end = is_refused && row.why.contains("[smuggle");
        let client = match row.directive("peer") {
            Some("untrusted") => Client::connect_from(STRANGER, self.world.address),
            _ => Client::connect(self.world.address),
        };
        // A proxy that tells in header fields asks with `GET`.
        let asked = if way == Way::Forwarded { "GET" } else { &row.method };
        let answers = if is_pipelined { 2 } else { 1 };
        let seen = self.send_over(client, asked, &self.request(row, way), answers, to_the_end);
        let status = seen.response.as_ref().map_or(0, |response| response.status);
        let complaint = |what: &str| Err(format!("{what}: {seen:?}"));
        if way != Way::Direct && !seen.reached.is_empty() {
            return complaint("a request that was only told reached a route");
        }
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
        let is_refusal = is_refusal(seen.response.as_ref()) || (way != Way::Direct && status == UNTOLD);
        let was_refused = is_refusal && seen.reached.is_empty() && seen.decided.is_empty();
        match row.expected {
            _ if REFUSED_WHEN_TOLD.contains(&(row.id, way)) => {
                if was_refused {
                    Ok(())
                } else {
                    complaint("not refused")
                }
            }
            "400" if was_refused => Ok(()),
            // The head was fine and decided on. The broken body refuses the request, or ends the connection.
            "400" if row.has_tag("smuggle-body") && seen.rest.is_some() => Ok(()),
            "400" => complaint("not refused before policy"),
            "deny" if DENIALS.contains(&status) && seen.reached.is_empty() => Ok(()),
            "deny" => complaint("not denied"),
            _ if row.has_tag("frag") && was_refused => Ok(()),
            _ if !self.takes_other_spellings && row.is_other_spelling() && was_refused => Ok(()),
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

/// The request itself.
fn push_head(bytes: &mut Vec<u8>, row: &Row) {
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
        push_field(bytes, "Host", &unescape(row.directive("host").unwrap_or("localhost")));
    }
}

/// What a proxy asks that tells of the request in header fields.
fn push_told(bytes: &mut Vec<u8>, row: &Row) {
    bytes.extend(format!("GET {ENDPOINT} HTTP/1.1\r\nHost: rolegate\r\n").bytes());
    let host =
        row.directive("nohost").is_none().then(|| unescape(row.directive("host").unwrap_or("localhost")));
    for (name, value) in [
        ("X-Forwarded-Method", Some(unescape(&row.method))),
        ("X-Forwarded-Uri", Some(row.target.clone())),
        ("X-Forwarded-Host", host),
        ("X-Forwarded-Proto", Some(b"http".to_vec())),
    ] {
        if let Some(value) = value.filter(|_| row.directive("drop") != Some(name)) {
            push_field(bytes, name, &value);
        }
    }
}

/// What a proxy asks that appends the target.
fn push_appended(bytes: &mut Vec<u8>, row: &Row) {
    bytes.extend(unescape(&row.method));
    bytes.extend(format!(" {ENDPOINT}").bytes());
    bytes.extend(&row.target);
    bytes.extend(b" HTTP/1.1\r\n");
    push_field(bytes, "Host", &unescape(row.directive("host").unwrap_or("localhost")));
}

fn push_field(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    bytes.extend(format!("{name}: ").bytes());
    bytes.extend(value);
    bytes.extend(b"\r\n");
}

pub(super) fn all_rows() -> Vec<Row> {
    rows(CORPUS, 6).iter().map(|cells| Row::parse(cells)).collect()
}

fn judge_all<'a>(fixture: &Fixture, judged: impl Iterator<Item = (&'a Row, Way)>) -> usize {
    let (mut wrong, mut run) = (Vec::new(), 0);
    for (row, way) in judged {
        run += 1;
        if let Err(complaint) = fixture.judge(row, way) {
            wrong.push(format!("{} {way:?} ({}): {complaint:.2000}", row.id, row.why));
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    run
}

#[test]
fn every_row_is_answered_safely() {
    let rows = all_rows();
    let run = judge_all(&Fixture::new(), rows.iter().map(|row| (row, row.way())));
    println!("corpus paths: {} rows, {run} run, 0 waiting", rows.len());
    assert!(run > 0 && run == rows.len());
}

#[test]
fn every_row_comes_to_the_same_when_a_proxy_tells_of_it() {
    let (fixture, rows) = (Fixture::new(), all_rows());
    let direct: Vec<_> = rows.iter().filter(|row| row.way() == Way::Direct).collect();
    let told: Vec<_> = direct.iter().filter(|row| !row.is_of_the_connection()).collect();
    for way in [Way::Forwarded, Way::Appended] {
        let run = judge_all(&fixture, told.iter().map(|row| (**row, way)));
        println!("corpus paths {way:?}: {} direct rows, {run} run", direct.len());
        assert!(run > 240 && run == told.len());
    }
}

#[cfg(feature = "tower")]
#[test]
fn every_direct_row_is_answered_safely_by_the_layer() {
    let fixture = Fixture::before(|engine| World::start_before(engine, Front::Layer));
    let rows = all_rows();
    let direct: Vec<_> = rows.iter().filter(|row| row.way() == Way::Direct).collect();
    let run = judge_all(&fixture, direct.iter().map(|row| (*row, Way::Direct)));
    println!("corpus layer: {} direct rows, {run} run", direct.len());
    assert!(run == 270 && run == direct.len());
}

#[cfg(feature = "tower")]
#[test]
fn every_direct_row_is_answered_safely_by_the_filters() {
    let mut fixture = Fixture::before(|engine| World::start_before(engine, Front::Filters));
    fixture.takes_other_spellings = false;
    let rows = all_rows();
    let direct: Vec<_> = rows.iter().filter(|row| row.way() == Way::Direct).collect();
    let beyond = |row: &Row| BEYOND_FILTERS.iter().find(|(id, ..)| *id == row.id);
    let judged = direct.iter().filter(|row| beyond(row).is_none());
    let run = judge_all(&fixture, judged.map(|row| (*row, Way::Direct)));
    for (row, (_, expected, why)) in direct.iter().filter_map(|row| Some((row, beyond(row)?))) {
        let seen = fixture.send(&row.method, &fixture.request(row, Way::Direct), 1, false);
        let status = seen.response.as_ref().map(|response| response.status);
        assert_eq!(status, *expected, "{} ({why}): {seen:?}", row.id);
        // Whatever is made of it, it is nothing but the route that its token is permitted.
        assert!(seen.reached.iter().all(|reached| reached.target == "/api/users"), "{seen:?}");
    }
    let others = BEYOND_FILTERS.len();
    println!("corpus filters: {} direct rows, {run} run, {others} beyond them", direct.len());
    assert!(run > 250 && run + others == direct.len());
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
