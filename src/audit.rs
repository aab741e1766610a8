//! Who changed which token: an entry is written before the change is made, or the change is not made.
//!
//! The order is: the entry is written and synced, the store commits, the caller is answered. When the
//! commit fails after its entry was written, a [`AuditEvent::ChangeFailed`] entry follows.

mod best_effort;
mod denials;
mod event;
#[cfg(feature = "server")]
pub mod file;

pub use best_effort::{BestEffort, Loss};
pub use denials::{DENIALS_AT_ONCE, DENIALS_EVERY, DENIED_TOKENS_MAX};
pub(crate) use denials::{Denials, LeftOut};
pub use event::{AuditEvent, AuditOutcome, Change};

use crate::time::Timestamp;
use crate::token::{Principal, PrincipalId, TokenId};
use parking_lot::Mutex;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// A place that takes audit entries.
pub trait Audit: fmt::Debug + Send + Sync {
    /// Writes one entry. When this returns `Ok`, the entry survives the end of the process.
    ///
    /// # Errors
    /// When the entry is not written for certain. The change that it tells of must not be made.
    fn record(&self, entry: &AuditEntry<'_>) -> Result<(), AuditError>;

    /// Writes several entries in their order. The answer of each says whether it is on disk, as that of
    /// [`record`](Self::record) does.
    fn record_all(&self, entries: &[AuditEntry<'_>]) -> Vec<Result<(), AuditError>> {
        entries.iter().map(|entry| self.record(entry)).collect()
    }

    /// Goes on at its own place, when what it writes to was moved away, and tells whether it was. A log that
    /// cannot be moved has nothing to do.
    ///
    /// # Errors
    /// When it cannot go on there.
    fn reopen(&self) -> Result<bool, AuditError> {
        Ok(false)
    }
}

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub struct AuditEntry<'a> {
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub actor: Actor<'a>,
    /// What it is.
    pub event: AuditEvent<'a>,
    /// Where the request came from, if it was one.
    pub client_ip: Option<IpAddr>,
    /// The request's id, if it was one.
    pub request_id: Option<&'a str>,
}

/// Who did something.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Actor<'a> {
    /// The holder of a live token, or whom an authenticator of the program knows.
    Principal(&'a Principal),
    /// The program itself: at its start, or on its operator's command.
    Program,
}

/// Why an entry is not written for certain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The operating system refused.
    #[error("cannot {action} the audit log `{}`: {source}; make room for it, or let the user that runs rolegate write it", path.display())]
    Io {
        /// What was tried: `open`, `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process writes to it.
    #[error("the audit log `{}` is in use: one process at a time may write it", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("`{}` is no audit log of rolegate: {what}; move it away to start a new one", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// The entry is longer than any may be.
    #[error("the audit entry has {length} bytes, but at most {limit} are allowed: shorten the names in it")]
    TooLong {
        /// The length of the entry in bytes.
        length: usize,
        /// The most bytes that an entry may have.
        limit: usize,
    },
    /// A cause that only the audit log itself understands.
    #[error("the audit log failed: {0}")]
    Other(#[source] Box<dyn Error + Send + Sync>),
}

/// An audit log in memory: for tests, and for programs that keep their own.
#[derive(Debug, Default)]
pub struct MemoryAudit {
    entries: Mutex<Vec<Recorded>>,
}

/// What [`MemoryAudit`] keeps of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// When it happened.
    pub at: Timestamp,
    /// Who did it; `None` when the program did.
    pub actor: Option<PrincipalId>,
    /// What happened, by [`AuditEvent::name`].
    pub event: &'static str,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// The token that it happened to.
    pub token: Option<TokenId>,
    /// Where the request came from.
    pub client_ip: Option<IpAddr>,
    /// The request's id.
    pub request_id: Option<String>,
}

impl<A: Audit + ?Sized> Audit for Arc<A> {
    fn record(&self, entry: &AuditEntry<'_>) -> Result<(), AuditError> {
        (**self).record(entry)
    }

    fn record_all(&self, entries: &[AuditEntry<'_>]) -> Vec<Result<(), AuditError>> {
        (**self).record_all(entries)
    }

    fn reopen(&self) -> Result<bool, AuditError> {
        (**self).reopen()
    }
}

impl<A: Audit + ?Sized> Audit for Box<A> {
    fn record(&self, entry: &AuditEntry<'_>) -> Result<(), AuditError> {
        (**self).record(entry)
    }

    fn record_all(&self, entries: &[AuditEntry<'_>]) -> Vec<Result<(), AuditError>> {
        (**self).record_all(entries)
    }

    fn reopen(&self) -> Result<bool, AuditError> {
        (**self).reopen()
    }
}

impl MemoryAudit {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// All that was recorded, the oldest first.
    pub fn entries(&self) -> Vec<Recorded> {
        self.entries.lock().clone()
    }
}

impl Audit for MemoryAudit {
    fn record(&self, entry: &AuditEntry<'_>) -> Result<(), AuditError> {
        self.entries.lock().push(Recorded {
            at: entry.at,
            actor: match entry.actor {
                Actor::Principal(principal) => Some(principal.id.clone()),
                Actor::Program => None,
            },
            event: entry.event.name(),
            outcome: entry.event.outcome(),
            token: entry.event.token_id(),
            client_ip: entry.client_ip,
            request_id: entry.request_id.map(str::to_owned),
        });
        Ok(())
    }
}
