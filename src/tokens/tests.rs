//! What the index promises, one promise at a time; `model` asks for all of them in any order.

mod model;

use super::*;
use crate::store::Names;
use crate::store::memory::MemoryStore;
use crate::token::{FormerSecret, Secret};
use std::sync::atomic::AtomicBool;
use std::thread;

const CHOSEN: &str = "a-token-that-its-operator-chose";

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn record(credential: &Credential, expires: Option<i64>) -> TokenRecord {
    let Credential::Token(secret, kind) = credential else { panic!("no token: {credential:?}") };
    TokenRecord {
        id: TokenId::generate().unwrap(),
        digest: secret.digest(),
        kind: *kind,
        origin: TokenOrigin::Api,
        name: "ci".into(),
        description: None,
        roles: vec![RoleName::parse("guest").unwrap()],
        dedicated_subject: None,
        disabled: None,
        former: None,
        created: at(0),
        updated: at(0),
        expires: expires.map(at),
    }
}

fn generated() -> Credential {
    Credential::read(Secret::generate().unwrap().expose())
}

fn index_with(credential: &Credential, expires: Option<i64>) -> (TokenIndex, TokenRecord) {
    let (index, record) = (TokenIndex::new(), record(credential, expires));
    index.insert(&record);
    (index, record)
}

/// The same token with another secret; the one before lives on up to `grace`.
fn rotated(before: &TokenRecord, credential: &Credential, grace: Option<i64>) -> TokenRecord {
    let Credential::Token(secret, kind) = credential else { panic!("no token: {credential:?}") };
    let former = |expires| FormerSecret { digest: before.digest, kind: before.kind, expires: at(expires) };
    TokenRecord { digest: secret.digest(), kind: *kind, former: grace.map(former), ..before.clone() }
}

/// Who is let in, and by which id the others are told.
fn told(index: &TokenIndex, credential: &Credential, now: i64) -> Result<Principal, Unauthenticated> {
    index.authenticate(credential, at(now)).map(|known| known.principal)
}

#[test]
fn live_token_is_told_by_id_name_and_roles() {
    for credential in [generated(), Credential::read(CHOSEN)] {
        for name in ["ci", "", "a name that is longer than what fits into a slot"] {
            let (index, mut record) = index_with(&credential, None);
            record.name = name.into();
            index.insert(&record);
            assert_eq!(told(&index, &credential, 5), Ok(record.principal()));
        }
    }
}

#[test]
fn index_holds_what_the_store_holds() {
    let (store, credential, former) = (MemoryStore::new(), generated(), generated());
    let record = rotated(&record(&former, None), &credential, Some(10));
    let declared = TokenRecord { origin: TokenOrigin::Declared, ..self::record(&generated(), None) };
    for record in [&record, &declared] {
        let _ = store.insert(record, Names::MayRepeat).unwrap();
    }
    let index = TokenIndex::load(&store).unwrap();
    assert_eq!((index.len(), index.configured_ids()), (2, vec![declared.id]));
    assert_eq!(record.digests().map(|digest| index.id_of(&digest)).collect::<Vec<_>>(), [Some(record.id); 2]);
    assert_eq!(index.id_of(&TokenDigest::from_bytes([0; 32])), None);
    assert_eq!(told(&index, &credential, 0), Ok(record.principal()));
    assert_eq!(told(&index, &former, 0), Ok(record.principal()));
}

#[test]
fn what_is_no_live_token_is_refused_with_its_cause() {
    let (index, _) = index_with(&Credential::read(CHOSEN), None);
    assert_eq!(told(&index, &Credential::Missing, 0), Err(Unauthenticated::Missing));
    let unusable = Credential::Unusable(Unusable::Scheme);
    assert_eq!(told(&index, &unusable, 0), Err(Unauthenticated::Unusable(Unusable::Scheme)));
    let other = Credential::read("another-token-that-nobody-knows");
    assert_eq!(told(&index, &other, 0), Err(Unauthenticated::Unknown));
    assert_eq!(told(&index, &generated(), 0), Err(Unauthenticated::Unknown));
}

