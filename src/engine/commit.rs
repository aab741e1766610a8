//! The one way to change a token: audited, then stored, then in force.

use super::{Engine, Permit};
use crate::audit::{Actor, AuditEntry, AuditError, AuditEvent, Change};
use crate::bootstrap::Step;
use crate::store::{Insertion, Names, StoreError, Update};
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
        let facts = by.permit.map(|permit| &permit.facts);
        self.audit.record(&AuditEntry {
            at: by.at,
            actor: by.actor,
            event,
            client_ip: facts.and_then(|facts| facts.client_ip),
            request_id: facts.and_then(|facts| facts.request_id.as_deref()),
        })
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
