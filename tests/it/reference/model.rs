//! Policies and requests as plain values made at random, the scripts that say the same, and a loop over what was
//! declared that decides by the rules of the language alone and knows nothing of the compiled table.
#![expect(clippy::indexing_slicing, reason = "numbers are made below the lengths that they index")]

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rolegate::decision::{Decision, Verdict};
use rolegate::path::CanonicalPath;
use rolegate::policy::{Alias, CustomRole, Effect, Location, PolicySet, RoleBindings, Source};
use rolegate::request::Request;
use rolegate::time::Timestamp;
use rolegate::token::{Principal, RoleName, TokenId};
use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

pub(crate) const FILES: [&str; 2] = ["a.rhai", "b.rhai"];
/// A role includes only those after it, so that there are no cycles.
pub(crate) const ROLES: [&str; 4] = ["r0", "r1", "r2", "r3"];
pub(crate) const PERMISSIONS: [&str; 3] = ["p0", "p1", "p2"];
pub(crate) const ALIAS: &str = "alias-of-r1";
pub(crate) const CUSTOM: &str = "custom-of-p0";
/// Roles of tokens; no policy knows the last one.
pub(crate) const HELD: [&str; 7] = ["r0", "r1", "r2", "r3", ALIAS, CUSTOM, "unknown"];
pub(crate) const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get"];

#[derive(Clone, Debug)]
pub(crate) struct RouteModel {
    /// `None` for `ANY`.
    pub(crate) methods: Option<Vec<&'static str>>,
    pub(crate) segments: Vec<&'static str>,
    pub(crate) end: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum ConditionModel {
    Yes,
    No,
    Throws,
    GivesNumber,
    Loops,
    HitsCaughtLimit,
    IsMethod(&'static str),
    HasRole(&'static str),
    HasToken,
    /// `param("x") == …`: fails for a route without `{x}`.
    IsX(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Allow(&'static str),
    Authenticated,
    Open,
    Deny,
}

#[derive(Clone, Debug)]
pub(crate) enum Declaration {
    Includes { role: usize, included: Vec<usize> },
    Grants { role: &'static str, permissions: Vec<&'static str> },
    Rule { kind: Kind, routes: Vec<RouteModel>, except: Vec<RouteModel>, condition: Option<ConditionModel> },
}

#[derive(Clone, Debug)]
pub(crate) struct PolicyModel {
    pub(crate) permissions: Vec<Vec<RouteModel>>,
    /// Each with the file that it stands in.
    pub(crate) declarations: Vec<(usize, Declaration)>,
}

#[derive(Clone, Debug)]
pub(crate) struct RequestModel {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    /// `None` without a token.
    pub(crate) roles: Option<Vec<&'static str>>,
}

/// What a condition gives; `None` when it fails.
pub(crate) type Answer = Option<bool>;

impl RouteModel {
    pub(crate) fn text(&self) -> String {
        let methods = self.methods.as_ref().map_or("ANY".to_owned(), |methods| methods.join(","));
        format!("{methods} /{}{}", self.segments.join("/"), self.end)
    }

    pub(crate) fn matches(&self, request: &RequestModel) -> bool {
        let is_named = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&request.method);
        let has_method = match &self.methods {
            None => is_named,
            Some(methods) => {
                methods.contains(&request.method) || (request.method == "HEAD" && methods.contains(&"GET"))
            }
        };
        has_method && self.matches_path(&request.path)
    }

    pub(crate) fn matches_path(&self, path: &str) -> bool {
        let mut rest = path;
        for segment in &self.segments {
            let Some(after) = rest.strip_prefix('/') else { return false };
            let end = after.find('/').unwrap_or(after.len());
            let (part, remainder) = after.split_at(end);
            let fits =
                if matches!(*segment, "*" | "{x}" | "{y}") { !part.is_empty() } else { part == *segment };
            if !fits {
                return false;
            }
            rest = remainder;
        }
        match self.end {
            "" => rest.is_empty(),
            "/" => rest == "/",
            _ => rest.starts_with('/'),
        }
    }

    pub(crate) fn x(&self, path: &str) -> Option<String> {
        let at = self.segments.iter().position(|segment| *segment == "{x}")?;
        path.split('/').nth(at + 1).map(str::to_owned)
    }
}

impl ConditionModel {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Yes => "true".into(),
            Self::No => "false".into(),
            Self::Throws => "throw \"no\"".into(),
            Self::GivesNumber => "1".into(),
            Self::Loops => "{ loop {} true }".into(),
            Self::HitsCaughtLimit => "{ let l = []; try { loop { l.push(1); } } catch { } true }".into(),
            Self::IsMethod(method) => format!("request.method == \"{method}\""),
            Self::HasRole(role) => format!("request.has_role(\"{role}\")"),
            Self::HasToken => "request.token != ()".into(),
            Self::IsX(value) => format!("request.param(\"x\") == \"{value}\""),
        }
    }

    pub(crate) fn answer(self, route: &RouteModel, request: &RequestModel, held: &BTreeSet<&str>) -> Answer {
        match self {
            Self::Yes => Some(true),
            Self::No => Some(false),
            Self::Throws | Self::GivesNumber | Self::Loops | Self::HitsCaughtLimit => None,
            Self::IsMethod(method) => Some(request.method == method),
            Self::HasRole(role) => Some(held.contains(role)),
            Self::HasToken => Some(request.roles.is_some()),
            Self::IsX(value) => route.x(&request.path).map(|x| x == value),
        }
    }
}

impl PolicyModel {
    /// The scripts, one declaration a line.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let mut texts = [String::new(), String::new()];
        for role in ROLES {
            let _ = writeln!(texts[0], "role(\"{role}\");");
        }
        for (name, routes) in PERMISSIONS.iter().zip(&self.permissions) {
            let _ = writeln!(texts[1], "permission(\"{name}\", {});", list(routes));
        }
        // Without any rule at all, a policy set is refused.
        texts[1].push_str("open(\"OPTIONS /never\");\n");
        for (file, declaration) in &self.declarations {
            let _ = writeln!(texts[*file], "{}", declaration.text());
        }
        let sources = FILES.into_iter().zip(texts);
        sources.map(|(name, text)| Source { name: Arc::from(name), text }).collect()
    }

    /// The file and line of a declaration, as [`PolicyModel::sources`] writes them.
    pub(crate) fn place(&self, at: usize) -> (usize, u32) {
        let file = self.declarations[at].0;
        let before = self.declarations[..at].iter().filter(|(other, _)| *other == file).count();
        let first = if file == 0 { ROLES.len() } else { self.permissions.len() + 1 };
        (file, u32::try_from(first + before + 1).unwrap_or(0))
    }

    pub(crate) fn held(&self, request: &RequestModel) -> BTreeSet<&'static str> {
        let mut held: BTreeSet<_> = request.roles.iter().flatten().copied().collect();
        if held.contains(ALIAS) {
            held.insert("r1");
        }
        // As often as there are roles, so that chains of inclusions come to their end.
        for _ in ROLES {
            for (_, declaration) in &self.declarations {
                if let Declaration::Includes { role, included } = declaration
                    && held.contains(ROLES[*role])
                {
                    held.extend(included.iter().map(|included| ROLES[*included]));
                }
            }
        }
        held
    }

