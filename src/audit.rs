//! Who changed which token: an entry is written before the change is made, or the change is not made.
//!
//! The order is: the entry is written and synced, the store commits, the caller is answered. When the
//! commit fails after its entry was written, a [`AuditEvent::ChangeFailed`] entry follows.

#[cfg(feature = "server")]
pub mod file;

use crate::decision::PolicyVersion;
use crate::time::Timestamp;
use crate::token::{Principal, TokenId, TokenRecord};
use parking_lot::Mutex;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// A place that takes audit entries.
pub trait Audit: fmt::Debug + Send + Sync {
    /// Writes one entry. When this returns `Ok`, the entry survives the end of the process.
    ///
    /// # Errors
    /// When the entry is not written for certain. The change that it tells of must not be made.
    fn record(&self, entry: &AuditEntry<'_>) -> Result<(), AuditError>;
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
pub enum Actor<'a> {
    /// The holder of a live token.
    Principal(&'a Principal),
    /// The program itself: at its start, or on its operator's command.
    Program,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum AuditEvent<'a> {
    /// The program started, with these policies.
    Started {
        /// Which policies decide from now on.
        policy: PolicyVersion,
    },
    /// A token is about to be created.
    TokenCreated(&'a TokenRecord),
    /// A token is about to be changed.
    TokenUpdated {
        /// As it was.
        before: &'a TokenRecord,
        /// As it will be.
        after: &'a TokenRecord,
    },
    /// A token is about to be deleted.
    TokenDeleted(&'a TokenRecord),
    /// A change that the entry before told of did not happen.
    ChangeFailed {
        /// Which kind of change.
        change: Change,
        /// The token that it was about.
        token: &'a TokenRecord,
        /// Why it did not happen.
        reason: &'a str,
    },
    /// Other policies are about to decide.
    PoliciesReplaced {
        /// Which policies decided until now.
        before: PolicyVersion,
        /// Which decide from now on.
        after: PolicyVersion,
    },
    /// A live token was refused a call to the token API.
    AdminDenied {
        /// The method of the call.
        method: &'a str,
        /// Its canonical path, without the query.
        path: &'a str,
    },
}

/// The kinds of change to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is created.
    Create,
    /// Its name, roles or expiry change.
    Update,
    /// It is deleted.
    Delete,
}

/// Why an entry is not written for certain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The operating system refused.
    #[error("cannot {action} the audit log `{}`: {source}; no token is changed until it can be written", path.display())]
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
pub struct Recorded {
    /// When it happened.
    pub at: Timestamp,
    /// The id of the token by which it was done; `None` when the program did it.
    pub actor: Option<TokenId>,
    /// What happened, by [`AuditEvent::name`].
    pub event: &'static str,
    /// The token that it happened to.
    pub token: Option<TokenId>,
    /// Where the request came from.
    pub client_ip: Option<IpAddr>,
    /// The request's id.
    pub request_id: Option<String>,
}

impl AuditEvent<'_> {
    /// The name of the event as the log has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::TokenCreated(_) => "token_created",
            Self::TokenUpdated { .. } => "token_updated",
            Self::TokenDeleted(_) => "token_deleted",
            Self::ChangeFailed { .. } => "change_failed",
            Self::PoliciesReplaced { .. } => "policies_replaced",
            Self::AdminDenied { .. } => "admin_denied",
        }
    }

    /// The token that the event is about, as it is after the event.
    pub const fn token(&self) -> Option<&TokenRecord> {
        match self {
            Self::TokenCreated(token) | Self::TokenDeleted(token) => Some(token),
            Self::TokenUpdated { after, .. } => Some(after),
            Self::ChangeFailed { token, .. } => Some(token),
            Self::Started { .. } | Self::PoliciesReplaced { .. } | Self::AdminDenied { .. } => None,
        }
    }
}

impl Change {
    /// The name of the change as the log has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
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
                Actor::Principal(principal) => Some(principal.id),
                Actor::Program => None,
            },
            event: entry.event.name(),
            token: entry.event.token().map(|token| token.id),
            client_ip: entry.client_ip,
            request_id: entry.request_id.map(str::to_owned),
        });
        Ok(())
    }
}
