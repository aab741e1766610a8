//! The life of a token: another secret, disabled and enabled, other words, its use.

use super::{BOOTSTRAP, Outcome, POLICY, World, at, names, reader};
use rolegate::engine::{Answer, ChangeError, CommitError, GRACE_MAX, NewToken, ReadError, TokenChanges};
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::privilege::Grant;
use rolegate::store::page::{Filter, Order, PageQuery};
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, Secret, SecretState, TokenId};
use rolegate::tokens::Unauthenticated;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

impl World {
    fn rotate(&self, id: TokenId, grace: Duration, now: i64) -> Result<String, Box<dyn Error>> {
        let rotated = self.engine.rotate(&self.admin()?, id, grace, at(now))?;
        assert_eq!(rotated.record.id, id);
        Ok(rotated.secret.expose().to_owned())
    }

    fn switch(&self, id: TokenId, is_enabled: bool, now: i64) -> Result<(), Box<dyn Error>> {
        let record = self.engine.set_enabled(&self.admin()?, id, is_enabled, at(now))?;
        assert_eq!(record.disabled.is_none(), is_enabled);
        Ok(())
    }

    /// Why the token is refused; `None` when it is let in.
    fn cause(&self, secret: &str, now: i64) -> Result<Option<Unauthenticated>, Box<dyn Error>> {
        Ok(match self.check(secret, "GET", "/things", now)? {
            Answer::Unauthenticated(challenge) => Some(challenge.cause),
            Answer::Permitted(_) | Answer::Forbidden(_) => None,
        })
    }

    fn bootstrap_id(&self) -> Result<TokenId, Box<dyn Error>> {
        self.admin()?.principal().and_then(|it| it.id.token()).ok_or_else(|| "no token".into())
    }
}

fn expiring(millis: i64) -> NewToken {
    NewToken { expires: Some(at(millis)), ..reader() }
}

#[test]
fn rotation_without_grace_ends_the_old_secret_at_once() -> Outcome {
    let world = World::start()?;
    let (id, old) = world.create(reader())?;
    let new = world.rotate(id, Duration::ZERO, 2)?;
    assert_eq!(world.cause(&old, 2)?, Some(Unauthenticated::Unknown));
    assert_eq!(world.permit(&new, "GET", "/things")?.principal().and_then(|it| it.id.token()), Some(id));
    Ok(())
}

#[test]
fn rotation_with_grace_lets_the_old_secret_live_on_to_the_millisecond() -> Outcome {
    let world = World::start()?;
    let (id, old) = world.create(reader())?;
    let new = world.rotate(id, MINUTE, 1_000)?;
    for now in [1_000, 60_999] {
        assert_eq!((world.cause(&old, now)?, world.cause(&new, now)?), (None, None), "{now}");
    }
    assert!(world.cause(&old, 61_000)?.is_some());
    assert_eq!(world.cause(&new, 61_000)?, None);
    // What was seen ended stays so, whatever the clock says.
    assert!(world.cause(&old, 1_000)?.is_some());
    Ok(())
}

#[test]
fn old_secret_never_outlives_its_token() -> Outcome {
    let world = World::start()?;
    let (id, old) = world.create(expiring(30_000))?;
    let new = world.rotate(id, MINUTE, 1_000)?;
    let record = world.engine.get(&world.admin()?, id)?.record;
    assert_eq!(record.former.map(|former| former.expires), Some(at(30_000)));
    assert_eq!((world.cause(&old, 29_999)?, world.cause(&new, 29_999)?), (None, None));
    assert!(world.cause(&old, 30_000)?.is_some() && world.cause(&new, 30_000)?.is_some());

    let (id, _) = world.create(reader())?;
    world.rotate(id, MINUTE, 1_000)?;
    let sooner = TokenChanges { expires: Some(Some(at(5_000))), ..TokenChanges::default() };
    let changed = world.engine.change(&world.admin()?, id, &sooner, at(2_000))?;
    assert_eq!(changed.former.map(|former| former.expires), Some(at(5_000)));
    Ok(())
}

#[test]
fn secret_that_is_refused_is_not_told_as_good() -> Outcome {
    let world = World::start()?;
    let (id, old) = world.create(reader())?;
    let digest = Secret::parse(&old)?.0.digest();
    world.rotate(id, MINUTE, 2)?;
    let admin = world.admin()?;
    let state = || world.engine.look_up(&admin, &digest, at(3)).map(|known| known.map(|known| known.state));
    assert_eq!(state()?, Some(SecretState::InGrace { until: at(60_002) }));
    assert!(world.cause(&old, 60_002)?.is_some());
    // The clock is back, and the secret stays refused.
    assert!(world.cause(&old, 3)?.is_some());
    assert_eq!(state()?, Some(SecretState::Former { since: at(60_002) }));
    Ok(())
}

