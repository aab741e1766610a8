//! `audit`: what operators do with the audit log.

mod verify;

use super::console::Console;
use super::settings::Surroundings;
use clap::Subcommand;

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  the log is whole
  1  it is not, or it cannot be read
  2  wrong usage";

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Tell whether an audit log is whole: no entry changed, missing or out of order
    ///
    /// The file that is named, or that of the configuration, is read together with the earlier parts of the log that lie
    /// beside it: files of the same name with a dot or a dash and a number or a date. A log may be verified while a
    /// server writes it; it is read up to where it ends at the start.
    ///
    /// Entries that were removed from the end of a log leave no trace in it. Keep the last entry that this command
    /// prints elsewhere, and hand it over with --last the next time: it has to be there.
    #[command(after_help = EXIT_CODES)]
    Verify(verify::Arguments),
}

pub(super) fn run(command: &AuditCommand, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    match command {
        AuditCommand::Verify(arguments) => verify::run(arguments, surroundings, console),
    }
}
