//! What every store promises of the use of tokens.

use super::{insert_all, token};
use crate::store::page::{Order, PageQuery};
use crate::store::usage::{ROUTE_USES_MAX, RouteUse, TokenUse, Usage};
use crate::store::{AfterDelete, Names, Store, StoreError, Update};
use crate::time::Timestamp;
use crate::token::TokenRecord;

pub(super) fn usage(last_used: i64, count: u64, routes: &[&str]) -> Usage {
    let last_used = Timestamp::from_millis(last_used);
    let route = |by: &&str| RouteUse { by: (*by).to_owned(), last_used, count };
    Usage { last_used, count, routes: routes.iter().map(route).collect() }
}

/// What every store promises of uses.
pub(super) fn uses(store: &dyn Store) -> Result<(), StoreError> {
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
