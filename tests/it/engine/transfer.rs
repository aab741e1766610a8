//! Tokens out and in through the gate: who may, what is audited, and what is left alone.

use super::{Outcome, World, at, names, reader};
use rolegate::audit::AuditEvent;
use rolegate::engine::{
    Answer, ChangeError, ExportPosition, GRACE_MAX, Import, ImportConflict, ImportOutcome, Imported, NewToken,
};
use rolegate::store::page::Order;
use rolegate::token::{FormerSecret, RoleName, Secret, SecretKind, TokenId, TokenOrigin, TokenRecord};
use rolegate::tokens::Unauthenticated;
use std::collections::BTreeMap;
use std::error::Error;
use std::thread;
use std::time::Duration;

impl World {
    /// All tokens, in parts of `limit`.
    fn export(&self, limit: usize) -> Result<Vec<TokenRecord>, Box<dyn Error>> {
        let (mut from, mut tokens) = (Some(ExportPosition::START), Vec::new());
        while let Some(position) = from {
            let page = self.engine.export(&self.admin()?, &position, limit, at(1))?;
            tokens.extend(page.tokens);
            from = page.next;
        }
        Ok(tokens)
    }

    fn import(&self, tokens: &[TokenRecord], replaces: bool) -> Result<Imported, Box<dyn Error>> {
        let import = Import { tokens: tokens.to_vec(), replaces, ..Import::default() };
        Ok(self.engine.import(&self.admin()?, &import, at(2))?)
    }

    fn record(&self, id: TokenId) -> Result<TokenRecord, Box<dyn Error>> {
        Ok(self.engine.get(&self.admin()?, id)?.record)
    }
}

fn told(imported: &Imported) -> Vec<&'static str> {
    imported.tokens.iter().map(ImportOutcome::name).collect()
}

/// Why the first token is left alone.
fn refusal(imported: &Imported) -> String {
    match imported.tokens.first() {
        Some(ImportOutcome::Conflict(ImportConflict::Refused(error))) => error.to_string(),
        other => format!("{other:?}"),
    }
}

fn told_of(imported: &Imported) -> Vec<&'static str> {
    imported.spent.iter().chain(&imported.tokens).map(ImportOutcome::name).collect()
}

/// A token that is nowhere yet.
fn new(at: u64, role: &str) -> Result<TokenRecord, Box<dyn Error>> {
    let world = World::start()?;
    let (id, _) = world.create(reader())?;
    let digest = Secret::generate()?.digest();
    let id_of = TokenId::new(TokenId::MIN + at).ok_or("no id")?;
    Ok(TokenRecord { id: id_of, digest, roles: vec![RoleName::parse(role)?], ..world.record(id)? })
}

#[test]
fn import_is_audited_before_each_change_and_not_when_there_is_none() -> Outcome {
    let world = World::start()?;
    let tokens = [new(1, "reader")?, new(2, "reader")?];
    assert_eq!(told(&world.import(&tokens, false)?), ["created", "created"]);
    let journal = world.journal.take();
    assert_eq!(journal.first().map(String::as_str), Some("audit tokens_imported"));
    let count = |event: &str| journal.iter().filter(|it| *it == event).count();
    assert_eq!((count("audit token_created"), count("store insert")), (2, 2));
    assert_eq!(told(&world.import(&tokens, false)?), ["unchanged", "unchanged"]);
    assert_eq!(world.journal.take(), [""; 0]);
    Ok(())
}

