//! Policies against the routes that an API says it has: which of them nobody reaches, which of them everyone does,
//! and which rules are about none of them.

use super::index::{Entry, RouteIndex, matches};
use super::{Examined, Exhausted, STEPS_MAX, Warning, WarningCode, Work, unfinished};
use crate::policy::Rule;
use crate::policy::declaration::{Effect, Subject};
use crate::policy::error::Location;
use crate::policy::pattern::{Pattern, Route};
use crate::request::MethodSet;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The routes that one finding names.
const ROUTES_SHOWN_MAX: usize = 3;

/// The routes that an API says it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Specification {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The paths that start every route.
    pub prefixes: Vec<String>,
    /// The routes.
    pub routes: Vec<SpecifiedRoute>,
    /// What could not be read as it is written, each with its place.
    pub notes: Vec<(Location, String)>,
}

/// One route of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecifiedRoute {
    /// The method.
    pub method: &'static str,
    /// The path, as it is written, with its prefix.
    pub path: String,
    /// The path, as a pattern without names.
    pub pattern: Pattern,
    /// Where the specification has it.
    pub location: Location,
}

/// What there is to say about policies and a specification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Routes that no role reaches, routes that are open to everyone, and rules that match no route, by kind and place.
    pub mismatches: Vec<Mismatch>,
    /// Checks that would have taken too long.
    pub unfinished: Vec<Warning>,
}

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Its kind: [`WarningCode::UnreachedRoute`], [`WarningCode::OpenRoute`] or [`WarningCode::UnmatchedRule`].
    pub code: WarningCode,
    /// Where the route or the rule stands.
    pub location: Location,
    /// The route, or the routes of the rule.
    pub what: String,
    /// Why.
    pub why: String,
    /// The rules that this comes from.
    pub rules: Vec<Location>,
}

impl Examined {
    /// Holds the policies against the routes of an API. What a comment allows is not told.
    pub fn compare(&self, specification: &Specification) -> Comparison {
        let routes = specification.routes.iter().enumerate().map(|(at, route)| {
            (&route.pattern, Entry { rule: at, route: 0, methods: with_head(route.method) })
        });
        let mut comparing = Comparing {
            examined: self,
            specification,
            specified: RouteIndex::of_patterns(routes),
            index: RouteIndex::of(&self.policies),
            work: Work::new(STEPS_MAX),
            comparison: Comparison::default(),
        };
        if specification.routes.iter().try_for_each(|route| comparing.route(route)).is_err() {
            let told = [WarningCode::UnreachedRoute, WarningCode::OpenRoute];
            comparing.comparison.unfinished.extend(told.map(|code| unfinished(code, "routes")));
        }
        comparing.work = Work::new(STEPS_MAX);
        if comparing.rules().is_err() {
            comparing.comparison.unfinished.push(unfinished(WarningCode::UnmatchedRule, "rules"));
        }
        let mut comparison = comparing.comparison;
        let order =
            |one: &Mismatch, other: &Mismatch| (one.code, &one.location).cmp(&(other.code, &other.location));
        comparison.mismatches.sort_by(order);
        comparison
    }
}

struct Comparing<'e> {
    examined: &'e Examined,
    specification: &'e Specification,
    /// The routes of the policies, and those of the specification.
    index: RouteIndex,
    specified: RouteIndex,
    work: Work,
    comparison: Comparison,
}

