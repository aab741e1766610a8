//! The log of requests: one line each, without secrets, headers, query or body.

use crate::decision::RuleId;
use crate::engine::Answer;
use crate::path::CanonicalPath;
use crate::token::TokenId;
use http::{Method, StatusCode};
use rand::{TryRng as _, rngs::SysRng};
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// What the log tells of one request.
pub(super) struct Line {
    request_id: String,
    method: Method,
    started: Instant,
    /// Known once the request was read; what could not be read is not repeated.
    pub(super) path: Option<CanonicalPath>,
    pub(super) outcome: Outcome,
}

/// What became of a request at the guard.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was refused before any policy saw it.
    Malformed(String),
    /// No live token.
    Unauthenticated(String),
    /// A live token, or none where none is needed, and no permission.
    Forbidden { token: Option<TokenId>, rule: Option<RuleId>, failures: usize },
    /// It was handed on.
    Permitted { token: Option<TokenId>, rule: Option<RuleId>, failures: usize },
    /// It was handed on, and not answered in time.
    TimedOut,
    /// Answering it ended in a panic.
    Panicked,
}

impl Line {
    pub(super) fn start<B>(request: &hyper::Request<B>) -> Self {
        Self {
            request_id: next_request_id(),
            method: request.method().clone(),
            started: Instant::now(),
            path: None,
            outcome: Outcome::Malformed(String::new()),
        }
    }

    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }

    pub(super) fn log(&self, status: StatusCode) {
        let duration_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let path = self.path.as_ref().map_or("-", CanonicalPath::as_str);
        let (request_id, method, status) = (&self.request_id, self.method.as_str(), status.as_u16());
        let token = self.outcome.token().map(TokenId::get);
        let rule = self.outcome.rule().map(RuleId::get);
        let decision = self.outcome.name();
        let cause = self.outcome.cause();
        if status >= 500 {
            tracing::warn!(request_id, method, path, status, duration_us, token, decision, rule, cause, "request");
        } else {
            tracing::info!(request_id, method, path, status, duration_us, token, decision, rule, cause, "request");
        }
    }
}

impl Outcome {
    pub(super) fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Unauthenticated(cause) => Self::Unauthenticated(cause.to_string()),
            Answer::Forbidden(forbidden) => Self::Forbidden {
                token: forbidden.principal().map(|principal| principal.id),
                rule: forbidden.decision().rule(),
                failures: forbidden.decision().failures.len(),
            },
            Answer::Permitted(permit) => Self::Permitted {
                token: permit.principal().map(|principal| principal.id),
                rule: permit.decision().rule(),
                failures: permit.decision().failures.len(),
            },
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Forbidden { .. } => "deny",
            Self::Permitted { .. } | Self::TimedOut => "allow",
            Self::Panicked => "panic",
        }
    }

    fn cause(&self) -> Option<&str> {
        match self {
            Self::Malformed(cause) | Self::Unauthenticated(cause) => Some(cause),
            Self::Forbidden { rule: None, .. } => Some("no rule allows it"),
            Self::Forbidden { .. } => Some("a rule denies it"),
            Self::TimedOut => Some("not answered in time"),
            Self::Panicked => Some("a panic"),
            Self::Permitted { .. } => None,
        }
    }
}