#[test]
fn former_secret_is_imported_with_the_life_that_a_rotation_gives_and_no_longer_one() -> Outcome {
    let world = World::start()?;
    let now = at(2);
    let end = now.saturating_add(GRACE_MAX);
    let too_late = end.saturating_add(Duration::from_millis(1));
    let with = |number, expires| -> Result<TokenRecord, Box<dyn Error>> {
        let former =
            FormerSecret { digest: Secret::generate()?.digest(), kind: SecretKind::Generated, expires };
        Ok(TokenRecord { former: Some(former), ..new(number, "reader")? })
    };
    let tokens = [with(1, end)?, with(2, too_late)?];
    let import = Import { tokens: tokens.to_vec(), ..Import::default() };
    for imported in [
        world.engine.import(&world.admin()?, &Import { is_dry_run: true, ..import.clone() }, now)?,
        world.engine.import(&world.admin()?, &import, now)?,
    ] {
        assert_eq!(told(&imported), ["created", "conflict"]);
        let refused = "the former secret of the token would live on for more than 30 days from now";
        let [_, ImportOutcome::Conflict(conflict)] = imported.tokens.as_slice() else { panic!() };
        assert!(conflict.to_string().starts_with(refused), "{conflict}");
    }
    // Nor does the operator's own import take it; a day later, it is no longer too late.
    assert_eq!(told(&world.engine.restore(&import, now)?), ["unchanged", "conflict"]);
    assert_eq!(told(&world.engine.restore(&import, at(2 + 24 * 3_600_000))?), ["unchanged", "created"]);
    Ok(())
}

#[test]
fn what_stands_twice_in_an_import_is_told_by_a_dry_run_as_it_is_imported() -> Outcome {
    let world = World::start()?;
    let [one, two, three, gone] = [1, 2, 3, 4].map(|number| new(number, "reader"));
    let (one, two, gone) = (one?, two?, gone?);
    let again = TokenRecord { name: "another".to_owned(), ..two.clone() };
    let same_secret = TokenRecord { digest: one.digest, ..three? };
    let import = Import {
        tokens: vec![one.clone(), two.clone(), again, one.clone(), same_secret, gone.clone()],
        spent: vec![gone.digest, gone.digest],
        replaces: true,
        is_dry_run: true,
    };
    let outcomes = |imported: &Imported| {
        let all = imported.spent.iter().chain(&imported.tokens);
        all.map(|outcome| match outcome {
            ImportOutcome::Conflict(conflict) => conflict.to_string(),
            other => other.name().to_owned(),
        })
        .collect::<Vec<_>>()
    };
    let would = outcomes(&world.engine.import(&world.admin()?, &import, at(2))?);
    assert_eq!((world.engine.token_count(), world.journal.take()), (1, Vec::new()));
    let import = Import { is_dry_run: false, ..import };
    let did = outcomes(&world.engine.import(&world.admin()?, &import, at(2))?);
    assert_eq!(would, did);
    let twice = "the import has the token twice";
    let taken = format!("the token {} has the same secret", one.id);
    let deleted = "a token with this secret was deleted here for good";
    assert_eq!(did, ["created", "unchanged", "created", "created", twice, twice, &taken, deleted]);
    assert_eq!((world.record(two.id)?, world.engine.token_count()), (two, 3));
    Ok(())
}

#[test]
fn token_that_is_enabled_with_other_roles_is_audited_as_before_and_after() -> Outcome {
    let world = World::start()?;
    let token = TokenRecord { disabled: Some(at(1)), ..new(1, "reader")? };
    world.import(std::slice::from_ref(&token), false)?;
    let enabled = TokenRecord { disabled: None, updated: at(2), ..token };
    let admin =
        TokenRecord { disabled: Some(at(2)), roles: vec![RoleName::parse("admin")?], ..enabled.clone() };
    for (token, event) in [(enabled, "audit token_enabled"), (admin, "audit token_updated")] {
        world.journal.take();
        assert_eq!(told(&world.import(&[token], true)?), ["replaced"]);
        assert_eq!(world.journal.take(), ["audit tokens_imported", event, "store update"]);
    }
    Ok(())
}

