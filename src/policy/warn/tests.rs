use super::*;
use crate::path::CanonicalPath;
use crate::policy::{Access, Effect, Reach, Rule, Subject};
use crate::request::MethodSet;
use proptest::prelude::*;
use std::fmt::Write as _;

fn load(text: &str) -> (PolicySet, Written) {
    let source = Source { name: Arc::from("p.rhai"), text: text.to_owned() };
    let (sources, limits) = ([source], ScriptLimits::default());
    PolicySet::load_for_examination(&sources, &RoleBindings::default(), &limits).unwrap()
}

fn examined_within(text: &str, steps: u64) -> Vec<Warning> {
    let (policies, written) = load(text);
    Examined::of(policies, &written, None, steps).warnings
}

/// Rules over few words, one a line, so that they meet often.
fn rules() -> impl Strategy<Value = String> {
    let start = prop::sample::select(vec![
        "open(",
        "authenticated(",
        "deny(",
        "role(\"a\").allow(",
        "role(\"b\").allow(",
    ]);
    let route = || {
        let method = prop::sample::select(vec!["GET", "PUT", "ANY", "GET,PUT"]);
        let path = prop::sample::select(vec![
            "/", "/x", "/*", "/**", "/x/", "/*/", "/x/*", "/x/**", "/*/y", "/*/*", "/*/**", "/x/y/**",
            "/*/*/*",
        ]);
        (method, path).prop_map(|(method, path)| format!("\"{method} {path}\""))
    };
    let rule = (start, prop::collection::vec(route(), 1..3), prop::option::of(route()), any::<u8>());
    let rule = rule.prop_map(|(start, routes, except, luck)| {
        let except = except.map_or(String::new(), |route| format!(".except({route})"));
        let condition = match (luck % 5, start) {
            (0, "deny(") => ".unless(|r| r.time > 5)",
            (0, _) => ".when(|r| r.time > 5)",
            _ => "",
        };
        format!("{start}[{}]){except}{condition};\n", routes.join(", "))
    });
    prop::collection::vec(rule, 1..9).prop_map(|rules| rules.concat())
}

/// Every shape of path that such rules can tell apart: `n` stands for what none of them names.
fn paths() -> Vec<CanonicalPath> {
    let mut paths = vec![String::new()];
    let mut all = Vec::new();
    for _ in 0..4 {
        all.extend(paths.iter().map(|path| format!("{path}/")));
        paths = paths.iter().flat_map(|path| ["x", "y", "n"].map(|part| format!("{path}/{part}"))).collect();
        all.extend(paths.iter().cloned());
    }
    all.iter().map(|path| CanonicalPath::parse(path).unwrap()).collect()
}