    /// The declarations that allow, and those that deny.
    pub(crate) fn decide(&self, request: &RequestModel) -> (Vec<Option<usize>>, Vec<usize>) {
        let held = self.held(request);
        let (mut allowing, mut denying) = (Vec::new(), Vec::new());
        let permits = |at: usize| self.permissions[at].iter().any(|route| route.matches(request));
        if held.contains(CUSTOM) && permits(0) {
            allowing.push(None);
        }
        for (at, (_, declaration)) in self.declarations.iter().enumerate() {
            match declaration {
                Declaration::Includes { .. } => {}
                Declaration::Grants { role, permissions } => {
                    let number = |name| PERMISSIONS.iter().position(|known| *known == name);
                    let mut granted = permissions.iter().filter_map(|name| number(*name));
                    if held.contains(role) && granted.any(permits) {
                        allowing.push(Some(at));
                    }
                }
                Declaration::Rule { kind, routes, except, condition } => {
                    let is_about = match kind {
                        Kind::Allow(role) => held.contains(role),
                        Kind::Authenticated => request.roles.is_some(),
                        Kind::Open | Kind::Deny => true,
                    };
                    if !is_about || except.iter().any(|route| route.matches(request)) {
                        continue;
                    }
                    let mut answers = routes
                        .iter()
                        .filter(|route| route.matches(request))
                        .map(|route| condition.map(|condition| condition.answer(route, request, &held)));
                    // Without a condition: the rule counts. With one: `when` opens when it is true, and
                    // `unless` denies as long as it is not.
                    if *kind == Kind::Deny {
                        if answers.any(|answer| answer.is_none_or(|answer| answer != Some(true))) {
                            denying.push(at);
                        }
                    } else if answers.any(|answer| answer.is_none_or(|answer| answer == Some(true))) {
                        allowing.push(Some(at));
                    }
                }
            }
        }
        (allowing, denying)
    }
}

