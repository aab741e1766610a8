//! What is too much for a granter, in the words of a refusal; conditions of each kind.

use super::*;
use crate::policy::{RoleBindings, ScriptLimits, Source};

fn load(text: &str) -> PolicySet {
    let source = Source { name: Arc::from("p.rhai"), text: text.to_owned() };
    let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default());
    policies.unwrap_or_else(|errors| panic!("{errors}"))
}

fn roles(names: &[&str]) -> Vec<RoleName> {
    names.iter().map(|name| RoleName::parse(name).unwrap()).collect()
}

/// What the roles `granted` are too much for the roles `granter`, by a policy that has the roles `a`, `b` and `c`.
fn beyond(rules: &str, granter: &[&str], granted: &[&str]) -> Vec<String> {
    let policies = load(&format!("role(\"a\"); role(\"b\"); role(\"c\"); open(\"GET /\");\n{rules}"));
    let excess = policies.beyond(&roles(granter), &roles(granted)).unwrap();
    excess.iter().map(Excess::to_string).collect()
}

const NOTHING: [&str; 0] = [];

/// `a` may do what `b` may, when this condition is true.
fn when(condition: &str) -> String {
    format!(
        "role(\"a\").allow(\"PUT /{{x}}\").when(|request| {condition});
        role(\"b\").allow(\"PUT /{{x}}\").when(|request| {condition});"
    )
}

/// Both may do the same; all are held until this condition is true.
fn unless(condition: &str) -> String {
    format!(
        "role(\"a\").allow(\"PUT /x\"); role(\"b\").allow(\"PUT /x\");
        deny(\"PUT /**\").unless(|request| {condition});"
    )
}

#[test]
fn role_is_within_itself_and_within_all_that_include_it() {
    let rules = "role(\"a\").includes(\"b\").allow(\"PUT /a/**\"); role(\"b\").allow(\"PUT /b/{x}\");";
    for (granter, granted) in [("a", "a"), ("a", "b"), ("b", "b"), ("a", "c"), ("c", "c")] {
        assert_eq!(beyond(rules, &[granter], &[granted]), NOTHING, "{granter} grants {granted}");
    }
    assert_eq!(beyond(rules, &["b"], &["a"]), ["`PUT /a/**`"]);
    assert_eq!(beyond(rules, &["c"], &["a", "b"]), ["`PUT /a/**`", "`PUT /b/{x}`"]);
    assert_eq!(beyond(rules, &[], &["b"]), ["`PUT /b/{x}`"]);
    assert_eq!(beyond(rules, &["a"], &[]), NOTHING);
}

#[test]
fn other_rules_with_the_same_reach_are_as_good() {
    let rules = "role(\"a\").allow([\"PUT /x/**\", \"POST /x/{y}\"]); role(\"b\").allow(\"PUT,POST /x/*\");";
    assert_eq!(beyond(rules, &["a"], &["b"]), NOTHING);
    assert_eq!(beyond(rules, &["b"], &["a"]), ["`PUT /x/** except /x/*`"]);
    // What several roles may together covers what one may.
    let parts = "role(\"a\").allow(\"PUT /x/{y}\"); role(\"b\").allow(\"PUT /x/**\").except(\"PUT /x/*\");
        role(\"c\").allow(\"PUT /x/**\");";
    assert_eq!(beyond(parts, &["a", "b"], &["c"]), NOTHING);
    assert_eq!(beyond(parts, &["a"], &["c"]), ["`PUT /x/** except /x/*`"]);
}

#[test]
fn routes_that_are_denied_or_carved_out_are_not_too_much() {
    let granted = "role(\"b\").allow(\"ANY /x/**\")";
    assert_eq!(beyond(&format!("{granted}; deny(\"ANY /x/**\");"), &["a"], &["b"]), NOTHING);
    let carved = format!("{granted}.except(\"ANY /x/y/**\"); deny(\"DELETE /**\");");
    assert_eq!(beyond(&carved, &["a"], &["b"]), ["`GET,POST,PUT,PATCH,OPTIONS /x/** except /x/y/**`"]);
}

#[test]
fn head_is_told_only_where_get_is_not() {
    let rules = "role(\"a\").allow(\"GET /x\").except(\"HEAD /x\"); role(\"b\").allow(\"GET /x\");
        role(\"c\").allow(\"GET,PUT /x\");";
    assert_eq!(beyond(rules, &["a"], &["b"]), ["`HEAD /x`"]);
    assert_eq!(beyond(rules, &[], &["c"]), ["`GET,PUT /x`"]);
    assert_eq!(beyond(rules, &["b"], &["a"]), NOTHING);
}

#[test]
fn permission_without_routes_and_unknown_role_are_too_much_unless_they_are_held() {
    let rules = "permission(\"p\", []); permission(\"q\", [\"PUT /q\"]);
        role(\"a\").allow(\"PUT /q\"); role(\"b\").grants([\"p\", \"q\"]);";
    assert_eq!(beyond(rules, &["a"], &["b"]), ["the permission `p`, which has no routes"]);
    assert_eq!(beyond(rules, &["b", "c"], &["b"]), NOTHING);
    assert_eq!(beyond(rules, &["b"], &["b", "gone"]), ["the role `gone`, which no policy defines"]);
    assert_eq!(beyond(rules, &["b", "gone"], &["b", "gone"]), NOTHING);
}

#[test]
fn same_condition_on_the_request_answers_both_alike() {
    for condition in [
        "request.method == \"PUT\"",
        "request.query(\"q\") == \"1\"",
        "request.param(\"x\") == \"1\"",
        "request.time > 0",
        "request.client_ip == \"::1\"",
        "request.header(\"x\") == \"1\"",
        "throw \"no\"",
    ] {
        assert_eq!(beyond(&when(condition), &["a"], &["b"]), NOTHING, "{condition}");
    }
    assert_eq!(beyond(&unless("request.query(\"q\") == \"1\""), &["a"], &["b"]), NOTHING);
}

#[test]
fn condition_that_the_granter_has_not_is_too_much() {
    let rules = "role(\"a\").allow(\"PUT /{x}\").when(|request| request.query(\"q\") == \"1\");
        role(\"b\").allow(\"PUT /{x}\").when(|request| request.query(\"q\") == \"2\");
        role(\"c\").allow(\"PUT /{x}\");";
    let conditional = ["`PUT /{x}` where conditions allow it"];
    assert_eq!(beyond(rules, &["a"], &["b"]), conditional);
    assert_eq!(beyond(rules, &["a", "b"], &["b"]), NOTHING);
    assert_eq!(beyond(rules, &["a", "b"], &["c"]), conditional);
    assert_eq!(beyond(rules, &["c"], &["a", "b"]), NOTHING);
}

#[test]
fn parameters_of_the_same_name_at_other_places_are_other_conditions() {
    let rules = |route: &str| {
        format!(
            "role(\"a\").allow(\"PUT /{{x}}/{{y}}\").when(|r| r.param(\"x\") == \"1\");
        role(\"b\").allow(\"PUT {route}\").when(|r| r.param(\"x\") == \"1\");"
        )
    };
    assert_eq!(beyond(&rules("/{x}/{y}"), &["a"], &["b"]), NOTHING);
    assert_eq!(beyond(&rules("/{y}/{x}"), &["a"], &["b"]), ["`PUT /{x}/{y}` where conditions allow it"]);
}

#[test]
fn condition_that_looks_at_the_token_is_too_much_even_with_the_same_roles() {
    for condition in [
        "request.token.name == \"ci\"",
        "request.token.id > 5",
        "request.token.created > 5",
        "request.token.roles == [\"a\"]",
        "`${request.token.name}` == \"ci\"",
        "request?.token?.name == \"ci\"",
        "{ let t = request.token; t.name == \"ci\" }",
        "request.token.name.starts_with(\"ci\")",
    ] {
        assert_eq!(
            beyond(&when(condition), &["a"], &["a"]),
            ["`PUT /{x}` where conditions allow it"],
            "{condition}"
        );
        assert_eq!(
            beyond(&unless(condition), &["a"], &["a"]),
            ["`PUT /x` where conditions allow it"],
            "{condition}"
        );
    }
    for indirect in [
        "fn named(r) { r.token.name == \"ci\" } role(\"a\").allow(\"PUT /x\").when(|request| named(request));",
        "fn named(r) { r.token.name == \"ci\" } role(\"a\").allow(\"PUT /x\").when(Fn(\"named\"));",
        "fn named(t) { t.name == \"ci\" } role(\"a\").allow(\"PUT /x\").when(|r| named(r.token));",
        "let c = |request| request.token.name == \"ci\"; role(\"a\").allow(\"PUT /x\").when(c);",
        "let c = |request| request.token.name == \"ci\"; role(\"a\").allow(\"PUT /x\").when(|r| c.call(r));",
        "role(\"a\").allow(\"PUT /x\").when(|token| token.token == ());",
    ] {
        assert_eq!(beyond(indirect, &["a"], &["a"]), ["`PUT /x` where conditions allow it"], "{indirect}");
    }
}

#[test]
fn condition_that_looks_at_the_token_matters_only_where_it_has_a_say() {
    let named = "role(\"a\").allow(\"PUT /x\").when(|request| request.token.name == \"ci\");";
    assert_eq!(beyond(&format!("{named} authenticated(\"PUT /x\");"), &["a"], &["a"]), NOTHING);
    assert_eq!(beyond(&format!("{named} deny(\"PUT /x\");"), &["a"], &["a"]), NOTHING);
    assert_eq!(beyond(named, &["a"], &["b"]), NOTHING);
    // What holds the granted token alone gives it nothing.
    let held =
        "role(\"a\").allow(\"PUT /x\"); deny(\"PUT /y\").unless(|request| request.token.name == \"ci\");";
    assert_eq!(beyond(held, &["a"], &["a"]), NOTHING);
}

#[test]
fn condition_that_asks_for_roles_alone_is_answered_for_both() {
    for condition in
        ["request.has_role(\"c\")", "!request.has_role(\"c\")", "request.has_role(\"c\") == true && true"]
    {
        let (with, without) = (["a", "c"], ["a"]);
        let (yes, no) =
            if condition.starts_with('!') { (&without[..], &with[..]) } else { (&with[..], &without[..]) };
        assert_eq!(beyond(&when(condition), yes, no), NOTHING, "{condition}");
        assert_eq!(beyond(&when(condition), no, yes), ["`PUT /{x}`"], "{condition}");
        assert_eq!(beyond(&unless(condition), yes, no), NOTHING, "{condition}");
        assert_eq!(beyond(&unless(condition), no, yes), ["`PUT /x`"], "{condition}");
        assert_eq!(beyond(&unless(condition), yes, yes), NOTHING, "{condition}");
    }
}

#[test]
fn condition_that_asks_for_roles_and_more_needs_them_to_be_held_by_both_or_neither() {
    let condition = "request.has_role(\"c\") || request.method == \"PUT\"";
    assert_eq!(beyond(&when(condition), &["a"], &["b"]), NOTHING);
    assert_eq!(beyond(&when(condition), &["a", "c"], &["b", "c"]), NOTHING);
    assert_eq!(beyond(&when(condition), &["a", "c"], &["b"]), ["`PUT /{x}` where conditions allow it"]);
    assert_eq!(beyond(&unless(condition), &["a", "c"], &["b"]), ["`PUT /x` where conditions allow it"]);
    // Which role is asked for stands nowhere, so that all have to be the same.
    let any = "request.has_role(request.query(\"q\"))";
    assert_eq!(beyond(&when(any), &["a"], &["a"]), NOTHING);
    assert_eq!(beyond(&when(any), &["a", "b"], &["b", "a"]), NOTHING);
    assert_eq!(beyond(&when(any), &["a", "b"], &["a"]), ["`PUT /{x}` where conditions allow it"]);
}

#[test]
fn what_holds_the_granter_alone_is_too_much() {
    let rules = "role(\"a\").allow(\"PUT /x/**\"); role(\"b\").allow(\"PUT /x/**\");
        deny(\"PUT /x/y/{z}\").unless(|request| request.has_role(\"b\"));";
    assert_eq!(beyond(rules, &["a"], &["b"]), ["`PUT /x/y/{z}`"]);
    assert_eq!(beyond(rules, &["b"], &["a"]), NOTHING);
    assert_eq!(beyond(rules, &["a"], &["a"]), NOTHING);
}

#[test]
fn patterns_that_overlap_in_too_many_ways_are_an_error_and_not_an_answer() {
    let rules: String = (0..1 << 14)
        .map(|bits: u32| {
            let segments = (0..14).map(|bit| if bits >> bit & 1 == 0 { "/a" } else { "/*" });
            format!("role(\"b\").allow(\"PUT {}/end\");\n", segments.collect::<String>())
        })
        .collect();
    let policies = load(&format!("role(\"a\"); role(\"b\"); {rules}"));
    let error = policies.beyond(&roles(&["a"]), &roles(&["b"])).unwrap_err();
    insta::assert_snapshot!(error, @"what the roles reach cannot be compared: p.rhai:16384:11: the patterns overlap in too many ways, most of them with the wildcards of `/*/*/*/*/*/*/*/*/*/*/*/*/*/*/end`: name the segments that are meant, or take other patterns out");
    // Where the rules alone tell it, nothing is divided.
    assert_eq!(policies.beyond(&roles(&["b"]), &roles(&["b", "a"])).unwrap(), []);
}
