//! Lines by which policies say what they open: `// rolegate: opens GET /api/x/** to role`. They permit nothing. A
//! reload that is to refuse what nobody meant to open asks whether such a line names it.

use super::declaration::Subject;
use super::diff::{Gain, Region};
use super::error::Location;
use super::pattern::{Route, RouteError};
use super::script::{Source, line_comments};
use crate::request::MethodSet;
use crate::token::{RoleName, RoleNameError};
use std::collections::BTreeSet;

/// How such a line begins.
const START: &str = "// rolegate:";
/// How the words go on with which lines of the same beginning allow warnings.
const OTHER_LINES: &str = "allow";
/// What parts an opening from words of its author's own.
const REASON: &str = " because ";
/// The subject of a request with or without a token.
const EVERYONE: &str = "everyone";
/// The subject of a request with any live token.
const EVERY_TOKEN: &str = "every token";
/// The most lines that are read.
pub const OPENINGS_MAX: usize = 10_000;

/// What the lines of policies say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Openings {
    openings: Vec<Opening>,
    misread: Vec<(Location, OpeningError)>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Opening {
    /// The whole line, by which it is told whether it is new.
    line: String,
    route: Route,
    subjects: BTreeSet<String>,
}

/// Why a line says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpeningError {
    /// It has another form.
    #[error(
        "this line says nothing; write `{START} opens GET /path to role`, or `to every token`, or `to everyone`"
    )]
    Form,
    /// It names no route.
    #[error("the route of this line cannot be read: {0}")]
    Route(#[from] RouteError),
    /// It names no role.
    #[error("`{0}` is no role: {1}")]
    Role(String, RoleNameError),
}

impl Openings {
    /// Reads the lines of these policies.
    pub fn of(sources: &[Source]) -> Self {
        let mut found = Self::default();
        // Most scripts have none, and need not be read for them.
        let sources = sources.iter().filter(|source| source.text.contains(START));
        let lines = sources.flat_map(|source| {
            let comments = line_comments(&source.text).into_iter();
            comments.map(|(number, line)| (Location::new(&source.name, number, 0), line))
        });
        let is_other = |said: &str| said.trim_start().starts_with(OTHER_LINES);
        let said = lines.filter(|(_, line)| line.strip_prefix(START).is_some_and(|said| !is_other(said)));
        for (location, line) in said.take(OPENINGS_MAX) {
            let line = line.trim_end();
            match read(line.strip_prefix(START).unwrap_or_default()) {
                Ok((route, subjects)) => {
                    found.openings.push(Opening { line: line.to_owned(), route, subjects });
                }
                Err(error) => found.misread.push((location, error)),
            }
        }
        found
    }

    /// The lines that begin as such a line does and cannot be read.
    pub fn misread(&self) -> &[(Location, OpeningError)] {
        &self.misread
    }

    /// The gains that no line names. A line that stood in the policies before says nothing about what is new.
    pub fn unnamed<'g>(&self, before: &Self, gains: &'g [Gain]) -> Vec<&'g Gain> {
        let known: BTreeSet<&str> = before.openings.iter().map(|opening| opening.line.as_str()).collect();
        let new: Vec<&Opening> =
            self.openings.iter().filter(|opening| !known.contains(opening.line.as_str())).collect();
        gains.iter().filter(|gain| !is_named(&gain.region, &new)).collect()
    }
}

impl Gain {
    /// The line that names this gain.
    pub fn line(&self) -> String {
        let Region { subjects, methods, pattern, .. } = &self.region;
        let has = |subject| subjects.contains(subject);
        let to = if has(&Subject::Anyone) {
            EVERYONE.to_owned()
        } else if has(&Subject::Authenticated) {
            EVERY_TOKEN.to_owned()
        } else {
            let roles = subjects.iter().filter_map(|subject| match subject {
                Subject::Role(role) => Some(role.as_str()),
                Subject::Anyone | Subject::Authenticated => None,
            });
            roles.collect::<Vec<_>>().join(", ")
        };
        format!("{START} opens {} {pattern} to {to}", written(*methods))
    }
}

