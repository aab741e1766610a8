//! What every store promises, call by call, and of secrets and many changes at once.

use super::{all, token};
use crate::store::{AfterDelete, Insertion, Names, Put, PutOutcome, Spending, Store, StoreError, Update};
use crate::time::Timestamp;
use crate::token::{FormerSecret, SecretKind, TokenDigest, TokenRecord};

/// What every store promises of each call.
pub(super) fn calls(store: &dyn Store) -> Result<(), StoreError> {
    assert_eq!(all(store)?, []);
    assert!(!store.is_spent(&token(1, 1).digest)?);
    assert!(!store.delete(token(1, 1).id, AfterDelete::RefuseDigest)?);
    assert_eq!(store.update(&token(1, 1), &token(1, 1), Names::MayRepeat)?, Update::Missing);
    assert_eq!(all(store)?, []);

    assert_eq!(store.insert(&token(1, 1), Names::MayRepeat)?, Insertion::Inserted);
    assert_eq!(store.insert(&token(2, 2), Names::MayRepeat)?, Insertion::Inserted);
    assert_eq!(all(store)?, [token(1, 1), token(2, 2)]);

    // The order of the checks: first the id, then the digest.
    assert_eq!(store.insert(&token(1, 1), Names::MayRepeat)?, Insertion::IdTaken);
    assert_eq!(store.insert(&token(1, 9), Names::MayRepeat)?, Insertion::IdTaken);
    assert_eq!(store.insert(&token(9, 1), Names::MayRepeat)?, Insertion::DigestTaken);
    assert_eq!(all(store)?, [token(1, 1), token(2, 2)]);

    let mut changed = token(1, 1);
    changed.name.clear();
    changed.roles.clear();
    changed.description = None;
    changed.dedicated_subject = Some("subject".into());
    changed.expires = None;
    assert_eq!(store.update(&token(1, 1), &changed, Names::MayRepeat)?, Update::Done);
    assert_eq!(store.update(&token(1, 1), &token(1, 9), Names::MayRepeat)?, Update::Conflict);
    let taking = TokenRecord { digest: token(2, 2).digest, ..changed.clone() };
    assert_eq!(store.update(&changed, &taking, Names::MayRepeat)?, Update::DigestTaken);
    let namesake = TokenRecord { name: token(2, 2).name, ..changed.clone() };
    assert_eq!(store.update(&changed, &namesake, Names::Unique)?, Update::NameTaken);
    assert_eq!(store.get(changed.id)?, Some(changed.clone()));
    assert_eq!(all(store)?, [changed, token(2, 2)]);

    assert!(store.delete(token(1, 1).id, AfterDelete::RefuseDigest)?);
    assert!(!store.delete(token(1, 1).id, AfterDelete::RefuseDigest)?);
    assert!(store.is_spent(&token(1, 1).digest)?);
    assert_eq!(store.insert(&token(1, 1), Names::MayRepeat)?, Insertion::DigestSpent);
    assert_eq!(store.insert(&token(1, 3), Names::MayRepeat)?, Insertion::Inserted);

    assert!(store.delete(token(2, 2).id, AfterDelete::ForgetDigest)?);
    assert!(!store.is_spent(&token(2, 2).digest)?);
    assert_eq!(store.insert(&token(2, 2), Names::MayRepeat)?, Insertion::Inserted);
    assert_eq!(all(store)?, [token(1, 3), token(2, 2)]);

    let digest = |number: u8| TokenDigest::from_bytes([number; 32]);
    assert_eq!(store.spend(&digest(2))?, Spending::Taken);
    assert_eq!(store.spend(&digest(1))?, Spending::Spent);
    assert_eq!(store.spend(&digest(200))?, Spending::Done);
    assert_eq!(store.spend(&digest(7))?, Spending::Done);
    assert_eq!(store.insert(&token(7, 7), Names::MayRepeat)?, Insertion::DigestSpent);
    assert_eq!(store.spent(None, 9)?, [1, 7, 200].map(digest));
    assert_eq!(store.spent(None, 2)?, [1, 7].map(digest));
    assert_eq!(store.spent(Some(&digest(1)), 1)?, [digest(7)]);
    assert_eq!(store.spent(Some(&digest(8)), 9)?, [digest(200)]);
    assert_eq!(store.spent(Some(&digest(200)), 9)?, []);
    Ok(())
}

/// What every store promises of digests: a former secret is as good as the present one.
pub(super) fn digests(store: &dyn Store) -> Result<(), StoreError> {
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
pub(super) fn many_at_once(store: &dyn Store) -> Result<(), StoreError> {
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
