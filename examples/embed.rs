//! The engine inside a program of its own: no server, no database, no runtime.
//!
//! `cargo run --example embed --no-default-features`

use rolegate::audit::MemoryAudit;
use rolegate::bootstrap::{BootstrapBlock, Provision};
use rolegate::engine::{Answer, Engine};
use rolegate::path::CanonicalPath;
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::request::{Credential, Request};
use rolegate::store::memory::MemoryStore;
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, Secret};
use std::error::Error;
use std::io::{Write, stdout};
use std::sync::Arc;

const POLICY: &str = r#"
    role("exporter").allow("GET /metrics/{name}").when(|request| request.param("name") != "secrets");
    open("GET /health");
"#;

fn main() -> Result<(), Box<dyn Error>> {
    run(&ScriptLimits::default(), &mut stdout())
}

/// Asks a few things within these limits and writes the answers.
pub(crate) fn run(limits: &ScriptLimits, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let source = Source { name: Arc::from("embed.rhai"), text: POLICY.to_owned() };
    let policies = PolicySet::load(&[source], &RoleBindings::default(), limits)?;
    // Time is an argument: a program passes its own clock's.
    let now = Timestamp::from_millis(1_669_276_800_000);
    let engine = Engine::open(Box::new(MemoryStore::new()), Box::new(MemoryAudit::new()), policies, now)?;

    let token = "a-token-that-this-program-chose";
    let (secret, kind) = Secret::parse(token)?;
    let roles = vec![RoleName::parse("exporter")?];
    let bootstrap = Some(BootstrapBlock { digest: secret.digest(), kind, roles, ttl: None });
    engine.provision(&Provision { bootstrap, declared: Vec::new() }, now)?;

    for (token, path) in
        [(token, "/metrics/cpu"), (token, "/metrics/secrets"), ("", "/metrics/cpu"), ("", "/health")]
    {
        let mut parts = Request::new(http::Method::GET, CanonicalPath::parse(path)?).into_parts();
        if !token.is_empty() {
            parts.credential = Credential::read(token);
        }
        let answer = match engine.check(&Request::from(parts), now) {
            Answer::Permitted(_) => "permitted".to_owned(),
            Answer::Unauthenticated(challenge) => format!("unauthenticated: {}", challenge.cause),
            Answer::Forbidden(_) => "forbidden".to_owned(),
        };
        writeln!(out, "GET {path:17} {answer}")?;
    }
    Ok(())
}
