//! What a digest is worth that somebody found: the other way round from authentication, and only for who may ask.

use super::{Engine, Permit};
use crate::store::StoreError;
use crate::time::Timestamp;
use crate::token::{SecretState, TokenDigest, TokenId};

/// Digests that one request has looked up, at most.
pub const LOOK_UPS_MAX: usize = 10_000;

/// A secret that is, or was until lately, that of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownSecret {
    /// The token's number.
    pub id: TokenId,
    /// The token's name.
    pub name: String,
    /// What the secret is worth.
    pub state: SecretState,
}

impl Engine {
    /// Whose secret has this digest, and what it is worth; `None` when no token has it or had it lately. A permit is
    /// needed to know.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn look_up(
        &self,
        _permit: &Permit,
        digest: &TokenDigest,
        now: Timestamp,
    ) -> Result<Option<KnownSecret>, StoreError> {
        let Some(id) = self.tokens.id_of(digest) else { return Ok(None) };
        let Some(record) = self.store.get(id)? else { return Ok(None) };
        let Some(state) = SecretState::of(&record, digest, now) else { return Ok(None) };
        let state = match state {
            // A clock that jumps back revives no token that was seen expired.
            SecretState::Live { until: Some(since) } if !self.is_let_in(digest, now) => {
                SecretState::Expired { since }
            }
            SecretState::InGrace { until: since } if !self.is_let_in(digest, now) => {
                SecretState::Former { since }
            }
            state => state,
        };
        Ok(Some(KnownSecret { id, name: record.name, state }))
    }

    fn is_let_in(&self, digest: &TokenDigest, now: Timestamp) -> bool {
        self.tokens.live_id_of(digest, now).is_some()
    }
}
