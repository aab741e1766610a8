//! What conditions see of a request, and that what they cannot read makes them fail.

use crate::policies::load;
use http::{HeaderMap, HeaderName, Version};
use rolegate::decision::Decision;
use rolegate::policy::PolicySet;
use rolegate::request::Request;
use rolegate::time::Timestamp;
use rolegate::token::{Principal, RoleName, TokenId, TokenName};
use std::error::Error;
use std::sync::Arc;

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const SECRET: &str = "a-token-that-its-operator-chose";

/// Who asks.
#[derive(Clone, Copy)]
enum Asker {
    Nobody,
    /// The token `team-a`, with the role `boss`, which includes `worker`.
    Boss,
}

/// A request with a bit of everything.
fn request() -> Outcome<Request> {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "h"),
        ("x-api-key", SECRET),
        ("cookie", SECRET),
        ("proxy-authorization", SECRET),
        ("x-sts-token", SECRET),
        ("x-stage", "test"),
        ("x-two", "a"),
        ("x-two", "b"),
    ] {
        headers.append(HeaderName::try_from(name)?, value.parse()?);
    }
    headers.append("x-raw", http::HeaderValue::from_bytes(b"\xff")?);
    let target = "/items/caf%c3%a9%20x?one=1&two=a&two=b&bad=%zz&plus=a+b".parse()?;
    let client = Some("10.1.2.3".parse()?);
    Ok(Request::read("GET".parse()?, &target, Version::HTTP_11, headers, client)?)
}

fn decide(set: &PolicySet, asker: Asker) -> Outcome<Decision> {
    let boss = Principal {
        id: TokenId::new(TokenId::MIN + 5).ok_or("id")?.into(),
        name: TokenName::from("team-a"),
        roles: [RoleName::parse("boss")?].into(),
        created: Timestamp::from_millis(1_000),
    };
    let principal = match asker {
        Asker::Nobody => None,
        Asker::Boss => Some(&boss),
    };
    Ok(set.decide(principal, &request()?, Timestamp::from_millis(5_000)))
}

pub(crate) fn decide_for_nobody(set: &PolicySet) -> Outcome<Decision> {
    decide(set, Asker::Nobody)
}

fn with_condition(body: &str) -> Outcome<PolicySet> {
    let roles = "role(\"worker\").allow(\"GET /w\"); role(\"boss\").includes(\"worker\");";
    Ok(load(&format!(
        "{roles} open([\"GET /items/{{id}}\", \"GET /x/{{id}}/{{part}}\"]).when(|request| {body});"
    ))?)
}

