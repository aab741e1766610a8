//! Pages, read along the table of an order: what a page costs does not depend on how many tokens there are.

use super::orders::{self, Span};
use super::{SPENT, TOKENS, USES, row, uses};
use crate::store::page::{Order, OrderBy, PAGE_SCAN_MAX, Page, PageQuery};
use crate::store::usage::Usage;
use crate::token::{TokenDigest, TokenId, TokenRecord};
use redb::{Range, ReadTransaction, ReadableTable};
use std::ops::Bound;

/// The page that is asked for.
pub(super) fn read(transaction: &ReadTransaction, query: &PageQuery) -> Result<Page, redb::Error> {
    let tokens = transaction.open_table(TOKENS)?;
    let record = |id: TokenId| record_of(&tokens, id);
    let usage = |id: TokenId| usage_of(transaction, id);
    if let Some(ids) = few(transaction, query)? {
        let mut records = ids.into_iter().map(record).collect::<Result<Vec<_>, _>>()?;
        let place = |record: &TokenRecord| query.order.position(record);
        let is_after = |record: &TokenRecord| {
            query.after.as_ref().is_none_or(|after| query.order.compare(&place(record), after).is_gt())
        };
        records.retain(is_after);
        records.sort_by(|one, other| query.order.compare(&place(one), &place(other)));
        return Page::gather(query, records.into_iter().map(Ok), usage);
    }
    let ids = ids(transaction, query.order, &orders::span(query))?;
    Page::gather(query, ids.map(|id| id.and_then(record)), usage)
}

/// The token with this number.
pub(super) fn token(transaction: &ReadTransaction, id: u64) -> Result<Option<TokenRecord>, redb::Error> {
    let row = transaction.open_table(TOKENS)?.get(id)?;
    row.map(|row| row::decode(id, row.value()).map_err(redb::Error::Corrupted)).transpose()
}

/// Whether a digest is spent.
pub(super) fn is_spent(transaction: &ReadTransaction, digest: &TokenDigest) -> Result<bool, redb::Error> {
    Ok(transaction.open_table(SPENT)?.get(digest.as_bytes())?.is_some())
}

/// Digests that are spent, in their order, after one of them.
pub(super) fn spent(
    transaction: &ReadTransaction,
    after: Option<&TokenDigest>,
    limit: usize,
) -> Result<Vec<TokenDigest>, redb::Error> {
    let table = transaction.open_table(SPENT)?;
    let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_bytes()));
    let spent = table.range::<&[u8; 32]>((start, Bound::Unbounded))?.take(limit);
    spent.map(|row| Ok(TokenDigest::from_bytes(*row?.0.value()))).collect()
}

/// What is known of the use of a token.
pub(super) fn usage_of(transaction: &ReadTransaction, id: TokenId) -> Result<Option<Usage>, redb::Error> {
    let table = match transaction.open_table(USES) {
        // Somebody looks at a store of the format before, which no server has taken over yet.
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    let row = table.get(id.get())?;
    row.map(|row| uses::decode(id.get(), row.value()).map_err(redb::Error::Corrupted)).transpose()
}

/// The ids of all tokens that can be on the page, if the filter leaves few of another order: the name and the
/// expiry are found there, however the tokens are to be ordered.
fn few(transaction: &ReadTransaction, query: &PageQuery) -> Result<Option<Vec<TokenId>>, redb::Error> {
    for by in [OrderBy::Name, OrderBy::Expires] {
        let Some(span) = orders::narrowed(by, &query.filter).filter(|_| by != query.order.by) else {
            continue;
        };
        let order = Order { by, is_descending: false };
        let found: Result<Vec<_>, _> =
            ids(transaction, order, &span)?.take(PAGE_SCAN_MAX.saturating_add(1)).collect();
        let found = found?;
        if found.len() <= PAGE_SCAN_MAX {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The ids of a part of an order.
fn ids(transaction: &ReadTransaction, order: Order, span: &Span) -> Result<Ids, redb::Error> {
    let table = transaction.open_table(orders::table(order.by))?;
    let end = span.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let keys = if span.is_empty() {
        None
    } else {
        Some(table.range::<&[u8]>((Bound::Included(span.start.as_slice()), end))?)
    };
    Ok(Ids { keys, is_descending: order.is_descending })
}

/// Ids, read as they are asked for.
struct Ids {
    keys: Option<Range<'static, &'static [u8], ()>>,
    is_descending: bool,
}

impl Iterator for Ids {
    type Item = Result<TokenId, redb::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let keys = self.keys.as_mut()?;
        let entry = if self.is_descending { keys.next_back()? } else { keys.next()? };
        Some(entry.map_err(redb::Error::from).and_then(|(key, _)| {
            orders::id_of(key.value()).ok_or_else(|| redb::Error::Corrupted("an order has a bad key".into()))
        }))
    }
}

fn record_of(
    tokens: &impl ReadableTable<u64, &'static [u8]>,
    id: TokenId,
) -> Result<TokenRecord, redb::Error> {
    let row = tokens.get(id.get())?;
    let row =
        row.ok_or_else(|| redb::Error::Corrupted(format!("an order has the token {id}, which is missing")))?;
    row::decode(id.get(), row.value()).map_err(redb::Error::Corrupted)
}
