//! The decision on one request: one walk over the table, and then the conditions that can still change the answer.

use super::declaration::{ConditionInput, Effect, EffectiveRoles};
use super::roles::{Held, RoleSet};
use super::table::{Asker, Row, RowKind};
use super::{PolicySet, Rule};
use crate::decision::{ConditionOutcome, Decision, Denial, RuleId, Verdict};
use crate::request::{MethodSet, Request};
use crate::time::Timestamp;
use crate::token::Principal;
use smallvec::SmallVec;
use std::sync::Arc;

/// So many conditions are about one request without an allocation for the list of them.
const CONDITIONS_INLINE: usize = 8;

/// What the walk finds: the first rules that decide by themselves, and all conditions that may have a say.
#[derive(Default)]
struct Found {
    allow: Option<u32>,
    deny: Option<u32>,
    conditional: SmallVec<[Conditional; CONDITIONS_INLINE]>,
}

/// A rule with a condition, and by which route it is about the request.
#[derive(Clone, Copy)]
struct Conditional {
    rule: u32,
    route: u32,
    effect: Effect,
}

/// Everything that conditions of one decision are evaluated with.
struct Scene<'a> {
    policies: &'a PolicySet,
    principal: Option<&'a Principal>,
    held: &'a RoleSet,
    request: &'a Request,
    now: Timestamp,
}

impl PolicySet {
    /// Decides a request of a principal, or of nobody.
    pub fn decide(&self, principal: Option<&Principal>, request: &Request, now: Timestamp) -> Decision {
        let held = principal.map_or(Held::One(&RoleSet::EMPTY), |known| self.roles.held(&known.roles));
        let held = held.set();
        let method = MethodSet::of(request.method().as_str());
        let asker = Asker { is_authenticated: principal.is_some(), held, method };
        let mut found = Found::default();
        self.table.walk(&asker, request.path(), &mut |row| found.add(&self.rules, row, method, request));

        let mut conditions = Vec::new();
        let verdict = if let Some(rule) = found.deny {
            Verdict::Deny(Denial::Rule(RuleId(rule)))
        } else if found.conditional.is_empty() {
            found.allow.map_or(Verdict::Deny(Denial::NoRule), |rule| Verdict::Allow(RuleId(rule)))
        } else {
            // Conditions are asked in the order of their rules.
            found.conditional.sort_unstable_by_key(|conditional| (conditional.rule, conditional.route));
            Scene { policies: self, principal, held, request, now }.decide(&found, &mut conditions)
        };
        Decision { verdict, conditions, policy: self.version, at: now }
    }
}

impl Found {
    fn add(&mut self, rules: &[Rule], row: &Row, method: MethodSet, request: &Request) {
        let effect = match row.kind {
            RowKind::Deny => Effect::Deny,
            RowKind::Allow => Effect::Allow,
            RowKind::Guarded => {
                let Some(rule) = rules.get(row.rule as usize) else { return };
                if rule.carves_out(method, request.path()) {
                    return;
                }
                if rule.is_conditional() {
                    let (rule, route, effect) = (row.rule, row.route, rule.effect);
                    self.conditional.push(Conditional { rule, route, effect });
                    return;
                }
                rule.effect
            }
        };
        let first = match effect {
            Effect::Allow => &mut self.allow,
            Effect::Deny => &mut self.deny,
        };
        *first = Some(first.map_or(row.rule, |known| known.min(row.rule)));
    }

    fn of(&self, effect: Effect) -> impl Iterator<Item = &Conditional> {
        self.conditional.iter().filter(move |conditional| conditional.effect == effect)
    }
}

impl Scene<'_> {
    /// Decides where conditions have a say: those that could allow, as long as nothing does; then those
    /// that could lift a denial. No other is evaluated, for no other could change the answer.
    fn decide(&self, found: &Found, outcomes: &mut Vec<ConditionOutcome>) -> Verdict {
        let allow = found.allow.or_else(|| {
            let mut allowing = found.of(Effect::Allow);
            allowing.find(|conditional| self.holds(conditional, outcomes)).map(|allowing| allowing.rule)
        });
        let Some(allow) = allow else { return Verdict::Deny(Denial::NoRule) };
        let standing = found.of(Effect::Deny).find(|conditional| !self.holds(conditional, outcomes));
        standing.map_or(Verdict::Allow(RuleId(allow)), |deny| Verdict::Deny(Denial::Rule(RuleId(deny.rule))))
    }

    /// Whether the condition of the rule holds. One that fails does not.
    fn holds(&self, conditional: &Conditional, outcomes: &mut Vec<ConditionOutcome>) -> bool {
        let rule = self.policies.rules.get(conditional.rule as usize);
        let route = rule.and_then(|rule| rule.routes.get(conditional.route as usize));
        let condition = rule.and_then(|rule| rule.condition.as_ref());
        let (Some(condition), Some(route)) = (condition, route) else { return false };
        let input = ConditionInput {
            request: self.request.clone(),
            principal: self.principal.cloned(),
            roles: EffectiveRoles { table: Arc::clone(&self.policies.roles), set: *self.held },
            route: Arc::clone(route),
            now: self.now,
            reads: None,
        };
        let result = condition.evaluate(input);
        let holds = result == Ok(true);
        let (rule, route) = (RuleId(conditional.rule), conditional.route as usize);
        outcomes.push(ConditionOutcome { rule, route, result });
        holds
    }
}