#[test]
fn everything_of_a_request_is_seen() -> Outcome {
    for (asker, body) in [
        (Asker::Nobody, r#"request.method == "GET""#),
        (Asker::Nobody, r#"request.path == "/items/caf%C3%A9%20x""#),
        (Asker::Nobody, r#"request.param("id") == "café x""#),
        (Asker::Nobody, r#"request.query("one") == "1" && request.query("none") == ()"#),
        (Asker::Nobody, r#"request.query("plus") == "a b""#),
        (Asker::Nobody, r#"request.header("X-Stage") == "test" && request.header("x-none") == ()"#),
        (Asker::Nobody, r#"request.time == 5000"#),
        (Asker::Nobody, r#"request.client_ip == "10.1.2.3""#),
        (Asker::Nobody, r#"request.token == ()"#),
        (Asker::Nobody, r#"1 < 2 && 2 <= 2 && 3 > 2 && 2 >= 2 && !(2 < 1) && 1 < 1.5 && 1.5 >= 1"#),
        (Asker::Nobody, r#""a" < "b" && "b" >= "b" && 'a' < 'b' && !("b" < "a")"#),
        (Asker::Nobody, r#"parse_int(request.query("one")) < 5"#),
        (Asker::Nobody, r#"["a", "café x"].some(|id| request.param("id") == id && request.method == "GET")"#),
        (Asker::Nobody, r#"{ const r = request; r.param("id") != "x" && r.query("one") == "1" }"#),
        (Asker::Nobody, r#"1 != "1" && 1 == 1.0 && () != "" && true == true && !(true != true)"#),
        (Asker::Nobody, r#"!request.has_role("boss")"#),
        (Asker::Boss, r#"request.token != ()"#),
        (Asker::Boss, r#"request.token.id == 100000000000005"#),
        (Asker::Boss, r#"request.token.name == "team-a""#),
        (Asker::Boss, r#"request.token.created == 1000"#),
        (Asker::Boss, r#"request.token.roles.len() == 1 && "boss" in request.token.roles"#),
        (Asker::Boss, r#"request.has_role("boss") && request.has_role("worker")"#),
        (Asker::Boss, r#"request.time - request.token.created == 4000"#),
    ] {
        let right = decide(&with_condition(body)?, asker)?;
        assert!(right.is_allow(), "{body}: {right:?}");
        let wrong = decide(&with_condition(&format!("!({body})"))?, asker)?;
        assert!(!wrong.is_allow() && wrong.failures().next().is_none(), "{body}: {wrong:?}");
    }
    Ok(())
}

#[test]
fn credentials_are_nothing_to_a_condition() -> Outcome {
    for name in ["authorization", "X-API-Key", "cookie", "Proxy-Authorization", "x-sts-token", "x-api-token"]
    {
        let set = with_condition(&format!("request.header(\"{name}\") == ()"))?;
        assert!(decide(&set, Asker::Nobody)?.is_allow(), "{name}");
    }
    for shown in ["`${request}`", "to_string(request)", "to_debug(request)", "`${request.token}`"] {
        let body = format!("!{shown}.contains(\"{SECRET}\")");
        assert!(decide(&with_condition(&body)?, Asker::Boss)?.is_allow(), "{shown}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_read_makes_the_condition_fail() -> Outcome {
    for (body, reason) in [
        (r#"request.query("two") != "b""#, "given more than once"),
        (r#"request.query("bad") != "b""#, "not encoded text"),
        (r#"request.header("x-two") != "b""#, "given more than once"),
        (r#"request.header("x-raw") != "b""#, "not text"),
        (r#"request.param("part") != "b""#, "has no parameter `part`"),
        (r#"request.token.name != "b""#, "nothing has no `name`"),
        (r#"request.param(5) != "b""#, "there is no function `param(request, integer)`"),
        (r#"1"#, "the condition gives an integer"),
        (r#""true""#, "the condition gives a text"),
        (r#"()"#, "the condition gives nothing"),
        (r#"throw "no""#, "no"),
        (r#"throw request"#, "a request"),
        (r#"!(request.query("one") < 5)"#, "`<` cannot order a text and an integer"),
        (r#"!(request.query("none") >= 5)"#, "`>=` cannot order nothing and an integer"),
        (r#"!(5 <= "7")"#, "`<=` cannot order an integer and a text"),
        (r#"!(request.token > 5)"#, "`>` cannot order nothing and an integer"),
        (r#"!([1] > [0])"#, "`>` cannot order a list and a list"),
        (r#"{ request.method = "PUT"; true }"#, "method"),
        (r#"{ request = 5; request.method == "GET" }"#, "method"),
    ] {
        let decision = decide(&with_condition(body)?, Asker::Nobody)?;
        assert!(!decision.is_allow(), "{body}");
        let failure = decision.failures().next().ok_or_else(|| format!("{body} does not fail"))?;
        assert!(failure.1.contains(reason), "{body}: {}", failure.1);
    }
    Ok(())
}

#[test]
fn failing_unless_lifts_nothing() -> Outcome {
    let denied = |body: &str| -> Outcome<Decision> {
        let text = format!("open(\"GET /items/{{id}}\"); deny(\"ANY /items/**\").unless(|request| {body});");
        decide(&load(&text)?, Asker::Nobody)
    };
    assert!(denied("true")?.is_allow());
    assert!(!denied("false")?.is_allow());
    for body in ["1", "throw 1", "request.query(\"two\") == \"a\"", "unknown()", "loop {}"] {
        let decision = denied(body)?;
        assert!(!decision.is_allow() && decision.failures().count() == 1, "{body}: {decision:?}");
    }
    Ok(())
}

#[test]
fn reason_names_line_and_column() -> Outcome {
    let set = load("open(\"GET /items/{id}\").when(|request|\n    unknown(request));")?;
    let decision = decide(&set, Asker::Nobody)?;
    let failure = decision.failures().next().ok_or("no failure")?;
    assert_eq!(failure.1, "there is no function `unknown(request)` (line 2, column 5)");
    Ok(())
}

#[test]
fn version_tells_policy_sets_apart_and_the_order_of_files_does_not() -> Outcome {
    use rolegate::policy::{RoleBindings, ScriptLimits, Source};
    let version = |files: &[(&str, &str)]| -> Outcome<String> {
        let source =
            |(name, text): &(&str, &str)| Source { name: Arc::from(*name), text: (*text).to_owned() };
        let sources: Vec<Source> = files.iter().map(source).collect();
        let set = PolicySet::load(&sources, &RoleBindings::default(), &ScriptLimits::default())?;
        Ok(set.version().to_string())
    };
    let (a, b) = (("a.rhai", "open(\"GET /a\");"), ("b.rhai", "open(\"GET /b\");"));
    assert_eq!(version(&[a, b])?, version(&[b, a])?);
    assert_ne!(version(&[a, b])?, version(&[a])?);
    assert_ne!(version(&[a])?, version(&[("c.rhai", a.1)])?);
    assert_ne!(version(&[a])?, version(&[("a.rhai", "open(\"GET /a\"); ")])?);
    Ok(())
}
