//! Pages that are walked while tokens come, go and change their names: whoever is left alone is met once.

use super::suite::orders;
use super::token;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rolegate::store::page::PageQuery;
use rolegate::store::{AfterDelete, Names, Store};
use rolegate::time::Timestamp;
use rolegate::token::{TokenDigest, TokenId, TokenRecord};

/// Tokens with these numbers are left alone; those after them come and go.
const LEFT_ALONE: u64 = 12;

/// What happens between two pages.
#[derive(Clone, Debug)]
enum Event {
    Insert(u64, u8),
    Rename(u64, u8),
    Delete(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let others = LEFT_ALONE..2 * LEFT_ALONE;
    let event = prop_oneof![
        (others.clone(), 0..6_u8).prop_map(|(id, place)| Event::Insert(id, place)),
        (others.clone(), 0..6_u8).prop_map(|(id, place)| Event::Rename(id, place)),
        others.prop_map(Event::Delete),
    ];
    proptest::collection::vec(event, 0..4)
}

/// A token at one of a few places of every order, so that many are alike.
fn placed(id: u64, place: u8) -> TokenRecord {
    let mut digest = [7; 32];
    digest.iter_mut().zip(id.to_le_bytes()).for_each(|(byte, of_id)| *byte = of_id);
    TokenRecord {
        digest: TokenDigest::from_bytes(digest),
        name: "n".repeat(usize::from(place)),
        created: Timestamp::from_millis(i64::from(place) - 3),
        expires: (place < 4).then(|| Timestamp::from_millis(-i64::from(place))),
        ..token(id, 0)
    }
}

#[expect(clippy::unwrap_used, reason = "a store that fails fails the test")]
fn apply(store: &dyn Store, event: &Event) {
    match event {
        Event::Insert(id, place) => {
            let _ = store.insert(&placed(*id, *place), Names::MayRepeat).unwrap();
        }
        Event::Rename(id, place) => {
            if let Some(before) = store.get(placed(*id, 0).id).unwrap() {
                let other = placed(*id, *place);
                let after = TokenRecord { name: other.name, expires: other.expires, ..before.clone() };
                let _ = store.update(&before, &after, Names::MayRepeat).unwrap();
            }
        }
        Event::Delete(id) => {
            store.delete(placed(*id, 0).id, AfterDelete::ForgetDigest).unwrap();
        }
    }
}

/// Walks through stores that `open` makes, each empty.
#[expect(clippy::unwrap_used, reason = "a property that does not hold fails the test")]
pub(crate) fn check<S: Store>(open: &dyn Fn() -> S) {
    let places = proptest::collection::vec(0..6_u8, usize::try_from(2 * LEFT_ALONE).unwrap());
    let between = proptest::collection::vec(events(), 1..12);
    let strategy = (places, between, 1..5_usize);
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&strategy, |(places, between, limit)| {
            let store = open();
            for (id, place) in (0..).zip(&places) {
                let _ = store.insert(&placed(id, *place), Names::MayRepeat).unwrap();
            }
            for order in orders() {
                let mut expected: Vec<_> =
                    (0..LEFT_ALONE).zip(&places).map(|(id, place)| placed(id, *place)).collect();
                expected.sort_by(|one, other| order.compare(&order.position(one), &order.position(other)));
                let mut query = PageQuery { limit, ..PageQuery::first(order) };
                let mut met = Vec::new();
                for events in between.iter().cycle().take(1_000) {
                    let page = store.page(&query).unwrap();
                    met.extend(page.tokens.into_iter().map(|listed| listed.record));
                    events.iter().for_each(|event| apply(&store, event));
                    match page.next {
                        Some(next) => query.after = Some(next),
                        None => break,
                    }
                }
                met.retain(|record| record.id.get() < TokenId::MIN + LEFT_ALONE);
                prop_assert_eq!(met, expected, "{:?}", order);
            }
            Ok(())
        })
        .unwrap();
}
