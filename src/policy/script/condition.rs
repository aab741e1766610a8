//! Conditions: closures of a script, and what they see of a request.

use super::fingerprint::Prints;
use super::guard::Hit;
use super::notes::{noted, noted_by_name};
use super::source::{SourceText, Word, line_and_column};
use super::{Limits, capture, guard};
use crate::policy::declaration::{Condition, ConditionInput, Fingerprint};
use crate::policy::reads::Fact;
use crate::request::Request;
use crate::token::Principal;
use rhai::{
    AST, Array, CallFnOptions, Dynamic, Engine, EvalAltResult, FnNamespace, FnPtr, FuncRegistration,
    ImmutableString, Scope,
};
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub(super) type Outcome<T> = Result<T, Box<EvalAltResult>>;

/// A compiled closure or function of a script.
pub(super) struct ScriptCondition {
    engine: Arc<Engine>,
    /// The functions of the script.
    functions: Arc<AST>,
    name: ImmutableString,
    captured: Box<[Dynamic]>,
    limits: Limits,
    fingerprint: Fingerprint,
}

/// `request` as conditions see it.
#[derive(Clone)]
pub(super) struct RequestView(Arc<ConditionInput>);

/// `request.token` as conditions see it.
#[derive(Clone)]
pub(super) struct TokenView(Arc<ConditionInput>);

impl RequestView {
    pub(super) fn input(&self) -> &ConditionInput {
        &self.0
    }

    pub(super) fn request(&self) -> &Request {
        &self.0.request
    }
}

impl TokenView {
    pub(super) fn principal(&self) -> Option<&Principal> {
        self.0.principal.as_ref()
    }
}

/// The functions of a script, closures included.
pub(super) struct Functions {
    tree: Arc<AST>,
    /// How many parameters the functions of each name take.
    parameters: HashMap<String, Vec<usize>>,
}

impl Functions {
    pub(super) fn new(tree: AST) -> Self {
        let mut parameters: HashMap<String, Vec<usize>> = HashMap::new();
        for function in tree.iter_functions() {
            parameters.entry(function.name.to_owned()).or_default().push(function.params.len());
        }
        Self { tree: Arc::new(tree), parameters }
    }

    /// Whether there is a function of this name, whatever it takes.
    pub(super) fn has(&self, name: &str) -> bool {
        self.parameters.contains_key(name)
    }
}

/// Why a function cannot be a condition.
pub(super) enum ConditionFault {
    /// It cannot be called with a request.
    Form(String),
    /// It captures something that a condition cannot use.
    Capture(String),
}

impl ConditionFault {
    pub(super) fn into_message(self) -> String {
        match self {
            Self::Form(message) | Self::Capture(message) => message,
        }
    }
}

impl ScriptCondition {
    /// The condition that calls `function` of a script.
    ///
    /// # Errors
    /// When it cannot be one.
    pub(super) fn new(
        engine: &Arc<Engine>,
        functions: &Functions,
        function: &FnPtr,
        limits: &Limits,
    ) -> Result<Self, ConditionFault> {
        let function = capture::freeze(function).map_err(ConditionFault::Capture)?;
        let name = ImmutableString::from(function.fn_name());
        let counts = functions.parameters.get(function.fn_name()).map_or(&[][..], Vec::as_slice);
        let captured: Box<[Dynamic]> = function.curry().into();
        if counts.is_empty() {
            return Err(ConditionFault::Form(format!("this script has no function `{name}`")));
        }
        if !counts.contains(&(captured.len() + 1)) {
            let taken = counts.iter().max().map_or(0, |count| count.saturating_sub(captured.len()));
            let taken = if taken == 0 { "none".to_owned() } else { taken.to_string() };
            return Err(ConditionFault::Form(format!(
                "a condition takes one parameter, the request; this one takes {taken}"
            )));
        }
        let (engine, functions) = (Arc::clone(engine), Arc::clone(&functions.tree));
        let fingerprint = Fingerprint::default();
        Ok(Self { engine, functions, name, captured, limits: limits.clone(), fingerprint })
    }

    /// Takes the fingerprint of the condition, which was given to a rule by the call that these words start with.
    #[must_use]
    pub(super) fn printed(
        mut self,
        prints: &Prints,
        source: &SourceText,
        functions: &Functions,
        call: &[Word],
    ) -> Self {
        self.fingerprint = prints.of(source, functions, call, &self.name, &self.captured);
        self
    }

    /// How many values it keeps.
    pub(super) fn kept_values(&self) -> usize {
        capture::count(&self.captured)
    }

