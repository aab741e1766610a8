//! The semantics of rules, without scripts.

use super::compile::compile;
use super::declaration::*;
use super::*;
use crate::decision::{Denial, Verdict};
use crate::path::CanonicalPath;
use crate::time::Timestamp;
use crate::token::{Principal, TokenId, TokenName};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A condition with a fixed answer that counts how often it is asked.
#[derive(Debug)]
struct Fixed(Result<bool, String>, Arc<AtomicUsize>);

impl Condition for Fixed {
    fn evaluate(&self, _: ConditionInput) -> Result<bool, String> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.clone()
    }

    fn fingerprint(&self) -> &Fingerprint {
        static ALL: Fingerprint = Fingerprint {
            digest: [0; 32],
            asks_params: false,
            asked: AskedRoles::Nothing,
            asks_token: true,
            asks_more: true,
        };
        &ALL
    }
}

/// Builds policies line by line; each rule stands on the line of its turn.
#[derive(Default)]
struct Policies {
    declared: Declarations,
    asked: Arc<AtomicUsize>,
    line: u32,
}

impl Policies {
    fn location(&mut self) -> Location {
        self.line += 1;
        Location::new(&Arc::from("p.rhai"), self.line, 1)
    }

    fn rule(mut self, effect: Effect, subject: Subject, routes: &[&str]) -> Self {
        let location = self.location();
        if let Subject::Role(name) = &subject {
            self.declared.roles.push(RoleDeclaration { name: name.clone(), location: location.clone() });
        }
        let routes = routes.iter().map(|route| Route::parse(route).unwrap()).collect();
        let rule = RuleDeclaration { effect, subject, routes, except: Vec::new(), condition: None, location };
        self.declared.rules.push(rule);
        self
    }

    fn allow(self, role_name: &str, route: &str) -> Self {
        self.rule(Effect::Allow, Subject::Role(role(role_name)), &[route])
    }

    fn except(mut self, route: &str) -> Self {
        self.declared.rules.last_mut().unwrap().except.push(Route::parse(route).unwrap());
        self
    }

    fn condition(mut self, answer: Result<bool, &str>) -> Self {
        let fixed = Fixed(answer.map_err(str::to_owned), Arc::clone(&self.asked));
        self.declared.rules.last_mut().unwrap().condition = Some(Arc::new(fixed));
        self
    }

    fn includes(mut self, one: &str, other: &str) -> Self {
        let location = self.location();
        self.declared.inclusions.push(Inclusion { role: role(one), included: role(other), location });
        self
    }

    fn build(self) -> Result<PolicySet, PolicyErrors> {
        compile(self.declared, &RoleBindings::default(), PolicyVersion(1))
    }

    fn decide(self, roles: &[&str], method: &str, path: &str) -> Verdict {
        self.build().unwrap().decide_for(roles, method, path).verdict
    }
}

impl PolicySet {
    fn decide_for(&self, roles: &[&str], method: &str, path: &str) -> Decision {
        let principal = Principal {
            id: TokenId::new(100_000_000_000_000).unwrap().into(),
            name: TokenName::from("t"),
            roles: roles.iter().map(|name| role(name)).collect(),
            created: Timestamp::EPOCH,
        };
        let request = Request::new(method.parse().unwrap(), CanonicalPath::parse(path).unwrap());
        self.decide((!roles.is_empty()).then_some(&principal), &request, Timestamp::EPOCH)
    }
}

fn role(name: &str) -> RoleName {
    RoleName::parse(name).unwrap()
}

fn allow(rule: u32) -> Verdict {
    Verdict::Allow(RuleId(rule))
}

fn deny(rule: u32) -> Verdict {
    Verdict::Deny(Denial::Rule(RuleId(rule)))
}

const NO_RULE: Verdict = Verdict::Deny(Denial::NoRule);

#[test]
fn what_no_rule_allows_is_denied() {
    assert_eq!(Policies::default().decide(&["a"], "GET", "/"), NO_RULE);
    let policies = || Policies::default().allow("a", "GET /x");
    assert_eq!(policies().decide(&["a"], "GET", "/x"), allow(0));
    assert_eq!(policies().decide(&["a"], "POST", "/x"), NO_RULE);
    assert_eq!(policies().decide(&["b"], "GET", "/x"), NO_RULE);
    assert_eq!(policies().decide(&[], "GET", "/x"), NO_RULE);
}

#[test]
fn subjects_are_anyone_every_token_or_a_role() {
    let open = || Policies::default().rule(Effect::Allow, Subject::Anyone, &["GET /x"]);
    assert_eq!(open().decide(&[], "GET", "/x"), allow(0));
    let authenticated = || Policies::default().rule(Effect::Allow, Subject::Authenticated, &["GET /x"]);
    assert_eq!(authenticated().decide(&[], "GET", "/x"), NO_RULE);
    assert_eq!(authenticated().decide(&["whatever"], "GET", "/x"), allow(0));
}

