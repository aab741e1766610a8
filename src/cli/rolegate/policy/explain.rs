//! `policy explain`: why a request is decided as it is.

mod arguments;
mod json;
mod replay;

use super::super::console::{Console, Mood};
use super::super::settings::{FileArguments, OutputArguments, Surroundings};
use super::super::{DONE, FAILED, Format};
use super::{errors_json, load};
use crate::policy::explain::{Explanation, Refusal};
use crate::policy::{PolicySet, Source};
use crate::request::{Credential, Request, read_target};
use crate::server::decision_log::FindError;
use crate::server::wall_clock;
use crate::store::StoreError;
use crate::store::embedded::find_token;
use crate::time::Timestamp;
use crate::token::{Principal, RoleName, TokenId, TokenName};
use clap::Args;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::json;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  explained, whatever the decision is
  1  it cannot be explained
  2  wrong usage";

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// The method, such as GET
    #[arg(
        value_name = "METHOD", value_parser = arguments::method,
        required_unless_present = "decision", requires = "target"
    )]
    method: Option<Method>,
    /// The path, with a query if a condition reads one
    #[arg(value_name = "PATH", required_unless_present = "decision")]
    target: Option<String>,
    /// Instead of a request: a decision that a server made, by its id or the id of its request
    #[arg(
        long, value_name = "ID", requires = "log",
        conflicts_with_all = [
            "method", "target", "roles", "token_id", "token_name", "token_created", "headers", "client_ip", "time"
        ]
    )]
    decision: Option<String>,
    /// The decision log in which it stands
    #[arg(long, value_name = "FILE", requires = "decision", conflicts_with_all = ["method", "target"])]
    log: Option<PathBuf>,
    /// A role of the token; may be given several times
    #[arg(short, long = "role", value_name = "ROLE", value_parser = arguments::role)]
    roles: Vec<RoleName>,
    /// The id of the token; without --role, the store of the configuration says who it is
    #[arg(long, value_name = "ID", value_parser = arguments::TokenIdParser)]
    token_id: Option<TokenId>,
    /// The name of the token
    #[arg(long, value_name = "NAME")]
    token_name: Option<String>,
    /// When the token was created, such as 2026-03-01T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    token_created: Option<Timestamp>,
    /// A header of the request, as `Name: value`; may be given several times
    #[arg(short = 'H', long = "header", value_name = "HEADER", value_parser = arguments::header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Where the request comes from
    #[arg(long, value_name = "ADDRESS", value_parser = arguments::address)]
    client_ip: Option<IpAddr>,
    /// When the request comes, such as 2026-03-01T08:00:00Z; now, when it is not said
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    time: Option<Timestamp>,
    /// A policy file, or a folder of them, instead of those of the configuration; may be given several times
    #[arg(long = "policies", value_name = "PATH")]
    policies: Vec<PathBuf>,
    #[command(flatten)]
    config: FileArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Why a request cannot be explained.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Policy(#[from] super::Failure),
    #[error(
        "a server has the token store in `{}` open: say the roles of the token with `--role`, or stop the server",
        folder.display()
    )]
    StoreInUse { folder: PathBuf },
    #[error("{0}; or say the roles of the token with `--role`")]
    Store(StoreError),
    #[error("the token store in `{}` has no token {id}: say the roles that it had with `--role`", folder.display())]
    NoToken { id: TokenId, folder: PathBuf },
    #[error("cannot read the decision log `{}`: {source}", path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error("`{}`: {source}", path.display())]
    Past { path: PathBuf, source: FindError },
    #[error("the decision log `{}` has no decision `{}`{hint}", path.display(), id.escape_debug())]
    NoDecision { id: String, path: PathBuf, hint: String },
    #[error(
        "a token is a secret and has no place here: say its id with `--token-id`, or its roles with `--role`"
    )]
    Credential,
}

/// Whose request it is.
struct Known {
    principal: Option<Principal>,
    /// Why the token that was named is nobody's any more.
    expired: Option<String>,
}

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    match explain(arguments, surroundings, console) {
        Ok(()) => DONE,
        Err(failure) => tell(&failure, arguments.output.format, console),
    }
}

fn tell(failure: &Failure, output: Format, console: &mut Console<'_>) -> u8 {
    match (output, failure) {
        (Format::Json, failure) => {
            let errors = match failure {
                Failure::Policy(failure) => errors_json(failure),
                other => vec![json!({ "message": other.to_string() })],
            };
            console.print(&format!("{:#}\n", json!({ "errors": errors })));
            FAILED
        }
        (Format::Text, Failure::Policy(failure)) => failure.tell(console),
        (Format::Text, other) => {
            console.error(other);
            FAILED
        }
    }
}

