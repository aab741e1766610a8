//! What every store promises, call by call.

use super::{all, token};
use rolegate::store::page::{
    Filter, NameFilter, Order, OrderBy, PAGE_MAX, PAGE_SCAN_MAX, Page, PageQuery, Position,
};
use rolegate::store::usage::{ROUTE_USES_MAX, RouteUse, TokenUse, Usage};
use rolegate::store::{AfterDelete, Insertion, Names, Put, PutOutcome, Spending, Store, StoreError, Update};
use rolegate::time::Timestamp;
use rolegate::token::{FormerSecret, RoleName, SecretKind, TokenDigest, TokenRecord};
use std::thread;

const ORDERS: [OrderBy; 3] = [OrderBy::Created, OrderBy::Name, OrderBy::Expires];

/// All orders, both ways.
pub(crate) fn orders() -> impl Iterator<Item = Order> {
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

fn usage(last_used: i64, count: u64, routes: &[&str]) -> Usage {
    let last_used = Timestamp::from_millis(last_used);
    let route = |by: &&str| RouteUse { by: (*by).to_owned(), last_used, count };
    Usage { last_used, count, routes: routes.iter().map(route).collect() }
}

fn insert_all(store: &dyn Store, records: &[TokenRecord]) -> Result<(), StoreError> {
    for record in records {
        assert_eq!(store.insert(record, Names::MayRepeat)?, Insertion::Inserted);
    }
    Ok(())
}

/// All pages from the first on.
pub(crate) fn walk(store: &dyn Store, mut query: PageQuery) -> Result<Vec<TokenRecord>, StoreError> {
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
pub(crate) fn sorted(records: &[TokenRecord], query: &PageQuery) -> Vec<TokenRecord> {
    let order = query.order;
    let mut records: Vec<_> =
        records.iter().filter(|record| query.filter.admits(record, None)).cloned().collect();
    records.sort_by(|one, other| order.compare(&order.position(one), &order.position(other)));
    records
}

/// What every store promises of digests: a former secret is as good as the present one.
pub(crate) fn digests(store: &dyn Store) -> Result<(), StoreError> {
    let digest = |number: u8| TokenDigest::from_bytes([number; 32]);
    let former = |number| {
        Some(FormerSecret {
            digest: digest(number),
            kind: SecretKind::Chosen,
            expires: Timestamp::from_millis(9),
        })
    };
    let first = token(1, 1);
    assert_eq!(store.insert(&first, Names::MayRepeat)?, Insertion::Inserted);
    let rotated = TokenRecord { digest: digest(2), former: former(1), ..first.clone() };
    assert_eq!(store.update(&first, &rotated, Names::MayRepeat)?, Update::Done);
    assert_eq!(store.get(first.id)?, Some(rotated.clone()));
    assert_eq!(store.update(&first, &rotated, Names::MayRepeat)?, Update::Conflict);

    // Both secrets are taken, by insertions and by updates, as present and as former ones.
    for taken in [1, 2] {
        assert_eq!(store.insert(&token(2, taken), Names::MayRepeat)?, Insertion::DigestTaken);
        let other = TokenRecord { former: former(taken), ..token(2, 3) };
        assert_eq!(store.insert(&other, Names::MayRepeat)?, Insertion::DigestTaken);
    }
    let other = token(2, 3);
    assert_eq!(store.insert(&other, Names::MayRepeat)?, Insertion::Inserted);
    for taken in [1, 2] {
        let taking = TokenRecord { digest: digest(taken), ..other.clone() };
        assert_eq!(store.update(&other, &taking, Names::MayRepeat)?, Update::DigestTaken);
        let taking = TokenRecord { former: former(taken), ..other.clone() };
        assert_eq!(store.update(&other, &taking, Names::MayRepeat)?, Update::DigestTaken);
    }
    assert_eq!(all(store)?, [rotated.clone(), other.clone()]);

    // The second rotation lets go of the first secret, and one may go back to a secret of one's own.
    let again = TokenRecord { digest: digest(4), former: former(2), ..rotated.clone() };
    assert_eq!(store.update(&rotated, &again, Names::MayRepeat)?, Update::Done);
    assert_eq!(store.insert(&token(3, 1), Names::MayRepeat)?, Insertion::Inserted);
    let back = TokenRecord { digest: digest(2), former: None, ..again.clone() };
    assert_eq!(store.update(&again, &back, Names::MayRepeat)?, Update::Done);
    assert_eq!(store.update(&back, &again, Names::MayRepeat)?, Update::Done);

    // A token that is deleted for good takes both secrets with it.
    assert!(store.delete(first.id, AfterDelete::RefuseDigest)?);
    for spent in [2, 4] {
        assert!(store.is_spent(&digest(spent))?);
        assert_eq!(store.insert(&token(4, spent), Names::MayRepeat)?, Insertion::DigestSpent);
        let taking = TokenRecord { digest: digest(spent), ..other.clone() };
        assert_eq!(store.update(&other, &taking, Names::MayRepeat)?, Update::DigestTaken);
    }
    assert_eq!(all(store)?, [other, token(3, 1)]);
    Ok(())
}

/// What every store promises of many changes at once: what it promises of each.
pub(crate) fn many_at_once(store: &dyn Store) -> Result<(), StoreError> {
    let [one, two, taken, spent] = [token(1, 1), token(2, 2), token(3, 1), token(4, 4)];
    let [renamed, late] = [(1, "renamed"), (2, "late")]
        .map(|(number, name)| TokenRecord { name: name.into(), ..token(number.into(), number) });
    let update = |before, after| Put::Update { before, after };
    let puts = [
        (Put::Spend(&spent.digest), PutOutcome::Spend(Spending::Done)),
        (Put::Spend(&spent.digest), PutOutcome::Spend(Spending::Spent)),
        (Put::Insert(&one), PutOutcome::Insert(Insertion::Inserted)),
        (Put::Insert(&one), PutOutcome::Insert(Insertion::IdTaken)),
        (Put::Insert(&taken), PutOutcome::Insert(Insertion::DigestTaken)),
        (Put::Insert(&spent), PutOutcome::Insert(Insertion::DigestSpent)),
        (update(&one, &renamed), PutOutcome::Update(Update::Done)),
        (update(&one, &renamed), PutOutcome::Update(Update::Conflict)),
        (update(&two, &late), PutOutcome::Update(Update::Missing)),
        (Put::Insert(&two), PutOutcome::Insert(Insertion::Inserted)),
        (Put::Spend(&two.digest), PutOutcome::Spend(Spending::Taken)),
    ];
    let (asked, expected): (Vec<_>, Vec<_>) = puts.into_iter().unzip();
    let outcomes: Result<Vec<_>, _> = store.put_all(&asked).into_iter().collect();
    assert_eq!(outcomes?, expected);
    assert_eq!(all(store)?, [renamed, two]);
    assert!(store.is_spent(&spent.digest)?);

    // More than a store may commit at once.
    let records: Vec<_> =
        (10..1_310).map(|id| TokenRecord { digest: digest_of(id), ..token(id, 0) }).collect();
    let puts: Vec<_> = records.iter().map(Put::Insert).collect();
    let inserted = store
        .put_all(&puts)
        .into_iter()
        .filter(|put| matches!(put, Ok(PutOutcome::Insert(Insertion::Inserted))));
    assert_eq!((inserted.count(), all(store)?.len()), (1_300, 1_302));
    assert!(store.put_all(&[]).is_empty());
    Ok(())
}

fn digest_of(number: u64) -> TokenDigest {
    let mut bytes = [9; 32];
    bytes.iter_mut().zip(number.to_be_bytes()).for_each(|(byte, of_number)| *byte = of_number);
    TokenDigest::from_bytes(bytes)
}

/// What every store promises of names.
pub(crate) fn names(store: &dyn Store) -> Result<(), StoreError> {
    let named = |id, digest, name: &str| TokenRecord { name: name.into(), ..token(id, digest) };
    assert_eq!(store.insert(&named(1, 1, "ci"), Names::Unique)?, Insertion::Inserted);
    assert_eq!(store.insert(&named(2, 2, "ci"), Names::Unique)?, Insertion::NameTaken);
    assert_eq!(store.insert(&named(2, 1, "ci"), Names::Unique)?, Insertion::DigestTaken);
    assert_eq!(store.insert(&named(2, 2, "ci"), Names::MayRepeat)?, Insertion::Inserted);
    // Names that start alike are others, and so are names in other letters.
    for (id, name) in [(3, "c"), (4, "ci\0"), (5, "ci "), (6, "CI"), (7, "")] {
        let digest = u8::try_from(id).unwrap_or_default();
        assert_eq!(store.insert(&named(id, digest, name), Names::Unique)?, Insertion::Inserted, "{name:?}");
    }
    let (before, after) = (named(3, 3, "c"), named(3, 3, "ci"));
    assert_eq!(store.update(&before, &after, Names::Unique)?, Update::NameTaken);
    assert_eq!(store.get(before.id)?, Some(before.clone()));
    assert_eq!(store.update(&before, &after, Names::MayRepeat)?, Update::Done);
    // Who keeps a name that others have too is not asked.
    let described = TokenRecord { description: Some("same name".into()), ..after.clone() };
    assert_eq!(store.update(&after, &described, Names::Unique)?, Update::Done);
    let renamed = named(3, 3, "new");
    assert_eq!(store.update(&described, &renamed, Names::Unique)?, Update::Done);
    // A name is free once those who had it are gone.
    assert!(store.delete(named(1, 1, "").id, AfterDelete::ForgetDigest)?);
    assert_eq!(store.insert(&named(8, 8, "ci"), Names::Unique)?, Insertion::NameTaken);
    assert!(store.delete(named(2, 2, "").id, AfterDelete::ForgetDigest)?);
    assert_eq!(store.insert(&named(8, 8, "ci"), Names::Unique)?, Insertion::Inserted);
    Ok(())
}

/// Of many who insert one name that must not repeat, one succeeds.
#[expect(clippy::unwrap_used, reason = "a thread that panics fails the test")]
pub(crate) fn race_for_a_name(store: &dyn Store) {
    let outcomes: Vec<Insertion> = thread::scope(|scope| {
        let insert = |id: u8| {
            let record = TokenRecord { name: "one".into(), ..token(id.into(), id) };
            store.insert(&record, Names::Unique).unwrap()
        };
        let threads: Vec<_> = (0..8).map(|id| scope.spawn(move || insert(id))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    assert_eq!((count(Insertion::Inserted), count(Insertion::NameTaken)), (1, 7));
}

/// What every store promises of uses.
pub(crate) fn uses(store: &dyn Store) -> Result<(), StoreError> {
    let (one, other) = (token(1, 1), token(2, 2));
    insert_all(store, &[one.clone(), other.clone()])?;
    let use_of = |record: &TokenRecord, usage| TokenUse { id: record.id, usage };
    assert_eq!(store.usage(one.id)?, None);
    store.record_uses(&[])?;
    store.record_uses(&[
        use_of(&one, usage(5, 2, &["read"])),
        // It is gone, and passed over.
        use_of(&token(9, 9), usage(6, 1, &[])),
        use_of(&other, usage(7, 1, &[])),
        use_of(&one, usage(4, 1, &["write"])),
    ])?;
    let both = usage(5, 2, &["read"]).plus(&usage(4, 1, &["write"]));
    assert_eq!((both.count, both.last_used), (3, Timestamp::from_millis(5)));
    assert_eq!(store.usage(one.id)?, Some(both.clone()));
    assert_eq!(store.usage(token(9, 9).id)?, None);
    let page = store.page(&PageQuery::first(Order::default()))?;
    assert_eq!(
        page.tokens.iter().map(|it| it.usage.clone()).collect::<Vec<_>>(),
        [Some(both.clone()), Some(usage(7, 1, &[]))]
    );

    // A change of the token leaves it, and the end of the token ends it.
    let renamed = TokenRecord { name: "new".into(), ..one.clone() };
    assert_eq!(store.update(&one, &renamed, Names::MayRepeat)?, Update::Done);
    assert_eq!(store.usage(one.id)?, Some(both));
    assert!(store.delete(one.id, AfterDelete::ForgetDigest)?);
    assert_eq!(store.usage(one.id)?, None);
    insert_all(store, std::slice::from_ref(&one))?;
    assert_eq!(store.usage(one.id)?, None, "another token by the same number was not used");

    let names: Vec<String> = (0..=ROUTE_USES_MAX).map(|route| format!("{route:03}")).collect();
    let mut many = usage(1, 0, &[]);
    for (at, name) in (0_i64..).zip(&names) {
        many = many.plus(&usage(at, 1, &[name.as_str()]));
    }
    store.record_uses(&[use_of(&one, many)])?;
    let kept = store.usage(one.id)?;
    assert_eq!(kept.map(|usage| usage.routes.len()), Some(ROUTE_USES_MAX));
    Ok(())
}

/// What every store promises of pages.
pub(crate) fn pages(store: &dyn Store) -> Result<(), StoreError> {
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

/// Two tokens more than are looked at for one page.
pub(crate) fn many() -> Vec<TokenRecord> {
    let count = PAGE_SCAN_MAX as u64 + 2;
    (0..count).zip(0..).map(|(id, at)| placed(id, "many", at, Some(-at))).collect()
}

/// What every store promises of how much it looks at; it holds [`many`] tokens.
pub(crate) fn limits(store: &dyn Store) -> Result<(), StoreError> {
    let records = many();
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
