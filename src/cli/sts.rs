//! `sts`, the client's program: a drop-in for StackState's command line client. It knows the server by its
//! wire contract alone, and so works with any that speaks it.

mod failure;
mod surroundings;
mod version;
mod spec;
mod tree;
mod value;
mod parse;
mod help;
mod completion;
mod base64;
mod yaml;
mod table;
mod printer;
mod credential;
mod contexts;
mod settings;
mod client;
mod commands;

use commands::Run;
use failure::Failure;
use parse::{Called, Invocation};
use printer::{Printer, Style};
use spec::Action;
use std::ffi::OsString;
use std::io::{self, Write};
use surroundings::Surroundings;
use tree::ROOT;

/// The program as clap describes one, for pages that are made of its help.
pub(crate) fn described() -> clap::Command {
    completion::describe(&ROOT, true).version(env!("CARGO_PKG_VERSION"))
}

/// Runs the program with the arguments of its process, the first of which is its own name, and returns
/// its exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let env = Surroundings::of_process();
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let args: Vec<OsString> = args.into_iter().skip(1).take(parse::ARGUMENTS_MAX).collect();
    match args.into_iter().map(OsString::into_string).collect::<Result<Vec<String>, _>>() {
        Ok(args) => run_words(&args, &env, &mut out, &mut err),
        Err(_) => {
            let failure = Failure::Arguments("an argument is not UTF-8".to_owned());
            let root = Called { path: ROOT.name.to_owned(), command: &ROOT };
            conclude(Err(failure), &mut Printer::new(Style::EARLY, &mut out, &mut err), &root)
        }
    }
}

fn run_words(args: &[String], env: &Surroundings, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let (called, rest) = parse::find(&ROOT, args);
    let invocation = match parse::read(called.clone(), rest) {
        Ok(invocation) => invocation,
        Err(error) => {
            let mut printer = Printer::new(Style::EARLY, out, err);
            return conclude(Err(Failure::Arguments(error.0)), &mut printer, &called);
        }
    };
    let style = Style::choose(invocation.wants_json(), invocation.switch("no-color"), env);
    let mut printer = Printer::new(style, out, err);
    if invocation.switch("version") {
        printer.bare_remark(version::MINIMUM);
        return 0;
    }
    let outcome = perform(&invocation, env, &mut printer);
    conclude(outcome, &mut printer, &called)
}

fn perform(invocation: &Invocation, env: &Surroundings, printer: &mut Printer<'_>) -> Result<(), Failure> {
    let Called { command, .. } = invocation.called;
    let is_group = command.action == Action::Group;
    let stray = invocation.operands.first().filter(|_| is_group);
    if invocation.switch("help") {
        printer.text(&help::help(&invocation.called));
        return Ok(());
    }
    if is_group && stray.is_none() {
        printer.text(&help::full_help(&invocation.called));
        return Ok(());
    }
    if let Some(word) = stray {
        let what = if std::ptr::eq(command, &raw const ROOT) { "command" } else { "sub-command" };
        return Err(Failure::Arguments(format!("unknown {what} \"{word}\" for \"{}\"", command.name)));
    }
    // The file that the token is in may be named by the environment.
    let token_named = command.action == Action::ContextSave && env.has("STS_CLI_SERVICE_TOKEN_FILE");
    match invocation.missing(token_named) {
        Some(missing) => Err(Failure::Arguments(missing)),
        None => Run { invocation, env, printer }.execute(),
    }
}

/// Tells of a failure, and says what the program's exit code is.
fn conclude(outcome: Result<(), Failure>, printer: &mut Printer<'_>, called: &Called) -> u8 {
    let outcome = outcome.and_then(|()| printer.output_failure().map_or(Ok(()), Err));
    let Err(failure) = outcome else { return 0 };
    printer.failure(&failure);
    // Standard output is for JSON alone when that was asked for.
    if failure.shows_usage() && !printer.style.json {
        printer.text(&help::usage(called));
    }
    failure.exit_code()
}
