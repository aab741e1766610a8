//! What every store promises of names.

use super::token;
use crate::store::{AfterDelete, Insertion, Names, Store, StoreError, Update};
use crate::token::TokenRecord;
use std::thread;

/// What every store promises of names.
pub(super) fn names(store: &dyn Store) -> Result<(), StoreError> {
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
pub(super) fn race_for_a_name(store: &dyn Store) -> Result<(), StoreError> {
    let insert = |id: u8| {
        let record = TokenRecord { name: "one".into(), ..token(id.into(), id) };
        store.insert(&record, Names::Unique)
    };
    let outcomes: Result<Vec<Insertion>, StoreError> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|id| scope.spawn(move || insert(id))).collect();
        let panicked = |_| Err(StoreError::Other("it panicked".into()));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let outcomes = outcomes?;
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    assert_eq!((count(Insertion::Inserted), count(Insertion::NameTaken)), (1, 7));
    Ok(())
}
