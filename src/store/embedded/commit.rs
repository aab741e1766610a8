//! Changes as one transaction.

use super::orders::{self, ORDERS};
use super::queue::{Change, Outcome};
use super::{DIGESTS, Opened, Place, SPENT, TOKENS, USES, row, uses};
use crate::store::page::OrderBy;
use crate::store::usage::{TokenUse, Usage};
use crate::store::{AfterDelete, Names, StoreError};
use crate::token::{TokenDigest, TokenId, TokenRecord};
use redb::ReadableTable;
use std::ops::Bound;

impl Opened {
    /// Makes all of the changes durable, or none, as far as the file can still be put back after an error.
    pub(super) fn commit(&self, place: &Place, changes: &[&Change]) -> Result<Vec<Outcome>, StoreError> {
        let commit = || -> Result<Vec<Outcome>, redb::Error> {
            let transaction = self.database.begin_write()?;
            let outcomes: Result<Vec<Outcome>, redb::Error> = {
                let mut tables = Tables {
                    tokens: transaction.open_table(TOKENS)?,
                    digests: transaction.open_table(DIGESTS)?,
                    spent: transaction.open_table(SPENT)?,
                    uses: transaction.open_table(USES)?,
                    orders: Orders::open(&transaction)?,
                };
                changes.iter().map(|change| tables.apply(change)).collect()
            };
            let outcomes = outcomes?;
            if outcomes.contains(&Outcome::Done) {
                transaction.commit()?;
            } else {
                transaction.abort()?;
            }
            Ok(outcomes)
        };
        commit().map_err(|error| place.explain("write", error))
    }
}

/// The tables of one write transaction.
struct Tables<'a> {
    tokens: redb::Table<'a, u64, &'static [u8]>,
    digests: redb::Table<'a, &'static [u8; 32], u64>,
    spent: redb::Table<'a, &'static [u8; 32], ()>,
    uses: redb::Table<'a, u64, &'static [u8]>,
    orders: Orders<'a>,
}

/// The tables of the orders.
struct Orders<'a>(Vec<(OrderBy, redb::Table<'a, &'static [u8], ()>)>);

