//! What a check of a store found, and what a repair would cost.

use crate::token::TokenId;

/// The most faults, and the most lost tokens, that are told one by one. The rest is counted.
pub const FINDINGS_MAX: usize = 10_000;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The format of the store; `None` when that cannot be read.
    pub format: Option<u64>,
    /// Tokens that can be read.
    pub tokens: u64,
    /// Tokens of which a use is known.
    pub used: u64,
    /// Digests of tokens that were deleted for good.
    pub spent: u64,
    /// What is wrong, at most [`FINDINGS_MAX`]. Empty when the store is whole.
    pub faults: Vec<Fault>,
    /// Further faults.
    pub further_faults: u64,
    /// Tokens that a repair leaves out, at most [`FINDINGS_MAX`].
    pub lost: Vec<LostToken>,
    /// Further tokens that a repair leaves out. Nothing is known of them.
    pub further_lost: u64,
    /// Spent digests that cannot be read: a repair forgets them.
    pub spent_lost: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub at: String,
    /// What.
    pub what: String,
    /// What a repair does about it.
    pub remedy: Remedy,
}

/// What a repair does about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It is mended, and nothing is lost by it.
    Mended,
    /// It is mended by leaving out what cannot be trusted.
    LeftOut,
    /// There is none: only a backup helps.
    None,
}

/// A token that a repair leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostToken {
    /// Its number, as far as it is known.
    pub id: TokenId,
    /// The start of its digest, by which logs name it; `None` where that is unknown.
    pub fingerprint: Option<String>,
    /// Why.
    pub why: &'static str,
}

impl Findings {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether a repair can make a store of it.
    pub fn can_be_repaired(&self) -> bool {
        self.faults.iter().all(|fault| fault.remedy != Remedy::None)
    }

    /// How many tokens a repair leaves out.
    pub fn lost_tokens(&self) -> u64 {
        u64::try_from(self.lost.len()).unwrap_or(u64::MAX).saturating_add(self.further_lost)
    }

    pub(super) fn add(&mut self, at: impl Into<String>, what: impl Into<String>, remedy: Remedy) {
        if self.faults.len() < FINDINGS_MAX {
            self.faults.push(Fault { at: at.into(), what: what.into(), remedy });
        } else {
            self.further_faults += 1;
        }
    }

    pub(super) fn lose(&mut self, lost: LostToken) {
        if self.lost.len() < FINDINGS_MAX {
            self.lost.push(lost);
        } else {
            self.further_lost += 1;
        }
    }
}
