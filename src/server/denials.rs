//! Tells the audit log now and then, and at the end, how many denials have no entry of their own.

use crate::audit::DENIALS_EVERY;
use crate::engine::Engine;
use crate::front::Clock;
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

/// How many denials wait on threads for the audit log at once. Further ones wait without one.
pub(super) const DENIALS_WAITING_MAX: usize = 16;

/// The task that tells. It ends with [`LeftOutTeller::finish`], or when this is dropped.
pub(super) struct LeftOutTeller {
    engine: Arc<Engine>,
    clock: Clock,
    task: JoinHandle<()>,
}

impl LeftOutTeller {
    pub(super) fn start(engine: Arc<Engine>, clock: Clock) -> Self {
        let task = tokio::spawn(tell_for_ever(Arc::clone(&engine), Arc::clone(&clock)));
        Self { engine, clock, task }
    }

    /// Tells of all that is left.
    pub(super) async fn finish(self) {
        self.task.abort();
        tell(&self.engine, &self.clock, true).await;
    }
}

impl Drop for LeftOutTeller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn tell_for_ever(engine: Arc<Engine>, clock: Clock) {
    let mut looks = interval(DENIALS_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        tell(&engine, &clock, false).await;
    }
}

async fn tell(engine: &Arc<Engine>, clock: &Clock, all: bool) {
    let (engine, now) = (Arc::clone(engine), clock());
    // A thread that panicked has written nothing more, which is told where panics are.
    if let Ok(Err(error)) = spawn_blocking(move || engine.record_left_out(all, now)).await {
        tracing::warn!(%error, "denials that have no entry are not told to the audit log; they are tried again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Audit, AuditEntry, AuditError, AuditEvent, DENIALS_AT_ONCE};
    use crate::bootstrap::{BootstrapBlock, Provision};
    use crate::engine::Answer;
    use crate::path::CanonicalPath;
    use crate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
    use crate::request::{Credential, Request};
    use crate::store::memory::MemoryStore;
    use crate::time::Timestamp;
    use crate::token::Secret;
    use parking_lot::Mutex;
    use tokio::time::{Instant, sleep};

    const SECRET: &str = "a-token-that-an-operator-chose";

    /// Keeps what is told of denials without an entry.
    #[derive(Debug, Default)]
    struct Counts(Mutex<Vec<u64>>);

    impl Audit for Counts {
        fn record(&self, entry: &AuditEntry<'_>) -> Result<(), AuditError> {
            if let AuditEvent::DenialsLeftOut { count, .. } = entry.event {
                self.0.lock().push(count);
            }
            Ok(())
        }
    }

    fn engine(audit: Arc<Counts>) -> Arc<Engine> {
        let source = Source { name: "p.rhai".into(), text: "authenticated(\"GET /a\");".to_owned() };
        let policies =
            PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap();
        let store = Box::new(MemoryStore::new());
        let engine = Engine::open(store, Box::new(audit), policies, Timestamp::EPOCH).unwrap();
        let (secret, kind) = Secret::parse(SECRET).unwrap();
        let block = BootstrapBlock { digest: secret.digest(), kind, roles: Vec::new(), ttl: None };
        let provision = Provision { bootstrap: Some(block), declared: Vec::new() };
        engine.provision(&provision, Timestamp::EPOCH).unwrap();
        Arc::new(engine)
    }

    /// So many denials more than have an entry of their own.
    fn flood(engine: &Arc<Engine>, more: u32, now: Timestamp) {
        for _ in 0..DENIALS_AT_ONCE + more {
            let path = CanonicalPath::parse("/b").unwrap();
            let mut parts = Request::new(http::Method::GET, path).into_parts();
            parts.credential = Credential::read(SECRET);
            let request = Request::from(parts);
            let Answer::Forbidden(denied) = engine.check(&request, now) else { panic!("it is permitted") };
            if let Some(entry) = engine.denial_entry(denied, request, now) {
                entry.record().unwrap();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn denials_without_an_entry_are_told_within_two_minutes_and_at_the_end() {
        let audit = Arc::new(Counts::default());
        let engine = engine(Arc::clone(&audit));
        let started = Instant::now();
        let clock: Clock =
            Arc::new(move || Timestamp::from_millis(i64::try_from(started.elapsed().as_millis()).unwrap()));
        let teller = LeftOutTeller::start(Arc::clone(&engine), Arc::clone(&clock));
        sleep(DENIALS_EVERY / 2).await;
        flood(&engine, 3, clock());
        while audit.0.lock().is_empty() {
            sleep(DENIALS_EVERY / 60).await;
        }
        let waited = started.elapsed();
        assert!(waited >= DENIALS_EVERY && waited <= 3 * DENIALS_EVERY, "{waited:?}");
        flood(&engine, 5, clock());
        teller.finish().await;
        assert_eq!(*audit.0.lock(), [3, 5]);
    }
}
