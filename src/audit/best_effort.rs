//! A log that refuses no change: an entry that cannot be written is counted, and the next that can be written comes
//! after one that says how many were lost.

use super::{Actor, Audit, AuditEntry, AuditError, AuditEvent};
use crate::time::Timestamp;
use parking_lot::Mutex;
use std::fmt;
use std::mem;
use std::time::Duration;

/// How long after one loss was told the next is only counted.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// An audit log around another one, for those who would rather lose an entry than a change.
pub struct BestEffort<A> {
    inner: A,
    tell: Box<Teller>,
    owed: Mutex<Owed>,
}

/// Is told of every loss.
type Teller = dyn Fn(&Loss<'_>) + Send + Sync;

/// What becomes of entries that cannot be written.
#[derive(Debug)]
pub enum Loss<'a> {
    /// One more is lost.
    Lost {
        /// Why.
        error: &'a AuditError,
        /// Whether people should hear of it. Of losses that come one after the other, one a minute is enough.
        is_news: bool,
    },
    /// Entries can be written again, and the log says how many were lost.
    Over {
        /// How many.
        count: u64,
    },
}

/// The losses that the log does not tell of yet.
#[derive(Debug, Default)]
struct Owed {
    count: u64,
    since: Option<Timestamp>,
    told: Option<Timestamp>,
}

impl<A: Audit> BestEffort<A> {
    /// The log `inner`, and who is told when it cannot be written.
    pub fn new(inner: A, tell: impl Fn(&Loss<'_>) + Send + Sync + 'static) -> Self {
        Self { inner, tell: Box::new(tell), owed: Mutex::default() }
    }

    /// Writes the entry that tells of earlier losses, when there are any.
    fn settle(&self, now: Timestamp) -> Result<(), AuditError> {
        let (count, since) = {
            let mut owed = self.owed.lock();
            let Some(since) = owed.since.take() else { return Ok(()) };
            (mem::take(&mut owed.count), since)
        };
        let event = AuditEvent::EntriesLost { count, since };
        let entry = AuditEntry { at: now, actor: Actor::Program, event, client_ip: None, request_id: None };
        match self.inner.record(&entry) {
            Ok(()) => {
                (self.tell)(&Loss::Over { count });
                Ok(())
            }
            Err(error) => {
                let mut owed = self.owed.lock();
                owed.count += count;
                owed.since = Some(since);
                Err(error)
            }
        }
    }

    fn lose(&self, error: &AuditError, now: Timestamp) {
        let is_news = {
            let mut owed = self.owed.lock();
            owed.count += 1;
            owed.since.get_or_insert(now);
            // A clock that was set back must not silence anybody.
            let is_news = owed
                .told
                .is_none_or(|told| now < told || told.checked_add(TOLD_EVERY).is_none_or(|next| next <= now));
            if is_news {
                owed.told = Some(now);
            }
            is_news
        };
        (self.tell)(&Loss::Lost { error, is_news });
    }
}

impl<A: Audit> Audit for BestEffort<A> {
    /// Never an error: what cannot be written is lost, and counted.
    fn record(&self, entry: &AuditEntry<'_>) -> Result<(), AuditError> {
        let written = self.settle(entry.at).and_then(|()| self.inner.record(entry));
        if let Err(error) = written {
            self.lose(&error, entry.at);
        }
        Ok(())
    }

    fn record_all(&self, entries: &[AuditEntry<'_>]) -> Vec<Result<(), AuditError>> {
        let Some(first) = entries.first() else { return Vec::new() };
        let written = match self.settle(first.at) {
            Ok(()) => self.inner.record_all(entries),
            Err(error) => {
                entries.iter().for_each(|entry| self.lose(&error, entry.at));
                return entries.iter().map(|_| Ok(())).collect();
            }
        };
        let answers = entries.iter().zip(written).map(|(entry, written)| {
            if let Err(error) = written {
                self.lose(&error, entry.at);
            }
            Ok(())
        });
        answers.collect()
    }

    fn reopen(&self) -> Result<bool, AuditError> {
        self.inner.reopen()
    }
}

impl<A: fmt::Debug> fmt::Debug for BestEffort<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BestEffort")
            .field("inner", &self.inner)
            .field("owed", &self.owed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AuditOutcome, MemoryAudit};
    use crate::decision::PolicyVersion;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A log that can be made to fail.
    #[derive(Debug, Default)]
    struct Flaky {
        fails: AtomicBool,
        kept: MemoryAudit,
    }

    impl Audit for Flaky {
        fn record(&self, entry: &AuditEntry<'_>) -> Result<(), AuditError> {
            if self.fails.load(Ordering::SeqCst) {
                return Err(AuditError::Other("no room".into()));
            }
            self.kept.record(entry)
        }
    }

    fn started(seconds: i64) -> AuditEntry<'static> {
        AuditEntry {
            at: Timestamp::from_millis(seconds * 1000),
            actor: Actor::Program,
            event: AuditEvent::Started { policy: PolicyVersion(1) },
            client_ip: None,
            request_id: None,
        }
    }

    #[test]
    fn entries_that_cannot_be_written_are_counted_and_the_log_says_so_when_it_can() {
        let inner = Arc::new(Flaky::default());
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&told);
        let audit = BestEffort::new(Arc::clone(&inner), move |loss: &Loss<'_>| {
            heard.lock().push(match loss {
                Loss::Lost { error, is_news } => format!("{error} {is_news}"),
                Loss::Over { count } => format!("over {count}"),
            });
        });
        audit.record(&started(0)).unwrap();
        inner.fails.store(true, Ordering::SeqCst);
        for second in [1, 2, 60, 61] {
            audit.record(&started(second)).unwrap();
        }
        assert!(audit.record_all(&[62, 63].map(started)).iter().all(Result::is_ok));
        inner.fails.store(false, Ordering::SeqCst);
        assert!(audit.record_all(&[]).is_empty());
        assert!(audit.record_all(&[started(62)]).iter().all(Result::is_ok));
        audit.record(&started(63)).unwrap();
        let kept: Vec<_> = inner.kept.entries().into_iter().map(|entry| entry.event).collect();
        assert_eq!(kept, ["started", "entries_lost", "started", "started"]);
        assert_eq!(inner.kept.entries()[1].outcome, AuditOutcome::Failed);
        let lost = "the audit log failed: no room";
        assert_eq!(
            *told.lock(),
            [
                &format!("{lost} true"),
                &format!("{lost} false"),
                &format!("{lost} false"),
                &format!("{lost} true"),
                &format!("{lost} false"),
                &format!("{lost} false"),
                "over 6"
            ]
        );
    }
}
