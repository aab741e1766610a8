//! The suite that every store has to pass.

mod basics;
mod names;
mod pages;
mod uses;

use super::fail;
use crate::store::{AfterDelete, Insertion, Names, Store, StoreError, Update};
use crate::time::Timestamp;
use crate::token::{RoleName, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};

/// Fails the test unless a store keeps all that [`Store`] promises. `empty` makes a store without tokens, another one
/// each time.
///
/// ```
/// use rolegate::store::memory::MemoryStore;
///
/// rolegate::testing::store_conformance(MemoryStore::new);
/// ```
#[track_caller]
pub fn store_conformance<S: Store>(empty: impl Fn() -> S) {
    type Part = fn(&dyn Store) -> Result<(), StoreError>;
    let parts: [(&str, Part); 8] = [
        ("the calls", basics::calls),
        ("the digests", basics::digests),
        ("many changes at once", basics::many_at_once),
        ("the names", names::names),
        ("a race for a name", names::race_for_a_name),
        ("the uses", uses::uses),
        ("the pages", pages::pages),
        ("the limits of pages", pages::limits),
    ];
    for (what, part) in parts {
        if let Err(error) = part(&empty()) {
            fail(&format!("the store failed in the part of the suite about {what}: {error}"));
        }
    }
}

/// Fails the test unless what a store acknowledged is there when it is opened again. `open` opens the same store each
/// time, which is empty at first; each one is dropped before the next is opened. Whether it survives a loss of power
/// takes more than a test of this kind.
#[track_caller]
pub fn store_durability<S: Store>(open: impl Fn() -> S) {
    if let Err(error) = durability(&open) {
        fail(&format!("the store failed: {error}"));
    }
}

fn durability<S: Store>(open: &impl Fn() -> S) -> Result<(), StoreError> {
    let [first, gone, spent] = [token(1, 1), token(2, 2), token(3, 3)];
    insert_all(&open(), &[first.clone(), gone.clone(), spent.clone()])?;
    assert_eq!(all(&open())?, [first.clone(), gone.clone(), spent.clone()]);

    let changed = TokenRecord { name: "changed".to_owned(), roles: Vec::new(), ..first.clone() };
    assert_eq!(open().update(&first, &changed, Names::MayRepeat)?, Update::Done);
    assert!(open().delete(gone.id, AfterDelete::ForgetDigest)?);
    assert!(open().delete(spent.id, AfterDelete::RefuseDigest)?);
    let used = uses::usage(5, 2, &["read"]);
    open().record_uses(&[crate::store::usage::TokenUse { id: first.id, usage: used.clone() }])?;

    let store = open();
    assert_eq!(all(&store)?, [changed]);
    assert_eq!((store.is_spent(&gone.digest)?, store.is_spent(&spent.digest)?), (false, true));
    assert_eq!(store.usage(first.id)?, Some(used));
    Ok(())
}

/// A token whose id and digest are made of small numbers, so that parts of the suite can make them collide.
fn token(id: u64, digest: u8) -> TokenRecord {
    let role = |name| RoleName::parse(name).ok();
    TokenRecord {
        id: TokenId::new(TokenId::MIN.saturating_add(id)).unwrap_or(TokenId::LEAST),
        digest: TokenDigest::from_bytes([digest; 32]),
        kind: SecretKind::Generated,
        origin: TokenOrigin::Api,
        name: format!("token {id} \u{1f511}"),
        description: id.is_multiple_of(2).then(|| "with \"quotes\"\nand a line".into()),
        roles: [role("admin"), role("ci:x/y@z")].into_iter().flatten().collect(),
        dedicated_subject: None,
        created: Timestamp::from_millis(1_000),
        updated: Timestamp::from_millis(2_000),
        expires: Some(Timestamp::from_millis(i64::MAX)),
        disabled: None,
        former: None,
    }
}

/// All tokens of a store, by id.
fn all(store: &dyn Store) -> Result<Vec<TokenRecord>, StoreError> {
    let mut tokens = Vec::new();
    store.load(&mut |token| tokens.push(token.to_record()))?;
    tokens.sort_by_key(|token| token.id);
    Ok(tokens)
}

fn insert_all(store: &dyn Store, records: &[TokenRecord]) -> Result<(), StoreError> {
    for record in records {
        assert_eq!(store.insert(record, Names::MayRepeat)?, Insertion::Inserted);
    }
    Ok(())
}
