//! What every store promises of pages: their order, their filters, and how much is looked at for one.

use super::uses::usage;
use super::{insert_all, token};
use crate::store::page::{
    Filter, NameFilter, Order, OrderBy, PAGE_MAX, PAGE_SCAN_MAX, Page, PageQuery, Position,
};
use crate::store::usage::TokenUse;
use crate::store::{Insertion, Put, PutOutcome, Store, StoreError};
use crate::time::Timestamp;
use crate::token::{RoleName, TokenDigest, TokenRecord};

const ORDERS: [OrderBy; 3] = [OrderBy::Created, OrderBy::Name, OrderBy::Expires];

/// What every store promises of pages.
pub(super) fn pages(store: &dyn Store) -> Result<(), StoreError> {
    let min = i64::MIN;
    let records = [
        placed(1, "b", 5, None),
        placed(2, "a", 5, Some(0)),
        placed(3, "a\0", min, Some(i64::MAX)),
        placed(4, "", i64::MAX, None),
        placed(5, "a", -1, Some(-1)),
        placed(6, "\u{10ffff}", 0, Some(min)),
        placed(7, "ab", -2, Some(0)),
    ];
    for order in orders() {
        assert_eq!(store.page(&PageQuery::first(order))?, Page::default());
    }
    insert_all(store, &records)?;
    for order in orders() {
        for limit in 1..9 {
            let query = PageQuery { limit, ..PageQuery::first(order) };
            assert_eq!(walk(store, query.clone())?, sorted(&records, &query), "{order:?} by {limit}");
        }
        // A position is good for as long as one likes, also that of a token that never was.
        for record in records.iter().chain([&placed(8, "aa", 3, Some(5))]) {
            let after: Position = order.position(record);
            let query = PageQuery { after: Some(after.clone()), ..PageQuery::first(order) };
            let mut expected = sorted(&records, &query);
            expected.retain(|other| order.compare(&order.position(other), &after).is_gt());
            assert_eq!(walk(store, query)?, expected, "{order:?} after {after:?}");
        }
    }
    filters(store, &records)
}

fn filters(store: &dyn Store, records: &[TokenRecord]) -> Result<(), StoreError> {
    let at = |millis| Some(Timestamp::from_millis(millis));
    let named = |name| Filter { name: Some(name), ..Filter::default() };
    let role = |name: &str| Filter { role: RoleName::parse(name).ok(), ..Filter::default() };
    let filters = [
        named(NameFilter::Exact("a".into())),
        named(NameFilter::Exact("nobody".into())),
        named(NameFilter::Prefix("a".into())),
        named(NameFilter::Prefix("a\0".into())),
        named(NameFilter::Prefix("".into())),
        named(NameFilter::Prefix("\u{10ffff}".into())),
        role("admin"),
        role("nobody"),
        Filter { expires_before: at(0), ..Filter::default() },
        Filter { expires_before: at(1), ..named(NameFilter::Prefix("a".into())) },
        Filter { expires_before: at(i64::MAX), ..Filter::default() },
        Filter { unused_since: at(5), ..Filter::default() },
    ];
    for filter in filters {
        for order in orders() {
            for limit in [1, 2, PAGE_MAX] {
                let query = PageQuery { filter: filter.clone(), limit, ..PageQuery::first(order) };
                assert_eq!(walk(store, query.clone())?, sorted(records, &query), "{query:?}");
            }
        }
    }
    // One that was used counts from its last use.
    let used = records.first().map(|record| TokenUse { id: record.id, usage: usage(7, 1, &[]) });
    store.record_uses(used.as_slice())?;
    let since = |millis| {
        let filter = Filter { unused_since: at(millis), ..named(NameFilter::Exact("b".into())) };
        walk(store, PageQuery { filter, ..PageQuery::first(Order::default()) }).map(|found| found.len())
    };
    assert_eq!((since(6)?, since(7)?, since(8)?), (0, 0, 1));
    Ok(())
}

/// What every store promises of how much it looks at.
pub(super) fn limits(store: &dyn Store) -> Result<(), StoreError> {
    let records = many();
    for some in records.chunks(PAGE_MAX) {
        let puts: Vec<_> = some.iter().map(Put::Insert).collect();
        for outcome in store.put_all(&puts) {
            assert_eq!(outcome?, PutOutcome::Insert(Insertion::Inserted));
        }
    }
    for (limit, given) in
        [(0, 1), (1, 1), (PAGE_MAX, PAGE_MAX), (PAGE_MAX + 1, PAGE_MAX), (usize::MAX, PAGE_MAX)]
    {
        let page = store.page(&PageQuery { limit, ..PageQuery::first(Order::default()) })?;
        assert_eq!((page.tokens.len(), page.next.is_some()), (given, true), "limit {limit}");
    }
    let role = RoleName::parse("nobody").ok();
    for order in orders() {
        let all = sorted(&records, &PageQuery::first(order));
        let position = |at: usize| all.get(at).map(|record| order.position(record));
        let query = PageQuery {
            filter: Filter { role: role.clone(), ..Filter::default() },
            ..PageQuery::first(order)
        };
        // The last two, the last one, and nothing are left for the next page.
        for (after, next) in
            [(None, position(PAGE_SCAN_MAX - 1)), (position(0), position(PAGE_SCAN_MAX)), (position(1), None)]
        {
            let page = store.page(&PageQuery { after: after.clone(), ..query.clone() })?;
            assert_eq!(page, Page { tokens: Vec::new(), next }, "{order:?} after {after:?}");
        }
        assert_eq!(walk(store, query)?, []);
    }
    Ok(())
}

/// Two tokens more than are looked at for one page.
fn many() -> Vec<TokenRecord> {
    let count = PAGE_SCAN_MAX as u64 + 2;
    (0..count).zip(0..).map(|(id, at)| placed(id, "many", at, Some(-at))).collect()
}

/// All orders, both ways.
fn orders() -> impl Iterator<Item = Order> {
    ORDERS.into_iter().flat_map(|by| [false, true].map(|is_descending| Order { by, is_descending }))
}

/// A token with what orders and filters are about.
fn placed(id: u64, name: &str, created: i64, expires: Option<i64>) -> TokenRecord {
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(id.to_le_bytes()).for_each(|(byte, of_id)| *byte = of_id);
    TokenRecord {
        name: name.to_owned(),
        digest: TokenDigest::from_bytes(bytes),
        created: Timestamp::from_millis(created),
        expires: expires.map(Timestamp::from_millis),
        ..token(id, 0)
    }
}

/// All pages from the first on.
fn walk(store: &dyn Store, mut query: PageQuery) -> Result<Vec<TokenRecord>, StoreError> {
    let mut tokens = Vec::new();
    loop {
        let page = store.page(&query)?;
        assert!(page.tokens.len() <= query.limit());
        tokens.extend(page.tokens.into_iter().map(|listed| listed.record));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(tokens),
        }
    }
}

/// What pages must give: sorted by what [`Order::compare`] says of all that pass the filter.
fn sorted(records: &[TokenRecord], query: &PageQuery) -> Vec<TokenRecord> {
    let order = query.order;
    let mut records: Vec<_> =
        records.iter().filter(|record| query.filter.admits(record, None)).cloned().collect();
    records.sort_by(|one, other| order.compare(&order.position(one), &order.position(other)));
    records
}
