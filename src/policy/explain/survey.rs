//! Looks at every rule and tells which are about a request, and which nearly are and why not quite.

use super::{Finding, Obstacle, Part};
use crate::decision::RuleId;
use crate::path::CanonicalPath;
use crate::policy::declaration::Subject;
use crate::policy::pattern::{Pattern, Segment};
use crate::policy::roles::RoleSet;
use crate::policy::{PolicySet, Route, Rule};
use crate::request::{MethodSet, Request};

/// With more obstacles than these, a rule is not near.
const OBSTACLES_MAX: usize = 2;

/// Every rule that is about a request, or nearly.
pub(super) struct Survey<'p> {
    /// In the order of rules and their routes.
    pub(super) hits: Vec<Hit<'p>>,
    pub(super) misses: Vec<Miss<'p>>,
}

/// A rule that is about the request, by one of its routes.
pub(super) struct Hit<'p> {
    pub(super) id: RuleId,
    pub(super) rule: &'p Rule,
    pub(super) route: usize,
}

/// A rule that is nearly about the request.
pub(super) struct Miss<'p> {
    id: RuleId,
    pub(super) rule: &'p Rule,
    route: &'p Route,
    obstacles: Vec<Obstacle<'p>>,
}

/// What rules are held against.
struct Subjects<'r> {
    is_authenticated: bool,
    held: &'r RoleSet,
    method: MethodSet,
    path: &'r CanonicalPath,
    /// The path with a slash at its end, or without the one that it has.
    other_slash: Option<CanonicalPath>,
}

pub(super) fn survey<'p>(
    policies: &'p PolicySet,
    is_authenticated: bool,
    held: &RoleSet,
    request: &Request,
) -> Survey<'p> {
    let subjects = Subjects {
        is_authenticated,
        held,
        method: MethodSet::of(request.method().as_str()),
        path: request.path(),
        other_slash: other_slash(request.path()),
    };
    let mut survey = Survey { hits: Vec::new(), misses: Vec::new() };
    for (number, rule) in (0..).zip(policies.rules()) {
        subjects.look_at(RuleId(number), rule, &mut survey);
    }
    survey
}

impl Subjects<'_> {
    fn look_at<'p>(&self, id: RuleId, rule: &'p Rule, survey: &mut Survey<'p>) {
        let subject = self.subject_obstacle(rule);
        let mut nearest: Option<(&Route, Vec<Obstacle<'_>>)> = None;
        let mut is_hit = false;
        for (at, route) in rule.routes.iter().enumerate() {
            let Some(mut obstacles) = self.route_obstacles(rule, route) else { continue };
            obstacles.extend(subject.clone());
            if obstacles.is_empty() {
                // One hit tells all of a rule without a condition; a condition may ask which route it was.
                if !is_hit || rule.is_conditional() {
                    survey.hits.push(Hit { id, rule, route: at });
                }
                is_hit = true;
            } else if nearest.as_ref().is_none_or(|(_, known)| obstacles.len() < known.len()) {
                nearest = Some((route, obstacles));
            }
        }
        if let Some((route, mut obstacles)) = nearest.filter(|_| !is_hit)
            && obstacles.len() <= OBSTACLES_MAX
        {
            obstacles.sort();
            survey.misses.push(Miss { id, rule, route, obstacles });
        }
    }

    fn subject_obstacle<'p>(&self, rule: &'p Rule) -> Option<Obstacle<'p>> {
        match &rule.subject {
            Subject::Anyone => None,
            _ if !self.is_authenticated => Some(Obstacle::NeedsToken),
            Subject::Authenticated => None,
            Subject::Role(role) => {
                let is_held = rule.holder.is_some_and(|index| self.held.contains(index));
                (!is_held).then_some(Obstacle::RoleNotHeld(role))
            }
        }
    }

    /// Why the route is not about the request; `None` when it is about another path altogether.
    fn route_obstacles<'p>(&self, rule: &'p Rule, route: &'p Route) -> Option<Vec<Obstacle<'p>>> {
        let mut obstacles = Vec::new();
        let pattern = &route.pattern;
        if let Some(other) = self.other_slash.as_ref().filter(|other| pattern.matches(other))
            && !pattern.matches(self.path)
        {
            obstacles.push(Obstacle::OtherSlash);
            obstacles.extend(excluded(rule, self.method, other));
        } else if pattern.matches(self.path) {
            obstacles.extend(excluded(rule, self.method, self.path));
        } else if matches_in_other_case(pattern, self.path) {
            obstacles.push(Obstacle::OtherCase);
        } else {
            return None;
        }
        if !route.methods.intersects(self.method) {
            obstacles.push(Obstacle::OtherMethod);
        }
        Some(obstacles)
    }
}

impl<'p> Miss<'p> {
    pub(super) fn into_finding(self) -> Finding<'p> {
        let part = Part::Missed(self.obstacles);
        Finding { id: self.id, rule: self.rule, route: self.route, holder: None, part }
    }
}

fn excluded<'p>(rule: &'p Rule, method: MethodSet, path: &CanonicalPath) -> Option<Obstacle<'p>> {
    let route = rule.except.iter().find(|route| route.covers(method, path))?;
    Some(Obstacle::Excluded(route.as_str()))
}

fn other_slash(path: &CanonicalPath) -> Option<CanonicalPath> {
    let text = path.as_str();
    let other = match text.strip_suffix('/') {
        Some(without) => without.to_owned(),
        None => format!("{text}/"),
    };
    CanonicalPath::parse(&other).ok()
}

fn matches_in_other_case(pattern: &Pattern, path: &CanonicalPath) -> bool {
    let mut parts = path.segments();
    for segment in &pattern.segments {
        let Some(part) = parts.next() else { return false };
        let fits = match segment {
            Segment::Literal(text) => text.eq_ignore_ascii_case(part),
            Segment::Any(_) => !part.is_empty(),
        };
        if !fits {
            return false;
        }
    }
    parts.next().is_some() == pattern.below
}
