//! The use of tokens: written down in batches, and told.

use super::{Engine, Permit, ReadError};
use crate::privilege::{Privilege, privileges};
use crate::store::StoreError;
use crate::store::page::Listed;
use crate::token::TokenId;

/// The most tokens whose use is written in one transaction: changes that come meanwhile wait for no more than that.
const BATCH_TOKENS: usize = 5_000;

impl Engine {
    /// Writes down all uses that wait, and tells of how many tokens. When this returns, those are written as well that
    /// somebody else was writing. Whoever runs an engine calls this now and then:
    /// what was not written when the process dies is lost.
    ///
    /// # Errors
    /// When the store cannot be written. What was not written waits on.
    pub fn flush_uses(&self) -> Result<usize, StoreError> {
        let _one_at_a_time = self.writing_uses.lock();
        let mut uses = self.uses.take();
        let count = uses.len();
        while !uses.is_empty() {
            let rest = uses.split_off(uses.len().min(BATCH_TOKENS));
            if let Err(error) = self.store.record_uses(&uses) {
                self.uses.put_back(uses);
                self.uses.put_back(rest);
                return Err(error);
            }
            uses = rest;
        }
        Ok(count)
    }

    /// Of how many pairs of a token and a rule a use waits to be written.
    pub fn uses_waiting(&self) -> usize {
        self.uses.waiting()
    }

    /// How many uses were lost since the start, because too many waited.
    pub fn uses_lost(&self) -> u64 {
        self.uses.lost()
    }

    /// A token and its use up to this moment. A permit is needed to see it.
    ///
    /// # Errors
    /// When there is no such token, or the store cannot be read.
    pub fn get(&self, _permit: &Permit, id: TokenId) -> Result<Listed, ReadError> {
        let record = self.store.get(id)?.ok_or(ReadError::Unknown(id))?;
        let mut listed = Listed { record, usage: self.store.usage(id)? };
        self.uses.add_to(std::slice::from_mut(&mut listed));
        Ok(listed)
    }

    /// What the roles of a token give it by the policies that decide now, and what of that it used up to this moment.
    ///
    /// # Errors
    /// When there is no such token, or the store cannot be read.
    pub fn privileges(&self, permit: &Permit, id: TokenId) -> Result<(Listed, Vec<Privilege>), ReadError> {
        let listed = self.get(permit, id)?;
        let privileges = privileges(&self.policies(), &listed.record.roles, listed.usage.as_ref());
        Ok((listed, privileges))
    }
}