fn explain(
    arguments: &Arguments,
    surroundings: &Surroundings,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if let (Some(id), Some(log)) = (&arguments.decision, &arguments.log) {
        return replay::replay(arguments, id, log, surroundings, console);
    }
    let now = arguments.time.unwrap_or_else(|| wall_clock()());
    let (Some(method), Some(target)) = (&arguments.method, &arguments.target) else {
        // Only a decision that was made does without them.
        return Ok(());
    };
    let request = match arguments.request(method, target) {
        Ok(request) if !matches!(request.credential(), Credential::Missing) => {
            return Err(Failure::Credential);
        }
        Ok(request) => request,
        Err(reason) => {
            tell_refusal(arguments.output.format, (method, target), &reason, console);
            return Ok(());
        }
    };
    let (sources, policies) = load(&arguments.policies, &arguments.config, surroundings)?;
    let known = arguments.known(surroundings, now)?;
    show(arguments.output.format, &known, &request, now, (&sources, &policies), console);
    Ok(())
}

/// A request that two programs could read differently is answered before any policy is asked.
fn tell_refusal(output: Format, (method, target): (&Method, &str), reason: &str, console: &mut Console<'_>) {
    if output == Format::Json {
        let refusal = json!({ "decision": "refused", "status": 400, "reason": reason });
        console.print(&format!("{refusal:#}\n"));
        return;
    }
    paint(&Refusal { method, target, reason }.to_string(), Mood::Bad, console);
}

fn show(
    output: Format,
    known: &Known,
    request: &Request,
    now: Timestamp,
    (sources, policies): (&[Source], &PolicySet),
    console: &mut Console<'_>,
) {
    let explanation = policies.explain(known.principal.as_ref(), request, now);
    if output == Format::Json {
        let mut shown = json::explanation(&explanation);
        if let (Some(expired), Some(object)) = (&known.expired, shown.as_object_mut()) {
            object.insert("token_expired".into(), json!(expired));
        }
        console.print(&format!("{shown:#}\n"));
        return;
    }
    print(&explanation, sources, console);
    if let Some(expired) = &known.expired {
        console.line(format_args!("\n{expired}"));
    }
}

fn print(explanation: &Explanation<'_>, sources: &[Source], console: &mut Console<'_>) {
    let mood = if explanation.decision.is_allow() { Mood::Good } else { Mood::Bad };
    paint(&explanation.with_sources(sources).to_string(), mood, console);
}

/// A text with its first word in colour.
fn paint(text: &str, mood: Mood, console: &mut Console<'_>) {
    match text.split_once(':') {
        Some((word, rest)) => {
            let word = console.painted(mood, word);
            console.line(format_args!("{word}:{rest}"));
        }
        None => console.line(text),
    }
}

impl Arguments {
    /// The request, or why the gate refuses it.
    fn request(&self, method: &Method, target: &str) -> Result<Request, Arc<str>> {
        let mut headers: HeaderMap = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        if !headers.contains_key(HOST) {
            headers.insert(HOST, HeaderValue::from_static("localhost"));
        }
        read_target(method.clone(), target, headers, self.client_ip)
    }

    fn known(&self, surroundings: &Surroundings, now: Timestamp) -> Result<Known, Failure> {
        match self.token_id {
            Some(id) if self.roles.is_empty() => self.token_of_store(id, surroundings, now),
            _ => Ok(Known { principal: self.said(), expired: None }),
        }
    }

    /// The token that the arguments describe; `None` when they tell of no token.
    fn said(&self) -> Option<Principal> {
        let is_said = !self.roles.is_empty()
            || self.token_id.is_some()
            || self.token_name.is_some()
            || self.token_created.is_some();
        is_said.then(|| Principal {
            id: self.token_id.unwrap_or(TokenId::LEAST).into(),
            name: TokenName::from(self.token_name.as_deref().unwrap_or_default()),
            roles: Arc::from(self.roles.as_slice()),
            created: self.token_created.unwrap_or(Timestamp::EPOCH),
        })
    }

    fn token_of_store(
        &self,
        id: TokenId,
        surroundings: &Surroundings,
        now: Timestamp,
    ) -> Result<Known, Failure> {
        let config = self.config.load(surroundings).map_err(super::Failure::from)?;
        let folder = config.data_dir.value;
        let record = match find_token(&folder, id) {
            Ok(Some(record)) => record,
            Ok(None) => return Err(Failure::NoToken { id, folder }),
            Err(StoreError::InUse { folder }) => return Err(Failure::StoreInUse { folder }),
            Err(error) => return Err(Failure::Store(error)),
        };
        if !record.is_expired(now) {
            return Ok(Known { principal: Some(record.principal()), expired: None });
        }
        let when = record.expires.map(|expires| expires.to_string()).unwrap_or_default();
        let expired = format!("token {id} {:?} expired at {when}: its requests are nobody's", record.name);
        Ok(Known { principal: None, expired: Some(expired) })
    }
}
