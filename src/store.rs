//! Where tokens are kept: one trait, and the stores that pass its one conformance suite.

#[cfg(feature = "embedded")]
pub mod embedded;
pub mod memory;

use crate::token::{TokenDigest, TokenId, TokenRecord};
use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// A place that keeps tokens.
///
/// A call that returned `Ok` is durable: it survives the end of the process and a loss of power, as
/// far as the store has anything durable at all. A call that returned an error has not happened, or,
/// where that cannot be found out any more, has happened whole. Calls block; many threads may call at once.
pub trait Store: fmt::Debug + Send + Sync {
    /// Hands every token to `each`, in no particular order.
    ///
    /// # Errors
    /// When the store cannot be read. `each` may have been called before.
    fn load(&self, each: &mut dyn FnMut(TokenRecord)) -> Result<(), StoreError>;

    /// Keeps a new token, unless its id is taken, its digest is taken, or its digest is spent; that
    /// is checked in this order and in one step with the insertion.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn insert(&self, record: &TokenRecord) -> Result<Insertion, StoreError>;

    /// Replaces the token that has this id and this digest; `false` when there is none.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn update(&self, record: &TokenRecord) -> Result<bool, StoreError>;

    /// Removes a token; `false` when there is none with this id.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn delete(&self, id: TokenId, after: AfterDelete) -> Result<bool, StoreError>;

    /// Whether a token with this digest was deleted for good, so that it is never inserted again.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn is_spent(&self, digest: &TokenDigest) -> Result<bool, StoreError>;
}

/// What came of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Insertion {
    /// The token is kept.
    Inserted,
    /// Another token has this id: nothing was changed.
    IdTaken,
    /// A token with this digest is there already: nothing was changed.
    DigestTaken,
    /// A token with this digest was deleted for good: nothing was changed.
    DigestSpent,
}

/// What becomes of the digest of a deleted token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterDelete {
    /// It is spent: no token with this digest is ever inserted again.
    RefuseDigest,
    /// It is forgotten: the same token may be inserted again.
    ForgetDigest,
}

/// Why a store cannot do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it open.
    #[error(
        "the token store in `{}` is in use: one process at a time may open it; \
         stop the other one, or give this one a data folder of its own",
        folder.display()
    )]
    InUse {
        /// The data folder.
        folder: PathBuf,
    },
    /// A later version of this program wrote it.
    #[error(
        "`{}` has store format {found}, but this version of rolegate reads formats up to {known}: \
         run the version that wrote it; nothing was changed",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format that it has.
        found: u64,
        /// The latest format that this version reads.
        known: u64,
    },
    /// It is damaged, or was never a token store.
    #[error(
        "`{}` is damaged or is no token store: {what}; restore it from a backup, \
         or move it away to start with an empty one; nothing was changed",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The user that runs the program may not write there.
    #[error(
        "`{}` cannot be written: {source}; let the user that runs rolegate write it, \
         or choose another data folder",
        path.display()
    )]
    Denied {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no room left to write.
    #[error("there is no room left for `{}`: {source}; free some space", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried: `create`, `find`, `open`, `read`, `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A cause that only the store itself understands.
    #[error("the token store failed: {0}")]
    Other(#[source] Box<dyn Error + Send + Sync>),
}
