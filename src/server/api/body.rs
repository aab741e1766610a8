//! Reading a JSON object field by field, so that what is wrong is told with its place, and no key counts twice.

use crate::front::reply::Failure;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// The most keys of one object: looking for a second one of each costs their square.
const FIELDS_MAX: usize = 64;
/// How much of a key an error repeats.
const KEY_SHOWN_CHARS: usize = 64;

/// The fields of a JSON object, in the order in which they stand, each key once.
pub(super) struct Fields(Vec<(String, Value)>);

impl Fields {
    /// Reads a body.
    pub(super) fn read(body: &[u8]) -> Result<Self, Failure> {
        if body.is_empty() {
            return Err(Failure::bad_request("the request has no body, but it takes a JSON object"));
        }
        serde_json::from_slice(body)
            .map_err(|error| Failure::bad_request(format!("the request body: {error}")))
    }

    /// The value of a field; `null` is the same as no such field.
    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        let (_, value) = self.0.swap_remove(at);
        if value.is_null() { None } else { Some(value) }
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(name, &other, "a string")),
        }
    }

    /// A text that is not taken away by `null`, or that is not there.
    pub(super) fn firm_text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        self.firm(name, "a string")?;
        self.text(name)
    }

    /// Texts that are not taken away by `null`, or that are not there.
    pub(super) fn firm_texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Failure> {
        self.firm(name, "an array of strings")?;
        self.texts(name)
    }

    /// Whether a field is there. `null` is a value of its own here.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    pub(super) fn switch(&mut self, name: &str) -> Result<bool, Failure> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(is_on)) => Ok(is_on),
            Some(other) => Err(wrong_type(name, &other, "a boolean")),
        }
    }

    /// Refuses fields other than these, so that none is passed over which somebody relies on.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Failure> {
        let Some((key, _)) = self.0.iter().find(|(key, _)| !known.contains(&key.as_str())) else {
            return Ok(());
        };
        let (shown, known): (String, _) = (key.chars().take(KEY_SHOWN_CHARS).collect(), known.join("`, `"));
        Err(Failure::bad_request(format!(
            "the request body has `{shown}`, but this route knows only `{known}`"
        )))
    }

    fn firm(&self, name: &str, expected: &str) -> Result<(), Failure> {
        match self.0.iter().find(|(key, value)| key == name && value.is_null()) {
            Some((_, null)) => Err(wrong_type(name, null, expected)),
            None => Ok(()),
        }
    }

    pub(super) fn integer(&mut self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_i64() {
            Some(integer) => Ok(Some(integer)),
            None => Err(wrong_type(name, &value, "milliseconds since 1970 as an integer of 64 bits")),
        }
    }

    /// A length of time, in milliseconds.
    pub(super) fn duration(&mut self, name: &str) -> Result<Option<Duration>, Failure> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_u64() {
            Some(millis) => Ok(Some(Duration::from_millis(millis))),
            None => Err(wrong_type(name, &value, "milliseconds as an integer of 0 or more")),
        }
    }

    pub(super) fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Failure> {
        let values = match self.take(name) {
            None => return Ok(None),
            Some(Value::Array(values)) => values,
            Some(other) => return Err(wrong_type(name, &other, "an array of strings")),
        };
        let texts = values.into_iter().enumerate().map(|(at, value)| match value {
            Value::String(text) => Ok(text),
            other => Err(wrong_type(&format!("{name}[{at}]"), &other, "a string")),
        });
        texts.collect::<Result<_, _>>().map(Some)
    }
}

/// The answer to a request without a field that it needs.
pub(super) fn missing(name: &str) -> Failure {
    Failure::bad_request(format!("the request body has no `{name}`"))
}

