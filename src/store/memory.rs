//! A store that forgets everything when it is dropped: for tests, and for programs that keep tokens elsewhere.

use super::{AfterDelete, Insertion, Store, StoreError};
use crate::token::{TokenDigest, TokenId, TokenRecord};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Tokens in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    tokens: BTreeMap<TokenId, TokenRecord>,
    ids: HashMap<TokenDigest, TokenId>,
    spent: HashSet<TokenDigest>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn load(&self, each: &mut dyn FnMut(TokenRecord)) -> Result<(), StoreError> {
        // Copied first, so that `each` may call the store.
        let tokens: Vec<TokenRecord> = self.rows.lock().tokens.values().cloned().collect();
        tokens.into_iter().for_each(each);
        Ok(())
    }

    fn insert(&self, record: &TokenRecord) -> Result<Insertion, StoreError> {
        let rows = &mut *self.rows.lock();
        if rows.tokens.contains_key(&record.id) {
            return Ok(Insertion::IdTaken);
        }
        if rows.ids.contains_key(&record.digest) {
            return Ok(Insertion::DigestTaken);
        }
        if rows.spent.contains(&record.digest) {
            return Ok(Insertion::DigestSpent);
        }
        rows.ids.insert(record.digest, record.id);
        rows.tokens.insert(record.id, record.clone());
        Ok(Insertion::Inserted)
    }

    fn update(&self, record: &TokenRecord) -> Result<bool, StoreError> {
        let rows = &mut *self.rows.lock();
        match rows.tokens.get_mut(&record.id) {
            Some(kept) if kept.digest == record.digest => {
                *kept = record.clone();
                Ok(true)
            }
            Some(_) | None => Ok(false),
        }
    }

    fn delete(&self, id: TokenId, after: AfterDelete) -> Result<bool, StoreError> {
        let rows = &mut *self.rows.lock();
        let Some(record) = rows.tokens.remove(&id) else { return Ok(false) };
        rows.ids.remove(&record.digest);
        match after {
            AfterDelete::RefuseDigest => rows.spent.insert(record.digest),
            AfterDelete::ForgetDigest => false,
        };
        Ok(true)
    }

    fn is_spent(&self, digest: &TokenDigest) -> Result<bool, StoreError> {
        Ok(self.rows.lock().spent.contains(digest))
    }
}
