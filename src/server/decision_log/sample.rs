//! Which decisions are written of a rule that is asked often. A rule is named by its permission, or by its route as
//! the policy writes it: neither changes when lines of a policy move.

use crate::decision::Decision;
use crate::policy::PolicySet;
use crate::request::Request;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The name that stands for every rule without a sample of its own.
const ALL_OTHERS: &str = "*";

/// A rule of whose decisions only some are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// A permission, or a route as a policy writes it, or `*` for all others.
    pub rule: Arc<str>,
    /// Of so many decisions one is written.
    pub one_in: NonZeroU32,
    /// Whether denials are sampled as well. Otherwise each of them is written.
    pub denials: bool,
}

/// Chooses what is written.
#[derive(Debug, Default)]
pub(super) struct Samples {
    by_rule: HashMap<Arc<str>, Sample>,
}

#[derive(Debug)]
struct Sample {
    one_in: NonZeroU32,
    denials: bool,
    /// How many decisions there were.
    seen: AtomicU64,
}

/// What is to become of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// It is written, and stands for so many.
    Written(NonZeroU32),
    /// Another one stands for it.
    LeftOut,
}

impl Samples {
    pub(super) fn new(rules: Vec<Sampled>) -> Self {
        let sample = |sampled: Sampled| {
            let Sampled { rule, one_in, denials } = sampled;
            (rule, Sample { one_in, denials, seen: AtomicU64::new(0) })
        };
        Self { by_rule: rules.into_iter().map(sample).collect() }
    }

    /// What is to become of this decision.
    pub(super) fn choose(&self, request: &Request, decision: &Decision, policies: &PolicySet) -> Choice {
        let sample = if self.by_rule.is_empty() { None } else { self.find(request, decision, policies) };
        match sample {
            Some(sample) if decision.is_allow() || sample.denials => sample.choose(),
            _ => Choice::Written(NonZeroU32::MIN),
        }
    }

    /// The names that no rule of these policies has, sorted.
    pub(super) fn unknown(&self, policies: &PolicySet) -> Vec<Arc<str>> {
        let is_known = |name: &str| {
            name == ALL_OTHERS
                || policies.permission(name).is_some()
                || policies.rules().iter().any(|rule| rule.routes.iter().any(|route| route.as_str() == name))
        };
        let mut unknown: Vec<_> = self.by_rule.keys().filter(|name| !is_known(name)).cloned().collect();
        unknown.sort();
        unknown
    }

    fn find(&self, request: &Request, decision: &Decision, policies: &PolicySet) -> Option<&Sample> {
        let permission = policies.deciding_rule(decision).and_then(|rule| rule.permission.as_ref());
        let own = match permission {
            Some(permission) => self.by_rule.get(permission),
            None => {
                let route = policies.deciding_route(decision, request);
                route.and_then(|route| self.by_rule.get(route.as_str()))
            }
        };
        own.or_else(|| self.by_rule.get(ALL_OTHERS))
    }
}

impl Sample {
    /// One of each `one_in` decisions in a row, the very first among them. Which one of a row differs from row to row,
    /// so that requests that come in a rhythm are not all left out.
    fn choose(&self) -> Choice {
        let row_length = u64::from(self.one_in.get());
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        let (row, at) = (seen / row_length, seen % row_length);
        let chosen = if row == 0 { 0 } else { scatter(row) % row_length };
        if at == chosen { Choice::Written(self.one_in) } else { Choice::LeftOut }
    }
}

/// A number that looks like no other, and is the same for the same row.
const fn scatter(row: u64) -> u64 {
    let mut bits = row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(one_in: u32) -> Sample {
        Sample { one_in: NonZeroU32::new(one_in).unwrap(), denials: false, seen: AtomicU64::new(0) }
    }

    /// Which of so many decisions are written.
    fn written(one_in: u32, decisions: usize) -> Vec<usize> {
        let sample = sample(one_in);
        (0..decisions).filter(|_| sample.choose() != Choice::LeftOut).collect()
    }

    #[test]
    fn one_of_each_row_is_written_and_the_first_of_all() {
        assert_eq!(written(1, 5), [0, 1, 2, 3, 4]);
        for one_in in [2, 10, 97] {
            let written = written(one_in, one_in as usize * 50);
            assert_eq!(written.len(), 50);
            assert_eq!(written[0], 0);
            for (row, at) in written.iter().enumerate() {
                assert_eq!(at / one_in as usize, row, "one of each row");
            }
        }
    }

    #[test]
    fn rhythm_of_requests_is_not_that_of_the_sample() {
        // Of two kinds of requests that take turns, both are seen.
        let odd = written(10, 1000).iter().filter(|at| *at % 2 == 1).count();
        assert!((30..=70).contains(&odd), "{odd} of 100");
    }
}
