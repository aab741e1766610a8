//! Rules that can never decide, because others decide all of their requests.
//!
//! Of a pattern, one path of each shape is looked at, with texts in the places of its wildcards that no pattern has.
//! A rule that covers such a path covers every path of the shape, but for its own exceptions; these are looked at
//! in the same way. So the answer is exact, and costs about a decision for most rules.

use super::index::{Part, RouteIndex, matches};
use super::{Exhausted, Warning, WarningCode, Work, Written, unfinished};
use crate::policy::declaration::{Effect, Subject};
use crate::policy::error::Location;
use crate::policy::pattern::{Pattern, Route};
use crate::policy::roles::RoleSet;
use crate::policy::{PolicySet, Rule};
use crate::request::MethodSet;
use crate::token::RoleName;
use std::collections::{BTreeSet, HashMap};

/// Exceptions within exceptions that are looked into.
const DEPTH_MAX: usize = 32;
/// The places that one message names.
const PLACES_MAX: usize = 3;

/// The rules that decide every request of another one.
type Coverers = BTreeSet<usize>;

pub(super) struct Cover<'p> {
    policies: &'p PolicySet,
    index: &'p RouteIndex,
    /// Rules that others cover; what they decide, those decide without them.
    is_covered: Vec<bool>,
    work: Work,
}

/// What is asked about: requests, and which rules may decide them instead.
#[derive(Clone, Copy)]
struct Asked<'p> {
    /// The rule itself, which does not count.
    rule: usize,
    subject: &'p Subject,
    /// Everything that holders of the rule's role hold.
    held: RoleSet,
    except: &'p [Route],
    by: By,
}

/// Which rules count as deciding.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// Those that deny.
    Denials,
    /// Also those that allow whatever role is held.
    Everyone,
    /// Also those that allow the role, or one that it includes.
    Holders,
}

pub(super) fn warnings(
    policies: &PolicySet,
    written: &Written,
    index: &RouteIndex,
    steps: u64,
) -> Vec<Warning> {
    let is_covered = vec![false; policies.rules.len()];
    let mut cover = Cover { policies, index, is_covered, work: Work::new(steps) };
    let mut warnings = cover.repeated_grants();
    let mut covered = Vec::new();
    let outcome = cover.declared_rules(&mut covered).and_then(|()| cover.permissions(&mut covered));
    if outcome.is_err() {
        warnings.push(unfinished(WarningCode::CoveredRule, "rules"));
    }
    cover.work = Work::new(steps);
    match cover.emptied_roles(written) {
        Ok(emptied) => {
            let is_told = |covered: &(usize, Location, Coverers)| {
                let subject = cover.policies.rules.get(covered.0).map(|rule| &rule.subject);
                emptied
                    .iter()
                    .any(|(role, _)| subject.is_some_and(|subject| *subject == Subject::Role(role.clone())))
            };
            covered.retain(|covered| !is_told(covered));
            warnings.extend(emptied.into_iter().map(|(_, warning)| warning));
        }
        Err(Exhausted) => warnings.push(unfinished(WarningCode::EmptiedRole, "roles")),
    }
    // A loop makes many rules in one place; the first of them is told, and how many there are.
    covered.sort_by(|(one, one_at, _), (other, other_at, _)| (one_at, one).cmp(&(other_at, other)));
    for same in covered.chunk_by(|(_, one, _), (_, other, _)| one == other) {
        let Some((rule, location, by)) = same.first() else { continue };
        warnings.extend(cover.tell(*rule, location, by, same.len() - 1));
    }
    warnings
}