#[test]
fn chosen_text_is_looked_up_while_a_chosen_token_exists() {
    let credential = Credential::read(CHOSEN);
    // The record claims to be generated, so that only a look-up could find it.
    let disguised = TokenRecord { kind: SecretKind::Generated, ..record(&credential, None) };
    let index = TokenIndex::new();
    index.insert(&disguised);
    assert_eq!(told(&index, &credential, 0), Err(Unauthenticated::Unknown));

    let chosen = record(&Credential::read("another-token-of-the-operator"), None);
    index.insert(&chosen);
    assert!(told(&index, &credential, 0).is_ok());
    let renamed = TokenRecord { name: "renamed".into(), ..chosen.clone() };
    index.update(&chosen, &renamed);
    assert!(told(&index, &credential, 0).is_ok());
    // As a former secret it is chosen still.
    let after = rotated(&renamed, &generated(), Some(10));
    index.update(&renamed, &after);
    assert!(told(&index, &credential, 0).is_ok());
    index.update(&after, &TokenRecord { former: None, ..after.clone() });
    assert_eq!(told(&index, &credential, 0), Err(Unauthenticated::Unknown));
}

#[test]
fn token_lives_up_to_the_millisecond_before_its_expiry() {
    let credential = generated();
    let (index, record) = index_with(&credential, Some(1_000));
    let handle = index.authenticate(&credential, at(999)).unwrap().handle;
    assert!(index.is_live(handle, at(999)));
    assert_eq!(index.live_id_of(&record.digest, at(999)), Some(record.id));
    assert_eq!(told(&index, &credential, 1_000), Err(Unauthenticated::Expired(record.id)));
    assert!(!index.is_live(handle, at(1_000)) && !index.is_live(handle, at(999)));
    assert_eq!(index.live_id_of(&record.digest, at(999)), None);
}

#[test]
fn token_seen_expired_stays_so_when_the_clock_jumps_back() {
    let credential = generated();
    let (index, record) = index_with(&credential, Some(1_000));
    let expired = Err(Unauthenticated::Expired(record.id));
    assert_eq!(told(&index, &credential, 1_000), expired);
    assert_eq!(told(&index, &credential, 10), expired);
    let renewed = TokenRecord { expires: None, ..record.clone() };
    index.update(&record, &renewed);
    assert_eq!(told(&index, &credential, 10), expired);

    // Nor does another secret help it, or the one before.
    let other = generated();
    index.update(&renewed, &rotated(&renewed, &other, Some(5_000)));
    assert_eq!(told(&index, &other, 10), expired);
    assert_eq!(told(&index, &credential, 10), Err(Unauthenticated::Rotated(record.id)));
}

#[test]
fn token_that_a_look_by_its_handle_saw_expired_stays_so() {
    let credential = generated();
    let (index, record) = index_with(&credential, Some(1_000));
    let handle = index.authenticate(&credential, at(0)).unwrap().handle;
    assert!(!index.is_live(handle, at(1_000)));
    assert_eq!(told(&index, &credential, 0), Err(Unauthenticated::Expired(record.id)));
}

#[test]
fn clock_that_jumps_forward_and_back_hurts_no_token_that_was_not_used_meanwhile() {
    let (used, unused) = (generated(), generated());
    let (index, _) = index_with(&used, Some(1_000));
    index.insert(&record(&unused, Some(1_000)));
    assert!(told(&index, &used, 2_000).is_err());
    assert_eq!(index.count_roles(|_| true, at(2_000)).len(), 0, "a count is no use");
    assert!(told(&index, &unused, 10).is_ok());
}

#[test]
fn disabled_token_is_refused_until_it_is_enabled() {
    let credential = generated();
    let (index, record) = index_with(&credential, Some(1_000));
    let handle = index.authenticate(&credential, at(0)).unwrap().handle;
    let disabled = TokenRecord { disabled: Some(at(1)), ..record.clone() };
    assert!(index.update(&record, &disabled));
    assert_eq!(told(&index, &credential, 2), Err(Unauthenticated::Disabled(record.id)));
    assert!(!index.is_live(handle, at(2)));
    assert!(index.update(&disabled, &record));
    assert!(told(&index, &credential, 2).is_ok() && index.is_live(handle, at(2)));
    // That it has expired is told first, since nothing undoes it, and it is seen all the same.
    assert!(index.update(&record, &disabled));
    assert_eq!(told(&index, &credential, 1_000), Err(Unauthenticated::Expired(record.id)));
    assert!(index.update(&disabled, &record));
    assert_eq!(told(&index, &credential, 2), Err(Unauthenticated::Expired(record.id)));
}

