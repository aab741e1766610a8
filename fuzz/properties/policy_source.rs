//! Whatever stands in a script: it loads or is refused at a place in it, the same each time, and what loads
//! decides as its rules say.

use http::Method;
use rolegate::decision::{Decision, Verdict};
use rolegate::path::CanonicalPath;
use rolegate::policy::{
    Effect, Limits, PROBLEMS_MAX, PolicyErrors, PolicySet, RoleBindings, Rule, ScriptLimits, Source, Subject,
};
use rolegate::request::{MethodSet, Request};
use rolegate::time::Timestamp;
use rolegate::token::{Principal, RoleName, TokenId, TokenName};
use std::sync::Arc;
use std::time::Duration;

const FILES_MAX: usize = 4;
/// Requests are made of so many rules, and of so many routes of each.
const RULES_MAX: usize = 8;
const ROUTES_MAX: usize = 3;
const METHODS: [&str; 4] = ["GET", "POST", "OPTIONS", "TRACE"];

/// A byte of zero ends one file and starts the next.
pub(crate) fn check(data: &[u8]) {
    let texts = data
        .split(|byte| *byte == 0)
        .take(FILES_MAX)
        .map(|text| std::str::from_utf8(text).map(str::to_owned));
    let Ok(texts) = texts.collect::<Result<Vec<String>, _>>() else { return };
    let named = texts.into_iter().enumerate();
    let sources: Vec<_> =
        named.map(|(at, text)| Source { name: Arc::from(format!("{at}.rhai")), text }).collect();
    let loaded = load(&sources);
    let again = load(&sources);
    match (&loaded, &again) {
        (Ok(set), Ok(other)) => {
            assert_eq!(set.version(), other.version());
            assert_eq!(set.rules().len(), other.rules().len());
            decides(set, other);
        }
        (Err(errors), Err(other)) => {
            // What a clock stops, it does not stop at the same place each time.
            assert!(errors == other || is_late(errors) || is_late(other), "{errors}\n\nand then\n\n{other}");
            stands_in(errors, &sources);
        }
        (Err(errors), Ok(_)) | (Ok(_), Err(errors)) => {
            assert!(is_late(errors), "loads once, and then:\n{errors}");
        }
    }
}

/// Fewer steps than the clock would allow, so that counts decide and not the time.
fn limits() -> ScriptLimits {
    let time = Duration::from_secs(4);
    let load = Limits { operations: 5_000, functions: 200, tokens: 20_000, time, ..Limits::LOAD };
    let condition = Limits { operations: 500, time, ..Limits::CONDITION };
    ScriptLimits { load, condition, ..ScriptLimits::default() }
}

fn load(sources: &[Source]) -> Result<PolicySet, PolicyErrors> {
    PolicySet::load(sources, &RoleBindings::default(), &limits())
}

fn is_late(errors: &PolicyErrors) -> bool {
    errors.problems().iter().any(|problem| problem.message.contains("time"))
}

/// Every problem has its place within the text, and none is a failure of our own.
fn stands_in(errors: &PolicyErrors, sources: &[Source]) {
    let problems = errors.problems();
    assert!((1..=PROBLEMS_MAX).contains(&problems.len()));
    assert!(!errors.to_string().contains("panic"), "{errors}");
    for problem in problems {
        let place = &problem.location;
        let source = sources.iter().find(|source| source.name == place.file);
        assert!(!problem.message.is_empty());
        let Some(source) = source else {
            assert_eq!((&*place.file, place.line, place.column), ("policies", 0, 0), "{problem}");
            continue;
        };
        // The place after the last line end is one too.
        let lines: Vec<&str> = source.text.split('\n').collect();
        let line = (place.line as usize).checked_sub(1).map(|at| lines.get(at));
        assert!(line.is_none_or(|line| line.is_some()), "{problem}\nof {} lines", lines.len());
        let letters = line.flatten().map_or(0, |line| line.chars().count());
        assert!(place.column as usize <= letters + 1, "{problem}\nin a line of {letters} characters");
    }
}

