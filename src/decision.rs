//! What the policies answer to a request: allow or deny, which rule decided, and what failed on the way.

use crate::time::Timestamp;
use std::fmt;

/// A rule's number within its policy set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub(crate) u32);

/// Which policy set decided: the first eight bytes of a SHA-256 over its sources and role bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicyVersion(pub(crate) u64);

/// The answer of the policies to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Allow or deny, and why.
    pub verdict: Verdict,
    /// What the conditions said that had a say, in the order in which they were asked. Empty, and without
    /// an allocation, where no rule with a condition is about the request.
    pub conditions: Vec<ConditionOutcome>,
    /// The policy set that decided.
    pub policy: PolicyVersion,
    /// The time that the decision was made for.
    pub at: Timestamp,
}

/// Allow or deny, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This rule allows the request and no rule denies it.
    Allow(RuleId),
    /// The request is denied.
    Deny(Denial),
}

/// Why a request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No rule allows it: what nobody allowed is denied.
    NoRule,
    /// This rule denies it, whatever others allow.
    Rule(RuleId),
}

/// What one condition said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionOutcome {
    /// The rule that the condition belongs to.
    pub rule: RuleId,
    /// The place of the route that matched, among those of the rule.
    pub route: usize,
    /// Whether it holds. An error, a limit or an answer that is neither `true` nor `false` is a failure, in
    /// words, with the line and column of the script; it never opens anything.
    pub result: Result<bool, String>,
}

impl Decision {
    /// Whether the request is allowed.
    pub const fn is_allow(&self) -> bool {
        matches!(self.verdict, Verdict::Allow(_))
    }

    /// The rule that decided; `None` when no rule did.
    pub const fn rule(&self) -> Option<RuleId> {
        match self.verdict {
            Verdict::Allow(rule) | Verdict::Deny(Denial::Rule(rule)) => Some(rule),
            Verdict::Deny(Denial::NoRule) => None,
        }
    }

    /// The conditions that failed, each with the reason.
    pub fn failures(&self) -> impl Iterator<Item = (RuleId, &str)> {
        self.conditions
            .iter()
            .filter_map(|outcome| Some((outcome.rule, outcome.result.as_ref().err()?.as_str())))
    }
}

impl RuleId {
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
