//! Notes what conditions read, when somebody wants to know it. Nobody does while requests are decided.

use super::condition::{Outcome, RequestView};
use super::lint::printable;
use crate::policy::declaration::ConditionInput;
use crate::policy::reads::{Fact, READ_MAX_BYTES, Seen};
use rhai::{Dynamic, NativeCallContext};
use std::sync::Arc;

/// The value, noted as what the fact is.
pub(super) fn noted(input: &ConditionInput, fact: Fact, value: Dynamic) -> Dynamic {
    if let Some(reads) = &input.reads {
        reads.note(fact, seen(&value));
    }
    value
}

/// The outcome, noted as what the fact of this name is.
pub(super) fn noted_by_name(
    input: &ConditionInput,
    fact: fn(Arc<str>) -> Fact,
    name: &str,
    outcome: Outcome<Dynamic>,
) -> Outcome<Dynamic> {
    if let Some(reads) = &input.reads {
        let seen = match &outcome {
            Ok(value) => seen(value),
            Err(error) => Seen::Failed(super::condition::message(error)),
        };
        reads.note(fact(Arc::from(name)), seen);
    }
    outcome
}

/// The outcome of a function of the embedding program, noted with what it was given.
pub(super) fn noted_call(
    context: &NativeCallContext<'_>,
    name: &str,
    arguments: &[Dynamic],
    outcome: Outcome<Dynamic>,
) -> Outcome<Dynamic> {
    // The run carries its request only while it is explained.
    if let Some(request) = context.global_runtime_state().tag.read_lock::<RequestView>() {
        let given: Vec<String> = arguments.iter().map(|argument| seen(argument).to_string()).collect();
        let call = printable(&format!("{name}({})", given.join(", ")), READ_MAX_BYTES);
        return noted_by_name(request.input(), Fact::Call, &call, outcome);
    }
    outcome
}

fn seen(value: &Dynamic) -> Seen {
    if value.is_unit() {
        return Seen::Nothing;
    }
    if let Ok(number) = value.as_int() {
        return Seen::Integer(number);
    }
    if let Ok(answer) = value.as_bool() {
        return Seen::Boolean(answer);
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return Seen::Text(text.to_string());
    }
    match value.as_array_ref() {
        Ok(items) => Seen::Texts(items.iter().map(Dynamic::to_string).collect()),
        Err(_) => Seen::Other(super::sandbox::type_in_words(value)),
    }
}
