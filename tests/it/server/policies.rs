//! What the server tells of its policies: the version in every answer, and what it counts.

use super::world::{Behind, Token, World, engine, limits, policies, request};
use rolegate::server::Server;
use std::sync::Arc;

const HEADER: &str = "x-rolegate-policy";
const SCRIPT: &str = r#"
open(["GET /health", "GET /api/panic", "POST /body", "GET /metrics"]);
role("reader").allow("GET /api/security/tokens").allow("GET /if").when(|request| 1 / request.query("n").len() > 0);
"#;

fn start(behind: Behind, told: bool) -> (World, Token, String) {
    let policies = policies(SCRIPT);
    let version = policies.version().to_string();
    let (engine, mut tokens) = engine(policies, &["reader"]);
    let server = Server::new(Arc::new(engine)).with_version_header(told);
    (World::start_server(server, behind), tokens.pop().unwrap(), version)
}

#[test]
fn every_answer_names_the_policies_that_decided() {
    for behind in [Behind::Api, Behind::Upstream] {
        let (world, token, version) = start(behind, true);
        let panics = if matches!(behind, Behind::Upstream) { 500 } else { 404 };
        for (method, target, token, status) in [
            ("GET", "/health", None, 200),
            ("GET", "/api/security/tokens", Some(&token), 200),
            ("GET", "/nothing", None, 401),
            ("GET", "/nothing", Some(&token), 403),
            ("GET", "/api/../x", None, 400),
            ("GET", "/api/panic", None, panics),
        ] {
            let response = world.ask(method, target, token, "");
            assert_eq!(response.status, status, "{target}: {response:?}");
            assert_eq!(response.header(HEADER), Some(version.as_str()), "{target}");
        }
        let mut client = world.connect();
        client.send("POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n");
        let response = client.response_to("POST").unwrap();
        assert_eq!((response.status, response.header(HEADER)), (413, Some(version.as_str())));
    }
}

#[test]
fn version_is_not_told_when_it_is_switched_off() {
    let (world, token, _) = start(Behind::Api, false);
    for target in ["/health", "/nothing", "/api/../x"] {
        assert_eq!(world.get(target, Some(&token)).header(HEADER), None, "{target}");
    }
}

#[test]
fn version_that_a_client_sends_reaches_no_route() {
    let (world, _, _) = start(Behind::Upstream, true);
    let mut client = world.connect();
    let sent = request("GET", "/health", None, "").replace("\r\n\r\n", "\r\nX-Rolegate-Policy: 00\r\n\r\n");
    client.send(sent);
    assert_eq!(client.response_to("GET").unwrap().status, 200);
    let (_, reached) = world.record.take();
    assert!(reached.iter().all(|reached| !reached.headers.contains_key(HEADER)), "{reached:?}");
    assert_eq!(reached.len(), 1);
}

#[test]
fn metrics_count_every_request_by_its_outcome() {
    let (world, token, _) = start(Behind::Api, true);
    let counts = |world: &World| {
        let response = world.get("/metrics", None);
        assert_eq!(
            response.header("content-type"),
            Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
        );
        assert!(response.body.ends_with("# EOF\n"), "{}", response.body);
        ["allow", "deny", "unauthenticated", "malformed"].map(|outcome| {
            let start = format!("rolegate_decisions_total{{outcome=\"{outcome}\"}} ");
            let line = response.body.lines().find_map(|line| line.strip_prefix(&start));
            line.unwrap_or_else(|| panic!("{}", response.body)).parse::<u64>().unwrap()
        })
    };
    assert_eq!(counts(&world), [1, 0, 0, 0]);
    for (target, token) in [
        ("/health", None),
        ("/nothing", Some(&token)),
        ("/if", Some(&token)),
        ("/nothing", None),
        ("/x;y", None),
    ] {
        world.get(target, token);
    }
    assert_eq!(counts(&world), [3, 2, 1, 1]);
    let text = world.get("/metrics", None).body;
    assert!(text.contains("rolegate_condition_failures_total{rule=\"fixture.rhai:3:"), "{text}");
}

#[test]
fn every_metric_is_documented() {
    let (world, _, _) = start(Behind::Api, true);
    let page = include_str!("../../../docs/configuration.md");
    let text = world.get("/metrics", None).body;
    let mut count = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let suffix = if kind == "counter" { "_total" } else { "" };
        assert!(page.contains(&format!("| `{name}{suffix}` |")), "{name}{suffix}");
        count += 1;
    }
    assert!(count >= 6, "{text}");
}

#[test]
fn metrics_are_read_with_get_alone() {
    let (engine, tokens) = engine(policies("role(\"all\").allow(\"ANY /**\");"), &["all"]);
    let world = World::start_with(engine, Behind::Api, limits());
    assert_eq!(world.ask("POST", "/metrics", Some(&tokens[0]), "").status, 405);
    assert_eq!(world.ask("GET", "/metrics", Some(&tokens[0]), "").status, 200);
    assert_eq!(world.get("/metrics", None).status, 401);
}
