//! What came of a run, for people.

use super::super::super::console::Console;
use super::super::super::policies::counted;
use super::super::Failure;
use super::Arguments;
use super::suite::{FileOutcome, Outcome};
use std::rc::Rc;

/// The most declarations that are told of with what is left out of them.
const GAPS_SHOWN_MAX: usize = 100;

/// Prints it, and returns whether everything is as it was asked for.
pub(super) fn print(outcome: &Outcome<'_>, arguments: &Arguments, console: &mut Console<'_>) -> bool {
    let mut told: Vec<&Rc<Failure>> = Vec::new();
    for file in &outcome.files {
        print_file(file, &mut told, console);
    }
    if outcome.files.len() > 1 {
        let (passed, failed) = (outcome.passed(), outcome.failed());
        let files = counted(outcome.files.len(), "file");
        let cases = counted(passed + failed, "case");
        console.line(format_args!("{files}: {cases}: {passed} passed, {failed} failed"));
    }
    let shortfall = arguments.shortfall(outcome);
    let has_run = outcome.files.iter().any(|file| file.ran.is_ok());
    if has_run && arguments.wants_coverage() {
        print_coverage(outcome, arguments.coverage || shortfall.is_some(), console);
    }
    if let Some(shortfall) = &shortfall {
        console.error(format_args!("{shortfall} (--min-coverage)"));
    }
    outcome.is_success() && shortfall.is_none()
}

fn print_file<'o>(file: &'o FileOutcome<'_>, told: &mut Vec<&'o Rc<Failure>>, console: &mut Console<'_>) {
    let path = file.path.display();
    match &file.ran {
        Ok(ran) if ran.report.is_success() => console.line(format_args!("{path}: {}", ran.report)),
        Ok(ran) => console.line(format_args!("{path}:\n{}", ran.report)),
        Err(failure) if told.iter().any(|known| Rc::ptr_eq(known, failure)) => {
            console.error(format_args!("`{path}`: its policies do not load, as told above"));
        }
        Err(failure) => {
            failure.tell(console);
            told.push(failure);
        }
    }
}

/// Prints the percentages, after what is left out when that is wanted.
fn print_coverage(outcome: &Outcome<'_>, with_gaps: bool, console: &mut Console<'_>) {
    let coverage = &outcome.coverage;
    if with_gaps {
        let gaps = coverage.gaps();
        gaps.iter().take(GAPS_SHOWN_MAX).for_each(|gap| console.line(gap));
        if gaps.len() > GAPS_SHOWN_MAX {
            console.line(format_args!("and {} more (-o json tells all)", gaps.len() - GAPS_SHOWN_MAX));
        }
        for file in outcome.untested {
            console.line(format_args!("{}: not counted, for no cases are for it", file.display()));
        }
        let files = coverage.files();
        if files.len() > 1 {
            files.iter().for_each(|(file, counts)| console.line(format_args!("{file}: {counts}")));
        }
    }
    let part = if outcome.is_complete() { "" } else { ", without the files that did not run" };
    console.line(format_args!("coverage{part}: {}", coverage.counts()));
}
