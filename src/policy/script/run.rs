//! Runs scripts statement by statement, so that an error in one does not hide those in the others.

use super::condition::{Functions, message, signature_in_words, thrown_in_words};
use super::declare::{Declaring, RoleHandle, RuleHandle, usage};
use super::fingerprint::Prints;
use super::host::OnlyInConditions;
use super::lint::RoleMention;
use super::sandbox::{Sandbox, for_conditions, for_conditions_with};
use super::{Loaded, ScriptLimits, Source, SourceText, calls, capture, guard, lint};
use crate::policy::error::{Location, Problem, nearest};
use parking_lot::Mutex;
use rhai::{AST, Engine, EvalAltResult, Module, ParseErrorType, Position, Scope, Stmt};
use std::sync::Arc;

struct Runner<'a> {
    limits: &'a ScriptLimits,
    sandbox: Sandbox,
    /// Evaluates conditions of scripts without captures, the same for all of them.
    plain: Arc<Engine>,
    declaring: Arc<Mutex<Declaring>>,
    deadline: guard::Deadline,
    is_complete: bool,
    mentions: Vec<RoleMention>,
}

/// Runs all scripts.
pub(super) fn all(sources: &[Source], limits: &ScriptLimits) -> Loaded {
    let plain = Arc::new(for_conditions(limits));
    let declaring = Arc::new(Mutex::new(Declaring::new(&plain, limits)));
    let mut sandbox = Sandbox::for_loading(limits, &declaring);
    note_missing_methods(&mut sandbox, &declaring);
    let deadline = guard::Deadline::after(limits.load.time);
    let (is_complete, mentions) = (true, Vec::new());
    let mut runner = Runner { limits, sandbox, plain, declaring, deadline, is_complete, mentions };
    for source in sources {
        if deadline.is_over() {
            runner.is_complete = false;
            let place = Location::new(&source.name, 0, 0);
            runner
                .declaring
                .lock()
                .problems
                .push(Problem::new(place, "the time is up before this file is read"));
            break;
        }
        runner.run(source);
    }
    let Runner { declaring, is_complete, mentions, .. } = runner;
    let mut declaring = declaring.lock();
    Loaded {
        declared: std::mem::take(&mut declaring.declared),
        problems: std::mem::take(&mut declaring.problems),
        is_complete,
        mentions,
    }
}

/// A method that a handle does not have is noted, and the handle handed on, so that the rest of the chain is
/// examined too.
#[expect(deprecated, reason = "rhai marks what may change with its versions so; the version is pinned")]
fn note_missing_methods(sandbox: &mut Sandbox, declaring: &Arc<Mutex<Declaring>>) {
    let shared = Arc::clone(declaring);
    sandbox.engine.on_missing_function(move |name, arguments, _, _| {
        let Some(handle) = arguments.first().map(|first| (**first).clone()) else { return Ok(None) };
        // Functions that exist fail only by a limit, which must not be passed over.
        if guard::hit().is_some() || !(handle.is::<RoleHandle>() || handle.is::<RuleHandle>()) {
            return Ok(None);
        }
        let mut declaring = shared.lock();
        declaring.note_limits();
        declaring.missing_method(name, &handle);
        Ok(Some(handle))
    });
}

