//! What policies open that nobody said they would.

use crate::policy::diff::DiffError;
use crate::policy::opening::{OpeningError, Openings};
use crate::policy::{Location, PolicySet};
use std::fmt;

/// So many lines are told at once.
const LINES_TOLD_MAX: usize = 20;

/// Why policies are refused for what they open.
pub(super) enum UnnamedGains {
    /// The lines that are missing, and those that cannot be read.
    Missing { lines: Vec<String>, misread: Vec<(Location, OpeningError)> },
    /// What they open cannot be told.
    Unknown(DiffError),
}

/// Refuses `new` when it opens what no line of it says, beyond those that the policies in force have as well.
pub(super) fn refuse_unnamed(
    old: &PolicySet,
    new: &PolicySet,
    before: &Openings,
    openings: &Openings,
) -> Result<(), UnnamedGains> {
    let gains = old.gains(new).map_err(UnnamedGains::Unknown)?;
    let unnamed = openings.unnamed(before, &gains);
    if unnamed.is_empty() {
        return Ok(());
    }
    let lines = unnamed.into_iter().map(|gain| gain.line()).collect();
    Err(UnnamedGains::Missing { lines, misread: openings.misread().to_vec() })
}

impl UnnamedGains {
    /// The first of them, in one line.
    pub(super) fn first(&self) -> String {
        match self {
            Self::Missing { lines, .. } => {
                let line = lines.first().map(String::as_str).unwrap_or_default();
                format!("the policies open more than they say; one line that is missing is `{line}`")
            }
            Self::Unknown(error) => format!("what the policies open cannot be told: {error}"),
        }
    }

    /// How many lines are missing.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Missing { lines, .. } => lines.len(),
            Self::Unknown(_) => 1,
        }
    }
}

impl fmt::Display for UnnamedGains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Missing { lines, misread } = self else { return f.write_str(&self.first()) };
        f.write_str("the policies open more than they say; where it is meant, write into one of them:")?;
        for line in lines.iter().take(LINES_TOLD_MAX) {
            write!(f, "\n{line}")?;
        }
        if lines.len() > LINES_TOLD_MAX {
            write!(f, "\nand {} more", lines.len() - LINES_TOLD_MAX)?;
        }
        for (location, error) in misread.iter().take(LINES_TOLD_MAX) {
            write!(f, "\n{location}: {error}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{RoleBindings, ScriptLimits, Source};
    use std::fmt::Write as _;
    use std::sync::Arc;

    fn refused(old: &str, new: &str) -> Option<String> {
        let [old, new] = [old, new].map(|text| Source { name: Arc::from("p.rhai"), text: text.to_owned() });
        let load = |source: &Source| {
            PolicySet::load(std::slice::from_ref(source), &RoleBindings::default(), &ScriptLimits::default())
        };
        let said = |source| Openings::of(std::slice::from_ref(source));
        let done = refuse_unnamed(&load(&old).unwrap(), &load(&new).unwrap(), &said(&old), &said(&new));
        done.err().map(|gains| gains.to_string())
    }

    const OLD: &str = "role(\"a\").allow(\"GET /a\");\n";

    #[test]
    fn lines_that_are_missing_are_told_and_those_that_cannot_be_read() {
        let new = format!("{OLD}// rolegate: opens GET /x for a\nrole(\"a\").allow(\"GET,DELETE /x\");");
        insta::assert_snapshot!(refused(OLD, &new).unwrap(), @r"
        the policies open more than they say; where it is meant, write into one of them:
        // rolegate: opens GET,DELETE /x to a
        p.rhai:2: this line says nothing; write `// rolegate: opens GET /path to role`, or `to every token`, or `to everyone`
        ");
        let said = new.replace("GET /x for a", "GET,DELETE /x to a");
        assert_eq!(refused(OLD, &said), None);
    }

    #[test]
    fn more_lines_than_can_be_told_are_counted() {
        let more = |count: usize| {
            let mut new = OLD.to_owned();
            (0..count).for_each(|at| writeln!(new, "role(\"a\").allow(\"GET /x{at}\");").unwrap());
            refused(OLD, &new).unwrap()
        };
        assert_eq!(more(LINES_TOLD_MAX).lines().count(), 1 + LINES_TOLD_MAX);
        assert!(more(LINES_TOLD_MAX + 1).ends_with("\nand 1 more"));
    }
}
