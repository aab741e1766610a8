//! What `policy diff` says changes, against what an obvious evaluator decides by either policy.

use crate::reference::comparison::load;
use crate::reference::model::{
    ConditionModel, Declaration, PolicyModel, ROLES, RequestModel, policy, request,
};
use proptest::prelude::*;
use rolegate::path::CanonicalPath;
use rolegate::policy::diff::{Change, Diff, Region};
use rolegate::policy::{PolicySet, Subject};
use rolegate::request::MethodSet;
use rolegate::token::RoleName;
use std::error::Error;

/// So many pairs of policies are made in a usual run, and so many requests are decided by both.
const PAIRS: u32 = 100;
const REQUESTS: usize = 200;

/// A policy, and one that has some of its declarations and some others.
fn pair() -> impl Strategy<Value = (PolicyModel, PolicyModel)> {
    (policy(), policy(), any::<u32>(), any::<bool>()).prop_map(|(old, mut other, kept, is_other)| {
        if is_other {
            return (old, other);
        }
        let mut new = old.clone();
        let mut number = 0;
        new.declarations.retain(|_| {
            number += 1;
            kept >> (number % 24) & 3 != 0
        });
        other.declarations.truncate((kept >> 30) as usize);
        new.declarations.append(&mut other.declarations);
        if kept & 1 == 0 {
            new.permissions = other.permissions;
        }
        (old, new)
    })
}

fn without_conditions(mut policy: PolicyModel) -> PolicyModel {
    for (_, declaration) in &mut policy.declarations {
        if let Declaration::Rules { rules, .. } = declaration {
            rules.iter_mut().for_each(|rule| rule.condition = None);
        }
    }
    policy
}

/// Two policies whose rules are the same, most of them with conditions that ask for roles, and whose roles include
/// other ones.
fn pair_of_inclusions() -> impl Strategy<Value = (PolicyModel, PolicyModel)> {
    (policy(), policy()).prop_map(|(mut old, mut other)| {
        let mut asked = ROLES.into_iter().cycle();
        for (_, declaration) in &mut old.declarations {
            if let Declaration::Rules { rules, .. } = declaration {
                rules.iter_mut().for_each(|rule| rule.condition = asked.next().map(ConditionModel::HasRole));
                rules.iter_mut().skip(1).for_each(|rule| rule.condition = None);
            }
        }
        let includes = |declaration: &Declaration| matches!(declaration, Declaration::Includes { .. });
        let mut new = old.clone();
        new.declarations.retain(|(_, declaration)| !includes(declaration));
        other.declarations.retain(|(_, declaration)| includes(declaration));
        new.declarations.append(&mut other.declarations);
        (old, new)
    })
}

/// The subjects that the bearer of the request is, each for itself.
fn subjects(request: &RequestModel) -> Result<Vec<Subject>, Box<dyn Error>> {
    let Some(roles) = &request.roles else { return Ok(vec![Subject::Anyone]) };
    let mut subjects = vec![Subject::Authenticated];
    for role in roles.iter().filter(|role| **role != "unknown") {
        subjects.push(Subject::Role(RoleName::parse(role)?));
    }
    Ok(subjects)
}

fn regions<'d>(
    diff: &'d Diff,
    subject: &Subject,
    request: &RequestModel,
) -> Result<Vec<&'d Region>, Box<dyn Error>> {
    let path = CanonicalPath::parse(&request.canonical_path())?;
    let method = MethodSet::of(request.method);
    Ok(diff.regions().iter().filter(|region| region.contains(subject, method, &path)).collect())
}

/// What is wrong with the diff at one request of a bearer of at most one role, when nothing is conditional.
fn fault_without_conditions(
    old: &PolicyModel,
    new: &PolicyModel,
    diff: &Diff,
    request: &RequestModel,
) -> Fault {
    let expected = match (old.decide(request).is_allow(), new.decide(request).is_allow()) {
        (false, true) => Some(Change::Gains),
        (true, false) => Some(Change::Loses),
        _ => None,
    };
    let all = subjects(request)?;
    let mut found = Vec::new();
    // A bearer of one role is that role; one of several is compared as each of them.
    let is_single = all.len() <= 2;
    for subject in if is_single { all.iter().rev().take(1) } else { all.iter().rev().take(all.len()) } {
        found.extend(regions(diff, subject, request)?.into_iter().map(|region| region.change));
    }
    found.dedup();
    let is_right = if is_single {
        found.as_slice() == expected.as_slice()
    } else {
        expected.is_none_or(|change| found.contains(&change))
    };
    Ok((!is_right).then(|| format!("expected {expected:?}, found {found:?}")))
}

