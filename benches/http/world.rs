//! What the servers of these benchmarks stand on, in memory: the shipped policies and as many rules and tokens beside
//! them as an installation has.

use rolegate::audit::MemoryAudit;
use rolegate::engine::Engine;
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::store::memory::MemoryStore;
use rolegate::store::{Names, Store as _};
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, Secret, TokenId, TokenOrigin, TokenRecord};
use std::error::Error;
use std::sync::Arc;
use std::time::SystemTime;

const POLICY: &str = include_str!("../../policies/stackstate.rhai");
/// Rules beside those of the shipped policies.
const RULES: usize = 1_000;
/// Tokens beside the one that requests come with.
const TOKENS: usize = 10_000;
const ROLES: usize = 100;

/// An engine that lets this token in, as a power user.
pub(crate) fn engine(token: &str) -> Result<Engine, Box<dyn Error + Send + Sync>> {
    let shipped = Source { name: Arc::from("policies/stackstate.rhai"), text: POLICY.to_owned() };
    let rule = |number| {
        let (role, service) = (number % ROLES, number / ROLES);
        format!("role(\"role-{role}\").allow(\"GET /api/service-{service}/resource-{number}/{{id}}\");\n")
    };
    let more = Source { name: Arc::from("more.rhai"), text: (0..RULES).map(rule).collect() };
    let policies = PolicySet::load(&[shipped, more], &RoleBindings::default(), &ScriptLimits::default())?;
    let now = Timestamp::from(SystemTime::now());
    let store = MemoryStore::new();
    let _ = store.insert(&record(0, token, "stackstate-power-user", now)?, Names::MayRepeat)?;
    for number in 1..=TOKENS {
        let (secret, role) =
            (format!("the-secret-of-token-number-{number}"), format!("role-{}", number % ROLES));
        let _ = store.insert(&record(number, &secret, &role, now)?, Names::MayRepeat)?;
    }
    Ok(Engine::open(Box::new(store), Box::new(MemoryAudit::new()), policies, now)?)
}

fn record(
    number: usize,
    secret: &str,
    role: &str,
    now: Timestamp,
) -> Result<TokenRecord, Box<dyn Error + Send + Sync>> {
    let (secret, kind) = Secret::parse(secret)?;
    Ok(TokenRecord {
        id: TokenId::new(TokenId::MIN + number as u64).ok_or("no id")?,
        digest: secret.digest(),
        kind,
        origin: TokenOrigin::Api,
        name: format!("ci-{number}"),
        description: None,
        roles: vec![RoleName::parse(role)?],
        dedicated_subject: None,
        disabled: None,
        former: None,
        created: now,
        updated: now,
        expires: None,
    })
}
