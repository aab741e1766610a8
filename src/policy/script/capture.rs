//! Keeps captures constant: a closure sees the values that its variables have, and changes none of them.
//!
//! Rhai turns a captured variable into one that closure and surroundings share. Such a variable could reach
//! itself through a closure that is stored in it, and its memory would then never be returned. So a captured
//! variable is never assigned to, no list or map takes in a function (see `functions`), and a condition gets
//! its captures as copies, which carry nothing from one evaluation into the next.

use super::source::SourceText;
use crate::policy::error::Problem;
use rhai::{AST, ASTNode, Dynamic, Expr, FnPtr, Stmt};
use std::collections::BTreeSet;

/// The most values that may be captured, one within another.
const DEPTH_MAX: usize = 16;

/// Refuses assignments to variables that a closure of the script captures.
pub(super) fn refuse_assignments(ast: &AST, source: &SourceText, problems: &mut Vec<Problem>) {
    let mut captured = BTreeSet::new();
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        if let Some(ASTNode::Stmt(Stmt::Share(variables))) = path.last() {
            captured.extend(variables.iter().map(|(variable, _)| variable.as_str().to_owned()));
        }
        true
    });
    if captured.is_empty() {
        return;
    }
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        if let Some(ASTNode::Stmt(Stmt::Assignment(assignment))) = path.last()
            && let Some((name, position)) = assigned_variable(&assignment.1.lhs)
            && captured.contains(name)
        {
            let message = format!("`{name}` is used by a closure and cannot be changed");
            let mut problem = source.problem(position, message);
            problem.length = u32::try_from(name.chars().count()).unwrap_or(1);
            problems.push(problem.with_help("closures see constants: put the new value into a new variable"));
        }
        true
    });
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
