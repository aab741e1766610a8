//! `policy check`: whether policies load, everything that is wrong with them when they do not, and what is most
//! likely not meant when they do.

mod openapi;

use super::super::console::Console;
use super::super::policies::{self, LoadError, Named, counted};
use super::super::settings::{OutputArguments, Surroundings};
use super::super::{DONE, FAILED, Format};
use super::{Failure, PolicyArguments, errors_json, problem_json};
use crate::policy::warn::{Examined, Warning, WarningCode};
use crate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use clap::Args;
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    #[command(flatten)]
    policies: PolicyArguments,
    #[command(flatten)]
    levels: Levels,
    #[command(flatten)]
    openapi: openapi::OpenApiArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Which warnings count, and how much.
#[derive(Debug, Args)]
struct Levels {
    /// Fail when there is such a warning, such as covered-rule; `all` stands for every kind
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = choice)]
    deny: Vec<Choice>,
    /// Leave out such warnings, also those that are denied
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = choice)]
    allow: Vec<Choice>,
    /// Fail when there is any warning, as by --deny all
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    All,
    One(WarningCode),
}

/// How much a warning counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Allowed,
    Told,
    Denied,
}

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    let checked = examine(arguments, surroundings).and_then(|(sources, examined)| {
        let compared = arguments.openapi.compare(&examined)?;
        Ok((sources, examined, compared))
    });
    let (sources, examined, compared) = match checked {
        Ok(checked) => checked,
        Err(failure) if arguments.output.format == Format::Json => {
            let errors = errors_json(&failure);
            console.print(&format!("{:#}\n", json!({ "valid": false, "errors": errors, "warnings": [] })));
            return FAILED;
        }
        Err(failure) => return failure.tell(console),
    };
    let levels = &arguments.levels;
    let unfinished = compared.iter().flat_map(|compared| &compared.comparison.unfinished);
    let warnings = levels.told(examined.warnings.iter().chain(unfinished));
    if arguments.output.format == Format::Json {
        let mut answer = examined_json(&sources, &examined, &warnings);
        if let (Some(compared), Some(fields)) = (&compared, answer.as_object_mut()) {
            fields.insert("openapi".to_owned(), compared.json(levels));
        }
        console.print(&format!("{answer:#}\n"));
    } else {
        tell(&sources, &examined, &warnings, console);
        if let Some(compared) = &compared {
            compared.tell(levels, console);
        }
    }
    let is_denied = warnings.iter().any(|(_, level)| *level == Level::Denied)
        || compared.is_some_and(|compared| compared.is_denied(levels));
    if is_denied { FAILED } else { DONE }
}

/// The policies at the paths on their own, or those of the configuration, with everything there is to say.
fn examine(arguments: &Arguments, surroundings: &Surroundings) -> Result<(Vec<Source>, Examined), Failure> {
    let PolicyArguments { paths, config } = &arguments.policies;
    if paths.is_empty() {
        return Ok(policies::examine(&config.load(surroundings)?)?);
    }
    let named: Vec<Named> = paths.iter().map(|path| Named::by_argument(path)).collect();
    let sources = policies::sources(&named)?;
    let examined = PolicySet::examine(&sources, &RoleBindings::default(), None, &ScriptLimits::default());
    Ok((sources, examined.map_err(LoadError::from)?))
}

fn tell(sources: &[Source], examined: &Examined, warnings: &[(&Warning, Level)], console: &mut Console<'_>) {
    for (at, (warning, level)) in warnings.iter().enumerate() {
        if at > 0 {
            console.remark("");
        }
        console.remark(warning.labelled(if *level == Level::Denied { "error" } else { "warning" }));
    }
    for source in sources {
        let own = warnings.iter().filter(|(warning, _)| warning.problem.location.file == source.name);
        match own.count() {
            0 => console.line(format_args!("{}: in order", source.name)),
            count => console.line(format_args!("{}: {}", source.name, counted(count, "warning"))),
        }
    }
    console.line(policies::summary(&examined.policies));
}

fn examined_json(sources: &[Source], examined: &Examined, warnings: &[(&Warning, Level)]) -> Value {
    let policies = &examined.policies;
    let warning = |(warning, level): &(&Warning, Level)| {
        let mut fields = problem_json(&warning.problem);
        fields.insert("code".to_owned(), json!(warning.code.name()));
        fields.insert("denied".to_owned(), json!(*level == Level::Denied));
        Value::from(fields)
    };
    json!({
        "valid": true,
        "errors": [],
        "warnings": warnings.iter().map(warning).collect::<Vec<_>>(),
        "files": sources.iter().map(|source| &*source.name).collect::<Vec<_>>(),
        "permissions": policies.permissions().len(),
        "roles": policies.roles().len(),
        "rules": policies.rules().len(),
        "version": policies.version().to_string(),
    })
}

impl Levels {
    /// Of what is said aloud, to allow is stronger: a code that is denied by `all` can be taken out.
    fn of(&self, code: WarningCode) -> Level {
        let names =
            |choices: &[Choice]| choices.contains(&Choice::All) || choices.contains(&Choice::One(code));
        if names(&self.allow) {
            Level::Allowed
        } else if self.deny_warnings || names(&self.deny) {
            Level::Denied
        } else {
            Level::Told
        }
    }

    fn told<'w>(&self, warnings: impl Iterator<Item = &'w Warning>) -> Vec<(&'w Warning, Level)> {
        let levels = warnings.map(|warning| (warning, self.of(warning.code)));
        levels.filter(|(_, level)| *level != Level::Allowed).collect()
    }
}

fn choice(text: &str) -> Result<Choice, String> {
    if text == "all" {
        return Ok(Choice::All);
    }
    WarningCode::parse(text).map(Choice::One).ok_or_else(|| {
        let codes: Vec<_> = WarningCode::all().map(WarningCode::name).collect();
        format!("the codes are {}, and `all`", codes.join(", "))
    })
}
