//! `/api/rolegate/tokens/export` and `/api/rolegate/tokens/import`: tokens by their digests, in parts.

use super::tokens::{refused, without_end};
use super::{Api, Sent, only_get};
use crate::backup::{TokenLine, hex};
use crate::engine::{
    ChangeError, ExportPage, ExportPosition, Import, ImportOutcome, Imported, Permit, TRANSFER_MAX,
};
use crate::front::reply::{self, Failure, Reply};
use crate::request::{query_parameter, query_parameters};
use crate::store::page::{Key, Position};
use crate::time::Timestamp;
use crate::token::{TokenDigest, TokenId};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

/// Where tokens are exported.
pub(super) const EXPORT_PATH: &str = "/api/rolegate/tokens/export";
/// Where tokens are imported.
pub(super) const IMPORT_PATH: &str = "/api/rolegate/tokens/import";

#[derive(Serialize)]
struct Exported {
    tokens: Vec<TokenLine>,
    spent: Vec<String>,
    /// What the next request names; absent in the last part.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    tokens: Vec<TokenLine>,
    #[serde(default)]
    spent: Vec<String>,
}

#[derive(Serialize)]
struct Answer {
    tokens: Vec<Outcome>,
    spent: Vec<Outcome>,
}

#[derive(Serialize)]
struct Outcome {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A part of the tokens.
pub(super) fn export(api: &Api, permit: &Permit, sent: &Sent) -> Result<Reply, Failure> {
    only_get(permit)?;
    refuse_unknown(sent, &["cursor", "limit"])?;
    let from = match parameter(sent, "cursor")? {
        None => ExportPosition::START,
        Some(text) => position(&text)
            .ok_or_else(|| Failure::bad_request("`cursor` is none that this server gave away"))?,
    };
    let limit = match parameter(sent, "limit")? {
        None => TRANSFER_MAX,
        Some(text) => {
            text.parse().ok().filter(|limit| (1..=TRANSFER_MAX).contains(limit)).ok_or_else(|| {
                Failure::bad_request(format!("`limit` is a number from 1 to {TRANSFER_MAX}"))
            })?
        }
    };
    match api.engine.export(permit, &from, limit, api.now()) {
        Ok(ExportPage { tokens, spent, next }) => {
            let tokens = tokens.iter().map(TokenLine::from).collect();
            let spent = spent.iter().map(|digest| hex(digest.as_bytes())).collect();
            let next = next.as_ref().map(cursor);
            Ok(reply::json(StatusCode::OK, &Exported { tokens, spent, next }))
        }
        Err(ChangeError::Revoked) => Ok(reply::unauthenticated()),
        Err(ChangeError::Commit(error)) => {
            tracing::error!(%error, "service tokens were not exported");
            Err(failed(
                "nothing was exported: this server cannot read its tokens, or not write its audit log",
            ))
        }
        Err(error) => Err(refused("exported", &error)),
    }
}

/// Imports a part of an export.
pub(super) fn import(api: &Api, permit: &Permit, sent: &Sent) -> Result<Reply, Failure> {
    if permit.method() != Method::POST {
        return Err(Failure::method_not_allowed("POST"));
    }
    // A dry run that is misspelt must not be a real one.
    refuse_unknown(sent, &["dryRun", "replace"])?;
    let import =
        Import { is_dry_run: flag(sent, "dryRun")?, replaces: flag(sent, "replace")?, ..read(&sent.body)? };
    match api.engine.import(permit, &import, api.now()) {
        Ok(Imported { tokens, spent }) => {
            let outcomes = |outcomes: Vec<ImportOutcome>| outcomes.iter().map(Outcome::of).collect();
            Ok(reply::json(StatusCode::OK, &Answer { tokens: outcomes(tokens), spent: outcomes(spent) }))
        }
        Err(ChangeError::Revoked) => Ok(reply::unauthenticated()),
        Err(ChangeError::Commit(error)) => {
            tracing::error!(%error, "an import of service tokens failed");
            Err(failed(
                "the import failed, and some of it may have been made: this server cannot write; send it again",
            ))
        }
        Err(error) => Err(refused("imported", &error)),
    }
}

/// The log of this server tells the cause, which may name files.
fn failed(what: &str) -> Failure {
    let message = format!("{what}; the log of this server names the cause");
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}

/// Nothing of the body is repeated: somebody may have sent a secret.
fn read(body: &[u8]) -> Result<Import, Failure> {
    match body.trim_ascii_start().first() {
        None => return Err(Failure::bad_request("the request has no body, but it takes a JSON object")),
        // Values without their names are JSON, too, and would be taken by their order.
        Some(b'[') => {
            return Err(Failure::bad_request("the request body is an array, but it takes a JSON object"));
        }
        Some(_) => {}
    }
    let asked: Asked = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = if error.is_data() { "is no part of an export" } else { "is not JSON" };
        Failure::bad_request(format!("the request body {what}, at line {line}, column {column}"))
    })?;
    if asked.tokens.len().max(asked.spent.len()) > TRANSFER_MAX {
        let message =
            format!("the request body has more than {TRANSFER_MAX} tokens or digests; send them in parts");
        return Err(Failure::bad_request(message));
    }
    let wrong =
        |place: String| Failure::bad_request(format!("the request body's `{place}` is not what it may be"));
    let tokens = asked.tokens.iter().enumerate();
    let tokens =
        tokens.map(|(at, token)| token.to_record().map_err(|field| wrong(format!("tokens[{at}].{field}"))));
    let spent = asked.spent.iter().enumerate();
    let spent =
        spent.map(|(at, digest)| TokenDigest::from_hex(digest).ok_or_else(|| wrong(format!("spent[{at}]"))));
    Ok(Import {
        tokens: tokens.collect::<Result<_, _>>()?,
        spent: spent.collect::<Result<_, _>>()?,
        ..Import::default()
    })
}

