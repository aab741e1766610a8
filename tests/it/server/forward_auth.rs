//! The forward-auth endpoint, asked over raw sockets as proxies ask.

use super::client::{Client, Response};
use super::world::{BEGINNING, Behind, Token, World, add_token, engine, limits, policies, request};
use http::StatusCode;
use rolegate::audit::MemoryAudit;
use rolegate::engine::Engine;
use rolegate::server::{FailedAuthentications, ForwardAuth, Limits, Networks, Server, Stopwatch};
use rolegate::store::memory::MemoryStore;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

const POLICIES: &str = r#"
role("user").allow("ANY /api/**");
open("ANY /open/**");
authenticated("ANY /from/client").when(|request| request.client_ip == "192.0.2.1");
authenticated("ANY /from/proxy").when(|request| request.client_ip == "127.0.0.1");
deny("ANY /api/forbidden");
"#;

/// The path of the endpoint.
pub(super) const ENDPOINT: &str = "/forward-auth";
/// The address of a proxy that is listed.
pub(super) const PROXY: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// The address of a peer that is not.
pub(super) const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// An endpoint that believes the one proxy.
pub(super) fn endpoint() -> ForwardAuth {
    let peers = Networks::new(vec![PROXY.to_string().parse().unwrap()]).unwrap();
    ForwardAuth::new(ENDPOINT, peers).unwrap()
}

/// A server with the endpoint, and tokens with these roles.
fn start(roles: &[&str], change: impl FnOnce(Server) -> Server) -> (World, Vec<Token>) {
    let (engine, tokens) = engine(policies(POLICIES), roles);
    let server = Server::new(Arc::new(engine)).with_limits(limits()).with_forward_auth(endpoint());
    (World::start_server(change(server), Behind::Upstream), tokens)
}

/// What a proxy asks that tells of a request in header fields.
fn told(method: &str, target: &str, token: Option<&Token>, more: &str) -> String {
    let credential =
        token.map(|token| format!("X-API-Key: {}\r\n", token.secret.expose())).unwrap_or_default();
    format!(
        "GET {ENDPOINT} HTTP/1.1\r\nHost: rolegate\r\nX-Forwarded-Method: {method}\r\nX-Forwarded-Uri: {target}\r\n\
         X-Forwarded-Host: localhost\r\nX-Forwarded-Proto: https\r\n{credential}{more}\r\n"
    )
}

fn answer(world: &World, request: impl AsRef<[u8]>) -> Response {
    let mut client = world.connect();
    client.send(request);
    client.response().unwrap()
}

/// The four fields that tell who a request comes from.
fn identity(response: &Response) -> [Option<&str>; 4] {
    ["token-id", "name", "roles", "decision"].map(|name| response.header(&format!("x-rolegate-{name}")))
}

#[test]
fn permitted_request_is_answered_with_who_it_comes_from() {
    let (world, tokens) = start(&["user"], |server| server);
    let id = tokens[0].id.to_string();
    for request in [
        told("POST", "/api/a?b=1", Some(&tokens[0]), ""),
        request("POST", &format!("{ENDPOINT}/api/a?b=1"), Some(&tokens[0]), ""),
    ] {
        let response = answer(&world, request);
        let decision = response.header("x-request-id").map(str::to_owned);
        assert_eq!((response.status, response.body.as_str()), (200, ""));
        assert_eq!(
            identity(&response),
            [Some(id.as_str()), Some("token%20of%20user"), Some("user"), decision.as_deref()]
        );
    }
    let (decided, reached) = world.record.take();
    assert!(reached.is_empty() && decided.len() == 2, "{decided:?}");
    assert!(decided.iter().all(|one| one.path == "/api/a" && one.token == Some(tokens[0].id)));
}

#[test]
fn identity_is_told_empty_when_nobody_is_known_and_never_the_one_that_was_sent() {
    let (world, _) = start(&[], |server| server);
    let forged = "X-Rolegate-Token-Id: 1\r\nX-Rolegate-Name: root\r\nX-Rolegate-Roles: admin\r\nX-Rolegate-Decision: 2\r\n";
    for more in ["", forged] {
        let response = answer(&world, told("GET", "/open/a", None, more));
        let decision = response.header("x-request-id");
        assert_eq!((response.status, identity(&response)), (200, [Some(""), Some(""), Some(""), decision]));
    }
    for alias in ["X_Rolegate_Roles: admin\r\n", "X.Rolegate.Roles: admin\r\n", "X-Rolegate_Roles: admin\r\n"]
    {
        let response = answer(&world, told("GET", "/open/a", None, alias));
        assert_eq!((response.status, identity(&response)), (403, [None; 4]), "{alias}");
    }
}