#[test]
fn deny_beats_every_allow() {
    let policies = || {
        Policies::default().allow("a", "ANY /**").rule(Effect::Deny, Subject::Anyone, &["ANY /x/**"]).rule(
            Effect::Allow,
            Subject::Anyone,
            &["GET /x/y"],
        )
    };
    assert_eq!(policies().decide(&["a"], "GET", "/x/y"), deny(1));
    assert_eq!(policies().decide(&["a"], "GET", "/x"), allow(0));
}

#[test]
fn except_takes_from_its_own_rule_only() {
    let policies = || Policies::default().allow("a", "ANY /**").except("DELETE /x").allow("b", "DELETE /x");
    assert_eq!(policies().decide(&["a"], "DELETE", "/x"), NO_RULE);
    assert_eq!(policies().decide(&["a"], "GET", "/x"), allow(0));
    assert_eq!(policies().decide(&["a", "b"], "DELETE", "/x"), allow(1));
}

#[test]
fn first_of_several_allowing_rules_is_named() {
    let policies = Policies::default().allow("a", "GET /*").allow("a", "GET /x").allow("a", "GET /**");
    assert_eq!(policies.decide(&["a"], "GET", "/x"), allow(0));
}

#[test]
fn inclusion_is_transitive_and_one_way() {
    let policies = || {
        Policies::default()
            .allow("a", "GET /a")
            .allow("b", "GET /b")
            .allow("c", "GET /c")
            .includes("a", "b")
            .includes("b", "c")
    };
    assert_eq!(policies().decide(&["a"], "GET", "/c"), allow(2));
    assert_eq!(policies().decide(&["c"], "GET", "/a"), NO_RULE);
}

#[test]
fn when_allows_only_when_it_is_true() {
    let policies = |answer| Policies::default().allow("a", "GET /x").condition(answer).build().unwrap();
    assert_eq!(policies(Ok(true)).decide_for(&["a"], "GET", "/x").verdict, allow(0));
    assert_eq!(policies(Ok(false)).decide_for(&["a"], "GET", "/x").verdict, NO_RULE);
    let failed = policies(Err("broken")).decide_for(&["a"], "GET", "/x");
    assert_eq!(failed.verdict, NO_RULE);
    assert_eq!(failed.failures().collect::<Vec<_>>(), [(RuleId(0), "broken")]);
}

#[test]
fn unless_lifts_only_when_it_is_true() {
    let policies = |answer| {
        let rules = Policies::default().allow("a", "GET /x").rule(Effect::Deny, Subject::Anyone, &["GET /x"]);
        rules.condition(answer).build().unwrap()
    };
    assert_eq!(policies(Ok(true)).decide_for(&["a"], "GET", "/x").verdict, allow(0));
    assert_eq!(policies(Ok(false)).decide_for(&["a"], "GET", "/x").verdict, deny(1));
    let failed = policies(Err("broken")).decide_for(&["a"], "GET", "/x");
    assert_eq!((failed.verdict, failed.failures().count()), (deny(1), 1));
}

#[test]
fn conditions_that_cannot_change_the_answer_are_not_asked() {
    let asked_by = |policies: Policies| {
        let asked = Arc::clone(&policies.asked);
        policies.decide(&["a"], "GET", "/x");
        asked.load(Ordering::Relaxed)
    };
    let conditional = || Policies::default().allow("a", "GET /x").condition(Ok(true));
    assert_eq!(asked_by(conditional()), 1);
    assert_eq!(asked_by(conditional().allow("a", "GET /x")), 0, "another rule allows");
    assert_eq!(
        asked_by(conditional().rule(Effect::Deny, Subject::Anyone, &["GET /x"])),
        0,
        "another rule denies"
    );
    let lifted = Policies::default().rule(Effect::Deny, Subject::Anyone, &["GET /x"]).condition(Ok(true));
    assert_eq!(asked_by(lifted), 0, "nothing allows");
    let other_role = Policies::default().allow("b", "GET /x").condition(Ok(true));
    assert_eq!(asked_by(other_role), 0, "the rule is about another role");
}

