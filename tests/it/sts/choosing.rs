//! `service-token list` with flags: what is asked, how pages are turned, and what is printed.

use super::world::{Reply, Server, Sts};

const TOKENS: &str = "/api/security/tokens";
const PAGE_ONE: &str = r#"[{"id":2,"name":"b","roles":["r"],"disabled":1795510731153},
    {"id":1,"name":"a","roles":[],"expiration":5,"lastUsed":1795510731153}]"#;
const PAGE_TWO: &str = r#"[{"id":3,"name":"c","roles":["r"],"expiration":4102358400000,"state":"expired"}]"#;

fn page(body: &str, applied: &'static str) -> Reply {
    Reply::json(body).with_header("x-rolegate-query", applied)
}

/// A server with two pages in the order of names.
fn two_pages() -> Server {
    Server::start()
        .with(
            &format!("GET {TOKENS}?sort=name&limit=1000"),
            page(PAGE_ONE, "limit, sort").with_header("x-rolegate-next-cursor", "A-_1"),
        )
        .with(
            &format!("GET {TOKENS}?sort=name&limit=1000&cursor=A-_1"),
            page(PAGE_TWO, "limit, cursor, sort"),
        )
}

/// What a list with these words asks for.
fn asked(words: &str) -> String {
    let server = Server::start();
    Sts::of(&format!("service-token list {words}")).server(&server).run();
    server.lines().pop().unwrap_or_default()
}

#[test]
fn bare_list_asks_as_the_original_does() {
    assert_eq!(asked(""), format!("GET {TOKENS}"));
    assert_eq!(asked("-o json --no-color"), format!("GET {TOKENS}"));
}

#[test]
fn flags_become_a_query() {
    for (words, query) in [
        ("--limit 5", "sort=name&limit=5"),
        ("--limit 5000", "sort=name&limit=1000"),
        ("--sort -created", "sort=-created&limit=1000"),
        ("--name ci-*", "sort=name&name=ci-%2A&limit=1000"),
        ("-n a&b", "sort=name&name=a%26b&limit=1000"),
        ("--role r --expires-before 2030-12-31", "sort=name&role=r&expiresBefore=1924905600000&limit=1000"),
        ("--unused-since 2030-12-31", "sort=name&unusedSince=1924905600000&limit=1000"),
    ] {
        assert_eq!(asked(words), format!("GET {TOKENS}?{query}"), "{words}");
    }
}

#[test]
fn durations_lead_forward_for_expiries_and_back_for_uses() {
    let now = || jiff::Timestamp::now().as_millisecond();
    let day_ms = 86_400_000;
    for (words, key, distance) in [
        ("--expires-before 30d", "expiresBefore=", 30 * day_ms),
        ("--unused-since 1w", "unusedSince=", -7 * day_ms),
    ] {
        let earliest = now();
        let asked = asked(words);
        let millis = asked.split(key).nth(1).and_then(|rest| rest.split('&').next()).unwrap();
        let range = earliest + distance..=now() + distance;
        assert!(range.contains(&millis.parse().unwrap()), "{asked}");
    }
}