impl<'p> Cover<'p> {
    /// Grants of a permission that the role has already, directly or by a role that it includes.
    fn repeated_grants(&mut self) -> Vec<Warning> {
        let mut grants: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, rule) in self.policies.rules.iter().enumerate() {
            if let Some(permission) = &rule.permission {
                grants.entry(permission).or_default().push(at);
            }
        }
        let mut warnings = Vec::new();
        for granted in grants.values() {
            for at in granted.iter().rev() {
                let Some(rule) = self.policies.rules.get(*at) else { continue };
                let held = self.held(&rule.subject);
                let has_already = |other: &usize| {
                    other != at
                        && self.is_covered.get(*other) == Some(&false)
                        && self
                            .policies
                            .rules
                            .get(*other)
                            .and_then(|rule| rule.holder)
                            .is_some_and(|role| held.contains(role))
                };
                let Some(other) = granted.iter().copied().find(has_already) else { continue };
                warnings.extend(self.repeated_grant(rule, other));
                self.cover(*at);
            }
        }
        warnings
    }

    fn repeated_grant(&self, rule: &Rule, other: usize) -> Option<Warning> {
        let (permission, Subject::Role(role)) = (rule.permission.as_deref()?, &rule.subject) else {
            return None;
        };
        let other = self.policies.rules.get(other)?;
        let message = match &other.subject {
            Subject::Role(included) if included != role => {
                format!("the role `{role}` has the permission `{permission}` by including `{included}`")
            }
            _ => format!("the role `{role}` is granted the permission `{permission}` twice"),
        };
        let warning = Warning::new(WarningCode::CoveredRule, &rule.location, message).about(permission);
        Some(warning.with_help(format!("delete it here: it is granted at {}", other.location)))
    }

    /// From the last to the first, so that of two equal rules the later one is told, and all that are told could be
    /// deleted together.
    fn declared_rules(&mut self, covered: &mut Vec<(usize, Location, Coverers)>) -> Result<(), Exhausted> {
        for (at, rule) in self.policies.rules.iter().enumerate().rev() {
            if rule.permission.is_some() {
                continue;
            }
            let asked = self.asked(at, rule, By::Holders);
            if let Some(by) = self.coverers(&asked, rule)? {
                self.cover(at);
                covered.push((at, rule.location.clone(), by));
            }
        }
        Ok(())
    }

    /// Permissions overlap, and are asked for by name. So of those that roles are granted, only what makes them
    /// worth nothing to anybody is told, and once.
    fn permissions(&mut self, covered: &mut Vec<(usize, Location, Coverers)>) -> Result<(), Exhausted> {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for (at, rule) in self.policies.rules.iter().enumerate() {
            let Some(permission) = rule.permission.as_deref() else { continue };
            if rule.routes.is_empty() || !seen.insert(permission) {
                continue;
            }
            let asked = self.asked(at, rule, By::Everyone);
            if let Some(by) = self.coverers(&asked, rule)?
                && let Some(declared) = self.policies.permission(permission)
            {
                covered.push((at, declared.location.clone(), by));
            }
        }
        Ok(())
    }

    /// Roles that could do something, if denials did not take all of it; each with its warning.
    fn emptied_roles(&mut self, written: &Written) -> Result<Vec<(RoleName, Warning)>, Exhausted> {
        let denies = |rule: &Rule| rule.effect == Effect::Deny && rule.condition.is_none();
        if !self.policies.rules.iter().any(denies) {
            return Ok(Vec::new());
        }
        // Of each role, the denials that take all of its own rules; `None` when something is left.
        let mut denied: HashMap<&str, Option<Coverers>> = HashMap::new();
        let mut of_permissions: HashMap<&str, Option<Coverers>> = HashMap::new();
        for (at, rule) in self.policies.rules.iter().enumerate() {
            let Subject::Role(role) = &rule.subject else { continue };
            let known = denied.entry(role.as_str()).or_insert_with(|| Some(Coverers::new()));
            if rule.routes.is_empty() || known.is_none() {
                continue;
            }
            let asked = self.asked(at, rule, By::Denials);
            let by = match rule.permission.as_deref() {
                Some(permission) if of_permissions.contains_key(permission) => {
                    of_permissions.get(permission).cloned().flatten()
                }
                Some(permission) => {
                    let by = self.coverers(&asked, rule)?;
                    of_permissions.insert(permission, by.clone());
                    by
                }
                None => self.coverers(&asked, rule)?,
            };
            match (known, by) {
                (Some(known), Some(by)) => known.extend(by),
                (known, _) => *known = None,
            }
        }
        let mut emptied = Vec::new();
        for (role, _) in &written.roles {
            let held = self.policies.roles.effective(std::slice::from_ref(role));
            let is_left = denied.iter().any(|(other, by)| {
                by.is_none() && self.policies.roles.find(other).is_some_and(|other| held.contains(other))
            });
            let Some(Some(by)) = denied.get(role.as_str()) else { continue };
            let Some(first) = by.first().and_then(|first| self.policies.rules.get(*first)) else { continue };
            if is_left {
                continue;
            }
            let message = format!("this denial leaves the role `{role}` nothing of what it is allowed");
            let more: Coverers = by.iter().skip(1).copied().collect();
            let help = if more.is_empty() {
                "carve out with `except` what the role may do, or delete the role".to_owned()
            } else {
                format!(
                    "so do, with it, {}: carve out with `except` what the role may do",
                    self.places(&more)
                )
            };
            let warning = Warning::new(WarningCode::EmptiedRole, &first.location, message).with_help(help);
            emptied.push((role.clone(), warning));
        }
        Ok(emptied)
    }

    fn held(&self, subject: &Subject) -> RoleSet {
        match subject {
            Subject::Role(role) => self.policies.roles.effective(std::slice::from_ref(role)),
            Subject::Anyone | Subject::Authenticated => RoleSet::EMPTY,
        }
    }

    fn asked(&self, at: usize, rule: &'p Rule, by: By) -> Asked<'p> {
        let by = if rule.effect == Effect::Deny { By::Denials } else { by };
        Asked { rule: at, subject: &rule.subject, held: self.held(&rule.subject), except: &rule.except, by }
    }

    fn cover(&mut self, rule: usize) {
        if let Some(covered) = self.is_covered.get_mut(rule) {
            *covered = true;
        }
    }

    /// The rules that decide every request of this one; `None` when there is a request that they do not.
    fn coverers(&mut self, asked: &Asked<'p>, rule: &'p Rule) -> Result<Option<Coverers>, Exhausted> {
        let mut by = Coverers::new();
        for route in &rule.routes {
            if !self.covers(asked, &route.pattern, route.methods, &mut by, 0)? {
                return Ok(None);
            }
        }
        Ok(Some(by))
    }

    fn covers(
        &mut self,
        asked: &Asked<'p>,
        pattern: &Pattern,
        methods: MethodSet,
        by: &mut Coverers,
        depth: usize,
    ) -> Result<bool, Exhausted> {
        if depth > DEPTH_MAX {
            return Err(Exhausted);
        }
        for shape in self.index.shapes(pattern) {
            let mut rest = methods.without(excepted(asked.except, &shape, methods));
            let mut deciding = Vec::new();
            let mut found = Vec::new();
            self.index.matching(&shape, &mut self.work, &mut |entry| found.push(entry))?;
            for entry in found {
                let Some(rule) = self.policies.rules.get(entry.rule) else { continue };
                let own = entry.methods.common(rest);
                if own.is_empty() || !self.counts(asked, entry.rule, rule) {
                    continue;
                }
                self.work.spend(rule.except.len())?;
                let decided = own.without(excepted(&rule.except, &shape, own));
                if !decided.is_empty() {
                    deciding.push((rule.except.len(), entry.rule, decided));
                }
            }
            // Those without exceptions first: there is nothing more to look at.
            deciding.sort_unstable_by_key(|(exceptions, rule, _)| (*exceptions, *rule));
            for (_, rule, decided) in deciding {
                let taken = decided.common(rest);
                if taken.is_empty() {
                    continue;
                }
                rest = rest.without(taken);
                by.insert(rule);
                if !self.covers_exceptions(asked, (pattern, rule, taken), by, depth)? {
                    return Ok(false);
                }
            }
            if !rest.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether others decide what the rule leaves to them by its exceptions.
    fn covers_exceptions(
        &mut self,
        asked: &Asked<'p>,
        (pattern, rule, methods): (&Pattern, usize, MethodSet),
        by: &mut Coverers,
        depth: usize,
    ) -> Result<bool, Exhausted> {
        let Some(rule) = self.policies.rules.get(rule) else { return Ok(true) };
        for except in &rule.except {
            self.work.spend(1)?;
            let methods = except.methods.common(methods);
            if let Some(left) = except.pattern.meet(pattern).filter(|_| !methods.is_empty())
                && !self.covers(asked, &left, methods, by, depth + 1)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn counts(&self, asked: &Asked<'_>, at: usize, rule: &Rule) -> bool {
        if at == asked.rule || rule.condition.is_some() || self.is_covered.get(at) == Some(&true) {
            return false;
        }
        match (rule.effect, &rule.subject) {
            (Effect::Deny, _) => true,
            (Effect::Allow, _) if asked.by == By::Denials => false,
            (Effect::Allow, Subject::Anyone) => true,
            (Effect::Allow, Subject::Authenticated) => *asked.subject != Subject::Anyone,
            (Effect::Allow, Subject::Role(_)) => {
                asked.by == By::Holders && rule.holder.is_some_and(|role| asked.held.contains(role))
            }
        }
    }

    fn tell(&self, at: usize, location: &Location, by: &Coverers, more: usize) -> Option<Warning> {
        let rule = self.policies.rules.get(at)?;
        let what = match &rule.permission {
            Some(permission) => format!("the permission `{permission}`"),
            None => "the rule".to_owned(),
        };
        let mut warning = if by.is_empty() {
            let message = "the rule is about no request: its `except` takes out all of it";
            Warning::new(WarningCode::EmptyRule, location, message)
                .with_help("delete the rule, or carve out less")
        } else {
            let denials = by
                .iter()
                .filter(|at| self.policies.rules.get(**at).is_some_and(|rule| rule.effect == Effect::Deny));
            let places = self.places(by);
            let (message, help) = match (rule.effect, denials.count()) {
                (Effect::Deny, _) => (
                    format!("{what} can never decide: all that it is about is denied already"),
                    format!("delete it: {places} denies the same"),
                ),
                (Effect::Allow, 0) => (
                    format!("{what} can never decide: whoever it is about may do all of it already"),
                    format!("delete it, or what allows more than is meant, at {places}"),
                ),
                (Effect::Allow, count) if count == by.len() => (
                    format!("{what} allows nothing: all that it is about is denied"),
                    format!("delete it, or carve it out with `except` of the denial at {places}"),
                ),
                (Effect::Allow, _) => (
                    format!("{what} can never decide: all that it is about is denied or allowed already"),
                    format!("delete it, or change what decides at {places}"),
                ),
            };
            Warning::new(WarningCode::CoveredRule, location, message).with_help(help)
        };
        if more > 0 {
            let same = format!(" (the same goes for {more} more that are made here)");
            warning.problem.message.push_str(&same);
        }
        match (&rule.permission, &*rule.routes) {
            (Some(permission), _) => warning = warning.about(permission),
            (None, [only]) => warning = warning.about(only.as_str()),
            (None, _) => {}
        }
        Some(warning)
    }

    /// Where these rules stand.
    fn places(&self, rules: &Coverers) -> String {
        let places: Vec<String> = rules
            .iter()
            .take(PLACES_MAX)
            .filter_map(|at| self.policies.rules.get(*at))
            .map(|rule| rule.location.to_string())
            .collect();
        let more = rules.len().saturating_sub(PLACES_MAX);
        let places = places.join(", ");
        if more > 0 { format!("{places} and {more} more") } else { places }
    }
}

/// The methods among these for which one of the exceptions matches.
fn excepted(except: &[Route], shape: &[Part<'_>], methods: MethodSet) -> MethodSet {
    let mut excepted = MethodSet::NONE;
    for route in except {
        if route.methods.intersects(methods) && matches(&route.pattern, shape) {
            excepted |= route.methods;
        }
    }
    excepted
}