/// Whether every subject of the region is named with each of its methods, and all its paths.
fn is_named(region: &Region, openings: &[&Opening]) -> bool {
    let about: Vec<&&Opening> =
        openings.iter().filter(|opening| opening.route.pattern.contains(&region.pattern)).collect();
    region.subjects.iter().all(|subject| {
        let of_subject = about.iter().filter(|opening| opening.names(subject));
        let methods = of_subject.fold(MethodSet::NONE, |all, opening| all | opening.route.methods);
        methods.contains(region.methods)
    })
}

impl Opening {
    fn names(&self, subject: &Subject) -> bool {
        let has = |name: &str| self.subjects.contains(name);
        has(EVERYONE)
            || match subject {
                Subject::Anyone => false,
                Subject::Authenticated => has(EVERY_TOKEN),
                Subject::Role(role) => has(EVERY_TOKEN) || has(role.as_str()),
            }
    }
}

/// Reads what follows the start of a line.
fn read(said: &str) -> Result<(Route, BTreeSet<String>), OpeningError> {
    let said = said.split_once(REASON).map_or(said, |(said, _)| said);
    let said = said.trim().strip_prefix("opens ").ok_or(OpeningError::Form)?;
    let (route, to) = said.split_once(" to ").ok_or(OpeningError::Form)?;
    let subject = |name: &str| match name.trim() {
        name @ (EVERYONE | EVERY_TOKEN) => Ok(name.to_owned()),
        name => match RoleName::parse(name) {
            Ok(_) => Ok(name.to_owned()),
            Err(error) => Err(OpeningError::Role(name.to_owned(), error)),
        },
    };
    Ok((Route::parse(route.trim())?, to.split(',').map(subject).collect::<Result<_, _>>()?))
}