fn parameter(sent: &Sent, name: &str) -> Result<Option<String>, Failure> {
    query_parameter(&sent.query, name).map_err(|error| Failure::bad_request(format!("`{name}`: {error}")))
}

fn refuse_unknown(sent: &Sent, known: &[&str]) -> Result<(), Failure> {
    for parameter in query_parameters(&sent.query) {
        let (key, _) = parameter.map_err(|error| Failure::bad_request(error.to_string()))?;
        if !known.contains(&key.as_ref()) {
            let (key, known) = (without_end(&key), known.join("`, `"));
            let message = format!("the query parameter `{key}` is unknown; this route knows `{known}`");
            return Err(Failure::bad_request(message));
        }
    }
    Ok(())
}

fn flag(sent: &Sent, name: &str) -> Result<bool, Failure> {
    match parameter(sent, name)?.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Failure::bad_request(format!("`{name}` is `true` or `false`"))),
    }
}

fn cursor(position: &ExportPosition) -> String {
    match position {
        ExportPosition::Tokens(Some(Position { key: Key::Created(created), id })) => {
            format!("tokens.{}.{id}", created.as_millis())
        }
        // Tokens are exported in the order of their creation, and so no other key comes.
        ExportPosition::Tokens(_) => "tokens".to_owned(),
        ExportPosition::Spent(None) => "spent".to_owned(),
        ExportPosition::Spent(Some(digest)) => format!("spent.{}", hex(digest.as_bytes())),
    }
}

fn position(text: &str) -> Option<ExportPosition> {
    match text.split('.').collect::<Vec<_>>().as_slice() {
        ["tokens", created, id] => {
            let key = Key::Created(Timestamp::from_millis(created.parse().ok()?));
            let id = TokenId::new(id.parse().ok()?)?;
            Some(ExportPosition::Tokens(Some(Position { key, id })))
        }
        ["spent"] => Some(ExportPosition::Spent(None)),
        ["spent", digest] => Some(ExportPosition::Spent(Some(TokenDigest::from_hex(digest)?))),
        _ => None,
    }
}

impl Outcome {
    fn of(outcome: &ImportOutcome) -> Self {
        let reason = match outcome {
            ImportOutcome::Conflict(conflict) => Some(conflict.to_string()),
            ImportOutcome::Created | ImportOutcome::Replaced | ImportOutcome::Unchanged => None,
        };
        Self { outcome: outcome.name(), reason }
    }
}
