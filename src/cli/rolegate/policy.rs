//! `policy`: what operators ask about policies, and what those commands share.

mod check;
mod diff;
mod explain;
mod routes;
mod test;

use super::FAILED;
use super::console::Console;
use super::policies::{self, LoadError, Named};
use super::settings::{FileArguments, Surroundings};
use super::show::told;
use crate::config::{ConfigError, ConfigErrors};
use crate::policy::diff::DiffError;
use crate::policy::matrix::MatrixError;
use crate::policy::{Limits, Location, PolicyErrors, PolicySet, Problem, RoleBindings, Source};
use crate::token::RoleName;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::Arc;

const POLICY_EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed, or what was checked is not in order
  2  wrong usage";

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Tell everything that is wrong with policies, and what is most likely not meant
    ///
    /// Without any PATH, the policies of the configuration are looked at, together with the roles that it adds and
    /// the roles of its tokens.
    ///
    /// Errors keep policies from loading. Warnings do not, and leave the exit code 0 unless they are denied. A
    /// comment in the policy allows one: `// rolegate: allow(CODE)` before a statement or at the end of a line,
    /// `// rolegate: allow-in-file(CODE)` for a file. The codes are described in docs/policies.md, and those of
    /// --openapi are unreached-route, open-route and unmatched-rule.
    #[command(after_help = POLICY_EXIT_CODES)]
    Check(check::Arguments),
    /// Tell exactly what changes from one policy to another: for whom, with which methods, on which paths
    ///
    /// Every role is compared, and requests with no token and with a token of no role, over the whole space of paths.
    /// Only with --config, the roles that a configuration adds are added to both.
    #[command(after_help = diff::EXIT_CODES, mut_arg("files", |files| files.help(diff::CONFIG_HELP).long_help(None)))]
    Diff(diff::Arguments),
    /// Tell which rules decide a request, and which nearly do and why not
    ///
    /// Without --role and --token-id, the request has no token. Nothing is changed, and nothing is asked of a server.
    #[command(after_help = explain::EXIT_CODES)]
    Explain(explain::Arguments),
    /// Show who may call what: every route that policies name, and what each role gets of it
    ///
    /// Without any PATH, the policies of the configuration are shown, with the roles that it adds. A row is about its
    /// route as a whole; what a rule says about a part of it has a row of its own.
    #[command(after_help = POLICY_EXIT_CODES)]
    Routes(routes::Arguments),
    /// Run the cases that lie beside policies: those of NAME.rhai are in NAME_test.yaml
    ///
    /// Cases are run against the policies that they name, without the configuration.
    #[command(after_help = POLICY_EXIT_CODES, mut_arg("paths", |paths| paths.help(test::PATHS_HELP)))]
    Test(test::Arguments),
}

/// Which policies a command is about.
#[derive(Debug, Args)]
struct PolicyArguments {
    /// Policy files, and folders of them
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    config: FileArguments,
}

/// Why a command about configuration or policies cannot answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Diff(#[from] DiffError),
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    #[error("{0}")]
    Role(String),
    #[error("no cases were found; those of `NAME.rhai` belong into `NAME_test.yaml` beside it")]
    NoCases,
}

pub(super) fn run(command: &PolicyCommand, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    match command {
        PolicyCommand::Check(arguments) => check::run(arguments, surroundings, console),
        PolicyCommand::Diff(arguments) => diff::run(arguments, surroundings, console),
        PolicyCommand::Explain(arguments) => explain::run(arguments, surroundings, console),
        PolicyCommand::Routes(arguments) => routes::run(arguments, surroundings, console),
        PolicyCommand::Test(arguments) => test::run(arguments, surroundings, console),
    }
}

/// The policies at these paths on their own, or those of the configuration together with the roles that it
/// adds, when there is no path.
fn load(
    paths: &[PathBuf],
    config: &FileArguments,
    surroundings: &Surroundings,
) -> Result<(Vec<Source>, PolicySet), Failure> {
    if paths.is_empty() {
        return Ok(policies::load(&config.load(surroundings)?, |_| {})?);
    }
    let named: Vec<Named> = paths.iter().map(|path| Named::by_argument(path)).collect();
    let sources = policies::sources(&named)?;
    let policies = policies::compile(&sources, &RoleBindings::default(), &Limits::LOAD, |_| {});
    let policies = policies.map_err(LoadError::from)?;
    Ok((sources, policies))
}

/// The role of this name, which the policies must know.
fn known_role(policies: &PolicySet, name: &str) -> Result<RoleName, Failure> {
    let role = RoleName::parse(name).map_err(|error| Failure::Role(format!("`{name}`: {error}")))?;
    let whole = Location::new(&Arc::from("--role"), 0, 0);
    match policies.unknown_role(&role, &whole) {
        None => Ok(role),
        Some(problem) => {
            let help = problem.help.map(|help| format!("; {help}")).unwrap_or_default();
            Err(Failure::Role(format!("{}{help}", problem.message)))
        }
    }
}

impl Failure {
    /// Tells it on standard error.
    pub(super) fn tell(&self, console: &mut Console<'_>) -> u8 {
        match self {
            Self::Config(errors) => errors.iter().for_each(|error| console.error(error)),
            // These come with their label, and with the lines they are about.
            Self::Load(LoadError::Policy(errors)) => console.remark(errors),
            other => console.error(other),
        }
        FAILED
    }
}

pub(super) fn errors_json(failure: &Failure) -> Vec<Value> {
    match failure {
        Failure::Load(LoadError::Policy(errors)) => problems_json(errors),
        Failure::Config(errors) => {
            let told = |error: &ConfigError| told(error.at.as_ref(), &error.problem.to_string());
            errors.iter().map(told).collect()
        }
        other => vec![json!({ "message": other.to_string() })],
    }
}

fn problems_json(errors: &PolicyErrors) -> Vec<Value> {
    errors.problems().iter().map(|problem| Value::from(problem_json(problem))).collect()
}

/// What is wrong or unusual at a place of a policy, as a JSON object.
fn problem_json(problem: &Problem) -> Map<String, Value> {
    let fields = [
        ("file", json!(&*problem.location.file)),
        ("line", json!(problem.location.line)),
        ("column", json!(problem.location.column)),
        ("message", json!(problem.message)),
        ("help", json!(problem.help)),
    ];
    fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}
