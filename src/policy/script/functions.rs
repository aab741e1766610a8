//! What scripts can do with lists, maps and texts. Rhai's own packages for lists and maps are left out: their
//! functions hide limits that a callback has hit, and theirs alone could store a function in a list.

use super::guard::{self, Hit};
use super::sandbox::type_in_words;
use rhai::{
    Array, Dynamic, Engine, EvalAltResult, FnNamespace, FnPtr, FuncArgs, FuncRegistration, ImmutableString,
    Map, NativeCallContext,
};
use std::cmp::Ordering;

type Outcome<T> = Result<T, Box<EvalAltResult>>;

pub(super) fn register(engine: &mut Engine) {
    register_lists(engine);
    register_orders(engine);
    register_equality(engine);
    register_callbacks(engine);
    engine
        .register_fn("len", |map: Map| length(map.len()))
        .register_fn("is_empty", |map: Map| map.is_empty())
        .register_fn("contains", |map: Map, key: &str| map.contains_key(key))
        .register_fn("keys", |map: Map| -> Array { map.into_keys().map(|key| text(&key)).collect() })
        .register_fn("values", |map: Map| -> Array { map.into_values().collect() })
        .register_fn("split", split);
    changing("replace").register_into_engine(engine, replace);
}

/// A function that changes its first argument, and is refused on constants for that.
fn changing(name: &str) -> FuncRegistration {
    FuncRegistration::new(name).with_namespace(FnNamespace::Global).with_purity(false)
}

fn register_lists(engine: &mut Engine) {
    engine
        .register_iterator::<Array>()
        .register_fn("len", |list: Array| length(list.len()))
        .register_get("len", |list: &mut Array| length(list.len()))
        .register_fn("is_empty", |list: Array| list.is_empty())
        .register_fn("first", |list: Array| list.into_iter().next().unwrap_or_default())
        .register_fn("last", |list: Array| list.into_iter().next_back().unwrap_or_default())
        .register_fn("contains", contains)
        .register_fn("index_of", index_of)
        .register_fn("join", join);
    changing("push").register_into_engine(engine, push);
    changing("sort").register_into_engine(engine, sort);
}

/// Orders values of one kind. Left to itself, rhai calls `"7" < 5` and `() < 5` false without an error, so that
/// `!(request.query("n") < 5)` would be true of everything.
fn register_orders(engine: &mut Engine) {
    type Holds = fn(Ordering) -> bool;
    let orders: [(&str, Holds); 4] =
        [("<", Ordering::is_lt), ("<=", Ordering::is_le), (">", Ordering::is_gt), (">=", Ordering::is_ge)];
    // Rhai would answer by itself, and not ask these.
    engine.set_fast_operators(false);
    for (sign, holds) in orders {
        engine.register_fn(sign, move |one: Dynamic, other: Dynamic| -> Outcome<bool> {
            let order = order(&one, &other).ok_or_else(|| {
                let (one, other) = (type_in_words(&one), type_in_words(&other));
                format!("`{sign}` cannot order {one} and {other}")
            })?;
            // What is no number is neither smaller nor larger than one.
            Ok(order.is_some_and(holds))
        });
    }
}

/// Tells whether values of one kind are equal, as rhai itself would. It would only after having looked for a
/// function in vain, which takes longer than all the rest of a short condition.
fn register_equality(engine: &mut Engine) {
    engine
        .register_fn("==", |one: ImmutableString, other: ImmutableString| one == other)
        .register_fn("!=", |one: ImmutableString, other: ImmutableString| one != other)
        .register_fn("==", |one: i64, other: i64| one == other)
        .register_fn("!=", |one: i64, other: i64| one != other)
        .register_fn("==", |one: bool, other: bool| one == other)
        .register_fn("!=", |one: bool, other: bool| one != other);
}

/// The order of two values, unknown for what is no number; `None` when they are not of one kind.
fn order(one: &Dynamic, other: &Dynamic) -> Option<Option<Ordering>> {
    if let (Ok(one), Ok(other)) = (one.as_int(), other.as_int()) {
        return Some(Some(one.cmp(&other)));
    }
    if let (Ok(one), Ok(other)) = (one.as_immutable_string_ref(), other.as_immutable_string_ref()) {
        return Some(Some(one.as_str().cmp(other.as_str())));
    }
    if let (Ok(one), Ok(other)) = (one.as_char(), other.as_char()) {
        return Some(Some(one.cmp(&other)));
    }
    #[expect(clippy::cast_precision_loss, reason = "rhai compares whole and decimal numbers so")]
    let number =
        |value: &Dynamic| value.as_float().or_else(|_| value.as_int().map(|whole| whole as f64)).ok();
    Some(number(one)?.partial_cmp(&number(other)?))
}

fn register_callbacks(engine: &mut Engine) {
    engine
        .register_fn("some", |context: NativeCallContext<'_>, list: Array, test: FnPtr| -> Outcome<bool> {
            for item in list {
                if test.call_within_context(&context, (item,))? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .register_fn("all", |context: NativeCallContext<'_>, list: Array, test: FnPtr| -> Outcome<bool> {
            for item in list {
                if !test.call_within_context::<bool>(&context, (item,))? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .register_fn("filter", |context: NativeCallContext<'_>, list: Array, test: FnPtr| -> Outcome<Array> {
            let mut kept = Array::new();
            for item in list {
                if test.call_within_context(&context, (item.clone(),))? {
                    kept.push(item);
                }
            }
            Ok(kept)
        })
        .register_fn("map", |context: NativeCallContext<'_>, list: Array, change: FnPtr| -> Outcome<Array> {
            let mut changed = Array::new();
            for item in list {
                changed.push(call(&change, &context, (item,))?);
            }
            Ok(changed)
        })
        .register_fn("reduce", |context: NativeCallContext<'_>, list: Array, join: FnPtr| {
            reduce(&context, list, &join, Dynamic::UNIT)
        })
        .register_fn("reduce", |context: NativeCallContext<'_>, list: Array, join: FnPtr, start: Dynamic| {
            reduce(&context, list, &join, start)
        });
    changing("sort").register_into_engine(
        engine,
        |context: NativeCallContext<'_>, list: &mut Array, compare: FnPtr| {
            let sorted = merge_sort(&context, std::mem::take(list), &compare)?;
            *list = sorted;
            Outcome::Ok(())
        },
    );
}