#[test]
fn denied_request_is_answered_as_the_guard_answers_it() {
    let (world, tokens) = start(&["user"], |server| server);
    for (method, target, token, status) in [
        ("GET", "/api/a", None, 401),
        ("GET", "/api/forbidden", Some(&tokens[0]), 403),
        ("POST", "/nowhere", Some(&tokens[0]), 403),
        ("TRACE", "/api/a", Some(&tokens[0]), 403),
        ("get", "/open/a", None, 401),
    ] {
        let direct = answer(&world, request(method, target, token, ""));
        assert_eq!(direct.status, status, "{method} {target}");
        let appended = request(method, &format!("{ENDPOINT}{target}"), token, "");
        for asked in [told(method, target, token, ""), appended] {
            let response = answer(&world, asked);
            assert_eq!(identity(&response), [None; 4]);
            assert_eq!(response.header("www-authenticate"), direct.header("www-authenticate"));
            if status == 401 {
                assert_eq!(response.without_moment(), direct.clone().without_moment());
            } else {
                // The one differs from the other in the numbers of request and decision.
                let begin = format!("this token may not `{method} {target}`");
                assert_eq!(response.status, 403);
                assert!(response.message().starts_with(&begin), "{response:?}");
            }
        }
    }
    assert!(world.record.take().1.is_empty());
}

#[test]
fn peer_that_is_not_listed_is_403_whatever_it_asks() {
    let (world, tokens) = start(&["user"], |server| server);
    let token = Some(&tokens[0]);
    for asked in [
        told("GET", "/open/a", token, ""),
        told("GET", "/../a", token, ""),
        request("GET", ENDPOINT, token, ""),
        request("POST", &format!("{ENDPOINT}/open/a"), token, ""),
        request("DELETE", &format!("{ENDPOINT}x"), token, ""),
    ] {
        let mut stranger = Client::connect_from(STRANGER, world.address);
        stranger.send(&asked);
        let response = stranger.response().unwrap();
        assert_eq!((response.status, identity(&response)), (403, [None; 4]), "{asked}");
        assert_eq!(
            response.message(),
            "this address is not listed among the peers of the forward-auth endpoint"
        );
    }
    assert_eq!(world.record.take(), (Vec::new(), Vec::new()));
    assert!(!world.logged().contains("WARN"));
    // Whatever it sends to another route concerns that route alone.
    let mut stranger = Client::connect_from(STRANGER, world.address);
    stranger.send(told("GET", "/nowhere", None, "").replace(ENDPOINT, "/open/a"));
    assert_eq!(stranger.response().unwrap().status, 200);
}

#[test]
fn listed_ipv4_peer_is_known_on_a_socket_for_both_versions() {
    let (engine, _) = engine(policies(POLICIES), &[]);
    let server = Server::new(Arc::new(engine)).with_limits(limits()).with_forward_auth(endpoint());
    let world = World::start_listening(server, Behind::Upstream, "[::]:0");
    let status = |from: Ipv4Addr| {
        let mut client = Client::connect_from(from, (Ipv4Addr::LOCALHOST, world.address.port()).into());
        client.send(told("GET", "/open/a", None, ""));
        client.response().unwrap().status
    };
    assert_eq!((status(PROXY), status(STRANGER)), (200, 403));
    let mut sixth = Client::connect((Ipv6Addr::LOCALHOST, world.address.port()).into());
    sixth.send(told("GET", "/open/a", None, ""));
    assert_eq!(sixth.response().unwrap().status, 403, "`::1` is not listed");
}

#[test]
fn without_the_endpoint_its_path_is_a_route_like_any_other() {
    let (engine, tokens) = engine(policies(POLICIES), &["user"]);
    let world = World::start_with(engine, Behind::Upstream, limits());
    assert_eq!(answer(&world, told("GET", "/api/a", Some(&tokens[0]), "")).status, 403);
    let elsewhere = told("GET", "/nowhere", None, "").replace(ENDPOINT, "/open/a");
    assert_eq!(answer(&world, elsewhere).status, 200);
    assert_eq!(world.record.take().1.len(), 1);
}