impl Comparing<'_> {
    /// Looks who reaches a route, with texts in the places of its parameters that no rule names.
    fn route(&mut self, route: &SpecifiedRoute) -> Result<(), Exhausted> {
        let policies = &self.examined.policies;
        let method = MethodSet::of(route.method);
        let (mut allowing, mut denying) = (BTreeSet::new(), BTreeSet::new());
        for shape in self.index.shapes(&route.pattern) {
            self.index.matching(&shape, &mut self.work, &mut |entry| {
                let Some(rule) = policies.rules.get(entry.rule) else { return };
                let is_excepted =
                    |except: &Route| except.methods.intersects(method) && matches(&except.pattern, &shape);
                if entry.methods.intersects(method) && !rule.except.iter().any(is_excepted) {
                    match rule.effect {
                        Effect::Allow => allowing.insert(entry.rule),
                        Effect::Deny => denying.insert(entry.rule),
                    };
                }
            })?;
        }
        let certain: Vec<usize> = denying.iter().copied().filter(|at| !self.is_conditional(*at)).collect();
        if !certain.is_empty() {
            self.unreached(route, "it is denied", certain);
        } else if allowing.is_empty() {
            let partly = self.partly_allowing(route, method)?;
            let why = if partly.is_empty() {
                "no rule allows it"
            } else {
                "no rule allows it for every value of its parameters, but for some"
            };
            self.unreached(route, why, partly);
        } else {
            self.open(route, &allowing, !denying.is_empty());
        }
        Ok(())
    }

    fn unreached(&mut self, route: &SpecifiedRoute, why: &str, rules: Vec<usize>) {
        self.find(WarningCode::UnreachedRoute, route, why.to_owned(), &rules);
    }

    fn open(&mut self, route: &SpecifiedRoute, allowing: &BTreeSet<usize>, is_deniable: bool) {
        let policies = &self.examined.policies;
        let is_open =
            |at: &usize| policies.rules.get(*at).is_some_and(|rule| rule.subject == Subject::Anyone);
        let opening: Vec<usize> = allowing.iter().copied().filter(is_open).collect();
        // It is meant when each rule says so.
        let is_meant = opening
            .iter()
            .filter_map(|at| policies.rules.get(*at))
            .all(|rule| self.examined.allows(WarningCode::OpenRoute, &rule.location));
        if opening.is_empty() || is_meant {
            return;
        }
        let is_certain = !is_deniable && opening.iter().any(|at| !self.is_conditional(*at));
        let why = if is_certain { "everyone may call it" } else { "everyone may call it, under a condition" };
        self.find(WarningCode::OpenRoute, route, why.to_owned(), &opening);
    }

    fn find(&mut self, code: WarningCode, route: &SpecifiedRoute, why: String, rules: &[usize]) {
        let rules = rules.iter().filter_map(|at| self.examined.policies.rules.get(*at));
        self.comparison.mismatches.push(Mismatch {
            code,
            location: route.location.clone(),
            what: format!("{} {}", route.method, route.path),
            why,
            rules: rules.map(|rule| rule.location.clone()).collect(),
        });
    }

    fn is_conditional(&self, at: usize) -> bool {
        self.examined.policies.rules.get(at).is_some_and(Rule::is_conditional)
    }

    /// The rules that allow some of the route's paths.
    fn partly_allowing(
        &mut self,
        route: &SpecifiedRoute,
        method: MethodSet,
    ) -> Result<Vec<usize>, Exhausted> {
        let rules = &self.examined.policies.rules;
        let mut entries = Vec::new();
        let mut visit = |entry: Entry| {
            let allows = rules.get(entry.rule).is_some_and(|rule| rule.effect == Effect::Allow);
            if allows && entry.methods.intersects(method) {
                entries.push(entry);
            }
            ControlFlow::Continue(())
        };
        let _ = self.index.overlapping(&route.pattern, &mut self.work, &mut visit)?;
        let mut partly = BTreeSet::new();
        for entry in entries {
            let allowing = rules.get(entry.rule).and_then(|rule| rule.routes.get(entry.route));
            let Some(both) = allowing.and_then(|allowing| allowing.pattern.meet(&route.pattern)) else {
                continue;
            };
            if partly.len() < ROUTES_SHOWN_MAX && !self.is_of_another(route, method, &both)? {
                partly.insert(entry.rule);
            }
        }
        Ok(partly.into_iter().collect())
    }

    /// Whether another route of the specification has all of these paths, so that they are not this one's.
    fn is_of_another(
        &mut self,
        route: &SpecifiedRoute,
        method: MethodSet,
        paths: &Pattern,
    ) -> Result<bool, Exhausted> {
        let Some(shape) = self.specified.shapes(paths).into_iter().next() else { return Ok(false) };
        let mut is_found = false;
        self.specified.matching(&shape, &mut self.work, &mut |entry| {
            let other = self.specification.routes.get(entry.rule).map(|other| &other.pattern);
            is_found |= entry.methods.intersects(method)
                && other.is_some_and(|other| *other != route.pattern && other.contains(paths));
        })?;
        Ok(is_found)
    }

    /// Rules and permissions without a route of the specification.
    fn rules(&mut self) -> Result<(), Exhausted> {
        let policies = &self.examined.policies;
        let mut told: BTreeMap<(&Location, &str), &[Arc<Route>]> = BTreeMap::new();
        for rule in policies.rules.iter().filter(|rule| rule.permission.is_none()) {
            if !self.meets_any(&rule.routes, &rule.except)? {
                told.insert((&rule.location, ""), &rule.routes);
            }
        }
        let permissions = policies.permissions.iter().filter(|(_, permission)| !permission.routes.is_empty());
        for (name, permission) in permissions {
            if !self.meets_any(&permission.routes, &[])? {
                told.insert((&permission.location, name), &permission.routes);
            }
        }
        for ((location, permission), routes) in told {
            if self.examined.allows(WarningCode::UnmatchedRule, location) {
                continue;
            }
            let name =
                if permission.is_empty() { String::new() } else { format!("permission {permission}: ") };
            self.comparison.mismatches.push(Mismatch {
                code: WarningCode::UnmatchedRule,
                location: location.clone(),
                what: format!("{name}{}", shown(routes)),
                why: "the specification has no such route".to_owned(),
                rules: Vec::new(),
            });
        }
        Ok(())
    }

    fn meets_any(&mut self, routes: &[Arc<Route>], except: &[Route]) -> Result<bool, Exhausted> {
        for route in routes {
            let mut visit = |entry: Entry| {
                let methods = entry.methods.common(route.methods);
                let both = self.specification.routes.get(entry.rule).and_then(|specified| {
                    specified.pattern.meet(&route.pattern).filter(|_| !methods.is_empty())
                });
                let is_left = both.is_some_and(|both| {
                    !except
                        .iter()
                        .any(|except| except.methods.contains(methods) && except.pattern.contains(&both))
                });
                if is_left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            if self.specified.overlapping(&route.pattern, &mut self.work, &mut visit)?.is_break() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The method, and `HEAD` with `GET`, which it belongs to.
fn with_head(method: &str) -> MethodSet {
    let head = if method == "GET" { MethodSet::of("HEAD") } else { MethodSet::NONE };
    MethodSet::of(method) | head
}

fn shown(routes: &[Arc<Route>]) -> String {
    let shown: Vec<&str> = routes.iter().take(ROUTES_SHOWN_MAX).map(|route| route.as_str()).collect();
    let more = routes.len().saturating_sub(ROUTES_SHOWN_MAX);
    if more > 0 { format!("{}, and {more} more", shown.join(", ")) } else { shown.join(", ") }
}
