//! What the servers of these benchmarks stand on: the shipped policies and one token, in memory.

use rolegate::audit::MemoryAudit;
use rolegate::bootstrap::{BootstrapBlock, Provision};
use rolegate::engine::Engine;
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::store::memory::MemoryStore;
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, Secret};
use std::error::Error;
use std::sync::Arc;
use std::time::SystemTime;

const POLICY: &str = include_str!("../../policies/stackstate.rhai");

/// An engine that lets this token in, as a power user.
pub(crate) fn engine(token: &str) -> Result<Engine, Box<dyn Error + Send + Sync>> {
    let source = Source { name: Arc::from("policies/stackstate.rhai"), text: POLICY.to_owned() };
    let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())?;
    let now = Timestamp::from(SystemTime::now());
    let engine = Engine::open(Box::new(MemoryStore::new()), Box::new(MemoryAudit::new()), policies, now)?;
    let (secret, kind) = Secret::parse(token)?;
    let roles = vec![RoleName::parse("stackstate-power-user")?];
    let bootstrap = Some(BootstrapBlock { digest: secret.digest(), kind, roles, ttl: None });
    engine.provision(&Provision { bootstrap, declared: Vec::new() }, now)?;
    Ok(engine)
}
