//! `token`: what operators do with tokens, on the store itself or through a running server.

mod server;
mod scan;
mod usage;
mod export;
mod import;

use super::FAILED;
use super::console::Console;
use super::policies::LoadError;
use super::settings::Surroundings;
use crate::audit::AuditError;
use crate::backup::{BackupError, TooManyTokens};
use crate::cli::files::Unreadable;
use crate::config::ConfigErrors;
use crate::engine::{ChangeError, OpenError};
use crate::store::StoreError;
use clap::Subcommand;
use std::io;
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
    /// Write all tokens to a file, by their digests and without their secrets
    ///
    /// The file restores the tokens on another machine, or in another store: clients go on with the secrets that they
    /// have. It has each token, expired and disabled ones too, and the digests of configured tokens that were deleted,
    /// but not when and for what tokens were used. A token that is changed while a server exports is there as it was
    /// or as it is; one that nobody changes is there exactly once.
    ///
    /// Without --url, tokens are read from the store of a configuration, while no server has it open. With --url, a
    /// running server is asked; that takes the permission export-tokens.
    #[command(after_help = export::EXIT_CODES)]
    Export(export::Arguments),
    /// Take tokens from a file that `rolegate token export` wrote
    ///
    /// The whole file is checked before anything is changed. Then each token that is not here is created, and one that
    /// is here as the file has it is left alone, so that a second run changes nothing. One that is here otherwise, or
    /// whose secret is that of another token here, or of one that was deleted, is a conflict: it is told and left alone.
    ///
    /// Without --url, tokens are written to the store of a configuration, while no server has it open. With --url, a
    /// running server is asked; that takes the permission import-tokens, and no token may reach further than the token
    /// of --service-token-file, unless that holds grant-any-role. Tokens of the configuration, and those with roles that
    /// no policy defines, can be imported without --url alone.
    #[command(after_help = import::EXIT_CODES)]
    Import(import::Arguments),
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
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{path}: {error}", path = path.display())]
    Backup { path: PathBuf, error: BackupError },
    #[error(transparent)]
    TooMany(#[from] TooManyTokens),
    #[error("cannot write `{path}`: {cause}", path = path.display())]
    Write { path: PathBuf, cause: io::Error },
    #[error("the import stopped: {0}; what was imported before stays, and can be imported again")]
    Import(ChangeError),
}

pub(super) fn run(command: &TokenCommand, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    match command {
        TokenCommand::Scan(arguments) => scan::run(arguments, surroundings, console),
        TokenCommand::Usage(arguments) => usage::run(arguments, surroundings, console),
        TokenCommand::Export(arguments) => export::run(arguments, surroundings, console),
        TokenCommand::Import(arguments) => import::run(arguments, surroundings, console),
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
