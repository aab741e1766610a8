//! rolegate: the rules as a policy declares them, and the floor below any gate for tokens.

use super::floor::Floor;
use crate::measure::{Decide, Outcome};
use crate::workload::{METHOD, ROLES, Request, Rule, role};
use rolegate::audit::MemoryAudit;
use rolegate::engine::{Answer, Engine};
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::request::Credential;
use rolegate::store::memory::MemoryStore;
use rolegate::store::{Names, Store as _};
use rolegate::token::{Principal, RoleName, Secret, SecretKind, TokenId, TokenName, TokenOrigin, TokenRecord};
use rolegate::{CanonicalPath, Timestamp};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// Places in scripts are told of at most so many lines.
const LINES_PER_FILE: usize = 25_000;

/// What the peers do: decide for somebody who is known already.
pub fn authorize(rules: &[Rule], requests: &[Request]) -> Outcome<Decide> {
    let policies = load(rules)?;
    let principals: HashMap<String, Principal> = (0..ROLES)
        .map(|number| {
            let id = TokenId::new(TokenId::MIN + number as u64).ok_or("no id")?;
            let name = role(number);
            let roles = vec![RoleName::parse(&name)?].into();
            let principal = Principal {
                id: id.into(),
                name: TokenName::from(format!("token {number}")),
                roles,
                created: Timestamp::EPOCH,
            };
            Ok((name, principal))
        })
        .collect::<Outcome<_>>()?;
    let prepared = requests.iter().map(|request| {
        let principal = principals.get(&request.role).cloned().ok_or("no such role")?;
        Ok((principal, rolegate::Request::new(METHOD.parse()?, CanonicalPath::parse(&request.path)?)))
    });
    let prepared: Vec<_> = prepared.collect::<Outcome<_>>()?;
    Ok(Box::new(move |at| {
        let (principal, request) = &prepared[at];
        policies.decide(Some(principal), request, Timestamp::EPOCH).is_allow()
    }))
}

/// The least that a gate has to do: hash the token, look it up, walk a trie of the routes. It knows no roles.
pub fn floor(rules: &[Rule], requests: &[Request]) -> Outcome<Decide> {
    let secrets = secrets()?;
    let mut floor = Floor::new();
    for (number, (secret, _)) in (0..).zip(secrets.values()) {
        floor.tokens.insert(*secret.digest().as_bytes(), number);
    }
    for (number, rule) in rules.iter().enumerate() {
        floor.add(&rule.pattern, number);
    }
    let expected: Vec<bool> = requests.iter().map(|request| request.expected).collect();
    let prepared = prepared(requests, &secrets)?;
    // It finds every route, so that its answer is no decision.
    Ok(Box::new(move |at| floor.decide(&prepared[at]).is_some() && expected[at]))
}

/// What the gate does with a request: hash the token, look it up, see that it is live, decide.
pub fn authenticate_and_authorize(rules: &[Rule], requests: &[Request]) -> Outcome<Decide> {
    let store = MemoryStore::new();
    let secrets = secrets()?;
    for (number, (name, (secret, kind))) in (0..).zip(&secrets) {
        let record = TokenRecord {
            id: TokenId::new(TokenId::MIN + number).ok_or("no id")?,
            digest: secret.digest(),
            kind: *kind,
            origin: TokenOrigin::Api,
            name: format!("token {number}"),
            description: None,
            roles: vec![RoleName::parse(name)?],
            dedicated_subject: None,
            disabled: None,
            former: None,
            created: Timestamp::EPOCH,
            updated: Timestamp::EPOCH,
            expires: None,
        };
        let _ = store.insert(&record, Names::MayRepeat)?;
    }
    let engine = Engine::open(Box::new(store), Box::new(MemoryAudit::new()), load(rules)?, Timestamp::EPOCH)?;
    let prepared = prepared(requests, &secrets)?;
    Ok(Box::new(move |at| matches!(engine.check(&prepared[at], Timestamp::EPOCH), Answer::Permitted(_))))
}

/// A token for each role.
fn secrets() -> Outcome<HashMap<String, (Secret, SecretKind)>> {
    let secrets = (0..ROLES)
        .map(|number| Ok((role(number), Secret::parse(&format!("the-secret-of-token-number-{number}"))?)));
    secrets.collect()
}

fn prepared(
    requests: &[Request],
    secrets: &HashMap<String, (Secret, SecretKind)>,
) -> Outcome<Vec<rolegate::Request>> {
    let prepared = requests.iter().map(|request| {
        let (secret, kind) = secrets.get(&request.role).ok_or("no such role")?;
        let path = CanonicalPath::parse(&request.path)?;
        let mut parts = rolegate::Request::new(METHOD.parse()?, path).into_parts();
        parts.credential = Credential::Token(secret.clone(), *kind);
        Ok(rolegate::Request::from(parts))
    });
    prepared.collect()
}

fn load(rules: &[Rule]) -> Outcome<PolicySet> {
    let files = rules.chunks(LINES_PER_FILE).enumerate().map(|(number, rules)| {
        let mut text = String::new();
        for Rule { role, pattern } in rules {
            writeln!(text, "role(\"{role}\").allow(\"{METHOD} {pattern}\");")?;
        }
        Ok(Source { name: format!("{number}.rhai").into(), text })
    });
    let mut sources = files.collect::<Outcome<Vec<_>>>()?;
    // Every role that makes requests is one that the policies know, also where there are few rules.
    let roles = (0..ROLES).map(|number| format!("role(\"{}\");\n", role(number))).collect();
    sources.push(Source { name: "roles.rhai".into(), text: roles });
    Ok(PolicySet::load(&sources, &RoleBindings::default(), &ScriptLimits::default())?)
}
