//! The walk, against matching each pattern by itself.

use super::*;
use crate::policy::roles::{RoleIndex, RoleSet, RoleTable};
use crate::request::MethodSet;
use crate::token::RoleName;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// A rule with one route, as far as the table knows it.
#[derive(Clone, Debug)]
struct Model {
    route: String,
    subject: SubjectModel,
    kind: RowKind,
}

#[derive(Clone, Copy, Debug)]
enum SubjectModel {
    Anyone,
    Authenticated,
    Role(usize),
}

fn model(route: &str) -> Model {
    Model { route: route.to_owned(), subject: SubjectModel::Anyone, kind: RowKind::Guarded }
}

fn roles(count: usize) -> Vec<RoleIndex> {
    let mut table = RoleTable::default();
    (0..count).map(|at| table.intern(&RoleName::parse(&format!("r{at}")).unwrap()).unwrap()).collect()
}

fn build(rules: &[Model], roles: &[RoleIndex]) -> Table {
    let mut builder = TableBuilder::new();
    for (number, rule) in (0..).zip(rules) {
        let route = Route::parse(&rule.route).unwrap();
        let subject = match rule.subject {
            SubjectModel::Anyone => RowSubject::Anyone,
            SubjectModel::Authenticated => RowSubject::Authenticated,
            SubjectModel::Role(at) => RowSubject::Role(roles[at]),
        };
        builder.add(&route, Row { rule: number, route: 0, subject, kind: rule.kind, methods: route.methods });
    }
    builder.build()
}

fn found(routes: &[&str], method: &str, path: &str) -> Vec<u32> {
    let rules: Vec<Model> = routes.iter().map(|route| model(route)).collect();
    let asker = Asker { is_authenticated: false, held: &RoleSet::EMPTY, method: MethodSet::of(method) };
    let mut found = Vec::new();
    build(&rules, &[]).walk(&asker, &CanonicalPath::parse(path).unwrap(), &mut |row| found.push(row.rule));
    found.sort_unstable();
    found
}

/// What decides: the first rule that denies, the first that allows, and all that need a second look.
type Deciding = (Option<u32>, Option<u32>, Vec<u32>);

fn deciding<'r>(rows: impl Iterator<Item = (u32, &'r RowKind)>) -> Deciding {
    let mut deciding: Deciding = (None, None, Vec::new());
    for (rule, kind) in rows {
        match kind {
            RowKind::Deny => deciding.0 = Some(deciding.0.map_or(rule, |first| first.min(rule))),
            RowKind::Allow => deciding.1 = Some(deciding.1.map_or(rule, |first| first.min(rule))),
            RowKind::Guarded => deciding.2.push(rule),
        }
    }
    deciding.2.sort_unstable();
    deciding
}

#[test]
fn walk_finds_every_rule_about_the_request() {
    let routes =
        ["GET /a/{x}", "ANY /a/**", "GET /a/b", "GET /*/b", "POST /a/b", "GET /a/b/", "GET /**", "GET /a"];
    assert_eq!(found(&routes, "GET", "/a/b"), [0, 1, 2, 3, 6]);
    assert_eq!(found(&routes, "POST", "/a/b"), [1, 4]);
    assert_eq!(found(&routes, "GET", "/a/"), [1, 6]);
    assert_eq!(found(&routes, "GET", "/a/b/"), [1, 5, 6]);
    assert_eq!(found(&routes, "GET", "/a"), [6, 7]);
    assert!(found(&routes, "TRACE", "/a/b").is_empty());
    assert!(found(&[], "GET", "/").is_empty());
}

#[test]
fn segments_are_told_apart_to_their_last_byte() {
    for length in [1, 2, 3, 4, 5, 7, 8, 9, SHORT_MAX_BYTES - 1, SHORT_MAX_BYTES, SHORT_MAX_BYTES + 1, 300] {
        let text = "s".repeat(length);
        // One byte is another one, at each place; and one is missing, or one too many.
        let with = |at: usize| format!("{}x{}", "s".repeat(at), "s".repeat(length - at - 1));
        let others = (0..length).map(with).chain(["s".repeat(length - 1), "s".repeat(length + 1)]);
        let others = others.filter(|other| !other.is_empty());
        for other in others {
            let routes = [format!("GET /{text}"), format!("GET /{other}/c")];
            let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
            assert_eq!(found(&routes, "GET", &format!("/{text}")), [0]);
            assert_eq!(found(&routes, "GET", &format!("/{other}/c")), [1]);
            assert!(found(&routes, "GET", &format!("/{other}")).is_empty());
            assert!(found(&routes, "GET", &format!("/{text}/c")).is_empty());
        }
    }
}