#[test]
fn update_changes_roles_at_once_and_keeps_the_digest() {
    let credential = generated();
    let (index, before) = index_with(&credential, None);
    let handle = index.authenticate(&credential, at(0)).unwrap().handle;
    let after = TokenRecord { roles: vec![RoleName::parse("admin").unwrap()], ..before.clone() };
    assert!(index.update(&before, &after));
    assert_eq!(told(&index, &credential, 0).unwrap().roles.as_ref(), after.roles);
    assert!(index.is_live(handle, at(0)));
    let other = TokenRecord { id: TokenId::generate().unwrap(), ..after.clone() };
    assert!(!index.update(&other, &other));
    assert_eq!((told(&index, &credential, 0), index.len()), (Ok(after.principal()), 1));
}

#[test]
fn secret_that_is_replaced_without_grace_ends_at_once() {
    let (old, new) = (generated(), generated());
    let (index, before) = index_with(&old, None);
    let handle = index.authenticate(&old, at(0)).unwrap().handle;
    let after = rotated(&before, &new, None);
    assert!(index.update(&before, &after));
    assert_eq!(told(&index, &old, 0), Err(Unauthenticated::Unknown));
    assert!(!index.is_live(handle, at(0)), "what was permitted to the former secret is over");
    assert_eq!(told(&index, &new, 0), Ok(after.principal()));
    assert_eq!(index.len(), 1);
}

#[test]
fn former_secret_lives_up_to_its_own_expiry_and_not_past_its_token() {
    let (old, new) = (generated(), generated());
    let (index, before) = index_with(&old, Some(1_000));
    let handle = index.authenticate(&old, at(0)).unwrap().handle;
    let after = rotated(&before, &new, Some(100));
    assert!(index.update(&before, &after));
    assert_eq!(told(&index, &old, 99), Ok(after.principal()));
    assert!(index.is_live(handle, at(99)), "what was permitted to it goes on");
    assert_eq!(index.len(), 1);

    // What becomes of the token becomes of it by either secret.
    let changed = TokenRecord { name: "other".into(), disabled: Some(at(9)), ..after.clone() };
    assert!(index.update(&after, &changed));
    assert_eq!(told(&index, &old, 99), Err(Unauthenticated::Disabled(before.id)));
    assert!(index.update(&changed, &after));

    assert_eq!(told(&index, &old, 100), Err(Unauthenticated::Rotated(before.id)));
    assert_eq!(told(&index, &old, 99), Err(Unauthenticated::Rotated(before.id)), "the clock jumped back");
    assert!(!index.is_live(handle, at(99)));
    assert!(told(&index, &new, 999).is_ok());

    // A former secret that claims to outlive its token does not.
    let claims =
        TokenRecord { former: after.former.map(|it| FormerSecret { expires: at(9_000), ..it }), ..after };
    let index = TokenIndex::new();
    index.insert(&claims);
    assert!(told(&index, &old, 999).is_ok());
    assert_eq!(told(&index, &old, 1_000), Err(Unauthenticated::Expired(before.id)));
    assert_eq!(told(&index, &new, 999), Err(Unauthenticated::Expired(before.id)));
}

#[test]
fn next_rotation_ends_the_former_secret() {
    let (first, second, third) = (generated(), generated(), generated());
    let (index, record) = index_with(&first, None);
    let once = rotated(&record, &second, Some(1_000));
    let twice = rotated(&once, &third, Some(1_000));
    assert!(index.update(&record, &once) && index.update(&once, &twice));
    assert_eq!(told(&index, &first, 0), Err(Unauthenticated::Unknown));
    assert_eq!(
        [&second, &third].map(|it| told(&index, it, 0)),
        [Ok(twice.principal()), Ok(twice.principal())]
    );

    // A secret that comes back is no former one any more, though it had been seen expired as that.
    assert_eq!(told(&index, &second, 1_000), Err(Unauthenticated::Rotated(record.id)));
    let back = rotated(&twice, &second, Some(2_000));
    assert!(index.update(&twice, &back));
    assert_eq!([&second, &third].map(|it| told(&index, it, 0)), [Ok(back.principal()), Ok(back.principal())]);
}