/// Decides requests that the rules are about, and some near them, as nobody, as a token, and with each role.
fn decides(set: &PolicySet, other: &PolicySet) {
    let unknown = RoleName::parse("no-such-role").ok();
    let roles = unknown.into_iter().chain(set.roles().iter().take(ROUTES_MAX).cloned()).map(Some);
    let askers: Vec<Option<RoleName>> = std::iter::once(None).chain(roles).collect();
    for path in paths(set) {
        for method in METHODS {
            let Ok(sent) = method.parse::<Method>() else { continue };
            let request = Request::new(sent, path.clone());
            for role in &askers {
                let principal = role.as_ref().and_then(holder);
                let decision = set.decide(principal.as_ref(), &request, Timestamp::EPOCH);
                let again = other.decide(principal.as_ref(), &request, Timestamp::EPOCH);
                let shown = format!("{method} {path} of {role:?}: {decision:?}");
                // A time limit shows in one of them alone.
                assert!(decision == again || shown.contains("time"), "{shown}, and then {again:?}");
                assert!(!shown.contains("panicked"), "{shown}");
                is_as_declared(set, &decision, role.as_ref(), &request, &shown);
            }
        }
    }
}

fn holder(role: &RoleName) -> Option<Principal> {
    let roles = Arc::from([role.clone()]);
    Some(Principal {
        id: TokenId::new(TokenId::MIN)?.into(),
        name: TokenName::from("t"),
        roles,
        created: Timestamp::EPOCH,
    })
}

/// A path for each route of the first rules, and some near them.
fn paths(set: &PolicySet) -> Vec<CanonicalPath> {
    let mut texts = vec!["/".to_owned()];
    for rule in set.rules().iter().take(RULES_MAX) {
        let routes = rule.routes.iter().map(Arc::as_ref).take(ROUTES_MAX);
        for route in routes.chain(rule.except.iter().take(ROUTES_MAX)) {
            let pattern = route.pattern.to_string();
            let parts = pattern.trim_end_matches("**").split('/');
            let filled: Vec<_> =
                parts.map(|part| if part == "*" || part.starts_with('{') { "w" } else { part }).collect();
            let witness = filled.join("/");
            texts.push(format!("{witness}/x"));
            texts.push(witness);
        }
    }
    texts.sort();
    texts.dedup();
    texts.iter().filter_map(|text| CanonicalPath::parse(text).ok()).collect()
}

/// Compares a decision with a loop over the rules, as far as it can be said without evaluating a condition
/// and without knowing which roles include which.
fn is_as_declared(
    set: &PolicySet,
    decision: &Decision,
    role: Option<&RoleName>,
    request: &Request,
    shown: &str,
) {
    let method = MethodSet::of(request.method().as_str());
    let is_for = |route: &rolegate::policy::Route| {
        route.methods.intersects(method) && route.pattern.matches(request.path())
    };
    let matching =
        |rule: &Rule| rule.routes.iter().any(|route| is_for(route)) && !rule.except.iter().any(is_for);
    if let Some(rule) = set.deciding_rule(decision) {
        assert!(matching(rule), "{shown} by {rule:?}");
        assert_eq!(rule.effect == Effect::Allow, decision.is_allow(), "{shown} by {rule:?}");
    } else {
        assert!(matches!(decision.verdict, Verdict::Deny(_)), "{shown} by no rule");
    }
    let is_about = |rule: &Rule| match &rule.subject {
        Subject::Anyone => true,
        Subject::Authenticated => role.is_some(),
        Subject::Role(name) => role == Some(name),
    };
    let about: Vec<_> = set.rules().iter().filter(|rule| is_about(rule) && matching(rule)).collect();
    let has = |effect, is_conditional| {
        about.iter().any(|rule| rule.effect == effect && rule.is_conditional() == is_conditional)
    };
    let is_denied = has(Effect::Deny, false);
    let is_allowed = has(Effect::Allow, false) && !is_denied && !has(Effect::Deny, true);
    assert!(!is_denied || !decision.is_allow(), "{shown} although a rule denies");
    assert!(!is_allowed || decision.is_allow(), "{shown} although a rule allows and none denies");
    // Roles that include others may be allowed by rules of those.
    let has_no_others = role.is_none_or(|role| role.as_str() == "no-such-role");
    let may_be_allowed = has(Effect::Allow, false) || has(Effect::Allow, true);
    assert!(!has_no_others || may_be_allowed || !decision.is_allow(), "{shown} although no rule allows");
}
