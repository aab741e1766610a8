//! What is told of a change, in sentences.

use super::*;
use crate::policy::{RoleBindings, ScriptLimits, Source};
use std::sync::Arc;

fn load(text: &str) -> PolicySet {
    let source = Source { name: Arc::from("p.rhai"), text: text.to_owned() };
    let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default());
    policies.unwrap_or_else(|errors| panic!("{errors}"))
}

fn sentences(old: &str, new: &str) -> Vec<String> {
    let diff = load(old).diff(&load(new), &mut |_, _| {}).unwrap();
    diff.regions().iter().map(|region| diff.sentence(region)).collect()
}

const ROLES: &str = "role(\"a\"); role(\"b\"); role(\"c\"); open(\"GET /always\");";

/// What adding these rules to some roles changes.
fn added(rules: &str) -> Vec<String> {
    sentences(ROLES, &format!("{ROLES} {rules}"))
}

#[test]
fn subjects_are_named_in_as_few_words_as_they_need() {
    assert_eq!(added("open(\"POST /x\");"), ["everyone gains POST /x"]);
    assert_eq!(added("authenticated(\"POST /x\");"), ["every token gains POST /x"]);
    assert_eq!(added("role(\"a\").allow(\"POST /x\");"), ["a gains POST /x"]);
    let two = "role(\"a\").allow(\"POST /x\"); role(\"b\").includes(\"a\");";
    assert_eq!(added(two), ["a, b gain POST /x"]);
    let had = format!("{ROLES} role(\"a\").allow(\"POST /x\");");
    assert_eq!(sentences(&had, &format!("{had} open(\"POST /x\");")), ["everyone but a gains POST /x"]);
    let open = format!("{ROLES} open(\"POST /x\");");
    let authenticated = format!("{ROLES} authenticated(\"POST /x\");");
    assert_eq!(sentences(&open, &authenticated), ["a request without a token loses POST /x"]);
}

#[test]
fn methods_with_the_same_change_are_one_line() {
    assert_eq!(added("role(\"a\").allow([\"ANY /x\"]);"), ["a gains ANY /x"]);
    assert_eq!(added("role(\"a\").allow([\"GET /x\", \"PUT /x\"]);"), ["a gains GET,HEAD,PUT /x"]);
}

#[test]
fn change_of_a_whole_pattern_is_told_by_it_however_many_paths_others_name() {
    let literals: String =
        (0..50).map(|number| format!("role(\"b\").allow(\"GET /api/{number}/x\");")).collect();
    let all = "role(\"a\").allow(\"ANY /api/**\");";
    let old = format!("{ROLES} {literals}");
    assert_eq!(sentences(&old, &format!("{old} {all}")), ["a gains ANY /api/**"]);
    let had = format!("{old} role(\"a\").allow([\"ANY /api/7/x\", \"ANY /api/view/**\"]);");
    assert_eq!(
        sentences(&had, &format!("{had} {all}")),
        ["a gains ANY /api/** except /api/view/**, /api/7/x"]
    );
}

#[test]
fn what_is_left_of_a_pattern_is_told_with_its_exceptions() {
    let denied = format!("{ROLES} deny([\"ANY /api/internal/**\", \"POST /api/x\"]);");
    let new = format!("{denied} role(\"a\").allow(\"PUT,POST /api/**\").except(\"ANY /api/view\");");
    assert_eq!(
        sentences(&denied, &new),
        [
            "a gains POST /api/** except /api/internal/**, /api/view, /api/x",
            "a gains PUT /api/** except /api/internal/**, /api/view",
        ]
    );
}

#[test]
fn denials_count_for_what_they_take_and_give_back() {
    let old = format!("{ROLES} role(\"a\").allow(\"GET /x\");");
    assert_eq!(
        sentences(&old, &format!("{old} deny(\"ANY /**\");")),
        ["everyone loses GET,HEAD /always", "a loses GET,HEAD /x"]
    );
    let denied = format!("{old} deny(\"ANY /x\");");
    assert_eq!(sentences(&denied, &old), ["a gains GET,HEAD /x"]);
}

#[test]
fn conditions_that_ask_for_a_parameter_change_with_its_name_and_others_do_not() {
    let policy = |route: &str, condition: &str| {
        format!("role(\"a\").allow(\"PUT {route}\").when(|request| {condition});")
    };
    let asks = "request.param(\"x\") == \"1\"";
    let of = |one: &str, other: &str, condition: &str| {
        sentences(&policy(one, condition), &policy(other, condition))
    };
    assert_eq!(of("/{x}/{y}", "/{y}/{x}", asks).len(), 1);
    assert!(of("/{x}/{y}", "/{x}/{y}", asks).is_empty());
    assert!(of("/{x}/{y}", "/{y}/{x}", "request.path == \"/\"").is_empty());
}

#[test]
fn access_that_keeps_one_of_two_conditions_is_narrowed_and_not_gained() {
    let when = |method: &str| {
        format!("role(\"a\").allow(\"ANY /x\").when(|request| request.method == \"{method}\");")
    };
    let unless = "deny(\"ANY /x\").unless(|request| request.path == \"/x\");";
    let (one, both) = (when("GET"), format!("{}{}", when("GET"), when("PUT")));
    assert_eq!(sentences(&both, &one), ["a keeps ANY /x under more conditions"]);
    assert_eq!(sentences(&one, &both), ["a may gain ANY /x, where conditions have changed"]);
    let denied = format!("{one}{unless}");
    assert_eq!(sentences(&one, &denied), ["a keeps ANY /x under more conditions"]);
    assert_eq!(sentences(&denied, &one), ["a may gain ANY /x, where conditions have changed"]);
    assert_eq!(
        sentences(&both, &format!("{both}role(\"a\").allow(\"ANY /x\");")),
        ["a may gain ANY /x, where conditions have changed"]
    );
}

#[test]
fn gains_name_the_rules_that_open_them() {
    let old = load(&format!("{ROLES} deny(\"ANY /y\"); role(\"a\").allow(\"PUT /y\");"));
    let new = load(&format!(
        "{ROLES}\nrole(\"a\").allow(\"PUT /y\");\nrole(\"b\").allow([\"GET /x\", \"PUT /z\"]);"
    ));
    let lines: Vec<_> = old
        .gains(&new)
        .unwrap()
        .iter()
        .map(|gain| {
            let rules = gain.region.new.iter().map(|rule| new.rule(*rule).unwrap().location.line);
            (gain.region.request(), rules.collect::<Vec<_>>())
        })
        .collect();
    let expected = [("PUT /y", vec![2]), ("GET /x", vec![3]), ("PUT /z", vec![3])];
    assert_eq!(lines, expected.map(|(request, rules)| (request.to_owned(), rules)));
    assert!(new.gains(&new).unwrap().is_empty());
}
