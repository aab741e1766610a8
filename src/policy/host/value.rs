//! What passes between conditions and the functions of the embedding program.

use crate::request::Request;
use crate::token::Principal;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What a condition gives to a function.
#[derive(Clone, Debug)]
pub enum Given<'v> {
    Nothing,
    Boolean(bool),
    Integer(i64),
    Decimal(f64),
    Text(&'v str),
    List(Vec<Self>),
    Request(&'v Request),
    Token(&'v Principal),
    /// What no function takes.
    Other,
}

/// What a function gives to a condition.
#[derive(Clone, Debug)]
pub enum Value {
    Nothing,
    Boolean(bool),
    Integer(i64),
    Decimal(f64),
    Text(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

/// A type of an argument of a registered function.
///
/// | Type | A condition gives |
/// |---|---|
/// | `bool` | `true` or `false` |
/// | `i64` | an integer |
/// | `f64` | a decimal number or an integer |
/// | `&str`, `String` | a text |
/// | `Vec<T>` | a list of `T` |
/// | `Option<T>` | `T`, or `()` for `None` |
/// | [`&Request`](Request) | `request` |
/// | [`&Principal`](Principal) | `request.token`; as an `Option` also without a token |
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no type that a condition can give to a function",
    note = "take `bool`, `i64`, `f64`, `&str`, `String`, `&Request`, `&Principal`, or `Option` or `Vec` of these"
)]
pub trait HostArgument {
    #[doc(hidden)]
    type Taken<'v>;

    #[doc(hidden)]
    fn take<'v>(given: &Given<'v>) -> Option<Self::Taken<'v>>;

    /// The type in words, with its article.
    #[doc(hidden)]
    fn expected() -> String;
}

/// A type of a registered value, or of the result of a function.
///
/// | Type | A condition gets |
/// |---|---|
/// | `bool` | `true` or `false` |
/// | `i64`, `i32`, `u32` | an integer |
/// | `f64` | a decimal number |
/// | `&str`, `String`, `Arc<str>` | a text |
/// | `Vec<T>` | a list |
/// | `BTreeMap<String, T>` | a map |
/// | `Option<T>` | `T`, or `()` for `None` |
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no type that a condition can use",
    note = "give `bool`, `i64`, `f64`, `String`, `&str`, or `Option`, `Vec` or `BTreeMap<String, _>` of these"
)]
pub trait HostValue {
    #[doc(hidden)]
    fn into_value(self) -> Value;
}

/// What a registered function returns: a [`HostValue`], or a `Result` of one, whose error makes the condition
/// fail with its text.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing that a function for conditions can return",
    note = "return a `HostValue`, or a `Result` of one whose error can be displayed"
)]
pub trait HostResult {
    #[doc(hidden)]
    fn into_result(self) -> Result<Value, String>;
}

/// How much a value holds, everything within it included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// The bytes of all texts, keys of maps included.
    pub(crate) text_bytes: usize,
    /// The items of all lists.
    pub(crate) list_items: usize,
    /// The entries of all maps.
    pub(crate) map_entries: usize,
}

impl Value {
    /// How much the value holds.
    pub(crate) fn size(&self) -> Size {
        let mut size = Size::default();
        self.add_to(&mut size);
        size
    }

    fn add_to(&self, size: &mut Size) {
        match self {
            Self::Nothing | Self::Boolean(_) | Self::Integer(_) | Self::Decimal(_) => {}
            Self::Text(text) => size.text_bytes += text.len(),
            Self::List(items) => {
                size.list_items += items.len();
                items.iter().for_each(|item| item.add_to(size));
            }
            Self::Map(entries) => {
                size.map_entries += entries.len();
                for (key, value) in entries {
                    size.text_bytes += key.len();
                    value.add_to(size);
                }
            }
        }
    }

    /// Hands out what tells the value from others, so that no two values read the same.
    pub(super) fn describe(&self, part: &mut dyn FnMut(&str)) {
        let mut plain = |kind: &str, text: &str| {
            part(kind);
            part(text);
        };
        match self {
            Self::Nothing => plain("nothing", ""),
            Self::Boolean(value) => plain("boolean", &value.to_string()),
            Self::Integer(value) => plain("integer", &value.to_string()),
            Self::Decimal(value) => plain("decimal", &value.to_bits().to_string()),
            Self::Text(value) => plain("text", value),
            Self::List(items) => {
                plain("list", &items.len().to_string());
                items.iter().for_each(|item| item.describe(part));
            }
            Self::Map(entries) => {
                plain("map", &entries.len().to_string());
                for (key, value) in entries {
                    part(key);
                    value.describe(part);
                }
            }
        }
    }
}

