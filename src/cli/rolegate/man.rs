//! `man`: writes the manual pages of both programs, from the texts of their `--help`.

use super::console::Console;
use super::{Arguments, DONE, EXIT_CODES, FAILED};
use clap::{Args, CommandFactory as _};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct ManArguments {
    /// The folder; pages of the same names in it are replaced
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

pub(super) fn run(arguments: &ManArguments, console: &mut Console<'_>) -> u8 {
    let folder = &arguments.folder;
    let pages = [Arguments::command(), crate::cli::sts::described()];
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| pages.into_iter().try_for_each(|page| clap_mangen::generate_to(page, folder)));
    match written {
        Ok(()) => DONE,
        Err(error) => {
            console.error(format_args!("cannot write manual pages to `{}`: {error}", folder.display()));
            FAILED
        }
    }
}
