//! What candidate policies would decide otherwise.

use super::super::shadow::{ShadowDifference, ShadowReport, ShadowRequest};
use super::{Api, Sent, only_get};
use crate::engine::Permit;
use crate::front::reply::{self, Failure, Reply};
use crate::policy::Location;
use crate::token::{ForeignId, PrincipalId, RoleName, TokenId};
use http::StatusCode;
use serde::Serialize;

/// Where the differences are told.
pub(super) const PATH: &str = "/api/rolegate/shadow";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    version: String,
    candidate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    compared: u64,
    passed_over: u64,
    different: u64,
    unlisted: u64,
    differences: Vec<Difference<'a>>,
}

#[derive(Serialize)]
struct Difference<'a> {
    roles: Option<Vec<&'a str>>,
    route: &'a str,
    change: &'static str,
    count: u64,
    first: String,
    last: Last<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Last<'a> {
    at: String,
    method: &'a str,
    path: &'a str,
    request_id: Option<&'a str>,
    token_id: Option<u64>,
    /// Whom an authenticator of the program knows; without it and a token, it was nobody's request.
    #[serde(skip_serializing_if = "Option::is_none")]
    foreign: Option<&'a str>,
    rule: Option<String>,
    candidate_rule: Option<String>,
}

/// `GET /api/rolegate/shadow`.
pub(super) fn report(api: &Api, permit: &Permit, sent: &Sent) -> Result<Reply, Failure> {
    only_get(permit)?;
    let Some(shadow) = &api.shadow else {
        let message = "this server has no shadow policies: `rolegate.shadow_policies` names them";
        return Err(Failure::new(StatusCode::NOT_FOUND, message));
    };
    let ShadowReport { candidate, message, compared, passed_over, different, unlisted, differences } =
        shadow.report();
    let report = Report {
        version: sent.policies.version().to_string(),
        candidate: candidate.map(|version| version.to_string()),
        message: message.as_deref(),
        compared,
        passed_over,
        different,
        unlisted,
        differences: differences.iter().map(Difference::of).collect(),
    };
    Ok(reply::json(StatusCode::OK, &report))
}

impl<'a> Difference<'a> {
    fn of(difference: &'a ShadowDifference) -> Self {
        let ShadowDifference { roles, route, change, count, first, last } = difference;
        let ShadowRequest { at, method, path, request_id, principal, rule, candidate_rule } = last;
        Self {
            roles: roles.as_deref().map(|roles| roles.iter().map(RoleName::as_str).collect()),
            route: route.as_str(),
            change: change.name(),
            count: *count,
            first: first.to_string(),
            last: Last {
                at: at.to_string(),
                method: method.as_str(),
                path: path.as_str(),
                request_id: request_id.as_deref(),
                token_id: principal.as_ref().and_then(PrincipalId::token).map(TokenId::get),
                foreign: principal.as_ref().and_then(PrincipalId::foreign).map(ForeignId::as_str),
                rule: rule.as_ref().map(Location::to_string),
                candidate_rule: candidate_rule.as_ref().map(Location::to_string),
            },
        }
    }
}
