//! `service-token describe`, `rotate`, `disable`, `enable` and `update`: what is sent and what is printed.

use super::world::{Reply, SERVER_INFO, Server, Sts};

const WHOLE: &str = r#"{"id":42,"lastUpdateTimestamp":1795510731153,"name":"ci","description":"nightly\nbuilds",
    "expiration":1924905600000,"roles":["one","two"],"created":1795510731153,"origin":"api",
    "disabled":1795510731153,"formerExpiration":1795510791153,"lastUsed":1795510731153,"useCount":7,
    "fingerprint":"01020304","dedicatedSubject":"s","new":{}}"#;
const ROTATED: &str = r#"{"id":42,"name":"ci","token":"svctok-new","expiration":1924905600000,"formerExpiration":1795510791153}"#;

fn server(line: &str, body: &str) -> Server {
    Server::start().with(line, Reply::json(body))
}

fn run(server: &Server, words: &str) -> String {
    Sts::of(&format!("service-token {words}")).server(server).run().shown()
}

#[test]
fn describe_shows_what_the_server_tells() {
    let described = server("GET /api/security/tokens/42", WHOLE);
    insta::assert_snapshot!("describe", run(&described, "describe 42 --no-color").replace(" \n", "$\n"));
    insta::assert_snapshot!("describe_json", run(&described, "describe --id 42 -o json"));
    assert_eq!(described.lines()[1], "GET /api/security/tokens/42");
    let little = server("GET /api/security/tokens/42", r#"{"id":42,"name":"n","roles":[]}"#);
    insta::assert_snapshot!("describe_little", run(&little, "describe 42"));
}

#[test]
fn rotate_prints_the_token_as_create_does_and_when_the_former_one_ends() {
    let with_grace = server("POST /api/security/tokens/42/rotate", ROTATED);
    let printed = run(&with_grace, "rotate 42 --grace 10m");
    let expected = "exit 0\n--- stdout\n✅ Service token rotated: svctok-new\n\n\
                    The former secret is accepted until 2026-11-24 08:59:51 +00:00.\n";
    assert_eq!(printed, expected);
    assert_eq!(with_grace.seen()[1].body, "{\"gracePeriod\":600000}\n");
    insta::assert_snapshot!("rotate_json", run(&with_grace, "rotate -i 42 --grace=1h -o json"));

    let without =
        server("POST /api/security/tokens/42/rotate", r#"{"id":42,"name":"ci","token":"svctok-new"}"#);
    let printed = run(&without, "rotate 42");
    assert_eq!(printed, "exit 0\n--- stdout\n✅ Service token rotated: svctok-new\n\n");
    assert_eq!(without.seen()[1].body, "{}\n");
    let none = server("POST /api/security/tokens/42/rotate", "{}");
    assert!(run(&none, "rotate 42").contains("❌ The server's answer holds no token\n"));
}

#[test]
fn disable_and_enable_tell_what_they_did() {
    for action in ["disable", "enable"] {
        let server = server(&format!("POST /api/security/tokens/42/{action}"), WHOLE);
        let printed = run(&server, &format!("{action} 42"));
        assert_eq!(printed, format!("exit 0\n--- stdout\n✅ Service token {action}d: 42\n"));
        assert_eq!(server.seen()[1].body, "");
        let json = run(&server, &format!("{action} 42 -o json"));
        assert!(
            json.starts_with("exit 0\n--- stdout\n{\n  \"service-token\": {\n    \"created\": "),
            "{json}"
        );
    }
}

#[test]
fn update_sends_what_the_flags_say() {
    let sent = |words: &str| {
        let server = server("PATCH /api/security/tokens/42", WHOLE);
        let printed = run(&server, &format!("update 42 {words}"));
        assert_eq!(printed, "exit 0\n--- stdout\n✅ Service token updated: 42\n", "{words}");
        server.seen().pop().unwrap().body
    };
    assert_eq!(sent("-n cd --unique"), "{\"name\":\"cd\",\"unique\":true}\n");
    assert_eq!(sent("--roles a,b --roles c"), "{\"roles\":[\"a\",\"b\",\"c\"]}\n");
    assert_eq!(sent("--roles="), "{\"roles\":[]}\n");
    assert_eq!(
        sent("--description what --expiration 2030-12-31"),
        "{\"description\":\"what\",\"expiryDate\":1924905600000}\n"
    );
    assert_eq!(sent("--no-description --no-expiration"), "{\"description\":null,\"expiryDate\":null}\n");
    assert_eq!(sent("--name x --no-expiration=false"), "{\"name\":\"x\"}\n");
}

#[test]
fn changes_that_are_not_clear_ask_no_server() {
    for (words, message) in [
        ("update 42", "Nothing is to be changed: give a name, a description, roles or an expiration"),
        (
            "update 42 --unique",
            "Nothing is to be changed: give a name, a description, roles or an expiration",
        ),
        ("update --name x", "Required flag(s) \"id\" not set"),
        (
            "update 42 --expiration 2030-12-31 --no-expiration",
            "Only one of the flags {expiration | no-expiration} can be given",
        ),
        (
            "update 42 --description= --no-description",
            "Only one of the flags {description | no-description} can be given",
        ),
        ("update 42 --expiration 0001-01-01", "The expiration is no date: --no-expiration takes it away"),
        ("rotate", "Required flag(s) \"id\" not set"),
        ("rotate 1 2", "Several ids are given: rotate one at a time"),
        ("disable --id 1 2", "Two ids are given, 1 and 2: disable one at a time"),
        ("describe x", "Invalid id \"x\": must be a whole number"),
        (
            "rotate 42 --grace 10",
            "Invalid argument \"10\" for \"--grace\" flag: the number has no unit; write `24h`, `7d` or `1h 30m`",
        ),
        (
            "rotate 42 --grace 0s",
            "Invalid argument \"0s\" for \"--grace\" flag: at least 1s is needed; write `24h`, `7d` or `1h 30m`",
        ),
    ] {
        let server = Server::start();
        let outcome = Sts::of(&format!("service-token {words}")).server(&server).run();
        assert_eq!((outcome.code, outcome.stderr), (3, format!("❌ {message}\n")), "{words}");
        assert!(outcome.stdout.starts_with("Usage:\n  sts service-token"), "{words}");
        assert!(server.lines().is_empty(), "{words}");
    }
}

#[test]
fn server_that_does_not_know_a_command_is_told_from_one_that_lacks_the_token() {
    let unknown = Server::start();
    for (command, words) in
        [("describe", "42"), ("rotate", "42"), ("disable", "42"), ("enable", "42"), ("update", "42 --name n")]
    {
        let told = run(&unknown, &format!("{command} {words}"));
        let expected = format!(
            "exit 3\n--- stderr\n❌ 404 Not Found: this server does not know `sts service-token {command}`, which is for \
             servers of rolegate\n"
        );
        assert_eq!(told, expected);
    }
    let old = Reply::new("405 Method Not Allowed", Some("text/html"), b"<html>");
    let old = Server::start().with("GET /api/security/tokens/42", old);
    assert!(run(&old, "describe 42").contains("❌ 405 Method Not Allowed: this server does not know"));
    let body = r#"{"_type":"ErrorsResponse","trackingKey":"k","serverTimestamp":1,"errors":[{"_type":"InternalError","message":"no service token has the id 42"}]}"#;
    let rolegate = Reply::new("404 Not Found", Some("application/json"), body.as_bytes());
    let rolegate = rolegate.with_header("x-rolegate-policy", "0123456789abcdef");
    let rolegate = Server::start().with("GET /api/security/tokens/42", rolegate);
    insta::assert_snapshot!("describe_404", run(&rolegate, "describe 42"));
    insta::assert_snapshot!("describe_404_json", run(&rolegate, "describe 42 -o json"));
}

#[test]
fn other_server_is_not_asked_for_what_it_would_pass_over() {
    let server = server("POST /api/security/tokens", r#"{"name":"n","token":"svctok-new"}"#);
    for flag in ["unique", "description"] {
        let value = if flag == "unique" { "" } else { "=nightly" };
        assert_eq!(
            run(&server, &format!("create -n n --roles a --{flag}{value}")),
            format!(
                "exit 3\n--- stderr\n❌ No token is created: this server does not know `--{flag}`, which is for servers \
                 of rolegate\n"
            )
        );
    }
    assert!(server.seen().iter().all(|seen| seen.line.starts_with("GET ")));
    assert!(run(&server, "create -n n --roles a --description=").starts_with("exit 0"));
}

#[test]
fn pasted_token_is_in_no_error() {
    let generated = rolegate::Secret::generate().unwrap().expose().to_owned();
    let chosen = "chosen-by-an-operator-0123456789";
    for token in [generated.as_str(), chosen] {
        for words in ["describe T", "rotate --id T", "delete T", "list --limit T"] {
            let outcome = Sts::of(&format!("service-token {}", words.replace('T', token))).run();
            assert_eq!(outcome.code, 3, "{words}");
            assert!(outcome.stderr.contains("must be a whole number"), "{}", outcome.stderr);
            assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains(token), "{words}");
        }
    }
    for words in
        ["T", "service-token T", "service-token list --T", "service-token rotate 42 --grace T", "help T"]
    {
        for json in ["", " -o json"] {
            let outcome = Sts::of(&format!("{}{json}", words.replace('T', &generated))).run();
            assert_ne!(outcome.code, 0, "{words}");
            assert!(outcome.stderr.contains("svctok-…"), "{}", outcome.stderr);
            assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains(&generated), "{words}");
        }
    }
}

#[test]
fn create_sends_a_description_and_tells_an_id_where_it_learns_one() {
    let info = Reply::json(SERVER_INFO).with_header("x-rolegate-policy", "0123456789abcdef");
    let server = server("POST /api/security/tokens", r#"{"id":42,"name":"n","token":"svctok-new"}"#)
        .with("GET /api/server/info", info);
    let text = run(&server, "create -n n --roles a --description nightly --unique");
    assert_eq!(text, "exit 0\n--- stdout\n✅ Service token created: svctok-new\n\n");
    assert_eq!(
        server.seen()[1].body,
        "{\"description\":\"nightly\",\"name\":\"n\",\"roles\":[\"a\"],\"unique\":true}\n"
    );
    let json = run(&server, "create -n n --roles a -o json");
    insta::assert_snapshot!(json, @r#"
    exit 0
    --- stdout
    {
      "service-token": {
        "id": 42,
        "name": "n",
        "token": "svctok-new"
      }
    }
    "#);
    assert_eq!(server.seen()[3].body, "{\"name\":\"n\",\"roles\":[\"a\"]}\n");
}