#[test]
fn pages_are_turned_until_there_is_none_and_the_servers_order_stays() {
    let server = two_pages();
    let text = Sts::of("service-token list --sort name").server(&server).run();
    insta::assert_snapshot!(text.shown().replace(" \n", " $\n"), @r"
    exit 0
    --- stdout
    ID | NAME | EXPIRATION | ROLES | LAST USED  | STATE   $
    2  | b    |            | [r]   | never      | disabled
    1  | a    | 1970-01-01 | []    | 2026-11-24 | expired $
    3  | c    | 2099-12-31 | [r]   | never      | expired $
    ");
    assert_eq!(server.lines().len(), 3);
    let json = Sts::of("service-token list --sort name -o json").server(&server).run();
    insta::assert_snapshot!("list_of_two_pages_json", json.shown());
    // The second page is not asked for when the first one is enough.
    let enough = server.with(
        &format!("GET {TOKENS}?sort=name&limit=2"),
        page(PAGE_ONE, "limit, sort").with_header("x-rolegate-next-cursor", "A-_1"),
    );
    let text = Sts::of("service-token list --limit 2").server(&enough).run();
    assert_eq!((text.code, text.stdout.lines().count()), (0, 3));
    assert_eq!(enough.lines().last().unwrap(), &format!("GET {TOKENS}?sort=name&limit=2"));
}

#[test]
fn state_of_the_server_is_told_where_the_original_has_nothing_to_compare() {
    let server = Server::start().with(&format!("GET {TOKENS}"), Reply::json(PAGE_TWO));
    let text = Sts::of("service-token list -o json").server(&server).run();
    assert!(
        text.stdout.contains("\"expiration\": 4102358400000") && !text.stdout.contains("state"),
        "{}",
        text.stdout
    );
    let server = two_pages();
    let text = Sts::of("service-token list --sort name -o json").server(&server).run();
    assert!(text.stdout.contains("\"state\": \"expired\""), "{}", text.stdout);
}

#[test]
fn list_of_too_many_tokens_is_asked_for_in_pages() {
    let too_many = Reply::new("400 Bad Request", Some("application/json"), b"{}");
    let server = two_pages()
        .with(&format!("GET {TOKENS}"), too_many.clone().with_header("x-rolegate-page-max", "1000"));
    let text = Sts::of("service-token list").server(&server).run();
    insta::assert_snapshot!(text.shown().replace(" \n", " $\n"), @r"
    exit 0
    --- stdout
    ID | NAME | EXPIRATION | ROLES
    1  | a    | 1970-01-01 | []   $
    2  | b    |            | [r]  $
    3  | c    | 2099-12-31 | [r]  $
    ");
    let other = two_pages().with(&format!("GET {TOKENS}"), too_many);
    assert_eq!(Sts::of("service-token list").server(&other).run().code, 3);
}

#[test]
fn server_that_passes_over_the_query_is_not_believed() {
    for (name, applied, words) in [
        ("not_believed", None, "--name a"),
        ("believed_in_part", Some("limit, sort"), "--unused-since 2030-12-31"),
    ] {
        let mut reply = Reply::json(PAGE_ONE);
        if let Some(applied) = applied {
            reply = reply.with_header("x-rolegate-query", applied);
        }
        let query = asked(words);
        let server = Server::start().with(&query, reply);
        let outcome = Sts::of(&format!("service-token list {words}")).server(&server).run();
        insta::assert_snapshot!(name, outcome.shown());
    }
}

#[test]
fn pages_that_lead_in_a_circle_are_left() {
    let circle = page(PAGE_TWO, "limit, cursor, sort").with_header("x-rolegate-next-cursor", "A-_1");
    let server = two_pages().with(&format!("GET {TOKENS}?sort=name&limit=1000&cursor=A-_1"), circle);
    let outcome = Sts::of("service-token list --sort name").server(&server).run();
    assert_eq!(outcome.shown(), "exit 3\n--- stderr\n❌ The server's pages lead in a circle\n");
}

#[test]
fn flags_that_cannot_be_read_are_told() {
    for (words, message) in [
        (
            "--sort age",
            "Invalid argument \"age\" for \"--sort\" flag: must be one of created, -created, expires, -expires, name, -name",
        ),
        (
            "--unused-since soon",
            "Invalid argument \"soon\" for \"--unused-since\" flag: must be a date such as 2030-12-31, or a duration such as 30d",
        ),
        ("--limit 0", "The limit must be 1 or more"),
        ("--limit -1", "The limit must be 1 or more"),
    ] {
        let server = Server::start();
        let outcome = Sts::of(&format!("service-token list {words}")).server(&server).run();
        assert_eq!((outcome.code, outcome.stderr), (3, format!("❌ {message}\n")), "{words}");
        assert!(server.lines().is_empty());
    }
}
