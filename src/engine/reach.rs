//! No escalation: what a token creates or changes reaches no further than the token itself, unless it holds the
//! permission to grant any role.

use super::change::ChangeError;
use super::{Engine, Permit};
use crate::decision::PolicyVersion;
use crate::policy::PolicySet;
use crate::policy::within::{Excess, WithinError};
use crate::time::Timestamp;
use crate::token::{RoleName, TokenRecord};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Whoever holds this permission creates and changes tokens of any reach.
pub const GRANT_ANY_ROLE: &str = "grant-any-role";
/// So much of what is too much is told; the rest is counted.
pub const EXCESS_TOLD_MAX: usize = 10;
/// The longest text of each, in bytes; a pattern can have many exceptions. Longer ones are cut.
pub const EXCESS_TOLD_MAX_BYTES: usize = 256;
/// So many comparisons are remembered. Few tokens create others, and they grant few sets of roles.
const COMPARISONS_MAX: usize = 64;

/// What a token would hand on without having it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BeyondReach {
    /// The first of it in words: routes as rules write them, permissions and roles.
    pub told: Arc<[String]>,
    /// How much more there is.
    pub more: usize,
    /// Whether a policy declares [`GRANT_ANY_ROLE`], so that somebody can hold it.
    pub is_grantable: bool,
}

/// Comparisons that were made, the latest last.
#[derive(Debug, Default)]
pub(super) struct Comparisons(Mutex<VecDeque<(Compared, Outcome)>>);

/// What was compared: roles in their order by name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Compared {
    policies: PolicyVersion,
    granter: Vec<RoleName>,
    granted: Vec<RoleName>,
}

/// What came out; `None` when the one lies within the other.
type Outcome = Result<Option<BeyondReach>, WithinError>;

impl Engine {
    /// Refuses to create, or to change, a token that reaches further than the token of the request.
    pub(super) fn refuse_beyond(
        &self,
        permit: &Permit,
        record: &TokenRecord,
        now: Timestamp,
    ) -> Result<(), ChangeError> {
        // Its roles may have become fewer since the request was permitted.
        let granter = self.holder(permit, now).ok_or(ChangeError::Revoked)?.roles;
        let policies = self.policies();
        if policies.holds_permission(&granter, GRANT_ANY_ROLE) == Some(true) {
            return Ok(());
        }
        match self.comparisons.compare(&policies, &granter, &record.roles) {
            Ok(None) => Ok(()),
            Ok(Some(beyond)) => Err(ChangeError::BeyondReach(beyond)),
            Err(error) => Err(ChangeError::Incomparable(error)),
        }
    }
}

impl Permit {
    /// Whether this is the token of the request. It reaches what it reaches, whatever conditions ask about it.
    pub(super) fn is_of(&self, record: &TokenRecord) -> bool {
        self.principal().is_some_and(|principal| principal.id.token() == Some(record.id))
    }
}

impl Comparisons {
    fn compare(&self, policies: &PolicySet, granter: &[RoleName], granted: &[RoleName]) -> Outcome {
        let [granter, granted] = [granter, granted].map(sorted);
        let compared = Compared { policies: policies.version(), granter, granted };
        if let Some(outcome) = self.known(&compared) {
            return outcome;
        }
        let outcome = policies
            .beyond(&compared.granter, &compared.granted)
            .map(|excess| (!excess.is_empty()).then(|| BeyondReach::new(&excess, policies)));
        self.remember(compared, outcome.clone());
        outcome
    }

    fn known(&self, compared: &Compared) -> Option<Outcome> {
        let known = self.0.lock();
        known.iter().find(|(known, _)| known == compared).map(|(_, outcome)| outcome.clone())
    }

    fn remember(&self, compared: Compared, outcome: Outcome) {
        let mut known = self.0.lock();
        // What was compared by policies that decide no more is never asked for again.
        known.retain(|(other, _)| other.policies == compared.policies && *other != compared);
        if known.len() >= COMPARISONS_MAX {
            known.pop_front();
        }
        known.push_back((compared, outcome));
    }
}

