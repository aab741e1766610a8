//! `rolegate`, the operator's program: serves, and looks at configuration and policies.

mod console;
mod log;
mod places;
mod settings;
mod show;
mod policies;
mod watch;
mod tls;
mod policy;
mod audit;
mod token;
mod store;
mod reload;
mod shadow;
mod service;
mod serve;
mod man;

use crate::server::wall_clock;
use audit::AuditCommand;
use clap::{Args, ColorChoice, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use console::{Console, Output};
use man::ManArguments;
use policy::PolicyCommand;
use serve::ServeArguments;
use settings::{ConfigArguments, OutputArguments, Surroundings};
use std::ffi::OsString;
use std::io;
use store::StoreCommand;
use token::TokenCommand;

/// Everything went as it should.
const DONE: u8 = 0;
/// What was asked for failed, or what was checked is not in order.
const FAILED: u8 = 1;
/// A second signal came before running requests were answered.
const STOPPED_TWICE: u8 = 3;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed, or what was checked is not in order
  2  wrong usage
  3  told to stop a second time: running requests were dropped";

/// Service tokens in, permitted routes out.
#[derive(Debug, Parser)]
#[command(name = "rolegate", version, after_help = EXIT_CODES, max_term_width = 100, propagate_version = true)]
struct Arguments {
    /// Print without colours, also on a terminal
    #[arg(long, global = true)]
    no_color: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server
    ///
    /// SIGHUP loads the policies anew, and has the audit log go on in a new file when the old one was moved away. SIGTERM
    /// and SIGINT end it once running requests are answered; a second signal ends it at once.
    Serve(ServeArguments),
    /// Look at the configuration
    #[command(subcommand, after_help = EXIT_CODES)]
    Config(ConfigCommand),
    /// Look at the policies
    #[command(subcommand, after_help = EXIT_CODES)]
    Policy(PolicyCommand),
    /// Look at the audit log
    #[command(subcommand, after_help = audit::EXIT_CODES)]
    Audit(AuditCommand),
    /// Work on tokens
    #[command(subcommand, after_help = token::EXIT_CODES)]
    Token(TokenCommand),
    /// Check and repair the file of tokens
    #[command(subcommand, after_help = store::EXIT_CODES)]
    Store(StoreCommand),
    /// Write the manual pages of `rolegate` and `sts` to a folder
    Man(ManArguments),
    /// Print a completion script for a shell
    #[command(after_help = EXIT_CODES)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Tell everything that is wrong with the configuration and its policies
    #[command(after_help = EXIT_CODES)]
    Check(Looking),
    /// Print what the configuration amounts to, and where each value comes from; secrets are hidden
    #[command(after_help = EXIT_CODES)]
    Show(Looking),
}

#[derive(Debug, Args)]
struct Looking {
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Runs the program with the arguments of its process, the first of which is its own name, and returns
/// its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let surroundings = Surroundings::of_process();
    let mut output = Output::of_process(surroundings.no_color());
    run_in(arguments.into_iter().collect(), &surroundings, &mut output)
}

fn run_in(arguments: Vec<OsString>, surroundings: &Surroundings, output: &mut Output<'_>) -> u8 {
    let plain = arguments.iter().any(|argument| argument == "--no-color");
    let color = if plain { ColorChoice::Never } else { ColorChoice::Auto };
    let parsed = Arguments::command().color(color).try_get_matches_from(arguments);
    let parsed = match parsed.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(parsed) => parsed,
        Err(told) => {
            // Help and version come this way as well, and are no failure. A closed pipe is none either.
            let code = u8::try_from(told.exit_code()).unwrap_or(FAILED);
            return match told.print() {
                Err(reason) if reason.kind() != io::ErrorKind::BrokenPipe && code == DONE => FAILED,
                _ => code,
            };
        }
    };
    let mut console = output.console(!parsed.no_color);
    let code = match parsed.command {
        Command::Config(ConfigCommand::Check(looking)) => check_config(&looking, surroundings, &mut console),
        Command::Config(ConfigCommand::Show(looking)) => show_config(&looking, surroundings, &mut console),
        // A server whose first lines nobody could read has served all the same.
        Command::Serve(arguments) => return serve::run(&arguments, surroundings, &mut console),
        Command::Audit(command) => audit::run(&command, surroundings, &mut console),
        Command::Policy(command) => policy::run(&command, surroundings, &mut console),
        Command::Token(command) => token::run(&command, surroundings, &mut console),
        Command::Store(command) => store::run(&command, surroundings, &mut console),
        Command::Man(arguments) => man::run(&arguments, &mut console),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "rolegate", &mut script);
            console.print(&String::from_utf8_lossy(&script));
            DONE
        }
    };
    match console.unwritten() {
        Some(reason) => {
            console.error(format_args!("cannot write to standard output: {reason}"));
            code.max(FAILED)
        }
        None => code,
    }
}

/// Looks at the configuration, and at whether its policies load and define the roles of its tokens.
fn check_config(looking: &Looking, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    let checked = looking.config.load(surroundings).map_err(policy::Failure::from);
    let checked = checked.and_then(|config| {
        tls::check(&config, wall_clock()())?;
        policies::load(&config, |_| {})?;
        Ok(config)
    });
    if looking.output.format == Format::Json {
        let verdict = show::verdict(checked.as_ref().map_err(policy::errors_json));
        console.print(&verdict);
        return if checked.is_ok() { DONE } else { FAILED };
    }
    match checked {
        Ok(config) => {
            config.warnings.iter().for_each(|warning| console.warning(warning));
            for file in looking.config.files.names(surroundings) {
                console.line(format_args!("{}: in order", file.display()));
            }
            DONE
        }
        Err(failure) => failure.tell(console),
    }
}

fn show_config(looking: &Looking, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    match looking.config.load(surroundings) {
        Ok(config) => {
            config.warnings.iter().for_each(|warning| console.warning(warning));
            console.print(&match looking.output.format {
                Format::Text => show::yaml(&config.settings),
                Format::Json => show::json(&config.settings),
            });
            DONE
        }
        Err(errors) => {
            let failure = policy::Failure::from(errors);
            if looking.output.format == Format::Json {
                console.print(&show::verdict(Err(policy::errors_json(&failure))));
                return FAILED;
            }
            failure.tell(console)
        }
    }
}
