//! What counts as exercised, on policies as people write them.

use super::*;
use crate::policy::cases::{CaseFile, run};
use crate::policy::{RoleBindings, ScriptLimits, Source};

const POLICY: &str = r#"permission("read", ["GET /a", "GET,PUT /b"]);
permission("unused", ["GET /u"]);
permission("without-routes", []);
role("reader").grants(["read", "without-routes"]);
role("writer").allow("ANY /w/**").except("DELETE /w/**");
role("night").allow("POST /n").when(|request| request.query("kind") == "full");
deny("GET /w/secret").unless(|request| request.has_role("night"));
open("GET /health");
"#;

fn policies(sources: &[(&str, &str)]) -> PolicySet {
    let source = |(name, text): &(&str, &str)| Source { name: Arc::from(*name), text: (*text).to_owned() };
    let sources: Vec<Source> = sources.iter().map(source).collect();
    PolicySet::load(&sources, &RoleBindings::default(), &ScriptLimits::default()).unwrap()
}

/// Adds requests, each with the role of its sender: `GET /a as reader`, or as `nobody`.
fn add(coverage: &mut Coverage, policies: &PolicySet, requests: &[&str]) {
    let mut yaml = String::from("policies: [p.rhai]\nprincipals:\n  nobody: none\n");
    for role in ["reader", "writer", "night"] {
        yaml.push_str(&format!("  {role}: [{role}]\n"));
    }
    yaml.push_str("  owl: [writer, night]\ncases:\n");
    for request in requests {
        let (request, principal) = request.split_once(" as ").unwrap();
        yaml.push_str(&format!("  - {{ principal: {principal}, request: '{request}', expect: allow }}\n"));
    }
    let file = CaseFile::read("p_test.yaml", yaml.as_bytes()).unwrap();
    coverage.add(policies, &run(&file, policies));
}

fn coverage(policy: &str, requests: &[&str]) -> Coverage {
    let mut coverage = Coverage::default();
    add(&mut coverage, &policies(&[("p.rhai", policy)]), requests);
    coverage
}

/// What is left out, one gap a line, and the counts.
fn told(coverage: &Coverage) -> String {
    let gaps = coverage.gaps().into_iter().map(|gap| format!("{gap}\n"));
    format!("{}{}", gaps.collect::<String>(), coverage.counts())
}

const ALL: [&str; 11] = [
    "GET /a as reader",
    "HEAD /b as reader",
    "PUT /b as reader",
    "PATCH /w/x as writer",
    "DELETE /w/x as writer",
    "GET /w/secret as writer",
    "GET /w/secret as owl",
    "POST /n?kind=full as night",
    "POST /n?kind=none as night",
    "GET /health as nobody",
    "GET /none as nobody",
];