/// The methods as a route has them; `GET` has `HEAD` with it.
fn written(methods: MethodSet) -> String {
    if methods == MethodSet::ANY {
        return "ANY".to_owned();
    }
    let has_get = methods.intersects(MethodSet::of("GET"));
    methods.names().filter(|name| !(has_get && *name == "HEAD")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{PolicySet, RoleBindings, ScriptLimits};
    use std::sync::Arc;

    fn source(text: &str) -> Source {
        Source { name: Arc::from("p.rhai"), text: text.to_owned() }
    }

    fn load(text: &str) -> PolicySet {
        PolicySet::load(&[source(text)], &RoleBindings::default(), &ScriptLimits::default()).unwrap()
    }

    /// The lines that are missing in `new`.
    fn missing(old: &str, new: &str) -> Vec<String> {
        let gains = load(old).gains(&load(new)).unwrap();
        let (before, now) = (Openings::of(&[source(old)]), Openings::of(&[source(new)]));
        now.unnamed(&before, &gains).into_iter().map(Gain::line).collect()
    }

    const OLD: &str = "role(\"a\").allow(\"GET /a\"); role(\"b\").allow(\"GET /b\");\n";

    /// Whatever is opened is missing without a line, and not with the line that is told.
    #[test]
    fn line_that_is_told_names_the_gain() {
        for more in [
            "role(\"a\").allow(\"GET /x\");",
            "role(\"a\").allow(\"GET,POST /x/{id}\"); role(\"b\").allow(\"DELETE /y\");",
            "role(\"a\").allow(\"ANY /x/**\").except(\"ANY /x/y\");",
            "role(\"b\").includes(\"a\");",
            "authenticated(\"POST /x/*\");",
            "open(\"OPTIONS /x\");",
            "open(\"GET /a\");",
            "role(\"a\").allow(\"GET /x\").when(|request| request.path == \"/x\");",
            "role(\"c\").allow(\"GET /**\");",
        ] {
            let new = format!("{OLD}{more}");
            let lines = missing(OLD, &new);
            assert!(!lines.is_empty(), "{more}");
            let named = format!("{new}\n{}", lines.join("\n"));
            assert_eq!(missing(OLD, &named), Vec::<String>::new(), "{named}");
            // Every one of them is needed.
            for line in &lines {
                let without = named.replace(&format!("\n{line}"), "");
                assert_eq!(missing(OLD, &without), std::slice::from_ref(line), "{named}");
            }
        }
        let closed = OLD.replace("/b", "/a");
        assert_eq!(missing(OLD, &closed), ["// rolegate: opens GET /a to b"]);
        assert_eq!(missing(&closed, "role(\"a\").allow(\"GET /a\");"), Vec::<String>::new());
    }

    #[test]
    fn line_names_no_more_than_it_says() {
        let new = format!("{OLD}role(\"a\").allow(\"GET,POST /x/y\");");
        for (line, is_enough) in [
            ("// rolegate: opens GET,POST /x/y to a", true),
            ("  // rolegate: opens GET,POST /x/{any} to b,  a because of ticket 12", true),
            ("// rolegate: opens ANY /** to everyone", true),
            ("// rolegate: opens POST,GET /x/* to every token", true),
            ("// rolegate: opens GET /x/y to a\n// rolegate: opens POST /x/y to a", true),
            ("// rolegate: opens GET /x/y to a", false),
            ("// rolegate: opens GET,POST /x/y to b", false),
            ("// rolegate: opens GET,POST /x/z to a", false),
            ("// rolegate: opens GET,POST /x to a", false),
            ("// rolegate: opens GET,POST /x/y/** to a", false),
            ("let line = \"// rolegate: opens GET,POST /x/y to a\";", false),
            ("// rolegate: closes GET,POST /x/y to a", false),
            ("// opens GET,POST /x/y to a", false),
        ] {
            assert_eq!(missing(OLD, &format!("{new}\n{line}")).is_empty(), is_enough, "{line}");
        }
        let open = format!("{OLD}open(\"GET /x\");");
        assert!(!missing(OLD, &format!("{open}\n// rolegate: opens GET /x to every token")).is_empty());
        assert!(missing(OLD, &format!("{open}\n// rolegate: opens GET /x to everyone")).is_empty());
    }

    #[test]
    fn line_that_stood_there_before_says_nothing() {
        let line = "// rolegate: opens GET /x to a";
        let old = format!("{OLD}{line}");
        let new = format!("{old}\nrole(\"a\").allow(\"GET /x\");");
        assert_eq!(missing(&old, &new), [line]);
        let again = new.replace(line, &format!("{line} because it is wanted again"));
        assert!(missing(&old, &again).is_empty());
    }

    /// What people see as commented out, or as a text, says nothing.
    #[test]
    fn line_within_a_text_or_a_longer_comment_says_nothing() {
        let new = format!("{OLD}role(\"a\").allow(\"GET /x\");");
        let line = "// rolegate: opens GET /x to a";
        for (around, is_enough) in [
            ("LINE", true),
            ("\tLINE\r\n", true),
            ("/* before */\nLINE", true),
            ("let v = 1; let text = `${if v == 1 { \"}\" } else { \"/*\" }}`;\nLINE\n", true),
            ("/*\nLINE\n*/", false),
            ("/* /*\n*/ LINE\n*/", false),
            ("let text = `\nLINE\n`;", false),
            ("let text = `${1}\nLINE\n`;", false),
            ("let text = #\"\nLINE\n\"#;", false),
            ("let v = 1; LINE", false),
            ("// LINE", false),
            ("/* before */ LINE", false),
        ] {
            let script = format!("{new}\n{}", around.replace("LINE", line));
            assert_eq!(missing(OLD, &script).is_empty(), is_enough, "{script}");
        }
    }

    #[test]
    fn lines_that_cannot_be_read_are_told_with_their_place() {
        let text = "// rolegate: opens\n// rolegate: opens GET x to a\n// rolegate: opens GET /x to a b\n// other\n\
             // rolegate: allow(open-route)\n// rolegate: allow-in-file(idle-role)";
        let openings = Openings::of(&[source(text)]);
        let told: Vec<String> =
            openings.misread().iter().map(|(location, error)| format!("{location}: {error}")).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        p.rhai:1: this line says nothing; write `// rolegate: opens GET /path to role`, or `to every token`, or `to everyone`
        p.rhai:2: the route of this line cannot be read: the pattern `x` does not start with `/`
        p.rhai:3: `a b` is no role: a role's name consists of letters, digits and `-_.:/@+`
        ");
        assert_eq!(openings.openings, []);
    }
}