impl Declaration {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Includes { role, included } => {
                let names: Vec<_> = included.iter().map(|at| format!("\"{}\"", ROLES[*at])).collect();
                format!("role(\"{}\").includes([{}]);", ROLES[*role], names.join(", "))
            }
            Self::Grants { role, permissions } => {
                format!("role(\"{role}\").grants([\"{}\"]);", permissions.join("\", \""))
            }
            Self::Rule { kind, routes, except, condition } => {
                let start = match kind {
                    Kind::Allow(role) => format!("role(\"{role}\").allow({})", list(routes)),
                    Kind::Authenticated => format!("authenticated({})", list(routes)),
                    Kind::Open => format!("open({})", list(routes)),
                    Kind::Deny => format!("deny({})", list(routes)),
                };
                let except =
                    if except.is_empty() { String::new() } else { format!(".except({})", list(except)) };
                let method = if *kind == Kind::Deny { "unless" } else { "when" };
                let condition = condition.map(|it| format!(".{method}(|request| {})", it.text()));
                format!("{start}{except}{};", condition.unwrap_or_default())
            }
        }
    }
}

fn list(routes: &[RouteModel]) -> String {
    let texts: Vec<_> = routes.iter().map(|route| format!("\"{}\"", route.text())).collect();
    if let [only] = &texts[..] { only.clone() } else { format!("[{}]", texts.join(", ")) }
}

pub(crate) fn route() -> impl Strategy<Value = RouteModel> {
    let methods = prop_oneof![
        1 => Just(None),
        2 => subsequence(vec!["GET", "HEAD", "POST", "DELETE"], 1..3).prop_map(Some),
    ];
    let segment = select(vec!["a", "b", "c", "*", "{x}", "{y}"]);
    let segments = proptest::collection::vec(segment, 1..4).prop_map(|mut segments| {
        for name in ["{x}", "{y}"] {
            let mut is_first = true;
            for segment in segments.iter_mut().filter(|segment| **segment == name) {
                *segment = if std::mem::take(&mut is_first) { name } else { "*" };
            }
        }
        segments
    });
    (methods, segments, select(vec!["", "", "/", "/**"])).prop_map(|(methods, segments, end)| RouteModel {
        methods,
        segments,
        end,
    })
}

pub(crate) fn condition() -> impl Strategy<Value = Option<ConditionModel>> {
    let condition = prop_oneof![
        Just(ConditionModel::Yes),
        Just(ConditionModel::No),
        Just(ConditionModel::Throws),
        Just(ConditionModel::GivesNumber),
        select(vec![ConditionModel::Yes, ConditionModel::Loops, ConditionModel::HitsCaughtLimit]),
        select(vec!["GET", "POST"]).prop_map(ConditionModel::IsMethod),
        select(ROLES.to_vec()).prop_map(ConditionModel::HasRole),
        Just(ConditionModel::HasRole(ALIAS)),
        Just(ConditionModel::HasToken),
        select(vec!["a", "b"]).prop_map(ConditionModel::IsX),
    ];
    proptest::option::of(condition)
}

pub(crate) fn declaration() -> impl Strategy<Value = Declaration> {
    let includes = (0..ROLES.len() - 1).prop_flat_map(|role| {
        let others: Vec<usize> = (role + 1..ROLES.len()).collect();
        let count = others.len();
        subsequence(others, 1..=count).prop_map(move |included| Declaration::Includes { role, included })
    });
    let grants = (select(ROLES.to_vec()), subsequence(PERMISSIONS.to_vec(), 1..3))
        .prop_map(|(role, permissions)| Declaration::Grants { role, permissions });
    let kind = prop_oneof![
        4 => select(ROLES.to_vec()).prop_map(Kind::Allow),
        1 => Just(Kind::Authenticated),
        1 => Just(Kind::Open),
        2 => Just(Kind::Deny),
    ];
    let routes = proptest::collection::vec(route(), 1..4);
    let rule = (kind, routes, proptest::collection::vec(route(), 0..2), condition());
    let rule = rule.prop_map(|(kind, routes, except, condition)| {
        let has_x = routes.iter().any(|route| route.segments.contains(&"{x}"));
        // Asking for a parameter that no route has is refused when the policy is loaded.
        let condition = condition.filter(|it| has_x || !matches!(it, ConditionModel::IsX(_)));
        Declaration::Rule { kind, routes, except, condition }
    });
    prop_oneof![1 => includes, 1 => grants, 5 => rule]
}