#[test]
fn next_rotation_ends_the_secret_before_the_last() -> Outcome {
    let world = World::start()?;
    let (id, first) = world.create(reader())?;
    let second = world.rotate(id, MINUTE, 1)?;
    let third = world.rotate(id, MINUTE, 2)?;
    assert!(world.cause(&first, 3)?.is_some());
    assert_eq!((world.cause(&second, 3)?, world.cause(&third, 3)?), (None, None));
    let fourth = world.rotate(id, Duration::ZERO, 4)?;
    assert!(world.cause(&second, 4)?.is_some() && world.cause(&third, 4)?.is_some());
    assert_eq!(world.cause(&fourth, 4)?, None);
    Ok(())
}

#[test]
fn grace_has_a_limit() -> Outcome {
    let world = World::start()?;
    let (id, old) = world.create(reader())?;
    let too_long = world.engine.rotate(&world.admin()?, id, GRACE_MAX + Duration::from_millis(1), at(2));
    assert!(matches!(too_long.err(), Some(ChangeError::Grace)));
    assert_eq!(names(&world.audit.entries()).last(), Some(&"change_refused"), "asked for, and told");
    assert_eq!(world.cause(&old, 2)?, None);
    world.rotate(id, GRACE_MAX, 2)?;
    Ok(())
}

#[test]
fn disabled_token_authenticates_nobody_until_it_is_enabled() -> Outcome {
    let world = World::start()?;
    let (id, secret) = world.create(reader())?;
    let new = world.rotate(id, MINUTE, 2)?;
    world.switch(id, false, 3)?;
    for secret in [&secret, &new] {
        assert_eq!(world.cause(secret, 3)?, Some(Unauthenticated::Disabled(id)));
    }
    world.switch(id, true, 4)?;
    assert_eq!((world.cause(&secret, 4)?, world.cause(&new, 4)?), (None, None));
    Ok(())
}

