//! Least privilege: what the roles of a token give it, and what of that it used.

use crate::policy::{Effect, PolicySet, Subject};
use crate::store::usage::{RouteUse, Usage};
use crate::token::RoleName;
use crate::uses::name_of;
use std::collections::BTreeMap;

/// Something that a token may have, and its use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Privilege {
    /// The name of a permission, or the routes of a rule.
    pub name: String,
    /// How the token comes to it.
    pub grant: Grant,
    /// Its use; `None` when the token never used it.
    pub usage: Option<RouteUse>,
}

/// How a token comes to a privilege.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Grant {
    /// Its roles hold the permission.
    Permission,
    /// Its roles have a rule with routes of their own.
    Rule,
    /// Every token has it, or everyone.
    Everyone,
    /// It had it once, under other policies or with other roles.
    Former,
}

/// Everything that a live token with these roles has, and what it used besides: permissions first, each by name.
pub fn privileges(policies: &PolicySet, roles: &[RoleName], usage: Option<&Usage>) -> Vec<Privilege> {
    let mut grants: BTreeMap<String, Grant> = BTreeMap::new();
    for name in policies.permissions().filter(|name| policies.holds_permission(roles, name) == Some(true)) {
        grants.insert(name.to_owned(), Grant::Permission);
    }
    for rule in policies.rules_about(roles).filter(|rule| rule.effect == Effect::Allow) {
        let grant = match (&rule.permission, &rule.subject) {
            (Some(_), _) => continue,
            (None, Subject::Role(_)) => Grant::Rule,
            (None, Subject::Anyone | Subject::Authenticated) => Grant::Everyone,
        };
        grants.entry(name_of(rule).to_string()).or_insert(grant);
    }
    let used = usage.map(|usage| usage.routes.as_slice()).unwrap_or_default();
    for route in used {
        grants.entry(route.by.clone()).or_insert(Grant::Former);
    }
    let mut privileges: Vec<Privilege> = grants
        .into_iter()
        .map(|(name, grant)| {
            let usage = used.iter().find(|route| route.by == name).cloned();
            Privilege { name, grant, usage }
        })
        .collect();
    privileges.sort_by(|one, other| (one.grant, &one.name).cmp(&(other.grant, &other.name)));
    privileges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{RoleBindings, ScriptLimits, Source};
    use crate::time::Timestamp;

    const POLICY: &str = r#"
        permission("read", ["GET /a", "GET /b"]);
        permission("write", ["POST /a"]);
        permission("rest", ["ANY /z"]);
        role("ci").grants(["read", "write"]).allow(["GET /own", "PUT /own"]);
        role("other").grants(["rest"]).allow("GET /other");
        authenticated("GET /me");
        deny("GET /b");
    "#;

    fn used(by: &str) -> RouteUse {
        RouteUse { by: by.into(), last_used: Timestamp::from_millis(5), count: 2 }
    }

    #[test]
    fn what_is_held_is_told_with_its_use_and_so_is_what_was_used_and_is_no_longer_held() {
        let source = Source { name: "p.rhai".into(), text: POLICY.to_owned() };
        let policies =
            PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap();
        let routes = vec![used("GET /me"), used("gone"), used("read")];
        let usage = Usage { last_used: Timestamp::from_millis(5), count: 9, routes };
        let roles = [RoleName::parse("ci").unwrap()];
        let told: Vec<(String, Grant, bool)> = privileges(&policies, &roles, Some(&usage))
            .into_iter()
            .map(|it| (it.name, it.grant, it.usage.is_some()))
            .collect();
        let expected = [
            ("read", Grant::Permission, true),
            ("write", Grant::Permission, false),
            ("GET /own, PUT /own", Grant::Rule, false),
            ("GET /me", Grant::Everyone, true),
            ("gone", Grant::Former, true),
        ];
        assert_eq!(told, expected.map(|(name, grant, is_used)| (name.to_owned(), grant, is_used)));
        assert!(privileges(&policies, &[], None).iter().all(|it| it.grant == Grant::Everyone));
    }
}
