//! What the server does before and around every route: limits, time, connections, panics, logs.

use super::client::Response;
use super::world::{Behind, Token, World, engine, limits, policies, request};
use rolegate::server::Limits;
use std::time::Duration;

const POLICIES: &str = r#"
role("user").allow(["ANY /api/**", "ANY /long/**"]);
open("ANY /open/**");
deny("ANY /api/forbidden");
"#;
/// Long enough for any answer, and for a test that waits for it to end.
const SHORT: Duration = Duration::from_millis(50);

fn start(change: impl FnOnce(&mut Limits)) -> (World, Token) {
    let (engine, mut tokens) = engine(policies(POLICIES), &["user"]);
    let mut limits = limits();
    change(&mut limits);
    (World::start_with(engine, Behind::Upstream, limits), tokens.remove(0))
}

fn status_of(world: &World, request: impl AsRef<[u8]>) -> u16 {
    answer_to(world, request).status
}

fn answer_to(world: &World, request: impl AsRef<[u8]>) -> Response {
    let mut client = world.connect();
    client.send(request);
    client.response().unwrap()
}

#[test]
fn header_fields_at_the_limit_are_read_and_one_more_is_431() {
    let (world, _) = start(|_| {});
    let with = |fields: usize| {
        let extra: String = (1..fields).map(|at| format!("X-{at}: 1\r\n")).collect();
        answer_to(&world, format!("GET /open/a HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n"))
    };
    assert_eq!(with(Limits::HEADER_FIELDS_MAX).status, 200);
    let refused = with(Limits::HEADER_FIELDS_MAX + 1);
    assert_eq!(refused.status, 431);
    assert_eq!(refused.message(), "the request has more than 64 header fields");
    assert_eq!(world.record.take().1.len(), 1);
}

#[test]
fn limit_of_header_fields_can_be_raised_beyond_what_hyper_reads_by_itself() {
    let (world, _) = start(|limits| limits.header_fields = 150);
    let with = |fields: usize| {
        let extra: String = (1..fields).map(|at| format!("X-{at}: 1\r\n")).collect();
        status_of(&world, format!("GET /open/a HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n"))
    };
    assert_eq!(with(150), 200);
    assert_eq!(with(151), 431);
}

#[test]
fn header_bytes_at_the_limit_are_read_and_one_more_is_431() {
    let (world, _) = start(|_| {});
    let fixed = "Host: localhost\r\nX: \r\n".len();
    let with = |bytes: usize| {
        let value = "x".repeat(bytes - fixed);
        status_of(&world, format!("GET /open/a HTTP/1.1\r\nHost: localhost\r\nX: {value}\r\n\r\n"))
    };
    assert_eq!(with(Limits::HEADER_MAX_BYTES), 200);
    assert_eq!(with(Limits::HEADER_MAX_BYTES + 1), 431);
}

