//! How the policies are, and loading them anew.

use super::super::reload::{PolicyStatus, ReloadOutcome, Trigger};
use super::{Api, Sent, only_get};
use crate::engine::{Permit, ReplaceError};
use crate::front::reply::{self, Failure, Reply};
use crate::path::CanonicalPath;
use crate::request::Request;
use http::{Method, StatusCode};
use serde::Serialize;

/// Where the policies are loaded anew.
pub(super) const RELOAD_PATH: &str = "/api/rolegate/policies/reload";

#[derive(Serialize)]
struct Health<'a> {
    state: &'static str,
    since: String,
    version: String,
    loaded: String,
    attempted: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

#[derive(Serialize)]
struct ReloadReply {
    outcome: &'static str,
    state: &'static str,
    before: String,
    version: String,
}

/// `GET /health/policies`: always 200, since policies in force decide whatever lies beside them. What is wrong with
/// those that are not in force is told to whoever may reload them.
pub(super) fn health(api: &Api, permit: &Permit, sent: &Sent) -> Result<Reply, Failure> {
    only_get(permit)?;
    let PolicyStatus { state, since, version, loaded, attempted, message } = api.policy_status();
    let health = Health {
        state: state.name(),
        since: since.to_string(),
        version: version.to_string(),
        loaded: loaded.to_string(),
        attempted: attempted.to_string(),
        message: message.as_deref().filter(|_| may_reload(permit, sent)),
    };
    Ok(reply::json(StatusCode::OK, &health))
}

/// `POST /api/rolegate/policies/reload`: answers once it is done, and with an error when others are not in force.
pub(super) fn reload(api: &Api, permit: &Permit, _: &Sent) -> Result<Reply, Failure> {
    if permit.method() != Method::POST {
        return Err(Failure::method_not_allowed("POST"));
    }
    let Some(reloader) = &api.reloader else {
        return Err(Failure::new(StatusCode::NOT_FOUND, "this server does not load policies anew"));
    };
    let reloaded = match reloader.reload(Trigger::Request(permit)) {
        Ok(reloaded) => reloaded,
        Err(ReplaceError::Revoked) => return Ok(reply::unauthenticated()),
        Err(error) => return Err(Failure::new(StatusCode::FORBIDDEN, error.to_string())),
    };
    let status = match reloaded.outcome {
        ReloadOutcome::Loaded | ReloadOutcome::Unchanged => {
            let reply = ReloadReply {
                outcome: reloaded.outcome.name(),
                state: reloader.status().state.name(),
                before: reloaded.before.to_string(),
                version: reloaded.version.to_string(),
            };
            return Ok(reply::json(StatusCode::OK, &reply));
        }
        ReloadOutcome::Guarded => StatusCode::CONFLICT,
        ReloadOutcome::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadOutcome::Unreadable | ReloadOutcome::Unaudited => StatusCode::SERVICE_UNAVAILABLE,
    };
    let message = reloaded.message.unwrap_or_default();
    Err(Failure::new(status, format!("policies of version {} stay in force: {message}", reloaded.version)))
}

/// Whether whoever asks may reload as well, by the policies that let it ask.
fn may_reload(permit: &Permit, sent: &Sent) -> bool {
    let Ok(path) = CanonicalPath::parse(RELOAD_PATH) else { return false };
    let request = Request::new(Method::POST, path);
    permit.principal().is_some()
        && sent.policies.decide(permit.principal(), &request, permit.decision().at).is_allow()
}
