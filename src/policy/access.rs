//! The symbolic decision: every rule that has a say about a subject, a method and a path, with its conditions
//! left open. A plain loop over the rules, for those who ask about policies and not about requests.

use super::declaration::{Effect, Subject};
use super::pattern::Route;
use super::roles::RoleSet;
use super::{PolicySet, Rule};
use crate::decision::RuleId;
use crate::path::CanonicalPath;
use crate::request::MethodSet;
use crate::token::RoleName;

/// A rule that is about a request, and by which of its routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Match {
    /// The rule.
    pub rule: RuleId,
    /// The route's place among those of the rule.
    pub route: usize,
    /// Whether the rule has a condition.
    pub is_conditional: bool,
}

/// Everything that has a say about one subject, one method and one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Access {
    /// The rules that allow, in their order.
    pub allow: Vec<Match>,
    /// The rules that deny, in their order.
    pub deny: Vec<Match>,
}

/// What a subject can do, as far as it can be told without evaluating conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Every request is denied: nothing allows it, or something denies it without a condition.
    Denied,
    /// Conditions decide.
    Conditional,
    /// Every request is allowed: something allows it without a condition, and nothing denies it.
    Allowed,
}

impl Access {
    /// What the subject can do.
    pub fn reach(&self) -> Reach {
        let is_certain = |matches: &[Match]| matches.iter().any(|found| !found.is_conditional);
        if self.allow.is_empty() || is_certain(&self.deny) {
            Reach::Denied
        } else if self.deny.is_empty() && is_certain(&self.allow) {
            Reach::Allowed
        } else {
            Reach::Conditional
        }
    }
}

impl PolicySet {
    /// Everything that has a say about requests of this subject with one of these methods and this path.
    /// [`Subject::Anyone`] is a request without a token; [`Subject::Authenticated`] a live token without any
    /// role that the policies know; [`Subject::Role`] a live token that holds exactly this role, and all that
    /// it includes.
    pub fn access(&self, subject: &Subject, method: MethodSet, path: &CanonicalPath) -> Access {
        self.access_among((0..).zip(&self.rules), subject, |route| route.covers(method, path))
    }

    /// The rules that are about live tokens with these roles, in their order.
    pub fn rules_about(&self, roles: &[RoleName]) -> impl Iterator<Item = &Rule> {
        let held = self.roles.effective(roles);
        self.rules.iter().filter(move |rule| rule.is_about(&Subject::Authenticated, &held))
    }

    /// What those of these rules have to say that are about what `covers` tells of a route. A caller with many
    /// subjects finds the rules once.
    pub(super) fn access_among<'r>(
        &self,
        rules: impl IntoIterator<Item = (u32, &'r Rule)>,
        subject: &Subject,
        covers: impl Fn(&Route) -> bool,
    ) -> Access {
        let held = match subject {
            Subject::Role(role) => self.roles.effective(std::slice::from_ref(role)),
            Subject::Anyone | Subject::Authenticated => RoleSet::EMPTY,
        };
        let mut access = Access::default();
        for (number, rule) in rules {
            if !rule.is_about(subject, &held) || rule.except.iter().any(&covers) {
                continue;
            }
            let matches = match rule.effect {
                Effect::Allow => &mut access.allow,
                Effect::Deny => &mut access.deny,
            };
            let routes = rule.routes.iter().enumerate().filter(|(_, route)| covers(route));
            matches.extend(routes.map(|(route, _)| Match {
                rule: RuleId(number),
                route,
                is_conditional: rule.is_conditional(),
            }));
        }
        access
    }
}

impl Rule {
    /// Whether the rule is about a subject that holds these roles.
    pub(super) fn is_about(&self, subject: &Subject, held: &RoleSet) -> bool {
        match self.subject {
            Subject::Anyone => true,
            Subject::Authenticated => *subject != Subject::Anyone,
            Subject::Role(_) => self.holder.is_some_and(|role| held.contains(role)),
        }
    }

