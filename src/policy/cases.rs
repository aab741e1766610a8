//! Cases: what a policy is expected to answer, written as data beside it and run against it.
//!
//! `NAME_test.yaml` holds the cases of `NAME.rhai`. The requests of cases are read exactly as those of the
//! server are, so that a malformed path is malformed here too.

pub mod coverage;
mod read;
mod report;
mod run;

pub use report::{CaseResult, Got, Mismatch, Report};
pub use run::{run, run_each};

use super::error::{Location, PolicyErrors};
use crate::request::Request;
use crate::time::Timestamp;
use crate::token::{Principal, RoleName};
use std::fmt;
use std::sync::Arc;

/// The largest file of cases, in bytes.
pub const CASES_MAX_BYTES: usize = 1024 * 1024;
/// The most cases of a file; a row of a matrix is a case for each of its principals.
pub const CASES_MAX: usize = 100_000;
/// The time of a case that names none: 2026-01-01T00:00:00Z. Fixed, so that a case answers the same every day.
pub const DEFAULT_TIME: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// A file of cases. It has at least one: a test without cases could not fail.
#[derive(Debug, Default)]
pub struct CaseFile {
    policies: Vec<Arc<str>>,
    principals: Vec<Arc<CasePrincipal>>,
    cases: Vec<Case>,
}

/// One request of one principal, and the answer that is expected.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name; `None` in a matrix, where request and principal say it all.
    pub name: Option<Arc<str>>,
    /// Where it stands.
    pub location: Location,
    /// Whose request it is.
    pub principal: Arc<CasePrincipal>,
    /// The request.
    pub request: CaseRequest,
    /// The time for which it is decided.
    pub time: Timestamp,
    /// The answer that is expected.
    pub expected: Expected,
}

/// Whose requests cases are about.
#[derive(Debug)]
pub struct CasePrincipal {
    /// The name by which cases call it.
    pub name: Arc<str>,
    /// Who it is; `None` for requests without a token.
    pub principal: Option<Principal>,
    /// Roles among those of the principal that the policies are expected not to know.
    pub unknown_roles: Vec<RoleName>,
    /// Where it stands.
    pub location: Location,
}

/// The request of a case.
#[derive(Clone, Debug)]
pub struct CaseRequest {
    /// As it was written: method and target.
    pub text: Arc<str>,
    /// As the gate reads it, or why the gate refuses it.
    pub read: Result<Request, Arc<str>>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A rule allows it.
    Allow,
    /// Nothing allows it, or a rule denies it.
    Deny,
    /// It is refused before any policy sees it.
    Malformed,
}

/// What a case expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What becomes of the request.
    pub answer: Answer,
    /// Which rule decides; `None` when the case does not say.
    pub rule: Option<ExpectedRule>,
    /// The permission by which the request is allowed; `None` when the case does not say.
    pub permission: Option<Arc<str>>,
    /// A part of the reason for which a condition fails; `None` when no condition may fail.
    pub failure: Option<Arc<str>>,
}

/// Which rule a case expects to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedRule {
    /// None at all: the request is denied because nothing allows it.
    NoRule,
    /// The one at this line of this file.
    At {
        /// The end of the file's name, whole parts of a path.
        file: Arc<str>,
        /// The line.
        line: u32,
    },
}

// INVARIANT: the default, which has no cases, never leaves this module.
impl CaseFile {
    /// Reads a file of cases. `file` is its name: it stands in every message, and tells which policy the
    /// cases belong to when they do not say.
    ///
    /// ```
    /// use rolegate::policy::cases::{CaseFile, run};
    /// use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
    ///
    /// let script = r#"
    ///     permission("read-settings", ["GET /api/settings"]);
    ///     role("reader").grants(["read-settings"]);
    ///     role("night").allow("POST /api/backup").when(|request| request.query("kind") == "full");
    /// "#;
    /// let cases = r#"
    /// policies: [example.rhai]
    /// principals:
    ///   nobody: none                             # a request without a token
    ///   reader: [reader]                         # a token with these roles
    ///   backup: { roles: [night], name: backup } # unknown_roles, id and created may be said, too
    /// matrix:                                    # one column for each principal; one word goes for all
    ///   - principals: [nobody, reader, backup]
    ///     rows:
    ///       GET /api/settings:  [deny, allow, deny]
    ///       PUT /api/settings:  deny
    ///       GET /api/a/../b:    malformed
    /// cases:
    ///   - name: a full backup is allowed
    ///     principal: backup
    ///     request: POST /api/backup?kind=full
    ///     time: 2026-03-01T02:00:00Z             # also headers and client_ip
    ///     expect: allow
    ///     rule: example.rhai:4                   # also permission, and failure of a condition
    /// "#;
    ///
    /// let source = Source { name: "example.rhai".into(), text: script.to_owned() };
    /// let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())?;
    /// let file = CaseFile::read("example_test.yaml", cases.as_bytes())?;
    /// let report = run(&file, &policies);
    /// assert!(report.is_success(), "{report}");
    /// assert_eq!(report.passed(), 10);
    /// # Ok::<(), rolegate::policy::PolicyErrors>(())
    /// ```
    ///
    /// # Errors
    /// When the file is no file of cases, has none, or passes a limit: all problems, each with its place.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self, PolicyErrors> {
        read::read(file, bytes)
    }

    /// The names of the policy files that the cases are about, relative to the folder of this file.
    pub fn policies(&self) -> &[Arc<str>] {
        &self.policies
    }

    /// All principals, in the order of the file.
    pub fn principals(&self) -> &[Arc<CasePrincipal>] {
        &self.principals
    }

    /// All cases, in the order of the file.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }
}

impl Case {
    /// The name, or request and principal where there is none.
    pub fn title(&self) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => format!("{} as {}", self.request.text, self.principal.name),
        }
    }
}

impl Answer {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Malformed => "malformed",
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