/// Whether a request exists that the rule has the only say about, when those that are told are gone.
fn is_needed(policies: &PolicySet, rule: &Rule, at: u32, told: &[bool], paths: &[CanonicalPath]) -> bool {
    let counts = |rule: u32| !told[rule as usize] || rule == at;
    for path in paths {
        for method in ["GET", "HEAD", "PUT", "POST"] {
            let Access { allow, deny } = policies.access(&rule.subject, MethodSet::of(method), path);
            let certain = |found: &crate::policy::Match| {
                counts(found.rule.0) && (!found.is_conditional || found.rule.0 == at)
            };
            let mut own = if rule.effect == Effect::Deny { deny.clone() } else { allow };
            own.retain(certain);
            let is_denied = deny.iter().any(|found| certain(found) && rule.effect == Effect::Allow);
            if !is_denied && !own.is_empty() && own.iter().all(|found| found.rule.0 == at) {
                return true;
            }
        }
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn rules_are_told_exactly_when_others_decide_all_of_their_requests(rules in rules()) {
        let text = format!("role(\"a\").includes(\"b\"); role(\"b\");\n{rules}");
        let (policies, written) = load(&text);
        let index = RouteIndex::of(&policies);
        let warnings = cover::warnings(&policies, &written, &index, STEPS_MAX);
        let lines: Vec<u32> = warnings
            .iter()
            .filter(|warning| matches!(warning.code, WarningCode::CoveredRule | WarningCode::EmptyRule))
            .map(|warning| warning.problem.location.line)
            .collect();
        let emptied: Vec<&str> = warnings
            .iter()
            .filter(|warning| warning.code == WarningCode::EmptiedRole)
            .map(|warning| if warning.problem.message.contains("`a`") { "a" } else { "b" })
            .collect();
        let is_told = |rule: &Rule| {
            lines.contains(&rule.location.line)
                || matches!(&rule.subject, Subject::Role(role) if emptied.contains(&role.as_str()))
        };
        let told: Vec<bool> = policies.rules.iter().map(is_told).collect();
        let paths = paths();
        for (at, rule) in (0..).zip(&policies.rules) {
            let needed = is_needed(&policies, rule, at, &told, &paths);
            prop_assert_eq!(needed, !told[at as usize], "rule {} of\n{}", at, text);
        }
    }

    #[test]
    fn overlapping_routes_are_found_as_a_loop_finds_them(rules in rules(), pattern in 0_usize..13) {
        let (policies, _) = load(&rules);
        let index = RouteIndex::of(&policies);
        let routes: Vec<_> = policies.rules.iter().flat_map(|rule| &rule.routes).cloned().collect();
        let pattern = &routes[pattern % routes.len()].pattern;
        let mut found = Vec::new();
        let mut visit = |entry: index::Entry| {
            found.push((entry.rule, entry.route));
            std::ops::ControlFlow::Continue(())
        };
        let outcome = index.overlapping(pattern, &mut Work::new(STEPS_MAX), &mut visit);
        prop_assert!(outcome.is_ok());
        found.sort_unstable();
        let mut expected = Vec::new();
        for (rule_at, rule) in policies.rules.iter().enumerate() {
            for (route_at, route) in rule.routes.iter().enumerate() {
                if route.pattern.meet(pattern).is_some() {
                    expected.push((rule_at, route_at));
                }
            }
        }
        prop_assert_eq!(found, expected);
    }
}

/// A specification with these routes, whose parameters are written `*`.
fn specification(routes: &[(&'static str, &str)]) -> Specification {
    let routes = routes.iter().zip(1..).map(|((method, path), line)| SpecifiedRoute {
        method,
        path: (*path).to_owned(),
        pattern: crate::policy::Pattern::parse(path).unwrap(),
        location: Location::new(&Arc::from("api.yaml"), line, 1),
    });
    Specification { routes: routes.collect(), ..Specification::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn mismatches_are_those_that_single_requests_show(rules in rules()) {
        let text = format!("role(\"a\").includes(\"b\"); role(\"b\");\n{rules}");
        let (policies, written) = load(&text);
        let examined = Examined::of(policies, &written, None, STEPS_MAX);
        let routes =
            [("GET", "/x"), ("PUT", "/*"), ("GET", "/x/*"), ("PUT", "/*/y"), ("POST", "/y/"), ("GET", "/*/y/*")];
        let specification = specification(&routes);
        let told = examined.compare(&specification).mismatches;
        let lines = |code| -> Vec<u32> {
            told.iter().filter(|told| told.code == code).map(|told| told.location.line).collect()
        };
        let (mut unreached, mut open) = (Vec::new(), Vec::new());
        for ((method, path), line) in routes.iter().zip(1..) {
            let path = CanonicalPath::parse(&path.replace('*', "n")).unwrap();
            let reach = |subject| examined.policies.access(&subject, MethodSet::of(method), &path).reach();
            let roles = ["a", "b"].map(|role| Subject::Role(RoleName::parse(role).unwrap()));
            let is_open = reach(Subject::Anyone) != Reach::Denied;
            let mut subjects = roles.into_iter().chain([Subject::Anyone, Subject::Authenticated]);
            if subjects.all(|subject| reach(subject) == Reach::Denied) {
                unreached.push(line);
            } else if is_open {
                open.push(line);
            }
        }
        prop_assert_eq!(lines(WarningCode::UnreachedRoute), unreached, "{}", &text);
        prop_assert_eq!(lines(WarningCode::OpenRoute), open, "{}", &text);

        let unmatched = lines(WarningCode::UnmatchedRule);
        let paths = paths();
        for rule in &examined.policies.rules {
            let is_about = |method: &str, path: &CanonicalPath| {
                let method = MethodSet::of(method);
                rule.routes.iter().any(|route| route.covers(method, path))
                    && !rule.except.iter().any(|route| route.covers(method, path))
            };
            let is_matched = specification.routes.iter().any(|route| {
                let methods: &[&str] = if route.method == "GET" { &["GET", "HEAD"] } else { &[route.method] };
                let own = || paths.iter().filter(|path| route.pattern.matches(path));
                methods.iter().any(|method| own().any(|path| is_about(method, path)))
            });
            prop_assert_eq!(!unmatched.contains(&rule.location.line), is_matched, "{:?} of\n{}", rule, &text);
        }
    }
}

#[test]
fn value_that_is_another_route_of_the_specification_is_not_told_as_one_of_a_parameter() {
    let (policies, written) = load("role(\"a\").allow([\"GET /x/self\", \"GET /y/self\"]);");
    let examined = Examined::of(policies, &written, None, STEPS_MAX);
    let specification = specification(&[("GET", "/x/*"), ("GET", "/x/self"), ("GET", "/y/*")]);
    let told = examined.compare(&specification).mismatches;
    let told: Vec<_> = told.iter().map(|told| (told.what.as_str(), told.rules.len())).collect();
    assert_eq!(told, [("GET /x/*", 0), ("GET /y/*", 1)]);
}

#[test]
fn check_that_takes_too_long_is_left_out_and_told() {
    let text = "open([\"GET /a\", \"GET /b\"]).except(\"GET /c\");\ndeny(\"GET /d\").unless(|r| r.time > 5);";
    let codes = |steps| -> Vec<WarningCode> {
        examined_within(text, steps).into_iter().map(|warning| warning.code).collect()
    };
    assert_eq!(codes(STEPS_MAX), [WarningCode::IdleExcept, WarningCode::IdleUnless]);
    // The most that one of the checks takes, and one step less.
    let enough = (1..100).find(|steps| codes(*steps).len() == 2).unwrap();
    assert_eq!(codes(enough), codes(STEPS_MAX));
    assert!(codes(enough - 1).contains(&WarningCode::UnfinishedCheck));
    assert_eq!(codes(0).iter().filter(|code| **code == WarningCode::UnfinishedCheck).count(), 5);
    let told = examined_within(text, 0).remove(0);
    insta::assert_snapshot!(told, @r"
    warning[unfinished-check]: the check `covered-rule` has not looked at all rules, for that would take too long
      --> policies
      = help: it ends where many rules are about the same paths: give them fewer routes, or permissions
    ");
}

#[test]
fn as_many_warnings_as_the_limit_are_told_and_then_their_number() {
    let text = |count: usize| {
        let mut text = "open(\"GET /**\");\n".to_owned();
        for number in 0..count {
            let _ = writeln!(text, "open(\"GET /{number}\");");
        }
        text
    };
    let all = examined_within(&text(WARNINGS_MAX), STEPS_MAX);
    assert!(all.len() == WARNINGS_MAX && all.iter().all(|warning| warning.code == WarningCode::CoveredRule));
    let cut = examined_within(&text(WARNINGS_MAX + 5), STEPS_MAX);
    let last = cut.last().unwrap();
    assert_eq!((cut.len(), last.code), (WARNINGS_MAX, WarningCode::UnfinishedCheck));
    assert_eq!(last.problem.message, "6 more warnings are not told");
}

#[test]
fn as_many_comments_as_the_limit_are_looked_at_and_one_more_is_told() {
    let text = |count: usize| {
        let comments = "// rolegate: allow-in-file(unheld-role)\n".repeat(count);
        format!("{comments}open(\"GET /x\");")
    };
    assert_eq!(examined_within(&text(ALLOWANCES_MAX), STEPS_MAX), []);
    let told = examined_within(&text(ALLOWANCES_MAX + 1), STEPS_MAX);
    assert_eq!(told.iter().map(|warning| warning.code).collect::<Vec<_>>(), [WarningCode::UnfinishedCheck]);
}
