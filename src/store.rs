//! Where tokens are kept: one trait, and the stores that pass its one conformance suite.

#[cfg(feature = "embedded")]
pub mod embedded;
mod lent;
pub mod memory;
pub mod page;
pub mod usage;

pub use self::lent::LentToken;

use self::page::{Page, PageQuery};
use self::usage::{TokenUse, Usage};
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
    /// Lends every token to `each`, in no particular order.
    ///
    /// # Errors
    /// When the store cannot be read. `each` may have been called before.
    fn load(&self, each: &mut dyn FnMut(LentToken<'_>)) -> Result<(), StoreError>;

    /// Keeps a new token, unless its id is taken, one of its digests is taken, one of them is spent, or its name is
    /// taken and must not be; that is checked in this order and in one step with the insertion.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn insert(&self, record: &TokenRecord, names: Names) -> Result<Insertion, StoreError>;

    /// Puts `after` in the place of `before`, which has the same id, if `before` is what is kept. Digests that
    /// `after` adds must be free as those of a new token, and its name, if it differs, too.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn update(&self, before: &TokenRecord, after: &TokenRecord, names: Names) -> Result<Update, StoreError>;

    /// Removes a token and its usage; `false` when there is none with this id.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn delete(&self, id: TokenId, after: AfterDelete) -> Result<bool, StoreError>;

    /// The token with this id.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, id: TokenId) -> Result<Option<TokenRecord>, StoreError>;

    /// Some of the tokens, in an order; see [`PageQuery`].
    ///
    /// # Errors
    /// When the store cannot be read.
    fn page(&self, query: &PageQuery) -> Result<Page, StoreError>;

    /// Adds to what is known of the use of tokens. Tokens that are gone are passed over.
    ///
    /// # Errors
    /// When the store cannot be written; then nothing was added.
    fn record_uses(&self, uses: &[TokenUse]) -> Result<(), StoreError>;

    /// What is known of the use of a token; `None` when it was never used, or is gone.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn usage(&self, id: TokenId) -> Result<Option<Usage>, StoreError>;

    /// Whether a token with this digest was deleted for good, so that it is never inserted again.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn is_spent(&self, digest: &TokenDigest) -> Result<bool, StoreError>;

    /// Digests that are spent, in their order by bytes: those after `after`, and `limit` of them at most.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn spent(&self, after: Option<&TokenDigest>, limit: usize) -> Result<Vec<TokenDigest>, StoreError>;

    /// Spends a digest that no token has, as the deletion of its token for good does.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn spend(&self, digest: &TokenDigest) -> Result<Spending, StoreError>;

    /// Makes these changes in their order, each for itself and by the rules of its own method; names may repeat. A store
    /// that commits several at once does so, and this takes a fraction of the time of as many calls.
    fn put_all(&self, puts: &[Put<'_>]) -> Vec<Result<PutOutcome, StoreError>> {
        let put = |put: &Put<'_>| match put {
            Put::Insert(record) => self.insert(record, Names::MayRepeat).map(PutOutcome::Insert),
            Put::Update { before, after } => {
                self.update(before, after, Names::MayRepeat).map(PutOutcome::Update)
            }
            Put::Spend(digest) => self.spend(digest).map(PutOutcome::Spend),
        };
        puts.iter().map(put).collect()
    }
}

/// One of many changes.
#[derive(Clone, Copy, Debug)]
pub enum Put<'a> {
    /// See [`Store::insert`].
    Insert(&'a TokenRecord),
    /// See [`Store::update`].
    Update {
        /// What is kept.
        before: &'a TokenRecord,
        /// What takes its place.
        after: &'a TokenRecord,
    },
    /// See [`Store::spend`].
    Spend(&'a TokenDigest),
}

/// What came of one of many changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum PutOutcome {
    /// Of an insertion.
    Insert(Insertion),
    /// Of an update.
    Update(Update),
    /// Of spending a digest.
    Spend(Spending),
}

/// Whether several tokens may have one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// They may.
    #[default]
    MayRepeat,
    /// The name of the token that is written must be that of no other one.
    Unique,
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
    /// Another token has this name, and it must not: nothing was changed.
    NameTaken,
}

/// What came of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Update {
    /// The token is as it was asked for.
    Done,
    /// There is no token with this id.
    Missing,
    /// The token was changed meanwhile: it is not the one to be replaced, and was left alone.
    Conflict,
    /// A digest that the token would get is taken or spent: nothing was changed.
    DigestTaken,
    /// Another token has the new name, and it must not: nothing was changed.
    NameTaken,
}

/// What came of spending a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Spending {
    /// It is spent from now on.
    Done,
    /// It was spent before.
    Spent,
    /// A token has it: nothing was changed.
    Taken,
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
    #[error("cannot {action} `{}`: {source}{}", path.display(), advice(source))]
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

/// What to do about what the operating system said, where that is known.
fn advice(source: &io::Error) -> &'static str {
    const INPUT_OUTPUT: i32 = 5;
    match source.raw_os_error() {
        Some(INPUT_OUTPUT) => "; the disk fails, or the way to it: the log of the system tells more",
        _ => "",
    }
}
