//! Every way in which a command can fail: what is printed, and the exit code that tells it from others.

use super::world::{Reply, SERVER_INFO, Server, Sts};
use std::net::TcpListener;

const ERRORS: &str = r#"{"_type":"ErrorsResponse","trackingKey":"k1","serverTimestamp":1655000000000,"errors":[{"_type":"InternalError","message":"no permission: <list>","errorCode":403}]}"#;

fn info(reply: Reply) -> String {
    let server = Server::silent().with("GET /api/server/info", reply);
    Sts::of("service-token list").server(&server).run().shown()
}

fn list(reply: Reply, words: &str) -> String {
    let server = Server::start().with("GET /api/security/tokens", reply);
    Sts::of(&format!("service-token list {words}")).server(&server).run().shown()
}

fn json(status: &'static str, body: &str) -> Reply {
    Reply::new(status, Some("application/json"), body.as_bytes())
}

#[test]
fn wrong_words_are_exit_3_with_usage_on_standard_output() {
    for (words, message) in [
        ("service-token nope", "Unknown sub-command \"nope\" for \"service-token\""),
        ("nope", "Unknown command \"nope\" for \"sts\""),
        ("service-token create", "Required flag(s) \"name\", \"roles\" not set"),
        ("service-token create --roles a", "Required flag(s) \"name\" not set"),
        ("service-token delete", "Required flag(s) \"id\" not set"),
        ("context set", "Required flag(s) \"name\" not set"),
        ("service-token list --nope", "Unknown flag: --nope"),
        ("service-token --nope", "Unknown flag: --nope"),
        ("service-token list -x", "Unknown shorthand flag: 'x' in -x"),
        ("service-token list --url", "Flag needs an argument: --url"),
        ("version -o yaml", "Invalid argument \"yaml\" for \"-o, --output\" flag: must be one of json, text"),
        (
            "service-token create -n n --roles a --expiration 1.1.2030",
            "Invalid argument \"1.1.2030\" for \"--expiration\" flag: must be a date such as 2030-12-31",
        ),
    ] {
        let outcome = Sts::of(words).run();
        assert_eq!((outcome.code, outcome.stderr), (3, format!("❌ {message}\n")), "{words}");
        assert!(outcome.stdout.starts_with("Usage:\n  sts"), "{}", outcome.stdout);
    }
}

#[test]
fn flag_that_cannot_be_read_comes_before_one_that_is_missing() {
    let outcome = Sts::of("service-token create --nope").run();
    assert_eq!(outcome.stderr, "❌ Unknown flag: --nope\n");
}

#[test]
fn errors_about_flags_know_no_style_yet_and_later_ones_do() {
    let early = Sts::of("service-token create --no-color -o json --nope").env("NO_COLOR", "1").run();
    assert_eq!(early.stderr, "❌ Unknown flag: --nope\n");
    let plain = Sts::of("service-token delete --no-color").run();
    assert_eq!(plain.stderr, "[ERROR] Required flag(s) \"id\" not set\n");
    let json = Sts::of("service-token delete -o json").run();
    insta::assert_snapshot!(json.shown(), @r#"
    exit 3
    --- stderr
    {
      "error": true,
      "error-message": "required flag(s) \"id\" not set"
    }
    "#);
}

#[test]
fn server_that_is_not_there_is_exit_4() {
    let (address, _kept) = crate::process::address_of_nobody().unwrap();
    let run = Sts::of("service-token list --service-token x --url").arg(format!("http://{address}"));
    let outcome = run.run();
    assert_eq!(outcome.code, 4);
    let message = format!("❌ Could not connect to http://{address}/api due to Connection refused");
    assert!(outcome.stderr.starts_with(&message), "{}", outcome.stderr);
}

#[test]
fn server_that_never_answers_is_exit_4_after_the_time_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let outcome = Sts::of("service-token list --service-token x --timeout 50ms --url").arg(url).run();
    assert_eq!(outcome.code, 4);
    assert!(outcome.stderr.contains("no answer in time"), "{}", outcome.stderr);
}

