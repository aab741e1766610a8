//! Names that are no keys: what they were probably meant to be, and those that somebody else sets.

use super::{FILES_VARIABLE, KEYS, Key, VARIABLE_PREFIX};
use crate::policy::error::nearest;

/// The known key that an unknown one was probably meant to be: a neighbour that resembles it, or the same name elsewhere.
pub(in crate::config) fn suggest(parent: &str, name: &str) -> Option<String> {
    let siblings = KEYS.iter().filter(|key| key.parent() == parent).map(Key::name);
    if let Some(found) = nearest(name, siblings) {
        return Some(found.to_owned());
    }
    let mut elsewhere = KEYS.iter().filter(|key| key.name() == name);
    let only = elsewhere.next().filter(|_| elsewhere.next().is_none())?;
    Some(only.path.to_owned())
}

/// The known variable that an unknown one was probably meant to be.
pub(in crate::config) fn suggest_variable(name: &str) -> Option<String> {
    let known: Vec<String> =
        KEYS.iter().filter_map(Key::variable).chain([FILES_VARIABLE.to_owned()]).collect();
    let own = name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name);
    let candidates = known.iter().filter_map(|known| known.strip_prefix(VARIABLE_PREFIX));
    nearest(own, candidates).map(|found| format!("{VARIABLE_PREFIX}{found}"))
}

/// Whether Kubernetes sets this variable by itself, for a service whose name starts with `rolegate`. The value
/// tells its `ROLEGATE_PORT` from one that somebody set in the hope of another port.
pub(in crate::config) fn is_of_kubernetes(variable: &str, value: &str) -> bool {
    let own = variable.strip_prefix("ROLEGATE").unwrap_or_default();
    let numbered = |part: &str| part.starts_with(|letter: char| letter.is_ascii_digit());
    own.ends_with("_SERVICE_HOST")
        || own.ends_with("_SERVICE_PORT")
        || own.contains("_SERVICE_PORT_")
        || own.ends_with("_PORT") && value.contains("://")
        || own.split("_PORT_").skip(1).any(numbered)
}
