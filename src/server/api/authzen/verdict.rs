//! What is answered: a decision of the compiled policies, or why there is none, which denies as well.

use super::question::{Asked, Entity};
use super::token_id;
use crate::decision::{Decision, Denial, Verdict};
use crate::engine::Permit;
use crate::front::lacking;
use crate::front::reply::Failure;
use crate::policy::PolicySet;
use crate::request::{Request, RequestParts, read_target};
use crate::server::api::Api;
use crate::time::Timestamp;
use crate::token::{Principal, ROLES_PER_TOKEN_MAX, RoleName, TokenId, TokenName};
use crate::tokens::Unauthenticated;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Serialize;
use std::collections::HashMap;

/// Of so many conditions that failed it is told.
const FAILURES_TOLD_MAX: usize = 10;

/// What all questions of one request have in common.
pub(super) struct Evaluator<'a> {
    pub(super) api: &'a Api,
    pub(super) permit: &'a Permit,
    pub(super) policies: &'a PolicySet,
    pub(super) now: Timestamp,
    /// Tokens that were asked about before, so that the store is read once for each.
    pub(super) known: HashMap<TokenId, Result<Principal, Unauthenticated>>,
}

/// The answer to one question.
#[derive(Debug, Serialize)]
pub(super) struct Evaluated {
    pub(super) decision: bool,
    /// Absent of what is permitted: whoever does not understand it may refuse the permission.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Context>,
}

/// Why something is denied.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Context {
    /// By a decision. Reasons stand under the status with which the gate would answer.
    Reasons { reason_admin: Reason, reason_user: Reason },
    /// There is nothing to decide on.
    Error { error: Told },
}

#[derive(Debug, Serialize)]
enum Reason {
    #[serde(rename = "401")]
    Unauthenticated(String),
    #[serde(rename = "403")]
    Forbidden(String),
}

#[derive(Debug, Serialize)]
struct Told {
    status: u16,
    message: String,
}

/// Why there is no decision.
type Undecided = (StatusCode, String);

impl Evaluated {
    /// A denial of what cannot be decided on.
    pub(super) fn failed(status: StatusCode, message: String) -> Self {
        let error = Told { status: status.as_u16(), message };
        Self { decision: false, context: Some(Context::Error { error }) }
    }

    fn denied(reason_admin: Reason, reason_user: Reason) -> Self {
        Self { decision: false, context: Some(Context::Reasons { reason_admin, reason_user }) }
    }
}