#[test]
fn each_spent_digest_has_an_entry_before_it_is_spent() -> Outcome {
    let world = World::start()?;
    let spent = vec![Secret::generate()?.digest(), Secret::generate()?.digest()];
    let import = Import { spent, ..Import::default() };
    world.engine.import(&world.admin()?, &import, at(2))?;
    let entries = ["audit tokens_imported", "audit digest_spent", "audit digest_spent"];
    assert_eq!(world.journal.take(), [&entries[..], &["store spend"; 2]].concat());
    world.engine.import(&world.admin()?, &import, at(2))?;
    assert_eq!(world.journal.take(), [""; 0]);
    Ok(())
}

#[test]
fn import_that_the_store_fails_at_is_audited_as_failed_and_lets_nobody_in() -> Outcome {
    let world = World::start()?;
    let secret = Secret::generate()?;
    let token = TokenRecord { digest: secret.digest(), ..new(1, "reader")? };
    let import = Import {
        tokens: vec![token.clone()],
        spent: vec![Secret::generate()?.digest()],
        ..Import::default()
    };
    world.journal.0.lock().store_fails = true;
    let error = world.engine.import(&world.admin()?, &import, at(2)).unwrap_err();
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    let told = ["tokens_imported", "digest_spent", "token_created", "change_failed", "change_failed"];
    assert_eq!(names(&world.audit.entries()).split_off(2), told);
    assert!(matches!(world.check(secret.expose(), "GET", "/things", 3)?, Answer::Unauthenticated(_)));
    world.journal.0.lock().store_fails = false;
    // What the store says has failed, and was made, is in force.
    world.journal.0.lock().store_lies = true;
    assert!(world.engine.import(&world.admin()?, &import, at(2)).is_err());
    world.journal.0.lock().store_lies = false;
    assert!(matches!(world.check(secret.expose(), "GET", "/things", 3)?, Answer::Permitted(_)));
    assert_eq!(told_of(&world.engine.import(&world.admin()?, &import, at(2))?), ["unchanged"; 2]);
    Ok(())
}

#[test]
fn import_that_cannot_be_audited_changes_nothing() -> Outcome {
    let world = World::start()?;
    world.journal.0.lock().audit_fails = true;
    let error = world.import(&[new(1, "reader")?], false).unwrap_err();
    assert!(error.to_string().contains("the disk is full"), "{error}");
    world.journal.0.lock().audit_fails = false;
    assert_eq!(world.engine.token_count(), 1);
    assert_eq!(told(&world.import(&[new(1, "reader")?], false)?), ["created"]);
    Ok(())
}

#[test]
fn import_of_which_some_entries_cannot_be_written_changes_nothing() -> Outcome {
    let world = World::start()?;
    let tokens = [new(1, "reader")?, new(2, "reader")?];
    for room in 0..3 {
        world.journal.0.lock().audit_room = Some(room);
        let error = world.import(&tokens, false).unwrap_err();
        assert!(error.to_string().contains("the disk is full"), "{error}");
        world.journal.0.lock().audit_room = None;
        let journal = world.journal.take();
        assert!(journal.len() == room && !journal.iter().any(|it| it.starts_with("store")), "{journal:?}");
        assert_eq!(world.engine.token_count(), 1);
    }
    world.journal.0.lock().audit_room = Some(3);
    assert_eq!(told(&world.import(&tokens, false)?), ["created", "created"]);
    Ok(())
}

#[test]
fn export_that_cannot_be_audited_gives_nothing() -> Outcome {
    let world = World::start()?;
    world.journal.0.lock().audit_fails = true;
    assert!(world.export(10).is_err());
    world.journal.0.lock().audit_fails = false;
    assert_eq!(world.export(10)?.len(), 1);
    let audited = world.audit.entries();
    assert!(names(&audited).contains(&AuditEvent::TokensExported { count: 1 }.name()));
    Ok(())
}

