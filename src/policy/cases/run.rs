//! Runs cases against policies. Reads no file and no clock: what a case says is all that it depends on.

use super::report::{CaseResult, Got, Mismatch, Report};
use super::{Answer, Case, CaseFile, CasePrincipal, ExpectedRule};
use crate::decision::Decision;
use crate::policy::PolicySet;
use crate::policy::error::{Location, Problem, nearest};
use crate::token::RoleName;

/// Runs all cases of a file against the policies.
pub fn run<'f>(file: &'f CaseFile, policies: &PolicySet) -> Report<'f> {
    run_each(file, policies, |_| {})
}

/// Runs all cases of a file against the policies, and hears of each when it has run.
pub fn run_each<'f>(
    file: &'f CaseFile,
    policies: &PolicySet,
    mut each: impl FnMut(&CaseResult<'f>),
) -> Report<'f> {
    let run = |case| {
        let result = run_case(case, policies);
        each(&result);
        result
    };
    let results = file.cases().iter().map(run).collect();
    let mut problems = Vec::new();
    for principal in file.principals() {
        check_roles(principal, policies, &mut problems);
    }
    Report::new(results, problems)
}

fn run_case<'f>(case: &'f Case, policies: &PolicySet) -> CaseResult<'f> {
    let got = match &case.request.read {
        Err(reason) => Got::malformed(reason),
        Ok(request) => {
            let decision = policies.decide(case.principal.principal.as_ref(), request, case.time);
            got(decision, policies)
        }
    };
    let mismatches = mismatches(case, &got);
    CaseResult { case, got, mismatches, explanation: None }
}

fn got(decision: Decision, policies: &PolicySet) -> Got {
    let rule = decision.rule().and_then(|id| policies.rule(id));
    Got {
        answer: if decision.is_allow() { Answer::Allow } else { Answer::Deny },
        rule: decision.rule(),
        rule_location: rule.map(|rule| rule.location.clone()),
        permission: rule.and_then(|rule| rule.permission.clone()),
        failures: decision.failures().map(|(_, reason)| reason.into()).collect(),
        malformed: None,
        conditions: decision.conditions,
    }
}

/// Everything in which the answer differs from what the case expects.
fn mismatches(case: &Case, got: &Got) -> Vec<Mismatch> {
    let expected = &case.expected;
    let mut mismatches = Vec::new();
    if expected.answer != got.answer {
        mismatches.push(Mismatch::Answer);
    }
    let is_rule = match (&expected.rule, &got.rule_location) {
        (None, _) | (Some(ExpectedRule::NoRule), None) => true,
        (Some(ExpectedRule::At { file, line }), Some(location)) => is_at(location, file, *line),
        (Some(_), _) => false,
    };
    if !is_rule {
        mismatches.push(Mismatch::Rule);
    }
    if expected.permission.is_some() && expected.permission != got.permission {
        mismatches.push(Mismatch::Permission);
    }
    let is_failure = match &expected.failure {
        // A condition that breaks would make every `deny` come true.
        None => got.failures.is_empty(),
        Some(part) => got.failures.iter().any(|reason| reason.contains(&**part)),
    };
    if !is_failure {
        mismatches.push(Mismatch::Failure);
    }
    mismatches
}

fn is_at(location: &Location, file: &str, line: u32) -> bool {
    let is_file = location.file.strip_suffix(file).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
    is_file && location.line == line
}

/// A role that the policies do not know is denied everything, so that a mistyped one would make every
/// `deny` come true.
fn check_roles(principal: &CasePrincipal, policies: &PolicySet, problems: &mut Vec<Problem>) {
    let roles = principal.principal.as_ref().map(|principal| &*principal.roles).unwrap_or_default();
    for role in roles {
        let is_known = policies.has_role(role.as_str());
        let is_meant_unknown = principal.unknown_roles.contains(role);
        let (message, help) = match (is_known, is_meant_unknown) {
            (true, false) | (false, true) => continue,
            (true, true) => (
                format!("the principal `{}` has the role `{role}` as unknown", principal.name),
                "the policies define it: move it from `unknown_roles` to `roles`".to_owned(),
            ),
            (false, false) => (
                format!("the principal `{}` has the role `{role}`, which no policy defines", principal.name),
                match nearest(role.as_str(), policies.roles().iter().map(RoleName::as_str)) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => "move it to `unknown_roles` if that is what the case is about".to_owned(),
                },
            ),
        };
        problems.push(Problem::new(principal.location.clone(), message).with_help(help));
    }
}
