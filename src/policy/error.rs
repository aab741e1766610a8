//! What is wrong with a policy: message, place, the line itself, and what to write instead.

use std::fmt;
use std::sync::Arc;

/// The most problems that are reported at once.
pub const PROBLEMS_MAX: usize = 100;
/// So many problems are kept to be ordered; what comes after them changes no outcome.
pub(super) const PROBLEMS_KEPT_MAX: usize = 10 * PROBLEMS_MAX;
/// The longest name for which one like it is looked for, in bytes.
const NEAREST_MAX_BYTES: usize = 256;

/// A place in a file. Lines and columns count from 1, columns in characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// The file, as it was named when it was read.
    pub file: Arc<str>,
    /// The line; 0 when the whole file is meant.
    pub line: u32,
    /// The column; 0 when the whole line is meant.
    pub column: u32,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub location: Location,
    /// How many characters from there on are meant; 0 and 1 are both a point.
    pub length: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it, when that can be known.
    pub help: Option<String>,
    /// The line, when the place is within a policy.
    pub line_text: Option<String>,
    /// The text literal that is meant, when the place is that of the call that it is given to.
    pub(super) literal: Option<Arc<str>>,
}

/// Everything that is wrong with the policies, ordered by place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyErrors {
    problems: Vec<Problem>,
}

impl Location {
    /// No place: the policies as a whole.
    pub(super) fn whole() -> Self {
        Self::new(&Arc::from("policies"), 0, 0)
    }

    /// The order of rules: by file name, and by folder only where two files have the same name, so that the
    /// same policies have the same order wherever they lie.
    pub(super) fn order(&self) -> (&str, &Self) {
        (file_name(&self.file), self)
    }

    /// A place in a file.
    pub fn new(file: &Arc<str>, line: u32, column: u32) -> Self {
        Self { file: Arc::clone(file), line, column }
    }
}

/// The last part of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl Problem {
    /// A problem at a point, without help.
    pub fn new(location: Location, message: impl Into<String>) -> Self {
        Self { location, length: 1, message: message.into(), help: None, line_text: None, literal: None }
    }

    /// The same problem with what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl PolicyErrors {
    /// The same problems, one by one.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Orders the problems by place and keeps the first [`PROBLEMS_MAX`]; `None` when there are none.
    pub(super) fn of(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by(|one, other| one.location.cmp(&other.location));
        problems.dedup();
        problems.truncate(PROBLEMS_MAX);
        (!problems.is_empty()).then_some(Self { problems })
    }

    /// The problems, ordered by place. There is at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Vec<Problem>> for PolicyErrors {
    /// An empty list becomes one problem that says so: errors without any cannot be told about.
    fn from(problems: Vec<Problem>) -> Self {
        let none = || Problem::new(Location::whole(), "the policies are refused");
        Self::of(problems).unwrap_or_else(|| Self { problems: vec![none()] })
    }
}

impl std::error::Error for PolicyErrors {}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write("error", f)
    }
}

impl Problem {
    /// Writes the problem below a label such as `error`.
    pub(super) fn write(&self, label: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{label}: {}\n  --> {}", self.message, self.location)?;
        if let Some(line) = &self.line_text {
            let number = self.location.line.to_string();
            let gutter = " ".repeat(number.len());
            write!(f, "\n {gutter} |\n {number} | {line}\n {gutter} |")?;
            if self.location.column > 0 {
                let before = self.location.column as usize - 1;
                // Tabs are kept, so that the mark stands below what it points to.
                let indent: String =
                    line.chars().take(before).map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
                let room = line.chars().count().saturating_sub(before).max(1);
                let marks = "^".repeat((self.length.max(1) as usize).min(room));
                write!(f, " {indent}{marks}")?;
            }
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n\n")?;
            }
            fmt::Display::fmt(problem, f)?;
        }
        Ok(())
    }
}

/// The known name that is most like `name`, when one is like it at all.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NEAREST_MAX_BYTES {
        return None;
    }
    let length = name.chars().count();
    let most = (length / 3).max(2);
    // Names that differ more in length differ more in letters.
    let like = known.into_iter().filter(|candidate| candidate.chars().count().abs_diff(length) <= most);
    let scored = like.map(|candidate| (edit_distance(name, candidate), candidate));
    let (distance, candidate) = scored.min()?;
    (distance <= most).then_some(candidate)
}

/// Levenshtein's distance in characters.
fn edit_distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = at;
        let mut left = at + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, other_letter) in row.iter_mut().skip(1).zip(&other) {
            let change = diagonal + usize::from(letter != *other_letter);
            diagonal = *cell;
            left = change.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_is_shown_with_its_line_and_a_mark() {
        let mut problem = Problem::new(Location::new(&Arc::from("a.rhai"), 12, 3), "something is wrong");
        problem.length = 4;
        problem.line_text = Some("x(name);".into());
        let shown = problem.with_help("write it right").to_string();
        insta::assert_snapshot!(shown, @r"
        error: something is wrong
          --> a.rhai:12:3
            |
         12 | x(name);
            |   ^^^^
          = help: write it right
        ");
    }

    #[test]
    fn problems_come_by_place_and_up_to_the_limit() {
        let at = |line| Problem::new(Location::new(&Arc::from("a"), line, 1), "m");
        let errors = PolicyErrors::of((1..=150).rev().map(at).collect()).unwrap();
        assert_eq!(errors.problems().len(), PROBLEMS_MAX);
        assert_eq!(errors.problems()[0].location.line, 1);
        assert_eq!(PolicyErrors::of(Vec::new()), None);
    }

    #[test]
    fn nearest_name_is_told_and_a_far_one_is_not() {
        let known = ["read-settings", "update-settings", "read-permissions"];
        assert_eq!(nearest("read-seting", known), Some("read-settings"));
        assert_eq!(nearest("upload", known), None);
        assert_eq!(nearest("x", []), None);
        assert_eq!(nearest(&"x".repeat(256), ["x".repeat(255).as_str()]).map(str::len), Some(255));
        assert_eq!(nearest(&"x".repeat(257), ["x".repeat(255).as_str()]), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
