//! The embedded store against the one in memory: the same steps have the same outcomes, also after a restart.

use super::suite::orders;
use super::{all, suite, token};
use proptest::prelude::*;
use rolegate::store::embedded::{EmbeddedStore, check};
use rolegate::store::memory::MemoryStore;
use rolegate::store::page::{Filter, NameFilter, PageQuery};
use rolegate::store::usage::{RouteUse, TokenUse, Usage};
use rolegate::store::{AfterDelete, Names, Store as _};
use rolegate::time::Timestamp;
use rolegate::token::{FormerSecret, SecretKind, TokenDigest, TokenId, TokenRecord};

/// Ids, digests and names are drawn from so few that they collide.
const FEW: u8 = 6;

#[derive(Clone, Debug)]
enum Step {
    Insert(TokenRecord, bool),
    /// The token as it is kept, or a stale one, becomes another.
    Update(TokenRecord, bool, bool),
    Delete(u8, bool),
    RecordUses(Vec<(u8, i64, u8)>),
    Reopen,
}

#[expect(clippy::unwrap_used, reason = "the numbers are in range")]
fn id(number: u8) -> TokenId {
    TokenId::new(TokenId::MIN + u64::from(number)).unwrap()
}

fn records() -> impl Strategy<Value = TokenRecord> {
    let former = proptest::option::weighted(0.3, 0..FEW);
    let times = (-2..3_i64, proptest::option::of(-2..3_i64), any::<bool>());
    (0..FEW, 0..FEW, former, "[ab]{0,2}", times).prop_map(|(number, digest, former, name, times)| {
        let former = former.filter(|former| *former != digest).map(|former| FormerSecret {
            digest: TokenDigest::from_bytes([former; 32]),
            kind: SecretKind::Generated,
            expires: Timestamp::EPOCH,
        });
        TokenRecord {
            name,
            former,
            created: Timestamp::from_millis(times.0),
            expires: times.1.map(Timestamp::from_millis),
            disabled: times.2.then_some(Timestamp::EPOCH),
            ..token(number.into(), digest)
        }
    })
}

fn steps() -> impl Strategy<Value = Step> {
    let uses = proptest::collection::vec((0..FEW, -2..3_i64, 0..3_u8), 0..4);
    prop_oneof![
        8 => (records(), any::<bool>()).prop_map(|(record, unique)| Step::Insert(record, unique)),
        6 => (records(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(record, unique, stale)| Step::Update(record, unique, stale)),
        4 => (0..FEW, any::<bool>()).prop_map(|(number, refuse)| Step::Delete(number, refuse)),
        2 => uses.prop_map(Step::RecordUses),
        1 => Just(Step::Reopen),
    ]
}

fn names(unique: bool) -> Names {
    if unique { Names::Unique } else { Names::MayRepeat }
}

fn filters() -> impl Strategy<Value = Filter> {
    let name = prop_oneof![
        Just(None),
        "[ab]{0,2}".prop_map(|name| Some(NameFilter::Exact(name))),
        "[ab]{0,1}".prop_map(|start| Some(NameFilter::Prefix(start))),
    ];
    let times = || proptest::option::weighted(0.4, (-2..3_i64).prop_map(Timestamp::from_millis));
    (name, times(), times()).prop_map(|(name, expires_before, unused_since)| Filter {
        name,
        role: None,
        expires_before,
        unused_since,
    })
}

#[expect(clippy::unwrap_used, reason = "a store that fails fails the test")]
fn compare(real: &EmbeddedStore, model: &MemoryStore, filter: &Filter) -> Result<(), TestCaseError> {
    prop_assert_eq!(all(real).unwrap(), all(model).unwrap());
    for number in 0..FEW {
        let digest = TokenDigest::from_bytes([number; 32]);
        prop_assert_eq!(real.is_spent(&digest).unwrap(), model.is_spent(&digest).unwrap());
        prop_assert_eq!(real.get(id(number)).unwrap(), model.get(id(number)).unwrap());
        prop_assert_eq!(real.usage(id(number)).unwrap(), model.usage(id(number)).unwrap());
    }
    for order in orders() {
        let query = PageQuery { filter: filter.clone(), ..PageQuery::first(order) };
        let (one, other) = (real.page(&query).unwrap(), model.page(&query).unwrap());
        prop_assert_eq!(one, other);
        let query = PageQuery { limit: 2, ..query };
        prop_assert_eq!(suite::walk(real, query.clone()).unwrap(), suite::walk(model, query).unwrap());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn embedded_store_does_what_the_memory_store_does(
        steps in proptest::collection::vec(steps(), 1..60),
        filter in filters(),
    ) {
        let (folder, model) = (tempfile::tempdir().unwrap(), MemoryStore::new());
        let mut store = Some(EmbeddedStore::open(folder.path()).unwrap());
        for step in steps {
            let real = store.as_ref().unwrap();
            match step {
                Step::Insert(record, unique) => {
                    let expected = model.insert(&record, names(unique)).unwrap();
                    prop_assert_eq!(real.insert(&record, names(unique)).unwrap(), expected);
                }
                Step::Update(after, unique, stale) => {
                    let kept = model.get(after.id).unwrap().filter(|_| !stale);
                    let before = kept.unwrap_or_else(|| token(after.id.get() - TokenId::MIN, 0));
                    let expected = model.update(&before, &after, names(unique)).unwrap();
                    prop_assert_eq!(real.update(&before, &after, names(unique)).unwrap(), expected);
                }
                Step::Delete(number, refuse) => {
                    let after = if refuse { AfterDelete::RefuseDigest } else { AfterDelete::ForgetDigest };
                    let expected = model.delete(id(number), after).unwrap();
                    prop_assert_eq!(real.delete(id(number), after).unwrap(), expected);
                }
                Step::RecordUses(uses) => {
                    let one = |(number, at, route): (u8, i64, u8)| {
                        let last_used = Timestamp::from_millis(at);
                        let route = RouteUse { by: route.to_string(), last_used, count: 1 };
                        TokenUse { id: id(number), usage: Usage { last_used, count: 2, routes: vec![route] } }
                    };
                    let uses: Vec<_> = uses.into_iter().map(one).collect();
                    model.record_uses(&uses).unwrap();
                    real.record_uses(&uses).unwrap();
                }
                Step::Reopen => {
                    drop(store.take());
                    store = Some(EmbeddedStore::open(folder.path()).unwrap());
                }
            }
            compare(store.as_ref().unwrap(), &model, &filter)?;
        }
        drop(store);
        let findings = check(folder.path(), &mut |_, _, _| {}).unwrap();
        prop_assert!(findings.is_whole(), "{:?}", findings.faults);
    }
}
