//! Explanations for programs.

use crate::Verdict;
use crate::decision::Denial;
use crate::policy::explain::{Asked, Explanation, Finding, Obstacle, Part, Reading, Seen};
use crate::policy::{Effect, Location, Subject};
use crate::token::{Principal, TokenId};
use serde_json::{Value, json};

/// Everything that the explanation holds.
pub(super) fn explanation(explanation: &Explanation<'_>) -> Value {
    let decision = &explanation.decision;
    let rule = explanation.decided_by().map(|finding| place(&finding.rule.location));
    json!({
        "decision": if decision.is_allow() { "allow" } else { "deny" },
        "reason": match decision.verdict {
            Verdict::Allow(_) => "a rule allows it",
            Verdict::Deny(Denial::Rule(_)) => "a rule denies it",
            Verdict::Deny(Denial::NoRule) => "no rule allows it",
        },
        "rule": rule,
        "method": explanation.method.as_str(),
        "path": explanation.path.as_str(),
        "token": explanation.principal.as_ref().map(token),
        "time": decision.at.to_string(),
        "policy_version": decision.policy.to_string(),
        "deciding": explanation.deciding.iter().map(finding).collect::<Vec<_>>(),
        "deciding_left_out": explanation.deciding_left_out,
        "near": explanation.near.iter().map(finding).collect::<Vec<_>>(),
        "near_left_out": explanation.near_left_out,
        "notes": explanation.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn token(principal: &Principal) -> Value {
    let mut told = json!({
        "id": principal.id.token().map(TokenId::get),
        "name": &*principal.name,
        "roles": principal.roles.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "created": principal.created.to_string(),
    });
    if let (Some(foreign), Some(told)) = (principal.id.foreign(), told.as_object_mut()) {
        told.insert("foreign".into(), json!(foreign.as_str()));
    }
    told
}

fn place(location: &Location) -> Value {
    json!({ "file": &*location.file, "line": location.line, "column": location.column })
}

fn finding(finding: &Finding<'_>) -> Value {
    let (part, asked, obstacles) = match &finding.part {
        Part::Decided(asked) => ("decided", asked.as_ref(), &[][..]),
        Part::Agreed => ("agreed", None, &[][..]),
        Part::Overruled(asked) => ("overruled", asked.as_ref(), &[][..]),
        Part::Unmet(asked) => ("unmet", Some(asked), &[][..]),
        Part::Lifted(asked) => ("lifted", Some(asked), &[][..]),
        Part::NotAsked => ("not-asked", None, &[][..]),
        Part::Missed(obstacles) => ("missed", None, obstacles.as_slice()),
    };
    let subject = match &finding.rule.subject {
        Subject::Anyone => json!({ "kind": "anyone" }),
        Subject::Authenticated => json!({ "kind": "authenticated" }),
        Subject::Role(role) => json!({ "kind": "role", "role": role.to_string() }),
    };
    json!({
        "rule": place(&finding.rule.location),
        "effect": match finding.rule.effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        },
        "route": finding.route.as_str(),
        "subject": subject,
        "held_by": finding.holder.as_ref().map(ToString::to_string),
        "permission": finding.rule.permission.as_deref(),
        "conditional": finding.rule.is_conditional(),
        "part": part,
        "condition": asked.map(condition),
        "obstacles": obstacles.iter().map(obstacle).collect::<Vec<_>>(),
    })
}

fn condition(asked: &Asked) -> Value {
    json!({
        "result": asked.result.as_ref().ok(),
        "failure": asked.result.as_ref().err(),
        "recorded": asked.is_recorded,
        "reads": asked.reads.iter().map(reading).collect::<Vec<_>>(),
    })
}

fn reading(reading: &Reading) -> Value {
    let (value, failure) = match &reading.seen {
        Seen::Nothing => (Value::Null, None),
        Seen::Text(text) => (json!(text), None),
        Seen::Integer(number) => (json!(number), None),
        Seen::Boolean(answer) => (json!(answer), None),
        Seen::Texts(texts) => (json!(texts), None),
        Seen::Other(kind) => (json!(kind), None),
        Seen::Failed(reason) => (Value::Null, Some(reason)),
        Seen::Unrecorded => (Value::Null, None),
    };
    let is_recorded = reading.seen != Seen::Unrecorded;
    json!({ "read": reading.fact.to_string(), "value": value, "failure": failure, "known": is_recorded })
}

fn obstacle(obstacle: &Obstacle<'_>) -> Value {
    match obstacle {
        Obstacle::Excluded(route) => json!({ "kind": "excluded", "route": route }),
        Obstacle::OtherSlash => json!({ "kind": "other-slash" }),
        Obstacle::OtherCase => json!({ "kind": "other-case" }),
        Obstacle::NeedsToken => json!({ "kind": "needs-token" }),
        Obstacle::RoleNotHeld(role) => json!({ "kind": "role-not-held", "role": role.to_string() }),
        Obstacle::OtherMethod => json!({ "kind": "other-method" }),
    }
}
