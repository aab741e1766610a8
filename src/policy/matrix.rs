//! Who may call what, as a table: every route that the policies name, and every subject. A row is about what its
//! pattern as a whole gets: a rule about a part of it has a row of its own.

use super::access::{Access, Reach};
use super::declaration::Subject;
use super::pattern::{Pattern, Route, Segment};
use super::{PolicySet, Rule};
use crate::decision::RuleId;
use crate::request::MethodSet;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most cells of a matrix: nobody looks at more, and each takes a look at many rules.
pub const MATRIX_CELLS_MAX: usize = 1_000_000;
/// The most rules of a policy set of which a matrix is made.
pub const MATRIX_RULES_MAX: usize = 20_000;

/// Every route that the policies name, and what every subject gets of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Matrix {
    /// The columns: a request without a token, a token without roles, and the roles by name.
    pub subjects: Vec<Subject>,
    /// The rows, ordered as a tree of paths.
    pub rows: Vec<MatrixRow>,
}

/// A pattern, some of its methods, and what each subject gets of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MatrixRow {
    /// The paths.
    pub pattern: Pattern,
    /// The methods, with which each subject gets the same.
    pub methods: MethodSet,
    /// One for each subject, in their order.
    pub cells: Vec<Cell>,
}

/// What one subject gets of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cell {
    /// What it gets.
    pub kind: CellKind,
    /// The rules that have a say with any of the methods, in their order.
    pub rules: Vec<RuleId>,
}

/// What a subject gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CellKind {
    /// No rule is about it: denied.
    Nothing,
    /// A rule denies it, whatever others allow.
    Denied,
    /// Conditions decide.
    Conditional,
    /// A rule for its roles, or for all tokens, allows it.
    Allowed,
    /// It is open to every request, with a token or without.
    Open,
}

/// Why there is no matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatrixError {
    /// More than [`MATRIX_RULES_MAX`] rules.
    #[error("{0} rules are too many for a table; the limit is {MATRIX_RULES_MAX}")]
    Rules(usize),
    /// More than [`MATRIX_CELLS_MAX`] cells.
    #[error("{0} routes are too many for a table with so many roles; choose roles, or a part of the routes")]
    Cells(usize),
}

/// Orders rows as a tree: a node before what is below it, texts before wildcards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    Literal(Arc<str>),
    Any,
    Below,
}

impl PolicySet {
    /// Who may call what: all routes whose pattern `is_wanted`, and these roles, or all of them when none is named.
    ///
    /// # Errors
    /// When it would be too large; see [`MatrixError`].
    pub fn matrix(
        &self,
        roles: &[crate::token::RoleName],
        is_wanted: impl Fn(&Pattern) -> bool,
    ) -> Result<Matrix, MatrixError> {
        if self.rules.len() > MATRIX_RULES_MAX {
            return Err(MatrixError::Rules(self.rules.len()));
        }
        let mut columns = if roles.is_empty() { self.roles().to_vec() } else { roles.to_vec() };
        columns.sort();
        let subjects: Vec<Subject> = [Subject::Anyone, Subject::Authenticated]
            .into_iter()
            .chain(columns.into_iter().map(Subject::Role))
            .collect();
        let patterns = self.distinct_patterns(is_wanted);
        if patterns.len().saturating_mul(subjects.len()) > MATRIX_CELLS_MAX {
            return Err(MatrixError::Cells(patterns.len()));
        }
        let rows = patterns.into_values();
        let rows = rows.flat_map(|(pattern, methods)| self.rows_of(pattern, methods, &subjects)).collect();
        Ok(Matrix { subjects, rows })
    }

