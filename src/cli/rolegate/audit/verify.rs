//! `audit verify`: whether an audit log is whole, over all of its files.

use super::super::console::{Console, Mood};
use super::super::settings::{FileArguments, OutputArguments, Surroundings};
use super::super::{DONE, FAILED, Format};
use crate::audit::file::{FileReport, Inspection, LastEntry, VerifyError, inspect};
use crate::config::ConfigErrors;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// The file to which the log is appended; several, if earlier parts lie elsewhere. Without any, the
    /// configuration names it
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// An entry that has to be there, by its number alone or with its digest
    #[arg(long, value_name = "NUMBER[:DIGEST]")]
    last: Option<LastEntry>,
    #[command(flatten)]
    config: FileArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Why nothing can be said of the log.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    let inspection = match look(arguments, surroundings, console) {
        Ok(inspection) => inspection,
        Err(Failure::Config(errors)) => {
            errors.iter().for_each(|error| console.error(error));
            return FAILED;
        }
        Err(failure) => {
            console.error(failure);
            return FAILED;
        }
    };
    match arguments.output.format {
        Format::Json => console.print(&format!("{:#}\n", report(&inspection))),
        Format::Text => tell(&inspection, console),
    }
    if inspection.is_whole() { DONE } else { FAILED }
}

fn look(
    arguments: &Arguments,
    surroundings: &Surroundings,
    console: &mut Console<'_>,
) -> Result<Inspection, Failure> {
    let paths = if arguments.paths.is_empty() {
        vec![arguments.config.load(surroundings)?.audit_file.value]
    } else {
        arguments.paths.clone()
    };
    let inspection = inspect(&paths, arguments.last.as_ref(), |read, all| {
        let percent = read.saturating_mul(100).checked_div(all).unwrap_or(100);
        console.progress(format_args!(
            "{}: {percent} %",
            paths.first().map_or_else(String::new, |path| path.display().to_string())
        ));
    });
    console.progress("");
    Ok(inspection?)
}

fn tell(inspection: &Inspection, console: &mut Console<'_>) {
    for file in &inspection.files {
        console.line(format_args!("{}: {}", file.path.display(), Contents(file)));
    }
    for packed in &inspection.packed {
        console.warning(format_args!(
            "`{}` is packed and was not read: unpack it beside the log",
            packed.display()
        ));
    }
    if inspection.first > 1 {
        console
            .line(format_args!("the log begins with entry {}: earlier ones are not here", inspection.first));
    }
    inspection.findings.iter().for_each(|finding| console.error(finding));
    if inspection.more_findings > 0 {
        console.error(format_args!("and {} more such things", inspection.more_findings));
    }
    let (mood, word) = if inspection.is_whole() { (Mood::Good, "whole") } else { (Mood::Bad, "not whole") };
    let entries = match inspection.entries {
        1 => "1 entry".to_owned(),
        more => format!("{more} entries"),
    };
    console.line(format_args!("{}: {entries}", console.painted(mood, word)));
    if let Some(last) = inspection.last_entry() {
        console.line(format_args!("last entry {last}"));
    }
}

/// What a file holds, in words.
struct Contents<'a>(&'a FileReport);

impl std::fmt::Display for Contents<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FileReport { range, torn, is_cut, .. } = self.0;
        match range {
            None => f.write_str("no entries")?,
            Some((first, last)) if first == last => write!(f, "entry {first}")?,
            Some((first, last)) => write!(f, "entries {first} to {last}")?,
        }
        // The last line is one of them when it lacks its end.
        match (*torn, is_cut) {
            (0, _) => Ok(()),
            (1, true) => f.write_str(", and one that was cut short or is being written"),
            (1, false) => f.write_str(", and a line that was cut short"),
            (more, _) => write!(f, ", and {more} lines that were cut short"),
        }
    }
}

fn report(inspection: &Inspection) -> Value {
    let files = inspection.files.iter().map(|file| {
        json!({
            "path": file.path.to_string_lossy(),
            "entries": file.entries,
            "first": file.range.map(|(first, _)| first),
            "last": file.range.map(|(_, last)| last),
            "cut_short": file.torn,
        })
    });
    let findings = inspection.findings.iter().map(|finding| {
        json!({
            "file": finding.file.to_string_lossy(),
            "line": Some(finding.line).filter(|line| *line > 0),
            "what": finding.wrong.name(),
            "entry": finding.wrong.entry(),
            "message": finding.wrong.to_string(),
        })
    });
    json!({
        "whole": inspection.is_whole(),
        "entries": inspection.entries,
        "first": Some(inspection.first).filter(|first| *first > 0),
        "last": inspection.last.map(|(seq, _)| seq),
        "last_entry": inspection.last_entry(),
        "cut_short": inspection.torn,
        "files": Value::from_iter(files),
        "packed": inspection.packed.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "findings": Value::from_iter(findings),
        "more_findings": inspection.more_findings,
    })
}
