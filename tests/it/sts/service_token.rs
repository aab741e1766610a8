//! `service-token create`, `list` and `delete`, and `user-session roles`: what is sent and what is printed.

use super::world::{Reply, Server, Sts, TOKEN};

const CREATED: &str = r#"{"name":"n","token":"svctok-new","expiration":1924905600000}"#;
const SEVERAL: &str = r#"[
    {"id":3,"name":"b","roles":["one","two"],"expiration":1924905600000,"lastUpdateTimestamp":7,"new":true},
    {"id":1,"name":"a<b","roles":[],"description":"first","dedicatedSubject":"s"},
    {"id":2,"name":"b"}
]"#;

fn server_with_tokens(tokens: &str) -> Server {
    Server::start().with("GET /api/security/tokens", Reply::json(tokens))
}

fn server_that_creates() -> Server {
    Server::start().with("POST /api/security/tokens", Reply::json(CREATED))
}

/// The body that `create` with these words sends.
fn sent(words: &str) -> String {
    let server = server_that_creates();
    let outcome = Sts::of(&format!("service-token create {words}")).server(&server).run();
    assert_eq!(outcome.code, 0, "{}", outcome.shown());
    server.seen().pop().map(|seen| seen.body).unwrap_or_default()
}

#[test]
fn requests_are_those_of_the_contract() {
    let server = server_that_creates();
    Sts::of("service-token create -n n --roles a").server(&server).run();
    let seen = server.seen();
    assert_eq!(server.lines(), ["GET /api/server/info", "POST /api/security/tokens"]);
    for request in &seen {
        assert_eq!(request.headers["x-api-key"], TOKEN, "the bare token, without a scheme");
        assert_eq!(request.headers["accept"], "application/json");
        assert!(!request.headers.contains_key("authorization"));
    }
    assert_eq!(seen[1].headers["content-type"], "application/json");
    assert!(!seen[0].headers.contains_key("content-type"));
}

#[test]
fn create_sends_what_the_flags_say() {
    assert_eq!(sent("-n n --roles a,b --roles c"), "{\"name\":\"n\",\"roles\":[\"a\",\"b\",\"c\"]}\n");
    assert_eq!(
        sent("--name=x<y --roles=\"q,r\" --expiration 2030-12-31 --dedicatedSubject s"),
        "{\"dedicatedSubject\":\"s\",\"expiryDate\":1924905600000,\"name\":\"x\\u003cy\",\"roles\":[\"q,r\"]}\n"
    );
    let nothing = sent("--name= --roles= --expiration 0001-01-01 --dedicatedSubject=");
    assert_eq!(nothing, "{\"name\":\"\",\"roles\":[]}\n");
}

