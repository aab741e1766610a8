//! What people write with Rhai today: a compiled script that goes through a list of rules at each request. The
//! path is matched by a native function, which is the fast way to do it.

use crate::measure::{Decide, Outcome};
use crate::workload::{METHOD, Request, Rule};
use rhai::{AST, Array, Dynamic, Engine, ImmutableString, Map, Scope};

const SCRIPT: &str = r#"
    fn is_allowed(rules, roles, method, path) {
        for rule in rules {
            if rule.method == method && rule.role in roles && path_matches(rule.pattern, path) {
                return true;
            }
        }
        false
    }
"#;

pub fn decide(rules: &[Rule], requests: &[Request]) -> Outcome<Decide> {
    let mut engine = Engine::new();
    engine.register_fn("path_matches", |pattern: &str, path: &str| path_matches(pattern, path));
    let script: AST = engine.compile(SCRIPT)?;
    let rules: Array = rules
        .iter()
        .map(|rule| {
            let mut map = Map::new();
            map.insert("method".into(), METHOD.into());
            map.insert("role".into(), rule.role.clone().into());
            map.insert("pattern".into(), rule.pattern.clone().into());
            Dynamic::from_map(map)
        })
        .collect();
    // Shared, so that a call does not copy the list to hand it over.
    let rules = Dynamic::from_array(rules).into_shared();
    let requests: Vec<(Dynamic, ImmutableString)> = requests
        .iter()
        .map(|request| {
            let roles: Array = vec![request.role.clone().into()];
            (Dynamic::from_array(roles).into_shared(), request.path.as_str().into())
        })
        .collect();
    Ok(Box::new(move |at| {
        let (roles, path) = &requests[at];
        let arguments = (rules.clone(), roles.clone(), METHOD, path.clone());
        engine.call_fn(&mut Scope::new(), &script, "is_allowed", arguments).unwrap_or(false)
    }))
}

fn path_matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(pattern), Some(segment)) if pattern.starts_with('{') || pattern == segment => {}
            _ => return false,
        }
    }
}
