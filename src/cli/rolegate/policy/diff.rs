//! `policy diff`: who can do what that they could not, and the other way round.

use super::super::console::{Console, Mood};
use super::super::policies::{self, LoadError, Named, counted};
use super::super::settings::{FileArguments, OutputArguments, Surroundings};
use super::super::{DONE, Format};
use super::{Failure, errors_json};
use crate::decision::RuleId;
use crate::policy::diff::{Change, Diff, Region};
use crate::policy::{Limits, PolicySet, RoleBindings, Subject};
use clap::Args;
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

/// Something changes, and nothing is opened.
const CHANGED: u8 = 1;
/// Access is opened.
const OPENED: u8 = 3;
/// Nothing is known, so that it must not look like an answer.
const NOT_COMPARED: u8 = 4;
/// So many rules are named with a change; JSON names all.
const RULES_SHOWN_MAX: usize = 4;

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  nothing changes
  1  something changes, and no access is gained
  2  wrong usage
  3  access is gained, or may be
  4  not compared: policies do not load, or their wildcards overlap too much";

pub(super) const CONFIG_HELP: &str =
    "A configuration file whose roles are added to both; give several, and each is laid over those before it";

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// The policies as they are: a file, or a folder
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The policies as they are to be
    #[arg(value_name = "NEW")]
    new: PathBuf,
    #[command(flatten)]
    config: FileArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Both policy sets, old and new.
type Both = [PolicySet; 2];

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    let compared = load(arguments, surroundings).and_then(|both| {
        let [old, new] = &both;
        let diff = old.diff(new, &mut progress()).map_err(Failure::from)?;
        Ok((both, diff))
    });
    let (both, diff) = match compared {
        Ok(compared) => compared,
        Err(failure) => {
            if arguments.output.format == Format::Json {
                console.print(&format!("{:#}\n", json!({ "errors": errors_json(&failure) })));
            } else {
                failure.tell(console);
            }
            return NOT_COMPARED;
        }
    };
    match arguments.output.format {
        Format::Json => console.print(&format!("{:#}\n", diff_json(&both, &diff))),
        Format::Text => print(console, &both, &diff),
    }
    if diff.is_empty() {
        DONE
    } else if diff.has_gains() {
        OPENED
    } else {
        CHANGED
    }
}

/// Loads both, each with the roles that the configuration adds, and within its limits, when one is given.
fn load(arguments: &Arguments, surroundings: &Surroundings) -> Result<Both, Failure> {
    let (bindings, limits) = match arguments.config.is_given() {
        true => {
            let config = arguments.config.load(surroundings)?;
            (config.bindings(), config.policy_limits)
        }
        false => (RoleBindings::default(), Limits::LOAD),
    };
    let policies = |path: &Path| -> Result<PolicySet, Failure> {
        let sources = policies::sources(&[Named::by_argument(path)])?;
        Ok(policies::compile(&sources, &bindings, &limits, |_| {}).map_err(LoadError::from)?)
    };
    Ok([policies(&arguments.old)?, policies(&arguments.new)?])
}

/// Tells on a terminal how far the comparison is; one that takes no time tells nothing.
fn progress() -> impl FnMut(usize, usize) {
    /// So many classes are compared in far less than a second.
    const STEP: usize = 20_000;
    let is_shown = std::io::stderr().is_terminal();
    move |done, all| {
        if is_shown && all > STEP && done % STEP == 0 {
            let _ = write!(std::io::stderr(), "\rcompared {done} of {all} classes of paths\u{1b}[K");
        } else if is_shown && all > STEP && done + 1 == all {
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
        }
    }
}

fn print(console: &mut Console<'_>, both: &Both, diff: &Diff) {
    for region in diff.regions() {
        let mood = if region.change.is_gain() { Mood::Bad } else { Mood::Good };
        let sign = match region.change {
            Change::Gains | Change::GainsConditionally => "+",
            Change::Widens | Change::WithOtherRoles | Change::Narrows => "~",
            Change::Loses => "-",
        };
        let sign = console.painted(mood, sign);
        console.line(format_args!("{sign} {}", diff.sentence(region)));
        let request = region.request();
        if request != region.route() {
            console.line(format_args!("    such as {request}"));
        }
        for (label, places) in
            [("was by", &region.old), ("now by", &region.new)].iter().zip(both).filter_map(named)
        {
            console.line(format_args!("    {label} {places}"));
        }
    }
    console.line(summary(diff));
}

fn summary(diff: &Diff) -> String {
    let all = diff.regions().len();
    let gains = diff.regions().iter().filter(|region| region.change.is_gain()).count();
    let changes = counted(all, "change");
    match gains {
        _ if all == 0 => "nothing changes".to_owned(),
        0 => format!("{changes}: no access is gained"),
        _ if gains == all => format!("{changes}: access is gained, or may be"),
        _ => format!("{changes}: access is gained, or may be, in {gains} of them"),
    }
}

/// A label with the places of rules, when there are any.
fn named<'a>(
    ((label, rules), policies): (&(&'a str, &Vec<RuleId>), &PolicySet),
) -> Option<(&'a str, String)> {
    let mut places = places(policies, rules);
    let more = places.len().saturating_sub(RULES_SHOWN_MAX);
    places.truncate(RULES_SHOWN_MAX);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    (!places.is_empty()).then(|| (*label, format!("{}{more}", places.join(", "))))
}

fn places(policies: &PolicySet, rules: &[RuleId]) -> Vec<String> {
    rules.iter().filter_map(|rule| policies.rule(*rule)).map(|rule| rule.location.to_string()).collect()
}

fn diff_json(both: &Both, diff: &Diff) -> Value {
    let [old, new] = both;
    let subject = |subject: &Subject| match subject {
        Subject::Anyone => json!({ "token": false }),
        Subject::Authenticated => json!({ "token": true }),
        Subject::Role(role) => json!({ "token": true, "role": role.as_str() }),
    };
    let change = |region: &Region| {
        json!({
            "change": name(region.change),
            "gain": region.change.is_gain(),
            "conditional": region.change.is_conditional(),
            "text": diff.sentence(region),
            "subjects": region.subjects.iter().map(subject).collect::<Vec<_>>(),
            "methods": region.methods.names().collect::<Vec<_>>(),
            "pattern": region.pattern.to_string(),
            "except": region.except.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "request": region.request(),
            "old_rules": places(old, &region.old),
            "new_rules": places(new, &region.new),
        })
    };
    json!({
        "old": old.version().to_string(),
        "new": new.version().to_string(),
        "gains": diff.has_gains(),
        "changes": diff.regions().iter().map(change).collect::<Vec<_>>(),
    })
}

const fn name(change: Change) -> &'static str {
    match change {
        Change::Gains => "gains",
        Change::GainsConditionally => "gains-conditionally",
        Change::Widens => "widens",
        Change::WithOtherRoles => "with-other-roles",
        Change::Narrows => "narrows",
        Change::Loses => "loses",
    }
}
