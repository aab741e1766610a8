//! Routes of rules that do nothing, and open ones where a token is expected.

use super::index::{Entry, RouteIndex};
use super::{Exhausted, Warning, WarningCode, Work, unfinished};
use crate::policy::declaration::{Effect, Subject};
use crate::policy::error::Location;
use crate::policy::pattern::{Route, Segment};
use crate::policy::{PolicySet, Rule};
use std::ops::ControlFlow;
use std::sync::Arc;

type Outcome = Result<(), Exhausted>;
type Check<'p> = fn(&mut Routes<'p>) -> Outcome;

struct Routes<'p> {
    policies: &'p PolicySet,
    index: &'p RouteIndex,
    work: Work,
    warnings: Vec<Warning>,
}

pub(super) fn warnings<'p>(policies: &'p PolicySet, index: &'p RouteIndex, steps: u64) -> Vec<Warning> {
    let mut routes = Routes { policies, index, work: Work::new(steps), warnings: Vec::new() };
    let checks: [(WarningCode, Check<'p>); 4] = [
        (WarningCode::CoveredRoute, Routes::covered_routes),
        (WarningCode::IdleExcept, Routes::idle_exceptions),
        (WarningCode::IdleUnless, Routes::idle_conditions),
        (WarningCode::OpenBelowProtected, Routes::open_below_protected),
    ];
    for (code, check) in checks {
        routes.work = Work::new(steps);
        if check(&mut routes).is_err() {
            routes.warnings.push(unfinished(code, "routes"));
        }
    }
    routes.warnings
}

