//! What both policy sets say, route by route, in a form in which the one can be compared with the other.

use super::super::declaration::{AskedRoles, Effect, Fingerprint};
use super::super::pattern::{Pattern, Route, Segment};
use super::super::{PolicySet, Rule};
use super::subjects::{SubjectSet, Subjects};
use crate::request::MethodSet;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

/// The policy sets by their numbers.
pub(super) const OLD: usize = 0;
pub(super) const NEW: usize = 1;

/// A rule that has a say.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Said<'r> {
    /// Its place in its policy set.
    pub(in super::super) number: u32,
    pub(in super::super) rule: &'r Rule,
    /// Whether its condition, if it has one, is open. Otherwise the rule stands as if it had none.
    pub(in super::super) is_open: bool,
}

/// One route of one rule.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// [`OLD`] or [`NEW`].
    pub(super) side: usize,
    /// The rule's place in its policy set.
    pub(super) rule: u32,
    pub(super) effect: Effect,
    /// Whom it is about: a number in [`Claims::holders`].
    pub(super) holders: u32,
    pub(super) methods: MethodSet,
    /// A number in [`Claims::conditions`].
    pub(super) condition: Option<u32>,
    /// Whether the other policy set does not say the same.
    pub(super) is_changed: bool,
}

/// A condition, as far as its answers can differ.
#[derive(PartialEq, Eq, Hash)]
struct ConditionKey {
    digest: [u8; 32],
    /// The names and places of the route's parameters, when the condition can ask for them.
    parameters: Vec<(Arc<str>, usize)>,
    asked: AskedRoles,
}

/// All that has a say on whom a claim is about and when.
#[derive(PartialEq, Eq, Hash)]
struct ClaimKey {
    effect: Effect,
    holders: u32,
    methods: MethodSet,
    pattern: u32,
    condition: Option<u32>,
    except: Arc<[(u32, MethodSet)]>,
}

/// What a pattern stands for.
#[derive(Default)]
pub(super) struct Uses {
    /// Claims that are about its paths.
    pub(super) claims: Vec<u32>,
    /// Rules that are not about its paths: side, rule, and for which methods.
    pub(super) exceptions: Vec<(usize, u32, MethodSet)>,
}

/// The claims of both policy sets.
pub(super) struct Claims {
    pub(super) all: Vec<Claim>,
    /// All patterns, those that differ only in names once.
    pub(super) patterns: Vec<Pattern>,
    /// What each pattern stands for.
    pub(super) uses: Vec<Uses>,
    pub(super) holders: Vec<SubjectSet>,
    /// Of each condition, for whom it can answer differently in either policy set.
    pub(super) shifted: Vec<SubjectSet>,
    /// Of each pattern, the rule that has it first.
    pub(super) first: Vec<(usize, u32)>,
}

/// Gives each value a number, equal values the same.
struct Numbers<T>(HashMap<T, u32>);

#[derive(Default)]
struct Collector {
    claims: Vec<Claim>,
    keys: Vec<ClaimKey>,
    /// Without names.
    patterns: Numbers<Pattern>,
    shown: Vec<Pattern>,
    first: Vec<(usize, u32)>,
    uses: Vec<Uses>,
    holders: Numbers<SubjectSet>,
    conditions: Numbers<ConditionKey>,
    prints: Vec<Fingerprint>,
}

impl Claims {
    pub(super) fn new(subjects: &Subjects, old: &PolicySet, new: &PolicySet) -> Self {
        let mut collector = Collector::default();
        for (side, policies) in [(OLD, old), (NEW, new)] {
            for (number, rule) in (0..).zip(policies.rules()) {
                let holders = subjects.of_rule(side, rule);
                collector.add_rule(side, &Said { number, rule, is_open: true }, holders);
            }
        }
        Self::of(collector, subjects)
    }

    /// The claims of two sides, all of which are about every subject; as changed count those alone by which the new
    /// side can gain something.
    pub(super) fn between(subjects: &Subjects, old: &[Said<'_>], new: &[Said<'_>]) -> Self {
        let mut collector = Collector::default();
        for (side, said) in [(OLD, old), (NEW, new)] {
            said.iter().for_each(|said| collector.add_rule(side, said, subjects.of(|_| true)));
        }
        let mut claims = Self::of(collector, subjects);
        // Nothing is gained where the old side alone allows, or the new one alone denies.
        for claim in &mut claims.all {
            let can_gain = matches!((claim.side, claim.effect), (OLD, Effect::Deny) | (NEW, Effect::Allow));
            claim.is_changed &= can_gain;
        }
        claims
    }

    fn of(mut collector: Collector, subjects: &Subjects) -> Self {
        let shifted: Vec<SubjectSet> =
            collector.prints.iter().map(|print| subjects.shifted_for(print)).collect();
        collector.mark_changes(&shifted);
        Self {
            all: collector.claims,
            patterns: collector.shown,
            uses: collector.uses,
            holders: collector.holders.into_values(),
            shifted,
            first: collector.first,
        }
    }

