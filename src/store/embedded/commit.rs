//! Changes as one transaction, and whether one that failed is in the file all the same.

use super::queue::{Change, Outcome};
use super::{COMMITS_KEY, DIGESTS, META, Opened, Place, SPENT, TOKENS, row};
use crate::store::{AfterDelete, StoreError};
use crate::token::TokenDigest;
use redb::{ReadableDatabase, ReadableTable};

/// A commit that is being made: its number, and what came of its changes if it is.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) outcomes: Vec<Outcome>,
}

impl Opened {
    /// Makes all of the changes durable, or none. When the commit itself fails, `pending` tells how to find out
    /// which.
    pub(super) fn commit(
        &self,
        place: &Place,
        changes: &[&Change],
        pending: &mut Option<Pending>,
    ) -> Result<Vec<Outcome>, StoreError> {
        self.file.release().map_err(|source| place.io("write", source))?;
        let mut commit = || -> Result<Vec<Outcome>, redb::Error> {
            let transaction = self.database.begin_write()?;
            let outcomes: Result<Vec<Outcome>, redb::Error> = {
                let mut tables = Tables {
                    tokens: transaction.open_table(TOKENS)?,
                    digests: transaction.open_table(DIGESTS)?,
                    spent: transaction.open_table(SPENT)?,
                };
                changes.iter().map(|change| tables.apply(change)).collect()
            };
            let outcomes = outcomes?;
            if outcomes.contains(&Outcome::Done) {
                let number = count_commit(&transaction)?;
                *pending = Some(Pending { number, outcomes: outcomes.clone() });
                transaction.commit()?;
            } else {
                transaction.abort()?;
            }
            Ok(outcomes)
        };
        commit().map_err(|error| place.explain("write", error))
    }

    /// Whether the last commit has this number; if so, another one after it makes it durable.
    pub(super) fn confirm(&self, place: &Place, number: u64) -> Result<bool, StoreError> {
        let last = || -> Result<u64, redb::Error> {
            let table = self.database.begin_read()?.open_table(META)?;
            Ok(table.get(COMMITS_KEY)?.map_or(0, |number| number.value()))
        };
        if last().map_err(|error| place.explain("read", error))? != number {
            return Ok(false);
        }
        self.file.release().map_err(|source| place.io("write", source))?;
        let commit = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            count_commit(&transaction)?;
            Ok(transaction.commit()?)
        };
        commit().map_err(|error| place.explain("write", error))?;
        Ok(true)
    }
}

/// Gives the commit its number.
fn count_commit(transaction: &redb::WriteTransaction) -> Result<u64, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let number = meta.get(COMMITS_KEY)?.map_or(0, |number| number.value()).saturating_add(1);
    meta.insert(COMMITS_KEY, number)?;
    Ok(number)
}

/// The tables of one write transaction.
struct Tables<'a> {
    tokens: redb::Table<'a, u64, &'static [u8]>,
    digests: redb::Table<'a, &'static [u8; 32], u64>,
    spent: redb::Table<'a, &'static [u8; 32], ()>,
}

impl Tables<'_> {
    fn apply(&mut self, change: &Change) -> Result<Outcome, redb::Error> {
        match change {
            Change::Insert { id, digest, row } => self.insert(id.get(), digest, row),
            Change::Update { id, digest, row } => self.update(id.get(), digest, row),
            Change::Delete { id, after } => self.delete(id.get(), *after),
        }
    }

    fn insert(&mut self, id: u64, digest: &TokenDigest, row: &[u8]) -> Result<Outcome, redb::Error> {
        if self.tokens.get(id)?.is_some() {
            return Ok(Outcome::IdTaken);
        }
        if self.digests.get(digest.as_bytes())?.is_some() {
            return Ok(Outcome::DigestTaken);
        }
        if self.spent.get(digest.as_bytes())?.is_some() {
            return Ok(Outcome::DigestSpent);
        }
        self.tokens.insert(id, row)?;
        self.digests.insert(digest.as_bytes(), id)?;
        Ok(Outcome::Done)
    }

    fn update(&mut self, id: u64, digest: &TokenDigest, row: &[u8]) -> Result<Outcome, redb::Error> {
        let kept = self.digests.get(digest.as_bytes())?.map(|kept| kept.value());
        if kept != Some(id) {
            return Ok(Outcome::Missing);
        }
        self.tokens.insert(id, row)?;
        Ok(Outcome::Done)
    }

    fn delete(&mut self, id: u64, after: AfterDelete) -> Result<Outcome, redb::Error> {
        let Some(digest) = self.tokens.remove(id)?.map(|row| row::decode(id, row.value())) else {
            return Ok(Outcome::Missing);
        };
        let digest = digest.map_err(redb::Error::Corrupted)?.digest;
        self.digests.remove(digest.as_bytes())?;
        if after == AfterDelete::RefuseDigest {
            self.spent.insert(digest.as_bytes(), ())?;
        }
        Ok(Outcome::Done)
    }
}