#[test]
fn malformed_request_has_the_status_that_is_chosen_and_its_connection_stays() {
    for status in [403, 400] {
        let chosen = endpoint().with_malformed_status(StatusCode::from_u16(status).unwrap()).unwrap();
        let (world, tokens) = start(&["user"], |server| server.with_forward_auth(chosen));
        let token = Some(&tokens[0]);
        let mut client = world.connect();
        let too_long = format!("/{}", "x".repeat(rolegate::path::TARGET_MAX_BYTES));
        let fields = "X-A: 1\r\n".repeat(Limits::HEADER_FIELDS_MAX);
        for (asked, says) in [
            (told("GET", "/a/../b", token, ""), "dots alone"),
            (request("GET", &format!("{ENDPOINT}/../open/a"), token, ""), "dots alone"),
            (request("GET", &format!("{ENDPOINT}x"), token, ""), "the target that is told is no path"),
            (told("GET", &too_long, token, ""), "longer than 8192 bytes"),
            (told(&"M".repeat(33), "/open/a", token, ""), "the method is longer"),
            (told("GET", "/open/a", token, &fields), "more than 64 header fields"),
            (told("GET", "/open/a", token, "X-Rewrite-Url: /b\r\n"), "overrides the request target"),
            (told("GET", "/open/a", token, "X-HTTP-Method-Override: PUT\r\n"), "overrides the method"),
            (told("GET", "/open/a", token, "Authorization: ApiKey x\r\n"), "more than one credential"),
            (told("GET", "http://other/open/a", token, ""), "name different hosts"),
            (told("GET", "/open/a", token, "X_Forwarded_Uri: /b\r\n"), "resembles one"),
            (request("GET", ENDPOINT, token, ""), "the method is not told"),
            (request("GET", &format!("{ENDPOINT}?/open/a"), token, ""), "the method is not told"),
        ] {
            client.send(&asked);
            let response = client.response().unwrap();
            assert_eq!((response.status, response.header("connection")), (status, None), "{asked}");
            assert!(response.message().contains(says), "{}", response.message());
        }
        // What is told well is permitted on the same connection, and a query of the endpoint itself is no source.
        client.send(told("GET", "/open/a", token, "").replace(ENDPOINT, &format!("{ENDPOINT}?b=1")));
        assert_eq!(client.response().unwrap().status, 200);
        let (decided, reached) = world.record.take();
        assert_eq!((decided.len(), reached.len()), (1, 0));
    }
}

#[test]
fn limits_hold_for_what_is_told_as_for_what_is_sent() {
    let (world, tokens) = start(&["user"], |server| server);
    let token = Some(&tokens[0]);
    let target = |bytes: usize| format!("/open/{}", "x".repeat(bytes - "/open/".len()));
    let longest = rolegate::path::TARGET_MAX_BYTES;
    for (bytes, status) in [(longest, 200), (longest + 1, 403)] {
        assert_eq!(answer(&world, told("GET", &target(bytes), token, "")).status, status);
        let appended = request("GET", &format!("{ENDPOINT}{}", target(bytes)), token, "");
        assert_eq!(answer(&world, appended).status, status);
    }
    // Rules cannot name it, so that the one that is read is permitted nowhere.
    let longest = rolegate::request::METHOD_MAX_BYTES;
    for (bytes, status) in [(longest, 401), (longest + 1, 403)] {
        let method = "M".repeat(bytes);
        assert_eq!(answer(&world, told(&method, "/open/a", None, "")).status, status);
    }
    // Method and target are no header fields of the client; host, scheme and credential count among them.
    let others = 4;
    for (fields, status) in
        [(Limits::HEADER_FIELDS_MAX - others, 200), (Limits::HEADER_FIELDS_MAX + 1 - others, 403)]
    {
        let more: String = (0..fields).map(|at| format!("X-{at}: 1\r\n")).collect();
        assert_eq!(answer(&world, told("GET", "/open/a", token, &more)).status, status, "{fields}");
    }
}

#[test]
fn request_that_announces_a_body_is_malformed_and_its_connection_ends() {
    let (world, tokens) = start(&["user"], |server| server);
    let token = Some(&tokens[0]);
    let smuggled = "GET /open/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for more in
        [format!("Content-Length: {}\r\n", smuggled.len()), "Transfer-Encoding: chunked\r\n".to_owned()]
    {
        for from in [PROXY, STRANGER] {
            let mut client = Client::connect_from(from, world.address);
            client.send(told("POST", "/open/a", token, &more) + smuggled);
            let response = client.response().unwrap();
            assert_eq!((response.status, response.header("connection")), (403, Some("close")));
            assert_eq!(client.rest(), b"");
        }
    }
    assert_eq!(answer(&world, told("POST", "/open/a", token, "Content-Length: 0\r\n")).status, 200);
    assert_eq!(world.record.take().0.len(), 1);
}

