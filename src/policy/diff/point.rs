//! Compares what both policy sets say about one class of paths.

use super::super::declaration::Effect;
use super::super::space::PathClass;
use super::Change;
use super::claims::{Claim, Claims, NEW, OLD};
use super::subjects::{SubjectSet, Subjects};
use crate::request::MethodSet;
use std::collections::{BTreeMap, BTreeSet};

/// A claim with the methods for which it has a say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Active {
    pub(super) claim: u32,
    pub(super) methods: MethodSet,
}

/// A change for these subjects and methods.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) change: Change,
    pub(super) methods: MethodSet,
    pub(super) subjects: SubjectSet,
}

/// What one policy set says about some methods and a class of paths, by subjects.
struct Side<'c> {
    claims: Vec<&'c Claim>,
    allow_sure: SubjectSet,
    allow_any: SubjectSet,
    deny_sure: SubjectSet,
    denied: SubjectSet,
    allowed: SubjectSet,
    open: SubjectSet,
}

/// The conditions that decide about one subject.
struct Conditions {
    /// `None` when something allows without a condition.
    allow: Option<BTreeSet<u32>>,
    deny: BTreeSet<u32>,
}

impl Claims {
    /// The claims that have a say about a class.
    pub(super) fn active(&self, class: &PathClass) -> Vec<Active> {
        let uses = || class.matching().filter_map(|pattern| self.uses.get(pattern));
        let mut excluded: BTreeMap<(usize, u32), MethodSet> = BTreeMap::new();
        for (side, rule, methods) in uses().flat_map(|uses| &uses.exceptions) {
            *excluded.entry((*side, *rule)).or_default() |= *methods;
        }
        let claims = uses().flat_map(|uses| &uses.claims).filter_map(|number| {
            let claim = self.claim(*number)?;
            let excluded = excluded.get(&(claim.side, claim.rule)).copied().unwrap_or_default();
            let methods = claim.methods.without(excluded);
            (!methods.is_empty()).then_some(Active { claim: *number, methods })
        });
        claims.collect()
    }

    pub(super) fn claim(&self, number: u32) -> Option<&Claim> {
        self.all.get(number as usize)
    }

    /// What differs between both policy sets where these claims, and no others, have a say.
    pub(super) fn compare(&self, subjects: &Subjects, active: &[Active]) -> Vec<Finding> {
        let mut by_claims: BTreeMap<Vec<u32>, MethodSet> = BTreeMap::new();
        for name in MethodSet::ANY.names() {
            let method = MethodSet::of(name);
            let claims = active.iter().filter(|active| active.methods.contains(method));
            *by_claims.entry(claims.map(|active| active.claim).collect()).or_default() |= method;
        }
        let mut findings: BTreeMap<(Change, SubjectSet), MethodSet> = BTreeMap::new();
        for (numbers, methods) in by_claims {
            let claims: Vec<&Claim> = numbers.iter().filter_map(|number| self.claim(*number)).collect();
            // Where all claims are in both, nothing differs.
            if claims.iter().any(|claim| claim.is_changed) {
                for (change, who) in self.changes(subjects, &claims) {
                    *findings.entry((change, who)).or_default() |= methods;
                }
            }
        }
        let findings = findings.into_iter();
        findings.map(|((change, subjects), methods)| Finding { change, methods, subjects }).collect()
    }

    fn changes(&self, subjects: &Subjects, claims: &[&Claim]) -> Vec<(Change, SubjectSet)> {
        let [old, new] = [OLD, NEW].map(|side| self.side(subjects, claims, side));
        let mut changes = vec![
            (Change::Gains, old.denied.and(&new.allowed)),
            (Change::GainsConditionally, old.denied.and(&new.open)),
            (Change::Widens, old.open.and(&new.allowed)),
            (Change::Narrows, old.allowed.and(&new.open)),
            (Change::Loses, new.denied.without(&old.denied)),
        ];
        for subject in old.open.and(&new.open).iter() {
            let (before, after) = (self.conditions(&old, subject), self.conditions(&new, subject));
            if let Some(change) = self.conditional_change(&before, &after, subject)
                && let Some((_, set)) = changes.iter_mut().find(|(known, _)| *known == change)
            {
                set.insert(subject);
            }
        }
        let gaining = changes.iter().filter(|(change, _)| change.is_gain());
        let gaining = gaining.fold(subjects.none(), |all, (_, set)| all.with(set));
        changes.push((Change::WithOtherRoles, self.with_other_roles(subjects, &old, &new).without(&gaining)));
        changes.retain(|(_, set)| !set.is_empty());
        changes
    }

