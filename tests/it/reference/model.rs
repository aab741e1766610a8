//! Policies and requests as plain values made at random, and the scripts that say the same.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rolegate::policy::{Alias, CustomRole, Location, RoleBindings, Source};
use rolegate::time::Timestamp;
use rolegate::token::{Principal, RoleName, TokenId, TokenName};
use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

const FILES: [&str; 2] = ["a.rhai", "b.rhai"];
/// Where aliases and custom roles stand.
pub(crate) const CONFIGURATION: &str = "config.yaml";
/// A role includes only those after it, so that there are no cycles.
pub(crate) const ROLES: [&str; 4] = ["r0", "r1", "r2", "r3"];
pub(crate) const PERMISSIONS: [&str; 3] = ["p0", "p1", "p2"];
/// Other names of roles, with the role.
pub(crate) const ALIASES: [(&str, &str); 2] = [("alias-of-r1", "r1"), ("alias-of-r3", "r3")];
/// Roles made of permissions, with these.
pub(crate) const CUSTOM: [(&str, &[&str]); 2] = [("custom-of-p0", &["p0"]), ("custom-of-two", &["p1", "p2"])];
/// Roles of which many stand in one loop, so that leaves of the table get large.
pub(crate) const MEMBERS: [&str; 40] = [
    "m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9", "m10", "m11", "m12", "m13", "m14", "m15",
    "m16", "m17", "m18", "m19", "m20", "m21", "m22", "m23", "m24", "m25", "m26", "m27", "m28", "m29", "m30",
    "m31", "m32", "m33", "m34", "m35", "m36", "m37", "m38", "m39",
];
/// Roles of tokens; no policy knows the last one.
const HELD: [&str; 9] =
    ["r0", "r1", "r2", "r3", "alias-of-r1", "alias-of-r3", "custom-of-p0", "custom-of-two", "unknown"];
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get"];
/// What stands in a pattern, and in the canonical paths that it means.
const LITERALS: [(&str, &str); 12] = [
    ("a", "a"),
    ("b", "b"),
    ("c", "c"),
    ("%61", "a"),
    ("A", "A"),
    ("é", "%C3%A9"),
    ("%c3%a9", "%C3%A9"),
    ("%2a", "*"),
    ("x%20y", "x%20y"),
    ("fourteen-chars", "fourteen-chars"),
    ("fourteen-chars-and-more", "fourteen-chars-and-more"),
    ("fourteen-chars-and-less", "fourteen-chars-and-less"),
];
/// A segment of a request as it is sent, in canonical spelling, and decoded.
const PARTS: [(&str, &str, &str); 14] = [
    ("a", "a", "a"),
    ("b", "b", "b"),
    ("c", "c", "c"),
    ("d", "d", "d"),
    ("%62", "b", "b"),
    ("A", "A", "A"),
    ("%c3%a9", "%C3%A9", "é"),
    ("%C3%A9", "%C3%A9", "é"),
    ("*", "*", "*"),
    ("%2a", "*", "*"),
    ("x%20y", "x%20y", "x y"),
    ("fourteen-chars", "fourteen-chars", "fourteen-chars"),
    ("fourteen-chars-and-more", "fourteen-chars-and-more", "fourteen-chars-and-more"),
    ("fourteen-chars-and-else", "fourteen-chars-and-else", "fourteen-chars-and-else"),
];
/// Queries; `q` is what conditions ask for, and the last gives it twice.
const QUERIES: [&str; 4] = ["q=1", "q=2&r=1", "r=/a/b", "q=1&q=1"];
/// The name of the token.
pub(crate) const TOKEN: &str = "t";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentModel {
    Literal { written: &'static str, canonical: &'static str },
    Any,
    Named(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Segment,
    Slash,
    Below,
}

#[derive(Clone, Debug)]
pub(crate) struct RouteModel {
    /// `None` for `ANY`.
    pub(crate) methods: Option<Vec<&'static str>>,
    pub(crate) segments: Vec<SegmentModel>,
    pub(crate) end: End,
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
    /// `path == …`: the canonical one.
    IsPath(&'static str),
    HasRole(&'static str),
    HasToken,
    /// Fails without a token, which has no name.
    IsTokenNamed(&'static str),
    /// `param("x") == …`: decoded; fails for a route without `{x}`.
    IsX(&'static str),
    /// `query("q") == …`: fails when it is given twice.
    IsQ(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holders {
    Role(&'static str),
    /// Those of [`MEMBERS`] from one number to before another.
    Members(usize, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Allow(Holders),
    Authenticated,
    Open,
    Deny,
}

#[derive(Clone, Debug)]
pub(crate) struct RuleModel {
    pub(crate) routes: Vec<RouteModel>,
    pub(crate) except: Vec<RouteModel>,
    pub(crate) condition: Option<ConditionModel>,
}

#[derive(Clone, Debug)]
pub(crate) enum Declaration {
    Includes {
        role: usize,
        included: Vec<usize>,
    },
    Grants {
        holders: Holders,
        permissions: Vec<&'static str>,
    },
    /// For a role there may be several rules in one chain of calls.
    Rules {
        kind: Kind,
        rules: Vec<RuleModel>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct PolicyModel {
    /// The routes of each of [`PERMISSIONS`].
    pub(crate) permissions: Vec<Vec<RouteModel>>,
    /// Each with the number of the file that it stands in.
    pub(crate) declarations: Vec<(usize, Declaration)>,
}

#[derive(Clone, Debug)]
pub(crate) struct RequestModel {
    pub(crate) method: &'static str,
    /// The path as it is sent.
    pub(crate) path: String,
    /// The segments in canonical spelling, and decoded; the last is empty when the path ends in a slash.
    pub(crate) segments: Vec<(&'static str, &'static str)>,
    pub(crate) query: Option<&'static str>,
    /// `None` without a token.
    pub(crate) roles: Option<Vec<&'static str>>,
}

impl RouteModel {
    fn text(&self) -> String {
        let mut text = self.methods.as_ref().map_or("ANY".to_owned(), |methods| methods.join(","));
        // More than one space may stand between methods and pattern.
        text.push_str(if self.segments.len() == 3 { "  " } else { " " });
        for segment in &self.segments {
            let _ = match segment {
                SegmentModel::Literal { written, .. } => write!(text, "/{written}"),
                SegmentModel::Any => write!(text, "/*"),
                SegmentModel::Named(name) => write!(text, "/{{{name}}}"),
            };
        }
        text.push_str(match self.end {
            End::Segment => "",
            End::Slash => "/",
            End::Below => "/**",
        });
        text
    }

    fn has_x(&self) -> bool {
        self.segments.contains(&SegmentModel::Named("x"))
    }
}

impl ConditionModel {
    fn text(self) -> String {
        match self {
            Self::Yes => "true".into(),
            Self::No => "false".into(),
            Self::Throws => "throw \"no\"".into(),
            Self::GivesNumber => "1".into(),
            Self::Loops => "{ loop {} true }".into(),
            Self::HitsCaughtLimit => "{ let l = []; try { loop { l.push(1); } } catch { } true }".into(),
            Self::IsMethod(method) => format!("request.method == \"{method}\""),
            Self::IsPath(path) => format!("request.path == \"{path}\""),
            Self::HasRole(role) => format!("request.has_role(\"{role}\")"),
            Self::HasToken => "request.token != ()".into(),
            Self::IsTokenNamed(name) => format!("request.token.name == \"{name}\""),
            Self::IsX(value) => format!("request.param(\"x\") == \"{value}\""),
            Self::IsQ(value) => format!("request.query(\"q\") == \"{value}\""),
        }
    }
}

impl PolicyModel {
    /// The scripts, one declaration a line.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let (mut first, mut second) = (String::new(), String::new());
        for role in ROLES {
            let _ = writeln!(first, "role(\"{role}\");");
        }
        for (name, routes) in PERMISSIONS.iter().zip(&self.permissions) {
            let _ = writeln!(second, "permission(\"{name}\", {});", list(routes));
        }
        second.push_str(&format!("for i in 0..{} {{ role(`m${{i}}`); }} ", MEMBERS.len()));
        // Without any rule at all, a policy set is refused.
        second.push_str("open(\"OPTIONS /never\");\n");
        for (file, declaration) in &self.declarations {
            let text = if *file == 0 { &mut first } else { &mut second };
            let _ = writeln!(text, "{}", declaration.text());
        }
        let sources = FILES.into_iter().zip([first, second]);
        sources.map(|(name, text)| Source { name: Arc::from(name), text }).collect()
    }

    /// The file and line of a declaration, as [`PolicyModel::sources`] writes them.
    pub(crate) fn place(&self, at: usize) -> Option<(&'static str, usize)> {
        let (file, _) = self.declarations.get(at)?;
        let before = self.declarations.iter().take(at).filter(|(other, _)| other == file).count();
        let first = if *file == 0 { ROLES.len() } else { self.permissions.len() + 1 };
        Some((FILES.get(*file)?, first + before + 1))
    }
}

impl Declaration {
    fn text(&self) -> String {
        let name = |at: &usize| ROLES.get(*at).copied().unwrap_or_default();
        match self {
            Self::Includes { role, included } => {
                let names: Vec<_> = included.iter().map(|at| format!("\"{}\"", name(at))).collect();
                format!("role(\"{}\").includes([{}]);", name(role), names.join(", "))
            }
            Self::Grants { holders, permissions } => {
                holders.text(&format!(".grants([\"{}\"])", permissions.join("\", \"")))
            }
            Self::Rules { kind: Kind::Allow(holders), rules } => {
                let links: String = rules.iter().map(|rule| rule.text(".allow", "when")).collect();
                holders.text(&links)
            }
            Self::Rules { kind, rules } => {
                let (start, method) = match kind {
                    Kind::Authenticated => ("authenticated", "when"),
                    Kind::Deny => ("deny", "unless"),
                    Kind::Open | Kind::Allow(_) => ("open", "when"),
                };
                rules.iter().map(|rule| rule.text(start, method) + ";").collect()
            }
        }
    }
}

impl Holders {
    fn text(self, links: &str) -> String {
        match self {
            Self::Role(name) => format!("role(\"{name}\"){links};"),
            Self::Members(from, to) => format!("for i in {from}..{to} {{ role(`m${{i}}`){links}; }}"),
        }
    }
}

impl RuleModel {
    fn text(&self, start: &str, method: &str) -> String {
        let except =
            if self.except.is_empty() { String::new() } else { format!(".except({})", list(&self.except)) };
        let condition = self.condition.map(|it| format!(".{method}(|request| {})", it.text()));
        format!("{start}({}){except}{}", list(&self.routes), condition.unwrap_or_default())
    }
}

fn list(routes: &[RouteModel]) -> String {
    let texts: Vec<_> = routes.iter().map(|route| format!("\"{}\"", route.text())).collect();
    match &texts[..] {
        [only] => only.clone(),
        _ => format!("[{}]", texts.join(", ")),
    }
}

fn segment() -> impl Strategy<Value = SegmentModel> {
    let literal = |(written, canonical)| SegmentModel::Literal { written, canonical };
    prop_oneof![
        4 => select(&LITERALS[..3]).prop_map(literal),
        1 => select(&LITERALS[3..]).prop_map(literal),
        2 => Just(SegmentModel::Any),
        2 => select(&["x", "y"][..]).prop_map(SegmentModel::Named),
    ]
}

fn route() -> impl Strategy<Value = RouteModel> {
    let methods = prop_oneof![
        2 => Just(None),
        4 => subsequence(vec!["GET", "HEAD", "POST", "DELETE"], 1..3).prop_map(Some),
        1 => subsequence(METHODS[..7].to_vec(), 1..4).prop_map(Some),
    ];
    let end = prop_oneof![3 => Just(End::Segment), 1 => Just(End::Slash), 3 => Just(End::Below)];
    let segments = proptest::collection::vec(segment(), 0..4);
    (methods, segments, end).prop_map(|(methods, mut segments, end)| {
        for name in ["x", "y"].map(SegmentModel::Named) {
            let repeated = segments.iter_mut().filter(|segment| **segment == name).skip(1);
            repeated.for_each(|segment| *segment = SegmentModel::Any);
        }
        // The root is a slash and no segment.
        let end = if segments.is_empty() && end == End::Segment { End::Slash } else { end };
        RouteModel { methods, segments, end }
    })
}

fn condition() -> impl Strategy<Value = Option<ConditionModel>> {
    let named = [ROLES[0], ROLES[1], ROLES[2], ROLES[3], ALIASES[0].0, CUSTOM[0].0];
    let condition = prop_oneof![
        1 => Just(ConditionModel::Yes),
        1 => Just(ConditionModel::No),
        1 => Just(ConditionModel::Throws),
        1 => Just(ConditionModel::GivesNumber),
        // Those that run into a limit take longest, and are rare for that.
        1 => select(&[ConditionModel::Yes, ConditionModel::No, ConditionModel::Loops, ConditionModel::HitsCaughtLimit][..]),
        1 => select(&METHODS[..3]).prop_map(ConditionModel::IsMethod),
        1 => select(&["/a", "/a/b", "/b/", "/%C3%A9", "/é"][..]).prop_map(ConditionModel::IsPath),
        1 => select(named.to_vec()).prop_map(ConditionModel::HasRole),
        1 => Just(ConditionModel::HasToken),
        1 => select(&[TOKEN, "other"][..]).prop_map(ConditionModel::IsTokenNamed),
        2 => select(&["a", "b", "é", "x y"][..]).prop_map(ConditionModel::IsX),
        2 => select(&["1", "2"][..]).prop_map(ConditionModel::IsQ),
    ];
    proptest::option::of(condition)
}

fn rule() -> impl Strategy<Value = RuleModel> {
    let routes = proptest::collection::vec(route(), 1..4);
    let rule = (routes, proptest::collection::vec(route(), 0..3), condition());
    rule.prop_map(|(routes, except, condition)| {
        let has_x = routes.iter().any(RouteModel::has_x);
        // Asking for a parameter that no route has is refused when the policy is loaded.
        let condition = condition.filter(|it| has_x || !matches!(it, ConditionModel::IsX(_)));
        RuleModel { routes, except, condition }
    })
}

fn holders() -> impl Strategy<Value = Holders> {
    let members =
        (0..5_usize, 1..MEMBERS.len()).prop_map(|(from, count)| (from, MEMBERS.len().min(from + count)));
    prop_oneof![
        6 => select(&ROLES[..]).prop_map(Holders::Role),
        1 => members.prop_map(|(from, to)| Holders::Members(from, to)),
    ]
}

fn declaration() -> impl Strategy<Value = Declaration> {
    let includes = (0..ROLES.len() - 1).prop_flat_map(|role| {
        let others: Vec<usize> = (role + 1..ROLES.len()).collect();
        let count = others.len();
        subsequence(others, 1..=count).prop_map(move |included| Declaration::Includes { role, included })
    });
    let grants = (holders(), subsequence(PERMISSIONS.to_vec(), 1..3))
        .prop_map(|(holders, permissions)| Declaration::Grants { holders, permissions });
    let chain = (holders(), proptest::collection::vec(rule(), 1..3))
        .prop_map(|(holders, rules)| Declaration::Rules { kind: Kind::Allow(holders), rules });
    let kind = prop_oneof![1 => Just(Kind::Authenticated), 1 => Just(Kind::Open), 2 => Just(Kind::Deny)];
    let single = (kind, rule()).prop_map(|(kind, rule)| Declaration::Rules { kind, rules: vec![rule] });
    prop_oneof![2 => includes, 2 => grants, 5 => chain, 5 => single]
}

/// A policy of up to eleven declarations in two files.
pub(crate) fn policy() -> impl Strategy<Value = PolicyModel> {
    let permissions = proptest::collection::vec(proptest::collection::vec(route(), 0..3), PERMISSIONS.len());
    let declarations = proptest::collection::vec((0..FILES.len(), declaration()), 0..12);
    (permissions, declarations)
        .prop_map(|(permissions, declarations)| PolicyModel { permissions, declarations })
}

/// A request that the routes of [`policy`] are likely to match.
pub(crate) fn request() -> impl Strategy<Value = RequestModel> {
    let method = prop_oneof![5 => select(&["GET", "POST"][..]), 1 => select(&METHODS[..])];
    let part = prop_oneof![6 => select(&PARTS[..3]), 2 => select(&PARTS[3..])];
    let parts = proptest::collection::vec(part, 0..4);
    let query = proptest::option::weighted(0.3, select(&QUERIES[..]));
    let members = prop_oneof![
        8 => Just(Vec::new()),
        3 => subsequence(MEMBERS.to_vec(), 1..3),
        1 => subsequence(MEMBERS.to_vec(), 20..40),
    ];
    let roles =
        (subsequence(HELD.to_vec(), 0..5), members).prop_map(|(held, members)| [held, members].concat());
    let roles = proptest::option::weighted(0.85, roles);
    (method, parts, any::<bool>(), query, roles).prop_map(|(method, mut parts, slash, query, roles)| {
        if slash || parts.is_empty() {
            parts.push(("", "", ""));
        }
        let sent: Vec<_> = parts.iter().map(|(sent, ..)| *sent).collect();
        let path = format!("/{}", sent.join("/"));
        let segments = parts.into_iter().map(|(_, canonical, decoded)| (canonical, decoded)).collect();
        RequestModel { method, path, segments, query, roles }
    })
}

/// What the configuration adds: [`ALIASES`] and [`CUSTOM`].
pub(crate) fn bindings() -> Result<RoleBindings, Box<dyn Error>> {
    let location = Location::new(&Arc::from(CONFIGURATION), 1, 1);
    let alias = |(name, role)| -> Result<Alias, Box<dyn Error>> {
        Ok(Alias { name: RoleName::parse(name)?, role: RoleName::parse(role)?, location: location.clone() })
    };
    let custom = |(name, permissions): (_, &[&str])| -> Result<CustomRole, Box<dyn Error>> {
        let permissions = permissions.iter().map(|name| (Arc::from(*name), location.clone())).collect();
        Ok(CustomRole { name: RoleName::parse(name)?, permissions, location: location.clone() })
    };
    let aliases = ALIASES.into_iter().map(alias).collect::<Result<_, _>>()?;
    Ok(RoleBindings { aliases, custom: CUSTOM.into_iter().map(custom).collect::<Result<_, _>>()? })
}

/// Who sends the request; nobody without a token.
pub(crate) fn principal(request: &RequestModel) -> Result<Option<Principal>, Box<dyn Error>> {
    let Some(names) = &request.roles else { return Ok(None) };
    let roles: Vec<RoleName> = names.iter().map(|role| RoleName::parse(role)).collect::<Result<_, _>>()?;
    let id = TokenId::new(TokenId::MIN).ok_or("no such id")?;
    Ok(Some(Principal {
        id: id.into(),
        name: TokenName::from(TOKEN),
        roles: roles.into(),
        created: Timestamp::EPOCH,
    }))
}
