//! The one way to change a token: audited, then stored, then in force.

use super::{Engine, Permit};
use crate::audit::{Actor, AuditEntry, AuditError, AuditEvent, Change};
use crate::bootstrap::Step;
use crate::store::{Insertion, Names, Put, PutOutcome, Spending, StoreError, Update};
use crate::time::Timestamp;

/// Who changes a token, by which permit, and when.
#[derive(Clone, Copy)]
pub(super) struct By<'a> {
    pub(super) actor: Actor<'a>,
    pub(super) permit: Option<&'a Permit>,
    pub(super) at: Timestamp,
}

/// What became of a change that the store did not fail at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    Done,
    IdTaken,
    DigestTaken,
    DigestSpent,
    NameTaken,
    Conflict,
    Gone,
}

/// Why a change is not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// It cannot be audited.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// It cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// The one way to change a token: entry, store, index. An entry whose change did not happen is followed
    /// by one that says so.
    pub(super) fn commit(&self, step: &Step, names: Names, by: By<'_>) -> Result<Changed, CommitError> {
        let (event, change, token) = match step {
            Step::Create(record) => (AuditEvent::TokenCreated(record), Change::Create, record),
            Step::Update { before, after } => {
                let (event, change) = AuditEvent::of_update(before, after);
                (event, change, &**after)
            }
            Step::Delete(record, _) => (AuditEvent::TokenDeleted(record), Change::Delete, record),
        };
        self.record(event, by)?;
        let stored = match step {
            Step::Create(record) => self.store.insert(record, names).map(Changed::from),
            Step::Update { before, after } => self.store.update(before, after, names).map(Changed::from),
            Step::Delete(record, after) => self.store.delete(record.id, *after).map(Changed::of_existing),
        };
        match (&stored, step) {
            (Ok(Changed::Done), Step::Create(record)) => self.tokens.insert(record),
            (Ok(Changed::Done), Step::Update { before, after }) => {
                self.tokens.update(before, after);
            }
            (Ok(Changed::Done | Changed::Gone), Step::Delete(record, _)) => {
                self.tokens.remove(record);
            }
            (Ok(_) | Err(_), _) => {}
        }
        let outcome = match stored {
            Ok(outcome) => outcome,
            Err(error) => {
                self.follow_store(step);
                let reason = &error.to_string();
                // That the store failed is what the caller must know, whether this entry gets written or not.
                let _ = self.record(AuditEvent::ChangeFailed { change, token, reason }, by);
                return Err(error.into());
            }
        };
        if outcome != Changed::Done {
            self.record(AuditEvent::ChangeFailed { change, token, reason: outcome.reason() }, by)?;
        }
        Ok(outcome)
    }

    /// Makes many changes by the same way, one step for all of them after the other: all entries, under one that tells of
    /// them all, then the store, then the index. Gives what became of each.
    ///
    /// The first error is given when all others have ended: each of the others was made, or has an entry that says that
    /// it was not.
    pub(super) fn commit_all(
        &self,
        heading: AuditEvent<'_>,
        puts: &[Put<'_>],
        by: By<'_>,
    ) -> Result<Vec<Changed>, CommitError> {
        self.record_puts(heading, puts, by)?;
        let stored = self.store.put_all(puts);
        let mut failed = Vec::new();
        let outcomes: Vec<_> = puts
            .iter()
            .zip(stored)
            .map(|(put, stored)| {
                let stored = stored.map(Changed::from);
                match &stored {
                    Ok(Changed::Done) => self.put_in_force(put),
                    Ok(outcome) => failed.push((put, outcome.reason().to_owned())),
                    Err(error) => {
                        self.follow_put(put);
                        failed.push((put, error.to_string()));
                    }
                }
                stored
            })
            .collect();
        let told = self.record_failed(failed.iter().map(|(put, reason)| (*put, reason.as_str())), by);
        let outcomes = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
        told?;
        Ok(outcomes)
    }

    /// Writes the entries of many changes. When one cannot be written, no change is made.
    fn record_puts(&self, heading: AuditEvent<'_>, puts: &[Put<'_>], by: By<'_>) -> Result<(), CommitError> {
        let events = std::iter::once(heading).chain(puts.iter().map(|put| match *put {
            Put::Insert(record) => AuditEvent::TokenCreated(record),
            Put::Update { before, after } => AuditEvent::of_update(before, after).0,
            Put::Spend(digest) => AuditEvent::DigestSpent(digest),
        }));
        let entries: Vec<_> = events.map(|event| by.entry(event)).collect();
        let mut written = self.audit.record_all(&entries).into_iter();
        let (heading, written) = (written.next(), written.collect::<Vec<_>>());
        let (is_whole, reason) =
            (heading.as_ref().is_some_and(Result::is_ok), "another entry cannot be written");
        if is_whole && written.len() == puts.len() && written.iter().all(Result::is_ok) {
            return Ok(());
        }
        let told = puts.iter().zip(&written).filter(|(_, written)| written.is_ok());
        // That the log failed is what the caller must know, whether these entries get written or not.
        let _ = self.record_failed(told.map(|(put, _)| (put, reason)), by);
        let error = heading.into_iter().chain(written).find_map(Result::err);
        Err(error.unwrap_or_else(|| AuditError::Other("an entry got no answer".into())).into())
    }

    /// Writes that changes were not made which an entry told of.
    fn record_failed<'p>(
        &self,
        failed: impl Iterator<Item = (&'p Put<'p>, &'p str)>,
        by: By<'_>,
    ) -> Result<(), AuditError> {
        let entries: Vec<_> = failed
            .map(|(put, reason)| {
                by.entry(match *put {
                    Put::Insert(token) => AuditEvent::ChangeFailed { change: Change::Create, token, reason },
                    Put::Update { before, after: token } => {
                        let change = AuditEvent::of_update(before, token).1;
                        AuditEvent::ChangeFailed { change, token, reason }
                    }
                    Put::Spend(digest) => AuditEvent::SpendFailed { digest, reason },
                })
            })
            .collect();
        self.audit.record_all(&entries).into_iter().collect()
    }

    fn put_in_force(&self, put: &Put<'_>) {
        match put {
            Put::Insert(record) => self.tokens.insert(record),
            Put::Update { before, after } => {
                self.tokens.update(before, after);
            }
            Put::Spend(_) => {}
        }
    }

    /// As [`follow_store`](Self::follow_store), for one of many changes.
    fn follow_put(&self, put: &Put<'_>) {
        if let Put::Insert(after) | Put::Update { after, .. } = put
            && self.store.get(after.id).is_ok_and(|kept| kept.as_ref() == Some(*after))
        {
            self.put_in_force(put);
        }
    }

    /// Records that tokens go out or come in.
    pub(super) fn record_transfer(&self, event: AuditEvent<'_>, by: By<'_>) -> Result<(), CommitError> {
        Ok(self.record(event, by)?)
    }

    /// A change that failed may have happened all the same, where the store cannot find out any more. Then memory must
    /// not say otherwise: who is gone by the store would be let in until the next start.
    fn follow_store(&self, step: &Step) {
        let id = match step {
            Step::Create(record) | Step::Delete(record, _) => record.id,
            Step::Update { after, .. } => after.id,
        };
        let Ok(kept) = self.store.get(id) else { return };
        match (step, kept) {
            (Step::Create(record), Some(kept)) if kept == *record => self.tokens.insert(record),
            (Step::Update { before, after }, Some(kept)) if kept == **after => {
                self.tokens.update(before, after);
            }
            (Step::Delete(record, _), None) => {
                self.tokens.remove(record);
            }
            (Step::Create(_) | Step::Update { .. } | Step::Delete(..), _) => {}
        }
    }

    fn record(&self, event: AuditEvent<'_>, by: By<'_>) -> Result<(), AuditError> {
        self.audit.record(&by.entry(event))
    }
}

