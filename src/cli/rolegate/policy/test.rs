//! `policy test`: whether policies answer as their cases expect.

use super::super::console::Console;
use super::super::policies::{self, CASES_SUFFIX, LoadError, Named, POLICY_SUFFIX, counted};
use super::super::settings::{FileArguments, Surroundings};
use super::super::{DONE, FAILED, Format};
use super::{Failure, errors_json};
use crate::policy::RoleBindings;
use crate::policy::cases::{self, CASES_MAX_BYTES, CaseFile, CaseResult, Report};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// Policy files, files of cases, and folders of them
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    config: FileArguments,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    let mut passed = 0;
    let mut failed = 0;
    let mut ran_files = Vec::new();
    let files = match arguments.case_files(surroundings) {
        Ok(files) => files,
        Err(failure) if arguments.output == Format::Json => {
            let whole = json!({
                "passed": 0, "failed": 0, "success": false, "files": [], "errors": errors_json(&failure)
            });
            console.print(&format!("{whole:#}\n"));
            return FAILED;
        }
        Err(failure) => return failure.tell(console),
    };
    let mut is_success = true;
    for (file, named) in &files {
        let ran = run_file(file, named, |report| {
            passed += report.passed();
            failed += report.failed();
            is_success &= report.is_success();
            match arguments.output {
                Format::Text if report.is_success() => {
                    console.line(format_args!("{}: {report}", file.display()));
                }
                Format::Text => console.line(format_args!("{}:\n{report}", file.display())),
                Format::Json => ran_files.push(report_json(file, report)),
            }
        });
        if let Err(error) = ran {
            is_success = false;
            match arguments.output {
                Format::Text => {
                    Failure::from(error).tell(console);
                }
                Format::Json => {
                    ran_files.push(
                        json!({ "file": file.to_string_lossy(), "errors": errors_json(&error.into()) }),
                    );
                }
            }
        }
    }
    if arguments.output == Format::Json {
        let whole = json!({ "passed": passed, "failed": failed, "success": is_success, "files": ran_files });
        console.print(&format!("{whole:#}\n"));
    } else if files.len() > 1 {
        let cases = counted(passed + failed, "case");
        console.line(format_args!(
            "{}: {cases}: {passed} passed, {failed} failed",
            counted(files.len(), "file")
        ));
    }
    if is_success { DONE } else { FAILED }
}

/// Runs one file of cases against the policies that it names.
fn run_file(file: &Path, named: &Named, each: impl FnOnce(&Report<'_>)) -> Result<(), LoadError> {
    let bytes = named.bytes_of(file, CASES_MAX_BYTES)?;
    let cases = CaseFile::read(&file.to_string_lossy(), &bytes)?;
    let beside = |name: &str| Named { path: file.with_file_name(name), by: named.by.clone() };
    let policies: Vec<Named> = cases.policies().iter().map(|name| beside(name)).collect();
    let policies = policies::compile(&policies::sources(&policies)?, &RoleBindings::default(), |_| {})?;
    each(&cases::run(&cases, &policies));
    Ok(())
}

impl Arguments {
    /// The files of cases, each with what named it.
    fn case_files(&self, surroundings: &Surroundings) -> Result<Vec<(PathBuf, Named)>, Failure> {
        let named: Vec<Named> = if self.paths.is_empty() {
            Named::policies_of(&self.config.load(surroundings)?)
        } else {
            self.paths.iter().map(|path| Named::by_argument(path)).collect()
        };
        let mut files: Vec<(PathBuf, Named)> = Vec::new();
        for place in named {
            for file in place.files(CASES_SUFFIX)? {
                let Some(cases) = cases_of(&file) else { continue };
                if files.iter().all(|(known, _)| *known != cases) {
                    files.push((cases, Named { path: place.path.clone(), by: place.by.clone() }));
                }
            }
        }
        if files.is_empty() { Err(Failure::NoCases) } else { Ok(files) }
    }
}

/// The cases that belong to a policy, or the file itself when it is one of cases.
fn cases_of(file: &Path) -> Option<PathBuf> {
    let Some(name) = file.file_name()?.to_str()?.strip_suffix(POLICY_SUFFIX) else {
        return Some(file.to_owned());
    };
    Some(file.with_file_name(format!("{name}{CASES_SUFFIX}"))).filter(|cases| cases.is_file())
}

fn report_json(file: &Path, report: &Report<'_>) -> Value {
    let problems: Vec<Value> =
        report.problems().iter().map(|problem| json!({ "message": problem.message })).collect();
    json!({
        "file": file.to_string_lossy(),
        "passed": report.passed(),
        "failed": report.failed(),
        "problems": problems,
        "failures": report.results().iter().filter(|result| !result.is_passed()).map(case_json).collect::<Vec<_>>(),
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
    })
}