#[test]
fn everything_is_left_out_that_no_case_is_about() {
    insta::assert_snapshot!(told(&coverage(POLICY, &["GET /x/../y as reader", "GET /none as writer"])), @r"
    p.rhai:1:1 permission `read`: no case is about it
    p.rhai:4:16 grants `read` to `reader`: no case is about it
    p.rhai:5:16 allows `ANY /w/**` to `writer`: no case is about it
    p.rhai:6:15 allows `POST /n` to `night`: no case is about it
    p.rhai:7:1 denies `GET /w/secret` to everyone: no case is about it
    p.rhai:8:1 allows `GET /health` to everyone: no case is about it
    0 %: rules 0 of 5, routes 0 of 7, exceptions 0 of 1, conditions 0 of 4
    ");
}

#[test]
fn cases_exercise_all_that_a_request_can_meet() {
    insta::assert_snapshot!(told(&coverage(POLICY, &ALL)), @"100 %: rules 5 of 5, routes 7 of 7, exceptions 1 of 1, conditions 4 of 4");
}

#[test]
fn each_case_that_is_missing_leaves_its_gap() {
    let mut gaps = String::new();
    for without in ALL {
        let requests: Vec<&str> = ALL.into_iter().filter(|request| *request != without).collect();
        gaps.push_str(&format!("without {without}:\n{}\n", told(&coverage(POLICY, &requests))));
    }
    insta::assert_snapshot!(gaps);
}

#[test]
fn requests_of_others_exercise_no_rule() {
    let requests = ["GET /a as writer", "GET /w/x as nobody", "POST /n?kind=full as reader"];
    let counts = coverage(POLICY, &requests).counts();
    assert_eq!((counts.rules.exercised, counts.routes.exercised), (0, 0));
}

#[test]
fn of_several_rules_about_a_case_the_one_that_decides_is_exercised() {
    let policy = r#"role("reader").allow("GET /a"); role("writer").allow("GET /a");
role("reader").allow("GET /**");
role("night");
"#;
    insta::assert_snapshot!(told(&coverage(policy, &["GET /a as reader", "GET /a as writer"])), @r"
    p.rhai:2:16 allows `GET /**` to `reader`: it decides no case
    83.33 %: rules 2 of 3, routes 3 of 3
    ");
    insta::assert_snapshot!(told(&coverage(policy, &["GET /b as reader", "GET /a as writer"])), @r"
    p.rhai:1:16 allows `GET /a` to `reader`: no case is about it
    66.66 %: rules 2 of 3, routes 2 of 3
    ");
}

#[test]
fn every_route_for_a_request_is_asked_for_whatever_decides() {
    let policy = r#"deny("GET /a/**");
role("reader").allow(["GET /a/b", "GET /a/*", "GET /*/b", "GET /c"]); role("writer"); role("night");
"#;
    insta::assert_snapshot!(told(&coverage(policy, &["GET /a/b as reader"])), @r"
    p.rhai:2:16 allows `GET /a/b` and 3 more to `reader`: it decides no case, no case asks for `GET /c`
    71.42 %: rules 1 of 2, routes 4 of 5
    ");
}

#[test]
fn condition_that_fails_is_neither_true_nor_false() {
    let policy = r#"role("reader").allow("GET /a").when(|request| request.query("n") + 1 == 2);
role("writer"); role("night");
"#;
    insta::assert_snapshot!(told(&coverage(policy, &["GET /a as reader"])), @r"
    p.rhai:1:16 allows `GET /a` to `reader`: it decides no case, its condition is never true, its condition is never false
    25 %: rules 0 of 1, routes 1 of 1, conditions 0 of 2
    ");
}

#[test]
fn rules_at_one_place_are_told_apart() {
    let policy = r#"for name in ["reader", "writer", "night"] { role(name).allow("GET /a"); }"#;
    insta::assert_snapshot!(told(&coverage(policy, &["GET /a as writer"])), @r"
    p.rhai:1:56 allows `GET /a` to `reader`: no case is about it
    p.rhai:1:56 allows `GET /a` to `night`: no case is about it
    33.33 %: rules 1 of 3, routes 1 of 3
    ");
}

#[test]
fn file_counts_once_for_all_policy_sets_that_it_is_part_of() {
    let shared = r#"role("reader").allow("GET /a"); role("writer").allow("GET /b"); role("night");"#;
    let other = |path: &str| format!("open(\"GET {path}\");");
    let (one, two) = (other("/one"), other("/two"));
    let mut coverage = Coverage::default();
    add(&mut coverage, &policies(&[("one.rhai", &one), ("p.rhai", shared)]), &["GET /a as reader"]);
    let requests = ["GET /b as writer", "GET /two as nobody"];
    add(&mut coverage, &policies(&[("p.rhai", shared), ("two.rhai", &two)]), &requests);
    insta::assert_snapshot!(told(&coverage), @r"
    one.rhai:1:1 allows `GET /one` to everyone: no case is about it
    75 %: rules 3 of 4, routes 3 of 4
    ");
    let files: Vec<String> =
        coverage.files().iter().map(|(file, counts)| format!("{file}: {counts}")).collect();
    insta::assert_snapshot!(files.join("\n"), @r"
    one.rhai: 0 %: rules 0 of 1, routes 0 of 1
    p.rhai: 100 %: rules 2 of 2, routes 2 of 2
    two.rhai: 100 %: rules 1 of 1, routes 1 of 1
    ");
}

#[test]
fn long_routes_are_cut_where_they_are_told() {
    let policy =
        format!("open(\"GET /{}\"); role(\"reader\"); role(\"writer\"); role(\"night\");", "é".repeat(400));
    let gap = coverage(&policy, &["GET /a as reader"]).gaps().remove(0);
    assert_eq!(gap.declaration.chars().count(), "allows `` to everyone".len() + 101);
}