    /// Whether an exception of the rule takes this request away from it.
    pub(super) fn carves_out(&self, method: MethodSet, path: &CanonicalPath) -> bool {
        self.except.iter().any(|route| route.covers(method, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{RoleBindings, ScriptLimits, Source};
    use crate::request::Request;
    use crate::time::Timestamp;
    use crate::token::{Principal, RoleName, TokenId, TokenName};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn policies(text: &str) -> PolicySet {
        let source = Source { name: Arc::from("p.rhai"), text: text.to_owned() };
        PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap()
    }

    fn role(name: &str) -> Subject {
        Subject::Role(RoleName::parse(name).unwrap())
    }

    fn access(text: &str, subject: &Subject, method: &str, path: &str) -> Access {
        policies(text).access(subject, MethodSet::of(method), &CanonicalPath::parse(path).unwrap())
    }

    fn reach(text: &str, subject: &Subject) -> Reach {
        access(text, subject, "GET", "/x").reach()
    }

    #[test]
    fn subjects_have_what_they_hold_and_nothing_else() {
        let text =
            "open(\"GET /o\"); authenticated(\"GET /t\"); role(\"a\").includes(\"b\").allow(\"GET /a\");
            role(\"b\").allow(\"GET /b\");";
        let unknown = role("unknown");
        for (subject, expected) in [
            (&Subject::Anyone, [true, false, false, false]),
            (&Subject::Authenticated, [true, true, false, false]),
            (&unknown, [true, true, false, false]),
            (&role("a"), [true, true, true, true]),
            (&role("b"), [true, true, false, true]),
        ] {
            let reached = ["/o", "/t", "/a", "/b"]
                .map(|path| access(text, subject, "GET", path).reach() == Reach::Allowed);
            assert_eq!(reached, expected, "{subject:?}");
        }
    }

    #[test]
    fn access_names_every_rule_by_each_of_its_routes() {
        let text = "role(\"a\").allow([\"POST /x\", \"GET /*\", \"GET /x\"]);
            role(\"a\").allow(\"GET /**\").except(\"GET /x\"); deny(\"GET /x\").unless(|request| true);";
        let found = access(text, &role("a"), "GET", "/x");
        let allowing = |route| Match { rule: RuleId(0), route, is_conditional: false };
        assert_eq!(found.allow, [allowing(1), allowing(2)]);
        assert_eq!(found.deny, [Match { rule: RuleId(2), route: 0, is_conditional: true }]);
        assert_eq!(access(text, &role("a"), "GET", "/y").allow.len(), 2);
    }

    #[test]
    fn reach_is_open_as_long_as_conditions_decide() {
        let (a, sure) = (role("a"), "role(\"a\").allow(\"GET /x\");");
        let (when, unless) = (
            "role(\"a\").allow(\"GET /x\").when(|request| true);",
            "deny(\"GET /x\").unless(|request| true);",
        );
        assert_eq!(reach(sure, &a), Reach::Allowed);
        assert_eq!(reach(when, &a), Reach::Conditional);
        assert_eq!(reach(&format!("{sure}{when}"), &a), Reach::Allowed);
        assert_eq!(reach(&format!("{sure}{unless}"), &a), Reach::Conditional);
        assert_eq!(reach(&format!("{sure}{unless}deny(\"GET /x\");"), &a), Reach::Denied);
        assert_eq!(reach(unless, &a), Reach::Denied);
    }

    #[test]
    fn neither_the_asterisk_nor_a_method_that_rules_cannot_name_is_reached() {
        let policies = policies("open(\"ANY /**\");");
        let found = policies.access(&Subject::Anyone, MethodSet::of("OPTIONS"), &CanonicalPath::asterisk());
        assert_eq!(found, Access::default());
        let path = CanonicalPath::parse("/x").unwrap();
        assert_eq!(policies.access(&Subject::Anyone, MethodSet::of("TRACE"), &path), Access::default());
        assert_eq!(policies.access(&Subject::Anyone, MethodSet::of("PUT"), &path).reach(), Reach::Allowed);
    }

    /// Rules without conditions over few words, so that they meet often.
    fn rules() -> impl Strategy<Value = String> {
        let start = prop::sample::select(vec![
            "open(",
            "authenticated(",
            "deny(",
            "role(\"a\").allow(",
            "role(\"b\").allow(",
        ]);
        let route = || {
            let method = prop::sample::select(vec!["GET", "POST", "ANY", "GET,PUT"]);
            let path = prop::sample::select(vec!["/", "/x", "/*", "/**", "/x/", "/x/*", "/x/**", "/*/y"]);
            (method, path).prop_map(|(method, path)| format!("\"{method} {path}\""))
        };
        let except = prop::option::of(route());
        let rule = (start, route(), route(), except).prop_map(|(start, one, other, except)| {
            let except = except.map_or(String::new(), |route| format!(".except({route})"));
            format!("{start}[{one}, {other}]){except};\n")
        });
        prop::collection::vec(rule, 1..8).prop_map(|rules| rules.concat())
    }

    proptest! {
        #[test]
        fn without_conditions_reach_is_the_decision(rules in rules()) {
            let policies = policies(&format!("role(\"a\").includes(\"b\"); role(\"b\");\n{rules}"));
            for subject in [Subject::Anyone, Subject::Authenticated, role("a"), role("b")] {
                let roles = match &subject {
                    Subject::Anyone => None,
                    Subject::Authenticated => Some(Vec::new()),
                    Subject::Role(role) => Some(vec![role.clone()]),
                };
                let principal = roles.map(|roles| Principal {
                    id: TokenId::new(100_000_000_000_000).unwrap().into(),
                    name: TokenName::from("t"),
                    roles: roles.into(),
                    created: Timestamp::EPOCH,
                });
                for method in ["GET", "HEAD", "POST", "PUT", "TRACE"] {
                    for path in ["/", "/x", "/y", "/x/", "/x/y", "/z/y", "/x/y/z"] {
                        let path = CanonicalPath::parse(path).unwrap();
                        let reach = policies.access(&subject, MethodSet::of(method), &path).reach();
                        let request = Request::new(method.parse().unwrap(), path);
                        let decision = policies.decide(principal.as_ref(), &request, Timestamp::EPOCH);
                        let expected = if decision.is_allow() { Reach::Allowed } else { Reach::Denied };
                        prop_assert_eq!(reach, expected);
                    }
                }
            }
        }
    }
}