    /// Each pattern, and whether a claim about it differs.
    pub(super) fn marked_patterns(&self) -> impl Iterator<Item = (&Pattern, bool)> {
        let is_changed = |claim: &u32| self.all.get(*claim as usize).is_some_and(|claim| claim.is_changed);
        self.patterns
            .iter()
            .zip(&self.uses)
            .map(move |(pattern, uses)| (pattern, uses.claims.iter().any(is_changed)))
    }
}

impl Collector {
    fn add_rule(&mut self, side: usize, said: &Said<'_>, holders: SubjectSet) {
        let Said { number, rule, is_open } = *said;
        let holders = self.holders.of(holders);
        let mut except: Vec<(u32, MethodSet)> = Vec::new();
        for route in &rule.except {
            let pattern = self.pattern(route, side, number);
            except.push((pattern, route.methods));
            if let Some(uses) = self.uses.get_mut(pattern as usize) {
                uses.exceptions.push((side, number, route.methods));
            }
        }
        except.sort_unstable();
        except.dedup();
        let except: Arc<[_]> = except.into();
        for route in &rule.routes {
            let pattern = self.pattern(route, side, number);
            let condition = if is_open { self.condition(rule, route) } else { None };
            let (effect, methods) = (rule.effect, route.methods);
            if let Some(uses) = self.uses.get_mut(pattern as usize) {
                uses.claims.push(u32::try_from(self.claims.len()).unwrap_or(u32::MAX));
            }
            self.keys.push(ClaimKey {
                effect,
                holders,
                methods,
                pattern,
                condition,
                except: Arc::clone(&except),
            });
            self.claims.push(Claim {
                side,
                rule: number,
                effect,
                holders,
                methods,
                condition,
                is_changed: false,
            });
        }
    }

    fn pattern(&mut self, route: &Route, side: usize, rule: u32) -> u32 {
        let number = self.patterns.of(route.pattern.unnamed());
        if self.uses.len() <= number as usize {
            self.uses.push(Uses::default());
            self.shown.push(route.pattern.clone());
            self.first.push((side, rule));
        }
        number
    }

    fn condition(&mut self, rule: &Rule, route: &Route) -> Option<u32> {
        let print = rule.condition.as_ref()?.fingerprint();
        let parameters = if print.asks_params { route.pattern.parameters() } else { Vec::new() };
        let key = ConditionKey { digest: print.digest, parameters, asked: print.asked.clone() };
        let number = self.conditions.of(key);
        if self.prints.len() <= number as usize {
            self.prints.push(print.clone());
        }
        Some(number)
    }

    fn mark_changes(&mut self, shifted: &[SubjectSet]) {
        let keys = |side: usize| -> HashSet<&ClaimKey> {
            let both = self.keys.iter().zip(&self.claims);
            both.filter(|(_, claim)| claim.side == side).map(|(key, _)| key).collect()
        };
        let others = [keys(NEW), keys(OLD)];
        let is_changed = |(key, claim): (&ClaimKey, &Claim)| {
            let is_shifted = claim.condition.and_then(|number| shifted.get(number as usize));
            let is_shifted = is_shifted.is_some_and(|subjects| !subjects.is_empty());
            is_shifted || !others.get(claim.side).is_some_and(|keys| keys.contains(key))
        };
        let changed: Vec<bool> = self.keys.iter().zip(&self.claims).map(is_changed).collect();
        for (claim, is_changed) in self.claims.iter_mut().zip(changed) {
            claim.is_changed = is_changed;
        }
    }
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Eq + Hash> Numbers<T> {
    fn of(&mut self, value: T) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(value).or_insert(next)
    }

    fn into_values(self) -> Vec<T> {
        let mut values: Vec<_> = self.0.into_iter().collect();
        values.sort_unstable_by_key(|(_, number)| *number);
        values.into_iter().map(|(value, _)| value).collect()
    }
}

impl Pattern {
    /// The same set of paths, without names.
    pub(super) fn unnamed(&self) -> Self {
        let segment = |segment: &Segment| match segment {
            Segment::Any(_) => Segment::Any(None),
            Segment::Literal(text) => Segment::Literal(Arc::clone(text)),
        };
        Self { segments: self.segments.iter().map(segment).collect(), below: self.below }
    }

    fn parameters(&self) -> Vec<(Arc<str>, usize)> {
        let numbered = self.segments.iter().zip(0..);
        let named = numbered.filter_map(|(segment, at)| match segment {
            Segment::Any(Some(name)) => Some((Arc::clone(name), at)),
            _ => None,
        });
        let mut named: Vec<_> = named.collect();
        named.sort();
        named
    }
}
