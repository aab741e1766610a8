//! `policy test`: whether policies answer as their cases expect, and how much of them the cases exercise.

mod json;
mod junit;
mod suite;
mod text;
mod watching;
mod whole_file;

use super::super::console::Console;
use super::super::settings::{OutputArguments, Surroundings};
use super::super::{DONE, FAILED, Format};
use super::{Failure, PolicyArguments};
use crate::policy::cases::coverage::Percent;
use clap::Args;
use std::path::{Path, PathBuf};
use suite::{Outcome, Suite, Wanted};

pub(super) const PATHS_HELP: &str = "Policy files, files of cases, and folders of them";

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    #[command(flatten)]
    policies: PolicyArguments,
    /// Tell how much of the policies the cases exercise, and what they leave out
    #[arg(long)]
    coverage: bool,
    /// Fail when the cases exercise less of the policies, or leave a policy file out: 0 to 100, such as 99.5
    #[arg(long, value_name = "PERCENT")]
    min_coverage: Option<Percent>,
    /// Write the results to FILE as well, as JUnit XML for CI systems
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Run again whenever policies or cases change, until Ctrl-C, which is exit code 0
    #[arg(long)]
    watch: bool,
    /// Explain the answers of so many failing cases of each file
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    explain: usize,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    if arguments.watch {
        return watching::run(arguments, surroundings, console);
    }
    let suite = arguments.read(surroundings);
    if run_suite(suite.as_ref(), arguments, console) { DONE } else { FAILED }
}

/// Runs all cases once and tells what came of them; returns whether everything is as it was asked for.
fn run_suite(suite: Result<&Suite, &Failure>, arguments: &Arguments, console: &mut Console<'_>) -> bool {
    let wanted = Wanted { explained: arguments.explain, coverage: arguments.wants_coverage() };
    let outcome = suite.map(|suite| suite.run(wanted));
    let is_written = arguments.junit.as_ref().is_none_or(|file| {
        arguments.write_junit(file, outcome.as_ref().map_err(|failure| *failure), console)
    });
    let is_success = match (&outcome, arguments.output.format) {
        (Ok(outcome), Format::Text) => text::print(outcome, arguments, console),
        (Ok(outcome), Format::Json) => json::print(outcome, arguments, console),
        (Err(failure), Format::Text) => {
            failure.tell(console);
            false
        }
        (Err(failure), Format::Json) => {
            json::print_failure(failure, console);
            false
        }
    };
    is_success && is_written
}

impl Arguments {
    fn read(&self, surroundings: &Surroundings) -> Result<Suite, Failure> {
        Suite::read(&self.policies.paths, &self.policies.config, surroundings)
    }

    /// Writes the results for CI systems, also when nothing ran: a report of an earlier run would be taken for
    /// that of this one.
    fn write_junit(
        &self,
        file: &Path,
        outcome: Result<&Outcome<'_>, &Failure>,
        console: &mut Console<'_>,
    ) -> bool {
        let shortfall = outcome.ok().and_then(|outcome| self.shortfall(outcome));
        let asked = self.min_coverage.filter(|_| outcome.is_ok());
        let coverage = asked.map(|_| shortfall.as_deref().map_or(Ok(()), Err));
        let xml = junit::xml(outcome, coverage);
        let written = xml.and_then(|xml| whole_file::write(file, &xml));
        if let Err(reason) = &written {
            console.error(format_args!("cannot write `{}`: {reason} (--junit)", file.display()));
        }
        written.is_ok()
    }

    fn wants_coverage(&self) -> bool {
        self.coverage || self.min_coverage.is_some()
    }

    /// Why what the cases exercise is not enough; `None` when it is, or when nothing was asked for.
    fn shortfall(&self, outcome: &Outcome<'_>) -> Option<String> {
        let least = self.min_coverage.filter(|least| *least > Percent::ZERO)?;
        if !outcome.is_complete() {
            return Some("not all cases ran, so that it is not known what they exercise".to_owned());
        }
        let percent = outcome.coverage.counts().percent();
        if percent < least {
            return Some(format!(
                "the cases exercise {percent} % of the policies, less than the {least} % that are asked for"
            ));
        }
        let untested = outcome.untested.first()?;
        let others = match outcome.untested.len() {
            0 | 1 => String::new(),
            count => format!(" and {} other policy files", count - 1),
        };
        Some(format!("no cases are for `{}`{others}, so that they are not covered", untested.display()))
    }
}
