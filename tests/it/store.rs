//! One conformance suite for every store.

use rolegate::store::memory::MemoryStore;
use rolegate::store::{AfterDelete, Insertion, Store, StoreError};
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};

/// A token whose id and digest are made of small numbers, so that tests can make them collide.
#[expect(clippy::unwrap_used, reason = "the numbers are in range")]
pub(crate) fn token(id: u64, digest: u8) -> TokenRecord {
    TokenRecord {
        id: TokenId::new(TokenId::MIN + id).unwrap(),
        digest: TokenDigest::from_bytes([digest; 32]),
        kind: SecretKind::Generated,
        origin: TokenOrigin::Api,
        name: format!("token {id} \u{1f511}"),
        description: id.is_multiple_of(2).then(|| "with \"quotes\"\nand a line".into()),
        roles: vec![RoleName::parse("admin").unwrap(), RoleName::parse("ci:x/y@z").unwrap()],
        dedicated_subject: None,
        created: Timestamp::from_millis(1_000),
        updated: Timestamp::from_millis(2_000),
        expires: Some(Timestamp::from_millis(i64::MAX)),
    }
}

/// All tokens of a store, by id.
pub(crate) fn all(store: &dyn Store) -> Result<Vec<TokenRecord>, StoreError> {
    let mut tokens = Vec::new();
    store.load(&mut |token| tokens.push(token))?;
    tokens.sort_by_key(|token| token.id);
    Ok(tokens)
}

/// What every store promises; `store` must be empty.
fn conformance(store: &dyn Store) -> Result<(), StoreError> {
    assert_eq!(all(store)?, []);
    assert!(!store.is_spent(&token(1, 1).digest)?);
    assert!(!store.delete(token(1, 1).id, AfterDelete::RefuseDigest)?);
    assert!(!store.update(&token(1, 1))?);
    assert_eq!(all(store)?, []);

    assert_eq!(store.insert(&token(1, 1))?, Insertion::Inserted);
    assert_eq!(store.insert(&token(2, 2))?, Insertion::Inserted);
    assert_eq!(all(store)?, [token(1, 1), token(2, 2)]);

    // The order of the checks: first the id, then the digest.
    assert_eq!(store.insert(&token(1, 1))?, Insertion::IdTaken);
    assert_eq!(store.insert(&token(1, 9))?, Insertion::IdTaken);
    assert_eq!(store.insert(&token(9, 1))?, Insertion::DigestTaken);
    assert_eq!(all(store)?, [token(1, 1), token(2, 2)]);

    let mut changed = token(1, 1);
    changed.name.clear();
    changed.roles.clear();
    changed.description = None;
    changed.dedicated_subject = Some("subject".into());
    changed.expires = None;
    assert!(store.update(&changed)?);
    assert!(!store.update(&token(1, 9))?, "an update keeps the digest");
    assert_eq!(all(store)?, [changed, token(2, 2)]);

    assert!(store.delete(token(1, 1).id, AfterDelete::RefuseDigest)?);
    assert!(!store.delete(token(1, 1).id, AfterDelete::RefuseDigest)?);
    assert!(store.is_spent(&token(1, 1).digest)?);
    assert_eq!(store.insert(&token(1, 1))?, Insertion::DigestSpent);
    assert_eq!(store.insert(&token(1, 3))?, Insertion::Inserted);

    assert!(store.delete(token(2, 2).id, AfterDelete::ForgetDigest)?);
    assert!(!store.is_spent(&token(2, 2).digest)?);
    assert_eq!(store.insert(&token(2, 2))?, Insertion::Inserted);
    assert_eq!(all(store)?, [token(1, 3), token(2, 2)]);
    Ok(())
}

#[test]
fn memory_store_conforms() {
    conformance(&MemoryStore::new()).unwrap();
}
