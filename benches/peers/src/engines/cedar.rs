//! Cedar, by its Rust crate: roles as groups of principals, as its documentation shows for role-based access;
//! policies parsed, entities built and requests made beforehand.

use crate::measure::{Decide, Outcome};
use crate::workload::{METHOD, ROLES, Request, Rule, role};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request as CedarRequest,
    RestrictedExpression,
};
use std::collections::HashSet;
use std::fmt::Write as _;

/// One action for each route, and a router in front that tells which one a request is about. Everything is in
/// the scope of the policies, nothing is left for their conditions. What the router does is not counted.
pub fn action_per_route(rules: &[Rule], requests: &[Request]) -> Outcome<Decide> {
    let mut text = String::new();
    for Rule { role, pattern } in rules {
        writeln!(
            text,
            "permit(principal in Role::\"{role}\", action == Action::\"{METHOD} {pattern}\", resource);"
        )?;
    }
    let requests = requests.iter().map(|request| {
        let action = entity("Action", &format!("{METHOD} {}", request.route))?;
        Ok(CedarRequest::new(token(&request.role)?, action, entity("Api", "api")?, Context::empty(), None)?)
    });
    decide(&text, requests.collect::<Outcome<_>>()?)
}

/// The path in the context, and `like` to match it: the policies do all the work.
pub fn path_by_like(rules: &[Rule], requests: &[Request]) -> Outcome<Decide> {
    let mut text = String::new();
    for Rule { role, pattern } in rules {
        let pattern = pattern.replace("{id}", "*");
        writeln!(
            text,
            "permit(principal in Role::\"{role}\", action == Action::\"{METHOD}\", resource) \
             when {{ context.path like \"{pattern}\" }};"
        )?;
    }
    let requests = requests.iter().map(|request| {
        let path = RestrictedExpression::new_string(request.path.clone());
        let context = Context::from_pairs([("path".to_owned(), path)])?;
        let action = entity("Action", METHOD)?;
        Ok(CedarRequest::new(token(&request.role)?, action, entity("Api", "api")?, context, None)?)
    });
    decide(&text, requests.collect::<Outcome<_>>()?)
}

fn decide(policies: &str, requests: Vec<CedarRequest>) -> Outcome<Decide> {
    let policies: PolicySet = policies.parse()?;
    let mut entities = vec![Entity::new_no_attrs(entity("Api", "api")?, HashSet::new())];
    for number in 0..ROLES {
        let parent = entity("Role", &role(number))?;
        entities.push(Entity::new_no_attrs(parent.clone(), HashSet::new()));
        entities.push(Entity::new_no_attrs(token(&role(number))?, HashSet::from([parent])));
    }
    let entities = Entities::from_entities(entities, None)?;
    let authorizer = Authorizer::new();
    Ok(Box::new(move |at| {
        authorizer.is_authorized(&requests[at], &policies, &entities).decision() == Decision::Allow
    }))
}

/// The one token of a role.
fn token(role: &str) -> Outcome<EntityUid> {
    entity("Token", &format!("of {role}"))
}

fn entity(kind: &str, name: &str) -> Outcome<EntityUid> {
    Ok(EntityUid::from_type_name_and_id(kind.parse()?, cedar_policy::EntityId::new(name)))
}