    fn call(&self, request: RequestView) -> Outcome<Dynamic> {
        let mut options = CallFnOptions::new().eval_ast(false).rewind_scope(false);
        if request.0.reads.is_some() {
            // What the program's functions give is noted too; they are not given the request.
            options = options.with_tag(request.clone());
        }
        let (scope, name) = (&mut Scope::new(), &self.name);
        if self.captured.is_empty() {
            // A tuple stays on the stack.
            return self.engine.call_fn_with_options(options, scope, &self.functions, name, (request,));
        }
        let mut arguments = Vec::with_capacity(self.captured.len() + 1);
        arguments.extend(self.captured.iter().cloned());
        arguments.push(Dynamic::from(request));
        self.engine.call_fn_with_options(options, scope, &self.functions, name, arguments)
    }
}

impl Condition for ScriptCondition {
    fn evaluate(&self, input: ConditionInput) -> Result<bool, String> {
        let request = RequestView(Arc::new(input));
        // Nothing here is known to panic; should rhai do so, it ends the condition and not the process.
        let run = || catch_unwind(AssertUnwindSafe(|| self.call(request)));
        let (result, hit) = guard::within(&self.limits, run);
        if let Some(hit) = hit {
            // What the program's function has done is told with its name.
            return Err(match result {
                Ok(Err(error)) if hit == Hit::Host => message(&error),
                _ => hit.to_string(),
            });
        }
        match result {
            Ok(Ok(value)) => value.as_bool().map_err(|_| {
                format!(
                    "the condition gives {}, neither `true` nor `false`",
                    super::sandbox::type_in_words(&value)
                )
            }),
            Ok(Err(error)) => Err(explain(&error)),
            Err(_) => Err("the script engine panicked".to_owned()),
        }
    }

    fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

impl fmt::Debug for ScriptCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptCondition").field("name", &self.name.as_str()).finish_non_exhaustive()
    }
}

/// An error of rhai in words, with its place.
pub(super) fn explain(error: &EvalAltResult) -> String {
    let inner = error.unwrap_inner();
    let position = inner.position();
    let message = message(inner);
    if position.is_none() {
        return message;
    }
    let (line, column) = line_and_column(position);
    format!("{message} (line {line}, column {column})")
}

