//! What lies in `examples/observability` asks for metrics that a server has, and alerts when it should.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]
#![expect(clippy::disallowed_methods, reason = "files of the project itself")]

use super::Run;
use super::serving::{Running, TOKEN};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const POLICY: &str =
    "open([\"GET /health\"]); role(\"reader\").allow([\"GET /metrics\", \"GET /api/server/info\"]);";
const CONFIG: &str = "rolegate:\n  listen: 127.0.0.1:0\n  policies: [policy.rhai]\n  decision_log: {file: decisions.jsonl}\n\
    stackstate: {authentication: {servicetoken: {bootstrap: {token: 4f1c9a70-77ab-4e0d-9f3e-Tb2mXk81Qz5u, roles: [reader]}}}}\n";

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/observability").join(name))
        .unwrap()
}

/// What a server tells at `/metrics` after some requests.
fn metrics() -> String {
    let run =
        Run::new(&["serve", "-c", "config.yaml"]).file("config.yaml", CONFIG).file("policy.rhai", POLICY);
    let running = Running::start(run);
    assert!(running.get("/api/server/info", Some(TOKEN)).starts_with("HTTP/1.1 200 "));
    assert!(running.get("/elsewhere", Some(TOKEN)).starts_with("HTTP/1.1 403 "));
    let answer = running.get("/metrics", Some(TOKEN));
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// The same in the text that came before OpenMetrics, which promtool checks: there the family of a counter has its whole name.
fn older_text(told: &str) -> String {
    let counters: BTreeSet<&str> =
        told.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::new();
    for line in told.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let mut words: Vec<String> = line.splitn(4, ' ').map(str::to_owned).collect();
        if let [hash, _, family, ..] = words.as_mut_slice()
            && hash == "#"
            && counters.contains(family.as_str())
        {
            family.push_str("_total");
        }
        text.push_str(&words.join(" "));
        text.push('\n');
    }
    text
}

/// The names that begin with `rolegate_` in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let is_name = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
    text.split(|byte| !is_name(byte)).filter(|word| word.starts_with("rolegate_")).collect()
}

fn promtool(arguments: &[&str], input: Option<&str>) {
    use std::io::Write as _;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/observability");
    let mut command = Command::new("promtool");
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = command.spawn();
    let mut child = started
        .expect("promtool is missing: install it (`apt install prometheus`), or run `./check`, which does");
    child.stdin.take().unwrap().write_all(input.unwrap_or_default().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {arguments:?}: {out}{err}");
}

#[test]
fn metrics_that_are_asked_for_are_there() {
    let told = metrics();
    let there = names(&told);
    for name in ["alerts.yaml", "alerts_test.yaml", "dashboard.json"] {
        let text = file(name);
        let asked = names(&text);
        assert!(asked.len() >= 8, "{name}");
        let missing: Vec<_> = asked.difference(&there).collect();
        // Nothing has failed yet, and which rules can is not known beforehand.
        assert_eq!(missing, [&"rolegate_condition_failures_total"], "{name}: {told}");
    }
}

#[test]
fn every_metric_is_in_the_configuration_reference() {
    let reference =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let told = metrics();
    let families = told.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    for family in families {
        let is_told = [format!("`{family}`"), format!("`{family}_total`"), format!("`{family}_info`")];
        assert!(is_told.iter().any(|name| reference.contains(name)), "{family} is not documented");
    }
}

#[test]
fn dashboard_is_one_and_its_panels_overlap_nowhere() {
    let dashboard: serde_json::Value = serde_json::from_str(&file("dashboard.json")).unwrap();
    let mut places = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(x < 24 && places.insert((x, y)), "{}", panel["title"]);
            }
        }
    }
    assert!(!places.is_empty());
}

#[test]
fn alerts_are_accepted_and_fire_when_they_should_by_promtool() {
    promtool(&["check", "rules", "alerts.yaml"], None);
    promtool(&["test", "rules", "alerts_test.yaml"], None);
    promtool(&["check", "config", "--syntax-only", "prometheus.yaml"], None);
}

#[test]
fn names_and_types_of_metrics_keep_to_the_conventions_by_promtool() {
    promtool(&["check", "metrics"], Some(&older_text(&metrics())));
}
