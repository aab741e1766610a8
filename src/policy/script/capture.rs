//! Keeps captures constant: a closure sees the values that its variables had when it was made.
//!
//! Left to itself, rhai turns a captured variable into one that closure and surroundings share behind a lock.
//! Such a variable could reach itself through a closure stored in it, and its memory would never be returned;
//! it would carry state from one evaluation into the next; and a closure that meets its own lock sleeps for
//! 50 ms. So captured variables cannot be changed, and are read through a resolver that hands out copies:
//! rhai shares no variable that a resolver has answered for.

use super::guard::{self, Hit};
use super::source::SourceText;
use crate::policy::error::{PROBLEMS_MAX, Problem};
use parking_lot::RwLock;
use rhai::{AST, ASTNode, Dynamic, Engine, Expr, FnPtr, Stmt};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The most values that functions may hold, all in one value together.
const HELD_MAX: usize = 512;
/// The most values that may hold each other, one within another.
const DEPTH_MAX: usize = 32;

/// The names of the variables that closures of a script capture.
pub(super) fn captured(tree: &AST) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    tree.walk(&mut |path: &[ASTNode<'_>]| {
        if let Some(ASTNode::Stmt(Stmt::Share(variables))) = path.last() {
            names.extend(variables.iter().map(|(variable, _)| variable.as_str().to_owned()));
        }
        true
    });
    names
}

/// Refuses assignments to captured variables.
pub(super) fn refuse_assignments(
    tree: &AST,
    captured: &BTreeSet<String>,
    source: &SourceText,
    problems: &mut Vec<Problem>,
) {
    if captured.is_empty() {
        return;
    }
    tree.walk(&mut |path: &[ASTNode<'_>]| {
        if let Some(ASTNode::Stmt(Stmt::Assignment(assignment))) = path.last()
            && let Some((name, position)) = assigned_variable(&assignment.1.lhs)
            && captured.contains(name)
            && problems.len() < PROBLEMS_MAX
        {
            let message = format!("`{name}` is used by a closure and cannot be changed");
            let mut problem = source.problem(position, message);
            problem.length = u32::try_from(name.chars().count()).unwrap_or(1);
            problems.push(problem.with_help("closures see constants: put the new value into a new variable"));
        }
        true
    });
}

/// Hands out copies of captured variables, and refuses values that have grown past a limit where rhai does not
/// look: by assignment to their parts, or within functions.
#[expect(deprecated, reason = "rhai marks what may change with its versions so; the version is pinned")]
pub(super) fn resolve_with(engine: &mut Engine, captured: Arc<RwLock<BTreeSet<String>>>) {
    engine.on_var(move |name, _, context| {
        let Some(value) = context.scope().get(name) else { return Ok(None) };
        if value.is_array() || value.is_map() {
            context.engine().ensure_data_size_within_limits(value)?;
        }
        let mut room = HELD_MAX;
        if !holds_little(value, false, &mut room, DEPTH_MAX) {
            return Err(guard::stop(Hit::Held));
        }
        Ok(captured.read().contains(name).then(|| value.clone()))
    });
}

/// Whether the functions in a value hold no more than `room` values, which rhai's limits do not see.
fn holds_little(value: &Dynamic, within_function: bool, room: &mut usize, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    if within_function {
        let Some(rest) = room.checked_sub(1) else { return false };
        *room = rest;
    }
    if let Some(function) = value.read_lock::<FnPtr>() {
        return function.iter_curry().all(|held| holds_little(held, true, room, depth));
    }
    if let Ok(list) = value.as_array_ref() {
        return list.iter().all(|item| holds_little(item, within_function, room, depth));
    }
    if let Ok(map) = value.as_map_ref() {
        return map.values().all(|item| holds_little(item, within_function, room, depth));
    }
    true
}

/// Whether the script assigns to parts of a list or map. Rhai does not look at the size that they grow to.
pub(super) fn assigns_to_parts(tree: &AST) -> bool {
    let mut found = false;
    tree.walk(&mut |path: &[ASTNode<'_>]| {
        if let Some(ASTNode::Stmt(Stmt::Assignment(assignment))) = path.last() {
            found |= !matches!(assignment.1.lhs, Expr::Variable(..));
        }
        !found
    });
    found
}

/// The variable that an assignment changes, wholly or in part.
fn assigned_variable(target: &Expr) -> Option<(&str, rhai::Position)> {
    match target {
        Expr::Variable(variable, _, position) => Some((variable.1.as_str(), *position)),
        Expr::Dot(chain, ..) | Expr::Index(chain, ..) => assigned_variable(&chain.lhs),
        _ => None,
    }
}

/// A function whose captures are copies of their own.
///
/// # Errors
/// When it captures something that a condition cannot use; the text says what.
pub(super) fn freeze(function: &FnPtr) -> Result<FnPtr, String> {
    let mut frozen = function.clone();
    for value in frozen.iter_curry_mut() {
        *value = copy(value, DEPTH_MAX)?;
    }
    Ok(frozen)
}

/// How many values there are in these, which are [frozen](freeze) and so not nested deeply.
pub(super) fn count(values: &[Dynamic]) -> usize {
    let within = |value: &Dynamic| {
        if let Some(function) = value.read_lock::<FnPtr>() {
            return count(function.curry());
        }
        if let Ok(list) = value.as_array_ref() {
            return count(&list);
        }
        value.as_map_ref().map_or(0, |map| map.values().map(|item| count(std::slice::from_ref(item))).sum())
    };
    values.iter().map(|value| 1 + within(value)).sum()
}

fn copy(value: &Dynamic, depth: usize) -> Result<Dynamic, String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err("what the condition captures is nested too deeply".to_owned());
    };
    let value = value.flatten_clone();
    if let Some(function) = value.clone().try_cast::<FnPtr>() {
        let mut function = function;
        for inner in function.iter_curry_mut() {
            *inner = copy(inner, depth)?;
        }
        return Ok(function.into());
    }
    if let Ok(list) = value.as_array_ref() {
        let items: Result<Vec<_>, _> = list.iter().map(|item| copy(item, depth)).collect();
        return items.map(Dynamic::from_array);
    }
    if let Ok(map) = value.as_map_ref() {
        let entries = map.iter().map(|(key, item)| copy(item, depth).map(|item| (key.clone(), item)));
        return entries.collect::<Result<rhai::Map, _>>().map(Dynamic::from_map);
    }
    if value.is_unit() || value.is_bool() || value.is_int() || value.is_float() || value.is_char() {
        return Ok(value);
    }
    if value.is_string() {
        return Ok(value);
    }
    Err(format!("a condition cannot use {} from outside", super::sandbox::type_in_words(&value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_within_lists_maps_and_functions_are_counted() {
        let mut function = FnPtr::new("f").unwrap();
        function.add_curry(Dynamic::from_array(vec![1.into(), 2.into()]));
        let map: rhai::Map =
            [("a".into(), 1.into()), ("b".into(), Dynamic::from_array(vec![2.into()]))].into();
        assert_eq!(count(&[1.into(), "text".into()]), 2);
        assert_eq!(count(&[Dynamic::from_map(map)]), 4);
        assert_eq!(count(&[function.into()]), 4);
    }
}