#[test]
fn conditions_see_the_address_that_the_proxy_saw_and_never_its_own() {
    let (world, tokens) = start(&["user"], |server| server);
    for (more, status) in [
        ("X-Forwarded-For: 192.0.2.1\r\n", 200),
        ("X-Forwarded-For: ::ffff:192.0.2.1\r\n", 200),
        ("X-Forwarded-For: 198.51.100.7, 192.0.2.1\r\n", 200),
        ("X-Forwarded-For: 192.0.2.1, 198.51.100.7\r\n", 403),
        ("X-Real-IP: 192.0.2.1\r\n", 403),
        ("Forwarded: for=192.0.2.1\r\n", 403),
        ("", 403),
    ] {
        let response = answer(&world, told("GET", "/from/client", Some(&tokens[0]), more));
        assert_eq!(response.status, status, "{more}");
    }
    // A rule for the proxy's own address is for the proxy's own requests.
    let mut proxy = world.connect();
    proxy.send(request("GET", "/from/proxy", Some(&tokens[0]), ""));
    assert_eq!(proxy.response().unwrap().status, 200);
    assert_eq!(answer(&world, told("GET", "/from/proxy", Some(&tokens[0]), "")).status, 403);
}

#[test]
fn failed_authentications_count_for_the_client_and_not_for_its_proxy() {
    let still: Stopwatch = Arc::new(|| Duration::ZERO);
    let (world, tokens) = start(&["user"], |server| {
        let mut limits = limits();
        limits.failed_authentications = Some(FailedAuthentications { burst: 2, per_minute: 1 });
        server.with_limits(limits).with_stopwatch(still)
    });
    let wrong = Token { id: tokens[0].id, secret: rolegate::Secret::generate().unwrap() };
    let status = |token: &Token, client: &str| {
        let more = if client.is_empty() { String::new() } else { format!("X-Forwarded-For: {client}\r\n") };
        let response = answer(&world, told("GET", "/api/a", Some(token), &more));
        assert_eq!(response.header("retry-after").is_some(), response.status == 429);
        response.status
    };
    assert_eq!([(); 3].map(|()| status(&wrong, "192.0.2.1")), [401, 401, 429]);
    assert_eq!([(); 3].map(|()| status(&wrong, "192.0.2.2")), [401, 401, 429]);
    assert_eq!(status(&tokens[0], "192.0.2.1"), 200, "a live token is never held up");
    // Of whom the proxy tells nothing, it answers for itself.
    assert_eq!([(); 3].map(|()| status(&wrong, "")), [401, 401, 429]);
    assert_eq!(status(&wrong, "192.0.2.3"), 401);
}

#[test]
fn forwarded_request_reaches_no_route_of_rolegate_and_is_no_denial_of_its_own() {
    let store = MemoryStore::new();
    let [admin, user] = ["admin", "user"].map(|role| add_token(&store, role, None));
    let audit = Arc::new(MemoryAudit::new());
    let script = r#"role("admin").allow("ANY /api/**"); role("user").allow("GET /other");"#;
    let engine =
        Engine::open(Box::new(store), Box::new(Arc::clone(&audit)), policies(script), BEGINNING).unwrap();
    let server = Server::new(Arc::new(engine)).with_limits(limits()).with_forward_auth(endpoint());
    let world = World::start_server(server, Behind::Api);
    let (entries, path) = (audit.entries().len(), "/api/security/tokens");
    let appended = format!("{ENDPOINT}{path}");
    let listed = |token| world.get(path, Some(token)).json().as_array().unwrap().len();
    let before = listed(&admin);
    for (token, status) in [(&admin, 200), (&user, 403)] {
        for asked in [told("POST", path, Some(token), ""), request("POST", &appended, Some(token), "")] {
            let response = answer(&world, asked);
            assert_eq!(response.status, status);
            assert!(status != 200 || response.body.is_empty());
        }
    }
    assert_eq!((listed(&admin), audit.entries().len()), (before, entries));
    // The same denial without a proxy is one of rolegate's own API.
    assert_eq!(world.get(path, Some(&user)).status, 403);
    assert_eq!(audit.entries().len(), entries + 1);
}

#[test]
fn log_tells_of_the_request_and_not_of_the_question() {
    let (world, tokens) = start(&["user"], |server| server);
    let response = answer(&world, told("DELETE", "/api/a", Some(&tokens[0]), ""));
    let id = response.header("x-rolegate-decision").unwrap();
    let log = world.logged();
    let line = log.lines().find(|line| line.contains(id)).unwrap();
    assert!(line.contains(r#"method="DELETE""#) && line.contains(r#"path="/api/a""#), "{line}");
    assert!(!log.contains(tokens[0].secret.expose()));
    let refused = answer(&world, told("GET", "/a,/b", Some(&tokens[0]), ""));
    let id = refused.header("x-request-id").unwrap();
    let log = world.logged();
    let line = log.lines().find(|line| line.contains(id)).unwrap();
    assert!(line.contains("malformed") && line.contains("joined by a comma"), "{line}");
    assert!(!line.contains("/a,/b"), "what could not be read is not repeated: {line}");
}
