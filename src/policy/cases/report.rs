//! What came of the cases of a file, and how people read it.

use super::{Answer, Case, Expected, ExpectedRule};
use crate::decision::{ConditionOutcome, RuleId};
use crate::policy::error::{Location, Problem};
use crate::policy::script::printable;
use crate::policy::{PolicySet, Source};
use std::fmt;
use std::sync::Arc;

/// The most lines of an explanation that are shown below a case.
const EXPLANATION_LINES_MAX: usize = 40;

/// What came of all cases of a file.
#[derive(Debug)]
pub struct Report<'f> {
    results: Vec<CaseResult<'f>>,
    problems: Vec<Problem>,
}

/// What came of one case.
#[derive(Debug)]
pub struct CaseResult<'f> {
    /// The case.
    pub case: &'f Case,
    /// The answer that it got.
    pub got: Got,
    /// In what the answer differs from the expected one; empty when the case passed.
    pub mismatches: Vec<Mismatch>,
    /// Why the answer is what it is, where that was asked for by [`Report::explain`].
    pub explanation: Option<String>,
}

/// The answer that a case got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// What became of the request.
    pub answer: Answer,
    /// The rule that decided; `None` when no rule did.
    pub rule: Option<RuleId>,
    /// Where that rule stands.
    pub rule_location: Option<Location>,
    /// The permission by which that rule allows.
    pub permission: Option<Arc<str>>,
    /// What the conditions said that were asked, in their order.
    pub conditions: Vec<ConditionOutcome>,
    /// The reasons of conditions that failed.
    pub failures: Vec<Arc<str>>,
    /// Why the request is malformed.
    pub malformed: Option<Arc<str>>,
}

/// In what an answer differs from the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The answer itself.
    Answer,
    /// Another rule decided, or none.
    Rule,
    /// Another permission allowed, or none.
    Permission,
    /// A condition failed that was not expected to, or the other way round.
    Failure,
}

impl<'f> Report<'f> {
    pub(super) fn new(results: Vec<CaseResult<'f>>, problems: Vec<Problem>) -> Self {
        Self { results, problems }
    }

    /// Explains the answers of the first `most` cases that failed, by the policies for which they ran; with the
    /// line of the rule that decided where its source is given. A malformed request has its reason already.
    pub fn explain(&mut self, policies: &PolicySet, sources: &[Source], most: usize) {
        for result in self.results.iter_mut().filter(|result| !result.is_passed()).take(most) {
            if let Ok(request) = &result.case.request.read {
                let principal = result.case.principal.principal.as_ref();
                let explanation = policies.explain(principal, request, result.case.time);
                result.explanation = Some(explanation.with_sources(sources).to_string());
            }
        }
    }

    /// What came of each case, in the order of the file.
    pub fn results(&self) -> &[CaseResult<'f>] {
        &self.results
    }

    /// What does not fit between the file and the policies, whatever the answers are.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many cases passed.
    pub fn passed(&self) -> usize {
        self.results.iter().filter(|result| result.is_passed()).count()
    }

    /// How many cases failed.
    pub fn failed(&self) -> usize {
        self.results.len() - self.passed()
    }

    /// Whether all cases passed and there is no problem.
    pub fn is_success(&self) -> bool {
        self.failed() == 0 && self.problems.is_empty()
    }
}

impl CaseResult<'_> {
    /// Whether the case passed.
    pub fn is_passed(&self) -> bool {
        self.mismatches.is_empty()
    }
}

impl Got {
    pub(super) fn malformed(reason: &Arc<str>) -> Self {
        Self {
            answer: Answer::Malformed,
            rule: None,
            rule_location: None,
            permission: None,
            conditions: Vec::new(),
            failures: Vec::new(),
            malformed: Some(Arc::clone(reason)),
        }
    }
}

impl fmt::Display for Report<'_> {
    /// The problems, the cases that failed, and one line that counts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            write!(f, "{problem}\n\n")?;
        }
        for result in self.results.iter().filter(|result| !result.is_passed()) {
            write!(f, "{result}\n\n")?;
        }
        let (passed, failed) = (self.passed(), self.failed());
        let noun = if self.results.len() == 1 { "case" } else { "cases" };
        write!(f, "{} {noun}: {passed} passed, {failed} failed", self.results.len())
    }
}

impl fmt::Display for CaseResult<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_passed() { "passed" } else { "failed" };
        writeln!(f, "{word}: {}", visible(&self.case.title()))?;
        writeln!(f, "  --> {}", self.case.location)?;
        if self.case.name.is_some() {
            let (request, principal) = (visible(&self.case.request.text), visible(&self.case.principal.name));
            writeln!(f, "  request  {request} as {principal}")?;
        }
        writeln!(f, "  expected {}", self.case.expected)?;
        write!(f, "  got      {}", self.got)?;
        let mut lines = self.explanation.iter().flat_map(|explanation| explanation.lines());
        for (at, line) in lines.by_ref().take(EXPLANATION_LINES_MAX).enumerate() {
            let indent = if line.is_empty() { "" } else { "    " };
            write!(f, "{}\n{indent}{line}", if at == 0 { "\n" } else { "" })?;
        }
        match lines.count() {
            0 => Ok(()),
            more => write!(f, "\n    and {more} lines more"),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.answer.fmt(f)?;
        match &self.rule {
            Some(ExpectedRule::At { file, line }) => write!(f, " by {}:{line}", visible(file))?,
            Some(ExpectedRule::NoRule) => f.write_str(" by no rule")?,
            None => {}
        }
        if let Some(permission) = &self.permission {
            write!(f, " (permission {})", visible(permission))?;
        }
        if let Some(failure) = &self.failure {
            write!(f, ", a condition failing with `{}`", visible(failure))?;
        }
        Ok(())
    }
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.answer.fmt(f)?;
        match (&self.malformed, &self.rule_location) {
            (Some(reason), _) => write!(f, ": {reason}")?,
            (None, Some(location)) => write!(f, " by {location}")?,
            (None, None) => f.write_str(" by no rule")?,
        }
        if let Some(permission) = &self.permission {
            write!(f, " (permission {permission})")?;
        }
        for failure in &self.failures {
            write!(f, ", a condition failing with `{failure}`")?;
        }
        Ok(())
    }
}

/// What a file of cases says, as a terminal can show it.
fn visible(text: &str) -> String {
    printable(text, usize::MAX)
}