    /// Each pattern once, whatever its segments are named, with all methods that some rule names for it.
    fn distinct_patterns(
        &self,
        is_wanted: impl Fn(&Pattern) -> bool,
    ) -> BTreeMap<Vec<Step>, (&Pattern, MethodSet)> {
        let mut patterns: BTreeMap<Vec<Step>, (&Pattern, MethodSet)> = BTreeMap::new();
        let routes =
            self.rules.iter().flat_map(|rule| rule.routes.iter().map(|route| &**route).chain(&rule.except));
        for route in routes.filter(|route| is_wanted(&route.pattern)) {
            let (_, methods) =
                patterns.entry(steps(&route.pattern)).or_insert((&route.pattern, MethodSet::NONE));
            *methods |= route.methods;
        }
        patterns
    }

    /// The rows of one pattern: methods with which every subject gets the same share one.
    fn rows_of(&self, pattern: &Pattern, methods: MethodSet, subjects: &[Subject]) -> Vec<MatrixRow> {
        let mut rows: Vec<MatrixRow> = Vec::new();
        let is_about = |rule: &Rule| rule.routes.iter().any(|route| route.pattern.contains(pattern));
        let about: Vec<(u32, &Rule)> = (0..).zip(&self.rules).filter(|(_, rule)| is_about(rule)).collect();
        for method in methods.names().map(MethodSet::of) {
            let covers = |route: &Route| route.methods.intersects(method) && route.pattern.contains(pattern);
            let of = |subject| self.cell(&self.access_among(about.iter().copied(), subject, covers));
            let cells: Vec<Cell> = subjects.iter().map(of).collect();
            match rows.iter_mut().find(|row| row.is_like(&cells)) {
                Some(row) => {
                    row.methods |= method;
                    row.cells.iter_mut().zip(cells).for_each(|(cell, other)| cell.add(other));
                }
                None => rows.push(MatrixRow { pattern: pattern.clone(), methods: method, cells }),
            }
        }
        rows
    }

