//! Names that say one thing in two ways, or nothing: patterns that differ in the name of a segment alone, and
//! permissions that nobody grants.

use super::{Warning, WarningCode};
use crate::policy::PolicySet;
use crate::policy::error::Location;
use crate::policy::pattern::{Pattern, Route, Segment};
use std::collections::HashMap;
use std::sync::Arc;

pub(super) fn warnings(policies: &PolicySet) -> Vec<Warning> {
    let mut warnings = renamed_segments(policies);
    warnings.extend(unused_permissions(policies));
    warnings
}

fn unused_permissions(policies: &PolicySet) -> impl Iterator<Item = Warning> {
    let unused = policies.permissions.iter().filter(|(name, _)| !policies.holders.contains_key(*name));
    unused.map(|(name, permission)| {
        let message = format!("no role is granted the permission `{name}`");
        let warning = Warning::new(WarningCode::UnusedPermission, &permission.location, message).about(name);
        warning.with_help(format!("grant it with `role(\"name\").grants(\"{name}\")`, or delete it"))
    })
}

/// Each pattern is told once, with the first that has the same paths and other names.
fn renamed_segments(policies: &PolicySet) -> Vec<Warning> {
    let mut written: Vec<(&Location, usize, &Arc<Route>)> = Vec::new();
    for rule in policies.rules.iter().filter(|rule| rule.permission.is_none()) {
        written.extend(rule.routes.iter().enumerate().map(|(at, route)| (&rule.location, at, route)));
    }
    for permission in policies.permissions.values() {
        written.extend(
            permission.routes.iter().enumerate().map(|(at, route)| (&permission.location, at, route)),
        );
    }
    written.retain(|(_, _, route)| route.pattern.parameter_names().next().is_some());
    written.sort_unstable_by_key(|(location, at, _)| (*location, *at));

    let mut firsts: HashMap<String, (&Location, &Pattern)> = HashMap::new();
    let mut told: HashMap<&Pattern, ()> = HashMap::new();
    let mut warnings = Vec::new();
    for (location, _, route) in written {
        let shape = without_names(&route.pattern);
        let (first_at, first) = *firsts.entry(shape).or_insert((location, &route.pattern));
        let renamed = first.segments.iter().zip(&route.pattern.segments).find_map(|names| match names {
            (Segment::Any(Some(one)), Segment::Any(Some(other))) if one != other => Some((one, other)),
            _ => None,
        });
        let Some((one, other)) = renamed else { continue };
        if told.insert(&route.pattern, ()).is_some() {
            continue;
        }
        let message =
            format!("`{}` is the pattern `{first}` with `{{{other}}}` for `{{{one}}}`", route.pattern);
        let warning = Warning::new(WarningCode::RenamedSegment, location, message).about(route.as_str());
        warnings.push(warning.with_help(format!("use one name for it: the other stands at {first_at}")));
    }
    warnings
}

fn without_names(pattern: &Pattern) -> String {
    let mut text = String::new();
    for segment in &pattern.segments {
        text.push('/');
        match segment {
            Segment::Literal(literal) => text.push_str(literal),
            // No literal has brackets.
            Segment::Any(_) => text.push_str("{}"),
        }
    }
    if pattern.below {
        text.push_str("/{}{}");
    }
    text
}
