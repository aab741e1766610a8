//! What is asked of a commit, and what comes of it.

use crate::store::usage::TokenUse;
use crate::store::{AfterDelete, Insertion, Names, Spending, StoreError, Update};
use crate::token::{TokenDigest, TokenId, TokenRecord};
use std::io;

/// A change that waits to be committed.
#[derive(Debug)]
pub(super) enum Change {
    Insert { record: Box<TokenRecord>, names: Names },
    Update { before: Box<TokenRecord>, after: Box<TokenRecord>, names: Names },
    Delete { id: TokenId, after: AfterDelete },
    AddUses(Vec<TokenUse>),
    Spend(TokenDigest),
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// An insertion met a token with its id.
    IdTaken,
    /// Another token has a digest that this one would have.
    DigestTaken,
    /// A digest that the token would have, or that is to be spent, is spent.
    DigestSpent,
    /// Another token has the name, which must not repeat.
    NameTaken,
    /// There is no token to update or delete.
    Missing,
    /// The token to update is another one by now.
    Conflict,
}

impl Change {
    pub(super) fn insertion(record: &TokenRecord, names: Names) -> Self {
        Self::Insert { record: Box::new(record.clone()), names }
    }

    pub(super) fn update(before: &TokenRecord, after: &TokenRecord, names: Names) -> Self {
        Self::Update { before: Box::new(before.clone()), after: Box::new(after.clone()), names }
    }
}

impl Outcome {
    pub(super) fn of_insertion(self) -> Result<Insertion, StoreError> {
        match self {
            Self::Done => Ok(Insertion::Inserted),
            // Only an update meets these.
            Self::Missing | Self::Conflict => {
                Err(StoreError::Other("an insertion was answered as an update is".into()))
            }
            Self::IdTaken => Ok(Insertion::IdTaken),
            Self::DigestTaken => Ok(Insertion::DigestTaken),
            Self::DigestSpent => Ok(Insertion::DigestSpent),
            Self::NameTaken => Ok(Insertion::NameTaken),
        }
    }

    pub(super) const fn of_update(self) -> Update {
        match self {
            Self::Done => Update::Done,
            Self::Missing | Self::IdTaken => Update::Missing,
            Self::Conflict => Update::Conflict,
            Self::DigestTaken | Self::DigestSpent => Update::DigestTaken,
            Self::NameTaken => Update::NameTaken,
        }
    }

    pub(super) const fn of_spending(self) -> Spending {
        match self {
            Self::DigestTaken => Spending::Taken,
            Self::DigestSpent => Spending::Spent,
            _ => Spending::Done,
        }
    }
}

/// The same error for another of those who waited for one commit.
pub(super) fn copy(error: &StoreError) -> StoreError {
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
