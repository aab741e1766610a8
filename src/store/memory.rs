//! A store that forgets everything when it is dropped: for tests, and for programs that keep tokens elsewhere.

use super::page::{Page, PageQuery, Position};
use super::usage::{TokenUse, Usage};
use super::{AfterDelete, Insertion, LentToken, Names, Spending, Store, StoreError, Update};
use crate::token::{TokenDigest, TokenId, TokenRecord};
use parking_lot::Mutex;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Tokens in memory. A page looks at all of them.
#[derive(Debug, Default)]
pub struct MemoryStore {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    tokens: BTreeMap<TokenId, TokenRecord>,
    ids: HashMap<TokenDigest, TokenId>,
    spent: HashSet<TokenDigest>,
    usage: HashMap<TokenId, Usage>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn load(&self, each: &mut dyn FnMut(LentToken<'_>)) -> Result<(), StoreError> {
        // Copied first, so that `each` may call the store.
        let tokens: Vec<TokenRecord> = self.rows.lock().tokens.values().cloned().collect();
        tokens.iter().map(LentToken::from).for_each(each);
        Ok(())
    }

    fn insert(&self, record: &TokenRecord, names: Names) -> Result<Insertion, StoreError> {
        let rows = &mut *self.rows.lock();
        if rows.tokens.contains_key(&record.id) {
            return Ok(Insertion::IdTaken);
        }
        if record.digests().any(|digest| rows.ids.contains_key(&digest)) {
            return Ok(Insertion::DigestTaken);
        }
        if record.digests().any(|digest| rows.spent.contains(&digest)) {
            return Ok(Insertion::DigestSpent);
        }
        if names == Names::Unique && rows.has_name(&record.name, record.id) {
            return Ok(Insertion::NameTaken);
        }
        rows.put(record);
        Ok(Insertion::Inserted)
    }

    fn update(&self, before: &TokenRecord, after: &TokenRecord, names: Names) -> Result<Update, StoreError> {
        let rows = &mut *self.rows.lock();
        match rows.tokens.get(&after.id) {
            None => return Ok(Update::Missing),
            Some(kept) if kept != before => return Ok(Update::Conflict),
            Some(_) => {}
        }
        let is_free = |digest: &TokenDigest| {
            rows.ids.get(digest).is_none_or(|id| *id == after.id) && !rows.spent.contains(digest)
        };
        if !after.digests().all(|digest| is_free(&digest)) {
            return Ok(Update::DigestTaken);
        }
        let is_renamed = before.name != after.name;
        if is_renamed && names == Names::Unique && rows.has_name(&after.name, after.id) {
            return Ok(Update::NameTaken);
        }
        for digest in before.digests() {
            rows.ids.remove(&digest);
        }
        rows.put(after);
        Ok(Update::Done)
    }

    fn delete(&self, id: TokenId, after: AfterDelete) -> Result<bool, StoreError> {
        let rows = &mut *self.rows.lock();
        let Some(record) = rows.tokens.remove(&id) else { return Ok(false) };
        rows.usage.remove(&id);
        for digest in record.digests() {
            rows.ids.remove(&digest);
            if after == AfterDelete::RefuseDigest {
                rows.spent.insert(digest);
            }
        }
        Ok(true)
    }

    fn get(&self, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        Ok(self.rows.lock().tokens.get(&id).cloned())
    }

    fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        let rows = self.rows.lock();
        let placed = rows.tokens.values().map(|record| (query.order.position(record), record));
        let is_after = |position: &Position| {
            query.after.as_ref().is_none_or(|after| query.order.compare(position, after) == Ordering::Greater)
        };
        let mut placed: Vec<_> = placed.filter(|(position, _)| is_after(position)).collect();
        placed.sort_by(|(one, _), (other, _)| query.order.compare(one, other));
        let records = placed.into_iter().map(|(_, record)| Ok(record.clone()));
        Page::gather(query, records, |id| Ok(rows.usage.get(&id).cloned()))
    }

    fn record_uses(&self, uses: &[TokenUse]) -> Result<(), StoreError> {
        let rows = &mut *self.rows.lock();
        for TokenUse { id, usage } in uses.iter().filter(|it| rows.tokens.contains_key(&it.id)) {
            let sum = match rows.usage.remove(id) {
                Some(kept) => kept.plus(usage),
                None => usage.clone(),
            };
            rows.usage.insert(*id, sum);
        }
        Ok(())
    }

    fn usage(&self, id: TokenId) -> Result<Option<Usage>, StoreError> {
        Ok(self.rows.lock().usage.get(&id).cloned())
    }

    fn is_spent(&self, digest: &TokenDigest) -> Result<bool, StoreError> {
        Ok(self.rows.lock().spent.contains(digest))
    }

    fn spent(&self, after: Option<&TokenDigest>, limit: usize) -> Result<Vec<TokenDigest>, StoreError> {
        let mut spent: Vec<TokenDigest> = self.rows.lock().spent.iter().copied().collect();
        spent.retain(|digest| after.is_none_or(|after| digest.as_bytes() > after.as_bytes()));
        spent.sort_unstable_by_key(|digest| *digest.as_bytes());
        spent.truncate(limit);
        Ok(spent)
    }

    fn spend(&self, digest: &TokenDigest) -> Result<Spending, StoreError> {
        let rows = &mut *self.rows.lock();
        if rows.ids.contains_key(digest) {
            return Ok(Spending::Taken);
        }
        Ok(if rows.spent.insert(*digest) { Spending::Done } else { Spending::Spent })
    }
}

impl Rows {
    fn put(&mut self, record: &TokenRecord) {
        for digest in record.digests() {
            self.ids.insert(digest, record.id);
        }
        self.tokens.insert(record.id, record.clone());
    }

    /// Whether a token other than the one with this id has the name.
    fn has_name(&self, name: &str, id: TokenId) -> bool {
        self.tokens.values().any(|token| token.name == name && token.id != id)
    }
}
