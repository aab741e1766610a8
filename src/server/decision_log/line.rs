//! One decision as one line of JSON. It tells nothing of headers, query and body but the values that the operator
//! asks for.

use super::{VALUE_MAX_BYTES, What};
use crate::audit::file::Visible;
use crate::decision::{ConditionOutcome, Decision, RuleId};
use crate::engine::{Answer, DecisionId};
use crate::path::CanonicalPath;
use crate::policy::PolicySet;
use crate::request::Request;
use crate::token::{Principal, TokenId};
use crate::tokens::Unauthenticated;
use http::{HeaderName, Method};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

/// The longest line, in bytes. Longer ones are not written, and not read.
pub const LINE_MAX_BYTES: usize = 128 * 1024;

/// A decision as it is handed to the writer: cheap to make, and a line only there.
#[derive(Debug)]
pub(super) struct Entry {
    id: Option<DecisionId>,
    request_id: Option<Arc<str>>,
    method: Method,
    path: CanonicalPath,
    client_ip: Option<IpAddr>,
    principal: Option<Principal>,
    cause: Option<Unauthenticated>,
    decision: Decision,
    policies: Arc<PolicySet>,
    headers: Vec<(HeaderName, Option<Box<str>>)>,
    query: Vec<(Arc<str>, Option<Box<str>>)>,
    one_in: NonZeroU32,
}

/// A decision as it is written and read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) time: String,
    pub(super) decision_id: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) verdict: String,
    pub(super) policy_version: String,
    /// Of how many decisions of its rule it is the one that was written.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) one_in: NonZeroU32,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) client_ip: Option<String>,
    pub(super) token: Option<TokenLine>,
    /// Why the request has no live token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<String>,
    pub(super) rule: Option<RuleLine>,
    pub(super) conditions: Vec<ConditionLine>,
    /// How many more conditions there were than a line has room for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) conditions_left_out: usize,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) headers: BTreeMap<String, Option<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) query: BTreeMap<String, Option<String>>,
}

/// Whose request it was: that of a token by its number, or of whom an authenticator of the program knows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TokenLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) foreign: Option<String>,
    pub(super) name: String,
    pub(super) roles: Vec<String>,
    pub(super) created: String,
}

/// A rule: where it stands, for people, and its number in the policies of this version.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RuleLine {
    pub(super) place: String,
    pub(super) number: u32,
}

/// What a condition said: `true`, `false` or `failed`. Why it failed may hold what it read, and is not told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ConditionLine {
    #[serde(flatten)]
    pub(super) rule: RuleLine,
    pub(super) route: usize,
    pub(super) outcome: String,
}

impl Entry {
    pub(super) fn of(request: &Request, answer: &Answer, policies: &Arc<PolicySet>, what: &What) -> Self {
        let (id, principal, cause, decision) = match answer {
            Answer::Permitted(permit) => (None, permit.principal().cloned(), None, permit.decision()),
            Answer::Forbidden(denied) => {
                (Some(denied.id), Some(denied.principal.clone()), None, &denied.decision)
            }
            Answer::Unauthenticated(denied) => (Some(denied.id), None, Some(denied.cause), &denied.decision),
        };
        let headers = what.headers.iter().filter_map(|name| {
            let value = request.header(name.as_str()).ok()?;
            Some((name.clone(), kept(value)?))
        });
        let query = what.query.iter().filter_map(|name| {
            let value = request.query_parameter(name).ok()?;
            Some((Arc::clone(name), kept(value.as_deref())?))
        });
        Self {
            id,
            request_id: request.id().cloned(),
            method: request.method().clone(),
            path: request.path().clone(),
            client_ip: request.client_ip(),
            principal,
            cause,
            headers: headers.collect(),
            query: query.collect(),
            decision: decision.clone(),
            policies: Arc::clone(policies),
            one_in: NonZeroU32::MIN,
        }
    }

    /// The same entry, standing for so many decisions.
    pub(super) fn one_in(mut self, one_in: NonZeroU32) -> Self {
        self.one_in = one_in;
        self
    }

    /// Appends the line and its end, with as many conditions as there is room for; `false`, and nothing, when it would
    /// be too long without any.
    pub(super) fn append_to(&self, bytes: &mut Vec<u8>) -> bool {
        let start = bytes.len();
        let mut line = self.line();
        loop {
            let mut serializer = serde_json::Serializer::with_formatter(&mut *bytes, Visible);
            let written: Result<(), serde_json::Error> = line.serialize(&mut serializer);
            if written.is_ok() && bytes.len() - start <= LINE_MAX_BYTES {
                bytes.push(b'\n');
                return true;
            }
            bytes.truncate(start);
            if written.is_err() || line.conditions.is_empty() {
                return false;
            }
            let kept = line.conditions.len() / 2;
            line.conditions_left_out += line.conditions.len() - kept;
            line.conditions.truncate(kept);
        }
    }

    fn line(&self) -> Line {
        let decision = &self.decision;
        let rule = |rule: RuleId| {
            let place = self.policies.rule(rule)?.location.to_string();
            Some(RuleLine { place, number: rule.get() })
        };
        let conditions = decision.conditions.iter().filter_map(|outcome| {
            let rule = rule(outcome.rule)?;
            Some(ConditionLine { rule, route: outcome.route, outcome: outcome_name(outcome).to_owned() })
        });
        let text = |value: &Option<Box<str>>| value.as_deref().map(str::to_owned);
        Line {
            time: decision.at.to_string(),
            decision_id: self.id.map(|id| id.to_string()),
            request_id: self.request_id.as_deref().map(str::to_owned),
            verdict: if decision.is_allow() { "allow" } else { "deny" }.to_owned(),
            policy_version: decision.policy.to_string(),
            one_in: self.one_in,
            method: self.method.to_string(),
            path: self.path.to_string(),
            client_ip: self.client_ip.map(|ip| ip.to_string()),
            token: self.principal.as_ref().map(TokenLine::of),
            cause: self.cause.map(|cause| cause.to_string()),
            rule: decision.rule().and_then(rule),
            conditions: conditions.collect(),
            conditions_left_out: 0,
            headers: self.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            query: self.query.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        }
    }
}

impl TokenLine {
    fn of(principal: &Principal) -> Self {
        Self {
            id: principal.id.token().map(TokenId::get),
            foreign: principal.id.foreign().map(ToString::to_string),
            name: principal.name.to_string(),
            roles: principal.roles.iter().map(ToString::to_string).collect(),
            created: principal.created.to_string(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

const fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_one(count: &NonZeroU32) -> bool {
    count.get() == 1
}

/// The value, if it is short enough; `Some(None)` where there is none.
fn kept(value: Option<&str>) -> Option<Option<Box<str>>> {
    match value {
        Some(value) if value.len() > VALUE_MAX_BYTES => None,
        value => Some(value.map(Box::from)),
    }
}

const fn outcome_name(outcome: &ConditionOutcome) -> &'static str {
    match outcome.result {
        Ok(true) => "true",
        Ok(false) => "false",
        Err(_) => "failed",
    }
}