impl Runner<'_> {
    fn run(&mut self, source: &Source) {
        let text = source.script();
        let (words, problems) = lint::examine(&self.sandbox, &source.name, text, self.limits);
        let is_sound = problems.is_empty();
        self.declaring.lock().problems.extend(problems);
        self.declaring.lock().source = words;
        if is_sound {
            self.compile_and_run(text);
        } else {
            self.is_complete = false;
        }
        let source =
            std::mem::replace(&mut self.declaring.lock().source, SourceText::new(&Arc::from(""), ""));
        self.mentions.extend(lint::role_mentions(&source));
    }

    fn compile_and_run(&mut self, text: &str) {
        let tree = match self.sandbox.engine.compile(text) {
            Ok(tree) => tree,
            Err(error) => {
                let position = error.position();
                let problem = self.syntax_problem(error.err_type(), position);
                self.declaring.lock().problems.push(problem);
                self.is_complete = false;
                return;
            }
        };
        let mut problems = Vec::new();
        let captured = capture::captured(&tree);
        capture::refuse_assignments(&tree, &captured, &self.declaring.lock().source, &mut problems);
        lint::refuse_returns(&tree, &self.declaring.lock().source, &mut problems);
        let own = Functions::new(AST::new_from_module(Arc::clone(tree.shared_lib())));
        calls::refuse(&tree, &own, &self.sandbox, &self.declaring.lock().source, &mut problems);
        if !problems.is_empty() {
            self.declaring.lock().problems.append(&mut problems);
            self.is_complete = false;
            return;
        }
        {
            let mut declaring = self.declaring.lock();
            declaring.functions = own;
            declaring.prints = Prints::new(&declaring.source, &tree, &captured);
            let needs_watch =
                !captured.is_empty() || declaring.source.names("curry") || capture::assigns_to_parts(&tree);
            declaring.conditions = if needs_watch {
                Arc::new(for_conditions_with(self.limits, &captured))
            } else {
                Arc::clone(&self.plain)
            };
        }
        *self.sandbox.captured.write() = captured;
        let limits = &self.limits.load;
        guard::within_load(limits, self.deadline, || {
            self.run_statements(tree.statements(), tree.shared_lib());
        });
    }

    fn run_statements(&mut self, statements: &[Stmt], functions: &Arc<Module>) {
        let mut scope = Scope::new();
        for statement in statements {
            let tree = AST::new([statement.clone()], Arc::clone(functions));
            let result = self.sandbox.engine.run_ast_with_scope(&mut scope, &tree);
            let hit = guard::hit();
            let problem = match (result, hit) {
                (Ok(()), None) => continue,
                // Nothing was counted after the limit was hit, so that no error has come of it.
                (Ok(()), Some(hit)) => {
                    self.declaring.lock().source.problem(statement.position(), hit.to_string())
                }
                (Err(error), _) => self.run_problem(&error),
            };
            self.is_complete = false;
            self.declaring.lock().problems.push(problem);
            // Without its variable, all that follows would be wrong for that reason alone.
            if hit.is_some() || matches!(statement, Stmt::Var(..)) {
                return;
            }
        }
    }

    fn syntax_problem(&self, error: &ParseErrorType, position: Position) -> Problem {
        let source = &self.declaring.lock().source;
        let text = error.to_string();
        let mut letters = text.chars();
        let lower: String =
            letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default();
        let mut problem = source.problem(position, lower.replace('\'', "`"));
        match error {
            ParseErrorType::VariableUndefined(name) => {
                problem.message = format!("there is no variable `{name}`");
                problem.length = u32::try_from(name.chars().count()).unwrap_or(1);
                problem.help = if self.sandbox.has_function(name) {
                    Some(format!("`{name}` is a function: write `{name}(…)`"))
                } else {
                    None
                };
            }
            ParseErrorType::ExprTooDeep => {
                problem.message = "expressions are nested too deeply".to_owned();
                problem.help = Some("give parts of it to variables or functions".to_owned());
            }
            ParseErrorType::BadInput(rhai::LexError::MalformedChar(_)) => {
                problem.message = "a text stands in double quotes".to_owned();
            }
            ParseErrorType::UnexpectedEOF => {
                problem.message = "the script ends in the middle of a statement".to_owned();
            }
            _ => {}
        }
        problem
    }

    fn run_problem(&self, error: &EvalAltResult) -> Problem {
        let declaring = &*self.declaring.lock();
        let source = &declaring.source;
        let inner = error.unwrap_inner();
        let position = inner.position();
        match inner {
            EvalAltResult::ErrorFunctionNotFound(signature, _) => {
                self.missing_function(declaring, signature, position)
            }
            EvalAltResult::ErrorRuntime(thrown, _) if !thrown.is_unit() => {
                source.problem(position, format!("the script gives up: {}", thrown_in_words(thrown)))
            }
            EvalAltResult::ErrorTerminated(reason, _) => match reason.read_lock::<OnlyInConditions>() {
                Some(refused) => refused.problem(source, position),
                None => source.problem(position, message(inner)),
            },
            _ => source.problem(position, message(inner)),
        }
    }

    fn missing_function(&self, declaring: &Declaring, signature: &str, position: Position) -> Problem {
        let source = &declaring.source;
        let name = signature.split([' ', '(']).next().unwrap_or(signature);
        if let Some(usage) = usage(name) {
            let message = format!("`{name}` cannot be called like this");
            return source.problem(position, message).with_help(format!("write `{usage}`"));
        }
        let defined = declaring.functions.has(name);
        let mut problem = if defined || self.sandbox.has_function(name) {
            source.problem(position, format!("there is no `{}`", signature_in_words(signature)))
        } else {
            source.problem(position, format!("there is no function `{name}`"))
        };
        problem.length = u32::try_from(name.chars().count()).unwrap_or(1);
        let known = self.sandbox.functions().filter(|known| *known != name);
        problem.help = nearest(name, known).map(|name| format!("did you mean `{name}`?"));
        problem
    }
}