#[test]
fn method_at_the_limit_is_decided_and_a_longer_one_is_501_and_not_logged() {
    let (world, _) = start(|_| {});
    let (longest, longer) = ("M".repeat(rolegate::request::METHOD_MAX_BYTES), "N".repeat(20_000));
    assert_eq!(status_of(&world, request(&longest, "/open/a", None, "")), 401);
    assert_eq!(status_of(&world, request(&longer, "/open/a", None, "")), 501);
    let log = world.logged();
    assert!(log.contains(&longest) && !log.contains("NNN"), "{log}");
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn target_at_the_limit_is_read_and_one_byte_more_is_414() {
    let (world, _) = start(|_| {});
    let with = |bytes: usize| {
        let target = format!("/open/a?{}", "x".repeat(bytes - "/open/a?".len()));
        status_of(&world, request("GET", &target, None, ""))
    };
    assert_eq!(with(rolegate::path::TARGET_MAX_BYTES), 200);
    assert_eq!(with(rolegate::path::TARGET_MAX_BYTES + 1), 414);
}

#[test]
fn body_at_the_limit_is_read_and_one_byte_more_is_413() {
    let (world, _) = start(|limits| limits.body_bytes = 1000);
    let plain = |bytes: usize| answer_to(&world, request("POST", "/open/a", None, &"x".repeat(bytes)));
    let chunked = |bytes: usize| {
        let body = format!("{:x}\r\n{}\r\n0\r\n\r\n", bytes, "x".repeat(bytes));
        let head = "POST /open/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        answer_to(&world, format!("{head}{body}"))
    };
    for answer in [plain(1000), chunked(1000)] {
        assert_eq!(answer.status, 200);
    }
    for answer in [plain(1001), chunked(1001)] {
        assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
        assert_eq!(answer.message(), "the request body is longer than this server reads");
    }
    let reached = world.record.take().1;
    assert_eq!(reached.iter().map(|reached| reached.body.len()).collect::<Vec<_>>(), [1000, 1000]);
}

#[test]
fn body_of_the_default_limit_is_read_and_one_byte_more_is_413() {
    let (world, _) = start(|_| {});
    let with = |bytes: usize| status_of(&world, request("POST", "/open/a", None, &"x".repeat(bytes)));
    assert_eq!(with(Limits::BODY_MAX_BYTES), 200);
    assert_eq!(with(Limits::BODY_MAX_BYTES + 1), 413);
}

#[test]
fn denied_upload_is_answered_and_the_connection_closed() {
    let (world, _) = start(|_| {});
    let upload = request("POST", "/api/a", None, &"x".repeat(2 * Limits::BODY_MAX_BYTES));
    let (begun, rest) = upload.split_at(Limits::BODY_MAX_BYTES);
    let mut client = world.connect();
    client.send(begun);
    let answer = client.response().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (401, Some("close")));
    assert_eq!(client.rest(), b"");
    // A reset would take the answer from clients that read it only when they have sent everything.
    for part in rest.as_bytes().chunks(16 * 1024) {
        client.send_all(part).expect("the server reads on for a while after its answer");
    }
}

#[test]
fn while_connections_are_short_they_stay_open_for_live_tokens_alone() {
    let (world, token) = start(|limits| limits.connections = 2);
    let of_wrong = Token { id: token.id, secret: rolegate::Secret::generate().unwrap() };
    let (mut stranger, live) = (world.connect(), request("GET", "/api/a", Some(&token), ""));
    let open = request("GET", "/open/a", None, "");
    let ask = |client: &mut super::client::Client, request: &str| {
        client.send(request);
        let answer = client.response().unwrap();
        (answer.status, answer.header("connection").is_some())
    };
    assert_eq!(ask(&mut stranger, &open), (200, false), "one of two");
    let mut known = world.connect();
    assert_eq!(ask(&mut known, &live), (200, false));
    assert_eq!(ask(&mut known, &request("GET", "/api/forbidden", Some(&token), "")), (403, false));
    assert_eq!(ask(&mut stranger, &open), (200, true));
    drop(stranger);
    for request in [open, request("GET", "/api/a", None, ""), request("GET", "/api/a", Some(&of_wrong), "")] {
        let mut stranger = world.connect();
        assert!(ask(&mut stranger, &request).1, "{request}");
    }
    assert_eq!(ask(&mut known, &live), (200, false));
}

#[test]
fn body_that_stalls_is_408() {
    let (world, _) = start(|limits| limits.body_read_timeout = SHORT);
    let stalled = "POST /open/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhel";
    let answer = answer_to(&world, stalled);
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    assert!(world.record.take().1.is_empty());
}

#[test]
fn body_that_breaks_off_reaches_nobody() {
    let (world, _) = start(|_| {});
    let broken = "POST /open/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    assert_eq!(status_of(&world, broken), 400);
    assert!(world.record.take().1.is_empty());
}

#[test]
fn route_that_never_answers_is_503() {
    let (world, token) = start(|limits| limits.request_timeout = SHORT);
    let answer = answer_to(&world, request("GET", "/api/never", Some(&token), ""));
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
    assert_eq!(answer.message(), "the request was not answered in time; it may still take effect");
}

#[test]
fn panic_ends_one_request_with_500_and_nothing_else() {
    let (world, token) = start(|_| {});
    let mut client = world.connect();
    client.send(request("GET", "/api/panic", Some(&token), ""));
    let answer = client.response().unwrap();
    assert_eq!(answer.status, 500);
    assert_eq!(answer.message(), "the server failed to answer; its log names the cause");
    client.send(request("GET", "/api/a", Some(&token), ""));
    assert_eq!(client.response().unwrap().status, 200, "the same connection goes on");
}