#[test]
fn rows_that_can_never_be_the_first_are_dropped() {
    let rule = |route: &str, subject, kind| Model { route: route.to_owned(), subject, kind };
    let rules = [
        rule("GET /a", SubjectModel::Role(0), RowKind::Allow),
        rule("GET,POST /a", SubjectModel::Authenticated, RowKind::Allow),
        rule("POST /a", SubjectModel::Role(0), RowKind::Allow),
        rule("GET,PUT /a", SubjectModel::Role(1), RowKind::Allow),
        rule("ANY /a", SubjectModel::Anyone, RowKind::Allow),
        rule("ANY /a", SubjectModel::Anyone, RowKind::Deny),
        rule("ANY /a", SubjectModel::Anyone, RowKind::Deny),
        rule("ANY /a", SubjectModel::Anyone, RowKind::Guarded),
        rule("ANY /a", SubjectModel::Anyone, RowKind::Guarded),
    ];
    let kept: Vec<u32> = build(&rules, &roles(2)).rows.iter().map(|row| row.rule).collect();
    assert_eq!(kept, [5, 0, 1, 3, 4, 7, 8]);
}

/// Routes and paths over few words, so that they meet often.
fn route() -> impl Strategy<Value = String> {
    let segment = select(vec!["a", "b", "a-segment-longer-than-an-edge", "*", "{x}"]);
    let method = select(vec!["GET", "POST", "GET,POST", "ANY"]);
    let parts = (method, prop::collection::vec(segment, 1..4), select(vec!["", "/", "/**"]));
    parts.prop_filter_map("a name twice is no pattern", |(method, segments, end)| {
        let names = segments.iter().filter(|segment| **segment == "{x}").count();
        (names < 2).then(|| format!("{method} /{}{end}", segments.join("/")))
    })
}

fn rule(route: impl Strategy<Value = String>, roles: usize) -> impl Strategy<Value = Model> {
    let subject = prop_oneof![
        1 => Just(SubjectModel::Anyone),
        1 => Just(SubjectModel::Authenticated),
        8 => (0..roles).prop_map(SubjectModel::Role),
    ];
    let kind = select(vec![RowKind::Deny, RowKind::Allow, RowKind::Allow, RowKind::Guarded]);
    (route, subject, kind).prop_map(|(route, subject, kind)| Model { route, subject, kind })
}

proptest! {
    #[test]
    fn walk_finds_what_matching_each_pattern_finds(
        rules in prop::collection::vec(rule(route(), 3), 0..24),
        segments in prop::collection::vec(select(vec!["a", "b", "a-segment-longer-than-an-edge", "c"]), 0..5),
        slash in any::<bool>(),
        is_authenticated in any::<bool>(),
        held in subsequence(vec![0, 1, 2], 0..3),
    ) {
        let path = format!("/{}{}", segments.join("/"), if slash && !segments.is_empty() { "/" } else { "" });
        let known = roles(3);
        check(&rules, &known, &held, is_authenticated, "GET", &path);
    }

    #[test]
    fn leaf_of_many_rows_finds_what_matching_each_finds(
        rules in prop::collection::vec(rule(select(vec!["GET /x", "POST /x", "ANY /x"]).prop_map(str::to_owned), 90), 0..300),
        is_authenticated in any::<bool>(),
        held in prop_oneof![subsequence((0..90).collect::<Vec<usize>>(), 0..5), subsequence((0..90).collect::<Vec<usize>>(), 20..90)],
        method in select(vec!["GET", "POST", "DELETE"]),
    ) {
        check(&rules, &roles(90), &held, is_authenticated, method, "/x");
    }
}

/// Compares what decides by the table with what decides by a loop.
fn check(
    rules: &[Model],
    known: &[RoleIndex],
    held: &[usize],
    is_authenticated: bool,
    method: &str,
    path: &str,
) {
    let canonical = CanonicalPath::parse(path).unwrap();
    // Whoever holds a role has a token.
    let is_authenticated = is_authenticated || !held.is_empty();
    let set: RoleSet = held.iter().map(|at| known[*at]).collect();
    let method = MethodSet::of(method);
    let asker = Asker { is_authenticated, held: &set, method };
    let mut rows = Vec::new();
    build(rules, known).walk(&asker, &canonical, &mut |row| rows.push(*row));
    let matching = (0..).zip(rules).filter(|(_, rule)| {
        let route = Route::parse(&rule.route).unwrap();
        let is_about = match rule.subject {
            SubjectModel::Anyone => true,
            SubjectModel::Authenticated => is_authenticated,
            SubjectModel::Role(at) => held.contains(&at),
        };
        is_about && route.methods.intersects(method) && route.pattern.matches(&canonical)
    });
    let expected = deciding(matching.map(|(number, rule)| (number, &rule.kind)));
    assert_eq!(deciding(rows.iter().map(|row| (row.rule, &row.kind))), expected, "{rules:?} {path}");
}