#[test]
fn create_prints_the_token_and_an_empty_line() {
    let server = server_that_creates();
    let text = Sts::of("service-token create -n n --roles a").server(&server).run();
    assert_eq!(text.shown(), "exit 0\n--- stdout\n✅ Service token created: svctok-new\n\n");
    let json = Sts::of("service-token create -n n --roles a -o json").server(&server).run();
    insta::assert_snapshot!(json.shown(), @r#"
    exit 0
    --- stdout
    {
      "service-token": {
        "expiration": 1924905600000,
        "name": "n",
        "token": "svctok-new"
      }
    }
    "#);
}

#[test]
fn create_accepts_any_success() {
    let created = Reply::new("201 Created", Some("application/json; charset=utf-8"), CREATED.as_bytes());
    let server = Server::start().with("POST /api/security/tokens", created);
    assert_eq!(Sts::of("service-token create -n n --roles a").server(&server).run().code, 0);
}

#[test]
fn list_is_sorted_by_name_and_survives_what_is_missing() {
    let server = server_with_tokens(SEVERAL);
    let text = Sts::of("service-token list").server(&server).run();
    let marked: String = text.stdout.lines().map(|line| format!("{line}$\n")).collect();
    insta::assert_snapshot!(marked, @r#"
    ID | NAME | EXPIRATION | ROLES    $
    1  | a<b  |            | []       $
    3  | b    | 2030-12-31 | [one two]$
    2  | b    |            | -        $
    "#);
    let json = Sts::of("service-token list -o json").server(&server).run();
    insta::assert_snapshot!(json.shown());
}

#[test]
fn token_without_id_is_listed() {
    let server = server_with_tokens(r#"[{"name":"n","roles":["r"],"id":null},{}]"#);
    let text = Sts::of("service-token list").server(&server).run();
    assert_eq!((text.code, text.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(text.stdout.lines().map(|line| format!("{line}$\n")).collect::<String>(), @r#"
    ID | NAME | EXPIRATION | ROLES$
    -  |      |            | -    $
    -  | n    |            | [r]  $
    "#);
    let json = Sts::of("service-token list -o json").server(&server).run();
    insta::assert_snapshot!(json.stdout, @r#"
    {
      "service-tokens": [
        {
          "name": "",
          "roles": null
        },
        {
          "name": "n",
          "roles": [
            "r"
          ]
        }
      ]
    }
    "#);
}

#[test]
fn dates_are_those_of_the_local_zone() {
    let server = server_with_tokens(r#"[{"id":1,"name":"n","roles":[],"expiration":1924905600000}]"#);
    for (zone, date) in [("UTC", "2030-12-31"), ("EST5", "2030-12-30"), ("XXX-9", "2030-12-31")] {
        let text = Sts::of("service-token list").server(&server).env("TZ", zone).run().stdout;
        assert!(text.contains(&format!("| {date} |")), "{zone}: {text}");
    }
}

#[test]
fn empty_list_is_a_sentence_or_an_empty_array() {
    let server = server_with_tokens("[]");
    let text = Sts::of("service-token list").server(&server).run();
    assert_eq!(text.shown(), "exit 0\n--- stdout\nNo service tokens found.\n");
    let json = Sts::of("service-token list -o json").server(&server).run();
    assert_eq!(json.shown(), "exit 0\n--- stdout\n{\n  \"service-tokens\": []\n}\n");
}

#[test]
fn delete_takes_the_id_as_flag_or_operand() {
    for words in
        ["42", "--id 42", "-i 42", "-i42", "--id=0x2a", "052", "4_2", "--id 42 42", "--id 42 stray", "-- 42"]
    {
        let server =
            Server::start().with("DELETE /api/security/tokens/42", Reply::new("204 No Content", None, b""));
        let outcome = Sts::of(&format!("service-token delete {words}")).server(&server).run();
        assert_eq!(outcome.shown(), "exit 0\n--- stdout\n✅ Service token deleted: 42\n", "{words}");
        assert_eq!(server.lines(), ["GET /api/server/info", "DELETE /api/security/tokens/42"]);
    }
    let server = Server::start().with("DELETE /api/security/tokens/42", Reply::json("{}"));
    let json = Sts::of("service-token delete 42 -o json").server(&server).run();
    assert_eq!(json.shown(), "exit 0\n--- stdout\n{\n  \"deleted-service-token\": 42\n}\n");
}

#[test]
fn delete_of_what_is_not_one_id_asks_no_server() {
    for (words, message) in [
        ("", "❌ Required flag(s) \"id\" not set\n"),
        ("abc", "❌ Invalid id \"abc\": must be a whole number\n"),
        ("1 2", "❌ Several ids are given: delete one at a time\n"),
        ("--id 1 2", "❌ Two ids are given, 1 and 2: delete one at a time\n"),
        ("--id x", "❌ Invalid argument \"x\" for \"-i, --id\" flag: must be a whole number\n"),
        (
            "--id 9223372036854775808",
            "❌ Invalid argument \"9223372036854775808\" for \"-i, --id\" flag: the number is out of range\n",
        ),
    ] {
        let server = Server::start();
        let outcome = Sts::of(&format!("service-token delete {words}")).server(&server).run();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (3, message));
        assert!(outcome.stdout.starts_with("Usage:\n  sts service-token delete"));
        assert!(server.lines().is_empty());
    }
}

#[test]
fn operands_that_nobody_asked_for_are_passed_over() {
    let server = server_with_tokens("[]");
    assert_eq!(Sts::of("service-token list and more").server(&server).run().code, 0);
}

#[test]
fn roles_of_the_session_are_one_a_line() {
    let server =
        Server::start().with("GET /api/user/session/availableRoles", Reply::json(r#"{"roles":["b","a"]}"#));
    let text = Sts::of("user-session roles").server(&server).run();
    assert_eq!(text.shown(), "exit 0\n--- stdout\nb\na\n");
    let json = Sts::of("user-session roles -o json").server(&server).run();
    assert_eq!(json.shown(), "exit 0\n--- stdout\n{\n  \"roles\": [\n    \"b\",\n    \"a\"\n  ]\n}\n");
}
