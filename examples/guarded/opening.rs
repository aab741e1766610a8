//! An engine that knows one token, for examples that are about what stands around it.

use rolegate::audit::MemoryAudit;
use rolegate::bootstrap::{BootstrapBlock, Provision};
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::store::memory::MemoryStore;
use rolegate::{Engine, RoleName, Secret, Timestamp};
use std::error::Error;
use std::sync::Arc;

/// An engine with these policies, to which `a-token-that-this-program-chose` is a `greeter`.
pub(crate) fn open(policy: &str, now: Timestamp) -> Result<Engine, Box<dyn Error>> {
    let source = Source { name: Arc::from("guard.rhai"), text: policy.to_owned() };
    let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())?;
    let engine = Engine::open(Box::new(MemoryStore::new()), Box::new(MemoryAudit::new()), policies, now)?;
    let (secret, kind) = Secret::parse("a-token-that-this-program-chose")?;
    let roles = vec![RoleName::parse("greeter")?];
    let bootstrap = Some(BootstrapBlock { digest: secret.digest(), kind, roles, ttl: None });
    engine.provision(&Provision { bootstrap, declared: Vec::new() }, now)?;
    Ok(engine)
}