impl BeyondReach {
    fn new(excess: &[Excess], policies: &PolicySet) -> Self {
        Self {
            told: excess.iter().take(EXCESS_TOLD_MAX).map(|excess| cut(excess.to_string())).collect(),
            more: excess.len().saturating_sub(EXCESS_TOLD_MAX),
            is_grantable: policies.permission(GRANT_ANY_ROLE).is_some(),
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > EXCESS_TOLD_MAX_BYTES {
        text.truncate(text.floor_char_boundary(EXCESS_TOLD_MAX_BYTES));
        text.push('…');
    }
    text
}

fn sorted(roles: &[RoleName]) -> Vec<RoleName> {
    let mut roles = roles.to_vec();
    roles.sort_unstable();
    roles.dedup();
    roles
}

impl fmt::Display for BeyondReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.told.to_vec();
        if self.more > 0 {
            parts.push(format!("{} more", self.more));
        }
        let last = parts.pop().unwrap_or_default();
        write!(f, "the token of the request does not have what it would hand on: ")?;
        if !parts.is_empty() {
            write!(f, "{} and ", parts.join(", "))?;
        }
        write!(f, "{last}; grant less, or use a token that holds the permission `{GRANT_ANY_ROLE}`")?;
        if self.is_grantable { Ok(()) } else { f.write_str(", which no policy declares yet") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{RoleBindings, ScriptLimits, Source};

    fn load(text: &str) -> PolicySet {
        let source = Source { name: Arc::from("p.rhai"), text: text.to_owned() };
        PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap()
    }

    fn roles(names: &[&str]) -> Vec<RoleName> {
        names.iter().map(|name| RoleName::parse(name).unwrap()).collect()
    }

    fn told(rules: &str) -> String {
        let policies = load(&format!("role(\"a\"); role(\"b\"); {rules}"));
        let outcome = Comparisons::default().compare(&policies, &roles(&["a"]), &roles(&["b"]));
        outcome.unwrap().map(|beyond| beyond.to_string()).unwrap_or_default()
    }

    #[test]
    fn all_that_is_too_much_is_told_up_to_the_limit_and_the_rest_is_counted() {
        let count = |count: usize| {
            let rules: String =
                (0..count).map(|number| format!("role(\"b\").allow(\"PUT /{number:02}\");")).collect();
            told(&format!("open(\"GET /\"); {rules}"))
        };
        assert_eq!(count(0), "");
        insta::assert_snapshot!(count(1), @"the token of the request does not have what it would hand on: `PUT /00`; grant less, or use a token that holds the permission `grant-any-role`, which no policy declares yet");
        insta::assert_snapshot!(count(2), @"the token of the request does not have what it would hand on: `PUT /00` and `PUT /01`; grant less, or use a token that holds the permission `grant-any-role`, which no policy declares yet");
        insta::assert_snapshot!(count(EXCESS_TOLD_MAX), @"the token of the request does not have what it would hand on: `PUT /00`, `PUT /01`, `PUT /02`, `PUT /03`, `PUT /04`, `PUT /05`, `PUT /06`, `PUT /07`, `PUT /08` and `PUT /09`; grant less, or use a token that holds the permission `grant-any-role`, which no policy declares yet");
        insta::assert_snapshot!(count(EXCESS_TOLD_MAX + 2), @"the token of the request does not have what it would hand on: `PUT /00`, `PUT /01`, `PUT /02`, `PUT /03`, `PUT /04`, `PUT /05`, `PUT /06`, `PUT /07`, `PUT /08`, `PUT /09` and 2 more; grant less, or use a token that holds the permission `grant-any-role`, which no policy declares yet");
    }

    #[test]
    fn texts_are_cut_past_the_limit_and_no_sooner() {
        let text = |length: usize| cut("ä".repeat(length / 2));
        assert_eq!(text(EXCESS_TOLD_MAX_BYTES), "ä".repeat(EXCESS_TOLD_MAX_BYTES / 2));
        let longer = text(EXCESS_TOLD_MAX_BYTES + 2);
        assert_eq!(longer, format!("{}…", "ä".repeat(EXCESS_TOLD_MAX_BYTES / 2)));
    }

    #[test]
    fn permission_that_would_help_is_told_as_missing_only_where_no_policy_has_it() {
        let with = format!("permission(\"{GRANT_ANY_ROLE}\", []); role(\"b\").allow(\"PUT /x\");");
        assert!(told(&with).ends_with("a token that holds the permission `grant-any-role`"));
    }

    #[test]
    fn permission_to_grant_any_role_is_granted_by_those_alone_who_hold_it() {
        let text =
            format!("permission(\"{GRANT_ANY_ROLE}\", []); role(\"b\").grants([\"{GRANT_ANY_ROLE}\"]);");
        assert!(
            told(&format!("open(\"GET /\"); {text}"))
                .contains("the permission `grant-any-role`, which has no routes")
        );
    }

    #[test]
    fn comparisons_are_remembered_for_these_policies_and_up_to_the_limit() {
        let one = load("open(\"GET /\"); for i in 0..100 { role(`r${i}`).allow(`PUT /${i}`); }");
        let other = load("open(\"GET /\"); for i in 0..100 { role(`r${i}`).allow(`PUT /x`); }");
        let comparisons = Comparisons::default();
        let names: Vec<String> = (0..=COMPARISONS_MAX).map(|number| format!("r{number}")).collect();
        for name in &names {
            let beyond = comparisons.compare(&one, &roles(&["r99"]), &roles(&[name])).unwrap();
            assert!(beyond.is_some());
            assert!(comparisons.0.lock().len() <= COMPARISONS_MAX);
        }
        let key = |name: &str| Compared {
            policies: one.version(),
            granter: roles(&["r99"]),
            granted: roles(&[name]),
        };
        assert_eq!(comparisons.known(&key(&names[0])), None, "the oldest is forgotten");
        assert!(comparisons.known(&key(&names[COMPARISONS_MAX])).is_some());
        // By other policies, the same roles are within each other.
        assert_eq!(comparisons.compare(&other, &roles(&["r99"]), &roles(&["r1"])), Ok(None));
        assert_eq!(comparisons.0.lock().len(), 1);
        // Order and repetition count for nothing.
        let again = comparisons.compare(&other, &roles(&["r99", "r99"]), &roles(&["r1", "r1"]));
        assert_eq!((again, comparisons.0.lock().len()), (Ok(None), 1));
    }
}
