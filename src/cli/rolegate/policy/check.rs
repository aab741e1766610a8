//! `policy check`: whether policies load, and everything that is wrong with them when they do not.

use super::super::console::Console;
use super::super::policies;
use super::super::settings::{FileArguments, Surroundings};
use super::super::{DONE, FAILED, Format};
use super::{Failure, errors_json, load};
use crate::policy::{PolicySet, Source};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// Policy files, and folders of them
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    config: FileArguments,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    let checked = load(&arguments.paths, &arguments.config, surroundings);
    if arguments.output == Format::Json {
        console.print(&format!("{:#}\n", check_json(&checked)));
        return if checked.is_ok() { DONE } else { FAILED };
    }
    match checked {
        Ok((sources, policies)) => {
            for source in sources {
                console.line(format_args!("{}: in order", source.name));
            }
            console.line(policies::summary(&policies));
            DONE
        }
        Err(failure) => failure.tell(console),
    }
}

fn check_json(checked: &Result<(Vec<Source>, PolicySet), Failure>) -> Value {
    match checked {
        Ok((sources, policies)) => json!({
            "valid": true,
            "errors": [],
            "files": sources.iter().map(|source| &*source.name).collect::<Vec<_>>(),
            "permissions": policies.permissions().len(),
            "roles": policies.roles().len(),
            "rules": policies.rules().len(),
            "version": policies.version().to_string(),
        }),
        Err(failure) => json!({ "valid": false, "errors": errors_json(failure) }),
    }
}
