//! `rolegate serve` with candidate policies beside those in force.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use super::serving::{Running, TOKEN, configured};
use serde_json::Value;
use std::fs;

const LIVE: &str = "role(\"reader\").allow([\"GET /api/server/info\", \"GET /api/rolegate/shadow\"]);\n";
const CANDIDATE: &str =
    "role(\"reader\").allow([\"GET /api/server/status\", \"GET /api/rolegate/shadow\"]);\n";
const CONFIG: &str = "rolegate:\n  listen: 127.0.0.1:0\n  policies: [policies]\n  shadow_policies: [next]\n";

fn serving(candidate: &str) -> Running {
    let run = configured(&["serve"]).file("config/rolegate.yaml", CONFIG);
    Running::start(run.file("policies/p.rhai", LIVE).file("next/p.rhai", candidate))
}

fn status(running: &Running, path: &str) -> String {
    running.get(path, Some(TOKEN)).split(' ').nth(1).unwrap().to_owned()
}

/// What the server tells, once that is so.
fn report(running: &Running, is_so: impl Fn(&Value) -> bool) -> Value {
    loop {
        let answer = running.get("/api/rolegate/shadow", Some(TOKEN));
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let report: Value = serde_json::from_str(body).unwrap();
        if is_so(&report) {
            return report;
        }
    }
}

/// How many requests were decided otherwise.
fn different(report: &Value) -> u64 {
    report["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|difference| difference["count"].as_u64().unwrap())
        .sum()
}

#[test]
fn candidate_decides_beside_the_policies_and_never_instead() {
    let running = serving(CANDIDATE);
    assert!(running.told.contains("shadow     next\n"), "{}", running.told);
    report(&running, |report| report["candidate"].is_string());
    assert_eq!(status(&running, "/api/server/info"), "200");
    assert_eq!(status(&running, "/api/server/status"), "403");
    assert_eq!(status(&running, "/api/server/status"), "403");
    let report = report(&running, |report| different(report) >= 3);
    assert_ne!(report["candidate"], report["version"]);
    let differences = report["differences"].as_array().unwrap().iter().map(|difference| {
        let last = &difference["last"];
        assert!(
            last["at"].is_string() && last["requestId"].is_string() && last["tokenId"].is_u64(),
            "{last}"
        );
        let part = |name: &str| difference[name].to_string();
        let parts = ["roles", "route", "change", "count"].map(part).join(" ");
        format!("{parts} {} {} {} {}", last["method"], last["path"], last["rule"], last["candidateRule"])
    });
    insta::assert_snapshot!(differences.collect::<Vec<_>>().join("\n"));
    let metrics = running.get("/metrics", Some(TOKEN));
    assert!(metrics.starts_with("HTTP/1.1 403"), "the policies in force do not open it: {metrics}");
}

#[test]
fn candidate_that_is_wrong_does_not_stop_the_server_and_another_one_takes_its_place() {
    let mut running = serving("role(\"reader\").alow(\"GET /x\");");
    let told = report(&running, |report| report["message"].is_string());
    assert_eq!(told["candidate"], Value::Null);
    assert!(told["message"].as_str().unwrap().contains("next/p.rhai:1:16"), "{told}");
    assert_eq!(status(&running, "/api/server/info"), "200");

    // Nobody reads it while it is empty.
    fs::write(running.folder.path().join("next/new"), CANDIDATE).unwrap();
    fs::rename(running.folder.path().join("next/new"), running.folder.path().join("next/p.rhai")).unwrap();
    running.wait_for_log("candidate policies decide beside those in force");
    assert_eq!(status(&running, "/api/server/info"), "200");
    let told = report(&running, |report| different(report) >= 1);
    assert_eq!(told["message"], Value::Null);
    assert_eq!(told["differences"][0]["change"], "loses", "{told}");
}

#[test]
fn server_without_candidates_says_so_and_a_token_needs_the_permission() {
    let run = configured(&["serve"]).file("policies/p.rhai", LIVE);
    let config = CONFIG.replace("  shadow_policies: [next]\n", "");
    let running = Running::start(run.file("config/rolegate.yaml", &config));
    assert_eq!(status(&running, "/api/rolegate/shadow"), "404");
    assert!(running.get("/api/rolegate/shadow", None).starts_with("HTTP/1.1 401"));
    let run = configured(&["serve"]).file("config/rolegate.yaml", CONFIG).file("next/p.rhai", CANDIDATE);
    let running = Running::start(run.file("policies/p.rhai", &LIVE.replace("shadow", "other")));
    assert_eq!(status(&running, "/api/rolegate/shadow"), "403");
}

#[test]
fn candidate_that_cannot_be_read_is_logged_once() {
    let mut running = serving(CANDIDATE);
    fs::rename(running.folder.path().join("next"), running.folder.path().join("away")).unwrap();
    running.wait_for_log("the candidate policies cannot be loaded");
    for _ in 0..3 {
        running.signal("HUP");
        assert_eq!(status(&running, "/api/server/info"), "200");
    }
    let told = report(&running, |_| true);
    assert!(told["message"].as_str().unwrap().contains("cannot read `next`"), "{told}");
    running.signal("TERM");
    let (code, _, log) = running.end();
    assert_eq!(code, Some(0));
    assert!(!log.contains("the candidate policies cannot be loaded"), "{log}");
}
