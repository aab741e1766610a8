//! What the embedding program has registered, as scripts call it.

use super::condition::{RequestView, TokenView};
use super::guard::{self, Hit};
use super::notes::noted_call;
use super::sandbox::type_in_words;
use super::source::{SourceText, line_and_column};
use super::{Limits, lint};
use crate::policy::error::Problem;
use crate::policy::host::{CallFault, Callable, Entry, Given, HostFunctions, Value};
use rhai::{Array, Dynamic, Engine, EvalAltResult, ImmutableString, Map, NativeCallContext, Position};
use std::sync::Arc;

/// The longest text of a function's error that is told, in characters.
const ERROR_MAX_CHARS: usize = 512;

type Outcome<T> = Result<T, Box<EvalAltResult>>;

/// Ends a statement that calls such a function while a policy is loaded.
#[derive(Clone)]
pub(super) struct OnlyInConditions(Arc<str>);

/// A value of a script, kept while a function borrows from it.
enum Kept {
    Plain(Given<'static>),
    Text(ImmutableString),
    List(Vec<Self>),
    Request(RequestView),
    Token(TokenView),
}

/// Registers everything for conditions.
pub(super) fn register(engine: &mut Engine, host: &HostFunctions) {
    for (name, entry) in host.entries() {
        match entry {
            Entry::Value(value) => {
                let value = dynamic(value.clone());
                let called = Arc::clone(name);
                register_as(engine, name, 0, move |context, _| {
                    noted_call(context, &called, &[], Ok(value.clone()))
                });
            }
            Entry::Function(function) => {
                let (called, function) = (Arc::clone(name), Arc::clone(function));
                register_as(engine, name, function.arguments(), move |context, arguments| {
                    let outcome = call(context, &called, &*function, arguments);
                    noted_call(context, &called, arguments, outcome)
                });
            }
        }
    }
}

/// Registers the same names for loading, where each call is an error that no script can catch.
pub(super) fn register_refusals(engine: &mut Engine, host: &HostFunctions) {
    for (name, entry) in host.entries() {
        let refusal = OnlyInConditions(Arc::clone(name));
        register_as(engine, name, entry.arguments(), move |_, _| {
            let thrown = Dynamic::from(refusal.clone());
            Err(Box::new(EvalAltResult::ErrorTerminated(thrown, Position::NONE)))
        });
    }
}

/// What is wrong with the values for conditions of these limits.
///
/// # Errors
/// When one is larger than a condition may hold; the text says which.
pub(super) fn check_values(host: &HostFunctions, limits: &Limits) -> Result<(), String> {
    for (name, entry) in host.entries() {
        if let Entry::Value(value) = entry
            && !fits(value, limits.string_bytes, limits.list_items, limits.map_entries)
        {
            return Err(format!(
                "the value `{name}` of this program is larger than a condition may hold: register a smaller \
                 one, or a function that looks it up"
            ));
        }
    }
    Ok(())
}

impl OnlyInConditions {
    pub(super) fn problem(&self, source: &SourceText, position: Position) -> Problem {
        let name = &*self.0;
        let message = format!("`{name}` is for conditions and cannot be called while a policy is loaded");
        let mut problem = source.problem(position, message);
        problem.length = u32::try_from(name.chars().count()).unwrap_or(1);
        problem.with_help(format!("call it within a condition: `.when(|request| {name}(…))`"))
    }
}

impl Kept {
    fn new(value: Dynamic) -> Self {
        if let Ok(value) = value.as_bool() {
            return Self::Plain(Given::Boolean(value));
        }
        if let Ok(value) = value.as_int() {
            return Self::Plain(Given::Integer(value));
        }
        if let Ok(value) = value.as_float() {
            return Self::Plain(Given::Decimal(value));
        }
        if value.is_unit() {
            return Self::Plain(Given::Nothing);
        }
        if let Ok(text) = value.as_immutable_string_ref() {
            return Self::Text(text.clone());
        }
        if let Ok(list) = value.as_array_ref() {
            return Self::List(list.iter().cloned().map(Self::new).collect());
        }
        if let Some(request) = value.read_lock::<RequestView>() {
            return Self::Request(request.clone());
        }
        if let Some(token) = value.read_lock::<TokenView>() {
            return Self::Token(token.clone());
        }
        Self::Plain(Given::Other)
    }

