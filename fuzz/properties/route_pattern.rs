//! A pattern reads what it writes, matches what it should, and the compiled table finds it where it matches.

use http::Method;
use rolegate::path::CanonicalPath;
use rolegate::policy::{PolicySet, RoleBindings, Route, ScriptLimits, Source};
use rolegate::request::{MethodSet, Request};
use rolegate::time::Timestamp;
use std::collections::BTreeSet;

const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "OPTIONS", "TRACE"];
const ROUTES_MAX: usize = 8;
/// What stands for `*` and `{name}` in a path that a pattern matches.
const FILLER: &str = "w";

/// Lines that start with a slash are paths, and all others are routes.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (paths, routes): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('/'));
    let mut read = Vec::new();
    for line in routes.into_iter().take(ROUTES_MAX) {
        match Route::parse(line) {
            Ok(route) => {
                reads_what_it_writes(&route);
                matches_its_witness(&route);
                read.push(route);
            }
            Err(error) => assert!(!error.to_string().is_empty(), "{line:?}"),
        }
    }
    let given = paths.into_iter().take(ROUTES_MAX).map(str::to_owned);
    let near: BTreeSet<String> = read.iter().flat_map(near_misses).chain(given).collect();
    let paths: Vec<_> = near.iter().filter_map(|path| CanonicalPath::parse(path).ok()).collect();
    table_agrees(&read, &paths);
}

fn reads_what_it_writes(route: &Route) {
    assert_eq!(Route::parse(route.as_str()).as_ref(), Ok(route));
    assert_eq!(
        Route::parse(&written(route)).map(|again| again.pattern),
        Ok(route.pattern.clone()),
        "{route}"
    );
    assert!(!route.methods.is_empty() && MethodSet::ANY.contains(route.methods), "{route}");
    let has_get = route.methods.intersects(MethodSet::of("GET"));
    assert!(!has_get || route.methods.intersects(MethodSet::of("HEAD")), "{route}");
}

/// The route in canonical spelling.
fn written(route: &Route) -> String {
    format!("{} {}", route.methods.names().collect::<Vec<_>>().join(","), route.pattern)
}

/// A path that the pattern matches.
fn witness(route: &Route) -> String {
    let pattern = route.pattern.to_string();
    let fixed = pattern.strip_suffix("**").unwrap_or(&pattern);
    let filled =
        fixed.split('/').map(|part| if part == "*" || part.starts_with('{') { FILLER } else { part });
    filled.collect::<Vec<_>>().join("/")
}

fn matches_its_witness(route: &Route) {
    let text = witness(route);
    let path = CanonicalPath::parse(&text);
    // In a pattern the star alone is written otherwise than in a path, where it is no wildcard.
    let is_same = path.as_ref().is_ok_and(|path| path.as_str() == text.replace("%2A", "*"));
    assert!(is_same, "{route}: {text:?} gives {path:?}");
    let Ok(path) = path else { return };
    assert!(route.pattern.matches(&path), "{route} does not match {path}");
    assert!(!route.pattern.matches(&CanonicalPath::asterisk()), "{route}");
    for name in route.pattern.parameter_names() {
        assert_eq!(route.pattern.parameter(name, &path).as_deref(), Some(FILLER), "{route}");
    }
    let has_tail = route.pattern.to_string().ends_with("/**");
    for below in ["x", "x/", "x/y"] {
        let text = format!("{text}{}{below}", if text.ends_with('/') { "" } else { "/" });
        let Ok(path) = CanonicalPath::parse(&text) else { continue };
        assert_eq!(route.pattern.matches(&path), has_tail, "{route} and {path}");
    }
    let above = text.rsplit_once('/').map_or("", |(above, _)| above);
    if let Ok(path) = CanonicalPath::parse(above) {
        assert!(!route.pattern.matches(&path), "{route} matches {path}");
    }
}

/// The witness, and paths that differ from it a little.
fn near_misses(route: &Route) -> Vec<String> {
    let witness = witness(route);
    let above = witness.rsplit_once('/').map_or("", |(above, _)| above).to_owned();
    let other = format!("{above}/other");
    vec![format!("{witness}/"), format!("{witness}x"), format!("{witness}/x/y"), above, other, witness]
}

fn table_agrees(routes: &[Route], paths: &[CanonicalPath]) {
    if routes.is_empty() {
        return;
    }
    let text: String = routes.iter().map(|route| format!("open(\"{}\");\n", written(route))).collect();
    let source = Source { name: "p.rhai".into(), text };
    let set =
        PolicySet::load(std::slice::from_ref(&source), &RoleBindings::default(), &ScriptLimits::default());
    assert!(set.is_ok(), "{set:?}\n{}", source.text);
    let Ok(set) = set else { return };
    for path in paths {
        for method in METHODS {
            let Ok(sent) = method.parse::<Method>() else { continue };
            let decision = set.decide(None, &Request::new(sent, path.clone()), Timestamp::EPOCH);
            let matching: Vec<u32> = (1..)
                .zip(routes)
                .filter(|(_, route)| {
                    route.methods.intersects(MethodSet::of(method)) && route.pattern.matches(path)
                })
                .map(|(line, _)| line)
                .collect();
            let deciding = set.deciding_rule(&decision).map(|rule| rule.location.line);
            assert_eq!(
                decision.is_allow(),
                !matching.is_empty(),
                "{method} {path}: {decision:?}\n{}",
                source.text
            );
            assert!(
                deciding.is_none_or(|line| matching.contains(&line)),
                "{method} {path} by line {deciding:?}"
            );
        }
    }
}
