//! Roles that can do nothing, and roles that nobody has.

use super::{Warning, WarningCode, Written};
use crate::policy::PolicySet;
use crate::policy::declaration::Subject;
use crate::policy::script::may_ask_for_any_role;
use crate::token::RoleName;
use std::collections::HashSet;

pub(super) fn warnings(policies: &PolicySet, written: &Written, held: Option<&[RoleName]>) -> Vec<Warning> {
    let mut warnings = idle_roles(policies, written);
    if let Some(held) = held {
        warnings.extend(unheld_roles(policies, written, held));
    }
    warnings
}

/// Roles that allow nothing, and that no condition asks for.
fn idle_roles(policies: &PolicySet, written: &Written) -> Vec<Warning> {
    if written.sources.iter().any(may_ask_for_any_role) {
        return Vec::new();
    }
    let subjects = policies.rules.iter().filter_map(|rule| match &rule.subject {
        Subject::Role(role) => Some(role.as_str()),
        Subject::Anyone | Subject::Authenticated => None,
    });
    let mentioned = written.mentions.iter().map(|mention| &*mention.name);
    let useful: HashSet<&str> = subjects.chain(mentioned).collect();
    let useful: Vec<_> = useful.into_iter().filter_map(|role| policies.roles.find(role)).collect();
    let mut warnings = Vec::new();
    for (role, location) in &written.roles {
        let holds = policies.roles.effective(std::slice::from_ref(role));
        if useful.iter().any(|useful| holds.contains(*useful)) {
            continue;
        }
        let message = format!("the role `{role}` allows nothing, and no condition asks for it");
        let warning = Warning::new(WarningCode::IdleRole, location, message).about(role.as_str());
        warnings.push(warning.with_help("give it something with `allow` or `grants`, or delete it"));
    }
    warnings
}

/// Roles of the policies that no token of the configuration holds, and that have no other name there.
fn unheld_roles(policies: &PolicySet, written: &Written, held: &[RoleName]) -> Vec<Warning> {
    let held = policies.roles.effective(held);
    let unheld = written
        .roles
        .iter()
        .filter(|(role, _)| policies.roles.find(role.as_str()).is_some_and(|role| !held.contains(role)));
    let told = unheld.map(|(role, location)| {
        let message = format!("nobody holds the role `{role}` by configuration");
        let help = format!(
            "give it to a token, or to a name under `roles`; when tokens get it by the API, write \
             `// rolegate: allow({})` before it",
            WarningCode::UnheldRole
        );
        Warning::new(WarningCode::UnheldRole, location, message).about(role.as_str()).with_help(help)
    });
    told.collect()
}
