//! Many writers, one commit: whoever comes first commits for all who wait.

use crate::store::{AfterDelete, StoreError};
use crate::token::{TokenDigest, TokenId};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;

/// The most changes in one commit.
const BATCH_MAX: usize = 512;

/// A change that waits to be committed.
#[derive(Debug)]
pub(super) enum Change {
    Insert { id: TokenId, digest: TokenDigest, row: Vec<u8> },
    Update { id: TokenId, digest: TokenDigest, row: Vec<u8> },
    Delete { id: TokenId, after: AfterDelete },
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// An insertion met a token with its id.
    IdTaken,
    /// An insertion met a token with its digest.
    DigestTaken,
    /// An insertion met a spent digest.
    DigestSpent,
    /// There is no token to update or delete.
    Missing,
}

/// The changes that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Vec<Arc<Waiting>>>,
    turn: Mutex<()>,
}

#[derive(Debug)]
struct Waiting {
    change: Change,
    answer: Mutex<Option<Result<Outcome, StoreError>>>,
}

impl Queue {
    /// Has the change committed, by this thread together with what else waits, or by another thread that
    /// did so meanwhile. `commit` makes all changes that it is given, or none; it must not panic.
    pub(super) fn submit(
        &self,
        change: Change,
        commit: impl FnOnce(&[&Change]) -> Result<Vec<Outcome>, StoreError>,
    ) -> Result<Outcome, StoreError> {
        let own = Arc::new(Waiting { change, answer: Mutex::new(None) });
        self.waiting.lock().push(Arc::clone(&own));
        let _turn = self.turn.lock();
        if let Some(answer) = own.answer.lock().take() {
            return answer;
        }
        let batch: Vec<Arc<Waiting>> = {
            // A thread drains the queue only in its turn, so what has no answer yet is still in it. The
            // changes from before its own are in the batch too, or the batch is full and has its own.
            let mut waiting = self.waiting.lock();
            let own_at = waiting.iter().position(|other| Arc::ptr_eq(other, &own)).unwrap_or(0);
            let start = (own_at + 1).saturating_sub(BATCH_MAX);
            let end = waiting.len().min(start + BATCH_MAX);
            waiting.drain(start..end).collect()
        };
        let changes: Vec<&Change> = batch.iter().map(|waiting| &waiting.change).collect();
        match commit(&changes) {
            Ok(outcomes) => {
                for (waiting, outcome) in batch.iter().zip(outcomes) {
                    *waiting.answer.lock() = Some(Ok(outcome));
                }
            }
            Err(error) => {
                for waiting in &batch {
                    *waiting.answer.lock() = Some(Err(copy(&error)));
                }
            }
        }
        let answer = own.answer.lock().take();
        answer.unwrap_or_else(|| Err(StoreError::Other("a commit left a change without an answer".into())))
    }
}

/// The same error for another of those who waited for one commit.
fn copy(error: &StoreError) -> StoreError {
    match error {
        StoreError::InUse { folder } => StoreError::InUse { folder: folder.clone() },
        StoreError::NewerFormat { path, found, known } => {
            StoreError::NewerFormat { path: path.clone(), found: *found, known: *known }
        }
        StoreError::Corrupt { path, what } => StoreError::Corrupt { path: path.clone(), what: what.clone() },
        StoreError::Denied { path, source } => {
            StoreError::Denied { path: path.clone(), source: copy_io(source) }
        }
        StoreError::Full { path, source } => StoreError::Full { path: path.clone(), source: copy_io(source) },
        StoreError::Io { action, path, source } => {
            StoreError::Io { action, path: path.clone(), source: copy_io(source) }
        }
        StoreError::Other(cause) => StoreError::Other(cause.to_string().into()),
    }
}

fn copy_io(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    fn delete(number: u64) -> Change {
        let id = TokenId::new(TokenId::MIN + number).unwrap();
        Change::Delete { id, after: AfterDelete::ForgetDigest }
    }

    fn number(change: &Change) -> u64 {
        match change {
            Change::Delete { id, .. } => id.get() - TokenId::MIN,
            Change::Insert { .. } | Change::Update { .. } => panic!("only deletions here"),
        }
    }

    /// Even numbers are there, odd ones are missing.
    fn outcome(change: &Change) -> Outcome {
        if number(change).is_multiple_of(2) { Outcome::Done } else { Outcome::Missing }
    }

    #[test]
    fn everyone_gets_the_outcome_of_their_own_change_once() {
        const THREADS: u64 = 8;
        const CHANGES: u64 = 500;
        let (queue, made) = (Queue::default(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (queue, made) = (&queue, &made);
                scope.spawn(move || {
                    for at in 0..CHANGES {
                        let change = delete(thread * CHANGES + at);
                        let expected = outcome(&change);
                        let answer = queue.submit(change, |changes| {
                            made.fetch_add(changes.len(), Ordering::Relaxed);
                            Ok(changes.iter().map(|change| outcome(change)).collect())
                        });
                        assert_eq!(answer.unwrap(), expected);
                    }
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed) as u64, THREADS * CHANGES);
    }

    #[test]
    fn those_who_wait_are_committed_together_in_their_order_and_fail_together() {
        for fails in [false, true] {
            let queue = Queue::default();
            let batches = Mutex::new(Vec::new());
            let commit = &|changes: &[&Change]| {
                batches.lock().push(changes.iter().map(|change| number(change)).collect::<Vec<_>>());
                if fails {
                    let source = io::Error::from_raw_os_error(28);
                    return Err(StoreError::Full { path: "f".into(), source });
                }
                Ok(changes.iter().map(|change| outcome(change)).collect())
            };
            thread::scope(|scope| {
                let queue_ref = &queue;
                let turn = queue.turn.lock();
                let waiters: Vec<_> = (0..5)
                    .map(|at| {
                        let waiter = scope.spawn(move || queue_ref.submit(delete(at), commit));
                        while queue.waiting.lock().len() as u64 <= at {
                            thread::yield_now();
                        }
                        waiter
                    })
                    .collect();
                drop(turn);
                for (at, waiter) in waiters.into_iter().enumerate() {
                    let answer = waiter.join().unwrap();
                    match answer {
                        Ok(answer) => assert_eq!(answer, outcome(&delete(at as u64))),
                        Err(error) => assert!(fails && matches!(error, StoreError::Full { .. }), "{error}"),
                    }
                }
            });
            assert_eq!(batches.into_inner(), [[0, 1, 2, 3, 4]]);
        }
    }

    #[test]
    fn batch_has_a_limit_and_holds_the_change_of_whoever_commits_it() {
        let queue = Queue::default();
        let park = |at: usize| Waiting { change: delete(at as u64), answer: Mutex::new(None) };
        *queue.waiting.lock() = (0..BATCH_MAX + 5).map(|at| Arc::new(park(at))).collect();
        let own = (BATCH_MAX + 6) as u64;
        let answer = queue.submit(delete(own), |changes| {
            assert_eq!((changes.len(), changes.last().map(|change| number(change))), (BATCH_MAX, Some(own)));
            Ok(changes.iter().map(|change| outcome(change)).collect())
        });
        assert_eq!(answer.unwrap(), outcome(&delete(own)));
        assert_eq!(queue.waiting.lock().len(), 6);
    }
}
