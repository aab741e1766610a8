//! Reads a command line by the table, in the grammar of the original: flags before, between and after the
//! words, `--name x`, `--name=x`, `-n x`, `-nx`, `-n=x`, `-vv`, and `--` to end them.

use super::spec::{Command, Flag, Kind, Need};
use super::tree::GLOBAL;
use super::value::{Moment, Value, read_value, shown_number};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most arguments that are looked at.
pub(crate) const ARGUMENTS_MAX: usize = 10_000;

/// A command line that was read. It may hold secrets, and so has no `Debug`.
pub(crate) struct Invocation {
    /// The command that it calls.
    pub(crate) called: Called,
    values: BTreeMap<&'static str, Value>,
    /// What is no flag.
    pub(crate) operands: Vec<String>,
}

/// A command and the words that lead to it.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    /// The words, the program's name first.
    pub(crate) path: String,
    /// The command.
    pub(crate) command: &'static Command,
}

/// A flag that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct FlagError(pub(crate) String);

/// The command that `args` call, whatever else they say.
pub(crate) fn find(root: &'static Command, args: &[String]) -> (Called, Vec<String>) {
    let mut called = Called { path: root.name.to_owned(), command: root };
    let mut rest: Vec<String> = args.iter().take(ARGUMENTS_MAX).cloned().collect();
    while let Some(at) = first_word(called.command, &rest) {
        let Some(child) = rest.get(at).and_then(|word| called.command.child(word)) else { break };
        called = Called { path: format!("{} {}", called.path, child.name), command: child };
        rest.remove(at);
    }
    (called, rest)
}

/// Reads the flags of `args`, which no longer hold the words of the command.
///
/// # Errors
/// When a flag is unknown, lacks its value or does not understand it.
pub(crate) fn read(called: Called, args: Vec<String>) -> Result<Invocation, FlagError> {
    let mut reader = Reader { command: called.command, args: args.into_iter(), values: BTreeMap::new() };
    let mut operands = Vec::new();
    while let Some(arg) = reader.args.next() {
        if arg == "--" {
            operands.extend(reader.args.by_ref());
        } else if let Some(long) = arg.strip_prefix("--") {
            reader.long(&arg, long)?;
        } else if let Some(letters) = arg.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            reader.letters(letters)?;
        } else {
            operands.push(arg);
        }
    }
    Ok(Invocation { called, values: reader.values, operands })
}

impl Invocation {
    /// The text of a flag that was given.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The texts of a flag that was given.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        match self.values.get(name) {
            Some(Value::List(list)) => list.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether a switch is on.
    pub(crate) fn switch(&self, name: &str) -> bool {
        self.values.get(name) == Some(&Value::Switch(true))
    }

    /// How often a counted flag was given.
    pub(crate) fn count(&self, name: &str) -> u32 {
        match self.values.get(name) {
            Some(Value::Count(times)) => *times,
            _ => 0,
        }
    }

    /// The number of a flag that was given.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        match self.values.get(name) {
            Some(Value::Int(number)) => Some(*number),
            _ => None,
        }
    }

    /// The date of a flag that was given; the year 1 means none.
    pub(crate) fn date(&self, name: &str) -> Option<jiff::civil::Date> {
        match self.values.get(name) {
            Some(Value::Date(date)) => *date,
            _ => None,
        }
    }

    /// The length of time of a flag that was given.
    pub(crate) fn duration(&self, name: &str) -> Option<Duration> {
        match self.values.get(name) {
            Some(Value::Duration(duration)) => Some(*duration),
            _ => None,
        }
    }

    /// The moment of a flag that was given.
    pub(crate) fn moment(&self, name: &str) -> Option<Moment> {
        match self.values.get(name) {
            Some(Value::Moment(moment)) => Some(*moment),
            _ => None,
        }
    }

    /// Whether the flag was given at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Whether `-o json` was given.
    pub(crate) fn wants_json(&self) -> bool {
        self.text("output") == Some("json")
    }

    /// What is missing for the command to run, as an error's text. `chosen` says that the one flag of
    /// several that is needed is known from elsewhere.
    pub(crate) fn missing(&self, chosen: bool) -> Option<String> {
        let flags = self.called.command.flags;
        let missing: Vec<&str> = flags
            .iter()
            .filter(|flag| flag.need == Need::Required && !self.has(flag.name))
            .map(|flag| flag.name)
            .collect();
        if !missing.is_empty() {
            return Some(format!("required flag(s) \"{}\" not set", missing.join("\", \"")));
        }
        let choice: Vec<&str> =
            flags.iter().filter(|flag| flag.need == Need::OneOf).map(|flag| flag.name).collect();
        let given = choice.iter().filter(|name| self.has(name)).count();
        match given {
            0 if !choice.is_empty() && !chosen => {
                Some(format!("one of the flags {{{}}} is required", choice.join(" | ")))
            }
            0 | 1 => None,
            _ => Some(format!("only one of the flags {{{}}} can be given", choice.join(" | "))),
        }
    }
}

