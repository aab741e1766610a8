//! One policy and one request, decided by the compiled table and by the reference.

use super::evaluator::Outcome;
use super::model::{CONFIGURATION, PolicyModel, RequestModel, bindings, principal};
use http::{HeaderMap, HeaderValue, Uri, Version};
use rolegate::decision::{Decision, Denial, Verdict};
use rolegate::policy::{Effect, Limits, PolicySet, Rule, ScriptLimits};
use rolegate::request::Request;
use rolegate::time::Timestamp;
use std::error::Error;
use std::time::Duration;

/// So many steps a condition may take: enough for all of the models that end.
const CONDITION_OPERATIONS: u64 = 1_000;
/// Time enough for any machine, so that the steps decide.
const CONDITION_TIME: Duration = Duration::from_secs(60);

/// Loads the policy as it is written.
pub(crate) fn load(policy: &PolicyModel) -> Result<PolicySet, Box<dyn Error>> {
    let condition = Limits { operations: CONDITION_OPERATIONS, time: CONDITION_TIME, ..Limits::CONDITION };
    let limits = ScriptLimits { condition, ..ScriptLimits::default() };
    Ok(PolicySet::load(&policy.sources(), &bindings()?, &limits)?)
}

/// Decides a request by the compiled table.
pub(crate) fn decide(set: &PolicySet, request: &RequestModel) -> Result<Decision, Box<dyn Error>> {
    let read = read(request)?;
    if read.path().as_str() != request.canonical_path() {
        return Err(format!("{} was read as {}", request.path, read.path()).into());
    }
    Ok(set.decide(principal(request)?.as_ref(), &read, Timestamp::EPOCH))
}

/// What is wrong with a decision; `None` when it is the one of the reference.
pub(crate) fn fault(
    set: &PolicySet,
    policy: &PolicyModel,
    request: &RequestModel,
    decision: &Decision,
) -> Option<String> {
    let expected = policy.decide(request);
    let is_same = decision.is_allow() == expected.is_allow()
        && is_decided_by_one_of(set, policy, decision, &expected)
        && tells_failures(set, policy, decision, &expected);
    (!is_same).then(|| format!("the reference: {expected:?}\ndecided: {decision:?}"))
}

fn read(request: &RequestModel) -> Result<Request, Box<dyn Error>> {
    let query = request.query.map_or_else(String::new, |query| format!("?{query}"));
    let target: Uri = format!("{}{query}", request.path).parse()?;
    let host = (http::header::HOST, HeaderValue::from_static("localhost"));
    let headers: HeaderMap = std::iter::once(host).collect();
    Ok(Request::read(request.method.parse()?, &target, Version::HTTP_11, headers, None)?)
}

/// Whether the rule that decided is one that the reference found, and none where it found none.
fn is_decided_by_one_of(
    set: &PolicySet,
    policy: &PolicyModel,
    decision: &Decision,
    expected: &Outcome,
) -> bool {
    let Some(rule) = set.deciding_rule(decision) else {
        return matches!(decision.verdict, Verdict::Deny(_)) && expected.allowing.is_empty();
    };
    let is_there = |at: &usize| stands_at(policy, rule, *at);
    match rule.effect {
        Effect::Deny => expected.denying.iter().any(is_there),
        Effect::Allow => expected.allowing.iter().any(|at| match at {
            Some(at) => is_there(at),
            None => &*rule.location.file == CONFIGURATION,
        }),
    }
}

/// Whether every failure that is told is one, and every one is told that left the request without a rule.
fn tells_failures(set: &PolicySet, policy: &PolicyModel, decision: &Decision, expected: &Outcome) -> bool {
    let told: Vec<&Rule> = decision.failures().filter_map(|(rule, _)| set.rule(rule)).collect();
    let is_told = |at: &usize| told.iter().any(|rule| stands_at(policy, rule, *at));
    let is_expected = |rule: &&Rule| {
        let failing = match rule.effect {
            Effect::Allow => &expected.failing_when,
            Effect::Deny => &expected.failing_unless,
        };
        failing.iter().any(|at| stands_at(policy, rule, *at))
    };
    let has_no_rule = decision.verdict == Verdict::Deny(Denial::NoRule);
    told.iter().all(is_expected) && (!has_no_rule || expected.failing_when.iter().all(is_told))
}

/// Whether the rule is of this declaration.
fn stands_at(policy: &PolicyModel, rule: &Rule, at: usize) -> bool {
    let place = (&*rule.location.file, rule.location.line as usize);
    policy.place(at).is_some_and(|expected| expected == place)
}
