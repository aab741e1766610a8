//! Writes down the use of tokens now and then, and once more at the end.

use super::metrics::Metrics;
use crate::engine::Engine;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often the use of tokens is written. What a crash loses is at most this old, and what writing takes.
const WRITE_INTERVAL: Duration = Duration::from_secs(30);
/// How often somebody looks whether so much waits that it is written before its time.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// So many pairs of a token and a rule are too much to wait for.
const WAITING_MANY: usize = 100_000;

/// The task that writes. It ends with [`UseWriter::finish`], or when this is dropped.
pub(super) struct UseWriter {
    engine: Arc<Engine>,
    task: JoinHandle<()>,
}

impl UseWriter {
    pub(super) fn start(engine: Arc<Engine>, metrics: Arc<Metrics>) -> Self {
        let task = tokio::spawn(write_for_ever(Arc::clone(&engine), metrics));
        Self { engine, task }
    }

    /// Writes what is left.
    pub(super) async fn finish(self) {
        self.task.abort();
        write(&self.engine).await;
    }
}

impl Drop for UseWriter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn write_for_ever(engine: Arc<Engine>, metrics: Arc<Metrics>) {
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = Instant::now();
    loop {
        looks.tick().await;
        metrics.tokens(engine.token_count());
        metrics.uses_lost(engine.uses_lost());
        if written.elapsed() >= WRITE_INTERVAL || engine.uses_waiting() >= WAITING_MANY {
            write(&engine).await;
            written = Instant::now();
        }
    }
}

async fn write(engine: &Arc<Engine>) {
    let engine = Arc::clone(engine);
    // A thread that panicked has written nothing more, which is told where panics are.
    if let Ok(Err(error)) = spawn_blocking(move || engine.flush_uses()).await {
        tracing::warn!(%error, "the use of tokens was not written; it is kept in memory and tried again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::MemoryAudit;
    use crate::bootstrap::{BootstrapBlock, Provision};
    use crate::path::CanonicalPath;
    use crate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
    use crate::request::{Credential, Request};
    use crate::store::memory::MemoryStore;
    use crate::time::Timestamp;
    use crate::token::Secret;

    fn engine() -> Arc<Engine> {
        let source = Source { name: "p.rhai".into(), text: "authenticated(\"GET /a\");".to_owned() };
        let policies =
            PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap();
        let (store, audit) = (Box::new(MemoryStore::new()), Box::new(MemoryAudit::new()));
        let engine = Engine::open(store, audit, policies, Timestamp::EPOCH).unwrap();
        let (secret, kind) = Secret::parse("a-token-that-an-operator-chose").unwrap();
        let block = BootstrapBlock { digest: secret.digest(), kind, roles: Vec::new(), ttl: None };
        let provision = Provision { bootstrap: Some(block), declared: Vec::new() };
        engine.provision(&provision, Timestamp::EPOCH).unwrap();
        Arc::new(engine)
    }

    fn call(engine: &Engine) {
        let mut parts = Request::new(http::Method::GET, CanonicalPath::parse("/a").unwrap()).into_parts();
        parts.credential = Credential::read("a-token-that-an-operator-chose");
        let _ = engine.check(&Request::from(parts), Timestamp::from_millis(5));
        assert_eq!(engine.uses_waiting(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn use_is_written_within_half_a_minute_and_at_the_end() {
        let engine = engine();
        let writer = UseWriter::start(Arc::clone(&engine), Arc::new(Metrics::new()));
        call(&engine);
        let started = Instant::now();
        while engine.uses_waiting() > 0 {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let waited = started.elapsed();
        assert!(waited >= WRITE_INTERVAL && waited <= WRITE_INTERVAL + 3 * LOOK_INTERVAL, "{waited:?}");
        call(&engine);
        writer.finish().await;
        assert_eq!(engine.uses_waiting(), 0);
    }
}
