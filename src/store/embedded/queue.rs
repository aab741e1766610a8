//! Many writers, one commit: whoever comes first commits for all who wait.

use crate::store::usage::TokenUse;
use crate::store::{AfterDelete, Names, StoreError};
use crate::token::{TokenId, TokenRecord};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{self, Thread};

/// The most changes in one commit.
const BATCH_MAX: usize = 512;

/// A change that waits to be committed.
#[derive(Debug)]
pub(super) enum Change {
    Insert { record: Box<TokenRecord>, names: Names },
    Update { before: Box<TokenRecord>, after: Box<TokenRecord>, names: Names },
    Delete { id: TokenId, after: AfterDelete },
    AddUses(Vec<TokenUse>),
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// An insertion met a token with its id.
    IdTaken,
    /// Another token has a digest that this one would have.
    DigestTaken,
    /// A digest that the token would have is spent.
    DigestSpent,
    /// Another token has the name, which must not repeat.
    NameTaken,
    /// There is no token to update or delete.
    Missing,
    /// The token to update is another one by now.
    Conflict,
}

/// The changes that wait, and whether somebody is committing.
#[derive(Debug, Default)]
pub(super) struct Queue {
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Arc<Waiting>>,
    is_led: bool,
}

#[derive(Debug)]
struct Waiting {
    change: Change,
    thread: Thread,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Waiting,
    /// It is this thread's turn to commit for all who wait.
    Leads,
    Answered(Result<Outcome, StoreError>),
}

impl Queue {
    /// Has the change committed, by this thread together with what else waits, or by another thread. Those
    /// who come while a commit is under way share the next one. `commit` makes all changes that it is given,
    /// or none; it must not panic.
    pub(super) fn submit(
        &self,
        change: Change,
        commit: impl FnOnce(&[&Change]) -> Result<Vec<Outcome>, StoreError>,
    ) -> Result<Outcome, StoreError> {
        let own = Arc::new(Waiting { change, thread: thread::current(), state: Mutex::new(State::Waiting) });
        let leads = {
            let mut line = self.line.lock();
            line.waiting.push_back(Arc::clone(&own));
            !std::mem::replace(&mut line.is_led, true)
        };
        if !leads {
            loop {
                match std::mem::replace(&mut *own.state.lock(), State::Waiting) {
                    State::Answered(answer) => return answer,
                    State::Leads => break,
                    State::Waiting => {}
                }
                // May return early, and returns at once when the state changed since it was looked at.
                thread::park();
            }
        }
        self.lead(commit);
        match std::mem::replace(&mut *own.state.lock(), State::Waiting) {
            State::Answered(answer) => answer,
            State::Waiting | State::Leads => {
                Err(StoreError::Other("a commit left a change without an answer".into()))
            }
        }
    }

    /// Commits the front of the line, where this thread's own change stands, and hands the lead on.
    fn lead(&self, commit: impl FnOnce(&[&Change]) -> Result<Vec<Outcome>, StoreError>) {
        let batch: Vec<Arc<Waiting>> = {
            let mut line = self.line.lock();
            let count = line.waiting.len().min(BATCH_MAX);
            line.waiting.drain(..count).collect()
        };
        let changes: Vec<&Change> = batch.iter().map(|waiting| &waiting.change).collect();
        match commit(&changes) {
            Ok(outcomes) => {
                batch
                    .iter()
                    .zip(outcomes)
                    .for_each(|(waiting, outcome)| waiting.tell(State::Answered(Ok(outcome))));
            }
            Err(error) => batch.iter().for_each(|waiting| waiting.tell(State::Answered(Err(copy(&error))))),
        }
        let mut line = self.line.lock();
        match line.waiting.front() {
            Some(next) => next.tell(State::Leads),
            None => line.is_led = false,
        }
    }
}

impl Waiting {
    fn tell(&self, state: State) {
        *self.state.lock() = state;
        self.thread.unpark();
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
    use std::cmp::Ordering;
    use std::sync::atomic::{self, AtomicUsize};

    fn delete(number: u64) -> Change {
        let id = TokenId::new(TokenId::MIN + number).unwrap();
        Change::Delete { id, after: AfterDelete::ForgetDigest }
    }

    fn number(change: &Change) -> u64 {
        match change {
            Change::Delete { id, .. } => id.get() - TokenId::MIN,
            Change::Insert { .. } | Change::Update { .. } | Change::AddUses(_) => {
                panic!("only deletions here")
            }
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
                            made.fetch_add(changes.len(), atomic::Ordering::Relaxed);
                            Ok(changes.iter().map(|change| outcome(change)).collect())
                        });
                        assert_eq!(answer.unwrap(), expected);
                    }
                });
            }
        });
        assert_eq!(made.load(atomic::Ordering::Relaxed) as u64, THREADS * CHANGES);
    }

    #[test]
    fn those_who_come_during_a_commit_share_the_next_and_fail_together() {
        for fails in [false, true] {
            let queue = Queue::default();
            let batches = Mutex::new(Vec::new());
            let note = |changes: &[&Change]| {
                batches.lock().push(changes.iter().map(|change| number(change)).collect::<Vec<_>>());
            };
            let waiting = || queue.line.lock().waiting.len();
            thread::scope(|scope| {
                let (queue, note, waiting) = (&queue, &note, &waiting);
                let first = queue.submit(delete(100), |changes| {
                    note(changes);
                    // While the first commit is under way, five others come.
                    for at in 0..5 {
                        scope.spawn(move || {
                            let answer = queue.submit(delete(at), |changes| {
                                note(changes);
                                if fails {
                                    let source = io::Error::from_raw_os_error(28);
                                    return Err(StoreError::Full { path: "f".into(), source });
                                }
                                Ok(changes.iter().map(|change| outcome(change)).collect())
                            });
                            match answer {
                                Ok(answer) => assert_eq!(answer, outcome(&delete(at))),
                                Err(error) => {
                                    assert!(fails && matches!(error, StoreError::Full { .. }), "{error}");
                                }
                            }
                        });
                        while waiting() as u64 <= at {
                            thread::yield_now();
                        }
                    }
                    Ok(vec![Outcome::Done])
                });
                assert_eq!(first.unwrap(), Outcome::Done);
            });
            assert_eq!(batches.into_inner(), [vec![100], vec![0, 1, 2, 3, 4]]);
            assert!(!queue.line.lock().is_led);
        }
    }

    #[test]
    fn batch_has_a_limit_and_the_rest_is_led_by_its_first() {
        let queue = Queue::default();
        let park = |at: u64| {
            let state = Mutex::new(State::Waiting);
            Arc::new(Waiting { change: delete(at), thread: thread::current(), state })
        };
        let others: Vec<_> = (0..BATCH_MAX as u64 + 4).map(park).collect();
        queue.line.lock().waiting.extend(others.iter().cloned());
        queue.lead(|changes| {
            assert_eq!(changes.len(), BATCH_MAX);
            Ok(changes.iter().map(|change| outcome(change)).collect())
        });
        assert_eq!(queue.line.lock().waiting.len(), 4);
        for (at, other) in others.iter().enumerate() {
            let state = other.state.lock();
            match at.cmp(&BATCH_MAX) {
                Ordering::Less => assert!(matches!(&*state, State::Answered(Ok(_)))),
                Ordering::Equal => assert!(matches!(&*state, State::Leads)),
                Ordering::Greater => assert!(matches!(&*state, State::Waiting)),
            }
        }
    }
}
