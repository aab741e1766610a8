//! What the server tells of itself, and of the token that asks.

use super::super::metrics::CONTENT_TYPE;
use super::{Api, Sent, only_get};
use crate::engine::Permit;
use crate::front::reply::{self, Failure, Reply};
use crate::request::{QueryError, query_parameter};
use crate::token::RoleName;
use http::StatusCode;
use serde::Serialize;

/// The version of the API that the wire contract describes. Clients refuse anything below 5.0.0, and take
/// 5.0.0 itself for a pre-release when a commit is named.
const API_VERSION: (u32, u32, u32) = (5, 1, 3);

/// The description of all routes.
const OPENAPI: &str = include_str!("../../../docs/openapi.yaml");

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerInfo {
    version: ServerVersion,
    deployment_mode: &'static str,
    application_domains: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerVersion {
    major: u32,
    minor: u32,
    patch: u32,
    diff: &'static str,
    commit: &'static str,
    is_dev: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    status: &'static str,
    version: &'static str,
    api_version: String,
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

#[derive(Serialize)]
struct AvailableRoles<'a> {
    roles: Vec<&'a str>,
}

/// `GET /api/server/info`: every client calls it first.
pub(super) fn info(_: &Api, permit: &Permit, _: &Sent) -> Result<Reply, Failure> {
    only_get(permit)?;
    let (major, minor, patch) = API_VERSION;
    let version = ServerVersion { major, minor, patch, diff: "", commit: "", is_dev: false };
    let info = ServerInfo { version, deployment_mode: "SelfHosted", application_domains: ["Observability"] };
    Ok(reply::json(StatusCode::OK, &info))
}

/// `GET /api/server/status`.
pub(super) fn status(api: &Api, permit: &Permit, _: &Sent) -> Result<Reply, Failure> {
    only_get(permit)?;
    let (major, minor, patch) = API_VERSION;
    let status = Status {
        status: readiness(api),
        version: env!("CARGO_PKG_VERSION"),
        api_version: format!("{major}.{minor}.{patch}"),
    };
    Ok(reply::json(StatusCode::OK, &status))
}

/// `GET /health`: 503 once the server shuts down, so that a load balancer looks elsewhere.
pub(super) fn health(api: &Api, permit: &Permit, _: &Sent) -> Result<Reply, Failure> {
    only_get(permit)?;
    let status = if *api.draining.borrow() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok(reply::json(status, &Health { status: readiness(api) }))
}

/// `GET /metrics`: what is counted, for Prometheus.
pub(super) fn metrics(api: &Api, permit: &Permit, _: &Sent) -> Result<Reply, Failure> {
    only_get(permit)?;
    Ok(reply::text(CONTENT_TYPE, api.metrics.text(&api.policy_status())))
}

/// `GET /api/openapi.yaml`: what all of this is, for programs.
pub(super) fn openapi(_: &Api, permit: &Permit, _: &Sent) -> Result<Reply, Failure> {
    only_get(permit)?;
    Ok(reply::text("application/yaml", OPENAPI.to_owned()))
}

/// `GET /api/user/session/availableRoles`: the roles that the token holds.
pub(super) fn available_roles(_: &Api, permit: &Permit, _: &Sent) -> Result<Reply, Failure> {
    only_get(permit)?;
    let roles = roles(permit).iter().map(RoleName::as_str).collect();
    Ok(reply::json(StatusCode::OK, &AvailableRoles { roles }))
}

/// `GET /api/user/authorization/for?permission=P`: whether the token holds a permission. Permissions are not
/// given for single resources here, so that a `resourceName` changes nothing.
pub(super) fn authorization(_: &Api, permit: &Permit, sent: &Sent) -> Result<Reply, Failure> {
    only_get(permit)?;
    let permission = query_parameter(&sent.query, "permission")
        .map_err(|error: QueryError| Failure::bad_request(format!("`permission`: {error}")))?
        .ok_or_else(|| Failure::bad_request("the query has no `permission`"))?;
    match sent.policies.holds_permission(roles(permit), &permission) {
        Some(true) => Ok(reply::empty(StatusCode::NO_CONTENT)),
        Some(false) => {
            Err(Failure::new(StatusCode::FORBIDDEN, format!("this token does not hold `{permission}`")))
        }
        None => Err(Failure::bad_request(format!("no policy defines the permission `{permission}`"))),
    }
}

fn readiness(api: &Api) -> &'static str {
    if *api.draining.borrow() { "draining" } else { "ready" }
}

fn roles(permit: &Permit) -> &[RoleName] {
    permit.principal().map_or(&[], |principal| &principal.roles)
}
