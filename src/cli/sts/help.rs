//! Help texts, in the layout that the original's users know.

use super::parse::Called;
use super::spec::{Command, Flag, HELP, Kind, Need};
use super::tree::GLOBAL;
use super::version::MINIMUM;

/// Names in the list of commands are padded to at least this width.
const NAME_WIDTH_MIN: usize = 11;
/// What stands above the commands that the original lacks.
const FURTHER: &str = "Further Commands (servers of rolegate):";
/// The spaces between a flag and what it is for.
const GAP: &str = "   ";

/// The help of a command, of a noun as the original has it: with the commands that it knows itself.
pub(crate) fn help(called: &Called) -> String {
    let Called { path, command } = called;
    if command.children.is_empty() {
        full_help(called)
    } else {
        about(called, &group_usage(path, command, ""))
    }
}

/// The whole help of a command.
pub(crate) fn full_help(called: &Called) -> String {
    about(called, &usage(called))
}

fn about(called: &Called, usage: &str) -> String {
    let mut sections = vec![called.command.long.to_owned()];
    if called.command.is_further {
        sections.push("Works with servers of rolegate.".to_owned());
    } else if called.command.action.asks_server() {
        sections.push(format!("Works with servers of version {MINIMUM} and later."));
    }
    sections.push(usage.to_owned());
    sections.join("\n\n")
}

/// How a command is called: the whole help without the words about it.
pub(crate) fn usage(called: &Called) -> String {
    let Called { path, command } = called;
    if !command.children.is_empty() {
        let further = command_lines(command, true);
        let further = if further.is_empty() { further } else { format!("\n{FURTHER}\n{further}") };
        return group_usage(path, command, &further);
    }
    let mut sections = vec![format!("Usage:\n  {}", call_line(path, command))];
    if !command.examples.is_empty() {
        let examples: Vec<String> =
            command.examples.iter().map(|(about, line)| format!("# {about}\n{line}")).collect();
        sections.push(format!("Examples:\n{}", examples.join("\n\n")));
    }
    let about_help = format!("help for {}", command.name);
    let mut own: Vec<(&Flag, &str)> = command.flags.iter().map(|flag| (flag, flag.help)).collect();
    own.push((&HELP, &about_help));
    sections.push(format!("Flags:\n{}", flag_lines(own)));
    let inherited = command.inherited(GLOBAL).map(|flag| (flag, flag.help)).collect();
    sections.push(format!("Global Flags:\n{}", flag_lines(inherited)));
    sections.join("\n\n") + "\n"
}

fn group_usage(path: &str, command: &Command, further: &str) -> String {
    format!(
        "Usage:\n  {path} [command]\n\nAvailable Commands:\n{}{further}\n\
         Use \"{path} [command] --help\" for more information about a command.\n",
        command_lines(command, false)
    )
}

/// The commands below, with what each is for.
fn command_lines(command: &Command, are_further: bool) -> String {
    let longest = command.children.iter().map(|child| child.name.len()).max().unwrap_or_default();
    let width = longest.max(NAME_WIDTH_MIN);
    let children = command.children.iter().filter(|child| child.is_further == are_further);
    children.map(|child| format!("  {:width$} {}\n", child.name, child.short)).collect()
}

/// The command with what it needs: a flag's value is written as its name in capitals.
fn call_line(path: &str, command: &Command) -> String {
    let value = |flag: &Flag| format!("--{} {}", flag.name, flag.name.to_uppercase());
    let mut parts = vec![path.to_owned()];
    let mut choice_told = false;
    for flag in sorted(command.flags.iter().map(|flag| (flag, "")).collect()).iter().map(|(flag, _)| flag) {
        match flag.need {
            Need::Optional => {}
            Need::Required => parts.push(value(flag)),
            Need::OneOf if choice_told => {}
            Need::OneOf => {
                let choice: Vec<String> =
                    command.flags.iter().filter(|flag| flag.need == Need::OneOf).map(value).collect();
                parts.push(format!("{{ {} }}", choice.join(" | ")));
                choice_told = true;
            }
        }
    }
    parts.extend(command.operands.map(str::to_owned));
    parts.push("[flags]".to_owned());
    parts.join(" ")
}

fn flag_lines(flags: Vec<(&Flag, &str)>) -> String {
    let lines: Vec<(String, String)> = sorted(flags)
        .into_iter()
        .filter(|(flag, _)| !flag.hidden)
        .map(|(flag, about)| (flag_head(flag), format!("{about}{}", default_note(flag))))
        .collect();
    let width = lines.iter().map(|(head, _)| head.len()).max().unwrap_or_default();
    let lines: Vec<String> =
        lines.into_iter().map(|(head, about)| format!("{head:width$}{GAP}{about}")).collect();
    lines.join("\n")
}

fn flag_head(flag: &Flag) -> String {
    let names = match flag.short {
        Some(short) => format!("  -{short}, --{}", flag.name),
        None => format!("      --{}", flag.name),
    };
    match flag.type_word() {
        "" => names,
        word => format!("{names} {word}"),
    }
}

fn default_note(flag: &Flag) -> String {
    match (flag.default, flag.kind) {
        ("", _) => String::new(),
        (default, Kind::Choice(_)) => format!(" (default {default})"),
        (default, _) => format!(" (default \"{default}\")"),
    }
}

fn sorted<'a>(mut flags: Vec<(&'a Flag, &'a str)>) -> Vec<(&'a Flag, &'a str)> {
    flags.sort_by_key(|(flag, _)| flag.name);
    flags
}
