//! Who a token is, for those who ask what it may do without having it.

use super::{Engine, Permit};
use crate::store::StoreError;
use crate::time::Timestamp;
use crate::token::{Principal, TokenId};
use crate::tokens::Unauthenticated;

impl Engine {
    /// Who would be let in at `now` by the secret of the token with this id, or why nobody would. A permit is needed
    /// to know.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn principal_with(
        &self,
        _permit: &Permit,
        id: TokenId,
        now: Timestamp,
    ) -> Result<Result<Principal, Unauthenticated>, StoreError> {
        let Some(record) = self.store.get(id)? else { return Ok(Err(Unauthenticated::Unknown)) };
        // The index says what it says to whoever brings the secret: it knows more than the record does of tokens
        // that were seen expired.
        Ok(self.tokens.principal_by(&record.digest, now))
    }
}
