//! What an explanation says, and how it reads.

use super::*;
use crate::policy::{RoleBindings, ScriptLimits, Source};
use crate::request::{Credential, RequestParts};
use crate::token::{TokenId, TokenName};
use http::HeaderMap;

const POLICY: &str = r#"permission("settings", ["GET,PUT /settings", "GET /settings/{id}"]);
role("guest").allow("GET /views/{view}");
role("ci").includes("guest")
    .allow("GET /api/**").except("GET /api/node/**")
    .allow("POST /pack/{name}").when(|request| request.param("name") != "core" && request.header("x-env") == "test");
role("admin").grants(["settings"]).allow("ANY /api/**");
role("robot").allow("DELETE /pack/{name}").when(|request| request.query("age") > 5);
authenticated("GET /info/");
open("GET /health");
deny("ANY /api/internal/**").unless(|request| request.has_role("admin") && request.token.name != "weak");
deny("GET /api/internal/never");
"#;

fn sources(text: &str) -> Vec<Source> {
    vec![Source { name: Arc::from("p.rhai"), text: text.to_owned() }]
}

fn policies(text: &str) -> PolicySet {
    PolicySet::load(&sources(text), &RoleBindings::default(), &ScriptLimits::default()).unwrap()
}

fn token(roles: &[&str]) -> Principal {
    Principal {
        id: TokenId::new(TokenId::MIN).unwrap().into(),
        name: TokenName::from("strong"),
        roles: roles.iter().map(|role| RoleName::parse(role).unwrap()).collect(),
        created: Timestamp::EPOCH,
    }
}

fn request(line: &str, headers: &[(&'static str, &'static str)]) -> Request {
    let (method, path) = line.split_once(' ').unwrap();
    let path = if path == "*" { CanonicalPath::asterisk() } else { CanonicalPath::parse(path).unwrap() };
    let fields = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    Request::from(RequestParts {
        method: method.parse().unwrap(),
        path,
        query: None,
        headers: HeaderMap::from_iter(fields),
        host: None,
        client_ip: None,
        credential: Credential::Missing,
        id: None,
    })
}

/// The text without its version, which changes with every letter of a policy.
fn explained(roles: Option<&[&str]>, line: &str, headers: &[(&'static str, &'static str)]) -> String {
    let (policies, sources) = (policies(POLICY), sources(POLICY));
    let (principal, request) = (roles.map(token), request(line, headers));
    let explanation = policies.explain(principal.as_ref(), &request, Timestamp::EPOCH);
    assert_eq!(explanation.decision, policies.decide(principal.as_ref(), &request, Timestamp::EPOCH));
    let version = policies.version().to_string();
    explanation.with_sources(&sources).to_string().replace(&version, "V")
}

#[test]
fn role_that_allows_is_told_with_the_way_to_it() {
    insta::assert_snapshot!(
        [
            explained(Some(&["ci"]), "GET /views/5", &[]),
            explained(Some(&["admin", "ci"]), "HEAD /settings/5", &[]),
            explained(None, "GET /health", &[]),
        ]
        .join("\n\n----\n\n")
    );
}

#[test]
fn near_misses_say_what_is_in_the_way() {
    insta::assert_snapshot!(
        [
            explained(Some(&["ci"]), "GET /api/node/5", &[]),
            explained(Some(&["guest"]), "POST /settings", &[]),
            explained(None, "GET /views/5", &[]),
            explained(Some(&[]), "GET /info", &[]),
            explained(Some(&["guest"]), "GET /Views/5", &[]),
        ]
        .join("\n\n----\n\n")
    );
}

#[test]
fn conditions_show_what_they_saw() {
    insta::assert_snapshot!(
        [
            explained(Some(&["ci"]), "POST /pack/web", &[("x-env", "prod")]),
            explained(Some(&["ci"]), "POST /pack/web", &[("x-env", "test")]),
            explained(Some(&["ci"]), "POST /pack/core", &[]),
            explained(Some(&["robot"]), "DELETE /pack/web", &[]),
        ]
        .join("\n\n----\n\n")
    );
}

