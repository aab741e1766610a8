//! `token`: what operators do with tokens, on the store itself or through a running server.

mod server;
mod scan;
mod usage;

use super::FAILED;
use super::console::Console;
use super::policies::LoadError;
use super::settings::Surroundings;
use crate::cli::files::Unreadable;
use crate::config::ConfigErrors;
use crate::store::StoreError;
use clap::Subcommand;
use std::path::PathBuf;

/// The arguments do not fit together, as clap has it.
const WRONG_USAGE: u8 = 2;

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
    /// text, in binary files, in UTF-16 and in base64, but not in what is compressed. No token is ever printed or sent.
    ///
    /// With --config, tokens are looked up in the store of a configuration, while no server has it open. With --url, a
    /// running server is asked, by digests; that takes the permission look-up-tokens. With neither, the checksum alone
    /// tells what is a token, and any token counts as live.
    #[command(after_help = scan::EXIT_CODES, mut_arg("files", |files| files.help(scan::CONFIG_HELP).long_help(None)))]
    Scan(scan::Arguments),
    /// Tell what a token may do, and what of that it did
    ///
    /// Every permission that the roles of the token hold is told with its use, so that roles can be cut down to what is
    /// needed. With --url, a running server is asked, which takes the permission manage-service-tokens. Otherwise the
    /// store and the policies of a configuration are read, while no server has the store open.
    ///
    /// A running server writes uses down every 30 seconds and when it stops: what the store tells of a server that
    /// crashed may lack its last minute.
    #[command(after_help = USAGE_EXIT_CODES)]
    Usage(usage::Arguments),
}

const USAGE_EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  there is no such token, or it could not be looked up
  2  wrong usage";

/// Why a command on tokens cannot do its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Policies(#[from] LoadError),
    #[error(
        "the token store in `{}` is in use, as by a running server: ask that server with `--url URL \
         --service-token-file FILE`, or stop it",
        .0.display()
    )]
    InUse(PathBuf),
    #[error(transparent)]
    Store(StoreError),
    #[error(transparent)]
    File(#[from] Unreadable),
    #[error("{0}")]
    Server(String),
}

pub(super) fn run(command: &TokenCommand, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    match command {
        TokenCommand::Scan(arguments) => scan::run(arguments, surroundings, console),
        TokenCommand::Usage(arguments) => usage::run(arguments, surroundings, console),
    }
}

impl Failure {
    /// Tells it on standard error.
    fn tell(&self, console: &mut Console<'_>) -> u8 {
        match self {
            Self::Config(errors) => errors.iter().for_each(|error| console.error(error)),
            // These come with their label, and with the lines they are about.
            Self::Policies(LoadError::Policy(errors)) => console.remark(errors),
            other => console.error(other),
        }
        FAILED
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InUse { folder } => Self::InUse(folder),
            other => Self::Store(other),
        }
    }
}
