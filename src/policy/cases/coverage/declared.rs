//! One declaration of a policy file, and what of it cases have exercised.

use super::{Counts, Gap, Missing, Share};
use crate::path::CanonicalPath;
use crate::policy::declaration::{Effect, Subject};
use crate::policy::error::Location;
use crate::policy::pattern::Route;
use crate::policy::{Permission, Rule};
use crate::request::MethodSet;
use std::sync::Arc;

/// The longest text of a route in the words for a declaration, in characters.
const ROUTE_SHOWN_MAX: usize = 100;

/// By what a declaration is known in every policy set that its file is part of.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A rule, and its turn among those at the same place.
    Rule(Location, u32),
    /// A permission by its name.
    Permission(Location, Arc<str>),
}

/// A rule, or a permission that somebody is granted.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) location: Location,
    text: String,
    is_asked: bool,
    /// Whether it decided a case; `None` for a permission, which decides nothing by itself.
    decides: Option<bool>,
    routes: Vec<RouteUse>,
    exceptions: Vec<ExceptionUse>,
    condition: Option<ConditionUse>,
}

#[derive(Debug)]
struct RouteUse {
    route: Arc<Route>,
    asked: MethodSet,
}

#[derive(Debug)]
struct ExceptionUse {
    route: Route,
    is_met: bool,
}

#[derive(Debug, Default)]
struct ConditionUse {
    was_true: bool,
    was_false: bool,
}

impl Declared {
    pub(super) fn of_rule(rule: &Rule) -> Self {
        // The routes of a permission are the permission's.
        let routes = if rule.permission.is_some() { &[] } else { &*rule.routes };
        let exceptions = rule.except.iter();
        Self {
            location: rule.location.clone(),
            text: words(rule),
            is_asked: false,
            decides: Some(false),
            routes: unasked(routes),
            exceptions: exceptions
                .map(|route| ExceptionUse { route: route.clone(), is_met: false })
                .collect(),
            condition: rule.is_conditional().then(ConditionUse::default),
        }
    }

    pub(super) fn of_permission(name: &str, permission: &Permission) -> Self {
        Self {
            location: permission.location.clone(),
            text: format!("permission `{name}`"),
            is_asked: false,
            decides: None,
            routes: unasked(&permission.routes),
            exceptions: Vec::new(),
            condition: None,
        }
    }

    /// A case asked for the route at this place.
    pub(super) fn ask(&mut self, route: usize, method: MethodSet) {
        self.is_asked = true;
        if let Some(route) = self.routes.get_mut(route) {
            route.asked |= method;
        }
    }

    /// A case asked for what the exceptions take away.
    pub(super) fn meet_exceptions(&mut self, method: MethodSet, path: &CanonicalPath) {
        for exception in &mut self.exceptions {
            exception.is_met |= exception.route.covers(method, path);
        }
    }

    /// It decided a case.
    pub(super) fn decide(&mut self) {
        self.decides = self.decides.map(|_| true);
    }

    /// Its condition had this answer.
    pub(super) fn answer(&mut self, answer: bool) {
        if let Some(condition) = &mut self.condition {
            condition.was_true |= answer;
            condition.was_false |= !answer;
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let condition = self.condition.iter().flat_map(|condition| [condition.was_true, condition.was_false]);
        Counts {
            rules: Share::of(self.decides),
            routes: Share::of(self.routes.iter().flat_map(RouteUse::methods).map(|(_, is_asked)| is_asked)),
            exceptions: Share::of(self.exceptions.iter().map(|exception| exception.is_met)),
            conditions: Share::of(condition),
        }
    }

    /// What is left out; `None` when nothing is.
    pub(super) fn gap(&self) -> Option<Gap> {
        let missing = if self.is_asked { self.missing() } else { vec![Missing::Everything] };
        if missing.is_empty() {
            return None;
        }
        Some(Gap { location: self.location.clone(), declaration: self.text.clone(), missing })
    }

    fn missing(&self) -> Vec<Missing> {
        let mut missing = Vec::new();
        missing.extend((self.decides == Some(false)).then_some(Missing::Decision));
        missing.extend(self.routes.iter().filter_map(RouteUse::missing).map(Missing::Route));
        let unmet = self.exceptions.iter().filter(|exception| !exception.is_met);
        missing.extend(unmet.map(|exception| Missing::Exception(shown(&exception.route))));
        if let Some(condition) = &self.condition {
            missing.extend((!condition.was_true).then_some(Missing::True));
            missing.extend((!condition.was_false).then_some(Missing::False));
        }
        missing
    }
}

impl RouteUse {
    /// The methods that the route names, each with whether a case asked for it.
    fn methods(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let methods = self.route.methods;
        let (get, head) = (MethodSet::of("GET"), MethodSet::of("HEAD"));
        let is_any = methods == MethodSet::ANY;
        let any = is_any.then_some(("ANY", MethodSet::ANY));
        let named = methods.names().filter(move |_| !is_any).filter_map(move |name| match name {
            "GET" => Some((name, get | head)),
            // `GET` has brought it.
            "HEAD" if methods.contains(get) => None,
            _ => Some((name, MethodSet::of(name))),
        });
        any.into_iter().chain(named).map(|(name, set)| (name, self.asked.intersects(set)))
    }

    /// The route with the methods that no case asked for.
    fn missing(&self) -> Option<String> {
        let methods = self.methods().filter(|(_, is_asked)| !is_asked).map(|(name, _)| name);
        let methods: Vec<&str> = methods.collect();
        let pattern = self.route.as_str().split_ascii_whitespace().nth(1).unwrap_or_default();
        (!methods.is_empty()).then(|| cut(format!("{} {pattern}", methods.join(","))))
    }
}

fn unasked(routes: &[Arc<Route>]) -> Vec<RouteUse> {
    let routes = routes.iter();
    routes.map(|route| RouteUse { route: Arc::clone(route), asked: MethodSet::NONE }).collect()
}

/// What the rule declares, shortly.
fn words(rule: &Rule) -> String {
    let to = match &rule.subject {
        Subject::Anyone => "everyone".to_owned(),
        Subject::Authenticated => "every live token".to_owned(),
        Subject::Role(role) => format!("`{role}`"),
    };
    if let Some(permission) = &rule.permission {
        return format!("grants `{permission}` to {to}");
    }
    let verb = match rule.effect {
        Effect::Allow => "allows",
        Effect::Deny => "denies",
    };
    let first = rule.routes.first().map(|route| shown(route)).unwrap_or_default();
    match rule.routes.len() {
        0 | 1 => format!("{verb} `{first}` to {to}"),
        count => format!("{verb} `{first}` and {} more to {to}", count - 1),
    }
}

/// A route on one line, without the spaces that align it.
fn shown(route: &Route) -> String {
    let words: Vec<&str> = route.as_str().split_ascii_whitespace().collect();
    cut(words.join(" "))
}

fn cut(text: String) -> String {
    match text.char_indices().nth(ROUTE_SHOWN_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