macro_rules! plain_arguments {
    ($($type:ty, $given:pat => $taken:expr, $words:literal;)*) => {$(
        impl HostArgument for $type {
            type Taken<'v> = Self;

            fn take<'v>(given: &Given<'v>) -> Option<Self> {
                match *given {
                    $given => Some($taken),
                    _ => None,
                }
            }

            fn expected() -> String {
                $words.to_owned()
            }
        }
    )*};
}

plain_arguments! {
    bool, Given::Boolean(value) => value, "a boolean";
    i64, Given::Integer(value) => value, "an integer";
    String, Given::Text(value) => value.to_owned(), "a text";
}

impl HostArgument for f64 {
    type Taken<'v> = Self;

    #[expect(clippy::cast_precision_loss, reason = "conditions compare whole and decimal numbers so")]
    fn take<'v>(given: &Given<'v>) -> Option<Self> {
        match *given {
            Given::Decimal(value) => Some(value),
            Given::Integer(value) => Some(value as Self),
            _ => None,
        }
    }

    fn expected() -> String {
        "a number".to_owned()
    }
}

macro_rules! borrowed_arguments {
    ($($type:ty, $given:ident, $words:literal;)*) => {$(
        impl HostArgument for &$type {
            type Taken<'v> = &'v $type;

            fn take<'v>(given: &Given<'v>) -> Option<&'v $type> {
                if let Given::$given(value) = *given { Some(value) } else { None }
            }

            fn expected() -> String {
                $words.to_owned()
            }
        }
    )*};
}

borrowed_arguments! {
    str, Text, "a text";
    Request, Request, "the request";
    Principal, Token, "the request's token";
}

impl<T: HostArgument> HostArgument for Option<T> {
    type Taken<'v> = Option<T::Taken<'v>>;

    fn take<'v>(given: &Given<'v>) -> Option<Self::Taken<'v>> {
        if matches!(given, Given::Nothing) { Some(None) } else { T::take(given).map(Some) }
    }

    fn expected() -> String {
        format!("{} or nothing", T::expected())
    }
}

impl<T: HostArgument> HostArgument for Vec<T> {
    type Taken<'v> = Vec<T::Taken<'v>>;

    fn take<'v>(given: &Given<'v>) -> Option<Self::Taken<'v>> {
        let Given::List(items) = given else { return None };
        items.iter().map(T::take).collect()
    }

    fn expected() -> String {
        format!("a list whose items are {} each", T::expected())
    }
}

macro_rules! plain_values {
    ($($type:ty, $value:ident => $made:expr;)*) => {$(
        impl HostValue for $type {
            fn into_value(self) -> Value {
                let $value = self;
                $made
            }
        }
    )*};
}

plain_values! {
    bool, value => Value::Boolean(value);
    i64, value => Value::Integer(value);
    i32, value => Value::Integer(value.into());
    u32, value => Value::Integer(value.into());
    f64, value => Value::Decimal(value);
    &str, value => Value::Text(value.to_owned());
    String, value => Value::Text(value);
    Arc<str>, value => Value::Text(String::from(&*value));
}

impl<T: HostValue> HostValue for Option<T> {
    fn into_value(self) -> Value {
        self.map_or(Value::Nothing, T::into_value)
    }
}

impl<T: HostValue> HostValue for Vec<T> {
    fn into_value(self) -> Value {
        Value::List(self.into_iter().map(T::into_value).collect())
    }
}

impl<T: HostValue> HostValue for BTreeMap<String, T> {
    fn into_value(self) -> Value {
        Value::Map(self.into_iter().map(|(key, value)| (key, value.into_value())).collect())
    }
}

impl<T: HostValue> HostResult for T {
    fn into_result(self) -> Result<Value, String> {
        Ok(self.into_value())
    }
}

impl<T: HostValue, E: fmt::Display> HostResult for Result<T, E> {
    fn into_result(self) -> Result<Value, String> {
        self.map(T::into_value).map_err(|error| error.to_string())
    }
}