    fn cell(&self, access: &Access) -> Cell {
        let is_for_anyone =
            |rule: RuleId| self.rule(rule).is_some_and(|rule| rule.subject == Subject::Anyone);
        let opens = access.allow.iter().any(|found| !found.is_conditional && is_for_anyone(found.rule));
        let kind = match access.reach() {
            Reach::Denied if access.deny.is_empty() => CellKind::Nothing,
            Reach::Denied => CellKind::Denied,
            Reach::Conditional => CellKind::Conditional,
            Reach::Allowed if opens => CellKind::Open,
            Reach::Allowed => CellKind::Allowed,
        };
        let mut rules: Vec<RuleId> =
            access.allow.iter().chain(&access.deny).map(|found| found.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        Cell { kind, rules }
    }
}

impl MatrixRow {
    fn is_like(&self, cells: &[Cell]) -> bool {
        self.cells.iter().map(|cell| cell.kind).eq(cells.iter().map(|cell| cell.kind))
    }
}

impl Cell {
    fn add(&mut self, other: Self) {
        self.rules.extend(other.rules);
        self.rules.sort_unstable();
        self.rules.dedup();
    }
}

fn steps(pattern: &Pattern) -> Vec<Step> {
    let segments = pattern.segments.iter().map(|segment| match segment {
        Segment::Literal(text) => Step::Literal(Arc::clone(text)),
        Segment::Any(_) => Step::Any,
    });
    segments.chain(pattern.below.then_some(Step::Below)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{RoleBindings, ScriptLimits, Source};
    use crate::token::RoleName;
    use std::fmt::Write as _;

    fn policies(text: &str) -> PolicySet {
        let source = Source { name: Arc::from("p.rhai"), text: text.to_owned() };
        PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap()
    }

    /// A line a row: methods, pattern, and a sign for each subject.
    fn told(text: &str) -> Vec<String> {
        let matrix = policies(text).matrix(&[], |_| true).unwrap();
        let line = |row: &MatrixRow| {
            let signs = row.cells.iter().map(|cell| match cell.kind {
                CellKind::Nothing => '.',
                CellKind::Denied => 'x',
                CellKind::Conditional => '?',
                CellKind::Allowed => '+',
                CellKind::Open => 'o',
            });
            let methods: Vec<_> = row.methods.names().collect();
            format!("{} {} {}", methods.join(","), row.pattern, signs.collect::<String>())
        };
        matrix.rows.iter().map(line).collect()
    }

    #[test]
    fn cells_tell_open_allowed_conditional_denied_and_nothing() {
        let told = told(
            "open(\"GET /o\"); authenticated(\"POST /t\"); role(\"a\").allow(\"PUT /a/{x}\");
            role(\"b\").includes(\"a\").allow(\"PUT /c\").when(|request| request.path == \"/c\");
            deny(\"DELETE /d\"); role(\"b\").allow(\"DELETE /d\");",
        );
        assert_eq!(
            told,
            ["PUT /a/{x} ..++", "PUT /c ...?", "DELETE /d xxxx", "GET,HEAD /o oooo", "POST /t .+++"]
        );
    }

    #[test]
    fn row_is_about_its_pattern_as_a_whole() {
        let told =
            told("role(\"a\").allow(\"GET /x/**\").except(\"GET /x/no\"); deny(\"GET /x/secret/**\");");
        assert_eq!(told, ["GET,HEAD /x/no ...", "GET,HEAD /x/secret/** xxx", "GET,HEAD /x/** ..+"],);
    }

    #[test]
    fn rule_about_all_but_the_slash_is_about_a_part() {
        let told = told("role(\"a\").allow(\"GET /x/**\"); deny(\"GET /x/*/**\"); deny(\"GET /x/*\");");
        assert_eq!(told, ["GET,HEAD /x/* xxx", "GET,HEAD /x/*/** xxx", "GET,HEAD /x/** ..+"]);
    }

    #[test]
    fn methods_share_a_row_when_their_cells_are_the_same() {
        let told = told("role(\"a\").allow(\"GET,POST,DELETE /x/{n}\"); deny(\"DELETE /x/*\");");
        assert_eq!(told, ["GET,HEAD,POST /x/{n} ..+", "DELETE /x/{n} xxx"]);
    }

    #[test]
    fn row_of_a_wildcard_is_not_that_of_the_texts_beside_it() {
        let told = told("role(\"a\").allow(\"GET /{any}\"); deny(\"GET /x\"); deny(\"GET /x1\");");
        assert_eq!(told, ["GET,HEAD /x xxx", "GET,HEAD /x1 xxx", "GET,HEAD /{any} ..+"]);
    }

    #[test]
    fn roles_and_routes_can_be_chosen() {
        let policies = policies("role(\"a\").allow(\"GET /a\"); role(\"b\").allow(\"GET /b\");");
        let role = RoleName::parse("b").unwrap();
        let wanted = Pattern::parse("/b").unwrap();
        let matrix = policies.matrix(std::slice::from_ref(&role), |pattern| *pattern == wanted).unwrap();
        assert_eq!(matrix.subjects, [Subject::Anyone, Subject::Authenticated, Subject::Role(role)]);
        assert_eq!(matrix.rows.len(), 1);
        assert_eq!(matrix.rows[0].cells[2].rules, [RuleId(1)]);
    }

    #[test]
    fn more_cells_than_the_limit_are_refused_and_as_many_are_not() {
        let limit = MATRIX_CELLS_MAX / 1_000;
        let mut text = String::new();
        for role in 0..998 {
            writeln!(text, "role(\"r{role}\");").unwrap();
        }
        for route in 0..limit {
            writeln!(text, "open(\"GET /r{route}\");").unwrap();
        }
        let fits = policies(&text);
        let no_row = |_: &Pattern| false;
        assert_eq!(fits.matrix(&[], no_row).map(|matrix| matrix.rows.len()), Ok(0));
        text.push_str("open(\"GET /one-more\");");
        assert_eq!(policies(&text).matrix(&[], |_| true), Err(MatrixError::Cells(limit + 1)));
    }
}