#[test]
fn denies_say_what_they_beat_and_what_lifts_them() {
    insta::assert_snapshot!(
        [
            explained(Some(&["ci"]), "GET /api/internal/x", &[]),
            explained(Some(&["admin"]), "GET /api/internal/x", &[]),
            explained(Some(&["admin"]), "GET /api/internal/never", &[]),
            explained(None, "GET /api/internal/x", &[]),
        ]
        .join("\n\n----\n\n")
    );
}

#[test]
fn odd_requests_are_told() {
    insta::assert_snapshot!(
        [
            explained(Some(&["ghost"]), "get /health", &[]),
            explained(None, "TRACE /health", &[]),
            explained(None, "OPTIONS *", &[]),
        ]
        .join("\n\n----\n\n")
    );
}

#[test]
fn near_misses_are_shown_up_to_the_limit_and_the_rest_is_counted() {
    let explain = |count: usize| {
        let rules = (0..count).map(|number| format!("role(\"r{number}\").allow(\"GET /x\");\n"));
        let policies = policies(&rules.collect::<String>());
        let explanation = policies.explain(None, &request("GET /x", &[]), Timestamp::EPOCH);
        (explanation.near.len(), explanation.near_left_out, explanation.to_string())
    };
    let (shown, left_out, text) = explain(EXPLAIN_NEAR_MAX);
    assert_eq!((shown, left_out, text.contains("more")), (EXPLAIN_NEAR_MAX, 0, false));
    let (shown, left_out, text) = explain(EXPLAIN_NEAR_MAX + 12);
    assert_eq!((shown, left_out, text.ends_with("and 12 more")), (EXPLAIN_NEAR_MAX, 12, true));
}

#[test]
fn fewer_obstacles_are_nearer() {
    let policies = policies(
        r#"role("a").allow("POST /x"); role("b").allow("GET /x").except("ANY /*"); role("b").allow("GET /x");
           role("b").allow("POST /x/"); role("c").allow("POST /X");"#,
    );
    let explanation = policies.explain(Some(&token(&["b"])), &request("PUT /x", &[]), Timestamp::EPOCH);
    let near: Vec<_> = explanation.near.iter().map(|finding| finding.id.get()).collect();
    // The last has three obstacles.
    assert_eq!(near, [2, 1, 3, 0]);
}

#[test]
fn condition_that_reads_what_was_not_recorded_says_what_it_said() {
    let policies = policies(POLICY);
    let (principal, request) = (token(&["ci"]), request("POST /pack/web", &[]));
    let explain = |outcomes: &[ConditionOutcome], knows_headers: bool| {
        let knows = |fact: &Fact| knows_headers || !matches!(fact, Fact::Header(_));
        let recall = Recall { outcomes, knows: &knows };
        let explanation = policies.explain_recorded(Some(&principal), &request, Timestamp::EPOCH, &recall);
        (explanation.decision.is_allow(), explanation.to_string())
    };
    let rule = policies.rules().iter().position(|rule| rule.location.line == 5).unwrap();
    let said = |result| [ConditionOutcome { rule: RuleId(u32::try_from(rule).unwrap()), route: 0, result }];
    let (is_allowed, text) = explain(&said(Ok(true)), false);
    assert!(is_allowed && text.contains("its `when` was true, as recorded"), "{text}");
    assert!(text.contains("request.header(\"x-env\") = (not recorded)"), "{text}");
    assert!(text.contains("request.param(\"name\") = \"web\""), "{text}");
    assert!(!explain(&said(Ok(false)), false).0);
    assert!(!explain(&said(Err("no".into())), false).0);
    // It was not asked then, and nobody knows what it would have said.
    let (is_allowed, text) = explain(&[], false);
    assert!(!is_allowed && text.contains("reads what was not recorded"), "{text}");
    // What is known counts, whatever was recorded.
    let (is_allowed, text) = explain(&said(Ok(true)), true);
    assert!(!is_allowed && text.contains("its `when` is false"), "{text}");
}