#[test]
fn removed_token_is_known_by_no_secret_and_its_handles_stay_dead() {
    let (old, new) = (generated(), generated());
    let (index, before) = index_with(&old, None);
    let after = rotated(&before, &new, Some(1_000));
    index.update(&before, &after);
    let handles = [&old, &new].map(|it| index.authenticate(it, at(0)).unwrap().handle);
    assert!(index.remove(&after));
    assert!(!index.remove(&after) && index.is_empty());
    assert_eq!([&old, &new].map(|it| told(&index, it, 0)), [const { Err(Unauthenticated::Unknown) }; 2]);

    // The same token comes back into the same slots, again and again: more often than a slot has generations.
    let mut latest = handles;
    for _ in 0..600 {
        index.insert(&after);
        let now = [&old, &new].map(|it| index.authenticate(it, at(0)).unwrap().handle);
        assert!(now.iter().all(|handle| index.is_live(*handle, at(0))));
        for dead in handles.iter().chain(&latest).filter(|_| now != handles) {
            assert!(!index.is_live(*dead, at(0)), "{dead:?} came alive again");
        }
        latest = now;
        assert!(index.remove(&after));
    }
}

#[test]
fn outdated_record_removes_and_updates_the_token_that_there_is() {
    let (old, new, newest) = (generated(), generated(), generated());
    let (index, outdated) = index_with(&old, None);
    let current = rotated(&outdated, &new, None);
    index.update(&outdated, &current);
    let next = rotated(&outdated, &newest, None);
    assert!(index.update(&outdated, &next));
    assert_eq!([&new, &newest].map(|it| told(&index, it, 0).is_ok()), [false, true]);
    assert!(index.remove(&outdated));
    assert!(told(&index, &newest, 0).is_err() && index.is_empty());
}

#[test]
fn inserting_a_digest_again_leaves_no_trace_of_the_old_token() {
    let credential = generated();
    let (index, first) = index_with(&credential, None);
    let handle = index.authenticate(&credential, at(0)).unwrap().handle;
    let renumbered = TokenRecord { id: TokenId::generate().unwrap(), ..first.clone() };
    index.insert(&renumbered);
    assert_eq!((told(&index, &credential, 0), index.len()), (Ok(renumbered.principal()), 1));
    assert!(!index.is_live(handle, at(0)) && !index.remove(&first));
    assert!(index.remove(&renumbered) && index.is_empty());
}

#[test]
fn configured_ids_are_those_of_tokens_that_the_configuration_asked_for() {
    let index = TokenIndex::new();
    let records = [TokenOrigin::Api, TokenOrigin::Bootstrap, TokenOrigin::Declared]
        .map(|origin| TokenRecord { origin, ..record(&generated(), None) });
    records.iter().for_each(|record| index.insert(record));
    let mut expected = vec![records[1].id, records[2].id];
    expected.sort_unstable();
    assert_eq!(index.configured_ids(), expected);
    index.update(&records[1], &TokenRecord { origin: TokenOrigin::Api, ..records[1].clone() });
    assert_eq!(index.configured_ids(), [records[2].id]);
    index.remove(&records[2]);
    assert!(index.configured_ids().is_empty());
}

#[test]
fn roles_are_counted_by_token_without_the_expired_and_former_secrets() {
    let role = |name| RoleName::parse(name).unwrap();
    let index = TokenIndex::new();
    let old = record(&generated(), None);
    for expires in [None, Some(5), Some(6)] {
        index.insert(&TokenRecord { roles: vec![role("a"), role("b")], ..record(&generated(), expires) });
    }
    index.insert(&old);
    index.update(&old, &rotated(&old, &generated(), Some(100)));
    let all = index.count_roles(|_| true, at(5));
    assert_eq!(all.into_iter().collect::<Vec<_>>(), [(role("a"), 2), (role("b"), 2), (role("guest"), 1)]);
    let sought = index.count_roles(|role| role.as_str() == "b", at(0));
    assert_eq!(sought.into_iter().collect::<Vec<_>>(), [(role("b"), 3)]);
    assert!(index.count_roles(|_| false, at(0)).is_empty());
}

