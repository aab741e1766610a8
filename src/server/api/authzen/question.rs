//! What is asked: read from JSON in which no object has a key twice. What the specification does not name is passed
//! over, as it demands.

use super::super::body::kind;
use super::EVALUATIONS_MAX;
use crate::front::reply::Failure;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

/// How much of a key an error repeats.
const KEY_SHOWN_CHARS: usize = 64;
/// The four things that a question is made of, and that several questions may share.
const SHARED: [&str; 4] = ["subject", "action", "resource", "context"];

pub(super) type Object = Map<String, Value>;

/// Whether somebody may do something.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked<'b> {
    pub(super) subject: Entity<'b>,
    /// Roles besides the one that the subject is.
    pub(super) roles: Vec<&'b str>,
    pub(super) client_ip: Option<IpAddr>,
    pub(super) action: &'b str,
    pub(super) resource: Entity<'b>,
}

/// What a subject or a resource is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entity<'b> {
    pub(super) kind: &'b str,
    pub(super) id: &'b str,
}

/// How far a list of questions is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Semantic {
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

/// Reads a body.
pub(super) fn read(body: &[u8]) -> Result<Object, Failure> {
    if body.is_empty() {
        return Err(Failure::bad_request("the request has no body, but it takes a JSON object"));
    }
    let wrong = |error: serde_json::Error| Failure::bad_request(format!("the request body: {error}"));
    // A second value of a key would take the place of the first one without a word.
    serde_json::from_slice::<Unambiguous>(body).map_err(wrong)?;
    match serde_json::from_slice(body).map_err(wrong)? {
        Value::Object(object) => Ok(object),
        other => {
            Err(Failure::bad_request(format!("the request body is {}, but it takes an object", kind(&other))))
        }
    }
}

/// The questions of a list; none when there is no list, or an empty one.
pub(super) fn several(body: &Object) -> Result<Vec<&Object>, Failure> {
    let list = match body.get("evaluations") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(Failure::bad_request(wrong_type("evaluations", other, "an array"))),
    };
    if list.len() > EVALUATIONS_MAX {
        let message =
            format!("the request body has more than {EVALUATIONS_MAX} evaluations; send them in parts");
        return Err(Failure::bad_request(message));
    }
    let objects = list.iter().enumerate().map(|(at, one)| {
        one.as_object()
            .ok_or_else(|| Failure::bad_request(wrong_type(&format!("evaluations[{at}]"), one, "an object")))
    });
    objects.collect()
}

/// Refuses what all questions share when it is of the wrong type, whether one of them needs it or not.
pub(super) fn check_defaults(body: &Object) -> Result<(), Failure> {
    SHARED.into_iter().try_for_each(|name| object(body, name, name).map(drop)).map_err(Failure::bad_request)
}

impl Semantic {
    /// The one that the options name.
    pub(super) fn of(body: &Object) -> Result<Self, Failure> {
        let options = object(body, "options", "options").map_err(Failure::bad_request)?;
        let told =
            options.map(|options| text(options, "evaluations_semantic", "options.evaluations_semantic"));
        match told.transpose().map_err(Failure::bad_request)?.flatten() {
            None | Some("execute_all") => Ok(Self::ExecuteAll),
            Some("deny_on_first_deny") => Ok(Self::DenyOnFirstDeny),
            Some("permit_on_first_permit") => Ok(Self::PermitOnFirstPermit),
            Some(_) => Err(Failure::bad_request(
                "`options.evaluations_semantic` is `execute_all`, `deny_on_first_deny` or `permit_on_first_permit`",
            )),
        }
    }

    /// Whether no question is answered after one that was decided so.
    pub(super) const fn ends_with(self, decision: bool) -> bool {
        match self {
            Self::ExecuteAll => false,
            Self::DenyOnFirstDeny => !decision,
            Self::PermitOnFirstPermit => decision,
        }
    }
}

impl<'b> Asked<'b> {
    /// Reads a question. What it does not say itself it has from the defaults: a subject, action or resource whole, and
    /// of one that it says in part the names that are missing.
    pub(super) fn of(question: &'b Object, defaults: Option<&'b Object>) -> Result<Self, String> {
        let part = |name| -> Result<[Option<&'b Object>; 2], String> {
            let default = defaults.map(|defaults| object(defaults, name, name)).transpose()?.flatten();
            Ok([object(question, name, name)?, default])
        };
        let required = |name: &str, parts: [Option<&'b Object>; 2], key: &str| -> Result<&'b str, String> {
            if parts.iter().all(Option::is_none) {
                return Err(format!("`{name}` is missing"));
            }
            let place = format!("{name}.{key}");
            for part in parts.into_iter().flatten() {
                if let Some(found) = text(part, key, &place)? {
                    return Ok(found);
                }
            }
            Err(format!("`{place}` is missing"))
        };
        let entity = |name: &str, parts| -> Result<Entity<'b>, String> {
            Ok(Entity { kind: required(name, parts, "type")?, id: required(name, parts, "id")? })
        };
        let [subject, action, resource, context] = SHARED;
        let (subject_parts, action_parts, resource_parts) = (part(subject)?, part(action)?, part(resource)?);
        part(context)?;
        for (name, parts) in [(action, action_parts), (resource, resource_parts)] {
            properties(name, parts)?;
        }
        let told = properties(subject, subject_parts)?;
        Ok(Self {
            subject: entity(subject, subject_parts)?,
            roles: told.map(roles).transpose()?.unwrap_or_default(),
            client_ip: told.map(client_ip).transpose()?.flatten(),
            action: required(action, action_parts, "name")?,
            resource: entity(resource, resource_parts)?,
        })
    }
}

/// The properties of the one that is said, and not those of the default that it takes the place of.
fn properties<'b>(name: &str, parts: [Option<&'b Object>; 2]) -> Result<Option<&'b Object>, String> {
    let said = parts.into_iter().flatten().next();
    Ok(said.map(|said| object(said, "properties", &format!("{name}.properties"))).transpose()?.flatten())
}

fn roles(properties: &Object) -> Result<Vec<&str>, String> {
    const PLACE: &str = "subject.properties.roles";
    let list = match properties.get("roles") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(wrong_type(PLACE, other, "an array of strings")),
    };
    let texts =
        list.iter().map(|item| item.as_str().ok_or_else(|| wrong_type(PLACE, item, "an array of strings")));
    texts.collect()
}

fn client_ip(properties: &Object) -> Result<Option<IpAddr>, String> {
    const PLACE: &str = "subject.properties.ip_address";
    let Some(text) = text(properties, "ip_address", PLACE)? else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| format!("`{PLACE}` is no address, such as `192.0.2.1` or `2001:db8::1`"))
}

/// A field that is an object. `null` is the same as no such field.
fn object<'b>(object: &'b Object, key: &str, place: &str) -> Result<Option<&'b Object>, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(found)) => Ok(Some(found)),
        Some(other) => Err(wrong_type(place, other, "an object")),
    }
}

fn text<'b>(object: &'b Object, key: &str, place: &str) -> Result<Option<&'b str>, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(found)) => Ok(Some(found)),
        Some(other) => Err(wrong_type(place, other, "a string")),
    }
}

fn wrong_type(place: &str, value: &Value, expected: &str) -> String {
    format!("`{place}` is {}, but it takes {expected}", kind(value))
}

/// Any JSON in which no object has a key twice.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if keys.contains(&key) {
                let shown: String = key.chars().take(KEY_SHOWN_CHARS).collect();
                return Err(A::Error::custom(format_args!("the key `{shown}` stands there twice")));
            }
            keys.insert(key);
            map.next_value::<Self>()?;
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}
