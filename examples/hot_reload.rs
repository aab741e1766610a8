//! Policies that are changed while the program runs: all of them or none, what they open is told first, and those that
//! decided go on deciding when the new ones are wrong.
//!
//! `cargo run --example hot_reload --no-default-features`

use rolegate::audit::MemoryAudit;
use rolegate::policy::{RoleBindings, ScriptLimits, Source};
use rolegate::store::memory::MemoryStore;
use rolegate::{CanonicalPath, Engine, PolicySet, Request, Timestamp};
use std::error::Error;
use std::fs;
use std::io::{Write, stdout};
use std::path::Path;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("rolegate-hot-reload-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let outcome = run(&folder, &mut stdout());
    fs::remove_dir_all(&folder)?;
    outcome
}

/// Starts with a policy in this folder, changes it twice, and writes what became of it.
pub(crate) fn run(folder: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let file = folder.join("api.rhai");
    fs::write(&file, r#"open("GET /health");"#)?;
    let now = Timestamp::from_millis(1_735_722_000_000);
    let (store, audit) = (Box::new(MemoryStore::new()), Box::new(MemoryAudit::new()));
    let engine = Engine::open(store, audit, load(&file)?, now)?;
    ask(&engine, now, out)?;

    for text in [r#"opne("GET /health");"#, r#"open("GET /health"); open("GET /metrics");"#] {
        fs::write(&file, text)?;
        // A program calls this on a signal, on a request, or when its watcher sees another content; what is on disk
        // counts, not how often one was told of it.
        match reload(&engine, &file, now, out) {
            Ok(()) => writeln!(out, "reloaded")?,
            Err(error) => writeln!(out, "the old policies stay\n{error}")?,
        }
        ask(&engine, now, out)?;
    }
    Ok(())
}

fn load(file: &Path) -> Result<PolicySet, Box<dyn Error>> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let source = Source { name: Arc::from(&*name), text: String::from_utf8(fs::read(file)?)? };
    // Functions of the program stand in the limits, and have to be given each time.
    Ok(PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())?)
}

fn reload(engine: &Engine, file: &Path, now: Timestamp, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    // Loading takes time and is done beside the requests; only a pointer is swapped in their way.
    let new = load(file)?;
    for gain in engine.policies().gains(&new)? {
        let methods: Vec<_> = gain.region.methods.names().collect();
        writeln!(out, "opens {} {}", methods.join(","), gain.region.pattern)?;
    }
    // The audit log is told before, and one that cannot be written keeps the old policies. Whoever reloads on a
    // request passes its permit instead of `None`.
    engine.replace_policies(new, None, now)?;
    Ok(())
}

fn ask(engine: &Engine, now: Timestamp, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    for path in ["/health", "/metrics"] {
        let request = Request::new(http::Method::GET, CanonicalPath::parse(path)?);
        let is_open = engine.policies().decide(None, &request, now).is_allow();
        writeln!(out, "  GET {path:8} {}", if is_open { "open" } else { "closed" })?;
    }
    Ok(())
}
