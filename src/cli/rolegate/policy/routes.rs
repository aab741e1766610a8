//! `policy routes`: who may call what, as text, as JSON, and as a page to look at.

mod html;

use super::super::console::Console;
use super::super::policies;
use super::super::settings::Surroundings;
use super::super::{DONE, FAILED};
use super::{Failure, PolicyArguments, errors_json, load};
use crate::decision::RuleId;
use crate::policy::matrix::{Cell, CellKind, Matrix, MatrixRow};
use crate::policy::{PolicySet, Source, Subject};
use crate::request::MethodSet;
use crate::token::RoleName;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    #[command(flatten)]
    policies: PolicyArguments,
    /// Only this role; give several for several
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Only routes whose pattern starts like this, such as /api/security
    #[arg(long, value_name = "PREFIX", default_value = "")]
    under: String,
    /// How to print; a page of HTML needs nothing beside it, so that `> routes.html` is all
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people, with a sign for each role
    Text,
    /// For programs
    Json,
    /// For people who would rather look
    Html,
}

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    match made(arguments, surroundings) {
        Ok((sources, policies, matrix)) => {
            console.print(&match arguments.output {
                Output::Text => text(&policies, &matrix),
                Output::Json => format!("{:#}\n", table_json(&policies, &matrix)),
                Output::Html => html::page(&sources, &policies, &matrix),
            });
            DONE
        }
        Err(failure) if arguments.output == Output::Json => {
            console.print(&format!("{:#}\n", json!({ "errors": errors_json(&failure) })));
            FAILED
        }
        Err(failure) => failure.tell(console),
    }
}

fn made(
    arguments: &Arguments,
    surroundings: &Surroundings,
) -> Result<(Vec<Source>, PolicySet, Matrix), Failure> {
    let (sources, policies) = load(&arguments.policies.paths, &arguments.policies.config, surroundings)?;
    let roles = arguments.roles.iter().map(|name| super::known_role(&policies, name));
    let roles = roles.collect::<Result<Vec<RoleName>, Failure>>()?;
    let under = arguments.under.as_str();
    let matrix = policies.matrix(&roles, |pattern| pattern.to_string().starts_with(under))?;
    Ok((sources, policies, matrix))
}

/// A legend, since names of roles are longer than columns should be, and one sign a cell.
fn text(policies: &PolicySet, matrix: &Matrix) -> String {
    let mut text = String::new();
    let labels: Vec<String> = (0..matrix.subjects.len()).map(label).collect();
    let label_width = labels.last().map_or(1, String::len);
    for (label, subject) in labels.iter().zip(&matrix.subjects) {
        let _ = writeln!(text, "{label:label_width$}  {}", subject_name(subject));
    }
    text.push_str("\n+ allowed   ? conditions decide   x denied by a rule   o open to everyone   . nothing allows it\n\n");
    let width = matrix.rows.iter().map(|row| row.pattern.to_string().chars().count()).max().unwrap_or(0);
    let methods_width = matrix.rows.iter().map(|row| methods(row.methods).len()).max().unwrap_or(0);
    let head: String = labels.iter().map(|label| format!(" {label:>label_width$}")).collect();
    let _ = writeln!(text, "{:width$}  {:methods_width$} {head}", "", "");
    for row in &matrix.rows {
        let signs = row.cells.iter().map(|cell| format!(" {:>label_width$}", sign(cell.kind)));
        let signs: String = signs.collect();
        let pattern = row.pattern.to_string();
        let _ = writeln!(text, "{pattern:width$}  {:methods_width$} {signs}", methods(row.methods));
    }
    let _ = writeln!(text, "\n{}", policies::summary(policies));
    text
}

fn table_json(policies: &PolicySet, matrix: &Matrix) -> Value {
    let rows = matrix.rows.iter().map(|row| {
        let cells = matrix.subjects.iter().zip(&row.cells);
        let access: Map<String, Value> =
            cells.map(|(subject, cell)| (subject_key(subject), cell_json(policies, cell))).collect();
        json!({
            "methods": row.methods.names().collect::<Vec<_>>(),
            "pattern": row.pattern.to_string(),
            "access": access,
        })
    });
    json!({
        "version": policies.version().to_string(),
        "subjects": matrix.subjects.iter().map(subject_key).collect::<Vec<_>>(),
        "routes": rows.collect::<Vec<_>>(),
    })
}

fn cell_json(policies: &PolicySet, cell: &Cell) -> Value {
    let place = |id: &RuleId| policies.rule(*id).map(|rule| rule.location.to_string());
    json!({ "is": kind_name(cell.kind), "rules": cell.rules.iter().filter_map(place).collect::<Vec<_>>() })
}

/// A, B, ... Z, AA, AB and so on.
fn label(number: usize) -> String {
    let letter = char::from(b'A' + u8::try_from(number % 26).unwrap_or_default());
    match number / 26 {
        0 => letter.to_string(),
        rest => format!("{}{letter}", label(rest - 1)),
    }
}

/// How a row names its methods: `ANY` for all of them, and `GET` for the pair that always comes together.
fn methods(set: MethodSet) -> String {
    if set == MethodSet::ANY {
        return "ANY".to_owned();
    }
    let has_get = set.intersects(MethodSet::of("GET"));
    let shown: Vec<&str> = set.names().filter(|name| !(has_get && *name == "HEAD")).collect();
    shown.join(",")
}

const fn sign(kind: CellKind) -> char {
    match kind {
        CellKind::Nothing => '.',
        CellKind::Denied => 'x',
        CellKind::Conditional => '?',
        CellKind::Allowed => '+',
        CellKind::Open => 'o',
    }
}

const fn kind_name(kind: CellKind) -> &'static str {
    match kind {
        CellKind::Nothing => "nothing",
        CellKind::Denied => "denied",
        CellKind::Conditional => "conditional",
        CellKind::Allowed => "allowed",
        CellKind::Open => "open",
    }
}

fn subject_name(subject: &Subject) -> &str {
    match subject {
        Subject::Anyone => "without a token",
        Subject::Authenticated => "any token",
        Subject::Role(role) => role.as_str(),
    }
}

/// A name in JSON that no role can have by accident.
fn subject_key(subject: &Subject) -> String {
    match subject {
        Subject::Anyone => "anyone".to_owned(),
        Subject::Authenticated => "authenticated".to_owned(),
        Subject::Role(role) => format!("role:{role}"),
    }
}

/// A row's methods and pattern, as rules write them.
fn route(row: &MatrixRow) -> String {
    format!("{} {}", methods(row.methods), row.pattern)
}
