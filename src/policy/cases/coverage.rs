//! Coverage: what of the policies their cases exercise, and what they would not notice the loss of.

mod declared;
mod share;

pub use share::{Counts, Percent, PercentError, Share};

use super::{CaseResult, Report};
use crate::policy::compile::table_of;
use crate::policy::error::Location;
use crate::policy::roles::RoleSet;
use crate::policy::table::{Asker, RowKind, Table};
use crate::policy::{PolicySet, Rule};
use crate::request::MethodSet;
use declared::{Declared, Key};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// How much of policy files the cases exercise that were added. What a file declares counts once, however
/// many case files name it, and it is exercised when the cases of any of them do it:
///
/// - a *rule*, by a case that it decides. The roles of a `grants` are a rule each. A case that several rules
///   are about is decided by one of them, and exercises that one alone.
/// - a *route* of a rule or a permission, once for each method that it names, by a case that asks for it as
///   somebody whom the rule is about. `HEAD` does for `GET`, and any method for `ANY`.
/// - an *exception*, by a case that its rule would be about without it.
/// - a *condition*, twice: by a case for which it is true, and by one for which it is false. One that fails
///   is neither.
///
/// Cases exercise policies whether they pass or fail; a malformed request exercises nothing. What no request
/// can exercise is not counted: permissions that have no routes, or that nobody is granted.
#[derive(Debug, Default)]
pub struct Coverage {
    declared: Vec<Declared>,
    by_key: HashMap<Key, usize>,
}

/// What the cases leave out of one declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where the declaration stands.
    pub location: Location,
    /// The declaration, in words.
    pub declaration: String,
    /// What is left out; never empty.
    pub missing: Vec<Missing>,
}

/// Something that no case exercises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The declaration as a whole: no case is about it.
    Everything,
    /// Cases are about the rule, and it decides none of them.
    Decision,
    /// A route, with the methods that no case asks for.
    Route(String),
    /// An exception.
    Exception(String),
    /// That the condition is true.
    True,
    /// That the condition is false.
    False,
}

/// The declarations that a rule of one policy set belongs to.
#[derive(Clone, Copy)]
struct Slot {
    rule: usize,
    /// The rule itself, or the permission that is granted.
    routes: usize,
}

impl Coverage {
    /// Adds the cases of a report, and all that `policies` declare, for which the cases ran.
    pub fn add(&mut self, policies: &PolicySet, report: &Report<'_>) {
        let slots = self.declare(policies);
        // The table that decides leaves out what cannot; this one has every route of every rule.
        let routes = table_of(policies.rules(), |_| RowKind::Guarded);
        for result in report.results() {
            self.decide(result, &slots);
            self.ask(result, policies, &slots, &routes);
        }
    }

    /// What is exercised of all files.
    pub fn counts(&self) -> Counts {
        self.declared.iter().map(Declared::counts).sum()
    }

    /// What is exercised of each file, by name.
    pub fn files(&self) -> BTreeMap<Arc<str>, Counts> {
        let mut files: BTreeMap<Arc<str>, Counts> = BTreeMap::new();
        for declared in &self.declared {
            *files.entry(Arc::clone(&declared.location.file)).or_default() += declared.counts();
        }
        files
    }

    /// What is left out, by place.
    pub fn gaps(&self) -> Vec<Gap> {
        let mut gaps: Vec<Gap> = self.declared.iter().filter_map(Declared::gap).collect();
        gaps.sort_by(|one, other| one.location.cmp(&other.location));
        gaps
    }

    /// Everything that the policies declare and a request can exercise, each thing once. A rule that no
    /// request can meet has no slot.
    fn declare(&mut self, policies: &PolicySet) -> Vec<Option<Slot>> {
        let mut slots = Vec::with_capacity(policies.rules().len());
        let mut before: Option<(&Location, u32)> = None;
        for rule in policies.rules() {
            // Rules of one loop, or of one `grants`, stand at one place.
            let turn = match before {
                Some((location, turn)) if *location == rule.location => turn + 1,
                _ => 0,
            };
            before = Some((&rule.location, turn));
            slots.push((!rule.routes.is_empty()).then(|| self.declare_rule(rule, turn, policies)));
        }
        slots
    }

    fn declare_rule(&mut self, rule: &Rule, turn: u32, policies: &PolicySet) -> Slot {
        let key = Key::Rule(rule.location.clone(), turn);
        let slot = self.slot(key, || Declared::of_rule(rule));
        let permission = rule.permission.as_ref().and_then(|name| Some((name, policies.permission(name)?)));
        let routes = match permission {
            Some((name, permission)) => {
                let key = Key::Permission(permission.location.clone(), Arc::clone(name));
                self.slot(key, || Declared::of_permission(name, permission))
            }
            None => slot,
        };
        Slot { rule: slot, routes }
    }

    fn slot(&mut self, key: Key, declared: impl FnOnce() -> Declared) -> usize {
        *self.by_key.entry(key).or_insert_with(|| {
            self.declared.push(declared());
            self.declared.len() - 1
        })
    }

    /// Notes which rule decided a case, and what the conditions said.
    fn decide(&mut self, result: &CaseResult<'_>, slots: &[Option<Slot>]) {
        let declared = |rule: u32| slots.get(rule as usize).copied().flatten().map(|slot| slot.rule);
        if let Some(declared) = result.got.rule.and_then(|rule| declared(rule.get()))
            && let Some(declared) = self.declared.get_mut(declared)
        {
            declared.decide();
        }
        for outcome in &result.got.conditions {
            if let (Ok(answer), Some(declared)) = (&outcome.result, declared(outcome.rule.get()))
                && let Some(declared) = self.declared.get_mut(declared)
            {
                declared.answer(*answer);
            }
        }
    }

    /// Notes which routes a case asked for, and which exceptions it met.
    fn ask(&mut self, result: &CaseResult<'_>, policies: &PolicySet, slots: &[Option<Slot>], routes: &Table) {
        let Ok(request) = &result.case.request.read else { return };
        let principal = result.case.principal.principal.as_ref();
        let held = principal.map_or(RoleSet::EMPTY, |principal| policies.roles.effective(&principal.roles));
        let (method, path) = (MethodSet::of(request.method().as_str()), request.path());
        let asker = Asker { is_authenticated: principal.is_some(), held: &held, method };
        routes.walk(&asker, path, &mut |row| {
            let number = row.rule as usize;
            let (Some(rule), Some(Some(slot))) = (policies.rules().get(number), slots.get(number)) else {
                return;
            };
            if rule.carves_out(method, path) {
                if let Some(declared) = self.declared.get_mut(slot.rule) {
                    declared.meet_exceptions(method, path);
                }
                return;
            }
            for declared in [slot.rule, slot.routes] {
                if let Some(declared) = self.declared.get_mut(declared) {
                    declared.ask(row.route as usize, method);
                }
            }
        });
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.location, self.declaration)?;
        for (at, missing) in self.missing.iter().enumerate() {
            write!(f, "{}{missing}", if at > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("no case is about it"),
            Self::Decision => f.write_str("it decides no case"),
            Self::Route(route) => write!(f, "no case asks for `{route}`"),
            Self::Exception(route) => write!(f, "no case meets the exception `{route}`"),
            Self::True => f.write_str("its condition is never true"),
            Self::False => f.write_str("its condition is never false"),
        }
    }
}

#[cfg(test)]
mod tests;