/// Where the first word that is no flag, and no flag's value, stands.
fn first_word(command: &'static Command, args: &[String]) -> Option<usize> {
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        if arg == "--" {
            return None;
        }
        let flag = match (arg.strip_prefix("--"), arg.strip_prefix('-')) {
            (Some(long), _) => command.all_flags(GLOBAL).find(|flag| flag.name == long),
            (None, Some(letters)) if letters.chars().count() == 1 => letter(command, letters.chars().next()),
            (None, Some(letters)) if !letters.is_empty() => {
                at += 1;
                continue;
            }
            (None, _) => return Some(at),
        };
        // The value of a flag that is not known here may still be one of the command below.
        let takes_next = !arg.contains('=') && flag.is_none_or(Flag::takes_value);
        at += if takes_next { 2 } else { 1 };
    }
    None
}

fn letter(command: &'static Command, letter: Option<char>) -> Option<&'static Flag> {
    command.all_flags(GLOBAL).find(|flag| flag.short == letter)
}

struct Reader {
    command: &'static Command,
    args: std::vec::IntoIter<String>,
    values: BTreeMap<&'static str, Value>,
}

impl Reader {
    fn long(&mut self, arg: &str, long: &str) -> Result<(), FlagError> {
        if long.starts_with(['-', '=']) {
            return Err(FlagError(format!("bad flag syntax: {arg}")));
        }
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (long, None),
        };
        let Some(flag) = self.command.all_flags(GLOBAL).find(|flag| flag.name == name) else {
            return Err(FlagError(format!("unknown flag: --{name}")));
        };
        let value = match value {
            Some(value) => value,
            None if !flag.takes_value() => return self.set_bare(flag),
            None => self.args.next().ok_or_else(|| FlagError(format!("flag needs an argument: --{name}")))?,
        };
        self.set(flag, value)
    }

    fn letters(&mut self, letters: &str) -> Result<(), FlagError> {
        let mut rest = letters.chars();
        while let Some(name) = rest.next() {
            let Some(flag) = letter(self.command, Some(name)) else {
                return Err(FlagError(format!("unknown shorthand flag: '{name}' in -{letters}")));
            };
            let value = rest.as_str();
            if let Some(value) = value.strip_prefix('=').filter(|_| value.len() > 1) {
                return self.set(flag, value.to_owned());
            }
            if !flag.takes_value() {
                self.set_bare(flag)?;
                continue;
            }
            let value = if value.is_empty() {
                let missing = || FlagError(format!("flag needs an argument: '{name}' in -{letters}"));
                self.args.next().ok_or_else(missing)?
            } else {
                value.to_owned()
            };
            return self.set(flag, value);
        }
        Ok(())
    }

    fn set_bare(&mut self, flag: &'static Flag) -> Result<(), FlagError> {
        if flag.kind == Kind::Count {
            let times = match self.values.get(flag.name) {
                Some(Value::Count(times)) => times.saturating_add(1),
                _ => 1,
            };
            self.values.insert(flag.name, Value::Count(times));
            return Ok(());
        }
        self.set(flag, "true".to_owned())
    }

    fn set(&mut self, flag: &'static Flag, text: String) -> Result<(), FlagError> {
        let value = read_value(flag.kind, &text).map_err(|reason| {
            let name = match flag.short {
                Some(short) => format!("-{short}, --{}", flag.name),
                None => format!("--{}", flag.name),
            };
            let text = if matches!(flag.kind, Kind::Int) { shown_number(&text) } else { text.as_str() };
            FlagError(format!("invalid argument \"{}\" for \"{name}\" flag: {reason}", text.escape_debug()))
        })?;
        let value = match (value, self.values.remove(flag.name)) {
            (Value::List(more), Some(Value::List(mut list))) => {
                list.extend(more);
                Value::List(list)
            }
            (value, _) => value,
        };
        self.values.insert(flag.name, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sts::tree::ROOT;
    use proptest::prelude::*;

    fn parse(line: &[&str]) -> Result<Invocation, FlagError> {
        let args: Vec<String> = line.iter().map(|arg| (*arg).to_owned()).collect();
        let (called, rest) = find(&ROOT, &args);
        read(called, rest)
    }

    fn error(line: &[&str]) -> String {
        parse(line).err().unwrap().0
    }

    #[test]
    fn flags_stand_before_between_and_after_the_words() {
        for line in [
            ["-n", "x", "service-token", "create"],
            ["service-token", "-n", "x", "create"],
            ["service-token", "create", "-n", "x"],
        ] {
            let read = parse(&line).unwrap();
            assert_eq!(
                (read.called.path.as_str(), read.text("name")),
                ("sts service-token create", Some("x"))
            );
        }
    }

    #[test]
    fn every_form_of_a_flag_is_read() {
        for form in [&["--name=x"][..], &["--name", "x"], &["-n", "x"], &["-nx"], &["-n=x"], &["-vn", "x"]] {
            let line = [&["service-token", "create"], form].concat();
            assert_eq!(parse(&line).unwrap().text("name"), Some("x"), "{form:?}");
        }
        assert_eq!(parse(&["-vv", "version", "-v", "--verbose"]).unwrap().count("verbose"), 4);
        assert_eq!(parse(&["version", "--verbose=2"]).unwrap().count("verbose"), 2);
        assert!(!parse(&["version", "--no-color=false"]).unwrap().switch("no-color"));
        assert!(parse(&["version", "-o=json"]).unwrap().wants_json());
        assert_eq!(parse(&["version", "--", "--url"]).unwrap().operands, ["--url"]);
        assert_eq!(parse(&["version", "-"]).unwrap().operands, ["-"]);
    }

    #[test]
    fn a_flag_that_cannot_be_read_is_named() {
        assert_eq!(error(&["version", "--nope"]), "unknown flag: --nope");
        assert_eq!(error(&["version", "--nope=1"]), "unknown flag: --nope");
        assert_eq!(error(&["version", "-vx"]), "unknown shorthand flag: 'x' in -vx");
        assert_eq!(error(&["version", "--url"]), "flag needs an argument: --url");
        assert_eq!(error(&["version", "-vc"]), "flag needs an argument: 'c' in -vc");
        assert_eq!(error(&["version", "---url"]), "bad flag syntax: ---url");
        assert_eq!(error(&["version", "--=url"]), "bad flag syntax: --=url");
    }

    #[test]
    fn repeating_a_list_adds_to_it_and_repeating_a_text_replaces_it() {
        let read = parse(&["service-token", "create", "--roles", "a,b", "--roles=c", "-nx", "-ny"]).unwrap();
        assert_eq!(read.list("roles"), ["a", "b", "c"]);
        assert_eq!(read.text("name"), Some("y"));
    }

    proptest! {
        #[test]
        fn no_command_line_makes_it_panic(words in prop::collection::vec(
            prop_oneof![
                ".{0,6}",
                "-{0,3}[a-zäh=,\"]{0,4}",
                "(service-token|create|context|save|help|--name|-n|-o=json|--roles|-vv|--|-|--id=-1|-i)",
            ],
            0..8,
        )) {
            let (called, rest) = find(&ROOT, &words);
            prop_assert!(rest.len() <= words.len());
            if let Ok(invocation) = read(called, rest) {
                invocation.missing(false);
            }
        }
    }
}