    fn given(&self) -> Given<'_> {
        match self {
            Self::Plain(given) => given.clone(),
            Self::Text(text) => Given::Text(text.as_str()),
            Self::List(items) => Given::List(items.iter().map(Self::given).collect()),
            Self::Request(view) => Given::Request(view.request()),
            Self::Token(view) => view.principal().map_or(Given::Nothing, Given::Token),
        }
    }
}

/// Registers a function of so many arguments, of whatever types.
fn register_as(
    engine: &mut Engine,
    name: &str,
    arguments: usize,
    call: impl Fn(&NativeCallContext<'_>, &[Dynamic]) -> Outcome<Dynamic> + Send + Sync + 'static,
) {
    type Context<'a> = NativeCallContext<'a>;
    type Any = Dynamic;
    match arguments {
        0 => engine.register_fn(name, move |context: Context<'_>| call(&context, &[])),
        1 => engine.register_fn(name, move |context: Context<'_>, a: Any| call(&context, &[a])),
        2 => engine.register_fn(name, move |context: Context<'_>, a: Any, b: Any| call(&context, &[a, b])),
        3 => engine.register_fn(name, move |context: Context<'_>, a: Any, b: Any, c: Any| {
            call(&context, &[a, b, c])
        }),
        _ => engine.register_fn(name, move |context: Context<'_>, a: Any, b: Any, c: Any, d: Any| {
            call(&context, &[a, b, c, d])
        }),
    };
}

/// Calls a function of the program. It cannot be interrupted, so the clock is looked at before and after.
fn call(
    context: &NativeCallContext<'_>,
    name: &str,
    function: &dyn Callable,
    arguments: &[Dynamic],
) -> Outcome<Dynamic> {
    if guard::is_over() {
        return Err(guard::stop(Hit::Time));
    }
    let kept: Vec<Kept> = arguments.iter().cloned().map(Kept::new).collect();
    let given: Vec<Given<'_>> = kept.iter().map(Kept::given).collect();
    let result = function.call(&given);
    if guard::is_over() {
        return Err(end(context, &format!("`{name}` returned when the time was up")));
    }
    let engine = context.engine();
    match result {
        Ok(value)
            if !fits(&value, engine.max_string_size(), engine.max_array_size(), engine.max_map_size()) =>
        {
            Err(end(context, &format!("`{name}` gives more than a condition may hold")))
        }
        Ok(value) => Ok(dynamic(value)),
        Err(CallFault::Panicked) => Err(end(context, &format!("`{name}` panicked"))),
        Err(CallFault::Failed(error)) => {
            Err(format!("`{name}`: {}", lint::printable(&error, ERROR_MAX_CHARS)).into())
        }
        Err(CallFault::Argument(at, expected)) => {
            let wrong = arguments.get(at).map_or("nothing", type_in_words);
            let place = if arguments.len() == 1 { String::new() } else { format!(" as argument {}", at + 1) };
            Err(format!("`{name}` takes {expected}{place}, not {wrong}").into())
        }
    }
}

/// Ends the condition. Rhai forgets the place of what cannot be caught, and so the text keeps it.
fn end(context: &NativeCallContext<'_>, reason: &str) -> Box<EvalAltResult> {
    let (line, column) = line_and_column(context.call_position());
    guard::stop_for(Hit::Host, format!("{reason} (line {line}, column {column})"))
}

fn fits(value: &Value, text_bytes: usize, list_items: usize, map_entries: usize) -> bool {
    let size = value.size();
    size.text_bytes <= text_bytes && size.list_items <= list_items && size.map_entries <= map_entries
}

fn dynamic(value: Value) -> Dynamic {
    match value {
        Value::Nothing => Dynamic::UNIT,
        Value::Boolean(value) => value.into(),
        Value::Integer(value) => Dynamic::from_int(value),
        Value::Decimal(value) => Dynamic::from_float(value),
        Value::Text(text) => ImmutableString::from(text).into(),
        Value::List(items) => Dynamic::from_array(items.into_iter().map(dynamic).collect::<Array>()),
        Value::Map(entries) => {
            let entries = entries.into_iter().map(|(key, value)| (key.into(), dynamic(value)));
            Dynamic::from_map(entries.collect::<Map>())
        }
    }
}