#[test]
fn body_is_asked_for_only_once_the_request_is_permitted() {
    let (world, token) = start(|_| {});
    let head = |token: Option<&Token>| {
        let credential =
            token.map(|token| format!("X-API-Key: {}\r\n", token.secret.expose())).unwrap_or_default();
        format!(
            "POST /api/a HTTP/1.1\r\nHost: localhost\r\n{credential}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
    };
    let mut client = world.connect();
    client.send(head(Some(&token)));
    assert_eq!(client.any_response("POST").unwrap().status, 100);
    client.send("hello");
    assert_eq!(client.any_response("POST").unwrap().status, 200);

    let mut client = world.connect();
    client.send(head(None));
    assert_eq!(client.any_response("POST").unwrap().status, 401);
    assert_eq!(client.rest(), b"");
}

#[test]
fn body_that_is_announced_as_too_long_is_not_asked_for() {
    let (world, _) = start(|_| {});
    let head = |bytes: usize| {
        format!(
            "POST /open/a HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {bytes}\r\n\r\n"
        )
    };
    for (bytes, status) in [(Limits::BODY_MAX_BYTES, 100), (Limits::BODY_MAX_BYTES + 1, 413)] {
        let mut client = world.connect();
        client.send(head(bytes));
        assert_eq!(client.any_response("POST").unwrap().status, status);
    }
}

#[test]
fn http_10_is_answered_and_closed() {
    let (world, _) = start(|_| {});
    let mut client = world.connect();
    client.send("GET /open/a HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().unwrap().status, 200);
    assert_eq!(client.rest(), b"");
}

#[test]
fn bytes_that_are_no_http_are_answered_or_closed_and_never_end_the_server() {
    let (world, _) = start(|_| {});
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
    ] {
        let mut client = world.connect();
        client.send(garbage);
        // A client that goes away in the middle is closed like any other.
        let answer = client.response();
        assert!(answer.as_ref().is_none_or(|answer| answer.status == 400), "{garbage:?}: {answer:?}");
    }
    assert_eq!(status_of(&world, request("GET", "/open/a", None, "")), 200);
}

#[test]
fn each_request_is_one_line_of_the_log_without_its_secrets() {
    let (world, token) = start(|_| {});
    let answer = answer_to(
        &world,
        format!(
            "POST /api/a?password=hunter2 HTTP/1.1\r\nHost: localhost\r\nCookie: sid=chocolate\r\n\
             X-API-Key: {}\r\nContent-Length: 4\r\n\r\nbody",
            token.secret.expose()
        ),
    );
    let log = world.logged();
    let id = answer.header("x-request-id").unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(id)).collect();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    for told in
        ["INFO", "method=\"POST\"", "path=\"/api/a\"", "status=200", "decision=\"allow\"", "duration_us="]
    {
        assert!(line.contains(told), "{told} is not in {line}");
    }
    assert!(line.contains(&format!("token={}", token.id)), "{line}");
    for secret in [token.secret.expose(), "hunter2", "chocolate", "body"] {
        assert!(!line.contains(secret), "{secret} is in {line}");
    }
    assert!(!log.contains(token.secret.expose()) && !log.contains("hunter2"), "at no level");
}

#[test]
fn denials_are_logged_with_their_cause() {
    let (world, token) = start(|_| {});
    for (target, token, cause) in [
        ("/api/a", None, "the request carries no token"),
        ("/nowhere", Some(&token), "cause=\"no rule allows it\""),
        ("/api/forbidden", Some(&token), "cause=\"a rule denies it\""),
        ("/api//a", Some(&token), "the path has an empty segment"),
    ] {
        let answer = answer_to(&world, request("GET", target, token, ""));
        let log = world.logged();
        let id = answer.header("x-request-id").unwrap();
        let line =
            log.lines().find(|line| line.contains(id)).unwrap_or_else(|| panic!("no line for {target}"));
        assert!(line.contains(cause), "{cause} is not in {line}");
    }
}