impl Routes<'_> {
    /// Routes that another one of the same rule or permission contains. Of two that are equal the later one is told.
    fn covered_routes(&mut self) -> Outcome {
        let mut names: Vec<&str> = self.policies.permissions().collect();
        names.sort_unstable();
        for name in names {
            let Some(permission) = self.policies.permission(name) else { continue };
            self.covered_routes_of(&permission.routes, &permission.location)?;
        }
        for rule in self.policies.rules.iter().filter(|rule| rule.permission.is_none()) {
            self.covered_routes_of(&rule.routes, &rule.location)?;
        }
        Ok(())
    }

    fn covered_routes_of(&mut self, routes: &[Arc<Route>], location: &Location) -> Outcome {
        for (at, route) in routes.iter().enumerate() {
            self.work.spend(routes.len())?;
            let covers = |(other_at, other): &(usize, &Arc<Route>)| {
                *other_at != at
                    && other.methods.contains(route.methods)
                    && other.pattern.contains(&route.pattern)
                    && (*other_at < at || !is_same(other, route))
            };
            if let Some((_, other)) = routes.iter().enumerate().find(covers) {
                let message = if is_same(other, route) {
                    format!("`{route}` stands here twice")
                } else {
                    format!("`{route}` is a part of `{other}`, which stands beside it")
                };
                let warning = Warning::new(WarningCode::CoveredRoute, location, message);
                self.warnings.push(warning.about(route.as_str()).with_help("delete it"));
            }
        }
        Ok(())
    }

    fn idle_exceptions(&mut self) -> Outcome {
        for rule in &self.policies.rules {
            for except in &rule.except {
                self.work.spend(rule.routes.len())?;
                if rule.routes.iter().any(|route| overlap(route, except)) {
                    continue;
                }
                let is_path_met =
                    rule.routes.iter().any(|route| route.pattern.meet(&except.pattern).is_some());
                let message = format!("`{except}` excludes nothing from this rule");
                let help = if is_path_met {
                    "its methods are none of the rule's; delete it, or correct them"
                } else {
                    "no path of the rule matches it; delete it, or correct it"
                };
                let warning = Warning::new(WarningCode::IdleExcept, &rule.location, message);
                self.warnings.push(warning.about(except.as_str()).with_help(help));
            }
        }
        Ok(())
    }

    /// Denials that are lifted for nothing: no rule allows what they are about.
    fn idle_conditions(&mut self) -> Outcome {
        for rule in
            self.policies.rules.iter().filter(|rule| rule.effect == Effect::Deny && rule.is_conditional())
        {
            let mut is_idle = true;
            for route in &rule.routes {
                let rules = &self.policies.rules;
                let mut visit = |entry: Entry| {
                    let allows = rules.get(entry.rule).is_some_and(|rule| rule.effect == Effect::Allow);
                    let is_met = allows && entry.methods.intersects(route.methods);
                    if is_met { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                };
                if self.index.overlapping(&route.pattern, &mut self.work, &mut visit)?.is_break() {
                    is_idle = false;
                    break;
                }
            }
            if is_idle {
                let message = "the condition lifts a denial of what nobody is allowed";
                let warning = Warning::new(WarningCode::IdleUnless, &rule.location, message);
                let help = "allow the routes to those for whom it is true, or leave the condition out";
                self.warnings.push(warning.with_help(help));
            }
        }
        Ok(())
    }

    /// Rules for everyone on routes that belong to a prefix for which others need a token.
    fn open_below_protected(&mut self) -> Outcome {
        let is_open = |rule: &&Rule| {
            rule.effect == Effect::Allow && rule.subject == Subject::Anyone && !rule.is_conditional()
        };
        for rule in self.policies.rules.iter().filter(is_open) {
            for route in &rule.routes {
                let Some((protecting, prefix)) = self.protection(route)? else { continue };
                let who = match &protecting.subject {
                    Subject::Role(role) => format!("the role `{role}`"),
                    Subject::Authenticated | Subject::Anyone => "a token".to_owned(),
                };
                let message = format!("`{route}` is open to everyone, below `{prefix}` that needs {who}");
                let help = format!(
                    "when that is meant, carve it out of the rule at {} with `except`, or write \
                     `// rolegate: allow({})` before it",
                    protecting.location,
                    WarningCode::OpenBelowProtected
                );
                let warning = Warning::new(WarningCode::OpenBelowProtected, &rule.location, message);
                self.warnings.push(warning.about(route.as_str()).with_help(help));
            }
        }
        Ok(())
    }

    /// The first rule that needs a token for a prefix of which the route is a proper part.
    fn protection(&mut self, route: &Route) -> Result<Option<(&Rule, Arc<Route>)>, Exhausted> {
        let Some(shape) = self.index.shapes(&route.pattern).into_iter().next() else { return Ok(None) };
        let mut found: Option<Entry> = None;
        let rules = &self.policies.rules;
        let protects = |entry: &Entry| {
            let Some(rule) = rules.get(entry.rule) else { return false };
            let Some(prefix) = rule.routes.get(entry.route) else { return false };
            rule.effect == Effect::Allow
                && rule.subject != Subject::Anyone
                && is_prefix(prefix)
                && prefix.methods.intersects(route.methods)
                && prefix.pattern.contains(&route.pattern)
                && !route.pattern.contains(&prefix.pattern)
                && !rule.except.iter().any(|except| overlap(except, route))
        };
        self.index.matching(&shape, &mut self.work, &mut |entry| {
            let is_earlier = found.is_none_or(|found| (entry.rule, entry.route) < (found.rule, found.route));
            if is_earlier && protects(&entry) {
                found = Some(entry);
            }
        })?;
        Ok(found.and_then(|entry| {
            let rule = self.policies.rules.get(entry.rule)?;
            Some((rule, Arc::clone(rule.routes.get(entry.route)?)))
        }))
    }
}

/// Whether the route is everything below a path that has a name: `/api/**`, and not `/**`.
fn is_prefix(route: &Route) -> bool {
    route.pattern.below && route.pattern.segments.iter().any(|segment| matches!(segment, Segment::Literal(_)))
}

fn is_same(one: &Route, other: &Route) -> bool {
    one.methods == other.methods
        && one.pattern.contains(&other.pattern)
        && other.pattern.contains(&one.pattern)
}

fn overlap(one: &Route, other: &Route) -> bool {
    one.methods.intersects(other.methods) && one.pattern.meet(&other.pattern).is_some()
}
