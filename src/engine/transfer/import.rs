//! What is imported, and what comes of it.

use super::super::change::ChangeError;
use crate::token::{TokenDigest, TokenId, TokenRecord};

/// What is to be imported.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// Tokens as they are to be.
    pub tokens: Vec<TokenRecord>,
    /// Digests that no token may ever have again.
    pub spent: Vec<TokenDigest>,
    /// Whether a token that is kept otherwise is replaced; it is left alone when not.
    pub replaces: bool,
    /// Whether nothing is to be changed, and only told what would be.
    pub is_dry_run: bool,
}

/// What came of an import, in its order.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Imported {
    /// Of the tokens.
    pub tokens: Vec<ImportOutcome>,
    /// Of the spent digests.
    pub spent: Vec<ImportOutcome>,
}

/// What came of one token or digest; in a dry run, what would.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImportOutcome {
    /// It was not there, and is now.
    Created,
    /// It was there otherwise, and is now as it was asked for.
    Replaced,
    /// It was there as it was asked for.
    Unchanged,
    /// It was left alone.
    Conflict(ImportConflict),
}

/// Why a token is left alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportConflict {
    /// The token with this id is another one here.
    #[error("the token is kept with other content ({})", fields.join(", "))]
    Differs {
        /// What differs.
        fields: Vec<&'static str>,
    },
    /// The import has a token with this id before this one.
    #[error("the import has the token twice")]
    Twice,
    /// Another token has the secret, here or earlier in the import.
    #[error("the token {by} has the same secret")]
    DigestTaken {
        /// That token.
        by: TokenId,
    },
    /// A token with this secret was deleted for good.
    #[error("a token with this secret was deleted here for good")]
    DigestSpent,
    /// Somebody else changed the token again and again.
    #[error("the token was changed by somebody else at the same moment")]
    Busy,
    /// No token may be so, or not by this request.
    #[error(transparent)]
    Refused(ChangeError),
}

impl Imported {
    /// How many tokens and digests changed, or would.
    pub fn changes(&self) -> usize {
        let all = self.tokens.iter().chain(&self.spent);
        all.filter(|outcome| matches!(outcome, ImportOutcome::Created | ImportOutcome::Replaced)).count()
    }
}

impl ImportOutcome {
    /// The name of the outcome.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
            Self::Conflict(_) => "conflict",
        }
    }
}