impl Tables<'_> {
    fn apply(&mut self, change: &Change) -> Result<Outcome, redb::Error> {
        match change {
            Change::Insert { record, names } => self.insert(record, *names),
            Change::Update { before, after, names } => self.update(before, after, *names),
            Change::Delete { id, after } => self.delete(id.get(), *after),
            Change::AddUses(uses) => self.add_uses(uses),
            Change::Spend(digest) => self.spend(digest),
        }
    }

    fn insert(&mut self, record: &TokenRecord, names: Names) -> Result<Outcome, redb::Error> {
        if self.tokens.get(record.id.get())?.is_some() {
            return Ok(Outcome::IdTaken);
        }
        for digest in record.digests() {
            if self.digests.get(digest.as_bytes())?.is_some() {
                return Ok(Outcome::DigestTaken);
            }
        }
        for digest in record.digests() {
            if self.spent.get(digest.as_bytes())?.is_some() {
                return Ok(Outcome::DigestSpent);
            }
        }
        if names == Names::Unique && self.orders.has_name(&record.name)? {
            return Ok(Outcome::NameTaken);
        }
        self.put(record)?;
        Ok(Outcome::Done)
    }

    fn update(
        &mut self,
        before: &TokenRecord,
        after: &TokenRecord,
        names: Names,
    ) -> Result<Outcome, redb::Error> {
        let id = after.id.get();
        match self.kept(id)? {
            None => return Ok(Outcome::Missing),
            Some(kept) if kept != *before => return Ok(Outcome::Conflict),
            Some(_) => {}
        }
        for digest in after.digests() {
            let holder = self.digests.get(digest.as_bytes())?.map(|holder| holder.value());
            if holder.is_some_and(|holder| holder != id) || self.spent.get(digest.as_bytes())?.is_some() {
                return Ok(Outcome::DigestTaken);
            }
        }
        if names == Names::Unique && before.name != after.name && self.orders.has_name(&after.name)? {
            return Ok(Outcome::NameTaken);
        }
        for digest in before.digests() {
            self.digests.remove(digest.as_bytes())?;
        }
        self.orders.remove(before)?;
        self.put(after)?;
        Ok(Outcome::Done)
    }

    fn delete(&mut self, id: u64, after: AfterDelete) -> Result<Outcome, redb::Error> {
        let Some(record) = self.kept(id)? else { return Ok(Outcome::Missing) };
        self.tokens.remove(id)?;
        self.uses.remove(id)?;
        self.orders.remove(&record)?;
        for digest in record.digests() {
            self.digests.remove(digest.as_bytes())?;
            if after == AfterDelete::RefuseDigest {
                self.spent.insert(digest.as_bytes(), ())?;
            }
        }
        Ok(Outcome::Done)
    }

    fn add_uses(&mut self, uses: &[TokenUse]) -> Result<Outcome, redb::Error> {
        for TokenUse { id, usage } in uses {
            if self.tokens.get(id.get())?.is_none() {
                continue;
            }
            let sum = match self.used(*id)? {
                Some(kept) => kept.plus(usage),
                None => usage.clone(),
            };
            self.uses.insert(id.get(), uses::encode(&sum).as_slice())?;
        }
        Ok(Outcome::Done)
    }

    fn spend(&mut self, digest: &TokenDigest) -> Result<Outcome, redb::Error> {
        if self.digests.get(digest.as_bytes())?.is_some() {
            return Ok(Outcome::DigestTaken);
        }
        let was_spent = self.spent.insert(digest.as_bytes(), ())?.is_some();
        Ok(if was_spent { Outcome::DigestSpent } else { Outcome::Done })
    }

    fn put(&mut self, record: &TokenRecord) -> Result<(), redb::Error> {
        let id = record.id.get();
        self.tokens.insert(id, row::encode(record).as_slice())?;
        for digest in record.digests() {
            self.digests.insert(digest.as_bytes(), id)?;
        }
        self.orders.insert(record)
    }

    fn kept(&self, id: u64) -> Result<Option<TokenRecord>, redb::Error> {
        let row = self.tokens.get(id)?;
        row.map(|row| row::decode(id, row.value()).map_err(redb::Error::Corrupted)).transpose()
    }

    fn used(&self, id: TokenId) -> Result<Option<Usage>, redb::Error> {
        let row = self.uses.get(id.get())?;
        row.map(|row| uses::decode(id.get(), row.value()).map_err(redb::Error::Corrupted)).transpose()
    }
}

impl<'a> Orders<'a> {
    fn open(transaction: &'a redb::WriteTransaction) -> Result<Self, redb::Error> {
        let open = |by| Ok((by, transaction.open_table(orders::table(by))?));
        Ok(Self(ORDERS.into_iter().map(open).collect::<Result<_, redb::Error>>()?))
    }

    fn insert(&mut self, record: &TokenRecord) -> Result<(), redb::Error> {
        for (by, table) in &mut self.0 {
            table.insert(orders::key_of(*by, record).as_slice(), ())?;
        }
        Ok(())
    }

    fn remove(&mut self, record: &TokenRecord) -> Result<(), redb::Error> {
        for (by, table) in &mut self.0 {
            table.remove(orders::key_of(*by, record).as_slice())?;
        }
        Ok(())
    }

    /// Whether any token has the name.
    fn has_name(&self, name: &str) -> Result<bool, redb::Error> {
        let span = orders::named(name);
        for (_, table) in self.0.iter().filter(|(by, _)| *by == OrderBy::Name) {
            let end = span.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            if table.range::<&[u8]>((Bound::Included(span.start.as_slice()), end))?.next().is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