#[test]
fn replaced_token_is_refused_by_its_old_secret_at_once() -> Outcome {
    let world = World::start()?;
    let (id, old) = world.create(reader())?;
    let secret = Secret::generate()?;
    let other = TokenRecord { digest: secret.digest(), ..world.record(id)? };
    assert_eq!(told(&world.import(std::slice::from_ref(&other), false)?), ["conflict"]);
    assert!(matches!(world.check(&old, "GET", "/things", 3)?, Answer::Permitted(_)));
    assert_eq!(told(&world.import(&[other], true)?), ["replaced"]);
    let Answer::Unauthenticated(challenge) = world.check(&old, "GET", "/things", 3)? else { panic!() };
    assert_eq!(challenge.cause, Unauthenticated::Unknown);
    assert!(matches!(world.check(secret.expose(), "GET", "/things", 3)?, Answer::Permitted(_)));
    Ok(())
}

#[test]
fn request_replaces_no_token_that_the_configuration_rules_or_that_has_expired() -> Outcome {
    let world = World::start()?;
    let bootstrap = world.admin()?.principal().and_then(|it| it.id.token()).ok_or("no token")?;
    let (expiring, _) = world.create(NewToken { expires: Some(at(2)), ..reader() })?;
    let own = TokenRecord { name: "mine".to_owned(), ..world.record(bootstrap)? };
    let as_api = TokenRecord { origin: TokenOrigin::Api, ..own.clone() };
    let revived = TokenRecord { expires: None, ..world.record(expiring)? };
    for token in [own, as_api] {
        let error = refusal(&world.import(&[token], true)?);
        assert!(error.contains("is ruled by the configuration of the server"), "{error}");
    }
    let error = refusal(&world.import(&[revived], true)?);
    assert!(error.contains("has expired and can only be deleted"), "{error}");
    // The operator may: the files are the operator's.
    let revived = TokenRecord { expires: None, ..world.record(expiring)? };
    let import = Import { tokens: vec![revived], replaces: true, ..Import::default() };
    assert_eq!(told(&world.engine.restore(&import, at(3))?), ["replaced"]);
    Ok(())
}

#[test]
fn deleted_token_imports_nothing_more() -> Outcome {
    let world = World::start()?;
    let (id, secret) = world.create(NewToken { roles: vec![RoleName::parse("admin")?], ..reader() })?;
    let permit = world.permit(&secret, "POST", "/tokens/")?;
    let import = Import { tokens: vec![new(1, "reader")?], ..Import::default() };
    world.engine.delete(&world.admin()?, id, at(2))?;
    assert!(matches!(world.engine.import(&permit, &import, at(2)), Err(ChangeError::Revoked)));
    assert!(matches!(
        world.engine.export(&permit, &ExportPosition::START, 1, at(2)),
        Err(ChangeError::Revoked)
    ));
    assert!(world.engine.import(&world.admin()?, &import, at(2)).is_ok());
    Ok(())
}

#[test]
fn every_token_that_nobody_touches_is_exported_once_while_others_come_and_go() -> Outcome {
    let world = World::start()?;
    let kept: Vec<TokenId> =
        (0..60).map(|_| Ok(world.create(reader())?.0)).collect::<Result<_, Box<dyn Error>>>()?;
    let exports: Result<Vec<_>, String> = thread::scope(|scope| {
        let busy = scope.spawn(|| {
            for _ in 0..200 {
                let (id, _) = world.create(reader()).map_err(|error| error.to_string())?;
                let permit = world.admin().map_err(|error| error.to_string())?;
                world.engine.delete(&permit, id, at(1)).map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(())
        });
        let mut exports = Vec::new();
        while !busy.is_finished() || exports.is_empty() {
            exports.push(world.export(7).map_err(|error| error.to_string())?);
        }
        busy.join().map_err(|_| "panicked".to_owned())??;
        Ok(exports)
    });
    for tokens in exports? {
        let mut seen = BTreeMap::new();
        tokens.iter().for_each(|token| *seen.entry(token.id).or_insert(0) += 1);
        assert!(kept.iter().all(|id| seen.get(id) == Some(&1)));
        let positions: Vec<_> = tokens.iter().map(|token| Order::default().position(token)).collect();
        assert!(positions.is_sorted());
    }
    Ok(())
}
