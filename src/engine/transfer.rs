//! Tokens by their digests, out of one installation and into another, or back into the same one.

mod import;
mod apply;

pub use import::{Import, ImportConflict, ImportOutcome, Imported};

use super::change::ChangeError;
use super::commit::By;
use super::{Engine, Permit};
use crate::audit::AuditEvent;
use crate::store::page::{Filter, Order, PAGE_MAX, PageQuery, Position};
use crate::store::{Store, StoreError};
use crate::time::Timestamp;
use crate::token::{TokenDigest, TokenRecord};

/// How many tokens, and how many spent digests, are exported or imported at once.
pub const TRANSFER_MAX: usize = PAGE_MAX;

/// Where an export goes on: first come the tokens, the oldest first, and then the spent digests. A token that
/// nobody touches meanwhile is met exactly once, whatever comes and goes beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportPosition {
    /// Among the tokens; `None` is before all of them.
    Tokens(Option<Position>),
    /// Among the spent digests.
    Spent(Option<TokenDigest>),
}

/// A part of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportPage {
    /// Tokens.
    pub tokens: Vec<TokenRecord>,
    /// Digests of tokens that were deleted for good.
    pub spent: Vec<TokenDigest>,
    /// Where the next part starts; `None` when this is the last.
    pub next: Option<ExportPosition>,
}

impl ExportPosition {
    /// Before everything.
    pub const START: Self = Self::Tokens(None);
}

impl ExportPage {
    /// Reads a part of at most `limit` tokens or digests, and at most [`TRANSFER_MAX`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn read(store: &dyn Store, from: &ExportPosition, limit: usize) -> Result<Self, StoreError> {
        let limit = limit.clamp(1, TRANSFER_MAX);
        match from {
            ExportPosition::Tokens(after) => {
                let (order, filter) = (Order::default(), Filter::default());
                let page = store.page(&PageQuery { order, filter, after: after.clone(), limit })?;
                let tokens = page.tokens.into_iter().map(|listed| listed.record).collect();
                let next = match page.next {
                    Some(position) => ExportPosition::Tokens(Some(position)),
                    None => ExportPosition::Spent(None),
                };
                Ok(Self { tokens, spent: Vec::new(), next: Some(next) })
            }
            ExportPosition::Spent(after) => {
                let spent = store.spent(after.as_ref(), limit)?;
                let is_full = spent.len() >= limit;
                let next = spent.last().filter(|_| is_full).map(|last| ExportPosition::Spent(Some(*last)));
                Ok(Self { tokens: Vec::new(), spent, next })
            }
        }
    }
}

impl Engine {
    /// A part of all tokens with their digests. It is audited before it is given away.
    ///
    /// # Errors
    /// When the request was permitted to nobody in particular, its token is no longer live, and when the store cannot
    /// be read or the audit log not written.
    pub fn export(
        &self,
        permit: &Permit,
        from: &ExportPosition,
        limit: usize,
        now: Timestamp,
    ) -> Result<ExportPage, ChangeError> {
        let by = By { actor: self.changer(permit, now)?, permit: Some(permit), at: now };
        let page = ExportPage::read(&*self.store, from, limit)?;
        self.record_transfer(AuditEvent::TokensExported { count: page.tokens.len() as u64 }, by)?;
        Ok(page)
    }
}
