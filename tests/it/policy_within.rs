//! What roles are too much for others, against what the engine decides for a token with either.

use crate::reference::comparison::load;
use crate::reference::model::{
    ConditionModel, Declaration, PolicyModel, ROLES, RequestModel, policy, request,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rolegate::path::CanonicalPath;
use rolegate::policy::PolicySet;
use rolegate::policy::within::{Excess, ExcessRoutes};
use rolegate::request::{MethodSet, Request};
use rolegate::time::Timestamp;
use rolegate::token::{Principal, RoleName, TokenId};
use std::error::Error;

/// So many policies are made in a usual run, and so many requests are decided by each for both tokens.
const POLICIES: u32 = 150;
const REQUESTS: usize = 200;

/// Two tokens, by their roles.
#[derive(Clone, Debug)]
struct Pair {
    granter: Vec<RoleName>,
    granted: Vec<RoleName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conditions {
    None,
    AsTheyAre,
    /// Each rule that has one asks for a role.
    OfRoles,
}

fn names() -> impl Strategy<Value = Vec<RoleName>> {
    let known = [&ROLES[..], &["alias-of-r1", "alias-of-r3", "custom-of-p0", "custom-of-two", "m1"]].concat();
    let read = |names: Vec<&str>| names.into_iter().filter_map(|name| RoleName::parse(name).ok()).collect();
    subsequence(known, 0..4).prop_map(read)
}

fn pair() -> impl Strategy<Value = Pair> {
    (names(), names(), any::<bool>()).prop_map(|(granter, mut granted, is_near)| {
        if is_near {
            granted.truncate(1);
            granted.extend(granter.iter().take(2).cloned());
        }
        Pair { granter, granted }
    })
}

fn with_conditions(mut policy: PolicyModel, conditions: Conditions) -> PolicyModel {
    let mut asked = ROLES.into_iter().cycle();
    for (_, declaration) in &mut policy.declarations {
        let Declaration::Rules { rules, .. } = declaration else { continue };
        for rule in rules {
            match conditions {
                Conditions::AsTheyAre => {}
                Conditions::None => rule.condition = None,
                Conditions::OfRoles => {
                    rule.condition = rule.condition.and(asked.next()).map(ConditionModel::HasRole);
                }
            }
        }
    }
    policy
}

/// Whether a token with these roles may.
fn is_allowed(
    policies: &PolicySet,
    id: u64,
    roles: &[RoleName],
    request: &Request,
) -> Result<bool, Box<dyn Error>> {
    // The model asks for this name, as the granted token may have and the granter has not.
    let name = if id == 2 { "t" } else { "u" };
    let principal = Principal {
        id: TokenId::new(TokenId::MIN + id).ok_or("no id")?.into(),
        name: name.into(),
        roles: roles.into(),
        created: Timestamp::EPOCH,
    };
    Ok(policies.decide(Some(&principal), request, Timestamp::EPOCH).is_allow())
}

/// Whether the granted token may do what the granter may not.
fn is_too_much(policies: &PolicySet, pair: &Pair, request: &Request) -> Result<bool, Box<dyn Error>> {
    let granter = is_allowed(policies, 1, &pair.granter, request)?;
    Ok(!granter && is_allowed(policies, 2, &pair.granted, request)?)
}

fn routes(excess: &[Excess]) -> impl Iterator<Item = &ExcessRoutes> {
    excess.iter().filter_map(|excess| match excess {
        Excess::Routes(routes) => Some(routes),
        Excess::Permission(_) | Excess::Role(_) => None,
    })
}

/// What is wrong with what is said to be too much; `None` when nothing is.
fn fault(
    policies: &PolicySet,
    pair: &Pair,
    requests: &[RequestModel],
    conditions: Conditions,
) -> Result<Option<String>, Box<dyn Error>> {
    let excess = policies.beyond(&pair.granter, &pair.granted)?;
    for routes in routes(&excess) {
        if !routes.contains(routes.methods, &routes.witness) || routes.rules.is_empty() {
            return Ok(Some(format!("{routes} does not have its witness {}", routes.witness)));
        }
        if conditions != Conditions::AsTheyAre && routes.is_conditional {
            return Ok(Some(format!("{routes} is not said for sure")));
        }
        for method in routes.methods.names().filter(|_| !routes.is_conditional) {
            let request = Request::new(method.parse()?, routes.witness.clone());
            if !is_too_much(policies, pair, &request)? {
                return Ok(Some(format!("{method} {} is said to be too much, and is not", routes.witness)));
            }
        }
    }
    for model in requests {
        let path = CanonicalPath::parse(&model.canonical_path())?;
        let request = Request::new(model.method.parse()?, path.clone());
        let method = MethodSet::of(model.method);
        let found: Vec<_> = routes(&excess).filter(|routes| routes.contains(method, &path)).collect();
        let is_sure = found.iter().any(|routes| !routes.is_conditional);
        let is_too_much = is_too_much(policies, pair, &request)?;
        if is_too_much && found.is_empty() || is_sure && !is_too_much {
            return Ok(Some(format!("{} {path}: {is_too_much}; found {found:?}", model.method)));
        }
    }
    Ok(None)
}

fn failed(error: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: POLICIES, failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::default()
    })]

    #[test]
    fn exactly_what_one_token_may_and_the_other_may_not_is_too_much(
        policy in policy(),
        conditions in select(vec![Conditions::None, Conditions::OfRoles, Conditions::AsTheyAre]),
        pairs in proptest::collection::vec(pair(), 6),
        requests in proptest::collection::vec(request(), REQUESTS),
    ) {
        let policy = with_conditions(policy, conditions);
        let policies = load(&policy).map_err(failed)?;
        for pair in &pairs {
            let fault = fault(&policies, pair, &requests, conditions).map_err(failed)?;
            prop_assert!(fault.is_none(), "{}\n{pair:?}\n{:#?}", fault.unwrap_or_default(), policy.sources());
        }
    }
}
