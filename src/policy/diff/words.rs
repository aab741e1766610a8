//! Changes in words.

use super::super::declaration::Subject;
use super::super::pattern::Pattern;
use super::{Change, Diff, Region};
use crate::request::MethodSet;
use std::fmt::Write as _;

impl Diff {
    /// A change in one sentence, such as `stackstate-guest gains POST /api/script/execute`.
    pub fn sentence(&self, region: &Region) -> String {
        let (who, is_many) = self.who(region);
        let route = region.route();
        let (gains, keeps, loses) =
            if is_many { ("gain", "keep", "lose") } else { ("gains", "keeps", "loses") };
        match region.change {
            Change::Gains => format!("{who} {gains} {route}"),
            Change::GainsConditionally => format!("{who} {gains} {route}, where a condition allows it"),
            Change::Widens => format!("{who} may gain {route}, where conditions have changed"),
            Change::WithOtherRoles => {
                format!(
                    "{who} may gain {route}, beside other roles: a condition asks for a role that is held otherwise"
                )
            }
            Change::Narrows => format!("{who} {keeps} {route} under more conditions"),
            Change::Loses => format!("{who} {loses} {route}"),
        }
    }

    /// The subjects of a region in words, and whether these are words for many.
    fn who(&self, region: &Region) -> (String, bool) {
        let roles = |is_wanted: bool| -> Vec<&str> {
            let subjects = self.subjects().iter();
            let subjects = subjects.filter(|subject| region.subjects.contains(subject) == is_wanted);
            let names = subjects.filter_map(|subject| match subject {
                Subject::Role(role) => Some(role.as_str()),
                Subject::Anyone | Subject::Authenticated => None,
            });
            names.collect()
        };
        let (inside, outside) = (roles(true), roles(false));
        let is_in = |subject| region.subjects.contains(&subject);
        let all = match (is_in(Subject::Anyone), is_in(Subject::Authenticated)) {
            (true, true) => "everyone",
            (false, true) => "every token",
            (true, false) => {
                let list = [&["a request without a token"], &inside[..]].concat();
                return (list.join(", "), list.len() > 1);
            }
            (false, false) => return (inside.join(", "), inside.len() > 1),
        };
        let but = if outside.is_empty() { String::new() } else { format!(" but {}", outside.join(", ")) };
        (format!("{all}{but}"), false)
    }
}

impl Region {
    /// The methods and paths, as rules write them.
    pub fn route(&self) -> String {
        route(self.methods, &self.pattern, &self.except)
    }

    /// A request that the change is about.
    pub fn request(&self) -> String {
        format!("{} {}", self.methods.names().next().unwrap_or("GET"), self.witness)
    }
}

/// Methods and paths, as rules write them.
pub(in super::super) fn route(with: MethodSet, pattern: &Pattern, except: &[Pattern]) -> String {
    let mut route = format!("{} {pattern}", methods(with));
    for (at, except) in except.iter().enumerate() {
        let _ = write!(route, "{} {except}", if at == 0 { " except" } else { "," });
    }
    route
}

/// `ANY`, or the list of methods.
fn methods(methods: MethodSet) -> String {
    if methods == MethodSet::ANY { "ANY".to_owned() } else { methods.names().collect::<Vec<_>>().join(",") }
}
