//! Hostile scripts: each ends as its row says, as a condition and as a policy, on a small stack.

use crate::policies::load;
use rolegate::decision::Decision;
use rolegate::path::CanonicalPath;
use rolegate::policy::{Printer, RoleBindings, ScriptLimits, Source};
use rolegate::request::Request;
use rolegate::time::Timestamp;
use rolegate::token::{Principal, RoleName, TokenId, TokenName};
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A script that has not ended after this time hangs.
const WATCHDOG: Duration = Duration::from_secs(600);
/// Half of what threads commonly have.
const STACK_BYTES: usize = 1024 * 1024;
/// Rows that end otherwise in one form, with the reason.
const EXCEPTIONS: [(&str, Form, &str); 1] = [(
    "67_scope_override_fn.rhai",
    Form::Policy,
    "the policy language has no function `is_admin`, so that a script may define it; the same with `has_role` is refused",
)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Condition,
    Policy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Fails,
    LoadError,
    LoadErrorOrFails,
    Ok,
}

struct Row {
    file: String,
    expected: Expected,
    body: String,
}

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpora")
}

fn rows() -> Outcome<Vec<Row>> {
    let table = String::from_utf8(fs::read(corpus().join("scripts.tsv"))?)?;
    let lines = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (file, text) = line.split_once('\t').ok_or("a row has two columns")?;
            let expected = match text {
                _ if text.starts_with("load error or deny") => Expected::LoadErrorOrFails,
                _ if text.starts_with("load error") => Expected::LoadError,
                _ if text.starts_with("deny") => Expected::Fails,
                _ if text.starts_with("ok") => Expected::Ok,
                _ => return Err(format!("{file}: `{text}` is no outcome").into()),
            };
            let body = String::from_utf8(fs::read(corpus().join("scripts").join(file))?)?;
            Ok(Row { file: file.to_owned(), expected, body })
        })
        .collect()
}

/// A policy with the body as a condition. Functions cannot be defined within a closure, so that those at
/// the start of the body are put before the rule.
fn as_condition(body: &str, hoists: bool) -> String {
    let mut functions = String::new();
    let mut rest = body;
    while hoists && rest.trim_start().starts_with("fn ") {
        let end = end_of_function(rest);
        let (function, after) = rest.split_at(end);
        functions.push_str(function);
        functions.push('\n');
        rest = after;
    }
    format!(
        "{functions}role(\"r\").allow(\"GET /x\").when(|request| {{ {rest}\n }});\n\
         role(\"r\").allow(\"GET /y\");\n\
         deny(\"GET /y\").unless(|request| {{ {rest}\n }});\n"
    )
}

fn end_of_function(text: &str) -> usize {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Runs something on a thread with a small stack, and does not wait for it longer than the watchdog.
pub(crate) fn watched<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Outcome<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || sender.send(run()))?;
    Ok(receiver.recv_timeout(WATCHDOG)?)
}

pub(crate) fn decide(set: &rolegate::policy::PolicySet, path: &str) -> Outcome<Decision> {
    let principal = Principal {
        id: TokenId::new(TokenId::MIN).ok_or("id")?.into(),
        name: TokenName::from("t"),
        roles: [RoleName::parse("r")?].into(),
        created: Timestamp::EPOCH,
    };
    let request = Request::new("GET".parse()?, CanonicalPath::parse(path)?);
    Ok(set.decide(Some(&principal), &request, Timestamp::EPOCH))
}

/// What goes wrong with a script as a condition; `None` when it ends as expected.
fn run_as_condition(row: &Row) -> Outcome<Option<String>> {
    let policy = as_condition(&row.body, row.expected != Expected::LoadError);
    watched(move || match load(&policy) {
        Err(errors) => {
            let has_place = errors.problems().iter().all(|problem| problem.location.line > 0);
            Ok((None, has_place))
        }
        Ok(set) => Ok((Some((decide(&set, "/x")?, decide(&set, "/y")?)), true)),
    })?
    .map(|(decisions, has_place): (_, bool)| match (row.expected, decisions) {
        (Expected::LoadError | Expected::LoadErrorOrFails, None) => {
            (!has_place).then(|| "the error has no place".to_owned())
        }
        (Expected::LoadError, Some(_)) => Some("it loads".to_owned()),
        (Expected::Fails | Expected::Ok, None) => Some("it is refused".to_owned()),
        (Expected::Ok, Some(_)) => None,
        (Expected::Fails | Expected::LoadErrorOrFails, Some((when, unless))) => {
            let failed = |decision: &Decision| !decision.is_allow() && decision.failures().count() == 1;
            (!failed(&when) || !failed(&unless)).then(|| format!("it decides {when:?} and {unless:?}"))
        }
    })
}

/// What goes wrong with a script as the start of a policy; `None` when it is refused.
fn run_as_policy(row: &Row) -> Outcome<Option<String>> {
    let policy = format!("{}\n;\nrole(\"r\").allow(\"GET /x\");", row.body);
    watched(move || match load(&policy) {
        Ok(_) => Some("it loads".to_owned()),
        Err(errors) => {
            let has_place = errors.problems().iter().all(|problem| problem.location.line > 0);
            (!has_place).then(|| format!("the error has no place: {errors}"))
        }
    })
}

#[test]
#[expect(clippy::print_stdout, reason = "the count of rows is part of the test's result")]
fn every_hostile_script_ends_as_its_row_says() -> Outcome<()> {
    let rows = rows()?;
    let mut wrong = Vec::new();
    let mut run = 0;
    for row in &rows {
        let excepted =
            |form| EXCEPTIONS.iter().any(|(file, in_form, _)| *file == row.file && *in_form == form);
        if let Some(fault) = run_as_condition(row).unwrap_or_else(|error| Some(error.to_string()))
            && !excepted(Form::Condition)
        {
            wrong.push(format!("{} as a condition: {fault}", row.file));
        }
        if row.expected == Expected::LoadError
            && let Some(fault) = run_as_policy(row).unwrap_or_else(|error| Some(error.to_string()))
            && !excepted(Form::Policy)
        {
            wrong.push(format!("{} as a policy: {fault}", row.file));
        }
        run += 1;
    }
    for (file, form, reason) in EXCEPTIONS {
        println!("corpus scripts: {file} as {form:?} is excepted: {reason}");
    }
    println!("corpus scripts: {} rows, {run} run", rows.len());
    assert!(!rows.is_empty() && run == rows.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn harmless_rows_decide_and_print_to_the_printer_alone() -> Outcome<()> {
    let heard = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&heard);
    let printer = Printer::new(move |line| {
        counter.fetch_add(usize::from(line == "tok"), Ordering::Relaxed);
    });
    let limits = ScriptLimits { printer, ..ScriptLimits::default() };
    let row = rows()?.into_iter().find(|row| row.file == "77_print_secret.rhai").ok_or("row")?;
    let source = Source { name: Arc::from("p.rhai"), text: as_condition(&row.body, false) };
    let set = rolegate::policy::PolicySet::load(&[source], &RoleBindings::default(), &limits)?;
    assert!(decide(&set, "/x")?.is_allow());
    assert!(decide(&set, "/y")?.is_allow());
    assert_eq!(heard.load(Ordering::Relaxed), 2);
    Ok(())
}
