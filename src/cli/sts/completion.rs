//! Completion scripts, written by clap_complete from the command table.

use super::spec::{Command, Flag, Kind};
use super::tree::GLOBAL;
use clap_complete::Shell;

/// The completion script of the program `root` for `shell`.
pub(crate) fn script(root: &'static Command, shell: Shell, with_descriptions: bool) -> String {
    let mut described = describe(root, with_descriptions);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut described, root.name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The command as clap describes one.
pub(super) fn describe(command: &'static Command, with_descriptions: bool) -> clap::Command {
    let mut described = clap::Command::new(command.name)
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true);
    if with_descriptions {
        described = described.about(command.short);
    }
    for flag in command.all_flags(GLOBAL).filter(|flag| !flag.hidden) {
        described = described.arg(describe_flag(flag, with_descriptions));
    }
    for child in command.children {
        described = described.subcommand(describe(child, with_descriptions));
    }
    described
}

fn describe_flag(flag: &'static Flag, with_descriptions: bool) -> clap::Arg {
    let mut arg = clap::Arg::new(flag.name).long(flag.name);
    if let Some(short) = flag.short {
        arg = arg.short(short);
    }
    if with_descriptions {
        arg = arg.help(if flag.name == "help" { "show help" } else { flag.help });
    }
    if flag.kind == Kind::File {
        arg = arg.value_hint(clap::ValueHint::FilePath);
    }
    match flag.kind {
        Kind::Switch => arg.action(clap::ArgAction::SetTrue),
        Kind::Count => arg.action(clap::ArgAction::Count),
        Kind::Choice(words) => {
            arg.action(clap::ArgAction::Set).value_parser(clap::builder::PossibleValuesParser::new(words))
        }
        Kind::Text | Kind::File | Kind::List | Kind::Int => arg.action(clap::ArgAction::Set),
        Kind::Date | Kind::Duration | Kind::Moment => arg.action(clap::ArgAction::Set),
    }
}