#[test]
fn removal_is_in_force_when_remove_returns() {
    const TOKENS: usize = 300;
    let index = TokenIndex::new();
    let credentials: Vec<Credential> = (0..TOKENS).map(|_| generated()).collect();
    let records: Vec<TokenRecord> = credentials.iter().map(|c| record(c, None)).collect();
    records.iter().for_each(|record| index.insert(record));
    let removed = AtomicUsize::new(0);

    thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut refused = 0;
                    loop {
                        // Everything below this mark was removed before the question is asked.
                        let mark = removed.load(Ordering::SeqCst);
                        for credential in &credentials[mark.saturating_sub(8)..mark] {
                            assert_eq!(told(&index, credential, 0), Err(Unauthenticated::Unknown));
                            refused += 1;
                        }
                        if mark == TOKENS {
                            return refused;
                        }
                    }
                })
            })
            .collect();
        for (at, record) in records.iter().enumerate() {
            assert!(index.remove(record));
            removed.store(at + 1, Ordering::SeqCst);
        }
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() > 0));
    });
    assert!(index.is_empty() && !index.remove(&records[0]));
}

#[test]
fn token_is_known_all_the_while_it_is_updated() {
    let credential = Credential::read(CHOSEN);
    let (index, record) = index_with(&credential, None);
    let handle = index.authenticate(&credential, at(0)).unwrap().handle;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut admitted = 0;
            while !is_over.load(Ordering::SeqCst) || admitted == 0 {
                assert_eq!(told(&index, &credential, 0).map(|known| known.id), Ok(record.id.into()));
                assert!(index.is_live(handle, at(0)));
                admitted += 1;
            }
        });
        for number in 0..2_000 {
            assert!(index.update(&record, &TokenRecord { name: format!("{number}"), ..record.clone() }));
            index.insert(&record);
        }
        is_over.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });
    assert_eq!((index.len(), index.chosen.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn token_is_known_by_one_secret_or_the_other_all_the_while_it_is_rotated() {
    let credentials = [generated(), Credential::read(CHOSEN)];
    let (index, first) = index_with(&credentials[0], None);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut admitted = 0;
            while !is_over.load(Ordering::SeqCst) || admitted == 0 {
                // With grace, whichever is presented is the token's, or its former one.
                for credential in &credentials[..1] {
                    assert_eq!(told(&index, credential, 0).map(|known| known.id), Ok(first.id.into()));
                }
                admitted += 1;
            }
        });
        let mut before = first.clone();
        for turn in 1..2_000 {
            let after = rotated(&before, &credentials[turn % 2], Some(1_000));
            assert!(index.update(&before, &after));
            before = after;
        }
        is_over.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });
    assert_eq!((index.len(), index.chosen.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn token_that_is_seen_expired_during_an_update_stays_so() {
    for turn in 0..500 {
        let (credential, other) = (generated(), generated());
        let (index, record) = index_with(&credential, Some(1_000));
        let refused = thread::scope(|scope| {
            let reader = scope.spawn(|| told(&index, &credential, 2_000));
            for expires in [1_000; 20].into_iter().chain([9_000]) {
                assert!(index.update(&record, &TokenRecord { expires: Some(at(expires)), ..record.clone() }));
            }
            if turn % 2 == 0 {
                let renewed = TokenRecord { expires: Some(at(9_000)), ..record.clone() };
                assert!(index.update(&renewed, &rotated(&renewed, &other, None)));
            }
            reader.join().unwrap()
        });
        let by = if turn % 2 == 0 { &other } else { &credential };
        assert_eq!(told(&index, by, 500).is_err(), refused == Err(Unauthenticated::Expired(record.id)));
    }
}