#[test]
fn server_that_does_not_let_in_is_exit_4() {
    insta::assert_snapshot!("401_json", info(json("401 Unauthorized", ERRORS)));
    insta::assert_snapshot!("401_text", info(Reply::new("401 Unauthorized", Some("text/plain"), b"who?")));
    insta::assert_snapshot!("401_empty", info(Reply::new("401 Unauthorized", None, b"")));
    insta::assert_snapshot!("403_json", info(json("403 Forbidden", "{\"a\":1}")));
    insta::assert_snapshot!(
        "500_html",
        info(Reply::new("500 Internal Server Error", Some("text/html"), b"<h1>\x1b[31m"))
    );
    insta::assert_snapshot!("404_empty", info(Reply::new("404 Not Found", None, b"")));
}

#[test]
fn too_many_failed_attempts_are_told_with_the_time_to_come_back() {
    let too_many = |wait| json("429 Too Many Requests", ERRORS).with_header("Retry-After", wait);
    insta::assert_snapshot!(info(too_many("12")), @"
    exit 4
    --- stderr
    ❌ Could not connect to http://127.0.0.1:[port]/api (429 Too Many Requests, try again in 12 seconds): no permission: <list>
    ");
    insta::assert_snapshot!(list(too_many("1"), ""), @"
    exit 3
    --- stderr
    ❌ 429 Too Many Requests, try again in 1 second
    _type: ErrorsResponse
    errors:
      - _type: InternalError
        errorCode: 403
        message: 'no permission: <list>'
    serverTimestamp: 1.655e+12
    trackingKey: k1
    ");
    insta::assert_snapshot!(list(too_many("Wed, 21 Oct 2026 07:28:00 GMT"), "--no-color"), @"
    exit 3
    --- stderr
    [ERROR] 429 Too Many Requests
    _type: ErrorsResponse
    errors:
      - _type: InternalError
        errorCode: 403
        message: 'no permission: <list>'
    serverTimestamp: 1.655e+12
    trackingKey: k1
    ");
    let plain = Reply::new("429 Too Many Requests", Some("text/plain"), b"slow down");
    insta::assert_snapshot!(info(plain.with_header("Retry-After", "-1")), @"
    exit 4
    --- stderr
    ❌ Could not connect to http://127.0.0.1:[port]/api (429 Too Many Requests): slow down
    ");
}

#[test]
fn answer_about_the_server_that_is_none_is_exit_4() {
    for (name, reply) in [
        ("info_empty", json("200 OK", "")),
        ("info_null", json("200 OK", "null")),
        ("info_cut", json("200 OK", "{\"version\":")),
        ("info_garbage", json("200 OK", "\u{1b}[31mno")),
        ("info_array", json("200 OK", "[]")),
        ("info_text_major", json("200 OK", r#"{"version":{"major":"5"}}"#)),
        ("info_html", Reply::new("200 OK", Some("text/html"), b"<html>")),
        ("info_untyped", Reply::new("200 OK", None, SERVER_INFO.as_bytes())),
        ("info_not_utf8", Reply::new("200 OK", Some("application/json"), b"{\"version\":\"\xff\"}")),
        ("info_redirect", Reply::redirect("http://elsewhere.example/")),
    ] {
        let shown = info(reply);
        assert!(shown.starts_with("exit 4\n"), "{name}: {shown}");
        insta::assert_snapshot!(name, shown);
    }
}

#[test]
fn server_that_is_too_old_is_exit_10() {
    for version in [
        r#"{"version":{"major":4,"minor":6,"patch":3}}"#,
        r#"{"version":{"major":5,"minor":0,"patch":0,"commit":"abc"}}"#,
        "{}",
    ] {
        let shown = info(json("200 OK", version));
        assert!(
            shown.starts_with("exit 10\n--- stdout\nUsage:\n  sts service-token list [flags]\n"),
            "{shown}"
        );
    }
    let server = Server::silent().with("GET /api/server/info", Reply::json("{}"));
    let outcome = Sts::of("service-token list -o json").server(&server).run();
    insta::assert_snapshot!(outcome.shown(), @r#"
    exit 10
    --- stderr
    {
      "error": true,
      "error-message": "incompatible API version: got '0.0.0', but need '5.0.0'-compatible version"
    }
    "#);
    let newer =
        SERVER_INFO.replace("\"major\":5", "\"major\":7,\"extra\":[1]").replace("SelfHosted", "Other");
    let server = Server::start()
        .with("GET /api/server/info", Reply::json(&newer))
        .with("GET /api/security/tokens", Reply::json("[]"));
    assert_eq!(Sts::of("service-token list").server(&server).run().code, 0);
}

#[test]
fn request_that_is_refused_is_exit_3_with_the_reason() {
    insta::assert_snapshot!("refused_403", list(json("403 Forbidden", ERRORS), ""));
    insta::assert_snapshot!("refused_403_json", list(json("403 Forbidden", ERRORS), "-o json"));
    insta::assert_snapshot!("refused_403_plain", list(json("403 Forbidden", ERRORS), "--no-color"));
    let charset =
        Reply::new("404 Not Found", Some("application/json; charset=utf-8"), b"{\"reason\":\"none\"}");
    insta::assert_snapshot!(list(charset, ""), @r#"
    exit 3
    --- stderr
    ❌ 404 Not Found
    reason: none
    "#);
    let text =
        || Reply::new("401 Unauthorized", Some("text/plain; charset=utf-8"), b"who\x1b[2J are\nyou?\n");
    insta::assert_snapshot!(list(text(), ""), @r#"
    exit 3
    --- stderr
    ❌ 401 Unauthorized
    who\u{1b}[2J are
    you?
    "#);
    insta::assert_snapshot!(list(text(), "-o json"), @r#"
    exit 3
    --- stderr
    {
      "error": true,
      "error-body": "who\u001b[2J are\nyou?",
      "error-message": "401 Unauthorized"
    }
    "#);
    let html = Reply::new("500 Internal Server Error", Some("text/html"), b"<h1>");
    insta::assert_snapshot!(list(html, ""), @r#"
    exit 3
    --- stderr
    ❌ 500 Internal Server Error (undefined response type)
    "#);
    insta::assert_snapshot!(list(Reply::new("503 Service Unavailable", None, b""), ""), @r#"
    exit 3
    --- stderr
    ❌ 503 Service Unavailable
    "#);
    insta::assert_snapshot!(list(Reply::redirect("/elsewhere"), ""), @r#"
    exit 3
    --- stderr
    ❌ 302 Found, not followed to /elsewhere
    "#);
}

#[test]
fn expiry_that_the_server_refuses_is_told() {
    let refusal = r#"{"_type":"ServiceTokenInvalidExpiryError","message":"in the past"}"#;
    let server = Server::start().with("POST /api/security/tokens", json("400 Bad Request", refusal));
    let run = Sts::of("service-token create -n n --roles a --expiration 2001-01-01").server(&server);
    insta::assert_snapshot!(run.run().shown(), @r#"
    exit 3
    --- stderr
    ❌ 400 Bad Request
    _type: ServiceTokenInvalidExpiryError
    message: in the past
    "#);
}

#[test]
fn answer_to_a_request_that_is_none_is_exit_3() {
    for (name, reply) in [
        ("list_empty", json("200 OK", "")),
        ("list_null", json("200 OK", "null")),
        ("list_cut", json("200 OK", "[{\"id\":1")),
        ("list_garbage", json("200 OK", "<html>")),
        ("list_object", json("200 OK", "{}")),
        ("list_text_id", json("200 OK", "[{\"id\":\"1\"}]")),
        ("list_deep", json("200 OK", &"[".repeat(100_000))),
        ("list_html", Reply::new("200 OK", Some("text/html"), b"<html>")),
    ] {
        let shown = list(reply, "");
        assert!(shown.starts_with("exit 3\n--- stderr\n❌ "), "{name}: {shown}");
        insta::assert_snapshot!(name, shown);
    }
    for answer in ["{}", "null", r#"{"name":"n","token":""}"#, r#"{"token":5}"#] {
        let server = Server::start().with("POST /api/security/tokens", json("200 OK", answer));
        let outcome = Sts::of("service-token create -n n --roles a").server(&server).run();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (3, ""), "{answer}");
    }
    let server = Server::start().with("GET /api/user/session/availableRoles", json("200 OK", "null"));
    assert_eq!(Sts::of("user-session roles").server(&server).run().code, 3);
}

#[test]
fn answer_that_is_no_http_is_exit_4() {
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(5000));
    let long_header = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(1_000_000));
    let typed = |rest: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{rest}");
    for bytes in [
        "",
        "\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 1000 High\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\r\n: x\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        &many_headers,
        &long_header,
        &typed("Content-Length: -1\r\n\r\n"),
        &typed("Content-Length: 99999999999999999999\r\n\r\n"),
        &typed("Content-Length: 50\r\n\r\n{\"version\":"),
        &typed("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} "),
        &typed("Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
        &typed("Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}"),
        &typed("Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\u{1f}x\u{1}y"),
    ] {
        let shown = info(Reply::raw(bytes.as_bytes()));
        let place = "exit 4
--- stderr
❌ Could not connect to http://127.0.0.1:[port]/api ";
        assert!(shown.starts_with(place), "{bytes:.80?}: {shown}");
    }
    let chunked = "HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwho\r\n0\r\n\r\n";
    assert!(info(Reply::raw(chunked.as_bytes())).contains("/api: who\n"));
}

#[test]
fn url_that_is_none_is_exit_1_or_4() {
    for url in [
        "http://",
        "http:///",
        "http://:80",
        "http://[::1",
        "http://[::1]:x",
        "http://h:99999",
        "http://h:-1",
        "http://a b",
        "http://h?x=y",
        "http://h#f",
        "http://h/\u{e9}",
        "http://\u{e9}",
        "http://@",
        "https://u:p@",
        "http://%",
        "http://h/%zz",
        "HTTP://h",
        "//h",
        "h",
        "http://h\\x",
        "http://.",
        "http://..",
    ] {
        let outcome = Sts::of("service-token list --service-token x --timeout 2s --url").arg(url).run();
        assert!([1, 4].contains(&outcome.code), "{url}: {}", outcome.shown());
        assert!(!outcome.stderr.contains("panicked"), "{url}: {}", outcome.shown());
    }
}

#[test]
fn answer_has_a_limit() {
    let limit = 16 * 1024 * 1024;
    let fits = format!("[{}]", " ".repeat(limit - 2));
    assert!(list(json("200 OK", &fits), "").starts_with("exit 0\n"));
    let shown = list(json("200 OK", &format!("{fits} ")), "");
    assert!(shown.starts_with("exit 3\n") && shown.contains("larger than 16 MiB"), "{shown}");
}

#[test]
fn plain_server_behind_https_is_exit_4() {
    let server = Server::start();
    let url = server.url().replace("http:", "https:");
    let outcome = Sts::of("service-token list --service-token x --url").arg(url).run();
    assert_eq!(outcome.code, 4, "{}", outcome.shown());
}

#[test]
fn certificates_that_are_none_are_exit_11_and_missing_ones_exit_5() {
    let list = || Sts::of("service-token list --service-token x --url https://127.0.0.1:9");
    let run = list();
    let path = run.home().join("ca.pem");
    std::fs::write(&path, "nothing").unwrap();
    assert_eq!(run.arg("--ca-cert-path").arg(path).run().code, 11);
    assert_eq!(list().env("STS_CA_CERT_BASE64_DATA", "?").run().code, 11);
    assert_eq!(list().env("STS_CA_CERT_PATH", "/nonexistent").run().code, 5);
    // Nobody's word is needed, so nobody is asked who may give it.
    assert_eq!(list().arg("--skip-ssl").env("STS_CA_CERT_PATH", "/nonexistent").run().code, 4);
    assert_eq!(list().env("STS_SKIP_SSL", "true").env("STS_CA_CERT_PATH", "/nonexistent").run().code, 4);
    assert_eq!(
        list().arg("--skip-ssl=0").env("STS_SKIP_SSL", "1").env("STS_CA_CERT_PATH", "/none").run().code,
        5
    );
}

#[test]
fn token_that_cannot_be_sent_is_exit_1_and_not_shown() {
    let outcome =
        Sts::of("service-token list --url http://127.0.0.1:9 --service-token").arg("se\ncret").run();
    insta::assert_snapshot!(outcome.shown(), @r#"
    exit 1
    --- stderr
    ❌ The token holds characters that cannot be sent, such as a line end
    "#);
}