/// Calls a function that must not return a function: a list of them could hold itself.
fn call(function: &FnPtr, context: &NativeCallContext<'_>, arguments: impl FuncArgs) -> Outcome<Dynamic> {
    let value: Dynamic = function.call_within_context(context, arguments)?;
    refuse_functions(&value)?;
    Ok(value)
}

fn reduce(context: &NativeCallContext<'_>, list: Array, join: &FnPtr, start: Dynamic) -> Outcome<Dynamic> {
    let mut joined = start;
    for item in list {
        joined = call(join, context, (joined, item))?;
        context.engine().ensure_data_size_within_limits(&joined)?;
    }
    Ok(joined)
}

fn push(context: NativeCallContext<'_>, list: &mut Array, item: Dynamic) -> Outcome<()> {
    refuse_functions(&item)?;
    if list.len() >= context.engine().max_array_size() {
        return Err(guard::stop(Hit::List));
    }
    list.push(item);
    Ok(())
}

fn refuse_functions(value: &Dynamic) -> Outcome<()> {
    let holds = |mut items: std::slice::Iter<'_, Dynamic>| items.try_for_each(refuse_functions);
    if value.is_fnptr() {
        return Err("a list cannot hold a function".into());
    }
    if let Ok(list) = value.as_array_ref() {
        return holds(list.iter());
    }
    if let Ok(map) = value.as_map_ref() {
        return map.values().try_for_each(refuse_functions);
    }
    Ok(())
}

fn contains(context: NativeCallContext<'_>, list: Array, value: Dynamic) -> Outcome<bool> {
    Ok(index_of(context, list, value)? >= 0)
}

/// The place of the first item that equals the value, from 0; -1 when there is none.
fn index_of(context: NativeCallContext<'_>, list: Array, value: Dynamic) -> Outcome<i64> {
    for (item, at) in list.into_iter().zip(0..) {
        let (mut item, mut value) = (item, value.clone());
        // Values of different types are not equal, and rhai has no function to compare them.
        if item.type_id() == value.type_id() {
            let equal = context.call_native_fn_raw("==", true, &mut [&mut item, &mut value])?;
            if equal.as_bool() == Ok(true) {
                return Ok(at);
            }
        }
    }
    Ok(-1)
}

fn join(context: NativeCallContext<'_>, list: Array, separator: &str) -> Outcome<ImmutableString> {
    let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
    let joined: usize = texts.iter().map(|text| text.len() + separator.len()).sum();
    refuse_long(&context, joined)?;
    Ok(texts.join(separator).into())
}

fn replace(
    context: NativeCallContext<'_>,
    text: &mut ImmutableString,
    find: &str,
    substitute: &str,
) -> Outcome<()> {
    let places = text.matches(find).count();
    refuse_long(&context, text.len().saturating_add(places.saturating_mul(substitute.len())))?;
    *text = text.replace(find, substitute).into();
    Ok(())
}

fn split(context: NativeCallContext<'_>, text: &str, separator: &str) -> Outcome<Array> {
    let room = context.engine().max_array_size();
    let parts: Array = text.split(separator).take(room + 1).map(self::text).collect();
    if parts.len() > room { Err(guard::stop(Hit::List)) } else { Ok(parts) }
}

fn refuse_long(context: &NativeCallContext<'_>, bytes: usize) -> Outcome<()> {
    if bytes > context.engine().max_string_size() { Err(guard::stop(Hit::Text)) } else { Ok(()) }
}

/// Sorts texts or numbers.
fn sort(list: &mut Array) -> Outcome<()> {
    if list.iter().all(Dynamic::is_int) {
        list.sort_by_key(|item| item.as_int().unwrap_or_default());
    } else if list.iter().all(Dynamic::is_string) {
        list.sort_by_cached_key(ToString::to_string);
    } else {
        return Err("only a list of texts or a list of integers can be sorted".into());
    }
    Ok(())
}

/// Sorts by a function that may contradict itself; the library's own sort may panic on such a one.
fn merge_sort(context: &NativeCallContext<'_>, mut list: Array, compare: &FnPtr) -> Outcome<Array> {
    if list.len() < 2 {
        return Ok(list);
    }
    let upper = merge_sort(context, list.split_off(list.len() / 2), compare)?;
    let lower = merge_sort(context, list, compare)?;
    let mut sorted = Array::with_capacity(lower.len() + upper.len());
    let (mut lower, mut upper) = (lower.into_iter().peekable(), upper.into_iter().peekable());
    while let (Some(one), Some(other)) = (lower.peek(), upper.peek()) {
        let order: i64 = compare.call_within_context(context, (one.clone(), other.clone()))?;
        let next = if order.cmp(&0) == Ordering::Greater { upper.next() } else { lower.next() };
        sorted.extend(next);
    }
    sorted.extend(lower);
    sorted.extend(upper);
    Ok(sorted)
}

fn text(text: &str) -> Dynamic {
    ImmutableString::from(text).into()
}

fn length(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