impl Evaluator<'_> {
    /// Answers a question.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn evaluate(&mut self, asked: &Asked<'_>) -> Result<Evaluated, Failure> {
        let principal = match self.principal(asked)? {
            Ok(Ok(principal)) => principal,
            Ok(Err(cause)) => {
                let user = Reason::Unauthenticated("the token is not live".to_owned());
                return Ok(Evaluated::denied(Reason::Unauthenticated(cause.to_string()), user));
            }
            Err((status, message)) => return Ok(Evaluated::failed(status, message)),
        };
        let request = match read(asked) {
            Ok(request) => request,
            Err((status, message)) => return Ok(Evaluated::failed(status, message)),
        };
        let decision = self.policies.decide(Some(&principal), &request, self.now);
        if decision.is_allow() {
            return Ok(Evaluated { decision: true, context: None });
        }
        let admin = Reason::Forbidden(self.why(&decision));
        let user = Reason::Forbidden(self.why_for_user(&principal, &request));
        Ok(Evaluated::denied(admin, user))
    }

    /// Who is asked about; inside, why the token that is asked about lets nobody in.
    fn principal(
        &mut self,
        asked: &Asked<'_>,
    ) -> Result<Result<Result<Principal, Unauthenticated>, Undecided>, Failure> {
        let Entity { kind, id } = asked.subject;
        match kind {
            "token" => match token_id(id) {
                Some(id) => self.token(id).map(Ok),
                None => {
                    let message = "`subject.id` is no id of a service token: it is a number of 15 digits";
                    Ok(Err((StatusCode::NOT_FOUND, message.to_owned())))
                }
            },
            "role" => Ok(self.holder(id, &asked.roles).map(Ok)),
            _ => Ok(Err((StatusCode::NOT_FOUND, "`subject.type` is `token` or `role`".to_owned()))),
        }
    }

    fn token(&mut self, id: TokenId) -> Result<Result<Principal, Unauthenticated>, Failure> {
        if let Some(known) = self.known.get(&id) {
            return Ok(known.clone());
        }
        let found = self.api.engine.principal_with(self.permit, id, self.now).map_err(|error| {
            tracing::error!(%error, "a token was not evaluated");
            Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "this server cannot read its tokens; its log names the cause",
            )
        })?;
        self.known.insert(id, found.clone());
        Ok(found)
    }

    /// Somebody who holds these roles and is no token in particular. A role that no policy defines is no role: what is
    /// open to everybody with a token would else be open to it.
    fn holder(&self, role: &str, others: &[&str]) -> Result<Principal, Undecided> {
        if others.len() >= ROLES_PER_TOKEN_MAX {
            let message = format!("a token has at most {ROLES_PER_TOKEN_MAX} roles");
            return Err((StatusCode::BAD_REQUEST, message));
        }
        let mut roles = Vec::with_capacity(others.len() + 1);
        for name in [role].iter().chain(others) {
            let known = RoleName::parse(name).ok().filter(|name| self.policies.has_role(name.as_str()));
            let Some(role) = known else {
                return Err((
                    StatusCode::NOT_FOUND,
                    "no policy defines a role that is asked about".to_owned(),
                ));
            };
            if !roles.contains(&role) {
                roles.push(role);
            }
        }
        Ok(Principal {
            id: TokenId::LEAST.into(),
            name: TokenName::default(),
            roles: roles.into(),
            created: self.now,
        })
    }

    /// Which rule decided, where it stands, and which conditions failed.
    fn why(&self, decision: &Decision) -> String {
        let rule = self.policies.deciding_rule(decision);
        let mut why = match (decision.verdict, rule) {
            (Verdict::Deny(Denial::Rule(_)), Some(rule)) => {
                format!("the rule at {} denies it", rule.location)
            }
            _ => "no rule allows it".to_owned(),
        };
        for (rule, reason) in decision.failures().take(FAILURES_TOLD_MAX) {
            if let Some(rule) = self.policies.rule(rule) {
                why.push_str(&format!("; the condition of the rule at {} failed: {reason}", rule.location));
            }
        }
        why
    }

    /// What a principal may know of a denial.
    fn why_for_user(&self, principal: &Principal, request: &Request) -> String {
        let lacking = lacking(request, &principal.roles, self.policies);
        if lacking.is_empty() {
            return "it is not permitted".to_owned();
        }
        format!("it takes the permission `{}`", lacking.join("` or `"))
    }
}

/// The request that is asked about: without header fields, and so without a host.
fn read(asked: &Asked<'_>) -> Result<Request, Undecided> {
    let bad = |message: String| (StatusCode::BAD_REQUEST, message);
    if asked.resource.kind != "route" {
        return Err((StatusCode::NOT_FOUND, "`resource.type` is `route`".to_owned()));
    }
    let method = Method::from_bytes(asked.action.as_bytes())
        .map_err(|_| bad("`action.name` is no method, such as `GET`".to_owned()))?;
    let target = asked.resource.id;
    if !target.starts_with('/') && target != "*" {
        return Err(bad("`resource.id` is no path that starts with a slash".to_owned()));
    }
    let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]);
    let read =
        read_target(method, target, headers, asked.client_ip).map_err(|wrong| bad(wrong.to_string()))?;
    let parts = RequestParts { headers: HeaderMap::new(), host: None, ..read.into_parts() };
    Ok(Request::from(parts))
}