impl<'a> By<'a> {
    fn entry<'e>(&'e self, event: AuditEvent<'e>) -> AuditEntry<'e>
    where
        'a: 'e,
    {
        let facts = self.permit.map(|permit| &permit.facts);
        AuditEntry {
            at: self.at,
            actor: self.actor,
            event,
            client_ip: facts.and_then(|facts| facts.client_ip),
            request_id: facts.and_then(|facts| facts.request_id.as_deref()),
        }
    }
}

impl Changed {
    const fn of_existing(existed: bool) -> Self {
        if existed { Self::Done } else { Self::Gone }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Done => "it was made",
            Self::IdTaken => "the id is taken",
            Self::DigestTaken => "another process created the token at the same moment",
            Self::DigestSpent => "the token was deleted before",
            Self::NameTaken => "another token has the name",
            Self::Conflict => "the token was changed meanwhile",
            Self::Gone => "the token is gone",
        }
    }
}

impl From<Insertion> for Changed {
    fn from(insertion: Insertion) -> Self {
        match insertion {
            Insertion::Inserted => Self::Done,
            Insertion::IdTaken => Self::IdTaken,
            Insertion::DigestTaken => Self::DigestTaken,
            Insertion::DigestSpent => Self::DigestSpent,
            Insertion::NameTaken => Self::NameTaken,
        }
    }
}

impl From<Update> for Changed {
    fn from(update: Update) -> Self {
        match update {
            Update::Done => Self::Done,
            Update::Missing => Self::Gone,
            Update::Conflict => Self::Conflict,
            Update::DigestTaken => Self::DigestTaken,
            Update::NameTaken => Self::NameTaken,
        }
    }
}

impl From<Spending> for Changed {
    fn from(spending: Spending) -> Self {
        match spending {
            Spending::Done => Self::Done,
            Spending::Spent => Self::DigestSpent,
            Spending::Taken => Self::DigestTaken,
        }
    }
}

impl From<PutOutcome> for Changed {
    fn from(outcome: PutOutcome) -> Self {
        match outcome {
            PutOutcome::Insert(insertion) => insertion.into(),
            PutOutcome::Update(update) => update.into(),
            PutOutcome::Spend(spending) => spending.into(),
        }
    }
}
