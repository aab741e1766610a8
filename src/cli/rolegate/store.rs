//! `store`: whether the file of tokens is whole, and how it becomes whole again.

mod report;

use super::console::Console;
use super::settings::{FileArguments, OutputArguments, Surroundings};
use super::{DONE, FAILED, Format};
use crate::config::ConfigErrors;
use crate::store::StoreError;
use crate::store::embedded::{FILE_NAME, Findings, Repair, check};
use clap::{Args, Subcommand};
use report::Told;
use std::path::PathBuf;

/// Something is wrong with the store.
const FAULTY: u8 = 3;

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  the store is whole, or was repaired
  1  it could not be checked or repaired, as while a server runs
  2  wrong usage
  3  something is wrong with it";

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Tell whether the file of tokens is whole
    ///
    /// All of it is read: every page, every token, and whether digests, orders, uses and spent digests agree with the
    /// tokens. Nothing is changed, and no server may run on it meanwhile. For each fault it tells where it is, what is
    /// wrong, and what a repair would do about it.
    #[command(after_help = EXIT_CODES)]
    Check(CheckArguments),
    /// Make a damaged file of tokens whole again
    ///
    /// Tells first what would be lost, and does nothing without --yes. With it, a new file is written of all that can
    /// be trusted and takes the place of the damaged one, which is kept as tokens.redb.before-repair-1.
    #[command(after_help = EXIT_CODES)]
    Repair(RepairArguments),
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    files: FileArguments,
    /// The folder of the store; without it, that of the configuration
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
pub(super) struct RepairArguments {
    #[command(flatten)]
    store: CheckArguments,
    /// Repair it, and lose what was told
    #[arg(long)]
    yes: bool,
}

/// Why a store cannot be looked at or repaired.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) fn run(command: &StoreCommand, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    let (arguments, done) = match command {
        StoreCommand::Check(arguments) => (arguments, run_check(arguments, surroundings, console)),
        StoreCommand::Repair(arguments) => (&arguments.store, run_repair(arguments, surroundings, console)),
    };
    match done {
        Ok(code) => code,
        Err(failure) => failure.tell(arguments.output.format, console),
    }
}

fn run_check(
    arguments: &CheckArguments,
    surroundings: &Surroundings,
    console: &mut Console<'_>,
) -> Result<u8, Failure> {
    let folder = arguments.folder(surroundings)?;
    let findings = check(&folder, &mut |what, done, of| progress(console, what, done, of));
    console.progress("");
    let findings = findings?;
    arguments.tell(console, &Told { file: folder.join(FILE_NAME), findings: &findings, outcome: None });
    Ok(if findings.is_whole() { DONE } else { FAULTY })
}

fn run_repair(
    arguments: &RepairArguments,
    surroundings: &Surroundings,
    console: &mut Console<'_>,
) -> Result<u8, Failure> {
    let folder = arguments.store.folder(surroundings)?;
    let file = folder.join(FILE_NAME);
    let repair = Repair::prepare(&folder, &mut |what, done, of| progress(console, what, done, of));
    console.progress("");
    let repair = repair?;
    let findings: Findings = repair.findings().clone();
    let (outcome, code) = if findings.is_whole() {
        ("there is nothing to repair".to_owned(), DONE)
    } else if !findings.can_be_repaired() {
        (report::UNREPAIRABLE.to_owned(), FAULTY)
    } else if arguments.yes {
        // What is lost is told before anything is done, and so also when the rest fails.
        let told = Told { file: file.clone(), findings: &findings, outcome: None };
        if arguments.store.output.format == Format::Text {
            console.print(&report::text(&told));
        }
        let kept = repair.make()?;
        let outcome = format!("repaired; the damaged file is kept as {}", kept.display());
        if arguments.store.output.format == Format::Text {
            console.line(outcome);
        } else {
            console.print(&report::json(&Told { outcome: Some(outcome), ..told }));
        }
        return Ok(DONE);
    } else {
        ("nothing was changed; `--yes` repairs it, and loses what is told above".to_owned(), FAULTY)
    };
    arguments.store.tell(console, &Told { file, findings: &findings, outcome: Some(outcome) });
    Ok(code)
}

impl CheckArguments {
    fn folder(&self, surroundings: &Surroundings) -> Result<PathBuf, ConfigErrors> {
        match &self.data_dir {
            Some(folder) => Ok(folder.clone()),
            None => Ok(self.files.load(surroundings)?.data_dir.value),
        }
    }

    fn tell(&self, console: &mut Console<'_>, told: &Told<'_>) {
        console.print(&match self.output.format {
            Format::Text => report::text(told),
            Format::Json => report::json(told),
        });
    }
}

impl Failure {
    fn tell(&self, output: Format, console: &mut Console<'_>) -> u8 {
        let messages: Vec<String> = match self {
            Self::Config(errors) => errors.iter().map(ToString::to_string).collect(),
            Self::Store(error) => vec![error.to_string()],
        };
        if output == Format::Json {
            console.print(&report::failure(&messages));
        } else {
            messages.iter().for_each(|message| console.error(message));
        }
        FAILED
    }
}

fn progress(console: &mut Console<'_>, what: &str, done: u64, of: u64) {
    let percent = done.saturating_mul(100).checked_div(of).unwrap_or(100).min(100);
    console.progress(format_args!("reading {what}: {percent} %"));
}