#[test]
fn names_that_do_not_resolve_are_all_reported() {
    let mut policies =
        Policies::default().allow("reader", "GET /x").includes("reader", "wirter").allow("writer", "GET /y");
    let location = policies.location();
    policies.declared.grants.push(Grant { role: role("reader"), permission: Arc::from("read"), location });
    let errors = policies.build().unwrap_err();
    insta::assert_snapshot!(errors, @r"
    error: no policy defines the role `wirter`
      --> p.rhai:2:1
      = help: did you mean `writer`?

    error: no permission is named `read`
      --> p.rhai:4:1
      = help: declare it with `permission(name, [routes])`
    ");
}

#[test]
fn permission_tells_its_routes_and_where_it_is_declared() {
    let mut policies = Policies::default();
    let location = policies.location();
    let routes = vec![Route::parse("GET /a").unwrap()];
    policies.declared.permissions.push(PermissionDeclaration {
        name: Arc::from("read"),
        routes,
        location: location.clone(),
    });
    let set = policies.allow("a", "GET /x").build().unwrap();
    let permission = set.permission("read").unwrap();
    assert_eq!((permission.routes[0].as_str(), &permission.location), ("GET /a", &location));
    assert!(set.permission("write").is_none());
}

#[test]
fn role_cycle_is_reported_with_its_way() {
    let policies =
        Policies::default().allow("a", "GET /x").allow("b", "GET /x").includes("a", "b").includes("b", "a");
    insta::assert_snapshot!(policies.build().unwrap_err(), @r"
    error: a role includes itself: `a` includes `b` includes `a`
      --> p.rhai:4:1
    ");
}

#[test]
fn aliases_and_custom_roles_resolve_or_are_refused() {
    let location = || Location::new(&Arc::from("c.yaml"), 1, 1);
    let build = |bindings: RoleBindings| {
        let mut policies = Policies::default().allow("a", "GET /x");
        let routes = vec![Route::parse("GET /y").unwrap()];
        policies.declared.permissions.push(PermissionDeclaration {
            name: "see-y".into(),
            routes,
            location: location(),
        });
        compile(policies.declared, &bindings, PolicyVersion(1))
    };
    let alias = |name, target| RoleBindings {
        aliases: vec![Alias { name: role(name), role: role(target), location: location() }],
        custom: Vec::new(),
    };
    let custom = |name, permission: &str| RoleBindings {
        aliases: Vec::new(),
        custom: vec![CustomRole {
            name: role(name),
            permissions: vec![(Arc::from(permission), location())],
            location: location(),
        }],
    };
    assert_eq!(build(alias("z", "a")).unwrap().decide_for(&["z"], "GET", "/x").verdict, allow(0));
    assert!(build(alias("z", "nobody")).is_err());
    assert!(build(alias("a", "a")).is_err());
    let set = build(custom("grafana", "see-y")).unwrap();
    assert_eq!(set.decide_for(&["grafana"], "GET", "/y").verdict, allow(0));
    assert_eq!(set.holds_permission(&[role("grafana")], "see-y"), Some(true));
    assert_eq!(set.holds_permission(&[role("a")], "see-y"), Some(false));
    assert_eq!(set.holds_permission(&[role("a")], "unheard-of"), None);
    assert!(build(custom("grafana", "see-z")).is_err());
    assert!(build(custom("a", "see-y")).is_err());
    let both =
        |custom_name| RoleBindings { aliases: alias("z", "a").aliases, ..custom(custom_name, "see-y") };
    assert!(build(both("grafana")).is_ok());
    assert!(build(both("z")).unwrap_err().to_string().contains("`z` is an alias of `a`, and a custom role"));
}

#[test]
fn version_is_that_of_the_files_and_not_of_the_folder_that_they_lie_in() {
    let load = |files: &[(&str, &str)]| {
        let source =
            |(name, text): &(&str, &str)| Source { name: Arc::from(*name), text: (*text).to_owned() };
        let sources: Vec<Source> = files.iter().map(source).collect();
        PolicySet::load(&sources, &RoleBindings::default(), &ScriptLimits::default()).unwrap()
    };
    let (a, b) = ("open(\"GET /a\");", "deny(\"GET /b\");");
    let here = load(&[("policies/x.rhai", a), ("policies/y.rhai", b)]);
    let there = load(&[("/etc/2/x.rhai", a), ("/etc/1/y.rhai", b)]);
    assert_eq!(here.version(), there.version());
    let effects = |set: &PolicySet| set.rules().iter().map(|rule| rule.effect).collect::<Vec<_>>();
    assert_eq!(effects(&here), effects(&there), "the same version numbers the same rules alike");
    for other in [
        load(&[("policies/x.rhai", b), ("policies/y.rhai", a)]),
        load(&[("policies/x.rhai", a), ("policies/z.rhai", b)]),
        load(&[("policies/x.rhai", a)]),
    ] {
        assert_ne!(here.version(), other.version());
    }
    // Two files of one name are told apart by their folders.
    let one = load(&[("1/x.rhai", a), ("2/x.rhai", b)]);
    let other = load(&[("1/x.rhai", b), ("2/x.rhai", a)]);
    assert_ne!(one.version(), other.version());
}