/// An error of rhai in words, without its place.
pub(super) fn message(error: &EvalAltResult) -> String {
    let text = match error {
        EvalAltResult::ErrorRuntime(thrown, _) if !thrown.is_unit() => thrown_in_words(thrown),
        EvalAltResult::ErrorFunctionNotFound(signature, _) => {
            format!("there is no function `{}`", signature_in_words(signature))
        }
        EvalAltResult::ErrorTerminated(reason, _) => reason.to_string(),
        EvalAltResult::ErrorDotExpr(rhai, _) => missing_property(rhai).unwrap_or_else(|| error.to_string()),
        EvalAltResult::ErrorNonPureMethodCallOnConstant(name, _) => {
            format!("`{name}` would change a constant, or a variable that a closure uses")
        }
        _ => error.to_string(),
    };
    let place = format!(" ({})", error.position());
    let mut letters = text.strip_suffix(&place).unwrap_or(&text).chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// What was thrown, when people can read it, or else what it is.
pub(super) fn thrown_in_words(thrown: &Dynamic) -> String {
    let is_plain = thrown.is_string() || thrown.is_int() || thrown.is_bool() || thrown.is_char();
    if is_plain { thrown.to_string() } else { super::sandbox::type_in_words(thrown).to_owned() }
}

/// Rhai's words for a property that a value does not have, in ours.
fn missing_property(rhai: &str) -> Option<String> {
    let (property, rest) = rhai.strip_prefix("Unknown property '")?.split_once('\'')?;
    let (_, kind) = rest.split_once("for type '")?;
    let owner = match kind.trim_end_matches('\'') {
        "()" => "nothing".to_owned(),
        kind => signature_in_words(kind),
    };
    Some(format!("{owner} has no `{property}`"))
}

/// A function with the types of its arguments, named as the documentation names them.
pub(super) fn signature_in_words(signature: &str) -> String {
    const TYPES: [(&str, &str); 8] = [
        ("&str | ImmutableString | String", "text"),
        ("i64", "integer"),
        ("f64", "decimal number"),
        ("bool", "boolean"),
        ("char", "character"),
        ("array", "list"),
        ("Fn", "function"),
        (" (", "("),
    ];
    TYPES.iter().fold(signature.to_owned(), |text, (rhai, ours)| text.replace(rhai, ours))
}

/// Registers what conditions see.
pub(super) fn register(engine: &mut Engine) {
    register_questions(engine);
    engine
        .register_type_with_name::<RequestView>("request")
        .register_get("method", |request: &mut RequestView| {
            noted(&request.0, Fact::Method, text(request.0.request.method().as_str()))
        })
        .register_get("path", |request: &mut RequestView| {
            noted(&request.0, Fact::Path, text(request.0.request.path().as_str()))
        })
        .register_get("time", |request: &mut RequestView| {
            noted(&request.0, Fact::Time, Dynamic::from_int(request.0.now.as_millis()))
        })
        .register_get("client_ip", |request: &mut RequestView| {
            let address = request.0.request.client_ip();
            let address = address.map_or(Dynamic::UNIT, |address| text(&address.to_string()));
            noted(&request.0, Fact::ClientIp, address)
        })
        .register_get("token", |request: &mut RequestView| {
            let is_token = request.0.principal.as_ref().is_some_and(|known| known.id.token().is_some());
            let token =
                if is_token { Dynamic::from(TokenView(Arc::clone(&request.0))) } else { Dynamic::UNIT };
            noted(&request.0, Fact::Token, token)
        })
        .register_type_with_name::<TokenView>("token")
        .register_get("id", |token: &mut TokenView| {
            let id = |known: &Principal| {
                let id = known.id.token().and_then(|id| i64::try_from(id.get()).ok());
                id.map_or(Dynamic::UNIT, Dynamic::from_int)
            };
            of_token(token, Fact::TokenId, id)
        })
        .register_get("name", |token: &mut TokenView| {
            of_token(token, Fact::TokenName, |known| text(&known.name))
        })
        .register_get("created", |token: &mut TokenView| {
            of_token(token, Fact::TokenCreated, |known| Dynamic::from_int(known.created.as_millis()))
        })
        .register_get("roles", |token: &mut TokenView| {
            of_token(token, Fact::TokenRoles, |known| {
                let roles: Array = known.roles.iter().map(|role| text(role.as_str())).collect();
                Dynamic::from_array(roles)
            })
        });
}

/// Registers what is asked of a request by name. The functions take it where it lies, because a copy costs two
/// allocations, and are said to change nothing, because a request is a constant for closures.
fn register_questions(engine: &mut Engine) {
    type Question = fn(&mut RequestView, &str) -> Outcome<Dynamic>;
    let questions: [(&str, Question); 4] =
        [("param", param), ("query", query), ("header", header), ("has_role", has_role)];
    for (name, question) in questions {
        let registration = FuncRegistration::new(name).with_namespace(FnNamespace::Global).with_purity(true);
        registration.register_into_engine(engine, question);
    }
}

fn param(request: &mut RequestView, name: &str) -> Outcome<Dynamic> {
    let input = &request.0;
    let outcome = match input.route.pattern.parameter_of(name, input.request.path()) {
        Some(value) => Ok(text(&value)),
        None => Err(format!("the route `{}` has no parameter `{name}`", input.route).into()),
    };
    noted_by_name(input, Fact::Parameter, name, outcome)
}

fn query(request: &mut RequestView, name: &str) -> Outcome<Dynamic> {
    let outcome = match request.0.request.query_parameter(name) {
        Ok(value) => Ok(value.map_or(Dynamic::UNIT, Dynamic::from)),
        Err(error) => Err(format!("query parameter `{name}`: {error}").into()),
    };
    noted_by_name(&request.0, Fact::Query, name, outcome)
}

fn header(request: &mut RequestView, name: &str) -> Outcome<Dynamic> {
    let outcome = match request.0.request.header(name) {
        Ok(value) => Ok(value.map_or(Dynamic::UNIT, text)),
        Err(error) => Err(format!("header field `{name}`: {error}").into()),
    };
    noted_by_name(&request.0, Fact::Header, name, outcome)
}

fn has_role(request: &mut RequestView, role: &str) -> Outcome<Dynamic> {
    let is_held = Dynamic::from_bool(request.0.roles.contains(role));
    noted_by_name(&request.0, Fact::HasRole, role, Ok(is_held))
}

fn of_token(token: &TokenView, fact: Fact, read: impl Fn(&Principal) -> Dynamic) -> Dynamic {
    noted(&token.0, fact, token.0.principal.as_ref().map_or(Dynamic::UNIT, read))
}

fn text(text: &str) -> Dynamic {
    ImmutableString::from(text).into()
}
