//! Tells the audit log now and then, and at the end, how many denials have no entry of their own.

use super::clock::Clock;
use crate::audit::DENIALS_EVERY;
use crate::engine::Engine;
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