#[test]
fn switching_off_is_in_force_for_every_thread_when_it_returns() -> Outcome {
    const TIMES: u64 = 200;
    let world = World::start()?;
    let (id, secret) = world.create(reader())?;
    // Odd while the token is disabled for certain.
    let (turn, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| -> Outcome {
        for _ in 0..2 {
            scope.spawn(|| {
                while turn.load(Ordering::SeqCst) < 2 * TIMES {
                    let before = turn.load(Ordering::SeqCst);
                    let cause = world.cause(&secret, 2).unwrap();
                    if turn.load(Ordering::SeqCst) == before && !before.is_multiple_of(2) {
                        assert_eq!(cause, Some(Unauthenticated::Disabled(id)));
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        for time in 0..TIMES {
            world.switch(id, false, 2)?;
            turn.fetch_add(1, Ordering::SeqCst);
            // Each time somebody asks before the token is on again.
            while refused.load(Ordering::SeqCst) <= time {
                std::thread::yield_now();
            }
            turn.fetch_add(1, Ordering::SeqCst);
            world.switch(id, true, 2)?;
        }
        Ok(())
    })
}

#[test]
fn switching_off_returns_when_changes_have_ended_that_its_token_began() -> Outcome {
    let world = World::start()?;
    let (id, secret) = world
        .create(NewToken { roles: RoleName::parse("admin").into_iter().collect(), ..NewToken::default() })?;
    let (permit, admin) = (world.permit(&secret, "POST", "/tokens/")?, world.admin()?);
    let gate = Arc::clone(&world.journal.0.lock().gate);
    world.journal.take();
    let (created, switched) = std::thread::scope(|scope| {
        let closed = gate.lock();
        let creating = scope.spawn(|| world.engine.create(&permit, reader(), at(1)).is_ok());
        while !world.journal.take().contains(&"store insert".to_owned()) {
            std::thread::yield_now();
        }
        let switching = scope.spawn(|| world.engine.set_enabled(&admin, id, false, at(1)).is_ok());
        while !matches!(world.check(&secret, "GET", "/tokens/", 1), Ok(Answer::Unauthenticated(_))) {
            std::thread::yield_now();
        }
        for _ in 0..10_000 {
            assert!(!switching.is_finished(), "the creation is still under way");
            std::thread::yield_now();
        }
        drop(closed);
        (creating.join(), switching.join())
    });
    assert!(matches!((created, switched), (Ok(true), Ok(true))));
    Ok(())
}

#[test]
fn what_is_already_so_is_not_changed_again() -> Outcome {
    let world = World::start()?;
    let (id, _) = world.create(reader())?;
    world.switch(id, false, 2)?;
    world.journal.take();
    world.switch(id, false, 3)?;
    let same = TokenChanges { name: Some("ci".to_owned()), ..TokenChanges::default() };
    world.engine.change(&world.admin()?, id, &same, at(3))?;
    assert!(world.journal.take().is_empty(), "neither the audit log nor the store was asked");
    let record = world.engine.get(&world.admin()?, id)?.record;
    assert_eq!((record.disabled, record.updated), (Some(at(2)), at(2)));
    Ok(())
}

#[test]
fn permits_of_a_token_that_is_disabled_or_rotated_change_nothing() -> Outcome {
    let world = World::start()?;
    let admin = NewToken { roles: vec![RoleName::parse("admin")?], ..NewToken::default() };
    let (off, secret_off) = world.create(admin.clone())?;
    let (rotated, secret_rotated) = world.create(admin)?;
    let permits =
        [&secret_off, &secret_rotated].map(|secret| world.permit(secret, "POST", "/tokens/").map_err(drop));
    let [Ok(of_off), Ok(of_rotated)] = permits else { panic!("not permitted") };
    world.switch(off, false, 2)?;
    let new = world.rotate(rotated, Duration::ZERO, 2)?;
    for permit in [&of_off, &of_rotated] {
        assert!(matches!(world.engine.create(permit, reader(), at(3)).err(), Some(ChangeError::Revoked)));
    }
    assert!(world.engine.create(&world.permit(&new, "POST", "/tokens/")?, reader(), at(3)).is_ok());
    Ok(())
}

#[test]
fn permit_changes_nothing_once_its_token_or_the_policies_are_others() -> Outcome {
    let world = World::start()?;
    let admin = NewToken { roles: vec![RoleName::parse("admin")?], ..NewToken::default() };
    let ((id, secret), (other, _)) = (world.create(admin)?, world.create(reader())?);
    let roles = |names: &[&str]| -> Result<TokenChanges, Box<dyn Error>> {
        let roles = names.iter().map(|name| RoleName::parse(name)).collect::<Result<_, _>>()?;
        Ok(TokenChanges { roles: Some(roles), ..TokenChanges::default() })
    };
    let refused = |permit: &rolegate::Permit| {
        let none = NewToken::default();
        let outcomes = [
            world.engine.create(permit, none, at(3)).err(),
            world.engine.delete(permit, other, at(3)).err(),
            world.engine.set_enabled(permit, other, false, at(3)).err(),
            world.engine.rotate(permit, id, Duration::ZERO, at(3)).err(),
        ];
        outcomes.iter().all(|error| matches!(error, Some(ChangeError::Outdated)))
    };
    let before = world.permit(&secret, "POST", "/tokens/")?;
    world.engine.change(&world.admin()?, id, &roles(&["reader"])?, at(2))?;
    assert!(refused(&before), "its roles are others");
    world.engine.change(&world.admin()?, id, &roles(&["admin"])?, at(2))?;
    assert!(world.engine.create(&before, NewToken::default(), at(3)).is_ok(), "it is what it was");

    let before = world.permit(&secret, "POST", "/tokens/")?;
    let text = format!("{POLICY} deny(\"POST /tokens/**\");");
    let source = Source { name: Arc::from("test.rhai"), text };
    let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())?;
    world.engine.replace_policies(policies, None, at(3))?;
    assert!(refused(&before), "the policies are others");
    assert!(names(&world.audit.entries()).contains(&"change_refused"));
    Ok(())
}

#[test]
fn change_is_in_force_at_once() -> Outcome {
    let world = World::start()?;
    let (id, secret) = world.create(reader())?;
    let changes = TokenChanges {
        name: Some("renamed".to_owned()),
        description: Some(Some("for the exporter".to_owned())),
        roles: Some(vec![RoleName::parse("admin")?]),
        expires: Some(Some(at(100))),
        unique: true,
    };
    let record = world.engine.change(&world.admin()?, id, &changes, at(2))?;
    assert_eq!((record.name.as_str(), record.updated), ("renamed", at(2)));
    let permit = world.permit(&secret, "GET", "/tokens/")?;
    assert_eq!(permit.principal().map(|it| it.name.to_string()).as_deref(), Some("renamed"));
    assert_eq!(world.cause(&secret, 100)?, Some(Unauthenticated::Expired(id)));
    let listed = world.engine.get(&world.admin()?, id)?;
    assert_eq!(listed.record, record);

    let (id, _) = world.create(expiring(100))?;
    let for_ever = TokenChanges { expires: Some(None), description: Some(None), ..TokenChanges::default() };
    assert_eq!(world.engine.change(&world.admin()?, id, &for_ever, at(2))?.expires, None);
    Ok(())
}

#[test]
fn changed_token_has_to_be_as_a_token_may_be() -> Outcome {
    let world = World::start()?;
    let (id, _) = world.create(reader())?;
    let refusal = |changes: TokenChanges| -> Result<ChangeError, Box<dyn Error>> {
        let refused = world.engine.change(&world.admin()?, id, &changes, at(2));
        refused.err().ok_or_else(|| "it was changed".into())
    };
    let none = TokenChanges::default;
    let unknown = vec![RoleName::parse("nobody")?];
    let long = "n".repeat(257);
    assert!(matches!(refusal(TokenChanges { name: Some(long), ..none() })?, ChangeError::Text { .. }));
    assert!(matches!(
        refusal(TokenChanges { roles: Some(unknown), ..none() })?,
        ChangeError::UnknownRole { .. }
    ));
    assert!(matches!(
        refusal(TokenChanges { expires: Some(Some(at(2))), ..none() })?,
        ChangeError::ExpiryPast
    ));
    Ok(())
}

#[test]
fn names_repeat_unless_they_must_not() -> Outcome {
    let world = World::start()?;
    let (_, _) = world.create(reader())?;
    let (id, _) = world.create(reader())?;
    let unique = NewToken { unique: true, ..reader() };
    assert!(matches!(world.refusal(unique.clone())?, ChangeError::NameTaken { name } if name == "ci"));
    world.create(NewToken { name: "other".to_owned(), ..unique })?;
    let rename =
        |name: &str, unique| TokenChanges { name: Some(name.to_owned()), unique, ..Default::default() };
    let taken = world.engine.change(&world.admin()?, id, &rename("other", true), at(2));
    assert!(matches!(taken, Err(ChangeError::NameTaken { .. })));
    assert!(world.engine.change(&world.admin()?, id, &rename("free", true), at(2)).is_ok());
    assert!(world.engine.change(&world.admin()?, id, &rename("other", false), at(2)).is_ok());
    Ok(())
}

#[test]
fn expired_token_can_only_be_deleted() -> Outcome {
    let world = World::start()?;
    let (id, secret) = world.create(expiring(100))?;
    world.switch(id, false, 50)?;
    let admin = world.admin()?;
    let later = TokenChanges { expires: Some(None), ..TokenChanges::default() };
    let expired = |error: Option<ChangeError>| matches!(error, Some(ChangeError::Expired(it)) if it == id);
    assert!(expired(world.engine.rotate(&admin, id, MINUTE, at(100)).err()));
    assert!(expired(world.engine.set_enabled(&admin, id, true, at(100)).err()));
    assert!(expired(world.engine.change(&admin, id, &later, at(100)).err()));
    assert!(world.cause(&secret, 99)?.is_some());
    world.engine.delete(&admin, id, at(100))?;
    Ok(())
}

#[test]
fn token_of_the_configuration_is_disabled_but_not_changed() -> Outcome {
    let world = World::start()?;
    let (id, admin) = (world.bootstrap_id()?, world.admin()?);
    let renamed = TokenChanges { name: Some("mine".to_owned()), ..TokenChanges::default() };
    let configured = |error: Option<ChangeError>| matches!(error, Some(ChangeError::Configured { .. }));
    assert!(configured(world.engine.rotate(&admin, id, MINUTE, at(2)).err()));
    assert!(configured(world.engine.change(&admin, id, &renamed, at(2)).err()));
    world.switch(id, false, 3)?;
    world.engine.provision(&super::bootstrap("admin", None)?, at(4))?;
    assert_eq!(world.cause(BOOTSTRAP, 4)?, Some(Unauthenticated::Disabled(id)), "also after a start");
    Ok(())
}

#[test]
fn what_does_not_exist_is_neither_told_nor_changed() -> Outcome {
    let world = World::start()?;
    let (admin, id) = (world.admin()?, TokenId::generate()?);
    let unknown = |error: Option<ChangeError>| matches!(error, Some(ChangeError::Unknown(it)) if it == id);
    assert!(matches!(world.engine.get(&admin, id), Err(ReadError::Unknown(it)) if it == id));
    assert!(unknown(world.engine.rotate(&admin, id, MINUTE, at(2)).err()));
    assert!(unknown(world.engine.set_enabled(&admin, id, false, at(2)).err()));
    assert!(unknown(world.engine.change(&admin, id, &TokenChanges::default(), at(2)).err()));
    let anyone = world.permit("", "GET", "/public")?;
    let rotated = world.engine.rotate(&anyone, id, MINUTE, at(2));
    assert!(matches!(rotated.err(), Some(ChangeError::Anonymous)));
    Ok(())
}

#[test]
fn change_that_cannot_be_audited_or_stored_does_not_happen() -> Outcome {
    let world = World::start()?;
    let (id, secret) = world.create(reader())?;
    let admin = world.admin()?;
    world.journal.0.lock().audit_fails = true;
    let audited = world.engine.rotate(&admin, id, MINUTE, at(2)).err();
    assert!(matches!(audited, Some(ChangeError::Commit(CommitError::Audit(_)))));
    world.journal.0.lock().audit_fails = false;
    world.journal.0.lock().store_fails = true;
    let stored = world.engine.set_enabled(&admin, id, false, at(2)).err();
    assert!(matches!(stored, Some(ChangeError::Commit(CommitError::Store(_)))));
    assert_eq!(world.cause(&secret, 3)?, None);
    world.journal.0.lock().store_fails = false;
    world.switch(id, false, 4)?;
    assert_eq!(world.cause(&secret, 4)?, Some(Unauthenticated::Disabled(id)));
    assert!(names(&world.audit.entries()).contains(&"change_failed"));
    Ok(())
}

#[test]
fn change_that_the_store_made_though_it_failed_is_in_force() -> Outcome {
    let world = World::start()?;
    let admin = world.admin()?;
    let [(off, secret_off), (gone, secret_gone), (rotated, secret_rotated)] =
        [world.create(reader())?, world.create(reader())?, world.create(reader())?];
    world.journal.0.lock().store_lies = true;
    let failed = [
        world.engine.set_enabled(&admin, off, false, at(2)).err(),
        world.engine.delete(&admin, gone, at(2)).err(),
        world.engine.rotate(&admin, rotated, Duration::ZERO, at(2)).err(),
        world.engine.create(&admin, NewToken { name: "lost".to_owned(), ..reader() }, at(2)).err(),
    ];
    assert!(failed.iter().all(|error| matches!(error, Some(ChangeError::Commit(CommitError::Store(_))))));
    world.journal.0.lock().store_lies = false;
    assert_eq!(world.cause(&secret_off, 3)?, Some(Unauthenticated::Disabled(off)));
    assert_eq!(world.cause(&secret_gone, 3)?, Some(Unauthenticated::Unknown));
    assert_eq!(world.cause(&secret_rotated, 3)?, Some(Unauthenticated::Unknown));
    let again = world.engine.delete(&admin, gone, at(3));
    assert!(matches!(again, Err(ChangeError::Unknown(id)) if id == gone));
    world.switch(off, true, 3)?;
    assert_eq!(world.cause(&secret_off, 3)?, None);
    let tokens = world.engine.list(&admin)?;
    let lost = tokens.iter().find(|token| token.name == "lost").ok_or("it is not kept")?;
    let secret = world.rotate(lost.id, Duration::ZERO, 4)?;
    assert_eq!(world.cause(&secret, 4)?, None, "what is listed can be taken over");
    Ok(())
}

#[test]
fn changes_of_one_token_at_once_all_happen() -> Outcome {
    let world = World::start()?;
    let (id, _) = world.create(reader())?;
    let admin = world.admin()?;
    let renamed = |name: String| TokenChanges { name: Some(name), ..TokenChanges::default() };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (world, admin) = (&world, &admin);
            scope.spawn(move || {
                for round in 0..50 {
                    let name = format!("{thread}-{round}");
                    assert!(world.engine.change(admin, id, &renamed(name), at(2)).is_ok());
                    assert!(world.engine.rotate(admin, id, Duration::ZERO, at(2)).is_ok());
                }
            });
        }
    });
    let last = world.rotate(id, Duration::ZERO, 3)?;
    let kept = world.engine.get(&world.admin()?, id)?.record;
    let known = world.permit(&last, "GET", "/things")?;
    assert_eq!(known.principal().map(|it| it.name.to_string()), Some(kept.name), "index and store agree");
    let entries = world.audit.entries();
    assert!(!names(&entries).contains(&"change_failed"));
    Ok(())
}

#[test]
fn use_is_told_up_to_the_moment_and_kept_when_it_is_written() -> Outcome {
    let world = World::start()?;
    let (id, secret) = world.create(reader())?;
    let admin = world.admin()?;
    assert_eq!(world.engine.get(&admin, id)?.usage, None);
    for (path, now) in [("/things", 5), ("/nowhere", 9), ("/things", 7)] {
        let _ = world.check(&secret, "GET", path, now)?;
    }
    let usage = world.engine.get(&admin, id)?.usage.ok_or("never used")?;
    assert_eq!((usage.count, usage.last_used), (3, at(9)));
    world.journal.0.lock().store_fails = true;
    assert!(world.engine.flush_uses().is_err());
    world.journal.0.lock().store_fails = false;
    assert_eq!(world.engine.flush_uses()?, 2, "the administrator's token was used as well");
    assert_eq!(world.engine.flush_uses()?, 0);
    let _ = world.check(&secret, "GET", "/things", 11)?;
    let (listed, privileges) = world.engine.privileges(&admin, id)?;
    assert_eq!(listed.usage.map(|usage| usage.count), Some(4));
    let told: Vec<_> = privileges
        .iter()
        .map(|it| (it.name.as_str(), it.grant, it.usage.as_ref().map(|it| it.count)))
        .collect();
    assert_eq!(told, [("GET /things", Grant::Rule, Some(3)), ("GET /public", Grant::Everyone, None)]);
    Ok(())
}

#[test]
fn unused_tokens_are_found_by_the_uses_of_this_moment() -> Outcome {
    let world = World::start()?;
    let ((used, secret), (unused, _)) = (world.create(reader())?, world.create(reader())?);
    let admin = world.admin()?;
    let _ = world.check(&secret, "GET", "/things", 50)?;
    let unused_since = |moment: Timestamp| -> Result<Vec<TokenId>, Box<dyn Error>> {
        let filter = Filter { unused_since: Some(moment), ..Filter::default() };
        let query = PageQuery { filter, ..PageQuery::first(Order::default()) };
        Ok(world.engine.page(&admin, &query)?.tokens.iter().map(|listed| listed.record.id).collect())
    };
    let found = unused_since(at(50))?;
    assert!(found.contains(&unused) && !found.contains(&used));
    assert!(unused_since(at(51))?.contains(&used));
    Ok(())
}

#[test]
fn token_does_not_count_as_unused_while_its_use_is_being_written() -> Outcome {
    let world = World::start()?;
    let (id, secret) = world.create(reader())?;
    let admin = world.admin()?;
    let _ = world.check(&secret, "GET", "/things", 50)?;
    let filter = Filter { unused_since: Some(at(50)), ..Filter::default() };
    let query = PageQuery { filter, ..PageQuery::first(Order::default()) };
    let gate = Arc::clone(&world.journal.0.lock().gate);
    let is_writing = || world.journal.0.lock().events.iter().any(|event| event == "store record_uses");
    let (told, listed) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let closed = gate.lock();
        scope.spawn(|| assert!(world.engine.flush_uses().is_ok()));
        while !is_writing() {
            std::thread::yield_now();
        }
        scope.spawn(|| told.send(world.engine.page(&admin, &query).map(|page| page.tokens)));
        // Whoever answers before the use is written has to answer soon.
        let soon = listed.recv_timeout(Duration::from_millis(100));
        drop(closed);
        let unused = soon.or_else(|_| listed.recv())??;
        assert!(unused.iter().all(|listed| listed.record.id != id));
        Ok(())
    })
}

#[test]
fn each_step_has_an_audit_entry_of_its_own_kind() -> Outcome {
    let world = World::start()?;
    let (id, _) = world.create(reader())?;
    world.rotate(id, MINUTE, 2)?;
    world.switch(id, false, 3)?;
    world.switch(id, true, 4)?;
    let renamed = TokenChanges { name: Some("other".to_owned()), ..TokenChanges::default() };
    world.engine.change(&world.admin()?, id, &renamed, at(5))?;
    let entries = world.audit.entries();
    let expected = ["token_created", "token_rotated", "token_disabled", "token_enabled", "token_updated"];
    assert_eq!(&names(&entries)[2..], expected);
    Ok(())
}
