//! The log of requests: one line each, without secrets, headers, query or body.

use super::attempts::{Attempt, Client, TooMany};
use super::metrics::Metrics;
use super::trace::TraceId;
use crate::decision::{Decision, Denial, Verdict};
use crate::engine::{Answer, DecisionId};
use crate::front::next_request_id;
use crate::path::CanonicalPath;
use crate::policy::{Location, PolicySet};
use crate::request::METHOD_MAX_BYTES;
use crate::token::candidates::without_secrets;
use crate::token::{ForeignId, Principal, PrincipalId, TokenId};
use http::{HeaderValue, Method, StatusCode};
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;
use tracing::Level;

/// The longest id of a client's own that the log repeats.
const CLIENT_ID_MAX_BYTES: usize = 128;

/// What the log tells of one request.
pub(super) struct Line {
    /// Also in the answer, so that the one is found by the other.
    pub(super) request_id: Arc<str>,
    /// Known once the request was read: what could not be read is not repeated.
    pub(super) path: Option<CanonicalPath>,
    /// The trace that the request is a part of, when its client says so.
    trace_id: Option<TraceId>,
    pub(super) started: Instant,
    method: Method,
    outcome: Outcome,
    principal: Option<PrincipalId>,
    rule: Option<Location>,
    decision_id: Option<DecisionId>,
    cause: Option<String>,
    /// The id that the client gave the request, where the answer bears that one.
    client_request_id: Option<String>,
    /// Who failed to authenticate. Others are known by their token.
    client: Option<Client>,
    /// Requests of the same client that were refused before this one and have no line.
    unlogged: u32,
    /// Whether many others of its kind are told already.
    is_repeated: bool,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Malformed,
    Unauthenticated,
    Denied,
    Allowed,
}

impl Line {
    pub(super) fn start<B>(request: &hyper::Request<B>) -> Self {
        Self {
            request_id: next_request_id(),
            path: None,
            trace_id: TraceId::of(request.headers()),
            method: request.method().clone(),
            started: Instant::now(),
            outcome: Outcome::Malformed,
            principal: None,
            rule: None,
            decision_id: None,
            cause: None,
            client_request_id: None,
            client: None,
            unlogged: 0,
            is_repeated: false,
        }
    }

    /// Notes the method of the request that a proxy told of.
    pub(super) fn told(&mut self, method: &Method) {
        self.method = method.clone();
    }

    /// Notes under which id the client asked. One that is long, or no text, is not repeated.
    pub(super) fn asked_as(&mut self, id: &HeaderValue) {
        let id = id.to_str().ok().filter(|id| id.len() <= CLIENT_ID_MAX_BYTES);
        self.client_request_id = id.map(|id| without_secrets(id).into_owned());
    }

    /// Notes why the request got another answer than its route gave.
    pub(super) fn note(&mut self, cause: &impl fmt::Display) {
        self.cause = Some(cause.to_string());
    }

    /// Notes what the engine answered, by these policies.
    pub(super) fn decided(&mut self, answer: &Answer, policies: &PolicySet) {
        let (outcome, principal, decision) = match answer {
            Answer::Permitted(permit) => (Outcome::Allowed, permit.principal(), permit.decision()),
            Answer::Forbidden(forbidden) => {
                self.decision_id = Some(forbidden.id);
                self.note(match forbidden.decision.verdict {
                    Verdict::Deny(Denial::Rule(_)) => &"a rule denies it",
                    Verdict::Deny(Denial::NoRule) | Verdict::Allow(_) => &"no rule allows it",
                });
                (Outcome::Denied, Some(&forbidden.principal), &forbidden.decision)
            }
            Answer::Unauthenticated(challenge) => {
                self.decision_id = Some(challenge.id);
                self.note(&challenge.cause);
                (Outcome::Unauthenticated, None, &challenge.decision)
            }
        };
        self.outcome = outcome;
        self.principal = principal.map(|principal: &Principal| principal.id.clone());
        self.rule = policies.deciding_rule(decision).map(|rule| rule.location.clone());
        self.tell_failures(decision, policies);
    }

    /// Whether it is known who the request comes from.
    pub(super) const fn is_authenticated(&self) -> bool {
        self.principal.is_some()
    }

    /// Notes whose credential is no live token.
    pub(super) fn failed_authentication(&mut self, client: Client, attempt: Attempt) {
        self.client = Some(client);
        if let Attempt::Within { unlogged } = attempt {
            self.unlogged = unlogged;
        }
    }

    /// Notes that it is answered with 429. Whoever floods the server must not flood its log: of many in a row the
    /// first has a line, and the next one within the limit tells how many followed.
    pub(super) fn refused_attempt(&mut self, refused: TooMany) {
        let cause = self.cause.take().unwrap_or_default();
        self.note(&format_args!("too many failed authentications; {cause}"));
        self.is_repeated = !refused.is_first;
    }

    /// Writes the line, and counts the request.
    pub(super) fn log(&self, status: StatusCode, metrics: &Metrics) {
        let duration = self.started.elapsed();
        metrics.answered(self.outcome.name(), duration);
        // Making a line takes longer than finding out that nobody reads it.
        if !(tracing::enabled!(Level::WARN)
            || tracing::enabled!(Level::INFO)
            || tracing::enabled!(Level::DEBUG))
        {
            return;
        }
        let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let trace_id = self.trace_id.as_ref().map(tracing::field::display);
        let request_id = &*self.request_id;
        // One that is too long was refused for it, and would make the line as long as the client likes.
        let method =
            Some(self.method.as_str()).filter(|method| method.len() <= METHOD_MAX_BYTES).unwrap_or("-");
        let path = without_secrets(self.path.as_ref().map_or("-", CanonicalPath::as_str));
        let path = &*path;
        let decision = self.outcome.name();
        let token = self.principal.as_ref().and_then(PrincipalId::token).map(TokenId::get);
        let foreign = self.principal.as_ref().and_then(PrincipalId::foreign).map(ForeignId::as_str);
        let rule = self.rule.as_ref().map(tracing::field::display);
        let decision_id = self.decision_id.map(tracing::field::display);
        let cause = self.cause.as_deref();
        let client_request_id = self.client_request_id.as_deref();
        let client = self.client.map(tracing::field::display);
        let unlogged = Some(self.unlogged).filter(|unlogged| *unlogged > 0);
        let status = status.as_u16();
        // What a client writes wrong is no trouble of this server, whatever its status.
        let is_trouble =
            status >= StatusCode::INTERNAL_SERVER_ERROR.as_u16() && self.outcome != Outcome::Malformed;
        // A level has to be known where the line is written, so that the fields are named for each.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    request_id,
                    trace_id,
                    method,
                    path,
                    status,
                    duration_us,
                    decision,
                    token,
                    foreign,
                    rule,
                    decision_id,
                    cause,
                    client_request_id,
                    client,
                    unlogged,
                    "request"
                )
            };
        }
        match () {
            () if is_trouble => line!(warn),
            () if self.is_repeated => line!(debug),
            () => line!(info),
        }
    }

    /// A condition that fails opens nothing, and its author has to hear of it.
    fn tell_failures(&self, decision: &Decision, policies: &PolicySet) {
        for (rule, reason) in decision.failures() {
            let rule = policies.rule(rule).map(|rule| tracing::field::display(&rule.location));
            tracing::warn!(request_id = &*self.request_id, rule, reason, "a condition failed");
        }
    }
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "deny",
            Self::Allowed => "allow",
        }
    }
}