pub(crate) fn policy() -> impl Strategy<Value = PolicyModel> {
    let permissions = proptest::collection::vec(proptest::collection::vec(route(), 1..3), PERMISSIONS.len());
    let declarations = proptest::collection::vec((0..FILES.len(), declaration()), 0..12);
    (permissions, declarations)
        .prop_map(|(permissions, declarations)| PolicyModel { permissions, declarations })
}

pub(crate) fn request() -> impl Strategy<Value = RequestModel> {
    let method = prop_oneof![4 => select(vec!["GET", "POST"]), 1 => select(METHODS.to_vec())];
    let segments = proptest::collection::vec(select(vec!["a", "b", "c", "d"]), 0..5);
    let roles = proptest::option::weighted(0.8, subsequence(HELD.to_vec(), 0..4));
    (method, segments, any::<bool>(), roles).prop_map(|(method, segments, slash, roles)| {
        let slash = if slash && !segments.is_empty() { "/" } else { "" };
        RequestModel { method, path: format!("/{}{slash}", segments.join("/")), roles }
    })
}

pub(crate) fn bindings() -> Result<RoleBindings, Box<dyn Error>> {
    let location = Location::new(&Arc::from("config.yaml"), 1, 1);
    Ok(RoleBindings {
        aliases: vec![Alias {
            name: RoleName::parse(ALIAS)?,
            role: RoleName::parse("r1")?,
            location: location.clone(),
        }],
        custom: vec![CustomRole {
            name: RoleName::parse(CUSTOM)?,
            permissions: vec![(Arc::from("p0"), location.clone())],
            location,
        }],
    })
}

pub(crate) fn principal(request: &RequestModel) -> Result<Option<Principal>, Box<dyn Error>> {
    let names = request.roles.as_ref().map(|roles| roles.iter().map(|role| RoleName::parse(role)));
    let roles: Option<Vec<RoleName>> = names.map(Iterator::collect::<Result<_, _>>).transpose()?;
    let id = TokenId::new(TokenId::MIN).ok_or("id")?;
    Ok(roles.map(|roles| Principal {
        id,
        name: Arc::from("t"),
        roles: roles.into(),
        created: Timestamp::EPOCH,
    }))
}

pub(crate) fn decide(set: &PolicySet, request: &RequestModel) -> Result<Decision, Box<dyn Error>> {
    let principal = principal(request)?;
    let read = Request::new(request.method.parse()?, CanonicalPath::parse(&request.path)?);
    Ok(set.decide(principal.as_ref(), &read, Timestamp::EPOCH))
}

/// What is wrong with a decision; `None` when it is the one of the reference.
pub(crate) fn fault(
    set: &PolicySet,
    policy: &PolicyModel,
    request: &RequestModel,
) -> Result<Option<String>, Box<dyn Error>> {
    let decision = decide(set, request)?;
    let (allowing, denying) = policy.decide(request);
    let is_allowed = denying.is_empty() && !allowing.is_empty();
    if decision.is_allow() != is_allowed {
        return Ok(Some(format!(
            "the reference: {allowing:?} allow, {denying:?} deny; decided: {decision:?}"
        )));
    }
    let Some(rule) = set.deciding_rule(&decision) else {
        let has_none = matches!(decision.verdict, Verdict::Deny(_)) && allowing.is_empty();
        return Ok((!has_none).then(|| format!("no rule decides: {decision:?}")));
    };
    let effect = if is_allowed { Effect::Allow } else { Effect::Deny };
    let is_there = |at: &usize| {
        let (file, line) = policy.place(*at);
        *rule.location.file == *FILES[file] && rule.location.line == line
    };
    let is_among = match effect {
        Effect::Deny => denying.iter().any(is_there),
        Effect::Allow => allowing.iter().any(|at| match at {
            Some(at) => is_there(at),
            None => &*rule.location.file == "config.yaml",
        }),
    };
    Ok((rule.effect != effect || !is_among).then(|| format!("another rule decides: {rule:?}")))
}
