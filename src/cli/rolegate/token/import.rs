//! `token import`: tokens out of a file, into the store or into a running server.

mod check;
mod input;
mod report;
mod target;

use super::super::DONE;
use super::super::console::Console;
use super::super::policies::{Configured, LoadError};
use super::super::settings::{FileArguments, OutputArguments, Surroundings};
use super::server::ServerArguments;
use super::{Failure, WRONG_USAGE};
use crate::backup::Entry;
use crate::engine::Import;
use check::Checked;
use clap::Args;
use input::Input;
use report::{Report, Subject};
use std::path::PathBuf;
use target::Target;

/// Something was left alone.
const LEFT_ALONE: u8 = 3;

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  all tokens of the file are here, as it has them
  1  it failed; tokens that were imported before stay, and a second run goes on
  2  wrong usage
  3  some are not: in conflict with what is here, or deleted by the file itself; all others are";

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// The file, or `-` for standard input. It is read twice: of a pipe, a copy without a name is kept meanwhile in the
    /// folder of TMPDIR, or in /tmp
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    config: FileArguments,
    #[command(flatten)]
    server: ServerArguments,
    /// Change nothing, and tell what would be
    #[arg(long)]
    dry_run: bool,
    /// Replace tokens that are here otherwise by those of the file
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    output: OutputArguments,
}

/// Tokens that are imported together, with where they come from.
#[derive(Default)]
struct Batch {
    import: Import,
    subjects: Vec<Subject>,
}

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    if arguments.server.takes_standard_input() && arguments.file.as_os_str() == "-" {
        console.error("standard input cannot hold both the token and what is imported");
        return WRONG_USAGE;
    }
    let mut report = Report::new(arguments.dry_run, arguments.output.format);
    let imported = import(arguments, surroundings, &mut report, console);
    console.progress("");
    let failed = imported.err().map(|failure| failure.tell(console));
    // What failed before the first token is told by its error alone.
    if failed.is_none() || !report.is_empty() {
        report.print(console);
    }
    failed.unwrap_or(if report.is_complete() { DONE } else { LEFT_ALONE })
}

fn import(
    arguments: &Arguments,
    surroundings: &Surroundings,
    report: &mut Report,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut input = Input::open(&arguments.file)?;
    let checked = Checked::of(&mut input)?;
    let target = match arguments.server.server(surroundings)? {
        Some(server) => Target::Server(Box::new(server)),
        None => {
            let config = arguments.config.load(surroundings)?;
            let configured = Configured::of(&config);
            let policies = configured.compile(&configured.read()?, |_| ()).map_err(LoadError::from)?;
            checked.tell_undefined_roles(&policies, console);
            Target::store(&config, policies, arguments.dry_run)?
        }
    };
    // First what must not come back, so that it does not either when the import ends early.
    if checked.whole().counts().spent > 0 {
        input.parts(checked.whole(), |part| {
            let mut batch = Batch::default();
            for (_, entry) in part {
                let Entry::Spent(digest) = entry else { continue };
                batch.subjects.push(Subject::Digest(digest.fingerprint()));
                batch.import.spent.push(digest);
                if batch.subjects.len() == target.batch() {
                    send(&target, std::mem::take(&mut batch), arguments, report, console)?;
                }
            }
            send(&target, batch, arguments, report, console)
        })?;
    }
    input.parts(checked.whole(), |part| {
        let mut batch = Batch::default();
        for (line, entry) in part {
            let Entry::Token(token) = entry else { continue };
            let subject = Subject::Token { line, id: token.id, name: token.name.clone() };
            if token.digests().any(|digest| checked.is_spent(&digest)) {
                report.deleted(&subject, console);
                continue;
            }
            batch.subjects.push(subject);
            batch.import.tokens.push(*token);
            if batch.subjects.len() == target.batch() {
                send(&target, std::mem::take(&mut batch), arguments, report, console)?;
            }
        }
        send(&target, batch, arguments, report, console)
    })
}

fn send(
    target: &Target,
    mut batch: Batch,
    arguments: &Arguments,
    report: &mut Report,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if batch.subjects.is_empty() {
        return Ok(());
    }
    batch.import.replaces = arguments.replace;
    batch.import.is_dry_run = arguments.dry_run;
    let outcomes = target.import(&batch.import)?;
    for (subject, told) in batch.subjects.iter().zip(outcomes) {
        report.take(subject, told, console);
    }
    report.progress(console);
    Ok(())
}
