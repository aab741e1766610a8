//! `policy explain --decision`: a decision of a server, found in its log and made again.

use super::super::super::Format;
use super::super::super::console::{Console, Mood};
use super::super::super::settings::Surroundings;
use super::super::load;
use super::json::explanation as explanation_json;
use super::{Arguments, Failure, print};
use crate::policy::PolicySet;
use crate::policy::explain::{Explanation, Recall};
use crate::server::decision_log::{Past, find, older};
use serde_json::json;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

const BUFFER_BYTES: usize = 256 * 1024;
/// So many bytes of a log are read between two words about it.
const PROGRESS_BYTES: u64 = 64 * 1024 * 1024;

/// A decision that was made, and what the policies at hand make of it.
struct Replay<'p> {
    past: Past,
    explanation: Explanation<'p>,
    /// Whether these are the policies by which it was made.
    is_same_policy: bool,
    /// Whether they decide it as it was decided, by the same rule.
    is_same_decision: bool,
}

pub(super) fn replay(
    arguments: &Arguments,
    id: &str,
    log: &Path,
    surroundings: &Surroundings,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let past = look_up(id, log, console)?;
    let (sources, policies) = load(&arguments.policies, &arguments.config, surroundings)?;
    let replay = Replay::of(past, &policies);
    if arguments.output.format == Format::Json {
        console.print(&format!("{:#}\n", replay.json()));
        return Ok(());
    }
    replay.tell(console);
    print(&replay.explanation, &sources, console);
    Ok(())
}

/// Finds the decision in the log, or in the one that was full before it.
fn look_up(id: &str, log: &Path, console: &mut Console<'_>) -> Result<Past, Failure> {
    let mut hint = String::new();
    for path in [log, &older(log)] {
        let unreadable = |source| Failure::Log { path: path.to_owned(), source };
        let file = match File::open(path) {
            Err(_) if path != log => break,
            file => file.map_err(unreadable)?,
        };
        let length = file.metadata().map_err(unreadable)?.len();
        let mut told = 0;
        let found = find(BufReader::with_capacity(BUFFER_BYTES, file), id, |read| {
            if read >= told + PROGRESS_BYTES {
                told = read;
                let percent = read.saturating_mul(100).checked_div(length).unwrap_or(100);
                console.progress(format_args!("{}: {percent} %", path.display()));
            }
        });
        console.progress("");
        let found = found.map_err(|source| Failure::Past { path: path.to_owned(), source })?;
        if found.odd_lines > 0 {
            let (lines, are) = match found.odd_lines {
                1 => ("1 line".to_owned(), "is no decision and was"),
                more => (format!("{more} lines"), "are no decisions and were"),
            };
            console.warning(format_args!("{lines} of `{}` {are} passed over", path.display()));
        }
        if let Some(past) = found.past {
            return Ok(past);
        }
        if found.is_torn {
            hint.push_str("; its last line lacks its end: it was cut short, or is being written");
        }
    }
    Err(Failure::NoDecision { id: id.to_owned(), path: log.to_owned(), hint })
}

impl<'p> Replay<'p> {
    fn of(past: Past, policies: &'p PolicySet) -> Self {
        let is_same_policy = past.policy_version == policies.version().to_string();
        // What conditions of other policies said is nothing to these.
        let outcomes = if is_same_policy { past.outcomes.as_slice() } else { &[] };
        let knows = |fact: &_| past.knows(fact);
        let recall = Recall { outcomes, knows: &knows };
        let explanation = policies.explain_recorded(past.principal.as_ref(), &past.request, past.at, &recall);
        let decision = &explanation.decision;
        let is_same_rule = match decision.rule() {
            Some(rule) if is_same_policy => past.rule_number == Some(rule.get()),
            Some(rule) => policies.rule(rule).map(|rule| rule.location.to_string()) == past.rule,
            None => past.rule.is_none(),
        };
        let is_same_decision = decision.is_allow() == past.is_allow && is_same_rule;
        Self { past, explanation, is_same_policy, is_same_decision }
    }

    fn tell(&self, console: &mut Console<'_>) {
        let past = &self.past;
        let id = past.decision_id.as_ref().or(past.request_id.as_ref()).map_or("-", String::as_str);
        let verdict = if past.is_allow { "allowed" } else { "denied" };
        let rule = past
            .rule
            .as_deref()
            .map_or("no rule".to_owned(), |rule| format!("the rule at {}", rule.escape_debug()));
        // A log may come from anywhere: nothing of it may steer a terminal.
        let id = id.escape_debug();
        console.line(format_args!("decision {id}: {verdict} at {} by {rule}", past.at));
        if let Some(cause) = &past.cause {
            console.line(format_args!("  no live token: {}", cause.escape_debug()));
        }
        match (self.is_same_policy, self.is_same_decision) {
            (true, true) => {
                let word = console.painted(Mood::Good, "the same decision");
                console.line(format_args!("replayed by the policies that made it: {word}\n"));
            }
            (true, false) => {
                let word = console.painted(Mood::Bad, "another decision");
                console.line(format_args!(
                    "replayed by the policies that made it: {word}. Something that it depends on was not recorded\n"
                ));
            }
            (false, is_same) => {
                let changed = console.painted(Mood::Bad, "the policies have changed");
                let now = self.explanation.decision.policy;
                console.line(format_args!(
                    "{changed}: it was made by version {}, these are version {now}",
                    past.policy_version.escape_debug()
                ));
                let word = if is_same { "the same way" } else { "another way" };
                console.line(format_args!("the present policies decide it {word}:\n"));
            }
        }
    }

    fn json(&self) -> serde_json::Value {
        let past = &self.past;
        json!({
            "decision_id": past.decision_id,
            "request_id": past.request_id,
            "recorded": {
                "decision": if past.is_allow { "allow" } else { "deny" },
                "rule": past.rule,
                "policy_version": past.policy_version,
                "time": past.at.to_string(),
                "no_live_token": past.cause,
            },
            "policy_changed": !self.is_same_policy,
            "same_decision": self.is_same_decision,
            "replayed": explanation_json(&self.explanation),
        })
    }
}
