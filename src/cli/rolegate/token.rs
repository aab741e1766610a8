//! `token`: what operators do with tokens, on the store itself or through a running server.

mod scan;

use super::console::Console;
use super::settings::Surroundings;
use clap::Subcommand;

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed
  2  wrong usage
  3  as the help of a command says";

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Find tokens that leaked into files, and tell which of them are live
    ///
    /// Every file below each PATH is read, hidden and ignored ones too; links are not followed. Tokens are found in
    /// text, in binary files, in UTF-16 and in base64, but not in what is compressed. No token is ever printed.
    #[command(after_help = scan::EXIT_CODES)]
    Scan(scan::Arguments),
}

pub(super) fn run(command: &TokenCommand, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    match command {
        TokenCommand::Scan(arguments) => scan::run(arguments, surroundings, console),
    }
}
