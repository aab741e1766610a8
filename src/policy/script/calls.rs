//! Calls and names that are refused because of what the embedding program has registered.

use super::condition::Functions;
use super::sandbox::Sandbox;
use super::source::{SourceText, Word};
use crate::policy::error::{PROBLEMS_MAX, Problem, nearest};
use crate::policy::host::HostFunctions;
use rhai::{AST, ASTNode, Expr, FnCallExpr, Position, Stmt, Token};

/// Refuses calls of the program's functions with another number of arguments than they take, and calls of
/// functions within functions that nobody has. A program that registers nothing says nothing about what there
/// is: its policies may be written for another one, and such calls fail when they are evaluated.
pub(super) fn refuse(
    tree: &AST,
    functions: &Functions,
    sandbox: &Sandbox,
    source: &SourceText,
    problems: &mut Vec<Problem>,
) {
    let host = &sandbox.host;
    if host.is_empty() {
        return;
    }
    each_call(tree, &mut |call, arguments, position| {
        let takes = host.arguments_of(&call.name).filter(|takes| *takes != arguments);
        if let Some(takes) = takes.filter(|_| problems.len() < PROBLEMS_MAX) {
            let message = format!("`{}` takes {}, not {arguments}", call.name, counted(takes));
            problems.push(named(source.problem(position, message), &call.name));
        }
    });
    each_call(&tree.clone_functions_only(), &mut |call, _, position| {
        let name = call.name.as_str();
        let is_known = functions.has(name) || sandbox.has_function(name);
        if is_known || call.op_token.is_some() || problems.len() >= PROBLEMS_MAX {
            return;
        }
        let mut problem = source.problem(position, format!("there is no function `{name}`"));
        problem.help = nearest(name, sandbox.functions()).map(|name| format!("did you mean `{name}`?"));
        problems.push(named(problem, name));
    });
}

/// Refuses variables and parameters that have the name of a function of the program.
pub(super) fn refuse_names(host: &HostFunctions, source: &SourceText, problems: &mut Vec<Problem>) {
    if host.is_empty() {
        return;
    }
    let is = |word: Option<&Word>, tokens: &[Token]| word.is_some_and(|word| tokens.contains(&word.token));
    for (at, word) in source.words.iter().enumerate() {
        let Some(name) = word.name().filter(|name| host.arguments_of(name).is_some()) else { continue };
        let before = at.checked_sub(1).and_then(|at| source.words.get(at));
        let is_member = is(before, &[Token::Period, Token::Elvis]);
        // A function that is defined so has been told about.
        let is_told = is(before, &[Token::Fn]);
        let is_call_or_key = is(source.words.get(at + 1), &[Token::LeftParen, Token::Unit, Token::Colon]);
        if is_member || is_told || is_call_or_key || problems.len() >= PROBLEMS_MAX {
            continue;
        }
        let problem =
            Problem::new(word.location(&source.name), format!("`{name}` is a function of this program"));
        let help = format!("call it as `{name}(…)`, or give the variable another name");
        problems.push(named(problem.with_help(help), name));
    }
}

/// Visits every call by name, with the number of its arguments; of a method, what it is called on is the first.
fn each_call(tree: &AST, visit: &mut dyn FnMut(&FnCallExpr, usize, Position)) {
    tree.walk(&mut |path: &[ASTNode<'_>]| {
        match path.last() {
            Some(
                ASTNode::Expr(Expr::FnCall(call, position)) | ASTNode::Stmt(Stmt::FnCall(call, position)),
            ) => visit(call, call.args.len(), *position),
            Some(ASTNode::Expr(Expr::MethodCall(call, position))) => {
                visit(call, call.args.len() + 1, *position);
            }
            _ => {}
        }
        true
    });
}

fn counted(arguments: usize) -> String {
    match arguments {
        0 => "no argument".to_owned(),
        1 => "one argument".to_owned(),
        more => format!("{more} arguments"),
    }
}

fn named(mut problem: Problem, name: &str) -> Problem {
    problem.length = u32::try_from(name.chars().count()).unwrap_or(1);
    problem
}