    fn side<'c>(&self, subjects: &Subjects, claims: &[&'c Claim], side: usize) -> Side<'c> {
        let claims: Vec<&Claim> = claims.iter().filter(|claim| claim.side == side).copied().collect();
        let of = |effect: Effect, is_conditional: bool| {
            let claims = claims
                .iter()
                .filter(|claim| claim.effect == effect && claim.condition.is_some() == is_conditional);
            let holders = claims.filter_map(|claim| self.holders.get(claim.holders as usize));
            holders.fold(subjects.none(), |all, set| all.with(set))
        };
        let (allow_sure, deny_sure) = (of(Effect::Allow, false), of(Effect::Deny, false));
        let allow_any = allow_sure.with(&of(Effect::Allow, true));
        let reached = allow_any.without(&deny_sure);
        let allowed = allow_sure.without(&deny_sure).without(&of(Effect::Deny, true));
        let open = reached.without(&allowed);
        let denied = subjects.of(|_| true).without(&reached);
        Side { claims, allow_sure, allow_any, deny_sure, denied, allowed, open }
    }

    fn conditions(&self, side: &Side<'_>, subject: usize) -> Conditions {
        let of = |effect: Effect| {
            let claims =
                side.claims.iter().filter(|claim| claim.effect == effect && self.is_about(claim, subject));
            claims.filter_map(|claim| claim.condition).collect()
        };
        let allow = (!side.allow_sure.contains(subject)).then(|| of(Effect::Allow));
        Conditions { allow, deny: of(Effect::Deny) }
    }

    /// How access that conditions decide about has changed. It has become narrower only when every request that is
    /// allowed now was allowed before, whatever the conditions say.
    fn conditional_change(&self, old: &Conditions, new: &Conditions, subject: usize) -> Option<Change> {
        let is_within = |inner: &BTreeSet<u32>, outer: &BTreeSet<u32>| {
            inner.iter().all(|number| outer.contains(number) && !self.is_shifted(*number, subject))
        };
        let allows_less = match (&old.allow, &new.allow) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(old), Some(new)) => is_within(new, old),
        };
        let allows_more = match (&old.allow, &new.allow) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(old), Some(new)) => is_within(old, new),
        };
        let (denies_more, denies_less) = (is_within(&old.deny, &new.deny), is_within(&new.deny, &old.deny));
        if !(allows_less && denies_more) {
            Some(Change::Widens)
        } else if allows_more && denies_less {
            None
        } else {
            Some(Change::Narrows)
        }
    }

    /// Who holds other roles than before, for which a condition of both policy sets asks: beside another role that
    /// is allowed something, they can lift a denial or meet a condition. A condition that only one of them has is
    /// told as a change for those whom it is about.
    fn with_other_roles(&self, subjects: &Subjects, old: &Side<'_>, new: &Side<'_>) -> SubjectSet {
        if old.allow_any.is_empty() || new.allow_any.is_empty() {
            return subjects.none();
        }
        let before: BTreeSet<u32> = old.claims.iter().filter_map(|claim| claim.condition).collect();
        let after = new.claims.iter().filter_map(|claim| claim.condition);
        let shifted = after.filter(|number| before.contains(number));
        let shifted = shifted.filter_map(|number| self.shifted.get(number as usize));
        let shifted = shifted.fold(subjects.none(), |all, set| all.with(set));
        shifted.without(&old.deny_sure.with(&new.deny_sure))
    }

    fn is_about(&self, claim: &Claim, subject: usize) -> bool {
        self.holders.get(claim.holders as usize).is_some_and(|holders| holders.contains(subject))
    }

    /// Whether the condition can answer differently in either policy set.
    fn is_shifted(&self, condition: u32, subject: usize) -> bool {
        self.shifted.get(condition as usize).is_some_and(|shifted| shifted.contains(subject))
    }

    /// The rules by which a change comes about, of the old policy set and of the new one.
    pub(super) fn responsible(&self, active: &[Active], finding: &Finding) -> [BTreeSet<u32>; 2] {
        let has_say = |claim: &Claim| match finding.change {
            Change::WithOtherRoles => claim.condition.is_some_and(|number| {
                finding.subjects.iter().any(|subject| self.is_shifted(number, subject))
            }),
            _ => finding.subjects.iter().any(|subject| self.is_about(claim, subject)),
        };
        let claims = active.iter().filter(|active| active.methods.intersects(finding.methods));
        let claims: Vec<&Claim> =
            claims.filter_map(|active| self.claim(active.claim)).filter(|claim| has_say(claim)).collect();
        let of = |side: usize, effect: Effect| {
            let claims = claims.iter().filter(move |claim| claim.side == side && claim.effect == effect);
            claims.copied()
        };
        let changed = |side: usize, effect: Effect| of(side, effect).filter(|claim| claim.is_changed);
        let conditional = |side, effect| changed(side, effect).filter(|claim| claim.condition.is_some());
        let rules = |claims: &mut dyn Iterator<Item = &Claim>| claims.map(|claim| claim.rule).collect();
        use Effect::{Allow, Deny};
        match finding.change {
            Change::Gains | Change::GainsConditionally | Change::Widens => {
                let old = rules(&mut changed(OLD, Deny).chain(conditional(OLD, Allow)));
                let mut new: BTreeSet<u32> = rules(&mut changed(NEW, Allow).chain(conditional(NEW, Deny)));
                if new.is_empty() {
                    new = rules(&mut of(NEW, Allow));
                }
                [old, new]
            }
            Change::Loses => [rules(&mut changed(OLD, Allow)), rules(&mut changed(NEW, Deny))],
            Change::Narrows | Change::WithOtherRoles => {
                [OLD, NEW].map(|side| rules(&mut changed(side, Allow).chain(changed(side, Deny))))
            }
        }
    }
}