/// What is wrong with the diff at one request, when both decisions are known.
fn fault_with_conditions(old: &PolicyModel, new: &PolicyModel, diff: &Diff, request: &RequestModel) -> Fault {
    let mut found = Vec::new();
    for subject in subjects(request)? {
        found.extend(regions(diff, &subject, request)?);
    }
    let (was_allowed, is_allowed) = (old.decide(request).is_allow(), new.decide(request).is_allow());
    let is_gain = !was_allowed && is_allowed;
    let is_right = if is_gain {
        found.iter().any(|region| region.change.is_gain())
    } else {
        was_allowed == is_allowed || !found.is_empty()
    };
    Ok((!is_right).then(|| format!("allowed: {was_allowed}, then {is_allowed}; found {found:?}")))
}

/// What is wrong with the regions themselves.
fn fault_of_regions(diff: &Diff, new: &PolicySet) -> Option<String> {
    let is_sound = |region: &&Region| {
        let methods: Vec<MethodSet> = region.methods.names().map(MethodSet::of).collect();
        let mut points =
            region.subjects.iter().flat_map(|subject| methods.iter().map(move |method| (subject, *method)));
        let has_rule = !region.change.is_gain() || !region.new.is_empty();
        let known = region.new.iter().all(|rule| new.rule(*rule).is_some());
        has_rule && known && points.all(|(subject, method)| region.contains(subject, method, &region.witness))
    };
    diff.regions().iter().find(|region| !is_sound(region)).map(|region| format!("{region:?}"))
}

fn failed(error: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// What is wrong with what a diff says about one request; `None` when nothing is.
type FaultOf = fn(&PolicyModel, &PolicyModel, &Diff, &RequestModel) -> Fault;
type Fault = Result<Option<String>, Box<dyn Error>>;

/// Compares the policies, and what is told with what each request gets by either.
fn holds(
    old: &PolicyModel,
    new: &PolicyModel,
    requests: &[RequestModel],
    fault_of: FaultOf,
) -> Result<(), TestCaseError> {
    let [old_set, new_set] = [old, new].map(load);
    let (old_set, new_set) = (old_set.map_err(failed)?, new_set.map_err(failed)?);
    let diff = old_set.diff(&new_set, &mut |_, _| {}).map_err(failed)?;
    let fault = fault_of_regions(&diff, &new_set);
    prop_assert!(fault.is_none(), "{:?}", fault);
    for request in requests {
        let fault = fault_of(old, new, &diff, request).map_err(failed)?;
        prop_assert!(
            fault.is_none(),
            "{}\n{request:?}\n{:#?}\n{:#?}\n{:#?}",
            fault.unwrap_or_default(),
            old.sources(),
            new.sources(),
            diff.regions()
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: PAIRS, failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::default()
    })]

    #[test]
    fn without_conditions_exactly_the_changed_points_are_told(
        (old, new) in pair(),
        requests in proptest::collection::vec(request(), REQUESTS),
    ) {
        let (old, new) = (without_conditions(old), without_conditions(new));
        holds(&old, &new, &requests, fault_without_conditions)?;
    }

    #[test]
    fn whatever_is_decided_otherwise_is_told_conditions_or_not(
        (old, new) in pair(),
        requests in proptest::collection::vec(request(), REQUESTS),
    ) {
        holds(&old, &new, &requests, fault_with_conditions)?;
    }

    #[test]
    fn what_roles_held_otherwise_decide_is_told(
        (old, new) in pair_of_inclusions(),
        requests in proptest::collection::vec(request(), REQUESTS),
    ) {
        holds(&old, &new, &requests, fault_with_conditions)?;
    }

    #[test]
    fn nothing_changes_from_a_policy_to_itself(policy in policy()) {
        let (one, other) = (load(&policy).map_err(failed)?, load(&policy).map_err(failed)?);
        let diff = one.diff(&other, &mut |_, _| {}).map_err(failed)?;
        prop_assert!(diff.is_empty(), "{:?}", diff);
    }
}