/// What a value is, as refusals of it say.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn wrong_type(place: &str, value: &Value, expected: &str) -> Failure {
    let found = kind(value);
    Failure::bad_request(format!("the request body has {found} in `{place}`, but it takes {expected}"))
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields: Vec<(String, Value)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            // Two programs could take a different one of them.
            if fields.iter().any(|(known, _)| *known == key) {
                let shown: String = key.chars().take(KEY_SHOWN_CHARS).collect();
                return Err(A::Error::custom(format_args!("the key `{shown}` stands there twice")));
            }
            if fields.len() == FIELDS_MAX {
                return Err(A::Error::custom(format_args!("more than {FIELDS_MAX} keys")));
            }
            fields.push((key, map.next_value()?));
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T>(read: Result<T, Failure>) -> String {
        read.err().unwrap().message
    }

    #[test]
    fn fields_are_read_by_type() {
        let mut fields =
            Fields::read(br#"{"name":"ci","n":5,"roles":["a","b"],"none":null,"new":{"x":1}}"#).unwrap();
        assert_eq!(fields.text("name").unwrap().as_deref(), Some("ci"));
        assert_eq!(fields.integer("n").unwrap(), Some(5));
        assert_eq!(fields.texts("roles").unwrap().unwrap(), ["a", "b"]);
        assert_eq!(fields.text("none").unwrap(), None);
        assert_eq!(fields.text("absent").unwrap(), None);
    }

    #[test]
    fn null_takes_away_what_may_go_and_nothing_else() {
        let mut fields = Fields::read(br#"{"gone":null,"name":null,"roles":null,"on":true,"ms":5}"#).unwrap();
        assert!(fields.has("gone") && !fields.has("absent"));
        assert_eq!(fields.text("gone").unwrap(), None);
        let told = [refusal(fields.firm_text("name")), refusal(fields.firm_texts("roles"))];
        insta::assert_snapshot!(told.join("\n"), @r"
        the request body has null in `name`, but it takes a string
        the request body has null in `roles`, but it takes an array of strings
        ");
        assert_eq!((fields.firm_text("absent").unwrap(), fields.firm_texts("absent").unwrap()), (None, None));
        assert_eq!((fields.switch("on").unwrap(), fields.switch("absent").unwrap()), (true, false));
        assert_eq!(fields.duration("ms").unwrap(), Some(Duration::from_millis(5)));
    }

    #[test]
    fn fields_that_a_route_does_not_know_are_told() {
        let fields = Fields::read(br#"{"name":"n","expiration":5}"#).unwrap();
        assert!(fields.only(&["name", "expiration"]).is_ok());
        insta::assert_snapshot!(refusal(fields.only(&["name", "expiryDate"])), @"the request body has `expiration`, but this route knows only `name`, `expiryDate`");
    }

    #[test]
    fn wrong_types_are_told_with_their_place() {
        let text = br#"{"name":5,"at":1.5,"to":"x","roles":["a",null],"all":{},"on":1,"grace":-1}"#;
        let fields = || Fields::read(text).unwrap();
        let told = [
            refusal(fields().text("name")),
            refusal(fields().integer("at")),
            refusal(fields().integer("to")),
            refusal(fields().texts("roles")),
            refusal(fields().texts("all")),
            refusal(fields().switch("on")),
            refusal(fields().duration("grace")),
        ];
        insta::assert_snapshot!(told.join("\n"), @r"
        the request body has a number in `name`, but it takes a string
        the request body has a number in `at`, but it takes milliseconds since 1970 as an integer of 64 bits
        the request body has a string in `to`, but it takes milliseconds since 1970 as an integer of 64 bits
        the request body has null in `roles[1]`, but it takes a string
        the request body has an object in `all`, but it takes an array of strings
        the request body has a number in `on`, but it takes a boolean
        the request body has a number in `grace`, but it takes milliseconds as an integer of 0 or more
        ");
    }

    #[test]
    fn bodies_that_are_no_object_with_single_keys_are_refused() {
        let told = ["", "{", "[]", "5", r#"{"a":1,"a":2}"#, "{} x", "{\"a\":\u{1}}"]
            .map(|body| refusal(Fields::read(body.as_bytes())));
        insta::assert_snapshot!(told.join("\n"), @r"
        the request has no body, but it takes a JSON object
        the request body: EOF while parsing an object at line 1 column 1
        the request body: invalid type: sequence, expected a JSON object at line 1 column 0
        the request body: invalid type: integer `5`, expected a JSON object at line 1 column 1
        the request body: the key `a` stands there twice at line 1 column 10
        the request body: trailing characters at line 1 column 4
        the request body: expected value at line 1 column 6
        ");
    }

    #[test]
    fn object_has_as_many_keys_as_allowed_and_not_one_more() {
        let object = |keys: usize| {
            let keys: Vec<_> = (0..keys).map(|at| format!("\"{at}\":0")).collect();
            format!("{{{}}}", keys.join(","))
        };
        assert!(Fields::read(object(FIELDS_MAX).as_bytes()).is_ok());
        assert!(refusal(Fields::read(object(FIELDS_MAX + 1).as_bytes())).contains("more than 64 keys"));
    }

    #[test]
    fn error_repeats_the_beginning_of_a_long_key() {
        let told = |chars: usize| {
            let key = "k".repeat(chars);
            refusal(Fields::read(format!("{{\"{key}\":1,\"{key}\":2}}").as_bytes()))
        };
        assert!(told(64).contains(&format!("`{}`", "k".repeat(64))));
        assert!(told(65).contains(&format!("`{}`", "k".repeat(64))));
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(refusal(Fields::read(deep.as_bytes())).contains("recursion limit"));
    }
}
