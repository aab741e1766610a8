//! What came of a run, for programs.

use super::super::super::console::Console;
use super::super::{Failure, errors_json};
use super::Arguments;
use super::suite::{FileOutcome, Outcome, Ran};
use crate::policy::cases::CaseResult;
use crate::policy::cases::coverage::{Counts, Gap, Share};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Prints it, and returns whether everything is as it was asked for.
pub(super) fn print(outcome: &Outcome<'_>, arguments: &Arguments, console: &mut Console<'_>) -> bool {
    let shortfall = arguments.shortfall(outcome);
    let is_success = outcome.is_success() && shortfall.is_none();
    let files: Vec<Value> = outcome.files.iter().map(file_json).collect();
    let mut whole = Map::new();
    whole.insert("passed".to_owned(), json!(outcome.passed()));
    whole.insert("failed".to_owned(), json!(outcome.failed()));
    whole.insert("success".to_owned(), json!(is_success));
    whole.insert("files".to_owned(), json!(files));
    if arguments.wants_coverage() {
        whole.insert("coverage".to_owned(), coverage_json(outcome, shortfall.as_deref()));
    }
    console.print(&format!("{:#}\n", Value::Object(whole)));
    is_success
}

/// Prints why nothing ran.
pub(super) fn print_failure(failure: &Failure, console: &mut Console<'_>) {
    let whole = json!({
        "passed": 0, "failed": 0, "success": false, "files": [], "errors": errors_json(failure)
    });
    console.print(&format!("{whole:#}\n"));
}

fn file_json(file: &FileOutcome<'_>) -> Value {
    match &file.ran {
        Ok(ran) => report_json(file.path, ran),
        Err(failure) => json!({ "file": file.path.to_string_lossy(), "errors": errors_json(failure) }),
    }
}

fn report_json(file: &Path, ran: &Ran<'_>) -> Value {
    let report = &ran.report;
    let problems: Vec<Value> =
        report.problems().iter().map(|problem| json!({ "message": problem.message })).collect();
    let failures = report.results().iter().filter(|result| !result.is_passed());
    json!({
        "file": file.to_string_lossy(),
        "passed": report.passed(),
        "failed": report.failed(),
        "problems": problems,
        "failures": failures.map(case_json).collect::<Vec<_>>(),
    })
}

fn case_json(result: &CaseResult<'_>) -> Value {
    json!({
        "case": result.case.title(),
        "line": result.case.location.line,
        "request": &*result.case.request.text,
        "principal": &*result.case.principal.name,
        "expected": result.case.expected.to_string(),
        "got": result.got.to_string(),
        "explanation": result.explanation,
    })
}

fn coverage_json(outcome: &Outcome<'_>, shortfall: Option<&str>) -> Value {
    let files = outcome.coverage.files().into_iter().map(|(file, counts)| {
        let mut counts = counts_json(counts);
        counts.insert("file".to_owned(), json!(&*file));
        Value::Object(counts)
    });
    let untested = outcome.untested.iter().map(|file| json!(file.to_string_lossy()));
    let mut whole = counts_json(outcome.coverage.counts());
    whole.insert("complete".to_owned(), json!(outcome.is_complete()));
    whole.insert("files".to_owned(), files.collect());
    whole.insert("untested".to_owned(), untested.collect());
    whole.insert("gaps".to_owned(), outcome.coverage.gaps().iter().map(gap_json).collect());
    whole.insert("shortfall".to_owned(), json!(shortfall));
    Value::Object(whole)
}

fn counts_json(counts: Counts) -> Map<String, Value> {
    let share = |share: Share| json!({ "exercised": share.exercised, "all": share.all });
    let kinds = [
        ("percent", percent_json(counts)),
        ("rules", share(counts.rules)),
        ("routes", share(counts.routes)),
        ("exceptions", share(counts.exceptions)),
        ("conditions", share(counts.conditions)),
    ];
    kinds.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The percentage as the number that text shows.
fn percent_json(counts: Counts) -> Value {
    counts.percent().to_string().parse().unwrap_or(Value::Null)
}

fn gap_json(gap: &Gap) -> Value {
    json!({
        "file": &*gap.location.file,
        "line": gap.location.line,
        "column": gap.location.column,
        "declaration": gap.declaration,
        "missing": gap.missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
